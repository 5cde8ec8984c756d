//! A sum of ridges whose coefficients alone are learnt.

use std::sync::Arc;

use brenier_measure::Points;
use ndarray::Axis;
use serde::{Deserialize, Serialize};

use super::parametric::{Loss, ParametricPotential, Pull};
use super::ridge_sum::{RidgeSum, Ridges};

/// `½ε|x|² + θ·F(x)` of ridges that stay: linear in θ = (c, q, o), with q and o not negative.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub struct LinearRidges(RidgeSum);

/// The ridges and θ.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    ridges: Ridges,
    coefficients: Vec<f64>,
}

impl From<LinearRidges> for Stored {
    fn from(own: LinearRidges) -> Self {
        Self { ridges: own.0.ridges().as_ref().clone(), coefficients: own.0.coefficients().to_vec() }
    }
}

impl TryFrom<Stored> for LinearRidges {
    type Error = String;

    fn try_from(Stored { ridges, coefficients }: Stored) -> Result<Self, String> {
        if !ridges.is_consistent() {
            return Err("ridges of different sizes, or with numbers that make none".to_owned());
        }
        let sum = RidgeSum::new(Arc::new(ridges), coefficients);
        sum.map(Self).ok_or_else(|| "coefficients that are none of their ridges".to_owned())
    }
}

impl From<RidgeSum> for LinearRidges {
    fn from(sum: RidgeSum) -> Self {
        Self(sum)
    }
}

impl LinearRidges {
    /// The ridges.
    pub fn ridges(&self) -> &Ridges {
        self.0.ridges()
    }
}

impl ParametricPotential for LinearRidges {
    fn dim(&self) -> usize {
        self.ridges().dim()
    }

    fn parameters(&self) -> Vec<f64> {
        self.0.coefficients().to_vec()
    }

    fn paces(&self) -> Vec<f64> {
        vec![1.0; self.ridges().count()]
    }

    /// Curvatures and heights below 0 are raised to it.
    fn with_parameters(&self, parameters: &[f64]) -> Self {
        let free = self.ridges().free();
        let inside = parameters.iter().enumerate().map(|(j, &c)| if j < free { c } else { c.max(0.0) });
        let sum = RidgeSum::new(self.0.ridges().clone(), inside.collect());
        Self(sum.expect("finite numbers, as many as there are features"))
    }

    fn values(&self, x: &Points) -> Vec<f64> {
        self.0.value_at(x)
    }

    fn derivatives(&self, x: &Points) -> (Points, Points) {
        let (gradients, hessians, _) = self.0.expansion(x);
        (gradients, hessians)
    }

    fn pull(&self, x: &Points, loss: Loss) -> (f64, Vec<f64>) {
        let (d, ridges) = (ParametricPotential::dim(self), self.ridges());
        let (gradients, hessians) = self.derivatives(x);
        let Pull { loss, gradients, hessians } = loss(&gradients, &hessians);
        let mut pulled = gradients.sum_axis(Axis(0)).to_vec();
        let (g, k) = ridges.knots.dim();
        // Along every direction: ȳ·u and u·H̄u, `[G, n]`.
        let by_slope = ridges.directions.dot(&gradients.t());
        let squares = ndarray::Array2::from_shape_fn((g, d * d), |(g, e)| {
            ridges.directions[[g, e / d]] * ridges.directions[[g, e % d]]
        });
        let by_curvature = squares.dot(&hessians.t());
        let slopes = ridges.feature_slopes(x);
        pulled.extend((0..g).map(|g| slopes.row(g).dot(&by_slope.row(g)) + by_curvature.row(g).sum()));
        for (j, shares) in slopes.rows().into_iter().skip(g).enumerate() {
            let (g, scale) = (j / k, 1.0 / ridges.widths[[j / k, j % k]]);
            let bumps = shares.iter().zip(by_curvature.row(g)).map(|(s, bent)| scale * (s - s * s) * bent);
            pulled.push(shares.dot(&by_slope.row(g)) + bumps.sum::<f64>());
        }
        (loss, pulled)
    }

    /// # Panics
    ///
    /// With potentials of different ridges.
    fn mean(potentials: &[Self]) -> Self {
        let share = 1.0 / potentials.len() as f64;
        let mut mean = vec![0.0; potentials[0].ridges().count()];
        for potential in potentials {
            assert_eq!(potential.ridges(), potentials[0].ridges(), "potentials of the same ridges");
            mean.iter_mut().zip(potential.0.coefficients()).for_each(|(mean, c)| *mean += share * c);
        }
        potentials[0].with_parameters(&mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monge_ampere::parametric::tests::{check, check_mean, normals};

    fn potential(d: usize, seed: u64) -> LinearRidges {
        let mut directions = normals(2 * d, d, 3);
        directions.rows_mut().into_iter().for_each(|mut u| {
            let norm = u.dot(&u).sqrt();
            u /= norm;
        });
        let widths = normals(2 * d, 3, 4).mapv(|x| 0.3 + x.abs());
        let ridges = Ridges { directions, knots: normals(2 * d, 3, 5), widths, floor: 0.1 };
        let mut coefficients = ridges.identity();
        let draws = normals(1, coefficients.len(), seed);
        coefficients.iter_mut().zip(&draws).for_each(|(c, draw)| *c += 0.01 + 0.3 * draw.abs());
        RidgeSum::new(Arc::new(ridges), coefficients).unwrap().into()
    }

    #[test]
    fn derivatives_and_pulls_are_those_of_the_values() {
        for d in [1, 2, 4] {
            check(&potential(d, 6), 40);
        }
        check_mean(&potential(2, 6), &potential(2, 7));
    }
}
