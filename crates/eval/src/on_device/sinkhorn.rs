//! The Sinkhorn divergence between point clouds, as tensor operations.

use std::ops::Range;

use brenier_measure::to_points;
use brenier_transport::sinkhorn::{Epsilon, Settings};
use brenier_transport::{Cost, TransportError};
use burn::tensor::{DType, Tensor};

use super::pairs::{Kernel, Pairs, reciprocal_root};
use super::{NAMES, TILE, centred, check, is_tracked, read, with_gradients};
use crate::EvalError;
use crate::error;

/// Iterations from one look at the marginal error to the next: a look waits for the device.
const CHECK_EVERY: usize = 10;

/// The factor between two values of ε on the way down to the one asked for.
const SCALING: f64 = 0.5;

/// The slowest rate of convergence that over-relaxation reckons with.
const SLOWEST: f64 = 0.9999;

/// What is left of ω - 1 where the marginal error did not fall.
const RETREAT: f64 = 0.9;

/// A debiased entropic distance, and how far its iterations came.
#[derive(Debug, Clone)]
pub struct SinkhornDivergence {
    /// `OT_ε(a, b) - (OT_ε(a, a) + OT_ε(b, b))/2`, `[1]`, in the unit of the cost; not square-rooted.
    pub value: Tensor<1>,
    /// ε as it was used, in the unit of the cost.
    pub epsilon: f64,
    /// The largest L1 distance, over the three plans, of a marginal from its weights.
    pub marginal_error: f64,
    /// Whether that is at most the tolerance.
    pub converged: bool,
    /// Iterations of the slowest of the three problems.
    pub iterations: usize,
}

/// The Sinkhorn divergence between a `[n, d]` and b `[m, d]`, with `OT_ε = min_P <P, C> + ε KL(P | a⊗b)`.
///
/// Potentials by log-domain iterations, `f(x) = -ε log mean_j exp((g(y_j) - c(x, y_j))/ε)`, while ε falls by halves from the mean cost; for a
/// cloud with itself the symmetric iteration `f <- (f + T f)/2`. The value is the dual one at potentials one of
/// which is exact: its error is of second order in the marginal error. Gradients are those of the envelope theorem, through the
/// cost at fixed potentials. O(nm d) an iteration, in tiles. Feydy, Séjourné, Vialard, Amari, Trouvé and Peyré, Interpolating between
/// optimal transport and MMD using Sinkhorn divergences (2019), equations 2, 3 and 25.
///
/// In f32 potentials are known to about 10⁻⁷ of the cost, and the marginals to that over ε: a tolerance below is
/// raised to `10⁻⁶ (1 + mean cost/ε)`.
///
/// # Errors
///
/// A cloud without points, dimensions that differ, a coordinate that is not finite, settings out of range.
pub fn sinkhorn_divergence(a: Tensor<2>, b: Tensor<2>, settings: &Settings) -> Result<SinkhornDivergence, EvalError> {
    check(&a, &b, 1)?;
    if !(settings.tolerance > 0.0 && settings.tolerance.is_finite()) {
        return Err(TransportError::Tolerance { tolerance: settings.tolerance }.into());
    }
    let (Epsilon::Absolute(given) | Epsilon::RelativeToMeanCost(given)) = settings.epsilon;
    if !(given > 0.0 && given.is_finite()) {
        return Err(TransportError::Epsilon { epsilon: given }.into());
    }
    let [x, y] = centred(&a, &b);
    let mean_cost = mean_cost(&x, &y, settings.cost);
    if !mean_cost.is_finite() {
        error::check(NAMES[0], &to_points(a.clone().inner()), 1)?;
        error::check(NAMES[1], &to_points(b.clone().inner()), 1)?;
    }
    let epsilon = match settings.epsilon {
        Epsilon::Absolute(epsilon) => epsilon,
        Epsilon::RelativeToMeanCost(share) => share * mean_cost,
    };
    if epsilon == 0.0 && mean_cost == 0.0 {
        // All points are equal: so is every plan.
        let none = [&a, &b].map(|points| points.clone().inner().zeros_like());
        let value = with_gradients(none[0].clone().sum(), [&a, &b], none);
        return Ok(SinkhornDivergence { value, epsilon, marginal_error: 0.0, converged: true, iterations: 0 });
    }
    let rounding = if a.dtype() == DType::F64 { 0.0 } else { 1e-6 * (1.0 + mean_cost / epsilon) };
    let descent =
        Descent { mean_cost, epsilon, tolerance: settings.tolerance.max(rounding), most: settings.max_iterations };

    let [xy, yx] = [(&x, &y), (&y, &x)].map(|(x, y)| Costs::new(Pairs::between(x, y), settings.cost));
    let [xx, yy] = [&x, &y].map(|x| Costs::new(Pairs::within(x), settings.cost));
    let across = descent.across(&xy, &yx);
    let [within_x, within_y] = [&xx, &yy].map(|costs| descent.within(costs));

    // Subtracted point by point: the three values agree in most of their digits where the clouds are close.
    let excess =
        |across: &Tensor<2>, within: &Solution| (across.clone() - (within.f.clone() + within.g.clone()) * 0.5).mean();
    let mut value = excess(&across.f, &within_x) + excess(&across.g, &within_y);
    if is_tracked(&a, &b) {
        let gradient = |across: Tensor<2>, within: &Solution, costs: &Costs| {
            let own = costs.gradient(&within.g, &within.f, epsilon);
            (across - own) / costs.pairs.counts()[0] as f64
        };
        let of_x = gradient(xy.gradient(&across.f, &across.g, epsilon), &within_x, &xx);
        let of_y = gradient(yx.gradient(&yx.soft_minimum(&across.f, epsilon), &across.f, epsilon), &within_y, &yy);
        value = with_gradients(value, [&a, &b], [of_x, of_y]);
    }
    let solutions = [&across, &within_x, &within_y];
    let marginal_error = solutions.iter().map(|solution| solution.marginal_error).fold(0.0, f64::max);
    let iterations = solutions.iter().map(|solution| solution.iterations).max().unwrap_or(0);
    Ok(SinkhornDivergence {
        value,
        epsilon,
        marginal_error,
        converged: marginal_error <= descent.tolerance,
        iterations,
    })
}

