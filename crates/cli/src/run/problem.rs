//! What a config asks to be learnt: its points, their coordinates, and what samples are compared with.

use std::sync::Arc;

use brenier_measure::data::{DataSet, Split, Standardization, Standardize};
use brenier_measure::{
    Denoiser, DrawnConfig, GaussianMixture, Points, Purpose, Rescaled, Sample, Stream, Target, TargetConfig,
};
use brenier_training::{InstanceNoise, Source};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::config::Config;
use crate::error::Error;

/// The part of a data set that leaves no independent points to compare with.
pub const TRAINING: &str = "training";

/// Rows for each row of a file with weights: their means are wrong by less than a tenth of what sampling leaves.
const REPEATED: usize = 10;

/// The number of draws that give an exact target its coordinates.
const COORDINATE_DRAWS: u64 = 16_384;

/// The number of draws of an exact target in the held-out loss.
const HELD_OUT_DRAWS: u64 = 4_096;

/// The step of the stream [`Purpose::HeldOut`] that gives points; the loss takes its noise from the steps before.
const HELD_OUT_POINTS: u64 = 2;

/// A learning problem in standardised coordinates, with the way back.
pub struct Problem {
    /// What is kept in the run directory.
    pub data: DataRecord,
    /// Its points; none where the target is known through its density alone.
    pub samples: Option<Samples>,
    /// What samples are compared with, in original coordinates.
    pub reference: Reference,
}

/// The points of a learning problem, standardised.
pub struct Samples {
    /// Training points.
    pub source: Source,
    /// Points that are not trained on.
    pub held_out: Points,
    /// Whether they are the training points after all, where there are no others.
    pub held_out_is_training: bool,
}

/// What a run must remember of its data, so that it can be sampled where the data is not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRecord {
    /// The dimension d.
    pub dim: usize,
    /// From original to standardised coordinates.
    pub standardization: Standardization,
    /// The sd of the training points in standardised coordinates (root of the mean variance of the columns).
    pub sigma_data: f64,
    /// Names of the columns, where the file has them.
    pub columns: Option<Vec<String>>,
    /// Height and width, where a point is an image.
    pub image_shape: Option<[usize; 2]>,
    /// The least and the greatest value of the training points, in original coordinates; null where there are none.
    pub range: Option<[f64; 2]>,
    /// The SHA-256 of the data file, or the name and version of the target.
    pub origin: String,
    /// The number of points for training, validation and test; null for fresh draws.
    pub counts: Option<[usize; 3]>,
}

/// What samples are compared with.
pub enum Reference {
    /// Parts of a data set.
    Data {
        /// The training part.
        train: Points,
        /// The labels of the training part.
        labels: Option<Vec<String>>,
        /// The test part (or, where there is none, the validation part; or else the training part).
        test: Points,
        /// Which part `test` is.
        part: &'static str,
        /// The number of points of `test`, where they were drawn by weights.
        weighed: Option<usize>,
    },
    /// A target with a sampler.
    Exact {
        /// What is known of it.
        target: Target,
        /// Its draws.
        sampler: Arc<dyn Sample>,
        /// Its modes, where it is a mixture.
        modes: Option<GaussianMixture>,
    },
    /// A target that is known through its density alone.
    Density(Target),
}

impl Reference {
    /// The target, where it is no data set.
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Data { .. } => None,
            Self::Exact { target, .. } | Self::Density(target) => Some(target),
        }
    }
}

