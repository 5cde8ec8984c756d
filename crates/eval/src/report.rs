//! One answer of an evaluation: a value with its standard error, beside what a perfect sampler would get.

use std::collections::BTreeMap;
use std::fmt;

use brenier_measure::Estimate;
use serde::{Deserialize, Serialize};

/// Where the good values of a metric lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// A good sampler has a value as low as the floor.
    LowerIsBetter,
    /// A good sampler has a value as high as the floor.
    HigherIsBetter,
    /// A good sampler has the value of the floor: far below is as bad as far above.
    NearFloorIsBetter,
}

impl Direction {
    /// How bad a value is: of two, the better has the lower badness; `None` where that takes a floor and there is none.
    pub fn badness(self, value: f64, floor: Option<f64>) -> Option<f64> {
        match self {
            Self::LowerIsBetter => Some(value),
            Self::HigherIsBetter => Some(-value),
            Self::NearFloorIsBetter => Some((value - floor?).abs()),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::LowerIsBetter => "low",
            Self::HigherIsBetter => "high",
            Self::NearFloorIsBetter => "near floor",
        })
    }
}

/// Something that was decided or found beside a value: the ε of a Sinkhorn divergence, the k of a k-nearest-neighbour estimate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Detail {
    /// Whether something holds.
    Flag(bool),
    /// A number of things.
    Count(u64),
    /// A number.
    Number(f64),
    /// A name.
    Text(String),
}

impl From<bool> for Detail {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<usize> for Detail {
    fn from(count: usize) -> Self {
        Self::Count(count as u64)
    }
}

impl From<f64> for Detail {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// One metric of a sampler. What is not defined (the spread of one point, the floor of data that are used up) is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    /// The value for the sampler.
    pub value: Option<f64>,
    /// Its standard error.
    pub std_error: Option<f64>,
    /// The mean value for perfect sample sets of the same sizes.
    pub floor: Option<f64>,
    /// The standard deviation of that value from one perfect set to the next.
    pub floor_sd: Option<f64>,
    /// `(value - floor)/√(floor_sd² + std_error²)`.
    pub z_score: Option<f64>,
    /// How many samples of the sampler went in.
    pub n: usize,
    /// The seed of everything random in it, perfect sample sets included.
    pub seed: u64,
    /// Where good values lie.
    pub direction: Direction,
    /// What to know before trusting the numbers.
    pub note: Option<String>,
    /// What was decided or found beside the value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Detail>,
}

/// Rounding above this share of a value is told.
const LARGEST_ROUNDING: f64 = 1e-9;

impl MetricReport {
    /// A value without a floor; a number that is not finite counts as undefined.
    pub fn new(value: Estimate, n: usize, direction: Direction) -> Self {
        let defined = |number: f64| number.is_finite().then_some(number);
        let mut report = Self::undefined(n, direction);
        report.value = defined(value.value);
        report.std_error = report.value.and(defined(value.std_error));
        report
    }

    /// A metric that has no value here; a note should say why.
    pub fn undefined(n: usize, direction: Direction) -> Self {
        Self {
            value: None,
            std_error: None,
            floor: None,
            floor_sd: None,
            z_score: None,
            n,
            seed: 0,
            direction,
            note: None,
            details: BTreeMap::new(),
        }
    }

    /// The same beside the values of perfect sample sets; fewer than two make no floor.
    pub fn with_perfect(self, perfect: &[f64]) -> Self {
        if perfect.len() < 2 || perfect.iter().any(|value| !value.is_finite()) {
            return self;
        }
        let mean = Estimate::mean(perfect.iter().copied());
        let sd = mean.std_error * (perfect.len() as f64).sqrt();
        self.with_floor(mean.value, sd).with_detail("floor_repeats", perfect.len())
    }

    /// The same beside the value of a perfect sampler, with its standard deviation (0 where it is known exactly).
    pub fn with_floor(mut self, floor: f64, floor_sd: f64) -> Self {
        (self.floor, self.floor_sd) = (Some(floor), Some(floor_sd));
        self.z_score = self.value.and_then(|value| {
            let scale = floor_sd.hypot(self.std_error.unwrap_or(0.0));
            // Where neither spreads but for rounding, the difference is certain, and no multiple of a spread.
            (scale > 1e-9 * value.abs().max(floor.abs())).then(|| (value - floor) / scale)
        });
        self
    }

    /// The same without a floor.
    pub fn without_floor(mut self) -> Self {
        (self.floor, self.floor_sd, self.z_score) = (None, None, None);
        self.details.remove("floor_repeats");
        self
    }

    /// The same with a note, behind those that are there.
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        let note = note.into();
        self.note = Some(match self.note {
            Some(old) => format!("{old}; {note}"),
            None => note,
        });
        self
    }

    /// The same with a bound of what rounding may have done to the value, and a note where that is no longer small.
    pub fn with_rounding(self, rounding: f64) -> Self {
        let report = self.with_detail("rounding", rounding);
        match report.value {
            Some(value) if rounding > LARGEST_ROUNDING * value.abs() => report
                .with_note(format!("known to ±{rounding:.1e} only: rows far from all others leave no more digits")),
            _ => report,
        }
    }