/// `E c(X, Y)` over all pairs.
fn mean_cost(x: &Tensor<2>, y: &Tensor<2>, cost: Cost) -> f64 {
    match cost {
        Cost::SquaredDistance => {
            let mean = |points: &Tensor<2>| points.clone().mean_dim(0);
            let spread = |points: &Tensor<2>| (points.clone() - mean(points)).square().sum_dim(1).mean();
            read(spread(x) + spread(y) + (mean(x) - mean(y)).square().sum())
        }
        Cost::Distance => read(Pairs::between(x, y).sums(Kernel::Distance, false).0.mean()) / y.dims()[0] as f64,
    }
}

/// The costs between the points of two clouds: kept where they fit into one tile, else formed anew for every pass.
struct Costs {
    pairs: Pairs,
    cost: Cost,
    kept: Option<Tensor<2>>,
}

impl Costs {
    fn new(pairs: Pairs, cost: Cost) -> Self {
        let [n, m] = pairs.counts();
        let mut costs = Self { pairs, cost, kept: None };
        if n * m <= TILE {
            costs.kept = Some(costs.tile(0..n));
        }
        costs
    }

    /// `c(x_i, y_j)` for the rows of a tile.
    fn tile(&self, rows: Range<usize>) -> Tensor<2> {
        if let Some(kept) = &self.kept {
            return kept.clone();
        }
        let squared = self.pairs.squared_distances(rows);
        match self.cost {
            Cost::SquaredDistance => squared,
            Cost::Distance => squared.sqrt(),
        }
    }

