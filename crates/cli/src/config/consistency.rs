//! What a schema cannot say of a config: keys that must fit one another, names and files.

use std::path::Path;

use brenier_measure::data::SplitConfig;
use brenier_measure::{NoiseSchedule, TargetConfig};
use brenier_training::{LearningRate, LossConfig, NoiseLevels};

use super::check::Problem;
use super::tree::Node;
use super::{Config, MethodConfig, NoiseLevelsConfig};
use crate::localized;

/// Every mistake in a config whose types are right, each at its place in `tree`.
pub fn problems(config: &Config, tree: &Node) -> Vec<Problem> {
    let mut reader = Reader { tree, problems: Vec::new() };
    reader.name(&config.name);
    reader.target(&config.target);
    let MethodConfig::DenoisingScoreMatching(method) = &config.method;
    let path = "method.denoising_score_matching.noise_levels";
    match &method.noise_levels {
        NoiseLevelsConfig::Given(levels) => reader.noise_levels(path, levels),
        NoiseLevelsConfig::FromData(from_data) => {
            reader.noise_levels(&format!("{path}.localized.floor"), from_data.parts().1);
        }
    }
    reader.loss(&method.loss);
    reader.training(config);
    let evaluation = &config.evaluation;
    let range = reader.increasing("evaluation", "sigma_min", evaluation.sigma_min, "sigma_max", evaluation.sigma_max);
    if evaluation.grid.is_localized() {
        if let Err(reason) = localized::solver(evaluation.grid, &evaluation.sampler) {
            reader.report("evaluation.grid", format!("{reason}; choose another grid or another sampler"));
        }
    } else if range
        && let Err(error) = evaluation.grid.levels(evaluation.sigma_min, evaluation.sigma_max, evaluation.steps)
    {
        reader.report("evaluation.grid", error.to_string());
    }
    if let Err(error) = evaluation.sampler.validate() {
        reader.report("evaluation.sampler", error.to_string());
    }
    if config.output.directory.is_file() {
        let found = config.output.directory.display();
        reader.report("output.directory", format!("expected a folder, found the file {found}"));
    }
    reader.problems
}

