//! Which metrics are wanted, and what they are computed with: the flags `--only`, `--repeats`, `--epsilon` and `--k`.

use std::collections::BTreeMap;

use brenier_eval::{Metric, Settings};
use brenier_transport::sinkhorn::Epsilon;

use crate::arguments::Judging;
use crate::error::Error;

/// The name of the square that comes with W₂.
const W2_SQUARED: &str = "w2_squared";

/// What the modes of a mixture say of samples.
pub const OF_MODES: [&str; 4] = ["modes_hit", "mode_entropy", "mode_jensen_shannon", "mode_total_variation"];

/// The metrics that are wanted, out of those that a verb knows.
#[derive(Debug, Clone)]
pub struct Selection {
    /// What `--only` names; all where it is not given.
    only: Option<Vec<String>>,
}

impl Selection {
    /// The choice of a command line; `others` are the names that a verb knows beside the distances.
    ///
    /// # Errors
    ///
    /// A name that no metric has.
    pub fn new(judging: &Judging, others: &[&'static str]) -> Result<Self, Error> {
        let distances = Metric::ALL.iter().map(|metric| metric.name());
        let known: Vec<&str> = distances.chain([W2_SQUARED]).chain(others.iter().copied()).collect();
        let only = judging.only.as_ref().map(|names| {
            names.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect::<Vec<_>>()
        });
        if let Some(name) = only.iter().flatten().find(|name| !known.contains(&name.as_str())) {
            return Err(Error::unknown_metric(name, &known));
        }
        match only {
            Some(names) if names.is_empty() => Err(Error::unknown_metric("", &known)),
            only => Ok(Self { only }),
        }
    }

    /// Whether a metric is wanted, by name or because nothing was chosen.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_none() || self.names(name)
    }

    /// Whether nothing was chosen.
    pub fn is_whole(&self) -> bool {
        self.only.is_none()
    }

    /// Whether a metric was asked for by name.
    pub fn names(&self, name: &str) -> bool {
        self.only.iter().flatten().any(|other| other == name)
    }

    /// The first of these metrics that was asked for by name.
    pub fn first_named<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        names.iter().copied().find(|name| self.names(name))
    }

    /// The metrics that were asked for by name and are not among those found.
    pub fn named_without<T>(&self, found: &BTreeMap<String, T>) -> Vec<String> {
        self.only.iter().flatten().filter(|name| !found.contains_key(*name)).cloned().collect()
    }

    /// The distances that are wanted.
    pub fn distances(&self) -> Vec<Metric> {
        let wanted = |metric: &Metric| self.wants(metric.name()) || (*metric == Metric::W2 && self.names(W2_SQUARED));
        Metric::ALL.into_iter().filter(wanted).collect()
    }
}

/// What the metrics of a command line are computed with.
pub fn settings(judging: &Judging, seed: u64) -> Settings {
    let mut settings = Settings { seed, repeats: judging.repeats.map(usize::from), ..Settings::default() };
    if let Some(epsilon) = judging.epsilon {
        settings.sinkhorn.epsilon = Epsilon::Absolute(epsilon);
    }
    if let Some(relative) = judging.relative_epsilon {
        settings.sinkhorn.epsilon = Epsilon::RelativeToMeanCost(relative);
    }
    if let Some(k) = judging.k {
        settings.k = usize::from(k);
    }
    settings
}
