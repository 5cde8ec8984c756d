//! Sums of convex ridges whose directions, knots and widths are learnt with their heights.
//!
//! # Design
//!
//! ```text
//! φ(x) = ½|Lx|² + ½ε|x|² + c·x + Σ_gk o_gk s_gk softplus((u_g·x - b_gk)/s_gk),    o ≥ 0
//! ```
//!
//! A [`RidgeSum`] is linear in its coefficients, which is what stages that add up need; here nothing is added up, and every parameter
//! (c, L, u, b, log s, o) moves. Convex for all of them with heights that are not negative.

use brenier_measure::Points;
use brenier_measure::elementary::{sigmoid, softplus};
use ndarray::{Array1, Array2, Axis};
use pulp::{Arch, NullaryFnOnce};
use serde::{Deserialize, Serialize};

use super::free_quadratic::FreeQuadratic;
use super::parametric::{Loss, ParametricPotential, Pull};
use super::ridge_sum::{Ridge, RidgeSum, Ridges};

/// A quadratic with ridges on it, all of which moves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreeRidges {
    /// What the ridges bend.
    pub quadratic: FreeQuadratic,
    /// Vectors u, `[G, d]`, of any length.
    pub directions: Array2<f64>,
    /// Knots b, `[G, K]`.
    pub knots: Array2<f64>,
    /// log s, `[G, K]`.
    pub log_widths: Array2<f64>,
    /// Heights o ≥ 0, `[G, K]`.
    pub heights: Array2<f64>,
}

impl From<&RidgeSum> for FreeRidges {
    fn from(sum: &RidgeSum) -> Self {
        let ridges = sum.ridges();
        let (d, (g, k)) = (ridges.dim(), ridges.knots.dim());
        let (slope, rest) = sum.coefficients().split_at(d);
        let (curvatures, heights) = rest.split_at(g);
        let bent = &ridges.directions * &Array1::from(curvatures.to_vec()).insert_axis(Axis(1));
        let matrix = ridges.directions.t().dot(&bent) + Array2::<f64>::eye(d) * ridges.floor;
        Self {
            quadratic: FreeQuadratic::of_matrix(&matrix, Array1::from(slope.to_vec()), ridges.floor),
            directions: ridges.directions.clone(),
            knots: ridges.knots.clone(),
            log_widths: ridges.widths.mapv(f64::ln),
            heights: Array2::from_shape_vec((g, k), heights.to_vec()).expect("a height a ridge"),
        }
    }
}

/// What pulls of the slopes and the curvatures along a direction say of one ridge: of its height, its knot and the log of its width; and of t,
/// which is added up.
struct RidgePull<'a> {
    t: &'a [f64],
    slopes: &'a [f64],
    curvatures: &'a [f64],
    along: &'a mut [f64],
    knot: f64,
    scale: f64,
    height: f64,
}

/// Up to this dimension the entries of u uᵀ are few.
const FEW_DIMENSIONS: usize = 8;

/// Numbers that are summed beside each other.
const LANES: usize = 8;

impl NullaryFnOnce for RidgePull<'_> {
    type Output = [f64; 3];

    #[inline(always)]
    fn call(self) -> [f64; 3] {
        let mut sums = [[0.0; LANES]; 3];
        let (height, scale) = (self.height, self.scale);
        let points = self.t.chunks(LANES).zip(self.slopes.chunks(LANES)).zip(self.curvatures.chunks(LANES));
        for (((t, slope), curvature), along) in points.zip(self.along.chunks_mut(LANES)) {
            for lane in 0..t.len() {
                let z = (t[lane] - self.knot) * scale;
                let share = sigmoid(z);
                let bump = share - share * share;
                let by_height = slope[lane] * share + curvature[lane] * scale * bump;
                let by_z = height * bump * (slope[lane] + curvature[lane] * scale * (1.0 - 2.0 * share));
                along[lane] += by_z * scale;
                sums[0][lane] += by_height;
                sums[1][lane] -= by_z * scale;
                sums[2][lane] -= by_z * z + height * scale * bump * curvature[lane];
            }
        }
        sums.map(|lanes| lanes.iter().sum())
    }
}

