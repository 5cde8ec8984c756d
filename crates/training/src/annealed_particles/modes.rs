//! Modes of a density, found by optimisation, and what importance sampling about them says of log Z.
//!
//! # Design
//!
//! Annealing loses a mode that is narrow beside its basin: at every temperature below 1 next to nothing of the mass is there. An
//! optimiser walks into it all the same. About the modes that it finds, draws of Student's t see the mass there, and nothing of what lies
//! elsewhere: their log Z is a lower bound up to its error, and one above that of the annealing is a proof that the annealing missed mass.

use brenier_measure::linear_algebra::{Cholesky, symmetric_eigen};
use brenier_measure::{Estimate, ImportanceWeights, Measure, Points, Purpose, Stream, to_points, to_tensor, to_values};
use burn::tensor::{DType, Device, Tensor};
use ndarray::{Array1, Array2, Axis};

/// A local maximum of a log-density, where the Hessian is negative definite.
#[derive(Debug, Clone)]
pub(super) struct Maximum {
    pub point: Vec<f64>,
    pub log_density: f64,
    /// Minus the Hessian.
    pub precision: Array2<f64>,
    pub cholesky: Cholesky,
}

/// Newton's steps before an optimiser gives up.
const MOST_STEPS: usize = 200;

/// A step is shortened so many times.
const SHORTENINGS: usize = 40;

/// Twice the rise that is left, by the quadratic model: below it the point is a maximum.
const RISE: f64 = 1e-12;

/// Draws about all modes.
const DRAWS: usize = 4096;

/// Degrees of freedom of the draws: heavy tails, and a finite variance.
const NU: f64 = 4.0;

/// Above this dimension no Hessian is formed.
pub(super) const MOST_DIMENSIONS: usize = 256;

fn tensor(points: &Points) -> Tensor<2> {
    to_tensor(points, DType::F64, &Device::flex())
}

pub(super) fn log_densities(measure: &dyn Measure, points: &Points) -> Vec<f64> {
    to_values(measure.log_density(tensor(points)))
}

fn row(point: &[f64]) -> Points {
    Points::from_shape_vec((1, point.len()), point.to_vec()).expect("one row")
}

/// Climbs from a point by Newton's method with absolute eigenvalues and shortened steps; `None` where that ends nowhere.
///
/// Nocedal and Wright, Numerical Optimization (2006), §3.4.
pub(super) fn climb(measure: &dyn Measure, start: &[f64]) -> Option<Maximum> {
    let d = start.len();
    let mut point = start.to_vec();
    let mut value = log_densities(measure, &row(&point))[0];
    if !value.is_finite() {
        return None;
    }
    for _ in 0..MOST_STEPS {
        let gradient = Array1::from_iter(to_points(measure.score(tensor(&row(&point)))));
        let precision = precision_at(measure, &point);
        if gradient.iter().chain(&precision).any(|x| !x.is_finite()) {
            return None;
        }
        let spectrum = symmetric_eigen(&precision)?;
        let vectors = spectrum.vectors.unwrap_or_else(|| Array2::eye(d));
        let largest = spectrum.values.iter().fold(0.0f64, |m, l| m.max(l.abs()));
        let along = vectors.t().dot(&gradient);
        let step = |floor: f64| {
            Array1::from_iter(along.iter().zip(&spectrum.values).map(|(g, l)| g / l.abs().max(floor * largest)))
        };
        let mut step = vectors.dot(&step(1e-12));
        let mut rise = step.dot(&gradient);
        if rise < RISE * (1.0 + value.abs()) {
            if let Some(cholesky) = Cholesky::of_matrix(&precision) {
                return Some(Maximum { point, log_density: value, precision, cholesky });
            }
            // A saddle, or a flat place: down its curvature, which the gradient does not show.
            let (least, curvature) =
                spectrum.values.iter().copied().enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).expect("a coordinate");
            if curvature >= 0.0 {
                return None;
            }
            let length = 1.0 / (-curvature).sqrt();
            step = vectors.column(least).to_owned() * length;
            rise = 0.5;
        }
        let mut share = 1.0;
        let better = (0..SHORTENINGS).find_map(|_| {
            let next: Vec<f64> = point.iter().zip(&step).map(|(x, s)| x + share * s).collect();
            let found = log_densities(measure, &row(&next))[0];
            let enough = found >= value + 1e-4 * share * rise;
            share /= 2.0;
            enough.then_some((next, found))
        });
        match better {
            Some(better) => (point, value) = better,
            // Rounding hides what is left to rise.
            None if rise < 1e-6 * (1.0 + value.abs()) => {
                let cholesky = Cholesky::of_matrix(&precision)?;
                return Some(Maximum { point, log_density: value, precision, cholesky });
            }
            None => return None,
        }
    }
    None
}