    /// `-ε log mean_j exp((g_j - c_ij)/ε)`, `[m, 1] -> [n, 1]`.
    fn soft_minimum(&self, g: &Tensor<2>, epsilon: f64) -> Tensor<2> {
        let g = g.clone().transpose() / epsilon;
        let tiles = self.pairs.tiles().map(|rows| {
            let exponents = g.clone() - self.tile(rows) / epsilon;
            let largest = exponents.clone().max_dim(1);
            let mean = (exponents - largest.clone()).exp().mean_dim(1);
            (mean.log() + largest) * -epsilon
        });
        Tensor::cat(tiles.collect(), 0)
    }

    /// `Σ_j w_ij ∇c(x_i, y_j)` under the plan `w_ij = exp((f_i + g_j - c_ij)/ε)/m`, rows of which sum to one; `[n, d]`.
    fn gradient(&self, f: &Tensor<2>, g: &Tensor<2>, epsilon: f64) -> Tensor<2> {
        let g = g.clone().transpose();
        let m = self.pairs.counts()[1] as f64;
        let tiles = self.pairs.tiles().map(|rows| {
            let cost = self.tile(rows.clone());
            let plan = ((f.clone().slice([rows.clone()]) + g.clone() - cost.clone()) / epsilon).exp() / m;
            let slope = match self.cost {
                Cost::SquaredDistance => plan * 2.0,
                Cost::Distance => plan * reciprocal_root(cost.square()),
            };
            self.pairs.pull(rows, slope)
        });
        Tensor::cat(tiles.collect(), 0)
    }
}

/// Potentials of one entropic problem.
struct Solution {
    /// f at the rows, `[n, 1]`.
    f: Tensor<2>,
    /// g at the columns, `[m, 1]`.
    g: Tensor<2>,
    marginal_error: f64,
    iterations: usize,
}

/// The way down to ε, and when to stop there.
struct Descent {
    mean_cost: f64,
    epsilon: f64,
    tolerance: f64,
    most: usize,
}

impl Descent {
    /// ε at an iteration: from the mean cost, by halves, to the one asked for.
    fn epsilon_at(&self, iteration: usize) -> f64 {
        if iteration >= self.most {
            return self.epsilon;
        }
        (self.mean_cost * SCALING.powi(iteration.min(1000) as i32)).max(self.epsilon)
    }

    /// Whether the marginal error is looked at after an iteration.
    fn looks(&self, iteration: usize) -> bool {
        iteration >= self.most || (iteration.is_multiple_of(CHECK_EVERY) && self.epsilon_at(iteration) == self.epsilon)
    }

    /// Whether it ends there; also where the error is NaN.
    fn ends(&self, iteration: usize, marginal_error: f64) -> bool {
        iteration >= self.most || marginal_error <= self.tolerance || marginal_error.is_nan()
    }

    /// `mean |exp((old - new)/ε) - 1|`: how far the plan of the old potential misses the marginal that the new one meets.
    fn marginal_error(&self, old: &Tensor<2>, new: &Tensor<2>) -> f64 {
        read((((old.clone() - new.clone()) / self.epsilon).exp() - 1.0).abs().mean())
    }

    /// The problem between two clouds, by alternating over-relaxed iterations.
    fn across(&self, xy: &Costs, yx: &Costs) -> Solution {
        let mut relaxation = Relaxation { factor: 1.0, last: None };
        let mut g = yx.pairs.x.clone().narrow(1, 0, 1).zeros_like();
        let mut f = xy.soft_minimum(&g, self.epsilon_at(1));
        let mut iteration = 1;
        loop {
            let epsilon = self.epsilon_at(iteration);
            let exact = yx.soft_minimum(&f, epsilon);
            if self.looks(iteration) {
                let marginal_error = self.marginal_error(&f, &xy.soft_minimum(&exact, epsilon));
                if self.ends(iteration, marginal_error) {
                    return Solution { f, g: exact, marginal_error, iterations: iteration };
                }
                relaxation.learn(marginal_error);
            }
            iteration += 1;
            let epsilon = self.epsilon_at(iteration);
            g = relaxation.apply(g, exact);
            f = relaxation.apply(f, xy.soft_minimum(&g, epsilon));
        }
    }