impl FreeRidges {
    /// `½|x|²`, on average over points `[n, d]`, with all ridges at one height: the quadratic takes away what they bend.
    pub fn near_identity(ridges: &Ridges, height: f64, points: &Points) -> Self {
        let d = ridges.dim();
        let flat = FreeQuadratic { factor: Array2::zeros((d, d)), slope: Array1::zeros(d), floor: ridges.floor };
        let mut all = Self {
            quadratic: flat,
            directions: ridges.directions.clone(),
            knots: ridges.knots.clone(),
            log_widths: ridges.widths.mapv(f64::ln),
            heights: Array2::from_elem(ridges.knots.dim(), height),
        };
        let of_points = |all: &Self| {
            let (gradients, hessians) = all.derivatives(points);
            let mean = |of: &Points| of.mean_axis(Axis(0)).expect("at least one point");
            (mean(&gradients), mean(&hessians).into_shape_with_order((d, d)).expect("d·d entries"))
        };
        // The floor is in both.
        let rest = Array2::eye(d) - of_points(&all).1 + Array2::<f64>::eye(d) * ridges.floor;
        all.quadratic = FreeQuadratic::of_matrix(&rest, Array1::zeros(d), ridges.floor);
        all.quadratic.slope = points.mean_axis(Axis(0)).expect("at least one point") - of_points(&all).0;
        all
    }

    /// Whether sizes agree, all numbers are finite, and the potential is convex.
    pub fn is_consistent(&self) -> bool {
        let (g, k) = self.knots.dim();
        let mut numbers = self.directions.iter().chain(&self.knots).chain(&self.log_widths).chain(&self.heights);
        self.quadratic.is_consistent()
            && self.directions.dim() == (g, self.quadratic.dim())
            && self.log_widths.dim() == (g, k)
            && self.heights.dim() == (g, k)
            && numbers.all(|x| x.is_finite())
            && self.heights.iter().all(|&height| height >= 0.0)
    }

    /// `u·x` of a tile, `[G, n]`, and the slopes `Σ_k o ς` and the curvatures `Σ_k (o/s) ς(1 - ς)` along every direction.
    fn along(&self, x: &Points) -> (Array2<f64>, Array2<f64>, Array2<f64>) {
        let t = self.directions.dot(&x.t()).as_standard_layout().into_owned();
        let (mut slopes, mut curvatures) = (Array2::zeros(t.dim()), Array2::zeros(t.dim()));
        for ((g, k), &height) in self.heights.indexed_iter() {
            if height > 0.0 {
                Arch::new().dispatch(Ridge {
                    t: t.row(g).as_slice().expect("row-major"),
                    slopes: slopes.row_mut(g).as_slice_mut().expect("row-major"),
                    curvatures: curvatures.row_mut(g).as_slice_mut().expect("row-major"),
                    knot: self.knots[[g, k]],
                    scale: (-self.log_widths[[g, k]]).exp(),
                    height,
                });
            }
        }
        (t, slopes, curvatures)
    }

    fn expand(&self, x: &Points, slopes: &Array2<f64>, curvatures: &Array2<f64>) -> (Points, Points) {
        let d = self.quadratic.dim();
        let (gradients, mut hessians) = self.quadratic.derivatives(x);
        if d <= FEW_DIMENSIONS {
            // The entries of u uᵀ, `[G, d·d]`: one product for all points.
            let squares = Array2::from_shape_fn((self.directions.nrows(), d * d), |(g, e)| {
                self.directions[[g, e / d]] * self.directions[[g, e % d]]
            });
            hessians += &curvatures.t().dot(&squares);
        } else {
            for (curvatures, mut hessian) in curvatures.columns().into_iter().zip(hessians.rows_mut()) {
                let bent = &self.directions * &curvatures.insert_axis(Axis(1));
                let own = self.directions.t().dot(&bent);
                hessian.iter_mut().zip(&own).for_each(|(entry, own)| *entry += own);
            }
        }
        (gradients + slopes.t().dot(&self.directions), hessians)
    }

    fn ridges(&self) -> usize {
        self.heights.len()
    }
}

