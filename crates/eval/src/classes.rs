//! Nearest-neighbour classes of samples: which classes of labelled data they reach, and whether they copy the data.
//!
//! Each sample takes the majority label among its k nearest training points. A sampler that has
//! collapsed leaves classes empty; one that has memorised lies closer to the training points than
//! held-out data do.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use brenier_measure::{Estimate, Points};
use ndarray::{ArrayView2, Axis, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{check, check_dims};
use crate::reference::subset;
use crate::{Direction, EvalError, MetricReport, MetricTable};

/// Training points with a label each.
#[derive(Debug, Clone, Copy)]
pub struct Labelled<'a> {
    /// The points, `[N, d]`.
    pub points: &'a Points,
    /// Their labels, `[N]`.
    pub labels: &'a [String],
}

/// How many samples and training points belong to one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCount {
    /// Samples whose nearest training points have this label in majority.
    pub samples: usize,
    /// Training points with this label.
    pub training: usize,
}

/// The classes of samples of labelled data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classes {
    /// The count of every class, by its label.
    pub counts: BTreeMap<String, ClassCount>,
    /// `purity`, `class_error` and `nearest_training_distance`, each with its floor.
    pub metrics: BTreeMap<String, MetricReport>,
}

/// At most so many samples are classified, the first ones.
const MOST_SAMPLES: usize = 1000;

/// Perfect sample sets behind a floor.
const REPEATS: usize = 5;

/// Classifies samples `[n, d]` (the first 1000) by their k nearest training points.
///
/// - `purity`: the mean share of the majority label among the k nearest (k = 10 in what we report);
/// - `class_error`: `½ Σ_c |p_c - q_c|`, p the shares of the classes among the samples and q among the
///   training points;
/// - `nearest_training_distance`: the mean distance to the nearest training point.
///
/// Standard errors are those of a mean over the samples, for the class error along its signs (delta
/// method). The floor is what training points give that are taken out of the training part: five
/// subsets of the size of the samples, at most a third of it, each against the rest.
///
/// # Errors
///
/// Fewer than two samples, fewer than 3k training points, labels that do not match, points that are not finite,
/// dimensions that differ.
pub fn classes(samples: &Points, training: Labelled, k: usize, seed: u64) -> Result<Classes, EvalError> {
    let Labelled { points, labels } = training;
    let k = k.max(1);
    let samples = samples.slice(s![..samples.nrows().min(MOST_SAMPLES), ..]).to_owned();
    check("samples", &samples, 2)?;
    check("training points", points, (3 * k).max(6))?;
    check_dims(("samples", &samples), ("training points", points))?;
    if labels.len() != points.nrows() {
        return Err(EvalError::Labels { labels: labels.len(), points: points.nrows() });
    }
    let (names, class_of) = number(labels);
    let neighbours = Neighbours::new(points);
    let none_out = vec![false; points.nrows()];
    let found = judge(&neighbours.nearest(&samples, k, &none_out), &class_of, names.len(), &none_out);

    let size = samples.nrows().min(points.nrows() / 3);
    let perfect: Vec<Judgement> = (0..REPEATS)
        .map(|repeat| {
            let chosen = subset(points.nrows(), repeat, size, seed);
            let mut out = vec![false; points.nrows()];
            chosen.iter().for_each(|&index| out[index] = true);
            let held_out = points.select(Axis(0), &chosen);
            judge(&neighbours.nearest(&held_out, k, &out), &class_of, names.len(), &out)
        })
        .collect();

    let note = (size < samples.nrows())
        .then(|| format!("the floor is that of {size} training points, for {} samples", samples.nrows()));
    let report = |part: fn(&Judgement) -> Estimate, direction| {
        let perfect: Vec<f64> = perfect.iter().map(|judgement| part(judgement).value).collect();
        let report = MetricReport::new(part(&found), samples.nrows(), direction).with_perfect(&perfect).with_seed(seed);
        note.iter().fold(report, |report, note| report.with_note(note))
    };
    let metrics = BTreeMap::from([
        ("purity".to_owned(), report(|judgement| judgement.purity, Direction::HigherIsBetter)),
        ("class_error".to_owned(), report(|judgement| judgement.class_error, Direction::LowerIsBetter)),
        (
            "nearest_training_distance".to_owned(),
            report(|judgement| judgement.nearest_distance, Direction::NearFloorIsBetter),
        ),
    ]);
    let mut counts: Vec<ClassCount> = found.counts.iter().map(|&samples| ClassCount { samples, training: 0 }).collect();
    class_of.iter().for_each(|&class| counts[class].training += 1);
    Ok(Classes { counts: names.into_iter().zip(counts).collect(), metrics })
}

