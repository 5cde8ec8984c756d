//! Running the binary in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// A folder for runs, with the workspace's configs and data sets within reach.
pub struct Workplace {
    folder: TempDir,
}

impl Workplace {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The run directory of a name.
    pub fn run(&self, name: &str) -> PathBuf {
        self.path(name)
    }

    /// Writes a text file and gives its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file in a temporary folder");
        path
    }

    /// The binary, started in the root of the workspace, where the paths of the configs lead.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_train"));
        command.current_dir(workspace()).args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub fn train(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments).output().expect("the binary starts"))
    }

    /// A run of a smoke config that is killed at these marks, and one that is stopped after so many steps and resumed, end with the bits of one that
    /// is left alone.
    pub fn survives_kills_and_stops(&self, config: &str, more: &[&str], marks: &[Mark], stop: &str) {
        self.smoke(config, "whole", &[more, &["-q", "--threads", "1"]].concat()).succeeds();
        let (path, run) = (smoke(config), self.run("killed"));
        let arguments = [&["run", text(&path), "--run-dir", text(&run), "--resume", "-q"][..], more].concat();
        self.train_through_kills(&arguments, &run, marks);
        assert_equal_results(&self.run("whole"), &run);
        self.smoke(config, "stopped", &[more, &["-q", "--max-steps", stop]].concat()).fails(75);
        let stopped = self.run("stopped");
        self.train(&["resume", text(&stopped), "-q"]).succeeds();
        let (stopped, whole) = (results(&stopped), results(&self.run("whole")));
        // The stop itself left a checkpoint.
        assert!(whole.iter().all(|(name, bytes)| stopped.get(name) == Some(bytes)));
    }

    /// Starts the same command again and again, kills it as soon as `run` has come to each of the marks, and lets it end at last.
    pub fn train_through_kills(&self, arguments: &[&str], run: &Path, marks: &[Mark]) {
        let mut kills = 0;
        // On a busy machine a run may have passed the next mark by the time it is killed.
        for mark in marks {
            if mark.is_reached(run) {
                continue;
            }
            let mut child = Child::of(&mut self.command(arguments));
            while !mark.is_reached(run) && child.0.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            child.0.kill().unwrap();
            kills += u32::from(!child.0.wait().unwrap().success());
        }
        assert!(2 * kills as usize >= marks.len(), "killed {kills} times at {marks:?}");
        self.train(arguments).succeeds();
    }

    /// Starts a command that works for long, sends it SIGINT once it tells of its progress, and gives its exit code.
    #[cfg(unix)]
    pub fn interrupted(&self, arguments: &[&str]) -> Option<i32> {
        use std::io::{BufRead, BufReader};
        // The work itself would take far longer.
        const PATIENCE: Duration = Duration::from_secs(60);
        let mut child = self.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut child = Child(child);
        let first = said.next().expect("a line of progress").unwrap();
        let signal = Command::new("kill").args(["-INT", &child.0.id().to_string()]).status().unwrap();
        assert!(signal.success(), "after {first}");
        let sent = std::time::Instant::now();
        loop {
            match child.0.try_wait().unwrap() {
                Some(status) => return status.code(),
                None => assert!(sent.elapsed() < PATIENCE, "still there after {PATIENCE:?}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a smoke config into the run directory `name`, with more arguments.
    pub fn smoke(&self, config: &str, name: &str, more: &[&str]) -> Outcome {
        let (config, directory) = (smoke(config), self.run(name));
        let mut arguments = vec!["run", text(&config), "--run-dir", text(&directory)];
        arguments.extend(more);
        self.train(&arguments)
    }
}

/// A process that does not outlive its test.
struct Child(std::process::Child);

impl Child {
    fn of(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be over already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How far a run has come, seen from outside.
#[derive(Debug, Clone, Copy)]
pub enum Mark {
    /// It has written a file of this name.
    File(&'static str),
    /// It has kept a checkpoint of this step, or a later one.
    Checkpoint(u64),
    /// It has written a line of metrics of this step, or a later one.
    Line(u64),
}

impl Mark {
    fn is_reached(self, run: &Path) -> bool {
        let read = |name: &str| std::fs::read_to_string(run.join(name)).unwrap_or_default();
        match self {
            Self::File(name) => run.join(name).exists(),
            Self::Checkpoint(step) => read("latest")
                .split(' ')
                .next()
                .is_some_and(|latest| latest.parse().is_ok_and(|latest: u64| latest >= step)),
            Self::Line(step) => read("metrics.jsonl").lines().any(|line| {
                let line: Option<Value> = serde_json::from_str(line).ok();
                line.is_some_and(|line| line["step"].as_u64() >= Some(step))
            }),
        }
    }
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

/// A config of configs/smoke.
pub fn smoke(name: &str) -> PathBuf {
    workspace().join("configs/smoke").join(name)
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// What the binary said and how it ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout in UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr in UTF-8"),
        }
    }

    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn fails(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Asks that stderr contains a text.
    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "no {part:?} in:\n{}", self.stderr);
        self
    }

    /// The one JSON object on stdout.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {}", self.stdout))
    }
}

/// The bytes of every file that two equal runs share: names relative to the run, without times, logs and locks.
pub fn results(run: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut files = std::collections::BTreeMap::new();
    collect(run, run, &mut files);
    files
}

fn collect(root: &Path, folder: &Path, files: &mut std::collections::BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            collect(root, &entry, files);
            continue;
        }
        let name = text(entry.strip_prefix(root).expect("inside the run")).to_string();
        let bytes = std::fs::read(&entry).expect("a file");
        match name.as_str() {
            "log.txt" | "lock" | "config.json" => {}
            "metrics.jsonl" => drop(files.insert(name, without_times(&bytes))),
            _ if name.contains("tfevents") => {}
            _ => drop(files.insert(name, bytes)),
        }
    }
}

/// A metric of a run's evaluation, with its standard error.
pub fn metric(run: &Path, name: &str) -> (f64, f64) {
    let report: Value = serde_json::from_slice(&std::fs::read(run.join("evaluation.json")).unwrap()).unwrap();
    let metric = &report["metrics"][name];
    (metric["value"].as_f64().unwrap(), metric["std_error"].as_f64().unwrap())
}

/// metrics.jsonl without its wall times.
fn without_times(bytes: &[u8]) -> Vec<u8> {
    let lines = std::str::from_utf8(bytes).expect("metrics in UTF-8").lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).expect("a JSON object a line");
        let members = line.as_object_mut().expect("an object");
        ["elapsed_seconds", "cpu_seconds"].into_iter().for_each(|time| drop(members.remove(time)));
        line.to_string() + "\n"
    });
    lines.collect::<String>().into_bytes()
}

/// Asks that two runs have the same results, bit for bit.
#[track_caller]
pub fn assert_equal_results(one: &Path, other: &Path) {
    let (one, other) = (results(one), results(other));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    for (name, bytes) in &one {
        assert!(bytes == &other[name], "{name} differs");
    }
}
