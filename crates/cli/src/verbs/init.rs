//! `train init`: a config for a data file.

use crate::arguments::InitArguments;
use crate::config;
use crate::error::{Error, Exit};
use crate::stdout::say;

/// Prints a config that fits the file.
pub fn init(arguments: &InitArguments) -> Result<Exit, Error> {
    say(&format!("{}\n", config::init::init(&arguments.file)?))?;
    Ok(Exit::Done)
}