impl Problem {
    /// Loads what a config names.
    ///
    /// # Errors
    ///
    /// A data file that cannot be read or split, and a target whose numbers contradict each other.
    pub fn new(config: &Config) -> Result<Self, Error> {
        match &config.target {
            TargetConfig::Dataset(dataset) => {
                let whole = DataSet::load(dataset)?;
                let of_file = dataset.split.split(whole.points.nrows(), config.seed)?;
                let counts = [of_file.train.len(), of_file.validation.len(), of_file.test.len()];
                let (split, judged) = match &whole.weights {
                    Some(weights) => {
                        (of_file.repeated(weights, REPEATED, config.seed), of_file.drawn(weights, config.seed))
                    }
                    None => (of_file.clone(), of_file),
                };
                let part = |rows: &[usize]| whole.points.select(ndarray::Axis(0), rows);
                let train = part(&split.train);
                if train.nrows() < 2 {
                    return Err(Error::too_few_points(&dataset.path, train.nrows()));
                }
                let standardization = Standardization::fit(&train, dataset.standardize, dataset.whiten)?;
                let noise = InstanceNoise { sd: dataset.noise, coordinates: standardization.clone() };
                // What is learnt is the law of the points with their noise, so that is also what is judged against.
                let noised =
                    |rows: &[usize], first| noise.added_once(config.seed, first, standardization.apply(&part(rows)));
                let original = |rows: &[usize], first| match dataset.noise {
                    0.0 => part(rows),
                    _ => standardization.undo(&noised(rows, first)),
                };
                let (held_out, held_out_first, held_out_name) = held_out_part(&split);
                // Where rows are weighed the judged ones have noise of their own.
                let all = split.train.len() + split.validation.len() + split.test.len();
                let behind = if whole.weights.is_some() { all } else { 0 };
                let [training, validation, of_test] = parts(&judged);
                let (test, test_first, test_name) = first_large_enough([of_test, validation, training]);
                if of_test.0.len() == 1 {
                    warn!(
                        "the test part is one row, and a distance takes two: samples are compared with the {test_name} part"
                    );
                }
                let labels =
                    whole.labels.as_ref().map(|labels| judged.train.iter().map(|&row| labels[row].clone()).collect());
                let reference = Reference::Data {
                    train: original(&judged.train, behind),
                    test: original(test, behind + test_first),
                    part: test_name,
                    labels,
                    weighed: whole.weights.as_ref().map(|_| test.len()),
                };
                let problem = Self {
                    data: DataRecord {
                        dim: train.ncols(),
                        sigma_data: column_sd(&noised(&split.train, 0)),
                        standardization: standardization.clone(),
                        columns: whole.columns.clone(),
                        image_shape: dataset.image_shape,
                        range: Some(range(&train)),
                        origin: format!("sha256:{}", whole.sha256),
                        counts: Some(counts),
                    },
                    samples: Some(Samples {
                        held_out: noised(held_out, held_out_first),
                        held_out_is_training: held_out_name == TRAINING,
                        source: Source::Rows { points: Arc::new(standardization.apply(&train)), noise },
                    }),
                    reference,
                };
                problem.checked(&dataset.path.display().to_string())
            }
            target => {
                let modes = target.modes()?;
                let exact = target.build_exact()?.expect("only a data set has no exact form");
                match target {
                    TargetConfig::Drawn(drawn) => Self::of_draws(drawn, exact, modes, config.seed),
                    _ => Self::of_target(exact, modes, config.seed),
                }
            }
        }
    }

    /// An exact target, or one that is known through its density alone: then its own coordinates are the standardised ones.
    fn of_target(target: Target, modes: Option<GaussianMixture>, seed: u64) -> Result<Self, Error> {
        let (name, origin) = (target.name, target.origin());
        let Some(sampler) = target.sampler.clone() else {
            let dim = target.dim();
            let standardization = Standardization { shift: vec![0.0; dim], scale: vec![1.0; dim], whitening: None };
            return Ok(Self {
                data: DataRecord {
                    dim,
                    standardization,
                    sigma_data: 1.0,
                    columns: target.columns.clone(),
                    image_shape: None,
                    range: None,
                    origin,
                    counts: None,
                },
                samples: None,
                reference: Reference::Density(target),
            });
        };
        let stream = |purpose| Stream::new(seed, purpose);
        let draws = sampler.sample(&stream(Purpose::Coordinates), 0, 0..COORDINATE_DRAWS);
        let standardization = Standardization::fit(&draws, Standardize::Global, false)?;
        let held_out = sampler.sample(&stream(Purpose::HeldOut), HELD_OUT_POINTS, 0..HELD_OUT_DRAWS);
        let problem = Self {
            data: DataRecord {
                dim: sampler.dim(),
                sigma_data: column_sd(&standardization.apply(&draws)),
                columns: None,
                image_shape: None,
                range: Some(range(&draws)),
                origin,
                counts: None,
                standardization: standardization.clone(),
            },
            samples: Some(Samples {
                source: Source::Fresh {
                    target: sampler.clone(),
                    shift: standardization.shift.clone(),
                    scale: standardization.scale.clone(),
                },
                held_out: standardization.apply(&held_out),
                held_out_is_training: false,
            }),
            reference: Reference::Exact { target, sampler, modes },
        };
        problem.checked(name)
    }

