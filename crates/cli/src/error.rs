//! How a run of the program ends: its exit code, and what it says where it failed.
//!
//! A failure is one message with a cure on stderr:
//!
//! ```text
//! error: cannot write checkpoints/digits/metrics.jsonl
//!   caused by: No space left on device (os error 28)
//! hint: free some space, then go on with `train resume`
//! ```

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use brenier_eval::EvalError;
use brenier_eval::figures::FigureError;
use brenier_measure::MeasureError;
use brenier_measure::data::DataError;
use brenier_model::{GridError, NetworkError, SamplerError};
use brenier_training::TrainingError;
use brenier_training::run_directory::RunDirectoryError;
use brenier_training::tensorboard::TensorBoardError;

use crate::config::ConfigError;
use crate::device::DeviceError;

/// The exit codes that schedulers and scripts rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for is done.
    Done = 0,
    /// Anything that is no one's input: a full disk, a read-only folder, a defect of the program.
    Failed = 1,
    /// Bad usage, config or input; files that cannot be read or are corrupt included.
    BadInput = 2,
    /// The loss or a gradient stopped being a number; the last good checkpoint is kept.
    Diverged = 3,
    /// Stopped by a signal, `--max-time` or `--max-steps`; `train resume` goes on.
    Interrupted = 75,
    /// Stopped by a signal where nothing can be resumed.
    Abandoned = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the program ends without having done what it was asked for.
