//! A run's config: what it holds, and how a file and a command line become one.
//!
//! # Design
//!
//! Defaults, then the file, then `--set`, then flags. The file is parsed into a tree that knows the line of every value
//! ([`tree`]), the command line is laid over it ([`set`]), the schema that schemars derives from these types is
//! checked against the tree ([`check`]), serde makes the types, the method writes out what is left to it, and what no schema can
//! say is asked of them ([`consistency`], and of the method); [`load`] does all of it. A text that is no JSON ends at its first
//! mistake; otherwise every mistake is listed, and nothing has been touched yet.

pub mod check;
pub mod consistency;
pub mod difference;
pub mod init;
pub mod load;
pub mod mistakes;
pub mod set;
pub mod tree;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};

use brenier_measure::TargetConfig;
use brenier_model::{GridConfig, SamplerConfig};
use brenier_training::{
    AnnealedParticlesConfig, GaussianMixtureConfig, MongeAmpereLogisticConfig, MongeAmpereScoreConfig, TrainingConfig,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use self::check::Problem;
use self::tree::SyntaxError;
use crate::device::DeviceName;
use crate::methods::score_matching::config::DenoisingScoreMatchingConfig;

/// A run of the program `train`: one file, one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "A run of `train`")]
pub struct Config {
    /// Where an editor finds the schema of this file; not read.
    #[serde(rename = "$schema", default, skip_serializing)]
    pub schema: Option<String>,
    /// The name of the run and of its folder: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The seed that every random draw is a function of.
    #[serde(default)]
    pub seed: u64,
    /// Where the run computes.
    #[serde(default)]
    pub device: DeviceName,
    /// What is learnt.
    pub target: TargetConfig,
    /// How it is learnt.
    pub method: MethodConfig,
    /// How long a score network is trained, how fast, and what is averaged; methods without a network have keys of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TrainingConfig")]
    pub training: Option<TrainingConfig>,
    /// How the result is sampled and judged.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
    /// What is written, where and how often.
    #[serde(default)]
    pub output: OutputConfig,
}

/// A way to train a sampler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MethodConfig {
    /// Particles follow a density, known up to a constant, from a Gaussian to the target.
    AnnealedParticles(AnnealedParticlesConfig),
    /// A network learns the score of the target under noise of every level.
    DenoisingScoreMatching(DenoisingScoreMatchingConfig),
    /// A Gaussian mixture is fitted to points by expectation and maximisation.
    GaussianMixture(GaussianMixtureConfig),
    /// A Brenier map between a reference and the target is learnt from samples by logistic regression.
    MongeAmpereLogistic(Box<MongeAmpereLogisticConfig>),
    /// A Brenier map between a reference and the target is learnt from a density that is known up to a constant.
    MongeAmpereScore(Box<MongeAmpereScoreConfig>),
    /// The smallest method there is.
    #[cfg(test)]
    #[schemars(skip)]
    GaussianMoments(crate::methods::gaussian_moments::GaussianMomentsConfig),
}

/// How the result of a run is sampled and judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// The number of samples drawn.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub count: u64,
    /// The sampler of a score network [default: heun].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SamplerConfig")]
    pub sampler: Option<SamplerConfig>,
    /// How the noise levels of the sampler are spaced [default: karras].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "GridConfig")]
    pub grid: Option<GridConfig>,
    /// The least noise level, in standardised coordinates, before the step to 0. A localized grid has its own [default: 0.002].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64", range(min = 1e-6))]
    pub sigma_min: Option<f64>,
    /// The greatest noise level, where sampling starts. A localized grid has its own [default: 80].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "f64", range(max = 1e6), extend("exclusiveMinimum" = 0.0))]
    pub sigma_max: Option<f64>,
    /// The number of steps of the sampler [default: 18].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "usize", range(min = 1, max = 1_000_000))]
    pub steps: Option<usize>,
    /// The log-density of the run's law at test points and samples, where it has one; null where it is not wanted.
    pub log_density: Option<LogDensityConfig>,
    /// What the best checkpoint is best by.
    pub best_by: BestBy,
    /// Distances to held-out points that are computed during training, on the device of the run. Null: none.
    pub watch: Option<WatchConfig>,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            count: 2000,
            sampler: None,
            grid: None,
            sigma_min: None,
            sigma_max: None,
            steps: None,
            log_density: Some(LogDensityConfig::default()),
            best_by: BestBy::default(),
            watch: None,
        }
    }
}

/// How the log-density of a trained law is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogDensityConfig {
    /// At most so many test points, and so many samples; an effective sample size takes 1000.
    #[schemars(range(min = 2, max = 10_000_000))]
    pub points: usize,
    /// The number of steps of the ODE that gives the log-density of a score network [default: 32].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "usize", range(min = 2, max = 1_000_000))]
    pub steps: Option<usize>,
}

