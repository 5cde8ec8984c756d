//! Results on stdout.

use std::io::{ErrorKind, Write, stdout};

use crate::error::{Error, Exit};

/// Writes a text to stdout. A reader that has gone away (`train … | head`) has seen what it wanted.
///
/// # Errors
///
/// Anything else that keeps the text from being written, such as a full disk.
pub fn say(text: &str) -> Result<(), Error> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::new(Exit::Failed, "cannot write to stdout").caused_by(error))
        }
        _ => Ok(()),
    }
}
