//! Where an answer may be written.

use std::path::Path;

use crate::error::Error;

/// Refuses a file that an answer must not be written to, before anything is computed.
///
/// # Errors
///
/// A file that is one of the inputs, which would be lost; a folder that is not there.
pub fn check(out: &Path, inputs: &[&Path]) -> Result<(), Error> {
    let folder = match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(Error::bad_input(format!("{}: no folder {}", out.display(), folder.display()))
            .hint("create it, or choose another place"));
    }
    let Ok(there) = out.canonicalize() else { return Ok(()) };
    match inputs.iter().find(|input| input.canonicalize().is_ok_and(|input| input == there)) {
        Some(input) => {
            Err(Error::bad_input(format!("{} would be replaced by what is computed from it", input.display()))
                .hint("give another file to write to"))
        }
        None => Ok(()),
    }
}