struct Reader<'a> {
    tree: &'a Node,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn report(&mut self, path: &str, message: String) {
        self.problems.push(Problem { origin: self.tree.origin_of(path).clone(), path: path.to_owned(), message });
    }

    /// A run's name is a folder's name, on every system.
    fn name(&mut self, name: &str) {
        const LONGEST: usize = 100;
        let safe = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if !name.starts_with(|first: char| first.is_ascii_alphanumeric())
            || !name.chars().all(safe)
            || name.len() > LONGEST
        {
            self.report(
                "name",
                format!(
                    "expected a folder's name (letters, digits, `.`, `_`, `-`; at most {LONGEST}, a letter or digit first), \
                     found {name:?}"
                ),
            );
        }
    }

    fn target(&mut self, target: &TargetConfig) {
        if let TargetConfig::Dataset(data) = target {
            self.file("target.dataset.path", &data.path);
            self.split(&data.split);
        } else if let Err(error) = target.build_exact() {
            self.report("target", error.to_string());
        }
    }

    /// Sizes that add up to more than all rows of any file; what depends on the file is asked when it is read.
    fn split(&mut self, split: &SplitConfig) {
        let SplitConfig { train, validation, test } = *split;
        let sum = train + validation + test;
        let are_counts = [train, validation, test].iter().all(|size| size.fract() == 0.0);
        // 0.7 + 0.2 + 0.1 exceeds 1 by a rounding error.
        if sum > 1.0 + 1e-9 && !are_counts {
            let message = "expected three fractions with a sum of at most 1, or three counts";
            self.report("target.dataset.split", format!("{message}, found {train}, {validation} and {test}"));
        }
    }

    fn file(&mut self, path: &str, file: &Path) {
        if file.is_file() {
            return;
        }
        let message = if file.as_os_str().is_empty() {
            "expected the path of a file, found \"\"".to_owned()
        } else if file.starts_with("~") {
            format!("there is no file {}; `~` is not expanded, so write the home folder out", file.display())
        } else if file.is_dir() {
            format!("expected a file, found the folder {}", file.display())
        } else {
            format!("there is no file {}; {}", file.display(), WHERE)
        };
        self.report(path, message);
    }

    fn noise_levels(&mut self, path: &str, noise_levels: &NoiseLevels) {
        match noise_levels {
            NoiseLevels::LogNormal { .. } => {}
            NoiseLevels::LogUniform { sigma_min, sigma_max } => {
                self.increasing(&format!("{path}.log_uniform"), "sigma_min", *sigma_min, "sigma_max", *sigma_max);
            }
            NoiseLevels::UniformTime { schedule, t_min, t_max } => {
                let path = format!("{path}.uniform_time");
                self.increasing(&path, "t_min", *t_min, "t_max", *t_max);
                self.schedule(&format!("{path}.schedule"), schedule);
            }
            NoiseLevels::Tabulated { sigma } => {
                let sound = |i: usize| sigma[i] > 0.0 && (i == 0 || sigma[i] >= sigma[i - 1]);
                if let Some(i) = (0..sigma.len()).find(|&i| !sound(i)) {
                    let message = format!("expected positive numbers, none below the one before, found {}", sigma[i]);
                    self.report(&format!("{path}.tabulated.sigma.{i}"), message);
                }
            }
        }
    }

    fn schedule(&mut self, path: &str, schedule: &NoiseSchedule) {
        match schedule {
            NoiseSchedule::OrnsteinUhlenbeck { .. } | NoiseSchedule::Edm {} => {}
            NoiseSchedule::VariancePreserving { beta_min, beta_max } => {
                if beta_min > beta_max {
                    let path = format!("{path}.variance_preserving");
                    self.report(
                        &format!("{path}.beta_max"),
                        format!("expected at least `beta_min`, {beta_min}, found {beta_max}"),
                    );
                }
            }
            NoiseSchedule::VarianceExploding { sigma_min, sigma_max } => {
                self.increasing(
                    &format!("{path}.variance_exploding"),
                    "sigma_min",
                    *sigma_min,
                    "sigma_max",
                    *sigma_max,
                );
            }
        }
    }

    fn loss(&mut self, loss: &LossConfig) {
        let largest = loss.largest_step();
        if let LossConfig::ChainStep { .. } = loss
            && largest >= 1.0
        {
            self.report(
                "method.denoising_score_matching.loss.chain_step",
                format!(
                    "expected every step of the chain to be below 1, found a last step of {largest}; lower `eta`, `growth` or `steps`"
                ),
            );
        }
    }

    fn training(&mut self, config: &Config) {
        let training = &config.training;
        if let Some(micro_batch) = training.micro_batch
            && !training.batch.is_multiple_of(micro_batch)
        {
            let batch = training.batch;
            self.report(
                "training.micro_batch",
                format!("expected a divisor of `training.batch`, {batch}, found {micro_batch}"),
            );
        }
        let (kind, peak) = match training.learning_rate {
            LearningRate::Constant { rate, .. } => ("constant", rate),
            LearningRate::Cosine { peak, .. } => ("cosine", peak),
            LearningRate::InverseSquareRoot { peak, .. } => ("inverse_square_root", peak),
        };
        let path = format!("training.learning_rate.{kind}");
        let (warmup, steps) = (training.learning_rate.warmup(), training.steps);
        if warmup > steps {
            self.report(
                &format!("{path}.warmup"),
                format!("expected at most `training.steps`, {steps}, found {warmup}"),
            );
        }
        if let LearningRate::Cosine { last, .. } = training.learning_rate
            && last > peak
        {
            self.report(&format!("{path}.last"), format!("expected at most `peak`, {peak}, found {last}"));
        }
        if let Some(start) = &training.start_from
            && !start.is_dir()
        {
            self.report("training.start_from", format!("there is no run directory {}; {WHERE}", start.display()));
        }
    }

    /// Whether the first of two keys of one section is below the second; reports them where it is not.
    fn increasing(&mut self, section: &str, low_key: &str, low: f64, high_key: &str, high: f64) -> bool {
        if low < high {
            return true;
        }
        let (low_path, high_path) = (format!("{section}.{low_key}"), format!("{section}.{high_key}"));
        // Where only the lower one was written, that is the one to change.
        if self.tree.get(&high_path).is_none() && self.tree.get(&low_path).is_some() {
            self.report(&low_path, format!("expected a number below `{high_key}`, {high}, found {low}"));
        } else {
            self.report(&high_path, format!("expected a number above `{low_key}`, {low}, found {high}"));
        }
        false
    }
}

/// What a path is relative to.
const WHERE: &str = "a path is relative to the folder in which `train` is started";
