//! Smoothed maxima of affine pieces on a quadratic: semi-discrete transport, made smooth.
//!
//! # Design
//!
//! ```text
//! φ(x) = ½|Lx|² + ½ε|x|² + c·x + Σ_l τ_l log Σ_j exp((A_lj·x + b_lj)/τ_l)
//! ∇φ   = (LᵀL + εI)x + c + Σ_l Σ_j p_lj A_lj,                      p_l = softmax((A_l x + b_l)/τ_l)
//! ∇²φ  = LᵀL + εI + Σ_l τ_l⁻¹ (Σ_j p_lj A_lj A_ljᵀ - m_l m_lᵀ),     m_l = Σ_j p_lj A_lj
//! ```
//!
//! is convex for all of its parameters (L, c, A, b, log τ). As τ → 0 it is a maximum of affine functions, whose gradient takes the values A: the
//! potential of transport to the points A, with the duals b. Several groups, at several temperatures, add up.
//!
//! Moments of all pieces are one matrix product of the weights p with the entries of A and A Aᵀ, and so is everything that a loss says of them.

use brenier_measure::Points;
use brenier_measure::elementary::exp_of_negative;
use ndarray::{Array1, Array2, Axis, concatenate, s};
use pulp::{Arch, NullaryFnOnce};
use serde::{Deserialize, Serialize};

use super::free_quadratic::FreeQuadratic;
use super::parametric::{Loss, ParametricPotential, Pull};
use super::ridged_quadratic::entries;

/// Affine pieces with one temperature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pieces {
    /// A, `[m, d]`.
    pub slopes: Array2<f64>,
    /// b, `[m]`.
    pub offsets: Array1<f64>,
    /// log τ.
    pub log_temperature: f64,
}

impl Pieces {
    fn temperature(&self) -> f64 {
        self.log_temperature.exp()
    }

    fn count(&self) -> usize {
        self.offsets.len() + self.slopes.len() + 1
    }

    /// The entries of A and of the upper half of A Aᵀ, `[m, d + d(d + 1)/2]`.
    fn features(&self) -> Array2<f64> {
        let d = self.slopes.ncols();
        let mut squares = Array2::zeros((self.slopes.nrows(), d * (d + 1) / 2));
        for (a, mut row) in self.slopes.rows().into_iter().zip(squares.rows_mut()) {
            entries(d).zip(row.iter_mut()).for_each(|((i, j), square)| *square = a[i] * a[j]);
        }
        concatenate![Axis(1), self.slopes, squares]
    }

    /// p, `[n, m]`, and `τ log Σ exp`, `[n]`.
    fn weights(&self, x: &Points) -> (Array2<f64>, Vec<f64>) {
        let mut weights = x.dot(&self.slopes.t()).as_standard_layout().into_owned();
        let temperature = self.temperature();
        let offsets = self.offsets.as_slice().expect("one after the other");
        let values = weights
            .rows_mut()
            .into_iter()
            .map(|mut row| {
                let row = row.as_slice_mut().expect("row-major");
                Arch::new().dispatch(Softmax { row, offsets, temperature })
            })
            .collect();
        (weights, values)
    }
}

/// Turns `A x` into `softmax((A x + b)/τ)`; the log-sum-exp times τ.
struct Softmax<'a> {
    row: &'a mut [f64],
    offsets: &'a [f64],
    temperature: f64,
}

/// Numbers that are summed beside each other.
const LANES: usize = 16;

impl NullaryFnOnce for Softmax<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let scale = 1.0 / self.temperature;
        for (u, b) in self.row.iter_mut().zip(self.offsets) {
            *u = (*u + b) * scale;
        }
        let largest = lanes(self.row, f64::NEG_INFINITY, |a, b| if b > a { b } else { a });
        for u in self.row.iter_mut() {
            *u = exp_of_negative(*u - largest);
        }
        let sum = lanes(self.row, 0.0, |a, b| a + b);
        let share = 1.0 / sum;
        for u in self.row.iter_mut() {
            *u *= share;
        }
        self.temperature * (largest + sum.ln())
    }
}

/// A fold in lanes, which the compiler may vectorise.
#[inline(always)]
fn lanes(values: &[f64], start: f64, fold: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [start; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = fold(*lane, value);
        }
    }
    rest.iter().chain(&lanes).fold(start, |a, &b| fold(a, b))
}

/// Turns what a loss says of every p into what it says of every `(A x + b)/τ`: `p (r - Σ p r)`, in place of r.
struct Centre<'a> {
    weights: &'a [f64],
    pulls: &'a mut [f64],
}

impl NullaryFnOnce for Centre<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (r, p) in self.pulls.iter_mut().zip(self.weights) {
            *r *= p;
        }
        let mean = lanes(self.pulls, 0.0, |a, b| a + b);
        for (r, p) in self.pulls.iter_mut().zip(self.weights) {
            *r -= mean * p;
        }
    }
}