/// Minus the Hessian at a point, `[d, d]`: its products with the unit vectors.
pub(super) fn precision_at(measure: &dyn Measure, point: &[f64]) -> Array2<f64> {
    let d = point.len();
    let repeated = Points::from_shape_fn((d, d), |(_, j)| point[j]);
    let hessian = to_points(measure.hessian_product(tensor(&repeated), tensor(&Array2::eye(d))));
    (&hessian + &hessian.t()) / -2.0
}

/// log Z by importance sampling from Student's t about the modes above these points, with the number of modes; `None` where there are none.
pub(crate) fn log_z_at_modes(measure: &dyn Measure, starts: &Points, seed: u64) -> Option<(Estimate, usize)> {
    let d = measure.dim();
    if d > MOST_DIMENSIONS {
        return None;
    }
    let mut modes: Vec<Maximum> = Vec::new();
    for start in starts.rows() {
        let Some(found) = climb(measure, &start.to_vec()) else { continue };
        let is_new = modes.iter().all(|known| {
            let offset = Array1::from_iter(found.point.iter().zip(&known.point).map(|(a, b)| a - b));
            // Far by the width of either: a narrow mode may lie within a wide one.
            [known, &found].iter().any(|mode| offset.dot(&mode.precision.dot(&offset)) > 1.0)
        });
        if is_new {
            modes.push(found);
        }
    }
    if modes.is_empty() {
        return None;
    }
    // As often as a mode is heavy by its Gaussian, and a tenth evenly.
    let log_masses: Vec<f64> = modes.iter().map(|mode| mode.log_density - mode.cholesky.log_det() / 2.0).collect();
    let largest = log_masses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let masses: Vec<f64> = log_masses.iter().map(|log| (log - largest).exp()).collect();
    let total: f64 = masses.iter().sum();
    let shares: Vec<f64> = masses.iter().map(|mass| 0.9 * mass / total + 0.1 / modes.len() as f64).collect();
    let cumulative: Vec<f64> = shares
        .iter()
        .scan(0.0, |sum, share| {
            *sum += share;
            Some(*sum)
        })
        .collect();
    // x = μ + L⁻ᵀ z √(ν/χ²) with precision L Lᵀ; for ν = 4, χ² is -2 log(u₁u₂).
    let factors: Vec<Array2<f64>> = modes.iter().map(|mode| mode.cholesky.inverse_factor().reversed_axes()).collect();
    let stream = Stream::new(seed, Purpose::Modes);
    let mut draws = Points::zeros((DRAWS, d));
    for (index, mut draw) in draws.rows_mut().into_iter().enumerate() {
        let mut words = stream.at(0, index as u64);
        let k = words.category(&cumulative);
        let z = Array1::from_shape_simple_fn(d, || words.normal());
        let chi_square = -2.0 * (words.uniform().ln() + words.uniform().ln());
        draw.assign(&(factors[k].dot(&z) * (NU / chi_square).sqrt() + Array1::from(modes[k].point.clone())));
    }
    let log_p = log_densities(measure, &draws);
    let half = d as f64 / 2.0;
    // Γ(ν/2 + d/2)/Γ(ν/2) = (1 + d/2) Γ(1 + d/2) for ν = 4, by whole and half steps of the recurrence.
    let log_gammas = log_gamma_of_half(d + 4);
    let log_q: Vec<f64> = draws
        .rows()
        .into_iter()
        .map(|x| {
            let terms = modes.iter().zip(&shares).map(|(mode, share)| {
                let offset = &x - &Array1::from(mode.point.clone());
                let square = offset.dot(&mode.precision.dot(&offset));
                share.ln() + mode.cholesky.log_det() / 2.0 - (half + NU / 2.0) * (square / NU).ln_1p()
            });
            let terms: Vec<f64> = terms.collect();
            let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum = terms.iter().map(|term| (term - largest).exp()).sum::<f64>().ln() + largest;
            sum + log_gammas - half * (NU * std::f64::consts::PI).ln()
        })
        .collect();
    let log_p: Vec<f64> = log_p.into_iter().map(|p| if p.is_nan() { f64::NEG_INFINITY } else { p }).collect();
    let weights = ImportanceWeights::from_log_densities(&log_p, &log_q).ok()?;
    let log_z = weights.log_mean();
    (log_z.value.is_finite() && log_z.std_error.is_finite()).then_some((log_z, modes.len()))
}

