//! The command line of `train`.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use brenier_training::run_directory::CheckpointSelector;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::device::DeviceName;
use crate::list::List;
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
    /// Carry given points through the map of a run: from its reference to the data, or back.
    Transport(TransportArguments),
    /// Say where denoising a target, a data set or a run is hard: localization, curvature and multi-scale complexity.
    Localize(LocalizeArguments),
    /// Diffuse, then denoise: the forward chain from a target or any start, and back with its scores, beside the bounds.
    Chain(ChainArguments),
    /// Run a study of many runs, or print it for the scheduler of a cluster.
    Sweep(SweepArguments),
    /// Put what many runs found into one table.
    Collect(CollectArguments),
    /// Write one HTML page that explains runs to somebody who was not there.
    Report(ReportArguments),
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

/// How text files of points are read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Args)]
pub struct TextFiles {
    /// Whether the first line of a csv or tsv file holds names, where it does not tell by itself.
    #[arg(long, value_name = "yes|no")]
    pub header: Option<Header>,
}

/// Whether a first line holds names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Header {
    /// It does.
    Yes,
    /// It is a point.
    No,
}

impl TextFiles {
    /// The same as a key of a data set.
    pub fn header(self) -> Option<bool> {
        self.header.map(|header| header == Header::Yes)
    }
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
    /// Where the data of the run are now, if they have moved; they must be the same, byte for byte.
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub compute: Compute,
    /// The seed of every draw [default: the run's].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// How samples are drawn from a law that knows the score at every noise level.
#[derive(Debug, Default, PartialEq, Args)]
pub struct Sampling {
    /// The sampler: euler, heun, dpm_solver_2m, euler_maruyama, ancestral, churn, transport_chain, langevin_chain, or its JSON with settings [default: the run's; a mixture is drawn exactly].
    #[arg(long, value_name = "SAMPLER")]
    pub sampler: Option<String>,
    /// The grid of noise levels: karras, log_snr, localized, localized_optimized, or its JSON with settings [default: the run's].
    #[arg(long, value_name = "GRID")]
    pub grid: Option<String>,
    /// The least noise level, in standardised coordinates; a localized grid has its own [default: the run's].
    #[arg(long, value_name = "S", value_parser = parse_positive)]
    pub sigma_min: Option<f64>,
    /// The greatest noise level, where sampling starts; a localized grid has its own [default: the run's].
    #[arg(long, value_name = "S", value_parser = parse_positive)]
    pub sigma_max: Option<f64>,
    /// The number of steps [default: the run's].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub steps: Option<u32>,
}

impl Sampling {
    /// The first flag that was given, by name.
    pub fn first_given(&self) -> Option<&'static str> {
        let Self { sampler, grid, sigma_min, sigma_max, steps } = self;
        let given = [
            ("--sampler", sampler.is_some()),
            ("--grid", grid.is_some()),
            ("--sigma-min", sigma_min.is_some()),
            ("--sigma-max", sigma_max.is_some()),
            ("--steps", steps.is_some()),
        ];
        given.into_iter().find_map(|(name, is_given)| is_given.then_some(name))
    }
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
    /// Where the data of the run that goes on are now, if they have moved; they must be the same, byte for byte.
    #[arg(long, value_name = "PATH", requires = "resume")]
    pub data: Option<PathBuf>,
    /// Move the directory to NAME.old-N if it exists, and start anew.
    #[arg(long)]
    pub fresh: bool,
    /// Stop and keep a checkpoint after this long, such as 90s, 30m, 8h; exit code 75.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_time: Option<Duration>,
    /// Stop and keep a checkpoint after this many further steps; exit code 75, or 0 where that is the end.
    ///
    /// A GPU reads the losses of several steps together, and stops at the first of these readings from there on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_steps: Option<u64>,
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
    /// Where the data of the run are now, if they have moved; they must be the same, byte for byte.
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Stop and keep a checkpoint after this long, such as 90s, 30m, 8h; exit code 75.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_time: Option<Duration>,
    /// Stop and keep a checkpoint after this many further steps; exit code 75, or 0 where that is the end.
    ///
    /// A GPU reads the losses of several steps together, and stops at the first of these readings from there on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_steps: Option<u64>,
    #[command(flatten)]
    pub compute: Compute,
}