    /// The problem of a cloud with itself, whose two potentials are one.
    fn within(&self, costs: &Costs) -> Solution {
        let mut f = costs.pairs.x.clone().narrow(1, 0, 1).zeros_like();
        let mut iteration = 1;
        loop {
            let exact = costs.soft_minimum(&f, self.epsilon_at(iteration));
            if self.looks(iteration) {
                let marginal_error = self.marginal_error(&f, &exact);
                if self.ends(iteration, marginal_error) {
                    return Solution { f, g: exact, marginal_error, iterations: iteration };
                }
            }
            f = (f + exact) * 0.5;
            iteration += 1;
        }
    }
}

/// The factor ω of `f <- f + ω(T g - f)`, learnt from how fast the marginal error falls.
///
/// Alternating iterations converge at a rate λ, and the best ω is `2/(1 + √(1 - λ))`; under ω they converge at a rate μ with
/// `(μ + ω - 1)² = λ ω² μ`. Lehmann, von Renesse, Sambale and Uschmajew, A note on overrelaxation in the Sinkhorn
/// algorithm (2021).
struct Relaxation {
    factor: f64,
    last: Option<f64>,
}

impl Relaxation {
    /// Learns from the marginal error after [`CHECK_EVERY`] more iterations.
    fn learn(&mut self, marginal_error: f64) {
        let factor = self.factor;
        if let Some(last) = self.last {
            let rate = (marginal_error / last).powf(1.0 / CHECK_EVERY as f64);
            self.factor = if rate < 1.0 {
                let rate = rate.max(factor - 1.0);
                let plain = (rate + factor - 1.0).powi(2) / (factor * factor * rate);
                2.0 / (1.0 + (1.0 - plain.min(SLOWEST)).sqrt())
            } else {
                1.0 + RETREAT * (factor - 1.0)
            };
        }
        self.last = Some(marginal_error);
    }

    fn apply(&self, old: Tensor<2>, new: Tensor<2>) -> Tensor<2> {
        if self.factor == 1.0 { new } else { old * (1.0 - self.factor) + new * self.factor }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_gradient, cloud, normal, points, reference, single, twice};
    use super::*;
    use brenier_transport::sinkhorn;

    fn settings(epsilon: f64, cost: Cost, tolerance: f64) -> Settings {
        Settings { epsilon: Epsilon::Absolute(epsilon), cost, tolerance, max_iterations: 20_000 }
    }

    #[test]
    fn it_agrees_with_an_independent_implementation() {
        let file = reference();
        let rows = file["sinkhorn"]["rows"].as_array().unwrap();
        assert!(rows.len() >= 12);
        for row in rows {
            let [epsilon, exact] = ["eps", "divergence"].map(|key| row[key].as_f64().unwrap());
            let [a, b] = if row["pair"] == "XY" { ["X", "Y"] } else { ["X", "Z"] }.map(|name| points(&file[name]));
            // The cost |x - y|²/2 at ε is half of the cost |x - y|² at 2ε.
            let half = if row["cost"] == "half_sq" { 2.0 } else { 1.0 };
            let settings = settings(half * epsilon, Cost::SquaredDistance, 1e-7);
            let found = sinkhorn_divergence(twice(&a), twice(&b), &settings).unwrap();
            let value = read(found.value) / half;
            assert!(found.converged && (value - exact).abs() < 1e-8, "{value} against {row}");
            let found = sinkhorn_divergence(single(&a), single(&b), &settings).unwrap();
            let value = read(found.value) / half;
            assert!(found.converged && (value / exact - 1.0).abs() < 1e-4, "{value} against {row}");
        }
    }

