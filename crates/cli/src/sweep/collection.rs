//! What many runs found, in one table: what they differ in, and every metric over their seeds.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use brenier_eval::MetricReport;
use brenier_training::run_directory::RunDirectory;
use serde_json::{Value, json};
use tracing::warn;

use crate::error::Error;
use crate::methods::read_record;
use crate::run::evaluation::EVALUATION;
use crate::table::{csv_line, number, plain};

/// Keys that say where, on what and under what name a run is, and no more.
const PLACES: [&str; 4] = ["name", "seed", "device", "output"];

/// One run of a collection.
#[derive(Debug, Clone, PartialEq)]
struct Collected {
    /// Its directory in that of the collection.
    name: String,
    seed: u64,
    /// Every value of the config by its path.
    config: BTreeMap<String, Value>,
    /// Of a run that is not finished, none.
    metrics: BTreeMap<String, MetricReport>,
    is_finished: bool,
    /// The target and its data.
    learnt: String,
}

/// The runs of a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Collection {
    runs: Vec<Collected>,
    /// The paths of the config in which they differ.
    keys: Vec<String>,
    /// The metrics that any of them has.
    metrics: Vec<String>,
}

/// One metric of runs that differ in their seeds alone.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cell {
    mean: f64,
    /// Over the seeds; none of a single run.
    sd: Option<f64>,
    floor: Option<f64>,
}

