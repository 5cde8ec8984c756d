//! From a file and a command line to a config: parsed, overridden, checked and resolved.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf, absolute};

use brenier_measure::TargetConfig;
use brenier_measure::data::DataSetConfig;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::check::{self, Problem};
use super::mistakes::Mistakes;
use super::set::Override;
use super::tree::{self, Kind, Node};
use super::{Config, ConfigError, consistency};
use crate::interruption;
use crate::methods::{paths, wiring};

/// The key of the path in a target, wherever the target has it; the tree is that of a whole config.
fn data_key(tree: &Node) -> Option<String> {
    let (mut node, mut key) = (tree.get("target")?, "target".to_owned());
    loop {
        let Kind::Object(entries) = &node.kind else { return None };
        let [choice] = &entries[..] else { return None };
        key = format!("{key}.{}", choice.key);
        node = &choice.value;
        if let Some(inner) = node.get("target") {
            (node, key) = (inner, format!("{key}.target"));
        } else if node.get("path").is_some() {
            return Some(format!("{key}.path"));
        } else {
            return node.get("data")?.get("path").map(|_| format!("{key}.data.path"));
        }
    }
}

/// The override that takes the data of a config from another place; `None` where its target is read from no file.
///
/// # Errors
///
/// A file that is no JSON.
pub fn data_at(path: &Path, data: &Path) -> Result<Option<Override>, ConfigError> {
    let tree = parse_tree(path, &read(path)?)?;
    Ok(data_key(&tree).map(|key| Override::flag("--data", &key, data.display())))
}

/// The JSON schema of a config, as `train schema` prints it.
pub fn schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

/// The config of a file, with what the command line puts over it: first `sets` (`training.steps=5`), then `flags`.
///
/// # Errors
///
/// [`ConfigError`], with every mistake that can be found without reading data.
pub fn load(path: &Path, sets: &[String], flags: &[Override]) -> Result<Config, ConfigError> {
    parse(path, &read(path)?, sets, flags)
}

/// The target of a file that holds just a target, or of a config: then the rest of it is not looked at.
///
/// # Errors
///
/// [`ConfigError`], with every mistake that can be found without reading data.
pub fn load_target(path: &Path) -> Result<TargetConfig, ConfigError> {
    parse_target(path, &read(path)?)
}

/// [`load_target`] for a text at hand; `path` serves the messages.
pub fn parse_target(path: &Path, text: &str) -> Result<TargetConfig, ConfigError> {
    const KEY: &str = "target";
    let mut tree = parse_tree(path, text)?;
    if let Kind::Object(entries) = &mut tree.kind {
        entries.retain(|entry| entry.key != "$schema");
    }
    let (node, prefix) = match tree.get(KEY) {
        Some(node) => (node, KEY),
        None => (&tree, ""),
    };
    let below = |problem: Problem| {
        let both = if prefix.is_empty() || problem.path.is_empty() { "" } else { "." };
        Problem { path: format!("{prefix}{both}{}", problem.path), ..problem }
    };
    let invalid = |problems: Vec<Problem>| {
        let problems = problems.into_iter().map(below).collect();
        ConfigError::InvalidTarget { path: path.to_owned(), problems }
    };
    let (value, problems) = check::check(&schemars::schema_for!(TargetConfig).to_value(), node);
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    let target: TargetConfig = deserialize(node, value).map_err(|problem| invalid(vec![problem]))?;
    match target.build_exact() {
        Ok(_) => Ok(target),
        Err(error) => {
            let problem = Problem { origin: node.origin.clone(), path: String::new(), message: error.to_string() };
            Err(invalid(vec![problem]))
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    // A config is a few kilobytes; what is given by mistake may be anything, and never end.
    const LARGEST: u64 = 16 << 20;
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let file = path.to_owned();
    // Whoever writes into a pipe may never come.
    let read = move || {
        let mut bytes = Vec::new();
        Ok(File::open(file).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)).map(|_| bytes))
    };
    let bytes = interruption::abandonable(read).map_err(|_| ConfigError::Interrupted)?.map_err(unreadable)?;
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(ConfigError::Utf16 { path: path.to_owned() });
    }
    match String::from_utf8(bytes) {
        Ok(text) if text.len() as u64 <= LARGEST => Ok(text),
        _ => Err(ConfigError::NoText { path: path.to_owned() }),
    }
}

fn parse_tree(path: &Path, text: &str) -> Result<Node, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    tree::parse(text).map_err(|error| ConfigError::Syntax { path: path.to_owned(), error })
}

/// [`load`] for a text at hand; `path` serves the messages.
pub fn parse(path: &Path, text: &str, sets: &[String], flags: &[Override]) -> Result<Config, ConfigError> {
    let invalid = |problems| ConfigError::Invalid { path: path.to_owned(), problems };
    let mut tree = parse_tree(path, text)?;
    let schema = schema();
    let mut problems = Vec::new();
    for value in sets.iter().map(|text| Override::set(text)).chain(flags.iter().cloned().map(Ok)) {
        if let Err(problem) = value.and_then(|value| value.apply(&schema, &mut tree)) {
            problems.push(problem);
        }
    }
    let (value, mistakes) = check::check(&schema, &tree);
    problems.extend(mistakes);
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    let mut config: Config = deserialize(&tree, value).map_err(|problem| invalid(vec![problem]))?;
    let method = config.method.clone();
    let method = wiring(&method);
    // What is missing is reported below, at its place.
    let _ = method.resolve(&mut config);
    let mut mistakes = Mistakes::new(&tree);
    consistency::check(&config, method, &mut mistakes);
    let problems = mistakes.into_problems();
    if problems.is_empty() { Ok(with_absolute_paths(config)) } else { Err(invalid(problems)) }
}

/// The types of a checked value; what only their own conversions refuse keeps its place too.
fn deserialize<T: DeserializeOwned>(tree: &Node, value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string().replace('[', ".").replace(']', "");
        let path = path.trim_matches('.').to_owned();
        Problem { origin: tree.origin_of(&path).clone(), path, message: error.into_inner().to_string() }
    })
}

/// A config whose paths do not depend on where it is read.
fn with_absolute_paths(mut config: Config) -> Config {
    let fix = |path: &mut PathBuf| {
        if let Ok(whole) = absolute(&*path) {
            *path = whole;
        }
    };
    config.target.paths().into_iter().for_each(fix);
    if let TargetConfig::Dataset(dataset) = &mut config.target {
        *dataset = std::mem::replace(dataset, DataSetConfig::of_file("")).with_absolute_paths();
    }
    if let Some(start) = config.training.as_mut().and_then(|training| training.start_from.as_mut()) {
        fix(start);
    }
    paths(&mut config.method).into_iter().for_each(fix);
    fix(&mut config.output.directory);
    config
}
