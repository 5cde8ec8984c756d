//! What the program says while it works: `tracing` events on stderr, and a copy in the run directory.
//!
//! # Design
//!
//! The log starts before any run directory is known. What is logged until then is kept in memory and written first when
//! [`Log::attach`] names the file. The file is always text, with times, and never less than the `info` level, however
//! quiet the terminal is. A file that can no longer be written (a full disk) is given up with one warning: a log must
//! not stop the work it tells of.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::progress;

/// The name of the log's copy in a run directory.
pub const FILE_NAME: &str = "log.txt";

/// How much is remembered, in bytes, until the log knows its file.
const REMEMBERED: usize = 1 << 16;

/// How events are written on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people: the level and the message.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// The running log. Cloning it gives another handle on the same one.
#[derive(Clone, Debug)]
pub struct Log {
    copy: RunCopy,
}

/// Starts logging for the whole process.
///
/// `verbosity` counts `-v` less `-q`: at -1 warnings and errors, at 0 also what happens, at 1 how, at 2 everything of
/// ours and what the libraries underneath report. The environment variable `RUST_LOG` overrides it.
///
/// # Errors
///
/// A one-line text where `RUST_LOG` does not parse.
pub fn start(verbosity: i32, format: LogFormat) -> Result<Log, String> {
    let stderr_filter = filter(verbosity)?;
    let file_filter = filter(verbosity.max(0))?;
    let copy = RunCopy::default();
    if format == LogFormat::Json {
        progress::lines_only();
    }
    let bars = progress::draws_bars();
    // A bar already shows what the progress lines say.
    let shown = stderr_filter.and(filter_fn(move |event| !(bars && event.target() == progress::TARGET)));
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let layer = tracing_subscriber::fmt::layer().with_writer(Stderr);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(colour).with_target(verbosity > 0).without_time().boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let file_layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(copy.clone());
    // A second start in one process (tests) keeps the first log.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(shown))
        .with(file_layer.with_filter(file_filter))
        .try_init();
    Ok(Log { copy })
}

impl Log {
    /// Copies the log, from its beginning, to the end of `log.txt` in `directory`.
    ///
    /// # Errors
    ///
    /// That of opening or writing the file.
    pub fn attach(&self, directory: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(directory.join(FILE_NAME))?;
        let mut state = self.copy.lock();
        if let State::Remembered(early) = &*state {
            file.write_all(early)?;
        }
        *state = State::Attached(file);
        Ok(())
    }
}

/// The levels by crate: ours by `verbosity`, libraries two steps quieter, graphics libraries only when they fail.
fn filter(verbosity: i32) -> Result<EnvFilter, String> {
    let text = match std::env::var("RUST_LOG") {
        Ok(text) if !text.trim().is_empty() => text,
        _ => directives(verbosity),
    };
    EnvFilter::try_new(&text).map_err(|error| {
        format!("RUST_LOG=`{text}` is not understood ({error}). Write it like `info` or `train=debug,wgpu_core=warn`")
    })
}

fn directives(verbosity: i32) -> String {
    let (ours, libraries, graphics) = match verbosity {
        ..=-1 => ("warn", "error", "off"),
        0 => ("info", "warn", "error"),
        1 => ("debug", "warn", "error"),
        _ => ("trace", "debug", "warn"),
    };
    let our_crates = ["train", "brenier"];
    // A directive speaks for every target that begins with its name: `wgpu` for wgpu_core and wgpu_hal too.
    let noisy = ["wgpu", "naga", "cubecl", "cubek"];
    let mut text = libraries.to_owned();
    text.extend(our_crates.map(|name| format!(",{name}={ours}")));
    text.extend(noisy.map(|name| format!(",{name}={graphics}")));
    text
}

/// Standard error, below which the progress bars are drawn.
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::above_bars(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The copy in the run directory, or what will become its beginning.
#[derive(Clone, Debug, Default)]
struct RunCopy {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
enum State {
    Remembered(Vec<u8>),
    Attached(File),
    GivenUp,
}

impl Default for State {
    fn default() -> Self {
        Self::Remembered(Vec::new())
    }
}

impl RunCopy {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> MakeWriter<'a> for RunCopy {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for RunCopy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.lock();
        match &mut *state {
            State::Remembered(early) if early.len() + bytes.len() <= REMEMBERED => early.extend_from_slice(bytes),
            State::Remembered(_) | State::GivenUp => {}
            State::Attached(file) => {
                if let Err(error) = file.write_all(bytes) {
                    *state = State::GivenUp;
                    // Not through the log: this is the log.
                    progress::above_bars(|| eprintln!(" WARN {FILE_NAME} cannot be written any more ({error})"));
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_before_the_file_was_known_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log { copy: RunCopy::default() };
        let mut writer = log.copy.clone();
        writer.write_all(b"early\n").unwrap();
        log.attach(directory.path()).unwrap();
        writer.write_all(b"late\n").unwrap();
        assert_eq!(std::fs::read_to_string(directory.path().join(FILE_NAME)).unwrap(), "early\nlate\n");
    }

    #[test]
    fn a_resumed_run_goes_on_in_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        for word in ["first\n", "second\n"] {
            let log = Log { copy: RunCopy::default() };
            log.attach(directory.path()).unwrap();
            log.copy.clone().write_all(word.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(directory.path().join(FILE_NAME)).unwrap(), "first\nsecond\n");
    }

    #[test]
    fn memory_before_the_file_is_bounded() {
        let mut copy = RunCopy::default();
        for _ in 0..3 * REMEMBERED / 100 {
            copy.write_all(&[b'x'; 100]).unwrap();
        }
        assert!(matches!(&*copy.lock(), State::Remembered(early) if early.len() <= REMEMBERED));
    }

    #[test]
    fn every_verbosity_is_a_filter_that_parses() {
        for verbosity in -3..=4 {
            EnvFilter::try_new(directives(verbosity)).unwrap();
        }
        assert!(directives(-1).contains("train=warn") && directives(1).contains("train=debug"));
    }
}
