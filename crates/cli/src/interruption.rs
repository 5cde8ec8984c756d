//! Stopping in good order: signals and the time limit.

use std::sync::atomic::{AtomicBool, Ordering};
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