/// `log Γ(n/2)` for a whole n ≥ 1 (`Γ(ν/2) = 1` for ν = 4).
fn log_gamma_of_half(n: usize) -> f64 {
    let mut at = if n.is_multiple_of(2) { 1.0 } else { 0.5 };
    let mut log = if n.is_multiple_of(2) { 0.0 } else { std::f64::consts::PI.ln() / 2.0 };
    while at < n as f64 / 2.0 - 0.25 {
        log += f64::ln(at);
        at += 1.0;
    }
    log
}

/// At most so many rows, evenly among all.
pub(super) fn spread_rows(points: &Points, count: usize) -> Points {
    let n = points.nrows();
    let count = count.min(n);
    let rows: Vec<usize> = (0..count).map(|k| k * n / count).collect();
    points.select(Axis(0), &rows)
}

#[cfg(test)]
mod tests {
    use brenier_measure::TargetConfig;

    use super::*;

    #[test]
    fn log_gammas_are_right() {
        for (n, exact) in
            [(1, 0.572_364_942_924_700_1), (2, 0.0), (5, 0.284_682_870_472_919_2), (14, 6.579_251_212_010_101)]
        {
            assert!((log_gamma_of_half(n) - exact).abs() < 1e-12, "{n}");
        }
    }

    #[test]
    fn modes_hold_the_mass_that_is_there() {
        let target = |json: &str| {
            let config: TargetConfig = serde_json::from_str(json).unwrap();
            config.build_exact().unwrap().unwrap().density.unwrap()
        };
        // Both modes of a pair of wells, to rounding of five standard errors.
        let wells = target(r#"{"many_well": {"dim": 2}}"#);
        let starts = Points::from_shape_vec((3, 2), vec![-1.3, 2.0, 1.5, 0.0, 2.0, 1.0]).unwrap();
        let (log_z, modes) = log_z_at_modes(wells.as_ref(), &starts, 1).unwrap();
        let exact = wells.log_normalizer().unwrap();
        assert!(modes == 2 && log_z.std_error < 0.03, "{modes} {log_z:?}");
        assert!((log_z.value - exact).abs() < 5.0 * log_z.std_error, "{log_z:?} against {exact}");
        // The origin is a saddle of the wells, but for the tilt.
        let saddle = brenier_measure::expression::ExpressionConfig::new(2, "-(x0^2 - 1)^2 - x1^2").build().unwrap();
        let mode = climb(&saddle, &[0.0, 0.0]).unwrap();
        assert!((mode.point[0].abs() - 1.0).abs() < 1e-6 && mode.log_density.abs() < 1e-10, "{mode:?}");
        // The spike of a spike in a slab, found from far out.
        let spike = target(r#"{"spike_in_slab": {"dim": 4}}"#);
        let (log_z, modes) = log_z_at_modes(spike.as_ref(), &Points::from_elem((2, 4), 2.0), 1).unwrap();
        assert!(modes == 1 && (log_z.value - 0.9f64.ln()).abs() < 5.0 * log_z.std_error + 1e-3, "{log_z:?}");
    }
}
