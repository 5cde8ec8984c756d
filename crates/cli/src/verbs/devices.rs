//! `train devices`: what this machine can compute on.

use crate::arguments::DevicesArguments;
use crate::device;
use crate::error::{Error, Exit};

/// Lists the devices, and why one is not usable.
pub fn devices(arguments: &DevicesArguments) -> Result<Exit, Error> {
    let reports = device::list();
    if arguments.json {
        println!("{}", serde_json::to_string(&reports).expect("reports are plain text"));
    } else {
        print!("{}", device::table(&reports));
    }
    Ok(Exit::Done)
}
