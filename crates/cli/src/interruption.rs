//! Stopping in good order: signals and the time limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;

static ASKED: AtomicBool = AtomicBool::new(false);

/// Makes SIGINT and SIGTERM ask for a stop; a second one exits at once.
///
/// # Errors
///
/// The system refuses a handler.
pub fn listen() -> Result<(), Error> {
    ctrlc::set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            // The person insists: what was written is whole, because every write is atomic.
            std::process::exit(130);
        }
        eprintln!("stopping at the next step; press again to exit at once");
    })
    .map_err(Error::signals)
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

/// A moment after which a run stops as if a signal had asked.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// The moment `limit` from now; never, without a limit.
    pub fn after(limit: Option<Duration>) -> Self {
        Self(limit.and_then(|limit| Instant::now().checked_add(limit)))
    }

    /// Whether a signal asked for a stop, or the time is over.
    pub fn reached(&self) -> bool {
        asked() || self.0.is_some_and(|end| Instant::now() >= end)
    }
}