/// A log-sum-exp potential.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSumExp {
    /// What stays outside of all pieces.
    pub quadratic: FreeQuadratic,
    /// The groups of pieces.
    pub groups: Vec<Pieces>,
}

/// What is kept of a group between the derivatives and their pull.
struct Kept {
    features: Array2<f64>,
    weights: Array2<f64>,
    /// The moments Σ p A and Σ p A Aᵀ, `[n, d + d(d + 1)/2]`.
    moments: Array2<f64>,
}

impl LogSumExp {
    /// Whether sizes agree, all numbers are finite, and the floor is positive.
    pub fn is_consistent(&self) -> bool {
        let d = self.quadratic.dim();
        let of_group = |pieces: &Pieces| {
            let mut numbers = pieces.slopes.iter().chain(&pieces.offsets).chain([&pieces.log_temperature]);
            pieces.slopes.dim() == (pieces.offsets.len(), d)
                && !pieces.offsets.is_empty()
                && numbers.all(|x| x.is_finite())
        };
        self.quadratic.is_consistent() && self.groups.iter().all(of_group)
    }

    fn expand(&self, x: &Points) -> (Points, Points, Vec<Kept>) {
        let d = self.quadratic.dim();
        let (mut gradients, mut hessians) = self.quadratic.derivatives(x);
        let mut kept = Vec::with_capacity(self.groups.len());
        for pieces in &self.groups {
            let (features, (weights, _)) = (pieces.features(), pieces.weights(x));
            let moments = weights.dot(&features);
            let scale = 1.0 / pieces.temperature();
            for ((moments, mut gradient), mut hessian) in
                moments.rows().into_iter().zip(gradients.rows_mut()).zip(hessians.rows_mut())
            {
                (0..d).for_each(|i| gradient[i] += moments[i]);
                for ((i, j), square) in entries(d).zip(moments.iter().skip(d)) {
                    let entry = scale * (square - moments[i] * moments[j]);
                    hessian[i * d + j] += entry;
                    if i != j {
                        hessian[j * d + i] += entry;
                    }
                }
            }
            kept.push(Kept { features, weights, moments });
        }
        (gradients, hessians, kept)
    }
}

impl ParametricPotential for LogSumExp {
    fn dim(&self) -> usize {
        self.quadratic.dim()
    }

    /// c, L, and of every group A, b and log τ.
    fn parameters(&self) -> Vec<f64> {
        let of_group = |pieces: &Pieces| -> Vec<f64> {
            pieces.slopes.iter().chain(&pieces.offsets).chain([&pieces.log_temperature]).copied().collect()
        };
        self.quadratic.parameters().chain(self.groups.iter().flat_map(of_group)).collect()
    }

    fn paces(&self) -> Vec<f64> {
        vec![1.0; self.quadratic.count() + self.groups.iter().map(Pieces::count).sum::<usize>()]
    }

    fn with_parameters(&self, parameters: &[f64]) -> Self {
        let mut rest = &parameters[self.quadratic.count()..];
        let mut groups = Vec::with_capacity(self.groups.len());
        for pieces in &self.groups {
            let (own, others) = rest.split_at(pieces.count());
            let (slopes, own) = own.split_at(pieces.slopes.len());
            let (offsets, log_temperature) = own.split_at(pieces.offsets.len());
            groups.push(Pieces {
                slopes: Array2::from_shape_vec(pieces.slopes.dim(), slopes.to_vec()).expect("as many slopes"),
                offsets: Array1::from(offsets.to_vec()),
                log_temperature: log_temperature[0],
            });
            rest = others;
        }
        assert!(rest.is_empty(), "as many parameters as the potential has");
        Self { quadratic: self.quadratic.with_parameters(parameters), groups }
    }

    fn values(&self, x: &Points) -> Vec<f64> {
        let mut values = self.quadratic.values(x);
        for pieces in &self.groups {
            values.iter_mut().zip(pieces.weights(x).1).for_each(|(value, own)| *value += own);
        }
        values
    }

    fn derivatives(&self, x: &Points) -> (Points, Points) {
        let (gradients, hessians, _) = self.expand(x);
        (gradients, hessians)
    }

