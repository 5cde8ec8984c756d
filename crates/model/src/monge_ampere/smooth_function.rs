//! Functions with derivatives of every order: what a residual network is made of.

use brenier_measure::Points;
use burn::tensor::Tensor;
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

use super::hyper_dual::HyperDual;
use super::mlp::{Mlp, Numbers};
use super::potential::like;
use super::quadratic::Quadratic;
use super::ridge_sum::{RidgeSum, Ridges};
use super::ridged_quadratic::RidgedQuadratic;
use crate::activation::Activation;

/// A smooth function on Rᵈ, of any of four forms; convex or not.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmoothFunction {
    /// `½xᵀHx + g·x + c`.
    Quadratic(Quadratic),
    /// Features of ridges, with coefficients of any sign.
    Ridges(RidgeFunction),
    /// The sum of a quadratic and ridges.
    RidgedQuadratic(Quadratic, Box<RidgeFunction>),
    /// A multilayer perceptron.
    #[serde(with = "as_numbers")]
    Mlp(Mlp),
}

/// `½κ|x|² + θ·F(x) + c` of the features F of ridges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RidgeFunction {
    /// The ridges, whose floor does not count.
    pub ridges: Ridges,
    /// θ, `[p]`.
    pub coefficients: Vec<f64>,
    /// κ.
    pub curvature: f64,
    /// c.
    pub constant: f64,
}

impl From<&RidgeSum> for RidgeFunction {
    fn from(sum: &RidgeSum) -> Self {
        let ridges = sum.ridges().as_ref().clone();
        Self { constant: 0.0, curvature: ridges.floor, coefficients: sum.coefficients().to_vec(), ridges }
    }
}

impl RidgeFunction {
    /// Whether sizes agree and all numbers are finite.
    pub fn is_consistent(&self) -> bool {
        let mut numbers = self.coefficients.iter().chain([&self.curvature, &self.constant]);
        self.ridges.is_consistent()
            && self.coefficients.len() == self.ridges.count()
            && numbers.all(|number| number.is_finite())
    }

    /// h and ∇h at hyper-dual points; `[n, d] -> [n, 1], [n, d]`.
    ///
    /// With `t_g = u_g·x` it is the sum of `½κ|x|² + c·x`, `½q_g t_g²` and `o_gk s_gk softplus((t_g - b_gk)/s_gk)`; ridges without height are
    /// passed over.
    fn at(&self, x: &HyperDual) -> (HyperDual, HyperDual) {
        let Ridges { directions, knots, widths, .. } = &self.ridges;
        let (d, (g, k)) = (self.ridges.dim(), knots.dim());
        let (slopes, rest) = self.coefficients.split_at(d);
        let (curvatures, heights) = rest.split_at(g);
        let tensor = |matrix: &Array2<f64>| {
            let values: Vec<f64> = matrix.iter().copied().collect();
            like(&values, [matrix.nrows(), matrix.ncols()], &x.real_part())
        };
        let row = |values: &[f64]| like(values, [1, values.len()], &x.real_part());
        let u = tensor(directions);
        let along = x.matmul(u.clone().transpose());
        let bent = along.times(row(curvatures));
        let affine = x.scale(self.curvature).plus(row(slopes));
        let mut gradient = affine.add(&bent.matmul(u));
        let halves = affine.plus(row(slopes)).mul(x).sum_columns().add(&bent.mul(&along).sum_columns());
        let constant = x.real_part().narrow(1, 0, 1).full_like(self.constant);
        let mut value = halves.scale(0.5).plus(constant);
        let raised: Vec<usize> = (0..g * k).filter(|&j| heights[j] != 0.0).collect();
        if !raised.is_empty() {
            let at = |matrix: &Array2<f64>| -> Vec<f64> { raised.iter().map(|&j| matrix[[j / k, j % k]]).collect() };
            let (b, s) = (at(knots), at(widths));
            let own = Points::from_shape_fn((raised.len(), d), |(j, i)| directions[[raised[j] / k, i]]);
            let scaled = Points::from_shape_fn((d, raised.len()), |(i, j)| own[[j, i]] / s[j]);
            let shift: Vec<f64> = b.iter().zip(&s).map(|(b, s)| -b / s).collect();
            let z = x.matmul(tensor(&scaled)).plus(row(&shift));
            let (softplus, sigmoid) = z.apply_with_derivative(Activation::Softplus);
            let o: Vec<f64> = raised.iter().map(|&j| heights[j]).collect();
            let os: Vec<f64> = o.iter().zip(&s).map(|(o, s)| o * s).collect();
            value = value.add(&softplus.times(row(&os)).sum_columns());
            gradient = gradient.add(&sigmoid.times(row(&o)).matmul(tensor(&own)));
        }
        (value, gradient)
    }
}

