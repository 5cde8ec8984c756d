//! `train init`: a config for a data file.

use crate::arguments::InitArguments;
use crate::config;
use crate::error::{Error, Exit};
use crate::stdout::say;

/// Prints a config that fits the file.
pub fn init(arguments: &InitArguments) -> Result<Exit, Error> {
    if arguments.file.to_str().is_none() {
        let message =
            format!("the name of {} is no Unicode text, and a config could not hold it", arguments.file.display());
        return Err(Error::bad_input(message).hint("rename the file"));
    }
    say(&format!("{}\n", config::init::init(&arguments.file, arguments.method)?))?;
    Ok(Exit::Done)
}
