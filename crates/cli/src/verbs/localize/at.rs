//! Answers at given points: `L_r(y)`, `log p_{Y_r}(y)` and the posterior of rX given `Y_r = y`.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use brenier_measure::data::write::{Format, PointWriter};
use brenier_measure::{Points, Posterior};
use serde::Serialize;

use crate::arguments::TextFiles;
use crate::error::Error;
use crate::interruption;
use crate::points;
use crate::progress::Progress;
use crate::subject::{Examined, Kind};

/// Points in one call.
const TILE: usize = 128;

/// The most numbers in one answer as JSON.
const MOST_NUMBERS: usize = 4_000_000;

/// The most answers that hold the log-density of a network, which takes an ODE a point.
const MOST_LOG_DENSITIES: usize = 256;

/// The points that a question is asked at.
#[derive(Debug)]
pub struct Question {
    /// One a row.
    points: Points,
    /// What they are.
    space: Space,
}

/// What the points of a question are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Values y of `Y_r`.
    Noisy,
    /// Values x of X; then `y = r x`.
    Clean,
}

/// The answer at one point and one r.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The signal-to-noise ratio r.
    pub snr: f64,
    /// The point y.
    pub y: Vec<f64>,
    /// `L_r(y) = ‖Cov[rX | Y_r = y]‖_op`.
    pub localization: f64,
    /// `log p_{Y_r}(y)` in nats; NaN, which is null in JSON, where it is not known.
    pub log_density: f64,
    /// `E[rX | Y_r = y]`.
    pub posterior_mean: Vec<f64>,
    /// `Cov[rX | Y_r = y]`, row by row.
    pub covariance: Vec<Vec<f64>>,
}

/// What the answers at one r have in common.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// The signal-to-noise ratio r.
    pub snr: f64,
    /// The mean of L_r over the points.
    pub mean: f64,
    /// Its median.
    pub median: f64,
    /// Its largest value.
    pub max: f64,
    /// The share of points with `L_r(y) > 1`, where `log p_{Y_r}` is not concave.
    pub above_one: f64,
}

impl Question {
    /// The points of a file, in the coordinates of a SPEC.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, points of another dimension.
    pub fn read(path: &Path, space: Space, subject: &Examined, text_files: TextFiles) -> Result<Self, Error> {
        let columns = match space {
            Space::Clean => subject.columns.as_deref(),
            Space::Noisy => None,
        };
        let mut points = points::read(path, columns, text_files)?.points;
        if points.ncols() != subject.dim {
            return Err(Error::dimension_at(path, points.ncols(), &subject.spec, subject.dim));
        }
        if let (Kind::Run(run), Space::Clean) = (&subject.kind, space) {
            points = run.standardization.apply(&points);
        }
        Ok(Self { points, space })
    }

    /// The number of points.
    pub fn count(&self) -> usize {
        self.points.nrows()
    }

    /// Refuses what is too much for JSON.
    ///
    /// # Errors
    ///
    /// More numbers than one object should hold.
    pub fn check_size(&self, snrs: usize) -> Result<(), Error> {
        let (n, d) = self.points.dim();
        let numbers = n.saturating_mul(snrs).saturating_mul(d * d + 2 * d + 3);
        if numbers > MOST_NUMBERS { Err(Error::too_many_answers(n, snrs, numbers)) } else { Ok(()) }
    }

    /// The points y of some rows at one r.
    fn y(&self, snr: f64, rows: Range<usize>) -> Points {
        let rows = self.points.slice(ndarray::s![rows, ..]);
        match self.space {
            Space::Noisy => rows.to_owned(),
            Space::Clean => rows.mapv(|x| snr * x),
        }
    }
}

/// Asks at every r (outer) and every point (inner), tile by tile, and hands each tile on.
///
/// # Errors
///
/// An interruption, and what `take` refuses.
pub fn answer(
    subject: &Arc<Examined>,
    question: &Question,
    snrs: &[f64],
    quiet: bool,
    mut take: impl FnMut(f64, &Points, Vec<Posterior>) -> Result<(), Error>,
) -> Result<(), Error> {
    let n = question.count();
    let with_log_density = n.saturating_mul(snrs.len()) <= MOST_LOG_DENSITIES;
    let mut progress = Progress::new((n * snrs.len()) as u64, 0, "points", quiet);
    for (k, &snr) in snrs.iter().enumerate() {
        for start in (0..n).step_by(TILE) {
            let end = (start + TILE).min(n);
            let y = question.y(snr, start..end);
            let (subject, asked) = (Arc::clone(subject), y.clone());
            // In a thread of its own, so that what is being written can be taken back at an interrupt.
            let posteriors = interruption::abandonable(move || {
                Ok(subject.posterior_with_density(with_log_density).posterior(snr, &asked))
            })?;
            take(snr, &y, posteriors)?;
            progress.update((k * n + end) as u64, &[]);
        }
    }
    progress.finish();
    Ok(())
}

