//! A first config for a data file: what the file says of itself, and a network of fitting size.

use std::path::{Path, PathBuf};

use brenier_measure::data::{DataError, DataSetConfig, Fitting, SplitConfig};
use brenier_measure::expectation_maximization::CovarianceKind;
use brenier_measure::expression::ExpressionConfig;
use brenier_measure::{MeasureError, TargetConfig};
use brenier_model::{Activation, NetworkConfig, Preconditioning};
use brenier_training::monge_ampere::polish::PotentialConfig;
use brenier_training::monge_ampere::reference::ReferenceConfig;
use brenier_training::{
    AnnealedParticlesConfig, Components, EmaConfig, GaussianMixtureConfig, LearningRate, LossConfig,
    MongeAmpereLogisticConfig, NoiseLevels, OptimizerConfig, TrainingConfig, Weighting,
};

use tracing::info;

use super::{Config, EvaluationConfig, MethodConfig, OutputConfig};
use crate::arguments::InitMethod;
use crate::device::DeviceName;
use crate::methods::score_matching::config::DenoisingScoreMatchingConfig;
use crate::methods::wiring;

/// Below this many rows a validation and a test part would say nothing.
const FEWEST_TO_SPLIT: usize = 20;

/// The config that `train init` prints for a data file, as JSON.
///
/// # Errors
///
/// A file that cannot be read as points.
pub fn init(path: &Path, method: InitMethod, header: Option<bool>) -> Result<String, DataError> {
    let Fitting { config: mut dataset, data, notes } = DataSetConfig::fitting(path, header)?;
    for note in notes {
        info!("{}: {note}", path.display());
    }
    let (rows, dim) = data.points.dim();
    dataset.columns = data.columns;
    if rows < FEWEST_TO_SPLIT {
        dataset.split = SplitConfig { train: 1.0, validation: 0.0, test: 0.0 };
    }
    let count = if rows < FEWEST_TO_SPLIT { rows } else { (rows as f64 * dataset.split.test).round() as usize };
    let (width, depth, embedding) = match dim {
        0..=3 => (128, 3, 32),
        4..=256 => (256, 4, 64),
        _ => (512, 4, 64),
    };
    let (method, training, output) = match method {
        InitMethod::DenoisingScoreMatching => {
            let method = MethodConfig::DenoisingScoreMatching(DenoisingScoreMatchingConfig {
                network: NetworkConfig::ResidualMlp { width, depth, activation: Activation::Silu, embedding },
                preconditioning: Preconditioning::Edm,
                // Karras et al. take -1.2 for data of sd ½. Images at sd 1 have their detail one factor of two higher; in
                // few dimensions detail is finer, and the low levels matter more.
                noise_levels: NoiseLevels::LogNormal { mean: if dim > 3 { -0.5 } else { -1.2 }, sd: 1.2 }.into(),
                loss: LossConfig::AllScales { weighting: Weighting::Edm, antithetic: true },
            });
            let training = Some(TrainingConfig {
                steps: if dim > 3 { 12_000 } else { 20_000 },
                batch: 512,
                micro_batch: None,
                optimizer: OptimizerConfig::Adamw { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: 0.0 },
                learning_rate: LearningRate::Cosine { peak: 1e-3, warmup: 500, last: 0.0 },
                clip_norm: Some(1.0),
                ema: vec![EmaConfig::HalfLife(500.0)],
                start_from: None,
            });
            (method, training, OutputConfig::default())
        }
        InitMethod::GaussianMixture => {
            let method = MethodConfig::GaussianMixture(GaussianMixtureConfig {
                components: match rows < FEWEST_TO_SPLIT {
                    true => Components::One(1),
                    false => Components::Several(vec![1, 2, 4, 8, 16, 32]),
                },
                covariance: CovarianceKind::Full,
                // Of few points a covariance knows little, and the less the more dimensions it has.
                shrinkage: if dim > 3 { dim as f64 / 4.0 } else { 5.0 },
                restarts: 4,
                iterations: 200,
                tolerance: 1e-6,
                copies: 4,
                start_from: None,
            });
            // A fit takes tens of steps.
            (method, None, OutputConfig { log_every: 1, checkpoint_every: 100, ..OutputConfig::default() })
        }
        InitMethod::MongeAmpereLogistic => {
            // A column that does not vary has no density, unless noise gives it one.
            if data.points.columns().into_iter().any(|column| column.iter().all(|&x| x == column[0])) {
                dataset.noise = 0.1;
            }
            let config = MongeAmpereLogisticConfig {
                reference: ReferenceConfig::Automatic,
                potential: PotentialConfig::Automatic,
                ..MongeAmpereLogisticConfig::default()
            };
            let train = dataset.split.split(rows, 0).map_or(rows, |split| split.train.len());
            let (config, reasons) = config.chosen(dim, Some(train), false).expect("both are to be chosen");
            for reason in reasons {
                info!("{reason}");
            }
            let method = MethodConfig::MongeAmpereLogistic(Box::new(config));
            (method, None, OutputConfig { log_every: 50, checkpoint_every: 500, ..OutputConfig::default() })
        }
    };
    let mut config = Config {
        schema: None,
        name: name(path),
        seed: 0,
        device: DeviceName::Cpu,
        method,
        training,
        evaluation: EvaluationConfig { count: count as u64, ..EvaluationConfig::default() },
        output,
        target: TargetConfig::Dataset(dataset),
    };
    let method = config.method.clone();
    wiring(&method).resolve(&mut config).expect("a whole config");
    Ok(serde_json::to_string_pretty(&config).expect("a config has string keys and finite numbers"))
}

