//! `train init`: a config for a data file, or for a log-density.

use crate::arguments::InitArguments;
use crate::config;
use crate::error::{Error, Exit};
use crate::stdout::say;

/// Prints a config that fits the file, or one for a log-density.
pub fn init(arguments: &InitArguments) -> Result<Exit, Error> {
    if let (Some(expression), Some(dim)) = (&arguments.expression, arguments.dim) {
        say(&format!("{}\n", config::init::of_expression(expression, dim as usize)?))?;
        return Ok(Exit::Done);
    }
    let file = arguments.file.as_ref().expect("a file where there is no expression");
    if file.to_str().is_none() {
        let message = format!("the name of {} is no Unicode text, and a config could not hold it", file.display());
        return Err(Error::bad_input(message).hint("rename the file"));
    }
    say(&format!("{}\n", config::init::init(file, arguments.method, arguments.text_files.header())?))?;
    Ok(Exit::Done)
}