impl SmoothFunction {
    /// `½xᵀQx + c·x` with ridges, of the coefficients (c, Q, o) of a [`RidgedQuadratic`], which may have any sign here.
    ///
    /// # Panics
    ///
    /// With another number of coefficients.
    pub fn of_coefficients(ridges: &Ridges, coefficients: &[f64]) -> Self {
        assert_eq!(coefficients.len(), RidgedQuadratic::count(ridges), "c, Q and o");
        let d = ridges.dim();
        let quadratic =
            Quadratic::new(RidgedQuadratic::matrix(d, coefficients), Array1::from(coefficients[..d].to_vec()), 0.0);
        let mut heights = vec![0.0; ridges.count() - ridges.knots.len()];
        heights.extend(&coefficients[RidgedQuadratic::free(ridges)..]);
        if heights.iter().all(|&height| height == 0.0) {
            return Self::Quadratic(quadratic);
        }
        let ridges = RidgeFunction { ridges: ridges.clone(), coefficients: heights, curvature: 0.0, constant: 0.0 };
        Self::RidgedQuadratic(quadratic, Box::new(ridges))
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        match self {
            Self::Quadratic(form) | Self::RidgedQuadratic(form, _) => form.dim(),
            Self::Ridges(form) => form.ridges.dim(),
            Self::Mlp(form) => form.dim(),
        }
    }

    /// Whether its numbers make a function.
    pub fn is_consistent(&self) -> bool {
        match self {
            Self::Quadratic(form) => form.is_consistent(),
            Self::Ridges(form) => form.is_consistent(),
            Self::RidgedQuadratic(quadratic, ridges) => {
                quadratic.is_consistent() && ridges.is_consistent() && ridges.ridges.dim() == quadratic.dim()
            }
            Self::Mlp(form) => form.outputs() == 1 && form.is_finite(),
        }
    }

    /// `h(x)`; `[n, d] -> [n]`.
    pub fn value(&self, x: Tensor<2>) -> Tensor<1> {
        self.value_at(&HyperDual::real(x)).real_part().squeeze_dim::<1>(1)
    }

    /// `∇h(x)`; `[n, d] -> [n, d]`.
    pub fn gradient(&self, x: Tensor<2>) -> Tensor<2> {
        self.gradient_at(&HyperDual::real(x)).real_part()
    }

    /// `[n, d] -> [n, 1]`.
    pub(super) fn value_at(&self, x: &HyperDual) -> HyperDual {
        match self {
            Self::Quadratic(form) => form.value_at(x),
            Self::Ridges(form) => form.at(x).0,
            Self::RidgedQuadratic(quadratic, ridges) => quadratic.value_at(x).add(&ridges.at(x).0),
            Self::Mlp(form) => form.at(x).0,
        }
    }

    /// `[n, d] -> [n, d]`.
    pub(super) fn gradient_at(&self, x: &HyperDual) -> HyperDual {
        match self {
            Self::Quadratic(form) => form.gradient_at(x),
            Self::Ridges(form) => form.at(x).1,
            Self::RidgedQuadratic(quadratic, ridges) => quadratic.gradient_at(x).add(&ridges.at(x).1),
            Self::Mlp(form) => form.at(x).1,
        }
    }
}

/// A perceptron as its numbers.
pub(super) mod as_numbers {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Mlp, Numbers};

    pub fn serialize<S: Serializer>(mlp: &Mlp, serializer: S) -> Result<S::Ok, S::Error> {
        Numbers::from(mlp.clone()).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mlp, D::Error> {
        Mlp::try_from(Numbers::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