    /// The same of points that are so many times as large; `power` says that it is in that power of their unit, and which details are in which.
    pub(crate) fn times(mut self, unit: f64, power: i32, details: &[(&str, i32)]) -> Self {
        let (factor, before) = (|power: i32| unit.powi(power), self.value);
        for value in [&mut self.value, &mut self.std_error].into_iter().flatten() {
            *value *= factor(power);
        }
        for (name, power) in details {
            if let Some(Detail::Number(number)) = self.details.get_mut(*name) {
                *number *= factor(*power);
            }
        }
        let size = match (before, self.value) {
            (_, Some(value)) if !value.is_finite() => "larger",
            (Some(before), Some(0.0)) if before != 0.0 => "smaller",
            _ => return self,
        };
        (self.value, self.std_error) = (None, None);
        self.with_note(format!("{size} than numbers can be: rescale the points"))
    }

    /// The same with a detail.
    pub fn with_detail(mut self, name: &str, detail: impl Into<Detail>) -> Self {
        self.details.insert(name.to_owned(), detail.into());
        self
    }

    /// The same with the seed that it is a function of.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// The table of some metrics, aligned, with their notes below it.
#[derive(Debug, Clone, Copy)]
pub struct MetricTable<'a>(pub &'a BTreeMap<String, MetricReport>);

impl fmt::Display for MetricTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_table(f, self.0)
    }
}

fn write_table(f: &mut fmt::Formatter<'_>, metrics: &BTreeMap<String, MetricReport>) -> fmt::Result {
    let width = metrics.keys().map(String::len).max().unwrap_or(0).max("metric".len());
    writeln!(
        f,
        "{:width$}  {:>10} ± {:<9}  {:>10} ± {:<9}  {:>7}  {:>7}  good is",
        "metric", "value", "se", "floor", "sd", "z", "n"
    )?;
    let mut notes: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, report) in metrics {
        writeln!(
            f,
            "{name:width$}  {:>10} ± {:<9}  {:>10} ± {:<9}  {:>7}  {:>7}  {}",
            optional(report.value),
            optional(report.std_error),
            optional(report.floor),
            optional(report.floor_sd),
            report.z_score.map_or("-".to_owned(), |z| format!("{z:.1}")),
            report.n,
            report.direction,
        )?;
        for note in report.note.iter().flat_map(|note| note.split("; ")) {
            match notes.iter_mut().find(|(other, _)| *other == note) {
                Some((_, names)) => names.push(name),
                None => notes.push((note, vec![name])),
            }
        }
    }
    notes.iter().try_for_each(|(note, names)| match names.len() {
        // A note of a few names them; one of many would be a list of names.
        1..=3 if names.len() < metrics.len() => writeln!(f, "{}: {note}", names.join(", ")),
        _ => writeln!(f, "note: {note}"),
    })
}

/// Four significant digits, in a width of ten at most.
pub(crate) fn digits(value: f64) -> String {
    if value == 0.0 || (1e-3..1e6).contains(&value.abs()) {
        let decimals = if value == 0.0 { 0 } else { (3.0 - value.abs().log10().floor()).clamp(0.0, 6.0) as usize };
        format!("{value:.decimals$}")
    } else if value.abs() < 1e-99 {
        // An exponent of three digits takes the place of one of the number.
        format!("{value:.2e}")
    } else {
        format!("{value:.3e}")
    }
}

/// A number, or a dash where there is none.
pub(crate) fn optional(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(value: f64, std_error: f64) -> MetricReport {
        MetricReport::new(Estimate { value, std_error }, 180, Direction::LowerIsBetter)
    }

    #[test]
    fn the_z_score_counts_both_spreads() {
        // Mean 0.11, sd 0.02/√2·… of (0.1, 0.12): √(2 · 0.01²) = 0.01414.
        let judged = report(0.16, 0.02).with_perfect(&[0.1, 0.12]);
        assert!((judged.floor.unwrap() - 0.11).abs() < 1e-15);
        assert!((judged.floor_sd.unwrap() - 0.02 / 2f64.sqrt()).abs() < 1e-15);
        assert!((judged.z_score.unwrap() - 0.05 / (0.0002f64 + 0.0004).sqrt()).abs() < 1e-12, "{judged:?}");
        assert_eq!(judged.details["floor_repeats"], Detail::Count(2));
        assert_eq!(report(0.16, 0.02).with_perfect(&[0.1]).floor, None);
        assert_eq!(report(0.0, 0.0).with_floor(0.0, 0.0).z_score, None);
        assert_eq!(report(5.0, 4e-87).with_floor(8.0, 0.0).z_score, None);
    }

    #[test]
    fn what_is_not_finite_is_undefined() {
        let one_point = report(2.0, f64::NAN).with_perfect(&[1.0, 3.0]);
        assert_eq!((one_point.value, one_point.std_error), (Some(2.0), None));
        assert!((one_point.z_score.unwrap() - 0.0).abs() < 1e-15, "{one_point:?}");
        let none = report(f64::INFINITY, 1.0).with_perfect(&[1.0, 3.0]);
        assert_eq!((none.value, none.std_error, none.z_score), (None, None, None));
        assert_eq!(none.floor, Some(2.0));
    }

    #[test]
    fn details_read_back_as_they_were() {
        let written = report(1.0, 0.5)
            .with_detail("k", 5)
            .with_detail("epsilon", 1.0)
            .with_detail("converged", true)
            .with_detail("cost", "squared_distance");
        let json = serde_json::to_string(&written).unwrap();
        assert!(json.contains(r#""converged":true,"cost":"squared_distance","epsilon":1.0,"k":5"#), "{json}");
        assert_eq!(serde_json::from_str::<MetricReport>(&json).unwrap(), written);
    }
}