impl Default for LogDensityConfig {
    fn default() -> Self {
        Self { points: 1000, steps: None }
    }
}

/// What a run computes while it trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchConfig {
    /// The distances, each logged as `watch_` and its name, in standardised coordinates.
    #[schemars(length(min = 1))]
    pub metrics: Vec<WatchedMetric>,
    /// The number of samples, and the most held-out points that they are compared with.
    #[serde(default = "thousand")]
    #[schemars(range(min = 2, max = 1_000_000))]
    pub count: u64,
    /// Steps between two times. Null: at every checkpoint, `output.checkpoint_every`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub every: Option<u64>,
}

fn thousand() -> u64 {
    1000
}

/// A distance that can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WatchedMetric {
    /// Sliced W₂ over 500 directions that stay the same.
    SlicedW2,
    /// The Sinkhorn divergence of the squared distance, at ε = 5 % of its mean between held-out points.
    SinkhornDivergence,
    /// The energy distance.
    EnergyDistance,
    /// The squared maximum mean discrepancy; the bandwidth is the median distance between held-out points.
    MmdSquared,
}

/// What the best checkpoint of a run is best by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BestBy {
    /// The lowest loss of the averaged weights on points that are not trained on.
    #[default]
    HeldOutLoss,
}

/// What a run writes, where and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutputConfig {
    /// The folder in which the run's own folder is made.
    pub directory: PathBuf,
    /// Steps between two lines of metrics.jsonl.
    #[schemars(range(min = 1))]
    pub log_every: u64,
    /// Steps between two checkpoints.
    #[schemars(range(min = 1))]
    pub checkpoint_every: u64,
    /// How many checkpoints are kept beside the best one.
    #[schemars(range(min = 1))]
    pub keep_last: usize,
    /// Whether TensorBoard event files are written.
    pub tensorboard: bool,
    /// Whether figures are drawn at checkpoints and at the end.
    pub figures: bool,
}

impl Default for OutputConfig {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("checkpoints"),
            log_every: 100,
            checkpoint_every: 2000,
            keep_last: 3,
            tensorboard: false,
            figures: true,
        }
    }
}

/// Why there is no config.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A signal came before the text.
    #[error("interrupted before a config was read")]
    Interrupted,
    /// The file is text in UTF-16.
    #[error("{} is text in UTF-16, and a config is read as UTF-8", path.display())]
    Utf16 {
        /// The file.
        path: PathBuf,
    },
    /// The file is no text.
    #[error("{} is no text, so it is no config", path.display())]
    NoText {
        /// The file.
        path: PathBuf,
    },
    /// The text is no JSON.
    #[error("{}:{}:{}: {}", path.display(), error.line, error.column, error.message)]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: SyntaxError,
    },
    /// The text is JSON, and no config.
    #[error("{}", Listed { what: "config", path, problems })]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Every mistake.
        problems: Vec<Problem>,
    },
    /// The text is JSON, and no target.
    #[error("{}", Listed { what: "target", path, problems })]
    InvalidTarget {
        /// The file.
        path: PathBuf,
        /// Every mistake.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// What to try, in one sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "give the path of a JSON file; configs/ holds examples",
            Self::Interrupted => "give the command again",
            Self::Utf16 { .. } => {
                "save it as UTF-8; the redirection of Windows PowerShell 5 writes UTF-16: use `train init FILE | Out-File -Encoding utf8 CONFIG`"
            }
            Self::NoText { .. } => "a config is a JSON file; `train init FILE` writes one for a data file",
            Self::Syntax { .. } => "a config is plain JSON; `train check` reads it without running it",
            Self::InvalidTarget { .. } => {
                "give a target, such as {\"ring\": {}}, or a config with a `target`; `train schema` prints every target"
            }
            Self::Invalid { .. } => "`train schema` prints every key with its range and its meaning",
        }
    }
}

/// One mistake in one line; several under a heading.
struct Listed<'a> {
    what: &'static str,
    path: &'a Path,
    problems: &'a [Problem],
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.path.display().to_string();
        match self.problems {
            [only] => f.write_str(&only.describe(&file)),
            several => {
                write!(f, "{} mistakes in the {} {file}", several.len(), self.what)?;
                several.iter().try_for_each(|problem| write!(f, "\n  {}", problem.describe(&file)))
            }
        }
    }
}

impl Config {
    /// The resolved config as JSON.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("a config has string keys and finite numbers")
    }

    /// The folder of this run: `output.directory` and the name.
    pub fn run_directory(&self) -> PathBuf {
        self.output.directory.join(&self.name)
    }
}
