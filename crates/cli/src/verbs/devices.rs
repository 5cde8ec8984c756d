//! `train devices`: what this machine can compute on.

use crate::arguments::DevicesArguments;
use crate::device;
use crate::error::{Error, Exit};
use crate::stdout::say;

/// Lists the devices, and why one is not usable.
pub fn devices(arguments: &DevicesArguments) -> Result<Exit, Error> {
    let reports = device::list();
    if arguments.json {
        say(&format!("{}\n", serde_json::to_string(&reports).expect("reports are plain text")))?;
    } else {
        say(&device::table(&reports))?;
    }
    Ok(Exit::Done)
}
