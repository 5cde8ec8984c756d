//! A run's config: what it holds, and how a file and a command line become one.
//!
//! # Design
//!
//! Defaults, then the file, then `--set`, then flags. The file is parsed into a tree that knows the line of every value
//! ([`tree`]), the command line is laid over it ([`set`]), the schema that schemars derives from these types is
//! checked against the tree ([`check`]), serde makes the types, and what no schema can say is asked of them
//! ([`consistency`]). A text that is no JSON ends at its first mistake; otherwise every mistake is listed, and nothing has
//! been touched yet.

pub mod check;
pub mod difference;
pub mod init;
pub mod set;
pub mod tree;

mod consistency;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf, absolute};

use brenier_measure::TargetConfig;
use brenier_model::{GridConfig, NetworkConfig, Preconditioning, SamplerConfig};
use brenier_training::{LossConfig, NoiseLevels, TrainingConfig};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use self::check::Problem;
use self::set::Override;
use self::tree::{Kind, Node, SyntaxError};
use crate::device::DeviceName;
use crate::watch::WatchConfig;

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
    /// How long, how fast, and what is averaged.
    pub training: TrainingConfig,
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
    /// A network learns the score of the target under noise of every level.
    DenoisingScoreMatching(DenoisingScoreMatchingConfig),
}

/// Denoising score matching: the network and what it minimises.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DenoisingScoreMatchingConfig {
    /// The network.
    pub network: NetworkConfig,
    /// How the network's output becomes a denoised point.
    pub preconditioning: Preconditioning,
    /// The distribution of the noise levels trained on.
    pub noise_levels: NoiseLevelsConfig,
    /// The loss.
    pub loss: LossConfig,
}

/// How the noise level σ of each training point is drawn, in standardised coordinates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NoiseLevelsConfig {
    /// A distribution that the config holds.
    Given(NoiseLevels),
    /// A distribution that comes from the training data.
    FromData(NoiseLevelsFromData),
}

/// A distribution of noise levels that comes from the training data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NoiseLevelsFromData {
    /// A share where the posterior covariance of the data says that the denoiser changes, and the rest of a floor, so that no level
    /// at which a sampler may stop is left out.
    Localized {
        /// The share.
        #[serde(default = "half")]
        #[schemars(extend("exclusiveMinimum" = 0.0), range(max = 1.0))]
        share: f64,
        /// The floor.
        #[serde(default = "edm")]
        floor: NoiseLevels,
    },
}

impl NoiseLevelsFromData {
    /// The share and the floor.
    pub fn parts(&self) -> (f64, &NoiseLevels) {
        let Self::Localized { share, floor } = self;
        (*share, floor)
    }
}

impl From<NoiseLevels> for NoiseLevelsConfig {
    fn from(levels: NoiseLevels) -> Self {
        Self::Given(levels)
    }
}

fn half() -> f64 {
    0.5
}

/// The distribution of Karras et al. (2206.00364).
fn edm() -> NoiseLevels {
    NoiseLevels::LogNormal { mean: -1.2, sd: 1.2 }
}

/// How the result of a run is sampled and judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// The number of samples drawn.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub count: u64,
    /// The sampler.
    pub sampler: SamplerConfig,
    /// How the noise levels of the sampler are spaced.
    pub grid: GridConfig,
    /// The least noise level, in standardised coordinates; the last step goes from there to 0. A localized grid has its own.
    #[schemars(range(min = 1e-6))]
    pub sigma_min: f64,
    /// The greatest noise level, where sampling starts. A localized grid has its own.
    #[schemars(range(max = 1e6), extend("exclusiveMinimum" = 0.0))]
    pub sigma_max: f64,
    /// The number of steps of the sampler.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub steps: usize,
    /// The log-density of the run's network at test points and samples, where it has one; null where it is not wanted.
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
            sampler: SamplerConfig::default(),
            grid: GridConfig::default(),
            sigma_min: 0.002,
            sigma_max: 80.0,
            steps: 18,
            log_density: Some(LogDensityConfig::default()),
            best_by: BestBy::default(),
            watch: None,
        }
    }
}

/// How the log-density of a network is judged: by the probability-flow ODE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogDensityConfig {
    /// At most so many test points, and so many samples; an effective sample size takes 1000.
    #[schemars(range(min = 2, max = 10_000_000))]
    pub points: usize,
    /// The number of steps of the ODE.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub steps: usize,
}