    /// With `r_j = ȳ·A_j + τ⁻¹(A_j·H̄A_j - 2 m·H̄A_j)`, ȳ and H̄ the pulls of y and H: p_j is pulled by r_j, and A_j directly by
    /// `p_j(ȳ + 2τ⁻¹H̄(A_j - m))`.
    fn pull(&self, x: &Points, loss: Loss) -> (f64, Vec<f64>) {
        let (n, d) = x.dim();
        let (gradients, hessians, kept) = self.expand(x);
        let Pull { loss, gradients, hessians } = loss(&gradients, &hessians);
        let mut pulled: Vec<f64> = self.quadratic.pull(x, &gradients, &hessians).collect();
        let places: Vec<(usize, usize)> = entries(d).collect();
        let with_ones = concatenate![Axis(1), *x, Array2::ones((n, 1))];
        for (pieces, Kept { features, weights, moments }) in self.groups.iter().zip(kept) {
            let temperature = pieces.temperature();
            let scale = 1.0 / temperature;
            // ȳ - 2τ⁻¹H̄m, and τ⁻¹H̄ with the entries off the diagonal twice: what multiplies the features of a piece in its r.
            let mut coefficients = Array2::zeros((n, features.ncols()));
            let mut of_temperature = 0.0;
            for i in 0..n {
                let (moments, hessian, mut row) = (moments.row(i), hessians.row(i), coefficients.row_mut(i));
                for a in 0..d {
                    let bent: f64 = (0..d).map(|b| hessian[a * d + b] * moments[b]).sum();
                    row[a] = gradients[[i, a]] - 2.0 * scale * bent;
                }
                for (k, &(a, b)) in places.iter().enumerate() {
                    let entry = scale * hessian[a * d + b] * if a == b { 1.0 } else { 2.0 };
                    row[d + k] = entry;
                    of_temperature -= entry * (moments[d + k] - moments[a] * moments[b]);
                }
            }
            let mut pulls = coefficients.dot(&features.t()).as_standard_layout().into_owned();
            for (weights, mut pulls) in weights.rows().into_iter().zip(pulls.rows_mut()) {
                Arch::new().dispatch(Centre {
                    weights: weights.as_slice().expect("row-major"),
                    pulls: pulls.as_slice_mut().expect("row-major"),
                });
            }
            // By (A x + b)/τ, `[m, d + 1]`; and directly, `[m, d + d(d + 1)/2]`.
            let through = pulls.t().dot(&with_ones) * scale;
            let direct = weights.t().dot(&coefficients);
            let mut slopes = through.slice(s![.., ..d]).to_owned() + direct.slice(s![.., ..d]);
            for ((a, direct), mut slope) in pieces.slopes.rows().into_iter().zip(direct.rows()).zip(slopes.rows_mut()) {
                for (k, &(i, j)) in places.iter().enumerate() {
                    slope[i] += direct[d + k] * a[j];
                    slope[j] += direct[d + k] * a[i];
                }
            }
            let along = (&through.slice(s![.., ..d]) * &pieces.slopes).sum() + through.column(d).dot(&pieces.offsets);
            pulled.extend(slopes.iter().chain(through.column(d)));
            pulled.push(of_temperature - along);
        }
        (loss, pulled)
    }

    fn mean(potentials: &[Self]) -> Self {
        let count = potentials.len() as f64;
        let quadratics: Vec<&FreeQuadratic> = potentials.iter().map(|potential| &potential.quadratic).collect();
        let share = |pieces: &Pieces| Pieces {
            slopes: &pieces.slopes / count,
            offsets: &pieces.offsets / count,
            log_temperature: pieces.log_temperature - count.ln(),
        };
        let groups = potentials.iter().flat_map(|potential| potential.groups.iter().map(share)).collect();
        Self { quadratic: FreeQuadratic::mean(&quadratics), groups }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monge_ampere::parametric::tests::{check, check_mean, normals};

    fn potential(d: usize, groups: usize, seed: u64) -> LogSumExp {
        let group = |l: usize| Pieces {
            slopes: normals(21 + l, d, seed + 10 * l as u64),
            offsets: normals(21 + l, 1, seed + 10 * l as u64 + 1).column(0).mapv(|b| 0.3 * b),
            log_temperature: (0.3 + 0.2 * l as f64).ln(),
        };
        let quadratic = FreeQuadratic {
            factor: normals(d, d, seed + 2).mapv(|l| 0.5 * l),
            slope: normals(d, 1, seed + 3).column(0).to_owned(),
            floor: 0.1,
        };
        LogSumExp { quadratic, groups: (0..groups).map(group).collect() }
    }

    #[test]
    fn derivatives_and_pulls_are_those_of_the_values() {
        for (d, groups) in [(1, 1), (2, 2), (4, 1)] {
            let potential = potential(d, groups, 3);
            assert!(potential.is_consistent());
            check(&potential, 40);
        }
    }

    #[test]
    fn the_mean_of_potentials_is_one() {
        check_mean(&potential(2, 2, 3), &potential(2, 1, 9));
    }

    #[test]
    fn pieces_without_temperature_are_their_largest() {
        let mut cold = potential(2, 1, 3);
        cold.groups[0].log_temperature = 1e-6f64.ln();
        let x = normals(50, 2, 8);
        let pieces = &cold.groups[0];
        let (weights, values) = pieces.weights(&x);
        let affine = x.dot(&pieces.slopes.t()) + &pieces.offsets;
        for (i, value) in values.into_iter().enumerate() {
            let largest = affine.row(i).fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            assert!((value - largest).abs() < 1e-4 && (weights.row(i).sum() - 1.0).abs() < 1e-12);
        }
        cold.groups[0].offsets[3] = f64::NAN;
        assert!(!cold.is_consistent());
    }
}
