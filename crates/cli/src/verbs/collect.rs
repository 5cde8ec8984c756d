//! `train collect`: what many runs found, in one table.

use tracing::info;

use crate::arguments::CollectArguments;
use crate::error::{Error, Exit};
use crate::output_file;
use crate::stdout::say;
use crate::sweep::Collection;
use crate::verbs::Context;

/// Prints the table, and writes every run to a csv file where one is asked for.
pub fn collect(arguments: &CollectArguments, _context: &Context) -> Result<Exit, Error> {
    if let Some(out) = &arguments.out {
        output_file::check_ending(out, "csv", "the table of runs is a")?;
        output_file::check(out, Vec::<&std::path::Path>::new())?;
    }
    let mut collection = Collection::of(&arguments.folder)?;
    if let Some(only) = &arguments.only {
        collection = collection.only(only)?;
    }
    let [finished, all] = collection.count();
    if finished < all {
        info!("{} of {all} runs are not finished, and have no metrics", all - finished);
    }
    if let Some(out) = &arguments.out {
        output_file::write(out, collection.csv().as_bytes())?;
    }
    let text = if arguments.json { format!("{}\n", collection.to_json()) } else { collection.table() };
    say(&text).map(|()| Exit::Done)
}