impl Collection {
    /// The runs in a folder, one level below it. What is no run is passed over, what cannot be read is said.
    ///
    /// # Errors
    ///
    /// A folder that cannot be listed, and one without a run.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        let entries = std::fs::read_dir(folder).map_err(|error| {
            Error::bad_input(format!("cannot list {}", folder.display()))
                .caused_by(error)
                .hint("give the folder that holds the run directories, such as that of a sweep")
        })?;
        let mut names: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.path().join("run.json").is_file())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !is_set_aside(name))
            .collect();
        names.sort();
        let mut runs = Vec::with_capacity(names.len());
        for name in names {
            match collect(folder, name.clone()) {
                Ok(run) => runs.push(run),
                Err(error) => warn!("{name} is left out: {error}"),
            }
        }
        if runs.is_empty() {
            return Err(Error::bad_input(format!("{} holds no run that can be read", folder.display()))
                .hint("give the folder that holds the run directories, such as that of a sweep"));
        }
        let learnt: BTreeSet<&String> = runs.iter().map(|run| &run.learnt).collect();
        if learnt.len() > 1 {
            warn!("these runs learnt {} different targets: metrics compare within one of them alone", learnt.len());
        }
        let paths: BTreeSet<&String> = runs.iter().flat_map(|run| run.config.keys()).collect();
        let differs = |path: &&String| runs.iter().any(|run| run.config.get(*path) != runs[0].config.get(*path));
        let keys = paths.into_iter().filter(differs).cloned().collect();
        let metrics: BTreeSet<&String> = runs.iter().flat_map(|run| run.metrics.keys()).collect();
        let metrics = metrics.into_iter().cloned().collect();
        Ok(Self { runs, keys, metrics })
    }

    /// The same with some metrics alone.
    ///
    /// # Errors
    ///
    /// One that no run has.
    pub fn only(mut self, names: &[String]) -> Result<Self, Error> {
        if let Some(unknown) = names.iter().find(|name| !self.metrics.contains(name)) {
            let known = self.metrics.join(", ");
            let known = if known.is_empty() { "no run is finished".to_owned() } else { format!("they have {known}") };
            return Err(Error::bad_input(format!("no run has the metric `{unknown}`")).hint(known));
        }
        self.metrics = names.to_vec();
        Ok(self)
    }

    /// How many runs are finished, and how many there are.
    pub fn count(&self) -> [usize; 2] {
        [self.runs.iter().filter(|run| run.is_finished).count(), self.runs.len()]
    }

    /// A row a run: its name, whether it is finished, its seed, what it differs in, and each metric with standard error, floor and z-score.
    pub fn csv(&self) -> String {
        let mut heads = vec!["run".to_owned(), "finished".to_owned(), "seed".to_owned()];
        heads.extend(self.keys.iter().cloned());
        for metric in &self.metrics {
            heads.extend(["", "_std_error", "_floor", "_z"].map(|end| format!("{metric}{end}")));
        }
        let mut text = csv_line(&heads);
        for run in &self.runs {
            let mut cells = vec![run.name.clone(), run.is_finished.to_string(), run.seed.to_string()];
            cells.extend(self.keys.iter().map(|key| run.config.get(key).map_or_else(String::new, plain)));
            for metric in &self.metrics {
                let report = run.metrics.get(metric);
                let of = |field: fn(&MetricReport) -> Option<f64>| {
                    report.and_then(field).map_or_else(String::new, |value| value.to_string())
                };
                cells.extend([of(|r| r.value), of(|r| r.std_error), of(|r| r.floor), of(|r| r.z_score)]);
            }
            text += &csv_line(&cells);
        }
        text
    }

    /// Runs that differ in their seeds alone, in the order of their values.
    fn groups(&self) -> Vec<(Vec<Option<&Value>>, Vec<&Collected>)> {
        let mut groups: Vec<(Vec<Option<&Value>>, Vec<&Collected>)> = Vec::new();
        for run in &self.runs {
            let values: Vec<Option<&Value>> = self.keys.iter().map(|key| run.config.get(key)).collect();
            match groups.iter_mut().find(|(own, _)| *own == values) {
                Some((_, runs)) => runs.push(run),
                None => groups.push((values, vec![run])),
            }
        }
        groups.sort_by(|(a, _), (b, _)| {
            a.iter().zip(b).map(|(a, b)| by_value(*a, *b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
        groups
    }

    /// A table in Markdown: a row for runs that differ in their seeds alone, mean ± standard deviation over the seeds, the best in bold.
    pub fn table(&self) -> String {
        let groups = self.groups();
        let mut heads: Vec<String> = self.keys.iter().map(|key| shortest_end(key, &self.keys)).collect();
        heads.push("runs".to_owned());
        heads.extend(self.metrics.iter().cloned());
        let row = |cells: &[String]| format!("| {} |\n", cells.join(" | ").replace('\n', " "));
        let mut text = row(&heads);
        let numbers = vec!["--:".to_owned(); self.metrics.len() + 1];
        text += &row(&[vec!["---".to_owned(); self.keys.len()], numbers].concat());
        let cells: Vec<Vec<Option<Cell>>> =
            groups.iter().map(|(_, runs)| self.metrics.iter().map(|metric| Cell::of(runs, metric)).collect()).collect();
        let best: Vec<Option<f64>> = (0..self.metrics.len()).map(|m| self.best(&cells, m)).collect();
        for ((values, runs), cells) in groups.iter().zip(&cells) {
            let mut line: Vec<String> =
                values.iter().map(|value| value.map_or_else(|| "-".to_owned(), plain).replace('|', "\\|")).collect();
            let finished = runs.iter().filter(|run| run.is_finished).count();
            line.push(if finished == runs.len() {
                finished.to_string()
            } else {
                format!("{finished} of {}", runs.len())
            });
            line.extend(cells.iter().zip(&best).map(|(cell, best)| match cell {
                None => "-".to_owned(),
                Some(cell) => {
                    let text = cell
                        .sd
                        .map_or_else(|| number(cell.mean), |sd| format!("{} ± {}", number(cell.mean), number(sd)));
                    if *best == Some(cell.mean) { format!("**{text}**") } else { text }
                }
            }));
            text += &row(&line);
        }
        let floors: Vec<String> = (0..self.metrics.len())
            .map(|m| {
                let floors: Vec<f64> = cells.iter().filter_map(|cells| cells[m]?.floor).collect();
                if floors.is_empty() || !self.is_of_one_target() {
                    "-".to_owned()
                } else {
                    number(floors.iter().sum::<f64>() / floors.len() as f64)
                }
            })
            .collect();
        let mut foot = vec![String::new(); self.keys.len()];
        foot.push("floor".to_owned());
        if self.keys.is_empty() {
            foot = vec!["floor".to_owned()];
        }
        text += &row(&[foot, floors].concat());
        text
    }

    fn is_of_one_target(&self) -> bool {
        self.runs.iter().all(|run| run.learnt == self.runs[0].learnt)
    }

    /// The best mean of a metric, where some rows differ and all learnt one target.
    fn best(&self, cells: &[Vec<Option<Cell>>], m: usize) -> Option<f64> {
        if !self.is_of_one_target() {
            return None;
        }
        let direction = self.runs.iter().find_map(|run| run.metrics.get(&self.metrics[m]))?.direction;
        let badness = |cell: &Cell| direction.badness(cell.mean, cell.floor);
        let all: Vec<(f64, f64)> =
            cells.iter().filter_map(|cells| Some((badness(&cells[m]?)?, cells[m]?.mean))).collect();
        let least = all.iter().min_by(|a, b| a.0.total_cmp(&b.0))?;
        all.iter().any(|other| other.0 > least.0).then_some(least.1)
    }

    /// All of it as JSON.
    pub fn to_json(&self) -> Value {
        let runs: Vec<Value> = self
            .runs
            .iter()
            .map(|run| {
                let differs: BTreeMap<&String, Option<&Value>> =
                    self.keys.iter().map(|key| (key, run.config.get(key))).collect();
                let metrics: BTreeMap<&String, &MetricReport> =
                    run.metrics.iter().filter(|(name, _)| self.metrics.contains(name)).collect();
                json!({"run": run.name, "finished": run.is_finished, "seed": run.seed, "config": differs, "metrics": metrics})
            })
            .collect();
        json!({"keys": self.keys, "runs": runs})
    }
}

impl Cell {
    fn of(runs: &[&Collected], metric: &str) -> Option<Self> {
        let reports: Vec<&MetricReport> = runs.iter().filter_map(|run| run.metrics.get(metric)).collect();
        let values: Vec<f64> = reports.iter().filter_map(|report| report.value).collect();
        let n = values.len() as f64;
        let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / n)?;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        let floors: Vec<f64> = reports.iter().filter_map(|report| report.floor).collect();
        let floor = (!floors.is_empty()).then(|| floors.iter().sum::<f64>() / floors.len() as f64);
        Some(Self { mean, sd, floor })
    }
}

fn collect(folder: &Path, name: String) -> Result<Collected, Error> {
    let path = folder.join(&name);
    let directory = RunDirectory::open(&path)?;
    let record = read_record(&directory)?;
    let mut config = BTreeMap::new();
    flatten("", record.config.to_value(), &mut config);
    config.retain(|path, _| !PLACES.contains(&path.split('.').next().unwrap_or_default()));
    let evaluation = std::fs::read_to_string(path.join(EVALUATION)).ok();
    let metrics = evaluation.as_ref().map(|text| {
        serde_json::from_str::<Value>(text).and_then(|mut whole| serde_json::from_value(whole["metrics"].take()))
    });
    let metrics = metrics.transpose().unwrap_or_else(|error| {
        warn!("{EVALUATION} of {name} is damaged or of another version, and left out: {error}");
        None
    });
    Ok(Collected {
        seed: record.config.seed,
        learnt: serde_json::to_string(&record.what_was_learnt()).expect("a target is JSON"),
        is_finished: metrics.is_some(),
        metrics: metrics.unwrap_or_default(),
        config,
        name,
    })
}

/// Numbers by size, and before everything else, which goes by its text.
fn by_value(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a.and_then(Value::as_f64), b.and_then(Value::as_f64)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (a_number, b_number) => {
            b_number.is_some().cmp(&a_number.is_some()).then_with(|| a.map(plain).cmp(&b.map(plain)))
        }
    }
}

/// The fewest last segments of a path that no other path ends with.
fn shortest_end(key: &str, keys: &[String]) -> String {
    let starts = key.rmatch_indices('.').map(|(at, _)| &key[at + 1..]).chain([key]);
    let is_own = |end: &&str| {
        let others = keys.iter().filter(|other| *other != key);
        others.into_iter().all(|other| other != end && !other.ends_with(&format!(".{end}")))
    };
    starts.into_iter().find(is_own).unwrap_or(key).to_owned()
}

/// Whether `--fresh` set a run of this name aside.
fn is_set_aside(name: &str) -> bool {
    name.rsplit_once(".old-").is_some_and(|(_, number)| number.chars().all(|c| c.is_ascii_digit()))
}

/// The values of a tree by their dotted paths; lists are values.
fn flatten(path: &str, value: Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (key, value) in object {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                flatten(&path, value, found);
            }
        }
        value => {
            found.insert(path.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use brenier_eval::Direction;
    use brenier_measure::Estimate;

    use super::*;

    fn run(name: &str, seed: u64, width: u64, w2: Option<f64>) -> Collected {
        let report = |value| MetricReport::new(Estimate { value, std_error: 0.1 }, 100, Direction::LowerIsBetter);
        Collected {
            name: name.to_owned(),
            seed,
            config: BTreeMap::from([("network.width".to_owned(), json!(width))]),
            metrics: w2.map(|w2| ("w2".to_owned(), report(w2).with_floor(0.5, 0.1))).into_iter().collect(),
            is_finished: w2.is_some(),
            learnt: String::new(),
        }
    }

    #[test]
    fn a_head_is_as_short_as_tells_it_from_the_others() {
        let keys = ["target.drawn.points", "evaluation.log_density.points", "seed"].map(str::to_owned);
        let heads = keys.each_ref().map(|key| shortest_end(key, &keys));
        assert_eq!(heads, ["drawn.points", "log_density.points", "seed"]);
        assert!(is_set_aside("seed-0.old-1") && !is_set_aside("seed-0.old"));
    }

    #[test]
    fn a_row_is_the_mean_over_seeds_and_the_best_is_bold() {
        let runs = vec![
            run("a", 0, 64, Some(1.0)),
            run("b", 1, 64, Some(2.0)),
            run("c", 0, 128, Some(1.2)),
            run("d", 1, 128, None),
        ];
        let collection = Collection { runs, keys: vec!["network.width".to_owned()], metrics: vec!["w2".to_owned()] };
        let table = collection.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "| width | runs | w2 |");
        assert_eq!(lines[2], "| 64 | 2 | 1.5 ± 0.7071 |");
        assert_eq!(lines[3], "| 128 | 1 of 2 | **1.2** |");
        assert_eq!(lines[4], "|  | floor | 0.5 |");
        let csv = collection.csv();
        assert_eq!(csv.lines().next().unwrap(), "run,finished,seed,network.width,w2,w2_std_error,w2_floor,w2_z");
        assert_eq!(csv.lines().last().unwrap(), "d,false,1,128,,,,");
    }
}
