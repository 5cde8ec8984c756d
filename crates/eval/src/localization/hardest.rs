//! The signal-to-noise ratio at which denoising is hardest: the largest multi-scale complexity m*.
//!
//! Liang, Dharmakeerthi, Koriyama (2411.01629). A logarithmic grid finds the hills; Brent's search climbs the highest ones.
//! Brent, Algorithms for Minimization without Derivatives (1973), Chapter 5.

use brenier_measure::NoiseSchedule;
use serde::{Deserialize, Serialize};

use super::{Examination, Method, Progress, Settings, Subject, check_beta};
use crate::{EvalError, log_grid};

/// The range of r that is searched for data of spread one.
const STANDARD_RANGE: (f64, f64) = (0.05, 40.0);

/// Where m* is largest on [`hardest_range`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hardest {
    /// r.
    pub snr: f64,
    /// `m*(r)`.
    pub m_star: f64,
    /// The time of the Ornstein-Uhlenbeck chain at which r is reached.
    pub time: f64,
    /// Whether r is an end of the range, so that m* may be larger beyond.
    pub at_end: bool,
}

/// An m* below this one is the error of the quadrature.
const NOTHING: f64 = 1e-9;
/// A hill whose top on the grid is below this share of the highest one cannot overtake it between two points of the grid.
const CONTENDER: f64 = 0.9;
/// How many hills are climbed.
const HILLS: usize = 4;

/// The range of r that [`hardest()`] searches: .05 to 40, over the power of ten that is closest to the spread of X.
///
/// L is a function of `rX`, so the range moves with the units of X; a power of ten leaves that of standardised data alone. The
/// spread is the root mean square over the coordinates of `(q₉₅ - q₅)/3.29`, the standard deviation of a Gaussian; where these
/// quantiles coincide, the standard deviation.
///
/// # Errors
///
/// Dimensions that differ, quadrature in more than one dimension, fewer than two draws.
pub fn hardest_range(subject: &Subject<'_>, settings: &Settings) -> Result<(f64, f64), EvalError> {
    Ok(Examination::new(subject, settings)?.range())
}

impl Examination<'_> {
    fn range(&self) -> (f64, f64) {
        let x = &self.draws.x;
        let square = |spread: fn(&[f64]) -> f64| {
            x.columns().into_iter().map(|column| spread(&column.to_vec()).powi(2)).sum::<f64>() / x.ncols() as f64
        };
        let square = [square(between_quantiles), square(deviation)].into_iter().find(|square| *square > 0.0);
        let power = square.map_or(0.0, |square| (0.5 * square.log10()).round());
        let scale = 10f64.powf(power);
        (STANDARD_RANGE.0 / scale, STANDARD_RANGE.1 / scale)
    }
}

/// The distance of the quantiles at .05 and .95, as a standard deviation.
fn between_quantiles(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len() - 1;
    (sorted[last - last / 20] - sorted[last / 20]) / 3.29
}

/// The standard deviation.
fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