/// `train init`.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// A data file: npy, npz, csv or IDX, also gzipped.
    #[arg(required_unless_present = "expression")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub text_files: TextFiles,
    /// The way to learn.
    #[arg(long, value_name = "METHOD", default_value = "denoising_score_matching")]
    pub method: InitMethod,
    /// In place of a file a log-density, up to a constant, such as "-(x0^2 - 1)^2 - 0.5*(x1 - x0)^2"; particles follow it.
    #[arg(long, value_name = "FORMULA", requires = "dim", conflicts_with_all = ["file", "method"], allow_hyphen_values = true)]
    pub expression: Option<String>,
    /// The dimension of a log-density.
    #[arg(long, value_name = "D", requires = "expression", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub dim: Option<u64>,
}

/// The methods that a config can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum InitMethod {
    /// A score network.
    #[default]
    DenoisingScoreMatching,
    /// A Gaussian mixture.
    GaussianMixture,
    /// A Brenier map.
    MongeAmpereLogistic,
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
    /// Draw part I of N of the samples, such as 0/8: parts that are joined in their order are the whole, bit for bit.
    #[arg(long, value_name = "I/N", value_parser = Shard::parse, conflicts_with = "correct")]
    pub shard: Option<Shard>,
    /// Resample by importance weights, and move every sample by a short Markov chain at the density that the run follows.
    #[arg(long)]
    pub correct: bool,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// A part of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u64,
    of: u64,
}

impl Shard {
    /// The part that a text such as `0/8` names.
    ///
    /// # Errors
    ///
    /// In words, what is wrong with it.
    fn parse(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((index, of)) if index < of => Ok(Self { index, of }),
            _ => Err("parts are I/N with I from 0 to N - 1, such as 0/8 for the first of eight".to_owned()),
        }
    }

    /// The indices `⌊iN/n⌋` to `⌊(i+1)N/n⌋` of N samples.
    pub fn indices(&self, count: u64) -> Range<u64> {
        let end = |index: u64| (u128::from(index) * u128::from(count) / u128::from(self.of)) as u64;
        end(self.index)..end(self.index + 1)
    }
}

/// `train evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArguments {
    #[command(flatten)]
    pub opened: Opened,
    /// More runs of the same target, to be set beside the first.
    #[arg(value_name = "RUN")]
    pub others: Vec<PathBuf>,
    #[command(flatten)]
    pub sampling: Sampling,
    /// The number of samples [default: as many as there are test points, or the config's count].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=10_000_000))]
    pub count: Option<u64>,
    #[command(flatten)]
    pub judging: Judging,
    /// An npz archive with points of the reference, `test_x`, and their images under the true map in the coordinates of the data, `test_map`, one a row:
    /// gives l2_uvp and cosine of a map.
    #[arg(long, value_name = "FILE")]
    pub pairs: Option<PathBuf>,
    /// A csv file for the summary of every coordinate, where the run follows a density.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["others", "only"])]
    pub out: Option<PathBuf>,
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

/// `train sweep`.
#[derive(Debug, Args)]
pub struct SweepArguments {
    /// A JSON file: `config`, and of `seeds`, `grid` (key: values), `list` (values that belong together) and `directory` what it takes; paths
    /// lead from the current folder.
    #[arg(value_name = "SWEEP.json")]
    pub sweep: PathBuf,
    /// The number of runs side by side, at most [default: 1; on a cluster all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Devices, which the runs side by side take in turn [default: that of the config].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub devices: Vec<DeviceName>,
    /// The number of threads of each run; results do not depend on it [default: the cores by the jobs].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Print a script for this scheduler instead, and run nothing.
    #[arg(long, value_name = "SCHEDULER")]
    pub plan: Option<Plan>,
    /// The longest time of one run on a cluster, such as 8h, before it is requeued.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    pub time_limit: Duration,
    /// The image of a plan for Kubernetes.
    #[arg(long, value_name = "IMAGE", default_value = "brenier")]
    pub image: String,
    /// The persistent volume claim of a plan for Kubernetes, mounted where this command is given.
    #[arg(long, value_name = "NAME", default_value = "brenier")]
    pub claim: String,
}

/// The schedulers that a plan can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Plan {
    /// An array script for `sbatch`.
    Slurm,
    /// An indexed Job for `kubectl apply -f -`.
    Kubernetes,
}

