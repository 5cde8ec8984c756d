//! Re-basing: a stack of stages fitted into one potential, so that a stage costs the same however many went before.

use std::sync::Arc;

use brenier_measure::Points;
use brenier_model::monge_ampere::{ConvexPotential, LARGEST_STACK, RidgeSum, Ridges, conjugate};
use ndarray::{Array1, Array2, Axis, s};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::monge_ampere::box_program;
use crate::monge_ampere::semi_dual::Gram;

/// When and how well a stack is fitted into one potential.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RebaseConfig {
    /// After so many stages; one costs about three times as much as the one before it in the stack.
    #[schemars(range(min = 1, max = 4))]
    pub every: usize,
    /// The largest misfit `(E|∇ψ - ∇ψ'|²/Var ∇ψ)^{1/2}` over fresh points of the reference with which the flow goes on.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub tolerance: f64,
    /// Sweeps of coordinate descent at most that a fit takes.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub steps: usize,
    /// Points of the reference that the fit takes.
    #[schemars(range(min = 64, max = 10_000_000))]
    pub points: usize,
}

const _: () = assert!(LARGEST_STACK == 4);

impl Default for RebaseConfig {
    fn default() -> Self {
        Self { every: 3, tolerance: 0.05, steps: 2000, points: 8000 }
    }
}

/// Points in one block of the normal equations.
const BLOCK: usize = 1024;

/// The sum of convex ridges whose gradient is nearest to that of a potential over points y, `[n, d]`: `min E|∇ψ_θ(y) - ∇ψ(y)|²` over
/// θ in the box, a quadratic program. `None` where numbers are not finite.
///
/// Overlapping ridges make it badly conditioned, so that an active set may not settle: coordinate descent, which always falls, goes on from it.
pub fn nearest(ridges: &Arc<Ridges>, potential: &dyn ConvexPotential, y: &Points, steps: usize) -> Option<RidgeSum> {
    let images = conjugate::gradient(potential, y);
    let (d, p, (g, k)) = (ridges.dim(), ridges.count(), ridges.knots.dim());
    // What is left for the coefficients.
    let rest = &images - &(y * ridges.floor);
    let mut products = Gram::new(p);
    let mut right = Array1::<f64>::zeros(p);
    for (block, rest) in y.axis_chunks_iter(Axis(0), BLOCK).zip(rest.axis_chunks_iter(Axis(0), BLOCK)) {
        let slopes = ridges.feature_slopes(&block.to_owned());
        for i in 0..d {
            // The i-th derivatives of all features.
            let mut rows = Array2::zeros((p, block.nrows()));
            rows.row_mut(i).fill(1.0);
            for (j, slope) in slopes.rows().into_iter().enumerate() {
                let direction = if j < g { j } else { (j - g) / k };
                rows.row_mut(d + j).assign(&(&slope * ridges.directions[[direction, i]]));
            }
            right += &rows.dot(&rest.slice(s![.., i]));
            products.add(&rows);
        }
    }
    let mut matrix = products.sum();
    let small = 1e-9 * matrix.diag().sum() / p as f64;
    matrix.diag_mut().mapv_inplace(|entry| entry + small);
    let lower = Array1::from_shape_fn(p, |j| if j < ridges.free() { f64::NEG_INFINITY } else { 0.0 });
    let start = box_program::minimize(&matrix, &right, &lower)?;
    let coefficients = descend(&matrix, &right, &lower, start, steps);
    RidgeSum::new(ridges.clone(), coefficients.to_vec())
}

/// A change of the coordinates by less than this, in units of the largest, ends the descent.
const SETTLED: f64 = 1e-10;

/// Coordinate descent on `½wᵀAw - r·w` over `w ≥ l`: from the better of a start and the nearest point of the box to 0.
fn descend(
    matrix: &Array2<f64>,
    right: &Array1<f64>,
    lower: &Array1<f64>,
    start: Array1<f64>,
    steps: usize,
) -> Array1<f64> {
    let objective = |w: &Array1<f64>| 0.5 * w.dot(&matrix.dot(w)) - right.dot(w);
    let origin = lower.mapv(|l| l.max(0.0));
    let mut w = if objective(&start) <= objective(&origin) { start } else { origin };
    let mut slope = matrix.dot(&w) - right;
    for _ in 0..steps {
        let mut moved = 0.0f64;
        for j in 0..w.len() {
            let next = (w[j] - slope[j] / matrix[[j, j]]).max(lower[j]);
            let change = next - w[j];
            if change != 0.0 {
                w[j] = next;
                slope.scaled_add(change, &matrix.row(j));
                moved = moved.max(change.abs());
            }
        }
        if moved <= SETTLED * w.iter().fold(0.0, |most: f64, w| most.max(w.abs())) {
            break;
        }
    }
    w
}

/// `(E|∇ψ - ∇ψ'|²/Var ∇ψ)^{1/2}` over points y.
pub fn misfit(exact: &dyn ConvexPotential, fitted: &dyn ConvexPotential, y: &Points) -> f64 {
    let [images, approximate] = [exact, fitted].map(|potential| conjugate::gradient(potential, y));
    let square = |points: &Points| points.iter().map(|x| x * x).sum::<f64>();
    let mean = images.mean_axis(Axis(0)).expect("at least one point");
    (square(&(&images - &approximate)) / square(&(&images - &mean))).sqrt()
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Gaussian, Purpose, Sample, Stream};

    use super::*;
    use crate::monge_ampere::RidgesConfig;

    #[test]
    fn a_potential_of_the_family_is_found() {
        let y = Gaussian::standard(2).sample(&Stream::new(1, Purpose::Pool), 0, 0..3000);
        let config = RidgesConfig { directions: Some(4), knots: 3, ..RidgesConfig::default() };
        let ridges = Arc::new(config.choose(&y, 0));
        let mut coefficients = ridges.identity();
        coefficients.iter_mut().enumerate().for_each(|(j, c)| *c += 0.05 * (j % 4) as f64);
        let exact = RidgeSum::new(ridges.clone(), coefficients).unwrap();
        let found = nearest(&ridges, &exact, &y, 2000).unwrap();
        let fresh = Gaussian::standard(2).sample(&Stream::new(1, Purpose::Pool), 1, 0..1000);
        let error = misfit(&exact, &found, &fresh);
        assert!(error < 1e-4, "{error}");
        // The identity is another one.
        let identity = RidgeSum::new(ridges.clone(), ridges.identity()).unwrap();
        assert!(misfit(&exact, &identity, &fresh) > 0.05);
    }
}