/// The largest m* over r in [`hardest_range`], for the chain of inverse temperature β; `None` where m* vanishes throughout.
///
/// By quadrature `r` is right to about 1e-5 and m* to 1e-9. From draws, which are common to every r, it is the largest
/// m* of the sample, whose own error is that of [`at_snrs`](super::at_snrs).
///
/// # Errors
///
/// A β that is not positive and finite, and those of [`law()`](super::law()).
pub fn hardest(
    subject: &Subject<'_>,
    beta: f64,
    settings: &Settings,
    watch: &mut dyn FnMut(Progress) -> bool,
) -> Result<Option<Hardest>, EvalError> {
    check_beta(beta)?;
    let examination = Examination::new(subject, settings)?;
    let (points, climb, width) = match settings.method {
        Method::Quadrature => (61, 20, 2e-6),
        Method::MonteCarlo => (31, 8, 1e-3),
    };
    let mut progress = Progress::of((points + climb) * examination.steps());
    let range = examination.range();
    let grid = log_grid(range.0, range.1, points);
    let mut complexity = |snr: f64| -> Result<f64, EvalError> {
        Ok(examination.law(snr, &mut progress, watch)?.complexity().m_star.value)
    };
    let values: Vec<f64> = grid.iter().map(|&snr| complexity(snr)).collect::<Result<_, _>>()?;
    let highest = values.iter().copied().fold(0.0, f64::max);
    if highest <= NOTHING {
        return Ok(None);
    }
    let last = points - 1;
    let mut best = (0..points).map(|i| (grid[i], values[i])).fold((0.0, 0.0), higher);
    let mut hills: Vec<usize> = (0..points)
        .filter(|&i| values[i] > CONTENDER * highest)
        .filter(|&i| (i == 0 || values[i] >= values[i - 1]) && (i == last || values[i] > values[i + 1]))
        .collect();
    hills.sort_by(|&i, &j| values[j].total_cmp(&values[i]));
    for &i in hills.iter().take(HILLS) {
        let ends = (grid[i.saturating_sub(1)].ln(), grid[(i + 1).min(last)].ln());
        let (place, value) = maximum(|x| complexity(x.exp()), ends, grid[i].ln(), values[i], width, climb)?;
        best = higher(best, (place.exp(), value));
    }
    let (mut snr, m_star) = best;
    // A search that runs into an end stops a step before it.
    let near = |end: f64| (snr / end).ln().abs() < 4.0 * width;
    let at_end = if near(range.0) {
        snr = range.0;
        true
    } else if near(range.1) {
        snr = range.1;
        true
    } else {
        false
    };
    Ok(Some(Hardest { snr, m_star, time: NoiseSchedule::OrnsteinUhlenbeck { beta }.time_of_snr(snr), at_end }))
}

fn higher(best: (f64, f64), other: (f64, f64)) -> (f64, f64) {
    if other.1 > best.1 { other } else { best }
}

/// Brent's maximum of f on an interval, from a place inside (or at an end) and its value: golden sections, and parabolas
/// where they serve.
fn maximum(
    mut f: impl FnMut(f64) -> Result<f64, EvalError>,
    (mut a, mut b): (f64, f64),
    start: f64,
    value: f64,
    width: f64,
    evaluations: usize,
) -> Result<(f64, f64), EvalError> {
    let golden = 0.5 * (3.0 - 5f64.sqrt());
    let (mut x, mut w, mut v) = (start, start, start);
    let (mut fx, mut fw, mut fv) = (value, value, value);
    let (mut step, mut before) = (0.0f64, 0.0f64);
    for _ in 0..evaluations {
        let middle = f64::midpoint(a, b);
        if (x - middle).abs() <= 2.0 * width - 0.5 * (b - a) {
            break;
        }
        let r = (x - w) * (fx - fv);
        let q = (x - v) * (fx - fw);
        let p = (x - v) * q - (x - w) * r;
        let q = 2.0 * (q - r);
        let parabola = if q > 0.0 { -p / q } else { p / -q };
        let usable = q != 0.0
            && before.abs() > width
            && parabola.abs() < 0.5 * before.abs()
            && x + parabola > a
            && x + parabola < b;
        if usable {
            (before, step) = (step, parabola);
        } else {
            before = if x < middle { b - x } else { a - x };
            step = golden * before;
        }
        let u = x + if step.abs() >= width { step } else { width.copysign(step) };
        let u = u.clamp(a, b);
        let fu = f(u)?;
        if fu >= fx {
            if u >= x {
                a = x
            } else {
                b = x
            }
            (v, w, x) = (w, x, u);
            (fv, fw, fx) = (fw, fx, fu);
        } else {
            if u < x {
                a = u
            } else {
                b = u
            }
            if fu >= fw || w == x {
                (v, fv) = (w, fw);
                (w, fw) = (u, fu);
            } else if fu >= fv || v == x || v == w {
                (v, fv) = (u, fu);
            }
        }
    }
    Ok((x, fx))
}