/// Whether the log-densities of a network are left out because there are too many.
pub fn leaves_out_log_density(subject: &Examined, question: &Question, snrs: usize) -> bool {
    subject.network().is_some() && question.count().saturating_mul(snrs) > MOST_LOG_DENSITIES
}

/// All answers, with their covariances.
///
/// # Errors
///
/// Those of [`answer`].
pub fn collect(
    subject: &Arc<Examined>,
    question: &Question,
    snrs: &[f64],
    quiet: bool,
) -> Result<(Vec<Answer>, Vec<Summary>), Error> {
    let mut answers = Vec::with_capacity(question.count() * snrs.len());
    let mut found = Vec::with_capacity(question.count() * snrs.len());
    answer(subject, question, snrs, quiet, |snr, y, posteriors| {
        for (y, posterior) in y.rows().into_iter().zip(posteriors) {
            let localization = posterior.localization();
            found.push(localization);
            answers.push(Answer {
                snr,
                y: y.to_vec(),
                localization,
                log_density: posterior.log_density,
                posterior_mean: posterior.mean,
                covariance: posterior.covariance.rows().into_iter().map(|row| row.to_vec()).collect(),
            });
        }
        Ok(())
    })?;
    Ok((answers, summaries(snrs, question.count(), &found)))
}

/// The columns of a file of answers.
pub fn columns(dim: usize) -> Vec<String> {
    let means = (1..=dim).map(|j| format!("posterior_mean_{j}"));
    ["snr", "localization", "log_density"].map(str::to_owned).into_iter().chain(means).collect()
}

/// Writes the answers without their covariances to a file, tile by tile.
///
/// # Errors
///
/// Those of [`answer`], and a file that cannot be written.
pub fn write(
    subject: &Arc<Examined>,
    question: &Question,
    snrs: &[f64],
    out: &Path,
    quiet: bool,
) -> Result<Vec<Summary>, Error> {
    let columns = columns(subject.dim);
    let count = (question.count() * snrs.len()) as u64;
    let mut writer = PointWriter::create(out, Format::of_path(out)?, columns.len(), count, Some(&columns))?;
    let mut found = Vec::with_capacity(question.count() * snrs.len());
    answer(subject, question, snrs, quiet, |snr, _, posteriors| {
        let first = found.len();
        found.extend(posteriors.iter().map(Posterior::localization));
        let rows = Points::from_shape_fn((posteriors.len(), columns.len()), |(i, column)| match column {
            0 => snr,
            1 => found[first + i],
            2 => posteriors[i].log_density,
            mean => posteriors[i].mean[mean - 3],
        });
        Ok(writer.write(&rows)?)
    })?;
    writer.finish()?;
    Ok(summaries(snrs, question.count(), &found))
}

/// What the answers at each r have in common; `found` holds L_r, r outer.
fn summaries(snrs: &[f64], count: usize, found: &[f64]) -> Vec<Summary> {
    let of = |(&snr, values): (&f64, &[f64])| {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let n = sorted.len();
        Summary {
            snr,
            mean: sorted.iter().sum::<f64>() / n as f64,
            median: f64::midpoint(sorted[n / 2], sorted[(n - 1) / 2]),
            max: sorted[n - 1],
            above_one: sorted.iter().filter(|&&value| value > 1.0).count() as f64 / n as f64,
        }
    };
    snrs.iter().zip(found.chunks_exact(count)).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_that_of_its_own_r() {
        let found = summaries(&[1.0, 2.0], 4, &[0.5, 1.5, 2.0, 1.0, 4.0, 3.0, 0.0, 1.0]);
        assert_eq!(found[0], Summary { snr: 1.0, mean: 1.25, median: 1.25, max: 2.0, above_one: 0.5 });
        assert_eq!(found[1], Summary { snr: 2.0, mean: 2.0, median: 2.0, max: 4.0, above_one: 0.5 });
    }

    #[test]
    fn a_file_of_answers_names_its_columns() {
        assert_eq!(columns(2), ["snr", "localization", "log_density", "posterior_mean_1", "posterior_mean_2"]);
    }
}
