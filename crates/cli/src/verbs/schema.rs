//! `train schema` and `train completions`: what editors and shells want to know.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::config;
use crate::error::{Error, Exit};

/// Prints the JSON schema of configs.
pub fn schema() -> Result<Exit, Error> {
    println!("{}", serde_json::to_string_pretty(&config::schema()).expect("a schema has string keys"));
    Ok(Exit::Done)
}

/// Prints the completion script of a shell.
pub fn completions(shell: Shell) -> Result<Exit, Error> {
    clap_complete::generate(shell, &mut Arguments::command(), "train", &mut std::io::stdout());
    Ok(Exit::Done)
}