    /// A fixed number of draws of a target.
    fn of_draws(drawn: &DrawnConfig, target: Target, modes: Option<GaussianMixture>, seed: u64) -> Result<Self, Error> {
        let sampler = target.sampler.clone().ok_or_else(|| Error::no_draws("the points of `drawn`", target.name))?;
        let draws = drawn.draw(sampler.as_ref());
        let split = drawn.split.split(draws.nrows(), seed)?;
        let part = |rows: &[usize]| draws.select(ndarray::Axis(0), rows);
        let train = part(&split.train);
        if train.nrows() < 2 {
            let found = train.nrows();
            return Err(Error::bad_input(format!(
                "the training part of `drawn` has {found} points; at least 2 are needed"
            ))
            .hint("raise `target.drawn.points` or `target.drawn.split.train`"));
        }
        let standardization = Standardization::fit(&train, Standardize::Global, false)?;
        let standardized = standardization.apply(&train);
        let (held_out, _, held_out_name) = held_out_part(&split);
        let held_out = standardization.apply(&part(held_out));
        let (name, law) = (target.name, target.origin());
        let problem = Self {
            data: DataRecord {
                dim: train.ncols(),
                sigma_data: column_sd(&standardized),
                columns: None,
                image_shape: None,
                range: Some(range(&train)),
                origin: format!("{} draws of {law}, seed {}", drawn.points, drawn.seed),
                counts: Some([split.train.len(), split.validation.len(), 0]),
                standardization: standardization.clone(),
            },
            samples: Some(Samples {
                source: Source::Rows {
                    points: Arc::new(standardized),
                    noise: InstanceNoise { sd: 0.0, coordinates: standardization },
                },
                held_out,
                held_out_is_training: held_out_name == TRAINING,
            }),
            reference: Reference::Exact { target, sampler, modes },
        };
        problem.checked(name)
    }

    /// The points of the problem, for whoever cannot do without; `what` takes them, in words.
    ///
    /// # Errors
    ///
    /// A target that is known through its density alone.
    pub fn samples(&self, what: &str) -> Result<&Samples, Error> {
        self.samples.as_ref().ok_or_else(|| {
            let name = self.reference.target().map_or("dataset", |target| target.name);
            Error::no_draws(what, name)
        })
    }

    /// At most `count` training points in standardised coordinates, with their instance noise: the first rows of the split, which is a
    /// random permutation, or the draws that gave an exact target its coordinates.
    ///
    /// # Errors
    ///
    /// A target that is known through its density alone.
    pub fn training_points(&self, count: usize, seed: u64) -> Result<Points, Error> {
        Ok(match &self.samples("training points")?.source {
            Source::Rows { points, noise } => {
                let rows = points.slice(ndarray::s![..points.nrows().min(count), ..]).to_owned();
                noise.added_once(seed, 0, rows)
            }
            Source::Fresh { target, .. } => {
                let draws = target.sample(&Stream::new(seed, Purpose::Coordinates), 0, 0..count as u64);
                self.data.standardization.apply(&draws)
            }
        })
    }

    /// At most `count` points of the law that is learnt, in standardised coordinates and in random order: training points, or draws of a
    /// target that were not trained on. Rows with weights come repeated, as they are trained on.
    ///
    /// # Errors
    ///
    /// A target that is known through its density alone.
    pub fn points_of_law(&self, count: usize, seed: u64) -> Result<Points, Error> {
        let stream = Stream::new(seed, Purpose::Subsets);
        Ok(match &self.samples("points of the law")?.source {
            Source::Rows { points, noise } => {
                let chosen = &stream.permutation(1, points.nrows())[..points.nrows().min(count)];
                noise.added_once(seed, 0, points.select(ndarray::Axis(0), chosen))
            }
            Source::Fresh { target, .. } => {
                self.data.standardization.apply(&target.sample(&stream, 1, 0..count as u64))
            }
        })
    }

    /// Refuses coordinates in which nothing can be computed.
    fn checked(self, what: &str) -> Result<Self, Error> {
        let Standardization { shift, scale, .. } = &self.data.standardization;
        let usable = |x: &f64| x.abs() < f64::from(f32::MAX);
        if shift.iter().chain(scale).chain(self.data.range.iter().flatten()).all(usable)
            && self.data.sigma_data.is_finite()
        {
            Ok(self)
        } else {
            Err(Error::unusable_range(what))
        }
    }

