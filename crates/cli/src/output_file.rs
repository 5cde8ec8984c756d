//! Where an answer may be written.

use std::path::Path;

use brenier_eval::figures::{FigureError, write_atomically};
use brenier_training::run_directory::RunDirectory;

use crate::error::Error;
use crate::run::outputs;

/// Refuses a file whose name does not end as what is written there does; `what` is that, in words.
///
/// # Errors
///
/// Another ending.
pub fn check_ending(out: &Path, ending: &str, what: &str) -> Result<(), Error> {
    if out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(ending)) {
        return Ok(());
    }
    Err(Error::bad_input(format!("{}: {what} {ending} file", out.display()))
        .hint(format!("give --out a name that ends in .{ending}")))
}

/// Writes an answer, so that a reader sees the old file or the whole new one.
///
/// # Errors
///
/// A file that cannot be written; an existing one is then untouched.
pub fn write(out: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_atomically(out, bytes).map_err(|error| match error {
        FigureError::Write { source, .. } => Error::writing(out, source),
        other => other.into(),
    })
}

/// Refuses a file that an answer must not be written to, before anything is computed.
///
/// # Errors
///
/// A file that is one of the inputs, which would be lost; a folder that is not there.
pub fn check<P: AsRef<Path>>(out: &Path, inputs: impl IntoIterator<Item = P>) -> Result<(), Error> {
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(Error::bad_input(format!("{}: no folder {}", out.display(), folder.display()))
            .hint("create it, or choose another place"));
    }
    match inputs.into_iter().find(|input| is_same_file(out, input.as_ref())) {
        Some(input) => {
            Err(Error::bad_input(format!("{} would be replaced by what is computed from it", input.as_ref().display()))
                .hint("give another file to write to"))
        }
        None => Ok(()),
    }
}

/// Refuses a file that a run is stored in.
///
/// # Errors
///
/// A checkpoint, a record, an output of the run.
pub fn check_outside_run(out: &Path, run: &RunDirectory) -> Result<(), Error> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (Ok(folder), Ok(root)) = (folder.canonicalize(), run.path().canonicalize()) else { return Ok(()) };
    let there = out.canonicalize().unwrap_or_else(|_| folder.join(out.file_name().unwrap_or_default()));
    match there.strip_prefix(root) {
        Ok(name) if RunDirectory::keeps(name) || outputs::is_output(name) => {
            Err(Error::bad_input(format!("{} is a file of the run", out.display()))
                .hint("give another file to write to"))
        }
        _ => Ok(()),
    }
}

/// Whether two paths lead to one file, through whatever links.
fn is_same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    if let (Ok(a), Ok(b)) = (a.metadata(), b.metadata()) {
        use std::os::unix::fs::MetadataExt;
        return (a.dev(), a.ino()) == (b.dev(), b.ino());
    }
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