/// The config that `train init` prints for a log-density, as JSON.
///
/// # Errors
///
/// A formula that cannot be read.
pub fn of_expression(log_density: &str, dim: usize) -> Result<String, MeasureError> {
    let expression = ExpressionConfig::new(dim, log_density);
    expression.build()?;
    let target = TargetConfig::Expression(expression);
    let density = target.build_exact()?.and_then(|target| target.unbounded());
    let method = density.map_or_else(Default::default, |density| AnnealedParticlesConfig::fitting(density.as_ref()));
    let config = Config {
        schema: None,
        name: "expression".to_owned(),
        seed: 0,
        device: DeviceName::Cpu,
        target,
        method: MethodConfig::AnnealedParticles(method),
        training: None,
        evaluation: EvaluationConfig { count: 4000, log_density: None, ..EvaluationConfig::default() },
        output: OutputConfig { log_every: 1, checkpoint_every: 10, ..OutputConfig::default() },
    };
    Ok(serde_json::to_string_pretty(&config).expect("a config has string keys and finite numbers"))
}

/// The file's name without extensions, in the letters of a run's name.
fn name(path: &Path) -> String {
    let file = PathBuf::from(path.file_name().unwrap_or_default());
    let stem = file.to_string_lossy();
    let stem = stem.split('.').find(|part| !part.is_empty()).unwrap_or("");
    let safe: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(60).collect();
    let safe = safe.trim_matches(['_', '-']);
    if safe.is_empty() { "run".to_owned() } else { safe.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::load::parse;

    /// The config for a file, which must load.
    fn config_of(path: &Path) -> Value {
        let text = init(path, InitMethod::default(), None).unwrap_or_else(|error| panic!("{error}"));
        parse(Path::new("init.json"), &text, &[], &[]).unwrap_or_else(|error| panic!("{error}"));
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_digits_are_known_as_images_with_labels() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/digits.npz");
        let config = config_of(&path);
        assert_eq!(config["name"], "digits");
        assert_eq!(config["target"]["dataset"]["image_shape"], serde_json::json!([8, 8]));
        assert_eq!(config["target"]["dataset"]["label"], "label");
        assert_eq!(config["evaluation"]["count"], 180);
        assert_eq!(config.pointer("/method/denoising_score_matching/network/residual_mlp/width"), Some(&256.into()));
    }

    #[test]
    fn a_mixture_has_keys_of_its_own() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/digits.npz");
        let text = init(&path, InitMethod::GaussianMixture, None).unwrap();
        parse(Path::new("init.json"), &text, &[], &[]).unwrap_or_else(|error| panic!("{error}"));
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["method"]["gaussian_mixture"]["shrinkage"], 16.0);
        assert!(config["training"].is_null() && config["evaluation"]["sampler"].is_null());
    }

    #[test]
    fn a_map_of_images_has_noise_where_pixels_are_always_black() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/digits.npz");
        let text = init(&path, InitMethod::MongeAmpereLogistic, None).unwrap();
        parse(Path::new("init.json"), &text, &[], &[]).unwrap_or_else(|error| panic!("{error}"));
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["target"]["dataset"]["noise"], 0.1);
        assert_eq!(config["method"]["monge_ampere_logistic"]["ridges"]["knots"], 6);
    }

    #[test]
    fn a_table_gives_its_columns_and_its_column_of_text_as_labels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my flowers (2).csv");
        let rows: String = (0..30).map(|i| format!("{i}.5,{},setosa\n", i * i)).collect();
        std::fs::write(&path, format!("petal,sepal,kind\n{rows}")).unwrap();
        let config = config_of(&path);
        assert_eq!(config["name"], "my_flowers__2");
        assert_eq!(config["target"]["dataset"]["columns"], serde_json::json!(["petal", "sepal"]));
        assert_eq!(config["target"]["dataset"]["label"], "kind");
        assert_eq!(config["target"]["dataset"]["image_shape"], Value::Null);
        assert_eq!(config["evaluation"]["count"], 3);
        assert_eq!(config.pointer("/method/denoising_score_matching/network/residual_mlp/width"), Some(&128.into()));
    }

    #[test]
    fn a_handful_of_rows_is_not_split() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("few.csv");
        std::fs::write(&path, "1.5,2\n3,4\n5,7\n").unwrap();
        let config = config_of(&path);
        assert_eq!(config["target"]["dataset"]["split"]["train"], 1.0);
        assert_eq!(config["evaluation"]["count"], 3);
    }

    #[test]
    fn a_file_without_points_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none.csv");
        assert!(matches!(init(&path, InitMethod::default(), None), Err(DataError::File { .. })));
    }
}