    /// The exact denoiser in standardised coordinates, where the target has one.
    pub fn exact_denoiser(&self) -> Option<impl Denoiser + '_> {
        let denoiser = self.reference.target()?.denoiser.as_deref()?;
        let Standardization { shift, scale, .. } = &self.data.standardization;
        Some(Rescaled::new(denoiser, shift.clone(), scale[0]))
    }
}

/// Rows of a data set, the number of rows in the parts before them, and the name of the part.
type Part<'a> = (&'a [usize], usize, &'static str);

/// The training, the validation and the test part.
fn parts(split: &Split) -> [Part<'_>; 3] {
    let [n, m] = [split.train.len(), split.validation.len()];
    [(&split.train, 0, TRAINING), (&split.validation, n, "validation"), (&split.test, n + m, "test")]
}

/// The part that the best checkpoint is chosen on.
fn held_out_part(split: &Split) -> Part<'_> {
    let [training, validation, _] = parts(split);
    let chosen = if validation.0.is_empty() { training } else { validation };
    if chosen.2 == TRAINING {
        warn!("there is no validation part: the best checkpoint is chosen on training points");
    }
    chosen
}

/// The first of these parts that has the two points that a distance takes; else the last.
fn first_large_enough<const N: usize>(parts: [Part; N]) -> Part {
    let chosen = parts.iter().position(|(rows, ..)| rows.len() >= 2).unwrap_or(N - 1);
    parts[chosen]
}

/// The root of the mean variance of the columns; 1 where all points are equal.
fn column_sd(points: &Points) -> f64 {
    let variance = points.var_axis(ndarray::Axis(0), 0.0).mean().unwrap_or(0.0);
    if variance > 0.0 { variance.sqrt() } else { 1.0 }
}

fn range(points: &Points) -> [f64; 2] {
    points.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], &x| [low.min(x), high.max(x)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_points_are_few_and_their_target_stays_known() {
        let config: TargetConfig =
            serde_json::from_str(r#"{"drawn": {"target": {"ring": {}}, "points": 200, "seed": 3}}"#).unwrap();
        let TargetConfig::Drawn(drawn) = &config else { panic!("{config:?}") };
        let exact = || config.build_exact().unwrap().unwrap();
        let problem = Problem::of_draws(drawn, exact(), config.modes().unwrap(), 5).unwrap();
        assert_eq!(problem.data.counts, Some([180, 20, 0]));
        let Reference::Exact { target, modes, .. } = &problem.reference else { panic!("a known target") };
        assert!(target.density.is_some() && modes.is_some() && problem.exact_denoiser().is_some());
        // The same draws whatever the seed of the run, which only splits them.
        let sorted = |seed| {
            let problem = Problem::of_draws(drawn, exact(), None, seed).unwrap();
            let points = problem.training_points(1000, seed).unwrap();
            let held_out = &problem.samples("").unwrap().held_out;
            let undone = [&points, held_out].map(|points| problem.data.standardization.undo(points));
            let mut all: Vec<i64> = undone.iter().flatten().map(|x| (x * 1e9).round() as i64).collect();
            all.sort_unstable();
            (points, all)
        };
        let ((points, all), (other_points, other_all)) = (sorted(5), sorted(6));
        assert!(all == other_all && all.len() == 400 && points != other_points);
        let draws = drawn.draw(exact().sampler.as_deref().unwrap());
        let mut drawn: Vec<i64> = draws.iter().map(|x| (x * 1e9).round() as i64).collect();
        drawn.sort_unstable();
        assert_eq!(drawn, all);
    }

    #[test]
    fn a_target_without_a_sampler_is_a_problem_without_points_and_says_who_misses_them() {
        let config: TargetConfig =
            serde_json::from_str(r#"{"gaussian": {"mean": [3.0], "covariance": [[4.0]]}}"#).unwrap();
        let target = Target { sampler: None, ..config.build_exact().unwrap().unwrap() };
        let problem = Problem::of_target(target, None, 0).unwrap();
        assert!(matches!(problem.reference, Reference::Density(_)));
        assert_eq!((problem.data.dim, problem.data.standardization.shift[0]), (1, 0.0));
        assert!(problem.exact_denoiser().is_some());
        let refused = problem.training_points(10, 0).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "training points take draws of the target, and `gaussian` has a density and no sampler"
        );
    }
}
