//! Stopping in good order: signals and the time limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;

static ASKED: AtomicBool = AtomicBool::new(false);

/// Whether a person, or whoever ends processes, has asked: a scheduler that warned has not.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Makes SIGINT, SIGTERM and SIGHUP ask for a stop, of which a second one exits at once; and SIGUSR1, by which a scheduler
/// warns that time is running out. To be called before there are other threads.
///
/// # Errors
///
/// The system refuses a handler.
pub fn listen() -> Result<(), Error> {
    #[cfg(unix)]
    listen_to_schedulers().map_err(Error::signals)?;
    ctrlc::set_handler(|| {
        ASKED.store(true, Ordering::SeqCst);
        if TOLD.swap(true, Ordering::SeqCst) {
            // The person insists: what was written is whole, because every write is atomic.
            std::process::exit(130);
        }
        eprintln!("stopping at the next step; press again to exit at once");
    })
    .map_err(Error::signals)
}

/// Waits for SIGUSR1 in a thread of its own; all others block it.
#[cfg(unix)]
fn listen_to_schedulers() -> Result<(), std::io::Error> {
    use nix::sys::signal::{SigSet, Signal};
    let warning = SigSet::from(Signal::SIGUSR1);
    warning.thread_block()?;
    thread::Builder::new().name("scheduler".to_owned()).spawn(move || {
        while warning.wait().is_ok() {
            if !ASKED.swap(true, Ordering::SeqCst) {
                eprintln!("stopping at the next step: the scheduler warns that time is running out");
            }
        }
    })?;
    Ok(())
}

/// Whether a signal asked for a stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Does work that writes nothing in a thread of its own, and leaves it where it stands as soon as a signal asks for a stop.
///
/// One exact distance of many points takes longer than a person waits for an answer to Ctrl-C.
///
/// # Errors
///
/// Those of the work, and the interruption.
pub fn abandonable<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    let (sender, receiver) = channel();
    let worker = thread::spawn(move || drop(sender.send(work())));
    loop {
        match receiver.recv_timeout(LOOK_EVERY) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Timeout) if asked() => return Err(Error::interrupted()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => match worker.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => unreachable!("the worker answers before it ends"),
            },
        }
    }
}

/// When a run stops as if a signal had asked: after some time, or after some steps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    end: Option<Instant>,
    steps: Option<u64>,
}

impl Limits {
    /// The moment `time` from now, and so many steps from where the run stands; never, without limits.
    pub fn new(time: Option<Duration>, steps: Option<u64>) -> Self {
        Self { end: time.and_then(|time| Instant::now().checked_add(time)), steps }
    }

    /// Whether a signal asked for a stop, or the time is over.
    pub fn reached(&self) -> bool {
        asked() || self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// The same after so many steps of this process.
    pub fn reached_after(&self, steps: u64) -> bool {
        self.reached() || self.steps.is_some_and(|most| steps >= most)
    }
}
