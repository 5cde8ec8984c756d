//! Studies of many runs: a file that says which, and each of them as a task of its own.
//!
//! # Design
//!
//! A task is one `train run … --resume` with its values on the command line: it starts or goes on, so that a study is resumed by the
//! command that began it, here as on a cluster. The name of a task follows from its values alone. More values leave the runs that are
//! there where they are.

mod collection;
mod local;
mod plan;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

pub use collection::Collection;
pub use local::{Local, Outcome};
pub use plan::{Place, kubernetes, slurm};

use crate::config::load;
use crate::error::Error;

/// The longest name of a task; a longer one ends in a checksum.
const LONGEST_NAME: usize = 90;

/// The most tasks.
const MOST_TASKS: usize = 100_000;

/// Keys that the sweep sets itself.
const OWN: [&str; 3] = ["name", "seed", "output.directory"];

/// A sweep as its file describes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct SweepConfig {
    /// The config of every run.
    config: PathBuf,
    /// Seeds: every combination of values is run with each.
    #[serde(default)]
    seeds: Vec<u64>,
    /// Keys of the config with their values, all combinations of which are run.
    #[serde(default)]
    grid: BTreeMap<String, Vec<Value>>,
    /// Values that belong together, each of which is combined with those of the grid.
    #[serde(default)]
    list: Vec<BTreeMap<String, Value>>,
    /// The folder of the runs.
    #[serde(default)]
    directory: Option<PathBuf>,
}

/// A sweep with its tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// The name of the file.
    pub name: String,
    /// The folder of the runs.
    pub directory: PathBuf,
    /// One run each.
    pub tasks: Vec<Task>,
}

/// One run of a sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The name of its run directory in that of the sweep.
    pub name: String,
    /// What follows `train` on the command line.
    pub arguments: Vec<String>,
}

impl Sweep {
    /// The tasks of a sweep file, every config of which is checked as far as that takes no data.
    ///
    /// # Errors
    ///
    /// A file that is no sweep; a value that the config does not take.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::bad_input(format!("cannot read the sweep {}", path.display()))
                .caused_by(error)
                .hint("give a JSON file such as {\"config\": \"config.json\", \"seeds\": [0, 1], \"grid\": {\"training.batch\": [128, 256]}}")
        })?;
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        let sweep: SweepConfig = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            Error::bad_input(format!("{} is no sweep: {error}", path.display()))
                .hint("a sweep holds `config`, and of `seeds`, `grid`, `list` and `directory` what it needs")
        })?;
        sweep.tasks(path)
    }
}

