//! What a resumed run's config changes against the one it was started with.

use std::fmt;

use serde_json::{Map, Value};

use super::Config;
use super::check::join;
use crate::methods::wiring;

/// One key whose value changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The full path of the key.
    pub path: String,
    /// The value that the run was started with, as JSON, or `absent`.
    pub old: String,
    /// The value that is asked for now, as JSON, or `absent`.
    pub new: String,
    /// Whether a resume may change it.
    pub allowed: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: was {}, now {}", self.path, self.old, self.new)
    }
}

/// Every key in which two configs differ.
///
/// A resume may change `device` and `output`, which leave the numbers alone, and what the method says; anything else would make
/// another run of it.
pub fn difference(old: &Config, new: &Config) -> Vec<Difference> {
    let method = wiring(&new.method);
    let mut differences = Vec::new();
    compare("", Some(old.to_value()), Some(new.to_value()), &mut differences);
    for difference in &mut differences {
        let path = difference.path.as_str();
        difference.allowed = path == "device" || path.starts_with("output.") || method.may_change(path, old, new);
    }
    differences
}

/// Adds what differs below a path, none of it allowed.
fn compare(path: &str, old: Option<Value>, new: Option<Value>, found: &mut Vec<Difference>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Some(Value::Object(mut old)), Some(Value::Object(mut new))) if !is_other_choice(&old, &new) => {
            let mut keys: Vec<String> = old.keys().chain(new.keys()).cloned().collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                compare(&join(path, &key), old.remove(&key), new.remove(&key), found);
            }
        }
        (old, new) => {
            let shown = |value: Option<Value>| value.map_or_else(|| "absent".to_owned(), |value| value.to_string());
            found.push(Difference { path: path.to_owned(), old: shown(old), new: shown(new), allowed: false });
        }
    }
}

/// Whether two objects are two choices of one key, which is one difference and not two.
fn is_other_choice(old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
    old.len() == 1 && new.len() == 1 && !old.keys().eq(new.keys())
}