/// `train collect`.
#[derive(Debug, Args)]
pub struct CollectArguments {
    /// The folder that holds the run directories.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Only these metrics, such as w2,nll [default: all].
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub only: Option<Vec<String>>,
    /// A csv file with a row for every run.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// `train report`.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// The directories of the runs; several are laid over each other.
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// The page to write, a file that opens from disk without a network. An existing file is replaced.
    #[arg(long, value_name = "FILE.html")]
    pub out: PathBuf,
    /// Where the data of the runs are now, if they have moved.
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
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
    #[command(flatten)]
    pub text_files: TextFiles,
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
    #[command(flatten)]
    pub text_files: TextFiles,
    /// The file to write: .npy or .csv, a log-density (nats) and its standard error a point. An existing file is replaced.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Write NaN at points without a log-density, and count them, instead of ending there.
    #[arg(long)]
    pub skip_invalid: bool,
    /// The number of steps of the probability-flow ODE of a score network [default: 64].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub steps: Option<u32>,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// `train transport`.
#[derive(Debug, Args)]
pub struct TransportArguments {
    #[command(flatten)]
    pub opened: Opened,
    /// The points: a data file in the coordinates of the reference, or with `--inverse` in those of the training data.
    #[arg(long = "in", value_name = "FILE")]
    pub input: PathBuf,
    #[command(flatten)]
    pub text_files: TextFiles,
    /// The file to write: .npy or .csv, an image a point. An existing file is replaced.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// From the data to the reference.
    #[arg(long)]
    pub inverse: bool,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
}

/// `train localize`.
#[derive(Debug, Args)]
#[command(
    after_help = "A LIST is a,b,c, or lo:hi:n for n values between lo and hi, or lo:hi:n:log for values with equal ratios."
)]
pub struct LocalizeArguments {
    /// What to look at: a target or a config (.json), a data file (npy, npz, csv or IDX, also gzipped; taken as it stands), or a
    /// run directory (its network, in standardised coordinates). Several make a gallery.
    #[arg(value_name = "SPEC", required = true)]
    pub specs: Vec<PathBuf>,
    #[command(flatten)]
    pub text_files: TextFiles,
    /// The signal-to-noise ratios r of Y_r = rX + Z [default: 0.1,0.2,0.3,0.5,0.71,1,1.5,2,3,5,7,10].
    #[arg(long, value_name = "LIST", value_parser = List::positive, allow_hyphen_values = true)]
    pub snr: Option<List>,
    /// The levels u of the survival function P(L_r(Y_r) > u) [default: 0:2:21].
    #[arg(long, value_name = "LIST", value_parser = List::non_negative, allow_hyphen_values = true)]
    pub levels: Option<List>,
    /// The δ of the integrated tail h(δ, r) = E(L_r - (1 - δ))₊ [default: 0:1:21].
    #[arg(long, value_name = "LIST", value_parser = List::fractions, allow_hyphen_values = true)]
    pub deltas: Option<List>,
    /// The times t of the Ornstein-Uhlenbeck chain [default: 0.01,0.02,0.05,0.1,0.15,0.2,0.3,0.5,0.7,1,1.5,2].
    #[arg(long, value_name = "LIST", value_parser = List::times, allow_hyphen_values = true)]
    pub times: Option<List>,
    /// The richness M of perturbations in the average curvature ζ*_M(t) [default: 1,2,3,4,5].
    #[arg(long, value_name = "LIST", value_parser = List::richness, allow_hyphen_values = true)]
    pub richness: Option<List>,
    /// A file of points y, one a row (of a run: in its standardised coordinates): L_r(y), log p(y) and the posterior of rX given
    /// Y_r = y, at every r of --snr.
    #[arg(long, value_name = "FILE", group = "points")]
    pub at: Option<PathBuf>,
    /// The same for points x in the space of the data (of a run too): y = r x. It colours data by difficulty.
    #[arg(long, value_name = "FILE", group = "points")]
    pub at_data: Option<PathBuf>,
    /// Write the answers at points to .npy or .csv instead, with the columns snr, localization, log_density and the posterior
    /// mean, and compute nothing else. An existing file is replaced.
    #[arg(long, value_name = "FILE", requires = "points",
          conflicts_with_all = ["levels", "deltas", "times", "richness", "figure"])]
    pub out: Option<PathBuf>,
    /// The inverse temperature β of the chain, which fixes r(t).
    #[arg(long, value_name = "B", default_value = "1", value_parser = parse_positive, allow_hyphen_values = true)]
    pub beta: f64,
    /// The draws of the Monte Carlo at one r; exact targets on the line need none.
    #[arg(long, value_name = "N", default_value = "4096", value_parser = clap::value_parser!(u32).range(2..=100_000_000))]
    pub draws: u32,
    /// The seed of every draw [default: the run's, else 0].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The checkpoint of a run: best, latest or a step.
    #[arg(long, value_name = "WHICH", default_value = "best")]
    pub checkpoint: CheckpointSelector,
    /// Where the data of a run are now, if they have moved; they must be the same, byte for byte.
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub compute: Compute,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
    /// A picture of all of it, .png or .svg; with several SPECs a folder, made if need be, with a picture of each, and its sample
    /// paths where it is a law on the line.
    #[arg(long, value_name = "F")]
    pub figure: Option<PathBuf>,
}