impl SweepConfig {
    fn tasks(&self, path: &Path) -> Result<Sweep, Error> {
        let wrong = |message: String| Error::bad_input(format!("{}: {message}", path.display()));
        let keys = self.grid.keys().chain(self.list.iter().flat_map(BTreeMap::keys));
        for key in keys {
            if OWN.contains(&key.as_str()) {
                return Err(wrong(format!("`{key}` is what the sweep sets"))
                    .hint("seeds stand under `seeds`, the folder of the runs is `directory`, and names follow from the values"));
            }
            if self.grid.contains_key(key) && self.list.iter().any(|values| values.contains_key(key)) {
                return Err(
                    wrong(format!("`{key}` stands both in `grid` and in `list`")).hint("leave it out of one of them")
                );
            }
        }
        let lists: Vec<Vec<&String>> = self.list.iter().map(|values| values.keys().collect()).collect();
        for own in lists.iter().chain(std::iter::once(&Vec::new())).take(lists.len().max(1)) {
            let together: Vec<&String> = self.grid.keys().chain(own.iter().copied()).collect();
            let holds = |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
            let pair =
                together.iter().find_map(|outer| Some((outer, together.iter().find(|inner| holds(outer, inner))?)));
            if let Some((outer, inner)) = pair {
                return Err(wrong(format!("`{outer}` holds `{inner}`, which varies beside it"))
                    .hint("vary one of the two, or put both into the values of the other"));
            }
        }
        if let Some((key, _)) = self.grid.iter().find(|(_, values)| values.is_empty()) {
            return Err(wrong(format!("`grid.{key}` has no values")).hint("give it a list of values, or leave it out"));
        }
        let base = load::load(&self.config, &[], &[])?;
        let stem = path.file_stem().map_or_else(|| "sweep".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let directory = self.directory.clone().unwrap_or_else(|| base.output.directory.join(&stem));
        let count = self.grid.values().map(Vec::len).chain([self.list.len().max(1), self.seeds.len().max(1)]);
        if count.clone().try_fold(1usize, usize::checked_mul).is_none_or(|count| count > MOST_TASKS) {
            return Err(wrong(format!("these are more than {MOST_TASKS} runs")).hint("split the sweep"));
        }
        let mut tasks: Vec<Task> = Vec::with_capacity(count.product());
        for values in self.combinations() {
            let seeds: Vec<Option<u64>> =
                if self.seeds.is_empty() { vec![None] } else { self.seeds.iter().copied().map(Some).collect() };
            for seed in seeds {
                let task = self.task(&directory, &values, seed);
                if tasks.iter().any(|other| other.name == task.name) {
                    return Err(
                        wrong(format!("the run {} comes twice", task.name)).hint("leave a repeated value or seed out")
                    );
                }
                tasks.push(task);
            }
            // Before the first run starts: one seed stands for all.
            let sets: Vec<String> = values.iter().map(|(key, value)| format!("{key}={value}")).collect();
            load::load(&self.config, &sets, &[])?;
        }
        Ok(Sweep { name: stem, directory, tasks })
    }

    /// All values of the grid with each of the list.
    fn combinations(&self) -> Vec<Vec<(&str, &Value)>> {
        let mut all: Vec<Vec<(&str, &Value)>> = match self.list.len() {
            0 => vec![Vec::new()],
            _ => self
                .list
                .iter()
                .map(|values| values.iter().map(|(key, value)| (key.as_str(), value)).collect())
                .collect(),
        };
        for (key, values) in &self.grid {
            all = all
                .iter()
                .flat_map(|before| {
                    values.iter().map(move |value| {
                        let mut after = before.clone();
                        after.push((key.as_str(), value));
                        after
                    })
                })
                .collect();
        }
        all
    }

    fn task(&self, directory: &Path, values: &[(&str, &Value)], seed: Option<u64>) -> Task {
        let name = name(values, seed);
        let mut arguments = vec!["run".to_owned(), self.config.display().to_string()];
        let mut give = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
        give("--run-dir", directory.join(&name).display().to_string());
        give("--set", format!("name={name}"));
        for (key, value) in values {
            give("--set", format!("{key}={value}"));
        }
        if let Some(seed) = seed {
            give("--seed", seed.to_string());
        }
        arguments.push("--resume".to_owned());
        Task { name, arguments }
    }
}

/// A value as JSON, a large number without the plus sign of its exponent.
fn written(value: &Value) -> String {
    let text = value.to_string();
    if value.is_number() { text.replace('+', "") } else { text }
}

/// The last key of each value with the value, and the seed; with a checksum where that says too little or too much.
fn name(values: &[(&str, &Value)], seed: Option<u64>) -> String {
    let plain = |text: &str| -> String {
        text.chars()
            .filter(|c| *c != '"')
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
            .collect()
    };
    let mut parts: Vec<String> = values
        .iter()
        .map(|(key, value)| {
            let last = key.rsplit('.').find(|segment| segment.parse::<usize>().is_err()).unwrap_or(key);
            format!("{last}-{}", plain(&written(value)))
        })
        .collect();
    let seed = seed.map(|seed| format!("seed-{seed}"));
    parts.extend(seed.clone());
    let whole = if parts.is_empty() { "run".to_owned() } else { parts.join("_") };
    let is_told_whole = values.iter().all(|(key, value)| {
        let text = written(value);
        plain(&text) == text.trim_matches('"')
            && key.rsplit('.').next().is_some_and(|last| last.parse::<usize>().is_err())
    });
    let is_unique = values.iter().enumerate().all(|(k, (key, _))| {
        let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
        values[..k].iter().all(|(other, _)| last(other) != last(key))
    });
    if whole.len() <= LONGEST_NAME && is_told_whole && is_unique {
        return whole;
    }
    let text = serde_json::to_string(values).expect("values are JSON");
    let checksum = &brenier_measure::data::sha256(text.as_bytes())[..8];
    // The seed comes last, so that a long name does not lose it.
    let last = seed.map_or_else(String::new, |seed| format!("_{seed}"));
    let values = whole.strip_suffix(&last).unwrap_or(&whole);
    let short: String = values.chars().take(LONGEST_NAME - last.len()).collect();
    format!("{short}_{checksum}{last}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_follows_from_the_values_and_no_two_are_alike() {
        let (width, rate) = (json!(64), json!(1e-3));
        let values = [("method.network.width", &width), ("training.learning_rate.constant.rate", &rate)];
        assert_eq!(name(&values, Some(3)), "width-64_rate-0.001_seed-3");
        assert_eq!(name(&[], None), "run");
        let lists = [json!([1, 2]), json!([1, 2.0]), json!("[1,2]")];
        let names = lists.each_ref().map(|value| name(&[("a.b", value)], None));
        assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2], "{names:?}");
        let long = json!("x".repeat(500));
        assert!(name(&[("a", &long)], None).len() < LONGEST_NAME + 10);
        let of_seeds = [Some(1), Some(2)].map(|seed| name(&[("a", &long)], seed));
        assert!(of_seeds[0] != of_seeds[1] && of_seeds[1].ends_with("_seed-2"), "{of_seeds:?}");
        assert!(name(&[("a.b", &width), ("c.b", &width)], None).len() > "b-64_b-64".len());
    }

    #[test]
    fn every_combination_comes_once() {
        let sweep: SweepConfig = serde_json::from_value(json!({
            "config": "c.json", "grid": {"a": [1, 2], "b": [1, 2, 3]}, "list": [{"c": 1, "d": 2}, {"c": 2}]
        }))
        .unwrap();
        let all = sweep.combinations();
        assert_eq!(all.len(), 12);
        let texts: std::collections::BTreeSet<String> = all.iter().map(|values| format!("{values:?}")).collect();
        assert_eq!(texts.len(), 12);
    }
}