/// The labels in order, and the number of each point's label among them.
fn number(labels: &[String]) -> (Vec<String>, Vec<usize>) {
    let mut names = labels.to_vec();
    names.sort_unstable();
    names.dedup();
    let index: HashMap<&str, usize> = names.iter().map(String::as_str).zip(0..).collect();
    let class_of = labels.iter().map(|label| index[label.as_str()]).collect();
    (names, class_of)
}

/// What the neighbours of one sample set say.
struct Judgement {
    counts: Vec<usize>,
    purity: Estimate,
    class_error: Estimate,
    nearest_distance: Estimate,
}

fn judge(nearest: &[Vec<(f64, usize)>], class_of: &[usize], classes: usize, out: &[bool]) -> Judgement {
    let majority: Vec<(usize, f64)> = nearest
        .iter()
        .map(|neighbours| {
            let mut votes = vec![0usize; classes];
            neighbours.iter().for_each(|&(_, index)| votes[class_of[index]] += 1);
            let most = votes.iter().copied().max().unwrap_or(0);
            // Of labels with equal votes the one with the nearest point wins.
            let winner = neighbours.iter().map(|&(_, index)| class_of[index]).find(|&class| votes[class] == most);
            (winner.expect("k is at least one"), most as f64 / neighbours.len() as f64)
        })
        .collect();
    let n = nearest.len() as f64;
    let mut counts = vec![0usize; classes];
    majority.iter().for_each(|&(class, _)| counts[class] += 1);
    let mut training = vec![0usize; classes];
    class_of.iter().zip(out).filter(|(_, out)| !**out).for_each(|(&class, _)| training[class] += 1);
    let total = training.iter().sum::<usize>() as f64;
    let differences: Vec<f64> =
        counts.iter().zip(&training).map(|(&samples, &points)| samples as f64 / n - points as f64 / total).collect();
    let signs = Estimate::mean(majority.iter().map(|&(class, _)| 0.5 * differences[class].signum()));
    Judgement {
        counts,
        purity: Estimate::mean(majority.iter().map(|&(_, share)| share)),
        class_error: Estimate {
            value: 0.5 * differences.iter().map(|difference| difference.abs()).sum::<f64>(),
            std_error: signs.std_error,
        },
        nearest_distance: Estimate::mean(nearest.iter().map(|neighbours| neighbours[0].0.sqrt())),
    }
}

/// Training points, ready for brute-force search by matrix products.
struct Neighbours {
    mean: ndarray::Array1<f64>,
    /// The points less their mean: the expansion of the square then cancels least.
    centred: Points,
    squares: Vec<f64>,
}

impl Neighbours {
    fn new(points: &Points) -> Self {
        let mean = points.mean_axis(Axis(0)).expect("at least one point");
        let centred = points - &mean;
        let squares = centred.rows().into_iter().map(|row| row.dot(&row)).collect();
        Self { mean, centred, squares }
    }

    /// The k nearest points of every query that are not left out: (squared distance, index), nearest first.
    fn nearest(&self, queries: &Points, k: usize, out: &[bool]) -> Vec<Vec<(f64, usize)>> {
        const QUERIES: usize = 64;
        let queries = queries - &self.mean;
        let starts: Vec<usize> = (0..queries.nrows()).step_by(QUERIES).collect();
        starts
            .into_par_iter()
            .flat_map_iter(|first| {
                let last = (first + QUERIES).min(queries.nrows());
                self.nearest_of_tile(queries.slice(s![first..last, ..]), k, out)
            })
            .collect()
    }

    fn nearest_of_tile(&self, queries: ArrayView2<f64>, k: usize, out: &[bool]) -> Vec<Vec<(f64, usize)>> {
        const POINTS: usize = 2048;
        let mut best: Vec<Vec<(f64, usize)>> = vec![Vec::with_capacity(k + 1); queries.nrows()];
        for first in (0..self.centred.nrows()).step_by(POINTS) {
            let last = (first + POINTS).min(self.centred.nrows());
            let products = queries.dot(&self.centred.slice(s![first..last, ..]).t());
            for (best, products) in best.iter_mut().zip(products.rows()) {
                for (index, product) in (first..last).zip(products) {
                    // |q - t|² less |q|², which all candidates share.
                    let distance = self.squares[index] - 2.0 * product;
                    if out[index] || (best.len() == k && distance >= best[k - 1].0) {
                        continue;
                    }
                    let place = best.partition_point(|&(other, _)| other <= distance);
                    best.insert(place, (distance, index));
                    best.truncate(k);
                }
            }
        }
        for (best, query) in best.iter_mut().zip(queries.rows()) {
            // The winners again, without the cancellation of the expanded square.
            for (distance, index) in best.iter_mut() {
                *distance = query.iter().zip(self.centred.row(*index)).map(|(q, t)| (q - t).powi(2)).sum();
            }
            best.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        }
        best
    }
}