impl ParametricPotential for FreeRidges {
    fn dim(&self) -> usize {
        self.quadratic.dim()
    }

    /// c, L, u, b, log s and o.
    fn parameters(&self) -> Vec<f64> {
        let ridges = self.directions.iter().chain(&self.knots).chain(&self.log_widths).chain(&self.heights);
        self.quadratic.parameters().chain(ridges.copied()).collect()
    }

    /// Directions turn slowly, for all ridges along them move with them.
    fn paces(&self) -> Vec<f64> {
        let (d, ridges) = (self.quadratic.dim(), self.ridges());
        let parts = [(d, 1.0), (d * d, 0.5), (self.directions.len(), 0.3), (2 * ridges, 1.0), (ridges, 0.5)];
        parts.into_iter().flat_map(|(count, pace)| std::iter::repeat_n(pace, count)).collect()
    }

    /// Heights below 0 are raised to it.
    fn with_parameters(&self, parameters: &[f64]) -> Self {
        let (own, directions) = (self.quadratic.count(), self.directions.len());
        assert_eq!(parameters.len(), own + directions + 3 * self.ridges(), "as many parameters as the potential has");
        let (directions, rest) = parameters[own..].split_at(directions);
        let matrix = |part: usize| {
            let values = rest[part * self.ridges()..(part + 1) * self.ridges()].to_vec();
            Array2::from_shape_vec(self.knots.dim(), values).expect("a number a ridge")
        };
        Self {
            quadratic: self.quadratic.with_parameters(parameters),
            directions: Array2::from_shape_vec(self.directions.dim(), directions.to_vec()).expect("as many directions"),
            knots: matrix(0),
            log_widths: matrix(1),
            heights: matrix(2).mapv(|height| height.max(0.0)),
        }
    }

    fn values(&self, x: &Points) -> Vec<f64> {
        let mut values = self.quadratic.values(x);
        let t = self.directions.dot(&x.t());
        for ((g, k), &height) in self.heights.indexed_iter() {
            if height > 0.0 {
                let width = self.log_widths[[g, k]].exp();
                let of_row = t.row(g).into_iter().map(|t| height * width * softplus((t - self.knots[[g, k]]) / width));
                values.iter_mut().zip(of_row).for_each(|(value, own)| *value += own);
            }
        }
        values
    }

    fn derivatives(&self, x: &Points) -> (Points, Points) {
        let (_, slopes, curvatures) = self.along(x);
        self.expand(x, &slopes, &curvatures)
    }

    fn pull(&self, x: &Points, loss: Loss) -> (f64, Vec<f64>) {
        let d = self.quadratic.dim();
        let (t, slopes, curvatures) = self.along(x);
        let (gradients, hessians) = self.expand(x, &slopes, &curvatures);
        let Pull { loss, gradients, hessians } = loss(&gradients, &hessians);
        let mut pulled: Vec<f64> = self.quadratic.pull(x, &gradients, &hessians).collect();
        let (mut of_directions, shape) = (Array2::zeros(self.directions.dim()), self.knots.dim());
        let (mut of_knots, mut of_widths, mut of_heights) =
            (Array2::zeros(shape), Array2::zeros(shape), Array2::zeros(shape));
        for (g, u) in self.directions.rows().into_iter().enumerate() {
            let by_slope = gradients.dot(&u);
            // H̄u, `[n, d]`.
            let mut bent = Points::zeros(x.dim());
            for (hessian, mut bent) in hessians.rows().into_iter().zip(bent.rows_mut()) {
                (0..d).for_each(|i| bent[i] = (0..d).map(|j| hessian[i * d + j] * u[j]).sum());
            }
            let by_curvature = bent.dot(&u);
            let mut along = vec![0.0; x.nrows()];
            for k in 0..shape.1 {
                let [height, knot, width] = Arch::new().dispatch(RidgePull {
                    t: t.row(g).as_slice().expect("row-major"),
                    slopes: by_slope.as_slice().expect("one after the other"),
                    curvatures: by_curvature.as_slice().expect("one after the other"),
                    along: &mut along,
                    knot: self.knots[[g, k]],
                    scale: (-self.log_widths[[g, k]]).exp(),
                    height: self.heights[[g, k]],
                });
                (of_heights[[g, k]], of_knots[[g, k]], of_widths[[g, k]]) = (height, knot, width);
            }
            let own = slopes.row(g).dot(&gradients) + curvatures.row(g).dot(&bent) * 2.0 + Array1::from(along).dot(x);
            of_directions.row_mut(g).assign(&own);
        }
        pulled.extend(of_directions.iter().chain(&of_knots).chain(&of_widths).chain(&of_heights));
        (loss, pulled)
    }

