//! The command line of `train`.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use brenier_training::run_directory::CheckpointSelector;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::device::DeviceName;
use crate::logging::LogFormat;

/// The version and the commit of this program, as they are kept in its files.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("BRENIER_COMMIT"), ")");

/// What `train --version` prints after the name: version, commit, devices and cargo features.
static BUILD: LazyLock<String> = LazyLock::new(|| {
    let built = |names: &[(&'static str, bool)]| -> String {
        let names: Vec<_> = names.iter().filter(|(_, built)| *built).map(|(name, _)| *name).collect();
        if names.is_empty() { "none".to_string() } else { names.join(", ") }
    };
    let devices = built(&[
        ("cpu", true),
        ("ndarray", cfg!(feature = "ndarray")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("vulkan", cfg!(feature = "vulkan")),
        ("cuda", cfg!(feature = "cuda")),
    ]);
    let features = built(&[("gpu-tuned", cfg!(feature = "gpu-tuned"))]);
    format!("{VERSION}\ndevices: {devices}\nfurther features: {features}")
});

/// Trains neural samplers and measures how good they are.
#[derive(Debug, Parser)]
#[command(name = "train", version = BUILD.as_str(), max_term_width = 110)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// How much is said.
    #[command(flatten)]
    pub talk: Talk,
}

/// How much is said on stderr.
#[derive(Debug, Args)]
pub struct Talk {
    /// Say more: -v debug, -vv trace (RUST_LOG overrides).
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Say only warnings and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// The form of log lines.
    #[arg(long, value_name = "FORMAT", default_value = "text", global = true)]
    pub log_format: LogFormat,
}

/// What `train` does.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Train a sampler from a config, evaluate it, and write its run directory.
    Run(RunArguments),
    /// Go on with a run, bit for bit as if it had never stopped.
    Resume(ResumeArguments),
    /// Print a config for a data file.
    Init(InitArguments),
    /// Draw samples from a trained run.
    Sample(SampleArguments),
    /// Compare samples of a run with its target: every metric with standard error and floor.
    Evaluate(EvaluateArguments),
    /// Compare points in a file with those in another, or with a target: every distance with standard error and floor.
    Metrics(MetricsArguments),
    /// Write the log-density of given points under a run.
    Density(DensityArguments),
    /// Say whether `run` would accept a config; writes nothing.
    Check(CheckArguments),
    /// Print the JSON schema of configs.
    Schema,
    /// List the devices, and why one is not usable.
    Devices(DevicesArguments),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// What runs where.
#[derive(Debug, Args)]
pub struct Compute {
    /// The device: `cpu`, `ndarray`, `wgpu` or `wgpu:INDEX`, or that of an optional feature; see `train devices`.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceName>,
    /// The number of threads; results do not depend on it [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

/// Which part of a run is opened.
#[derive(Debug, Args)]
pub struct Opened {
    /// A run directory.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// The checkpoint: best, latest or a step.
    #[arg(long, value_name = "WHICH", default_value = "best")]
    pub checkpoint: CheckpointSelector,
    #[command(flatten)]
    pub compute: Compute,
    /// The seed of every draw [default: the run's].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// How samples are drawn from a network.
#[derive(Debug, Default, PartialEq, Args)]
pub struct Sampling {
    /// The sampler: euler, heun, dpm_solver_2m, euler_maruyama, churn, transport_chain, langevin_chain, or its JSON with settings [default: the run's].
    #[arg(long, value_name = "SAMPLER")]
    pub sampler: Option<String>,
    /// The grid of noise levels: karras, log_snr, or its JSON with settings [default: the run's].
    #[arg(long, value_name = "GRID")]
    pub grid: Option<String>,
    /// The number of steps [default: the run's].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub steps: Option<u32>,
}

/// `train run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// A config, or with --resume the run's own.
    pub config: PathBuf,
    /// Override one value of the config, such as --set training.steps=1000; may be given again.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// The run directory [default: `output.directory`/`name` of the config].
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Go on with the directory if it exists.
    #[arg(long, conflicts_with = "fresh")]
    pub resume: bool,
    /// Move the directory to NAME.old-N if it exists, and start anew.
    #[arg(long)]
    pub fresh: bool,
    /// Stop and keep a checkpoint after this long, such as 90s, 30m, 8h; exit code 75.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_time: Option<Duration>,
    /// The seed of every draw [default: the config's].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub compute: Compute,
}

/// `train resume`.
#[derive(Debug, Args)]
pub struct ResumeArguments {
    /// A run directory.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Stop and keep a checkpoint after this long, such as 90s, 30m, 8h; exit code 75.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_time: Option<Duration>,
    #[command(flatten)]
    pub compute: Compute,
}

/// `train init`.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// A data file: npy, npz, csv or IDX, also gzipped.
    pub file: PathBuf,
}

/// `train sample`.
#[derive(Debug, Args)]
pub struct SampleArguments {
    #[command(flatten)]
    pub opened: Opened,
    #[command(flatten)]
    pub sampling: Sampling,
    /// The number of samples.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// The file to write: .npy, .csv, or .png for image-shaped data. An existing file is replaced.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// `train evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArguments {
    #[command(flatten)]
    pub opened: Opened,
    #[command(flatten)]
    pub sampling: Sampling,
    /// The number of samples [default: as many as there are test points, or the config's count].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=10_000_000))]
    pub count: Option<u64>,
    #[command(flatten)]
    pub judging: Judging,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// What is measured, and how.
#[derive(Debug, Default, PartialEq, Args)]
pub struct Judging {
    /// Only these metrics, such as w2,w1; an unknown name lists the known ones [default: all that apply].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub only: Option<Vec<String>>,
    /// How many perfect sample sets make a floor [default: 10, fewer where one distance takes seconds].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=10_000))]
    pub repeats: Option<u16>,
    /// The ε of the Sinkhorn divergence, in the squared unit of the data.
    #[arg(long, value_name = "E", value_parser = parse_positive, conflicts_with = "relative_epsilon")]
    pub epsilon: Option<f64>,
    /// The ε of the Sinkhorn divergence as a part of the mean squared distance [default: 0.05].
    #[arg(long, value_name = "R", value_parser = parse_positive)]
    pub relative_epsilon: Option<f64>,
    /// The k of k nearest neighbours [default: 5].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    pub k: Option<u16>,
}

/// `train metrics`.
#[derive(Debug, Args)]
pub struct MetricsArguments {
    /// The sampler's points: npy, npz, csv or IDX, also gzipped.
    #[arg(value_name = "A")]
    pub samples: PathBuf,
    /// What they are compared with: another file of points, or a JSON file that holds a target or a config.
    #[arg(value_name = "B")]
    pub reference: PathBuf,
    #[command(flatten)]
    pub judging: Judging,
    /// The sampler's own log-density (nats) at the rows of A, one column: gives elbo, log_z, ess_reverse, pareto_k and the exact
    /// kl_reverse against a target.
    #[arg(long, value_name = "FILE")]
    pub log_density: Option<PathBuf>,
    /// The number of fresh draws of a target [default: as many as A has].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub count: Option<u64>,
    #[command(flatten)]
    pub compute: Compute,
    /// The seed of every draw.
    #[arg(long, value_name = "N", default_value = "0")]
    pub seed: u64,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// `train density`.
#[derive(Debug, Args)]
pub struct DensityArguments {
    #[command(flatten)]
    pub opened: Opened,
    /// The points: a data file in the coordinates of the training data.
    #[arg(long = "in", value_name = "FILE")]
    pub input: PathBuf,
    /// The file to write: .npy or .csv, a log-density (nats) and its standard error a point. An existing file is replaced.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The number of steps of the probability-flow ODE.
    #[arg(long, value_name = "K", default_value = "64", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub steps: u32,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// `train check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// A config.
    pub config: PathBuf,
    /// Override one value of the config, as in `run`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    #[command(flatten)]
    pub compute: Compute,
}

/// `train devices`.
#[derive(Debug, Args)]
pub struct DevicesArguments {
    /// Print one JSON list on stdout.
    #[arg(long)]
    pub json: bool,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let factor = match unit {
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err("expected a number with s, m, h or d, such as 30m".into()),
    };
    match number.parse::<f64>() {
        Ok(number) => Duration::try_from_secs_f64(number * factor).map_err(|error| error.to_string()),
        Err(_) => Err("expected a number with s, m, h or d, such as 30m".into()),
    }
}

fn parse_positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("expected a number above 0".into()),
    }
}
