//! How far log-densities that a solver finds have converged: against half the steps (twice as many where half are none), at some of
//! the points.
//!
//! Of a method of order 4 the difference is 15 times the error where the steps are enough (Richardson), and of the size of the error where
//! they are not: there it is taken for the error.

use brenier_eval::MetricReport;
use brenier_measure::{Estimate, Points};
use brenier_model::LogDensity;

use crate::error::Error;
use crate::run::law::Law;

/// The points at which the steps are halved.
const POINTS: usize = 128;

/// The root mean square of the differences beyond which the steps are too few, over √d: log q of a Gaussian varies by √(d/2).
const TOLERANCE: f64 = 0.02;

/// How much larger than the error of a method of order 4 its difference from half the steps is: 2⁴ - 1.
const RICHARDSON: f64 = 15.0;

/// The differences of log q from one with half the steps, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OdeError {
    /// What a mean of log q may be wrong by.
    pub of_mean: f64,
    /// The root mean square of the differences.
    pub root_mean_square: f64,
    /// The number of points.
    pub points: usize,
    /// Whether the steps are too few.
    pub is_large: bool,
}

impl OdeError {
    /// That of the log-densities of a law at points; `None` where no solver found them.
    ///
    /// # Errors
    ///
    /// An interruption.
    pub fn of(
        law: &Law,
        points: &Points,
        found: &LogDensity,
        seed: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Self>, Error> {
        let count = points.nrows().min(POINTS);
        let some = points.slice(ndarray::s![..count, ..]).to_owned();
        let found = &found.values[..count];
        if found.iter().all(|value| !value.is_finite()) {
            return Ok(None);
        }
        let Some(coarse) = law.coarse_log_density(&some, seed, 0, go_on)? else { return Ok(None) };
        Ok(Some(Self::between(found, &coarse.values, points.ncols())))
    }

    fn between(fine: &[f64], coarse: &[f64], dim: usize) -> Self {
        let pairs = fine.iter().zip(coarse).filter(|(fine, _)| fine.is_finite());
        let differences: Vec<f64> = pairs.map(|(fine, coarse)| fine - coarse).collect();
        // A path that half the steps do not follow says that the steps are too few, and not by how much.
        let followed = || differences.iter().copied().filter(|difference| difference.is_finite());
        let is_lost = followed().count() < differences.len();
        if followed().count() == 0 {
            let unknown = f64::INFINITY;
            return Self { of_mean: unknown, root_mean_square: unknown, points: differences.len(), is_large: true };
        }
        let root_mean_square = Estimate::mean(followed().map(|d| d * d)).value.sqrt();
        let is_large = is_lost || root_mean_square > TOLERANCE * (dim as f64).sqrt();
        let of_mean = Estimate::mean(followed()).value.abs() / if is_large { 1.0 } else { RICHARDSON };
        Self { of_mean, root_mean_square, points: differences.len(), is_large }
    }

    /// What a reader must know, where the steps are too few; `key` raises them.
    pub fn note(&self, key: &str) -> Option<String> {
        let Self { root_mean_square, points, .. } = self;
        self.is_large.then(|| {
            format!(
                "the steps of the ODE are too few: a check with others changes log q by {root_mean_square:.2} nats (root mean square of \
                 {points} points), so raise `{key}`"
            )
        })
    }

    /// A metric with this error: `weight` times that of a mean of log q is in its standard error; 0 where it is no such mean.
    pub fn within(&self, report: MetricReport, weight: f64) -> MetricReport {
        let own = weight * self.of_mean;
        let report = if weight > 0.0 { report.with_detail("ode_error", own) } else { report };
        let std_error = report.std_error.map(|std_error| std_error.hypot(own));
        let report = MetricReport { std_error, ..report };
        match self.note("evaluation.log_density.steps") {
            Some(note) => report.with_note(note),
            None => report,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_the_error_unless_it_is_small_and_a_path_that_is_lost_is_one() {
        let error = OdeError::between(&[1.0, 2.0, f64::NAN], &[0.5, 2.5, 1.0], 2);
        assert_eq!((error.of_mean, error.root_mean_square, error.points, error.is_large), (0.0, 0.5, 2, true));
        let small = OdeError::between(&[1.0, 2.0], &[1.015, 2.015], 1);
        assert!(!small.is_large && (small.of_mean - 0.001).abs() < 1e-12, "{small:?}");
        assert!(OdeError::between(&[1.0], &[f64::NAN], 1).of_mean.is_infinite());
        assert!(OdeError::between(&[1.0, 2.0], &[1.0, f64::NAN], 1).is_large);
        let report =
            MetricReport::new(Estimate { value: 1.0, std_error: 0.3 }, 9, brenier_eval::Direction::LowerIsBetter);
        let error = OdeError { of_mean: 0.4, root_mean_square: 0.4, points: 9, is_large: true };
        let told = error.within(report.clone(), 1.0);
        assert_eq!(told.std_error, Some(0.5));
        assert!(told.note.unwrap().contains("too few: a check with others changes log q by 0.40 nats"));
        assert_eq!(error.within(report, 0.0).std_error, Some(0.3));
    }
}