impl Default for LogDensityConfig {
    fn default() -> Self {
        Self { points: 1000, steps: 32 }
    }
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

/// The JSON schema of a config, as `train schema` prints it.
pub fn schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

/// The config of a file, with what the command line puts over it: first `sets` (`training.steps=5`), then `flags`.
///
/// # Errors
///
/// [`ConfigError`], with every mistake that can be found without reading data.
pub fn load(path: &Path, sets: &[String], flags: &[Override]) -> Result<Config, ConfigError> {
    parse(path, &read(path)?, sets, flags)
}

/// The target of a file that holds just a target, or of a config: then the rest of it is not looked at.
///
/// # Errors
///
/// [`ConfigError`], with every mistake that can be found without reading data.
pub fn load_target(path: &Path) -> Result<TargetConfig, ConfigError> {
    parse_target(path, &read(path)?)
}

/// [`load_target`] for a text at hand; `path` serves the messages.
pub fn parse_target(path: &Path, text: &str) -> Result<TargetConfig, ConfigError> {
    const KEY: &str = "target";
    let mut tree = parse_tree(path, text)?;
    if let Kind::Object(entries) = &mut tree.kind {
        entries.retain(|entry| entry.key != "$schema");
    }
    let (node, prefix) = match tree.get(KEY) {
        Some(node) => (node, KEY),
        None => (&tree, ""),
    };
    let below = |problem: Problem| {
        let both = if prefix.is_empty() || problem.path.is_empty() { "" } else { "." };
        Problem { path: format!("{prefix}{both}{}", problem.path), ..problem }
    };
    let invalid = |problems: Vec<Problem>| {
        let problems = problems.into_iter().map(below).collect();
        ConfigError::InvalidTarget { path: path.to_owned(), problems }
    };
    let (value, problems) = check::check(&schemars::schema_for!(TargetConfig).to_value(), node);
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    let target: TargetConfig = deserialize(node, value).map_err(|problem| invalid(vec![problem]))?;
    match target.build_exact() {
        Ok(_) => Ok(target),
        Err(error) => {
            let problem = Problem { origin: node.origin.clone(), path: String::new(), message: error.to_string() };
            Err(invalid(vec![problem]))
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    // A config is a few kilobytes; a data file given by mistake may be anything.
    const LARGEST: u64 = 16 << 20;
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let no_text = || ConfigError::NoText { path: path.to_owned() };
    if std::fs::metadata(path).map_err(unreadable)?.len() > LARGEST {
        return Err(no_text());
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| no_text())
}

fn parse_tree(path: &Path, text: &str) -> Result<Node, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    tree::parse(text).map_err(|error| ConfigError::Syntax { path: path.to_owned(), error })
}

/// [`load`] for a text at hand; `path` serves the messages.
pub fn parse(path: &Path, text: &str, sets: &[String], flags: &[Override]) -> Result<Config, ConfigError> {
    let invalid = |problems| ConfigError::Invalid { path: path.to_owned(), problems };
    let mut tree = parse_tree(path, text)?;
    let schema = schema();
    let mut problems = Vec::new();
    for value in sets.iter().map(|text| Override::set(text)).chain(flags.iter().cloned().map(Ok)) {
        if let Err(problem) = value.and_then(|value| value.apply(&schema, &mut tree)) {
            problems.push(problem);
        }
    }
    let (value, mistakes) = check::check(&schema, &tree);
    problems.extend(mistakes);
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    let config: Config = deserialize(&tree, value).map_err(|problem| invalid(vec![problem]))?;
    let problems = consistency::problems(&config, &tree);
    if problems.is_empty() { Ok(config.with_absolute_paths()) } else { Err(invalid(problems)) }
}

/// The types of a checked value; what only their own conversions refuse keeps its place too.
fn deserialize<T: DeserializeOwned>(tree: &Node, value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string().replace('[', ".").replace(']', "");
        let path = path.trim_matches('.').to_owned();
        Problem { origin: tree.origin_of(&path).clone(), path, message: error.into_inner().to_string() }
    })
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

    fn with_absolute_paths(mut self) -> Self {
        let fix = |path: &mut PathBuf| {
            if let Ok(whole) = absolute(&*path) {
                *path = whole;
            }
        };
        if let TargetConfig::Dataset(data) = &mut self.target {
            fix(&mut data.path);
        }
        if let Some(start) = &mut self.training.start_from {
            fix(start);
        }
        fix(&mut self.output.directory);
        self
    }
}