impl fmt::Display for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.counts.keys().map(|name| name.chars().count()).max().unwrap_or(0).max("class".len());
        writeln!(f, "{:width$}  {:>8}  {:>8}", "class", "samples", "training")?;
        for (name, count) in &self.counts {
            writeln!(f, "{name:width$}  {:>8}  {:>8}", count.samples, count.training)?;
        }
        writeln!(f)?;
        write!(f, "{}", MetricTable(&self.metrics))
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Purpose, Stream};

    use super::*;

    /// `n` points around each of three corners in R³, and their labels.
    fn corners(n: usize, step: u64) -> (Points, Vec<String>) {
        let stream = Stream::new(9, Purpose::Evaluation);
        let mut points = Points::zeros((3 * n, 3));
        for (index, mut row) in points.rows_mut().into_iter().enumerate() {
            let mut words = stream.at(step, index as u64);
            row.iter_mut().for_each(|x| *x = 100.0 + 0.3 * words.normal());
            row[index % 3] += 10.0;
        }
        (points, (0..3 * n).map(|index| ["a", "b", "c"][index % 3].to_owned()).collect())
    }

    #[test]
    fn separate_classes_are_counted_purely_and_a_lost_one_shows() {
        let (training, labels) = corners(300, 0);
        let training = Labelled { points: &training, labels: &labels };
        let perfect = corners(60, 1).0;
        let answer = classes(&perfect, training, 10, 3).unwrap();
        for name in ["a", "b", "c"] {
            assert_eq!(answer.counts[name], ClassCount { samples: 60, training: 300 });
        }
        assert_eq!(answer.metrics["purity"].value, Some(1.0));
        assert_eq!(answer.metrics["class_error"].value, Some(0.0));
        assert!(answer.metrics["nearest_training_distance"].z_score.unwrap().abs() < 3.0, "{answer}");

        // One corner alone: p = (1, 0, 0) against thirds.
        let collapsed = perfect.select(Axis(0), &(0..60).map(|k| 3 * k).collect::<Vec<_>>());
        let answer = classes(&collapsed, training, 10, 3).unwrap();
        assert_eq!(answer.counts["b"].samples, 0);
        assert!((answer.metrics["class_error"].value.unwrap() - 2.0 / 3.0).abs() < 1e-12);
        assert!(answer.metrics["class_error"].z_score.unwrap() > 10.0, "{answer}");
    }

    #[test]
    fn copies_of_the_data_are_too_close_to_it() {
        let (training, labels) = corners(100, 0);
        let copies = training.slice(s![..90, ..]).to_owned();
        let answer = classes(&copies, Labelled { points: &training, labels: &labels }, 5, 3).unwrap();
        let report = &answer.metrics["nearest_training_distance"];
        assert_eq!(report.value, Some(0.0));
        assert!(report.z_score.unwrap() < -3.0, "{report:?}");
    }

    #[test]
    fn tiles_find_the_neighbours_of_a_plain_search() {
        let (points, _) = corners(900, 2);
        let queries = corners(50, 3).0;
        let mut out = vec![false; points.nrows()];
        (0..points.nrows()).step_by(7).for_each(|index| out[index] = true);
        let found = Neighbours::new(&points).nearest(&queries, 4, &out);
        for (query, found) in queries.rows().into_iter().zip(found) {
            let mut all: Vec<(f64, usize)> = (0..points.nrows())
                .filter(|&index| !out[index])
                .map(|index| (query.iter().zip(points.row(index)).map(|(q, t)| (q - t).powi(2)).sum(), index))
                .collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            for (ours, plain) in found.iter().zip(&all) {
                assert_eq!(ours.1, plain.1);
                assert!((ours.0 - plain.0).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_missing_label_is_named() {
        let (training, labels) = corners(20, 0);
        let refused = classes(&training, Labelled { points: &training, labels: &labels[1..] }, 10, 0).unwrap_err();
        assert_eq!(refused.to_string(), "there are 59 labels for 60 points; each point needs one");
    }
}
