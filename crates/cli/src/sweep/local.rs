//! A sweep on this machine: one process a run, so many side by side.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{Sweep, Task};
use crate::device::DeviceName;
use crate::error::{Error, Exit};
use crate::interruption;

/// How often the runs are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The folder of what the runs say.
const LOGS: &str = "logs";

/// How a sweep runs here.
#[derive(Debug, Clone, PartialEq)]
pub struct Local {
    /// Runs side by side.
    pub jobs: usize,
    /// Devices, of which the runs that go side by side take one after the other; none: that of the config.
    pub devices: Vec<DeviceName>,
    /// Threads of each run.
    pub threads: usize,
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The run is finished.
    Finished,
    /// It was stopped, and goes on with the next call.
    Stopped,
    /// It failed, with this exit code where it has one.
    Failed(Option<i32>),
    /// It was not begun.
    NotBegun,
}

/// A run on its way.
struct Running {
    task: usize,
    slot: usize,
    child: Child,
    /// The bytes of its log when it began.
    said: u64,
    started: Instant,
}

impl Local {
    /// Runs every task; one that fails stops no other, and a signal stops them all in good order.
    ///
    /// # Errors
    ///
    /// A folder that cannot be written, a process that cannot be started.
    pub fn run(&self, sweep: &Sweep) -> Result<Vec<Outcome>, Error> {
        let logs = sweep.directory.join(LOGS);
        std::fs::create_dir_all(&logs).map_err(|error| Error::writing(&logs, error))?;
        // Asked once: the file may be replaced while the runs go on.
        let binary = std::env::current_exe()
            .map_err(|error| Error::new(Exit::Failed, "the program does not find itself").caused_by(error))?;
        let mut outcomes = vec![Outcome::NotBegun; sweep.tasks.len()];
        let mut waiting = 0..sweep.tasks.len();
        let mut running: Vec<Running> = Vec::new();
        let mut told = false;
        loop {
            let asked = interruption::asked();
            if asked && !std::mem::replace(&mut told, true) {
                running.iter().for_each(|run| stop(&run.child));
            }
            for run in running.extract_if(.., |run| !matches!(run.child.try_wait(), Ok(None))).collect::<Vec<_>>() {
                let (task, started, said) = (run.task, run.started, run.said);
                let status = { run }.child.wait().map_err(|error| Error::writing(&logs, error))?;
                outcomes[task] = Outcome::of(status);
                self.tell(sweep, task, said, started.elapsed(), &outcomes);
            }
            while !asked && running.len() < self.jobs {
                let Some(task) = waiting.next() else { break };
                let slot =
                    (0..self.jobs).find(|slot| running.iter().all(|run| run.slot != *slot)).expect("a free slot");
                let log = log_of(&logs, &sweep.tasks[task].name);
                let said = log.metadata().map_or(0, |log| log.len());
                let child = match self.start(&binary, &sweep.tasks[task], slot, &log) {
                    Ok(child) => child,
                    Err(error) => {
                        running.iter().for_each(|run| stop(&run.child));
                        for run in &mut running {
                            // Until its checkpoint is kept.
                            let _ = run.child.wait();
                        }
                        let message = format!("a run cannot be started by {}", binary.display());
                        return Err(Error::new(Exit::Failed, message).caused_by(error));
                    }
                };
                running.push(Running { task, slot, child, said, started: Instant::now() });
            }
            if running.is_empty() {
                return Ok(outcomes);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn start(&self, binary: &Path, task: &Task, slot: usize, log: &Path) -> io::Result<Child> {
        let log: File = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = Command::new(binary);
        command.args(&task.arguments).args(["--threads", &self.threads.to_string()]);
        if let Some(device) = self.devices.get(slot % self.devices.len().max(1)) {
            command.args(["--device", &device.to_string()]);
        }
        // A signal to the terminal is for the sweep, which passes it on: twice would mean at once.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
    }

    fn tell(&self, sweep: &Sweep, task: usize, said: u64, took: Duration, outcomes: &[Outcome]) {
        let ended = outcomes.iter().filter(|outcome| **outcome != Outcome::NotBegun).count();
        let (name, count, seconds) = (&sweep.tasks[task].name, outcomes.len(), took.as_secs_f64());
        match outcomes[task] {
            Outcome::Finished => info!("{ended} of {count}: {name} is finished after {seconds:.1} s"),
            Outcome::Stopped => info!("{ended} of {count}: {name} is stopped; the same command goes on with it"),
            Outcome::Failed(code) => {
                let log = log_of(&sweep.directory.join(LOGS), name);
                let why = match code {
                    None => "it was killed by a signal".to_owned(),
                    Some(code) => last_error(&log, said).unwrap_or(format!("exit code {code}")),
                };
                warn!("{ended} of {count}: {name} failed: {why} ({})", log.display());
            }
            Outcome::NotBegun => {}
        }
    }
}

impl Outcome {
    fn of(status: ExitStatus) -> Self {
        match status.code() {
            Some(0) => Self::Finished,
            Some(code) if code == Exit::Interrupted as i32 => Self::Stopped,
            code => Self::Failed(code),
        }
    }
}

fn log_of(logs: &Path, name: &str) -> PathBuf {
    logs.join(format!("{name}.txt"))
}

/// The last error that a run told of, after so many bytes of earlier attempts.
fn last_error(log: &Path, said: u64) -> Option<String> {
    let text = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(text.get(said as usize..)?).into_owned();
    text.lines().rev().find_map(|line| line.strip_prefix("error: ")).map(str::to_owned)
}

/// Asks a run to stop in good order.
fn stop(child: &Child) {
    #[cfg(unix)]
    {
        use nix::sys::signal::{Signal, kill};
        use nix::unistd::Pid;
        // One that has ended meanwhile needs no signal.
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
    }
    #[cfg(not(unix))]
    let _ = child;
}