#[derive(Debug)]
pub struct Error {
    exit: Exit,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Error {
    /// A failure with its exit code.
    pub fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string(), causes: Vec::new(), hint: None }
    }

    /// What the user gave cannot be used.
    pub fn bad_input(message: impl Display) -> Self {
        Self::new(Exit::BadInput, message)
    }

    /// A file or folder that cannot be written.
    pub fn writing(path: &Path, error: io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free some space and run the command again; a run goes on with `train resume`"
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "choose a folder that can be written, with `--run-dir` or `--out`"
            }
            io::ErrorKind::NotFound => "the folder does not exist; make it first",
            _ => "check the disk, or choose another folder with `--run-dir` or `--out`",
        };
        Self::new(Exit::Failed, format!("cannot write {}", path.display())).caused_by(error).hint(hint)
    }

    /// The folder of a new run is there already.
    pub fn run_exists(path: &Path) -> Self {
        Self::bad_input(format!("the run directory {} exists; nothing in it was touched", path.display()))
            .hint("go on with `--resume`, set it aside with `--fresh`, or choose another `name` or `--run-dir`")
    }

    /// The data of a run is not what it was.
    pub fn data_changed(old: &str, new: &str) -> Self {
        Self::bad_input(format!("the data of the run has changed: it was {old} and is now {new}"))
            .hint("put the old file back, say where it is with `--data PATH`, or start a new run on the new one")
    }

    /// A new place for data of a run that has none.
    pub fn no_data_file(run: &str, target: &str) -> Self {
        Self::bad_input(format!(
            "`--data` says where the data of a run are now, and the target `{target}` of {run} is read from no file"
        ))
        .hint("leave it out")
    }

    /// A folder whose record is not one of this program.
    pub fn foreign_run(path: &Path, reason: String) -> Self {
        Self::bad_input(format!("{} holds no run that this program can read: {reason}", path.display()))
            .hint("give a folder that `train run` made, and open it with the version that made it")
    }

    /// Points of another dimension than a run's.
    pub fn dimension(path: &Path, found: usize, expected: usize) -> Self {
        Self::bad_input(format!("the points of {} have dimension {found}, the run has {expected}", path.display()))
            .hint("give points with the columns of the training data, in their order")
    }

    /// A SPEC that names nothing.
    pub fn no_spec(path: &Path) -> Self {
        Self::bad_input(format!("{}: there is no such file or folder", path.display())).hint(
            "give a target or a config (.json), a data file (.npy, .npz, .csv, .tsv or .idx, each also with .gz), or the \
             folder of a run",
        )
    }

    /// Points to answer at, of another dimension than what is asked.
    pub fn dimension_at(path: &Path, found: usize, spec: &Path, expected: usize) -> Self {
        let (path, spec) = (path.display(), spec.display());
        Self::bad_input(format!("the points of {path} have dimension {found}, {spec} has {expected}"))
            .hint("give a file with one point a row and one column for each coordinate of X, without labels")
    }

    /// More answers than one JSON object should hold.
    pub fn too_many_answers(points: usize, snrs: usize, numbers: usize) -> Self {
        let millions = numbers as f64 / 1e6;
        Self::bad_input(format!(
            "{points} points at {snrs} signal-to-noise ratios are {millions:.1} million numbers with their covariances"
        ))
        .hint("write them without covariances with `--out FILE` (.npy or .csv), or give fewer points or a shorter `--snr`")
    }

    /// A file of answers for more than one SPEC.
    pub fn one_spec_for_out(count: usize) -> Self {
        Self::bad_input(format!("`--out` holds the answers of one SPEC, and {count} are given"))
            .hint("run the command once for each SPEC, with its own `--out`")
    }

    /// A figure that names a folder where one picture is made, or a picture where several are.
    pub fn figure(path: &Path, problem: impl Display, hint: impl Display) -> Self {
        Self::bad_input(format!("`--figure {}` {problem}", path.display())).hint(hint)
    }

    /// A start that is none.
    pub fn start(text: &str, problem: impl Display) -> Self {
        Self::bad_input(format!("`--start {text}` {problem}"))
            .hint("give `target`, a point such as `point:0,1.5` with a number for each coordinate, or another SPEC")
    }

    /// Two sets of points that live in different spaces.
    pub fn dimensions(a: &Path, a_dim: usize, b: &Path, b_dim: usize) -> Self {
        let (a, b) = (a.display(), b.display());
        Self::bad_input(format!("the points of {a} have dimension {a_dim}, those of {b} have {b_dim}"))
            .hint("both must live in one space: give files with the same columns")
    }

    /// Two sets of points whose columns have different names.
    pub fn other_columns(a: &Path, a_names: &[String], b: &Path, b_names: &[String]) -> Self {
        let listed = |names: &[String]| match names.len() {
            0..=8 => names.join(", "),
            n => format!("{}, … ({n} of them)", names[..8].join(", ")),
        };
        let (a, b, a_names, b_names) = (a.display(), b.display(), listed(a_names), listed(b_names));
        Self::bad_input(format!("the columns of {a} are {a_names}, those of {b} are {b_names}"))
            .hint("columns are matched by name where both files have names: give both the same, in any order")
    }

    /// A number of draws for points that are given.
    pub fn count_of_points(path: &Path) -> Self {
        Self::bad_input(format!(
            "`--count` is the number of fresh draws of a target, and {} holds points",
            path.display()
        ))
        .hint("leave it out: every row of a file counts")
    }

    /// A metric that has no such name.
    pub fn unknown_metric(name: &str, known: &[&str]) -> Self {
        let distance = |other: &&&str| strsim::damerau_levenshtein(name, other);
        let nearest = known.iter().min_by_key(distance).filter(|other| distance(other) <= 1 + name.len() / 3);
        let meant = nearest.map_or(String::new(), |other| format!(" (did you mean `{other}`?)"));
        Self::bad_input(format!("`--only` names the metric {name:?}, which is not there{meant}"))
            .hint(format!("the metrics are {}", known.join(", ")))
    }

    /// A metric that takes the density of a target.
    pub fn no_density(metric: &str, what: &str) -> Self {
        Self::bad_input(format!("`{metric}` takes the density of a target, and {what} has none")).hint(
            "compare with a target that has one, in a JSON file: {\"gaussian_mixture\": {…}}; or leave the metric out",
        )
    }

    /// What takes draws of a target that has none.
    pub fn no_draws(what: &str, target: &str) -> Self {
        Self::bad_input(format!("{what} take draws of the target, and `{target}` has a density and no sampler"))
            .hint("choose a target with a sampler, or a method that learns from a density")
    }

    /// A method that follows the density of its target.
    pub fn no_target_density(method: &str, target: &str) -> Self {
        Self::bad_input(format!("`{method}` follow the density of the target, and `{target}` has none"))
            .hint("choose a target with a density, or a method that learns from points")
    }

    /// A metric that takes the modes of a mixture.
    pub fn no_modes(metric: &str, what: &str) -> Self {
        Self::bad_input(format!("`{metric}` counts the modes of a Gaussian mixture, and {what} has none"))
            .hint("compare with the target `gaussian_mixture` or `ring`, or leave the metric out")
    }

    /// A metric that takes the log-density of the sampler.
    pub fn no_log_density(metric: &str) -> Self {
        Self::bad_input(format!("`{metric}` takes the log-density of the sampler at its samples"))
            .hint("give it with `--log-density FILE`, one number a row of A, or leave the metric out")
    }

    /// Log-densities that do not belong to the samples.
    pub fn log_density_shape(path: &Path, [rows, columns]: [usize; 2], samples: usize) -> Self {
        let path = path.display();
        Self::bad_input(format!("{path} has {rows} rows and {columns} columns where {samples} log-densities are expected"))
            .hint("give one column with log q at every row of A, or a .csv with a column `log_density` as `train density` writes it")
    }

    /// A flag that means nothing to the method of a run.
    pub fn foreign_flag(flag: &str, run: &str, method: &str) -> Self {
        Self::bad_input(format!("`{flag}` means nothing to the run {run}, which was trained by `{method}`")).hint(
            "leave it out: it says how a score network is sampled, and runs of `denoising_score_matching` take it",
        )
    }

    /// A law without log-densities.
    pub fn run_without_density(run: &str) -> Self {
        Self::bad_input(format!("the law of the run {run} has no log-density: it can only be drawn from"))
            .hint("ask a run of a method that has one, such as `denoising_score_matching`")
    }

    /// A run whose law is given by no map.
    pub fn run_without_map(run: &str) -> Self {
        Self::bad_input(format!("the law of the run {run} is given by no map of a reference"))
            .hint("ask a run of a method that learns one, such as `monge_ampere_logistic`")
    }

    /// Data that no number type holds.
    pub fn unusable_range(what: &str) -> Self {
        Self::bad_input(format!("the mean or the spread of {what} is no finite number"))
            .hint("bring the data into a range of, say, 1e-30 to 1e30")
    }

    /// A training part that nothing can be learnt from.
    pub fn too_few_points(path: &Path, found: usize) -> Self {
        Self::bad_input(format!("the training part of {} has {found} points; at least 2 are needed", path.display()))
            .hint("give a larger file, or raise `target.dataset.split.train`")
    }

    /// A picture of points that are neither images nor in the plane.
    pub fn no_picture(path: &Path, dim: usize) -> Self {
        Self::bad_input(format!("{} cannot be drawn: samples of dimension {dim} make no picture", path.display()))
            .hint("write .npy or .csv, or set `target.dataset.image_shape` where the points are images")
    }

    /// More images than fit in one picture.
    pub fn too_many_for_picture(count: u64, most: u64) -> Self {
        Self::bad_input(format!("{count} samples are too many for one picture, which holds {most}"))
            .hint("lower `--count`, or write .npy or .csv")
    }

    /// The system lets no signal be caught.
    pub fn signals(error: impl std::error::Error) -> Self {
        Self::new(Exit::Failed, "cannot listen to interrupts").caused_by(error)
    }

    /// Stopped by a signal in work that leaves nothing to go on from.
    pub fn interrupted() -> Self {
        Self::new(Exit::Abandoned, "interrupted before the end; nothing was written")
    }

    /// Adds what lies behind the failure, and all that lies behind that.
    pub fn caused_by(mut self, cause: impl std::error::Error) -> Self {
        let mut next: Option<&dyn std::error::Error> = Some(&cause);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    /// The same failure as the cause of another.
    pub fn behind(mut self, message: impl Display) -> Self {
        self.causes.insert(0, std::mem::replace(&mut self.message, message.to_string()));
        self
    }

    /// Adds what to try.
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Training that diverged, and what to try.
    pub fn diverged(error: TrainingError, cure: &str) -> Self {
        match error {
            TrainingError::Diverged { .. }
            | TrainingError::NoStep { .. }
            | TrainingError::LostConvexity { .. }
            | TrainingError::LostConjugates { .. }
            | TrainingError::NotCold { .. } => Self::new(Exit::Diverged, format!("{error}. {cure}"))
                .hint("the last good checkpoint is kept: `train sample` and `train evaluate` open it"),
            other => other.into(),
        }
    }

    /// Whether a signal or a limit ended the work, and no fault.
    pub fn is_interruption(&self) -> bool {
        self.exit == Exit::Abandoned
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Says on stderr what went wrong, in colour on a terminal unless `NO_COLOR` is set.
    pub fn report(&self) {
        let stderr = io::stderr();
        let colour = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        // Where stderr is closed, the exit code is all that can still speak.
        let _ = self.write(&mut stderr.lock(), colour);
    }

    fn write(&self, out: &mut dyn Write, colour: bool) -> io::Result<()> {
        let label =
            |text: &str, code: &str| if colour { format!("\u{1b}[1;{code}m{text}\u{1b}[0m") } else { text.to_owned() };
        writeln!(out, "{}: {}", label("error", "31"), self.message)?;
        let mut said = self.message.as_str();
        for cause in &self.causes {
            // Many libraries repeat their source in their own message.
            if !said.ends_with(cause.as_str()) {
                writeln!(out, "  {}: {cause}", label("caused by", "31"))?;
            }
            said = cause;
        }
        match &self.hint {
            Some(hint) => writeln!(out, "{}: {hint}", label("hint", "36")),
            None => Ok(()),
        }
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        if matches!(error, ConfigError::Interrupted) {
            return Self::interrupted();
        }
        let hint = error.hint();
        let message = match &error {
            ConfigError::Syntax { error: syntax, .. } => format!("{error}\n{}", syntax.excerpt()),
            _ => error.to_string(),
        };
        Self::bad_input(message).hint(hint)
    }
}

impl From<TrainingError> for Error {
    fn from(error: TrainingError) -> Self {
        match error {
            TrainingError::Start(error) => error.into(),
            // What the observer of the loop reports is an error of this program on its way through the library.
            TrainingError::Observer(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(other) => Self::new(Exit::Failed, other),
            },
            TrainingError::ConstantColumn { .. } => {
                Self::bad_input(error).hint("give the data set `noise` of its own, or leave the column out of `columns`")
            }
            TrainingError::NoReferenceDensity => Self::bad_input(error).hint(
                "give the data set `noise` of its own, leave columns out that others determine, or take `standard_normal`",
            ),
            TrainingError::ReferenceDimension { .. } => {
                Self::bad_input(error).hint("give `method.monge_ampere_logistic.reference` means of the dimension of the data")
            }
            TrainingError::TooManyCoefficients { .. } => {
                Self::bad_input(error).hint("lower `ridges.directions` or `ridges.knots` of `method.monge_ampere_logistic`")
            }
            TrainingError::Choice { what, cure } => Self::bad_input(what).hint(cure),
            TrainingError::Interrupted => Self::interrupted(),
            other => Self::bad_input(other),
        }
    }
}

impl From<RunDirectoryError> for Error {
    fn from(error: RunDirectoryError) -> Self {
        Self::new(if error.is_input() { Exit::BadInput } else { Exit::Failed }, error)
    }
}

impl From<SamplerError> for Error {
    fn from(error: SamplerError) -> Self {
        match error {
            SamplerError::Interrupted => Self::interrupted(),
            SamplerError::NotFinite { .. } => Self::new(Exit::Failed, error),
            other => Self::bad_input(other),
        }
    }
}

impl From<TensorBoardError> for Error {
    fn from(error: TensorBoardError) -> Self {
        Self::new(Exit::Failed, error)
    }
}

/// Errors that always lie in what was given.
macro_rules! bad_input {
    ($($error:ty),*) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::bad_input(error)
            }
        })*
    };
}
bad_input!(DeviceError, GridError, MeasureError, NetworkError);

