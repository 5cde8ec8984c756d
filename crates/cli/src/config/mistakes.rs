//! The mistakes in a config whose types are right, each with its place.

use std::path::Path;

use super::check::Problem;
use super::tree::Node;

/// What a path is relative to.
const WHERE: &str = "a path is relative to the folder in which `train` is started";

/// Mistakes as they are found.
pub struct Mistakes<'a> {
    tree: &'a Node,
    found: Vec<Problem>,
}

impl<'a> Mistakes<'a> {
    /// None so far in the config that was read from `tree`.
    pub fn new(tree: &'a Node) -> Self {
        Self { tree, found: Vec::new() }
    }

    /// All of them, in the order in which they were found.
    pub fn into_problems(self) -> Vec<Problem> {
        self.found
    }

    /// Adds a mistake at the full path of a key.
    pub fn report(&mut self, path: &str, message: String) {
        self.found.push(Problem { origin: self.tree.origin_of(path).clone(), path: path.to_owned(), message });
    }

    /// Reports a path that names no file.
    pub fn file(&mut self, path: &str, file: &Path) {
        if file.is_file() {
            return;
        }
        let message = if file.as_os_str().is_empty() {
            "expected the path of a file, found \"\"".to_owned()
        } else if file.starts_with("~") {
            format!("there is no file {}; `~` is not expanded, so write the home folder out", file.display())
        } else if file.is_dir() {
            format!("expected a file, found the folder {}", file.display())
        } else {
            format!("there is no file {}; {}", file.display(), WHERE)
        };
        self.report(path, message);
    }

    /// Reports a path that names no run directory.
    pub fn run_directory(&mut self, path: &str, folder: &Path) {
        if !folder.is_dir() {
            self.report(path, format!("there is no run directory {}; {WHERE}", folder.display()));
        }
    }

    /// Whether the first of two keys of one section is below the second; reports them where it is not.
    pub fn increasing(&mut self, section: &str, low_key: &str, low: f64, high_key: &str, high: f64) -> bool {
        if low < high {
            return true;
        }
        let (low_path, high_path) = (format!("{section}.{low_key}"), format!("{section}.{high_key}"));
        // Where only the lower one was written, that is the one to change.
        if self.tree.get(&high_path).is_none() && self.tree.get(&low_path).is_some() {
            self.report(&low_path, format!("expected a number below `{high_key}`, {high}, found {low}"));
        } else {
            self.report(&high_path, format!("expected a number above `{low_key}`, {low}, found {high}"));
        }
        false
    }
}
