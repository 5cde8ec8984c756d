//! `train schema` and `train completions`: what editors and shells want to know.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::config::load;
use crate::error::{Error, Exit};
use crate::stdout::say;

/// Prints the JSON schema of configs.
pub fn schema() -> Result<Exit, Error> {
    say(&format!("{}\n", serde_json::to_string_pretty(&load::schema()).expect("a schema has string keys")))?;
    Ok(Exit::Done)
}

/// Prints the completion script of a shell.
pub fn completions(shell: Shell) -> Result<Exit, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "train", &mut script);
    say(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
