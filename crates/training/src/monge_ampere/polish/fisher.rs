//! Fisher scoring of a potential that is linear in its coefficients.
//!
//! ```text
//! L(θ) = E[g(∇φ) - log det ∇²φ],    ∂ᵢL = E[∇g·∇Fᵢ - tr(H⁻¹∇²Fᵢ)]
//! M_ij = E[∇Fᵢᵀ G ∇F_j + tr(H⁻¹∇²Fᵢ H⁻¹∇²F_j)],    θ ← θ - M⁻¹∂L
//! ```
//!
//! with `H = ∇²φ` and G the mean precision of the components that are responsible for y: the Hessian of L where g is quadratic, else without the part
//! that may be negative. The features of a ridge along u have `∇F = f'u`, `∇²F = f''uuᵀ`, so that the second trace is `f''ᵢf''ⱼ(uᵢ·H⁻¹uⱼ)²`, a product of the
//! entries of `aaᵀ` with `a = H^{-1/2}u`: M is a sum of squares.

use brenier_measure::Points;
use brenier_measure::linear_algebra::Cholesky;
use brenier_model::monge_ampere::{LinearRidges, ParametricPotential};
use ndarray::{Array1, Array2, Axis, s};
use rayon::prelude::*;

use super::likelihood::ReferenceLaw;
use crate::monge_ampere::box_program;
use crate::monge_ampere::semi_dual::Gram;

/// The largest dimension: M takes `d + d(d + 1)/2` rows a point.
pub const MOST_DIMENSIONS: usize = 8;

/// The share of the diagonal of M that is added to it.
const DAMPING: f64 = 1e-3;

/// The factor by which a step is shortened that goes too far, and how often.
const SHORTER: f64 = 0.4;
const SHORTENINGS: usize = 7;

/// Rows of one block of M, and blocks that are summed one after the other.
const BLOCK: usize = 256;

/// θ after a step on the points `[n, d]`, and L before it; `None` where no length of the step lowers L.
pub fn step(potential: &LinearRidges, law: &ReferenceLaw, x: &Points) -> (f64, Option<Vec<f64>>) {
    let (before, gradient) = law.descend(potential, x);
    let theta = potential.parameters();
    let free = potential.ridges().free();
    let lower = Array1::from_shape_fn(theta.len(), |j| if j < free { f64::NEG_INFINITY } else { -theta[j] });
    let mut metric = metric(potential, law, x);
    let diagonal = metric.diag().to_owned();
    let largest = diagonal.fold(0.0, |a: f64, &b| a.max(b));
    // A feature that no point sees has no curvature of its own.
    metric.diag_mut().zip_mut_with(&diagonal, |entry, own| *entry += DAMPING * own + 1e-12 * largest);
    let Some(direction) = box_program::minimize_from_zero(&metric, &-Array1::from(gradient), &lower) else {
        return (before, None);
    };
    let mut length = 1.0;
    for _ in 0..SHORTENINGS {
        let moved: Vec<f64> = theta.iter().zip(&direction).map(|(theta, step)| theta + length * step).collect();
        let after = law.descend(&potential.with_parameters(&moved), x).0;
        if after < before {
            return (before, Some(moved));
        }
        length *= SHORTER;
    }
    (before, None)
}

/// M, `[p, p]`.
fn metric(potential: &LinearRidges, law: &ReferenceLaw, x: &Points) -> Array2<f64> {
    let p = potential.ridges().count();
    let blocks: Vec<Points> = x.axis_chunks_iter(Axis(0), BLOCK).map(|block| block.to_owned()).collect();
    // A few sums at a time: each is as large as M.
    let width = blocks.len().div_ceil(4).max(1);
    let parts: Vec<Array2<f64>> = blocks
        .par_chunks(width)
        .map(|blocks| {
            let mut gram = Gram::new(p);
            blocks.iter().for_each(|block| add(potential, law, block, &mut gram));
            gram.sum()
        })
        .collect();
    let sum = parts.into_iter().fold(Array2::zeros((p, p)), |sum, part| sum + part);
    sum / x.nrows().max(1) as f64
}