    fn mean(potentials: &[Self]) -> Self {
        let quadratics: Vec<&FreeQuadratic> = potentials.iter().map(|potential| &potential.quadratic).collect();
        let joined = |of: fn(&Self) -> &Array2<f64>| {
            let views: Vec<_> = potentials.iter().map(|potential| of(potential).view()).collect();
            ndarray::concatenate(Axis(0), &views).expect("as many knots a direction")
        };
        Self {
            quadratic: FreeQuadratic::mean(&quadratics),
            directions: joined(|potential| &potential.directions),
            knots: joined(|potential| &potential.knots),
            log_widths: joined(|potential| &potential.log_widths),
            heights: joined(|potential| &potential.heights) / potentials.len() as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::monge_ampere::parametric::tests::{check, check_mean, normals};
    use crate::monge_ampere::{Ridges, conjugate};

    fn sum(d: usize, seed: u64) -> RidgeSum {
        let mut directions = normals(2 * d, d, seed);
        directions.rows_mut().into_iter().for_each(|mut u| {
            let norm = u.dot(&u).sqrt();
            u /= norm;
        });
        let widths = normals(2 * d, 3, seed + 1).mapv(|x| 0.3 + x.abs());
        let ridges = Ridges { directions, knots: normals(2 * d, 3, seed + 2), widths, floor: 0.1 };
        let mut coefficients = ridges.identity();
        let draws = normals(1, coefficients.len(), seed + 3);
        coefficients.iter_mut().zip(&draws).for_each(|(c, draw)| *c += 0.3 * draw.abs());
        RidgeSum::new(Arc::new(ridges), coefficients).unwrap()
    }

    #[test]
    fn derivatives_and_pulls_are_those_of_the_values() {
        for d in [1, 2, 4] {
            let potential = FreeRidges::from(&sum(d, 3));
            assert!(potential.is_consistent());
            check(&potential, 40);
        }
    }

    #[test]
    fn it_starts_as_the_sum_that_it_is_made_of() {
        let (sum, x) = (sum(3, 3), normals(40, 3, 9));
        let free = FreeRidges::from(&sum);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-10;
        assert!(conjugate::value(&sum, &x).iter().zip(conjugate::value(&free, &x)).all(|(&a, b)| close(a, b)));
        let gradients = [conjugate::gradient(&sum, &x), conjugate::gradient(&free, &x)];
        assert!(gradients[0].iter().zip(&gradients[1]).all(|(&a, &b)| close(a, b)));
        let mut lowered = free.parameters();
        *lowered.last_mut().unwrap() = -1.0;
        assert_eq!(free.with_parameters(&lowered).heights.iter().last(), Some(&0.0));
    }

    #[test]
    fn it_starts_near_the_identity() {
        let x = normals(3000, 2, 4);
        let free = FreeRidges::near_identity(sum(2, 3).ridges(), 0.01, &x);
        assert!(free.is_consistent() && free.heights.iter().all(|&height| height == 0.01));
        let (y, hessians) = free.derivatives(&x);
        assert!((y - &x).mean_axis(Axis(0)).unwrap().iter().all(|off| off.abs() < 1e-10));
        let mean = hessians.mean_axis(Axis(0)).unwrap();
        assert!(mean.iter().zip([1.0, 0.0, 0.0, 1.0]).all(|(entry, one)| (entry - one).abs() < 1e-10), "{mean}");
    }

    #[test]
    fn the_mean_of_potentials_is_one() {
        check_mean(&FreeRidges::from(&sum(2, 3)), &FreeRidges::from(&sum(2, 8)));
    }
}