    #[test]
    fn it_agrees_with_the_cpu() {
        for (n, m, dim, cost) in [
            (400, 500, 2, Cost::SquaredDistance),
            (200, 300, 2, Cost::Distance),
            (300, 300, 20, Cost::SquaredDistance),
            (150, 100, 20, Cost::Distance),
        ] {
            let (a, b) = (normal(n, dim, 3.0, 1.0, 0), normal(m, dim, 3.2, 1.3, 1));
            let settings = Settings { cost, ..Settings::default() };
            let exact = sinkhorn::sinkhorn_divergence(cloud(&a), cloud(&b), &settings).unwrap();
            let found = sinkhorn_divergence(single(&a), single(&b), &settings).unwrap();
            assert!(exact.converged && found.converged, "{exact:?}");
            assert!(
                (found.epsilon - exact.epsilon).abs() < 1e-5 * exact.epsilon,
                "{} {}",
                found.epsilon,
                exact.epsilon
            );
            let value = read(found.value);
            assert!((value - exact.value).abs() < 1e-4 * exact.value, "{value} against {}", exact.value);
        }
    }

    #[test]
    fn tiles_do_not_show() {
        let (x, y) = (single(&normal(2500, 12, 0.0, 1.0, 0)), single(&normal(2000, 12, 0.5, 1.0, 1)));
        let g = y.clone().slice([0..2000, 0..1]);
        let of_rows = |rows| Costs::new(Pairs::between(&x.clone().slice([rows]), &y), Cost::SquaredDistance);
        let (tiled, kept) = (of_rows(0..2500), [of_rows(0..1300), of_rows(1300..2500)]);
        assert!(tiled.kept.is_none() && kept.iter().all(|costs| costs.kept.is_some()));
        let found = to_points(tiled.soft_minimum(&g, 0.7));
        let whole = to_points(Tensor::cat(kept.iter().map(|costs| costs.soft_minimum(&g, 0.7)).collect(), 0));
        // Matrix products of other shapes round otherwise.
        assert!(found.iter().zip(&whole).all(|(found, whole)| (found - whole).abs() < 1e-4));
        assert_eq!(found.len(), 2500);
    }

    #[test]
    fn degenerate_clouds_have_an_answer_or_an_error() {
        let settings = Settings::default();
        let point = single(&normal(1, 2, 0.0, 1.0, 0));
        let equal = point.clone().repeat_dim(0, 5);
        let found = sinkhorn_divergence(equal.clone(), equal, &settings).unwrap();
        assert!(found.converged && read(found.value) == 0.0);
        // One point against one: the cost, whatever ε is.
        let found = sinkhorn_divergence(point.clone(), point.clone() + 1.0, &settings).unwrap();
        let value = read(found.value);
        assert!(found.converged && (value - 2.0).abs() < 1e-5, "{value}");
        let refused = sinkhorn_divergence(point.clone(), point.clone() * f64::NAN, &settings).unwrap_err();
        assert!(refused.to_string().starts_with("reference points: row 0, column 0 is NaN"), "{refused}");
        for epsilon in [Epsilon::Absolute(0.0), Epsilon::RelativeToMeanCost(f64::NAN)] {
            assert!(sinkhorn_divergence(point.clone(), point.clone(), &Settings { epsilon, ..settings }).is_err());
        }
        // Too few iterations are said, and not hidden.
        let hasty = Settings { max_iterations: 2, ..settings };
        let (a, b) = (single(&normal(20, 2, 0.0, 1.0, 0)), single(&normal(20, 2, 1.0, 1.0, 1)));
        let found = sinkhorn_divergence(a, b, &hasty).unwrap();
        assert!(!found.converged && found.iterations == 2 && found.marginal_error > 1e-3);
    }

    #[test]
    fn gradients_are_those_of_the_envelope_theorem() {
        let (a, b) = (normal(7, 3, 0.0, 1.0, 0), normal(5, 3, 0.5, 1.5, 1));
        for cost in [Cost::SquaredDistance, Cost::Distance] {
            assert_gradient(&a, &b, |a, b| sinkhorn_divergence(a, b, &settings(0.7, cost, 1e-13)).unwrap().value);
        }
    }
}