/// `train chain`.
#[derive(Debug, Args)]
pub struct ChainArguments {
    /// The target whose scores lead back: a target or a config (.json), a data file (npy, npz, csv or IDX, also gzipped; taken as
    /// it stands), or a run directory (its network, in standardised coordinates).
    pub spec: PathBuf,
    #[command(flatten)]
    pub text_files: TextFiles,
    /// The number of steps K, forward and backward.
    #[arg(long, value_name = "K", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub steps: u32,
    /// The step size η in time, above 0 and at most 1.
    #[arg(long, value_name = "E", default_value = "0.01", value_parser = parse_step, allow_hyphen_values = true)]
    pub eta: f64,
    /// The inverse temperature β: forward, X tends to N(0, I/β).
    #[arg(long, value_name = "B", default_value = "1", value_parser = parse_positive, allow_hyphen_values = true)]
    pub beta: f64,
    /// How the forward chain steps: by the exact transition, or by Euler's method.
    #[arg(long, value_name = "HOW", default_value = "exact")]
    pub forward: ForwardName,
    /// Where it starts: target, point:x,y,… or another SPEC. With a run, a point lies in standardised coordinates, and a file
    /// is taken there from its own.
    #[arg(long, value_name = "START", default_value = "target", allow_hyphen_values = true)]
    pub start: String,
    /// How the backward chain steps: by optimal-transport maps (ode), or with fresh noise (sde).
    #[arg(long, value_name = "SCHEME", default_value = "ode")]
    pub scheme: SchemeName,
    /// The number of particles; exact targets on the line need none, unless stochastic steps are too short for a grid.
    #[arg(long, value_name = "N", default_value = "4096", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub particles: u32,
    /// The richness M >= 1 of perturbations in the average-case bound.
    #[arg(long, value_name = "M", default_value = "2", value_parser = parse_richness, allow_hyphen_values = true)]
    pub richness: f64,
    /// The draws of the bounds at one step; exact targets on the line need none.
    #[arg(long, value_name = "N", default_value = "512", value_parser = clap::value_parser!(u32).range(2..=100_000_000))]
    pub draws: u32,
    /// Leave the bounds out: they take longer than the chains.
    #[arg(long)]
    pub no_bound: bool,
    /// The seed of every draw [default: the run's, else 0].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The checkpoint of a run: best, latest or a step.
    #[arg(long, value_name = "WHICH", default_value = "best")]
    pub checkpoint: CheckpointSelector,
    /// Where the data of a run are now, if they have moved; they must be the same, byte for byte.
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub compute: Compute,
    /// Print one JSON object on stdout.
    #[arg(long)]
    pub json: bool,
    /// A picture of sample paths, forward and back by both schemes: .png or .svg.
    #[arg(long, value_name = "F")]
    pub figure: Option<PathBuf>,
}

/// How the forward chain steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ForwardName {
    /// By the transition of the Ornstein-Uhlenbeck process.
    Exact,
    /// By Euler's method.
    Euler,
}

/// How the backward chain steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SchemeName {
    /// By optimal-transport maps.
    Ode,
    /// With fresh noise.
    Sde,
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

fn parse_step(text: &str) -> Result<f64, String> {
    match parse_positive(text) {
        Ok(step) if step <= 1.0 => Ok(step),
        _ => Err("expected a number above 0 and at most 1: a step of the chain is a small step in time".into()),
    }
}

fn parse_richness(text: &str) -> Result<f64, String> {
    match parse_positive(text) {
        Ok(richness) if richness >= 1.0 => Ok(richness),
        _ => Err("expected a number of 1 or more: M = 1 are the shifts, and nothing is poorer".into()),
    }
}