fn add(potential: &LinearRidges, law: &ReferenceLaw, x: &Points, gram: &mut Gram) {
    let ((n, d), ridges) = (x.dim(), potential.ridges());
    let (g, k) = ridges.knots.dim();
    let direction = |j: usize| if j < g { j } else { (j - g) / k };
    let (y, hessians) = potential.derivatives(x);
    let precisions = law.mean_precisions(&y);
    let slopes = ridges.feature_slopes(x);
    let curvature = |j: usize, slope: f64| match j.checked_sub(g) {
        None => 1.0,
        Some(j) => (slope - slope * slope) / ridges.widths[[j / k, j % k]],
    };
    // G = BBᵀ and H⁻¹ = AᵀA, one matrix a row.
    let (mut b, mut a) = (Points::zeros((n, d * d)), Points::zeros((n, d * d)));
    for i in 0..n {
        let factor = |row: ndarray::ArrayView1<f64>| Cholesky::of(&row.to_vec(), d);
        if let (Some(precision), Some(hessian)) = (factor(precisions.row(i)), factor(hessians.row(i))) {
            b.row_mut(i).assign(&Array1::from_iter(precision.factor().iter().copied()));
            a.row_mut(i).assign(&Array1::from_iter(hessian.inverse_factor().iter().copied()));
        }
    }
    let mut rows = Array2::zeros((ridges.count(), n));
    // Bᵀ∇F, d rows a point.
    for i in 0..d {
        let column = Array2::from_shape_fn((n, d), |(point, row)| b[[point, row * d + i]]);
        rows.slice_mut(s![..d, ..]).assign(&column.t());
        let along = ridges.directions.dot(&column.t());
        for (j, slope) in slopes.rows().into_iter().enumerate() {
            let along = along.row(direction(j));
            ndarray::Zip::from(rows.row_mut(d + j)).and(slope).and(along).for_each(|r, s, a| *r = s * a);
        }
        gram.add(&rows);
    }
    // The entries of f'' A u uᵀAᵀ, d(d + 1)/2 rows a point.
    rows.slice_mut(s![..d, ..]).fill(0.0);
    let turned: Vec<Array2<f64>> =
        (0..d).map(|i| ridges.directions.dot(&a.slice(s![.., i * d..(i + 1) * d]).t())).collect();
    for i in 0..d {
        for l in i..d {
            let twice = if i == l { 1.0 } else { std::f64::consts::SQRT_2 };
            for (j, slope) in slopes.rows().into_iter().enumerate() {
                let (first, second) = (turned[i].row(direction(j)), turned[l].row(direction(j)));
                ndarray::Zip::from(rows.row_mut(d + j))
                    .and(slope)
                    .and(first)
                    .and(second)
                    .for_each(|r, &s, f, o| *r = twice * curvature(j, s) * f * o);
            }
            gram.add(&rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use brenier_measure::{Gaussian, GaussianMixture, Purpose, Sample, Stream, targets};
    use brenier_model::monge_ampere::RidgeSum;

    use super::*;
    use crate::monge_ampere::RidgesConfig;

    fn standard() -> ReferenceLaw {
        let identity = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
        ReferenceLaw::new(&GaussianMixture::new(vec![1.0], vec![vec![0.0; 2]], vec![identity]).unwrap()).unwrap()
    }

    fn start(x: &Points) -> LinearRidges {
        let ridges = RidgesConfig { directions: Some(4), knots: 5, ..RidgesConfig::default() }.choose(x, 0);
        let mut theta = ridges.identity();
        let free = ridges.free();
        theta.iter_mut().skip(free).for_each(|theta| *theta += 0.05);
        RidgeSum::new(Arc::new(ridges), theta).unwrap().into()
    }

    /// Under a Gaussian reference M is the Hessian of L.
    #[test]
    fn the_metric_is_the_hessian_under_a_gaussian() {
        let x = targets::two_moons().sample(&Stream::new(1, Purpose::Batch), 0, 0..300);
        let (potential, law) = (start(&x), standard());
        let (metric, theta) = (metric(&potential, &law, &x), potential.parameters());
        let h = 1e-5;
        for j in (0..theta.len()).step_by(7) {
            let at = |by: f64| {
                let mut moved = theta.clone();
                moved[j] += by;
                law.descend(&potential.with_parameters(&moved), &x).1
            };
            let (above, below) = (at(h), at(-h));
            for i in 0..theta.len() {
                let difference = (above[i] - below[i]) / (2.0 * h);
                assert!((metric[[i, j]] - difference).abs() < 1e-5 * (1.0 + difference.abs()), "{i}, {j}");
            }
        }
    }

    #[test]
    fn between_gaussians_few_steps_are_enough() {
        let x = Gaussian::standard(2).sample(&Stream::new(1, Purpose::Batch), 0, 0..4000) * 2.0;
        let (mut potential, law) = (start(&x), standard());
        for _ in 0..12 {
            if let (_, Some(theta)) = step(&potential, &law, &x) {
                potential = potential.with_parameters(&theta);
            }
        }
        // ½·2·(1 + log 2π) + 2 log 2 is the entropy: ± .016 of 4000 points, less what the coefficients fit.
        let exact = 1.0 + std::f64::consts::TAU.ln() + 2.0 * 2.0f64.ln();
        let found = law.descend(&potential, &x).0;
        assert!((found - exact).abs() < 0.08, "{found} and {exact}");
    }
}