impl From<EvalError> for Error {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Interrupted => Self::interrupted(),
            other => Self::bad_input(other),
        }
    }
}

impl From<DataError> for Error {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Write { path, error } => Self::writing(&path, error),
            other => Self::bad_input(other),
        }
    }
}

impl From<FigureError> for Error {
    fn from(error: FigureError) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(error: &Error) -> String {
        let mut bytes = Vec::new();
        error.write(&mut bytes, false).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_full_disk_says_what_to_do_and_is_nobodys_input() {
        let error = Error::writing(Path::new("run/metrics.jsonl"), io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(
            said(&error),
            "error: cannot write run/metrics.jsonl\n  caused by: no storage space\nhint: free some space and run the command again; a run goes on with `train resume`\n"
        );
        assert_eq!(error.exit, Exit::Failed);
    }

    #[test]
    fn a_cause_that_the_message_already_holds_is_not_repeated() {
        let error = Error::bad_input("no config: entity not found").caused_by(io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(said(&error), "error: no config: entity not found\n");
    }

    #[test]
    fn a_syntax_error_shows_its_line() {
        let error = crate::config::load::parse(Path::new("a.json"), "{\n  \"name\": \"a\",\n  \"seed\" 0\n}", &[], &[])
            .unwrap_err();
        assert_eq!(
            said(&Error::from(error)),
            "error: a.json:3:10: expected a colon after the key\n\
             \x20   |   \"seed\" 0\n\
             \x20   |          ^\n\
             hint: a config is plain JSON; `train check` reads it without running it\n"
        );
    }

    #[test]
    fn training_that_diverges_exits_with_3_and_an_observers_error_keeps_its_own_code() {
        let diverged = TrainingError::Diverged { what: "loss", value: f64::NAN, step: 7, last_finite: Some(0.5) };
        let diverged = Error::diverged(diverged, "Lower the rate");
        assert_eq!(
            said(&diverged),
            "error: the loss became NaN at step 7; the last finite loss was 0.5. Lower the rate\n\
             hint: the last good checkpoint is kept: `train sample` and `train evaluate` open it\n"
        );
        assert_eq!(diverged.exit, Exit::Diverged);
        let full = Error::writing(Path::new("run"), io::Error::from(io::ErrorKind::StorageFull));
        let through = Error::diverged(TrainingError::Observer(Box::new(full)), "");
        assert_eq!((through.exit, through.to_string().as_str()), (Exit::Failed, "cannot write run"));
    }

    #[test]
    fn colour_marks_the_labels_alone() {
        let mut bytes = Vec::new();
        Error::bad_input("a").hint("b").write(&mut bytes, true).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), "\u{1b}[1;31merror\u{1b}[0m: a\n\u{1b}[1;36mhint\u{1b}[0m: b\n");
    }
}
