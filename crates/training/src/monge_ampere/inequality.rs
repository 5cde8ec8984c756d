//! The evolution variational inequality of the flow, and the bounds that follow from it.
//!
//! # Design
//!
//! For `ρ_k = (∇ψ_k)_# e^{-g}`, one step `ψ_{k+1} = ψ_k - η_k h_k∘∇ψ_k` and any density π,
//!
//! ```text
//! KL(ρ_k | e^{-f}) - KL(π | e^{-f}) ≤ (B_g(π|ρ_k) - B_g(π|ρ_{k+1}))/η_k + (η_k/2m_{k+1}) ∫|ξ_k|² dπ_k - KL(π | ρ_k)
//! B_g(π|ρ_k) = E_g ψ_k + E_π ψ_k* - E_g y·∇ψ_π(y)
//! ```
//!
//! where ∇ψ_π is the Brenier map from e^{-g} to π, `ξ_k(y) = ∇²ψ_k(y) ∇h_k(∇ψ_k(y))`, `π_k = (∇ψ_k*)_# π` and
//! `m_{k+1} = inf λ_min(∇²ψ_{k+1})`. B_g is the duality gap of ψ_k for the transport from e^{-g} to π; only its differences enter, so that ∇ψ_π
//! need not be known. Against the target itself the left side is `KL(ρ_k | e^{-f})`, the regret of a stage.
//!
//! A learnt h is not `log(ρ_k/e^{-f})`. With `E_ρ h - E_π h` in the place of the three divergences the inequality holds for any h, and over any
//! points, as long as all sides take the same ones: what is left over tells of the step alone ([`Inequality::excess`]).
//!
//! Deb and Liang (2504.09279), the evolution variational inequality and the theorems on rates; the form of B_g is derived.

use brenier_measure::linear_algebra::symmetric_eigen;
use brenier_measure::{Estimate, Gaussian, GaussianMixture, Measure, Points, to_points, to_tensor};
use brenier_model::monge_ampere::{Preimages, PrimalMap, Quadratic, SmoothFunction, conjugate};
use brenier_transport::{Cloud, Cost, exact};
use burn::tensor::{DType, Device, Tensor};
use ndarray::{Array1, Array2, Axis, s};
use serde::{Deserialize, Serialize};

use super::expectation::Weighted;
use crate::method::Scalars;

/// What is known of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inequality {
    /// η_k.
    pub step_size: f64,
    /// `KL(ρ_k | e^{-f})`; by h_k where the density of the target is not known.
    pub kl: Estimate,
    /// `KL(π | e^{-f})`, 0 where π is the target.
    pub comparison_kl: f64,
    /// `KL(π | ρ_k)`; likewise.
    pub reverse_kl: Estimate,
    /// `B_g(π|ρ_k) - B_g(π|ρ_{k+1})`.
    pub fall: f64,
    /// `∫|ξ_k|² dπ_k`.
    pub force: f64,
    /// m_{k+1}, over the points at hand: above the infimum over all of space.
    pub least_curvature: f64,
    /// Left less right side of the inequality that h keeps: not above 0 in primal coordinates, and O(η) in dual ones.
    pub excess: f64,
}

impl Inequality {
    /// `KL(ρ_k | e^{-f}) - KL(π | e^{-f})`.
    pub fn left(&self) -> f64 {
        self.kl.value - self.comparison_kl
    }

    /// `(B_g(π|ρ_k) - B_g(π|ρ_{k+1}))/η_k + (η_k/2m_{k+1}) ∫|ξ_k|² dπ_k - KL(π | ρ_k)`.
    pub fn right(&self) -> f64 {
        self.fall / self.step_size + self.price() - self.reverse_kl.value
    }

    /// What `E_ρ h - E_π h` lacks of the divergences; 0 where h is the log-ratio, and where the divergences are known by h alone.
    pub fn discriminator_error(&self) -> f64 {
        self.left() - self.right() - self.excess
    }

    /// `(η_k/2m_{k+1}) ∫|ξ_k|² dπ_k`.
    pub fn price(&self) -> f64 {
        self.step_size * self.force / (2.0 * self.least_curvature)
    }
}

/// The densities of target and comparison measure.
#[derive(Clone, Copy)]
pub struct Laws<'a> {
    /// `e^{-f}`.
    pub target: &'a GaussianMixture,
    /// π.
    pub comparison: &'a GaussianMixture,
}

/// A step whose inequality is asked for.
pub struct Step<'a> {
    /// ψ_k.
    pub before: &'a PrimalMap,
    /// ψ_{k+1}.
    pub after: &'a PrimalMap,
    /// h_k.
    pub discriminator: &'a SmoothFunction,
    /// η_k.
    pub step_size: f64,
    /// m_{k+1}.
    pub least_curvature: f64,
}

impl Step<'_> {
    /// Both sides over points of the reference and of π, with the densities where they are known; else π is the target, and h stands for its
    /// log-ratio. `None` where a conjugate or a density is not there.
    pub fn inequality(&self, y: &Weighted, x: &Weighted, laws: Option<Laws>) -> Option<Inequality> {
        let before = self.before.potential();
        let images = conjugate::gradient(before, &y.points);
        let [of_sampler, of_data] =
            [&images, &x.points].map(|points| numbers(self.discriminator.value(tensor(points))));
        let reference_falls =
            difference(&conjugate::value(before, &y.points), &conjugate::value(self.after.potential(), &y.points));
        let (at, falls) = conjugate_falls(self.before, self.after, &x.points)?;
        let slopes = self.discriminator.gradient(tensor(&x.points));
        let forces = to_points(before.hessian_vector(tensor(&at), slopes));
        let forces: Vec<f64> = forces.rows().into_iter().map(|row| row.dot(&row)).collect();
        let (kl, reverse_kl, comparison): (Vec<f64>, Vec<f64>, Vec<f64>) = match laws {
            Some(Laws { target, comparison }) => {
                let own = log_density(comparison, &x.points);
                (
                    difference(&self.before.log_density_above(&y.points), &log_density(target, &images)),
                    difference(&own, &self.before.log_density_above(&at)),
                    difference(&own, &log_density(target, &x.points)),
                )
            }
            None => (of_sampler.clone(), of_data.iter().map(|h| -h).collect(), vec![0.0; of_data.len()]),
        };
        if kl.iter().chain(&reverse_kl).any(|ratio| !ratio.is_finite()) {
            return None;
        }
        let fall = y.mean(&reference_falls).value + x.mean(&falls).value;
        let force = x.mean(&forces).value;
        let told_apart = y.mean(&of_sampler).value - x.mean(&of_data).value;
        let price = self.step_size * force / (2.0 * self.least_curvature);
        Some(Inequality {
            step_size: self.step_size,
            kl: y.mean(&kl),
            comparison_kl: x.mean(&comparison).value,
            reverse_kl: x.mean(&reverse_kl),
            fall,
            force,
            least_curvature: self.least_curvature,
            excess: told_apart - fall / self.step_size - price,
        })
    }
}

/// `B_g(π|ρ) - B_g(π|ρ')` between two potentials; `None` where a conjugate is not found.
pub fn fall(before: &PrimalMap, after: &PrimalMap, y: &Weighted, x: &Weighted) -> Option<f64> {
    let [psi, next] = [before, after].map(|map| conjugate::value(map.potential(), &y.points));
    Some(y.mean(&difference(&psi, &next)).value + x.mean(&conjugate_falls(before, after, &x.points)?.1).value)
}

/// `∇ψ*(x)` of the first of two potentials, and `ψ*(x) - ψ'*(x)`, `ψ*(x) = x·y - ψ(y)` at `y = ∇ψ*(x)`.
fn conjugate_falls(before: &PrimalMap, after: &PrimalMap, x: &Points) -> Option<(Points, Vec<f64>)> {
    let found = |preimages: Preimages| preimages.failures.is_empty().then_some(preimages.points);
    let at = found(before.conjugate().gradient(x))?;
    let next = found(after.conjugate().gradient_from(x, &at))?;
    let conjugate_of = |map: &PrimalMap, y: &Points| -> Vec<f64> {
        let products = (x * y).sum_axis(Axis(1));
        products.iter().zip(conjugate::value(map.potential(), y)).map(|(xy, psi)| xy - psi).collect()
    };
    let falls = difference(&conjugate_of(before, &at), &conjugate_of(after, &next));
    Some((at, falls))
}

/// The log-density of a law, `[n]`.
pub fn log_density(law: &GaussianMixture, points: &Points) -> Vec<f64> {
    numbers(law.log_density(tensor(points)))
}

pub(super) fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// The numbers of a flow so far: regret, its mean, and the bound on it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regret {
    /// `KL(ρ_k | e^{-f})` of every stage.
    divergences: Vec<f64>,
    /// `Σ_k ((B_k (1/η_k - 1/η_{k-1}) - KL(π|ρ_k))₊ + (η_k/2m_{k+1}) ∫|ξ_k|² dπ_k + ε_k₊)`, ε_k the error of the discriminator, while it is
    /// known.
    bound: Option<f64>,
    /// `B_g(π|ρ_k)`, while it is known.
    gap: Option<f64>,
    /// `1/η_{k-1}`, 0 at first.
    inverse_step: f64,
}

impl Regret {
    /// That of a flow which begins, with `B_g(π|ρ_0)`.
    pub fn new(gap: Option<f64>) -> Self {
        Self { divergences: Vec::new(), bound: gap.map(|_| 0.0), gap, inverse_step: 0.0 }
    }

    /// Takes a stage; one whose inequality is not known ends the bound.
    pub fn push(&mut self, stage: Option<&Inequality>) {
        let Some(stage) = stage else {
            (self.bound, self.gap) = (None, None);
            return;
        };
        self.divergences.push(stage.kl.value);
        let inverse_step = 1.0 / stage.step_size;
        if let (Some(bound), Some(gap)) = (&mut self.bound, &mut self.gap) {
            // A sum over k by parts: what is left of B_T is dropped.
            let from_gap = *gap * (inverse_step - self.inverse_step) - stage.reverse_kl.value;
            *bound += from_gap.max(0.0) + stage.price() + stage.discriminator_error().max(0.0);
            *gap -= stage.fall;
        }
        if self.bound.iter().chain(&self.gap).chain([&inverse_step]).any(|number| !number.is_finite()) {
            (self.bound, self.gap) = (None, None);
        }
        self.inverse_step = if inverse_step.is_finite() { inverse_step } else { 0.0 };
    }

    /// Takes a stage, and says what is known of it and of all so far: `is_exact` where the divergences are no estimates, `by_density` where
    /// they are by the density of the target and not by h.
    pub fn told(&mut self, stage: Option<&Inequality>, is_exact: bool, by_density: bool) -> Scalars {
        self.push(stage);
        let Some(stage) = stage else { return Scalars::new() };
        let name = |exact: &'static str, estimate: &'static str| if is_exact { exact } else { estimate };
        let all = [
            (name("kl_before", "kl_before_estimate"), Some(stage.kl.value)),
            (name("reverse_kl_before", "reverse_kl_before_estimate"), Some(stage.reverse_kl.value)),
            (name("inequality_left", "inequality_left_estimate"), Some(stage.left())),
            (name("inequality_right", "inequality_right_estimate"), Some(stage.right())),
            ("inequality_excess", Some(stage.excess)),
            ("kl_before_se", (!is_exact && by_density).then_some(stage.kl.std_error)),
            ("reverse_kl_before_se", (!is_exact && by_density).then_some(stage.reverse_kl.std_error)),
            ("discriminator_error", by_density.then(|| stage.discriminator_error())),
            (name("regret", "regret_estimate"), Some(self.sum())),
            (name("kl_mean", "kl_mean_estimate"), self.mean()),
            (name("kl_tail_mean", "kl_tail_mean_estimate"), self.tail_mean()),
            (name("kl_mean_bound", "kl_mean_bound_estimate"), self.mean_bound()),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Takes what another potential in the place of the last changes in `B_g`.
    pub fn shift_gap(&mut self, by: f64) {
        self.gap = self.gap.map(|gap| gap + by);
    }

    /// `B_g(π|ρ_k)` of the law as it stands.
    pub fn gap(&self) -> Option<f64> {
        self.gap
    }

    /// The sum of the divergences.
    pub fn sum(&self) -> f64 {
        self.divergences.iter().sum()
    }

    /// The mean divergence of all stages: at least that of the mean of the laws.
    pub fn mean(&self) -> Option<f64> {
        mean(&self.divergences)
    }

    /// The mean over the later half.
    pub fn tail_mean(&self) -> Option<f64> {
        mean(&self.divergences[self.divergences.len() / 2..])
    }

    /// What the theorem says of the mean, with what the discriminators lack.
    pub fn mean_bound(&self) -> Option<f64> {
        self.bound.filter(|_| !self.divergences.is_empty()).map(|bound| bound / self.divergences.len() as f64)
    }
}

/// `B_g(π | e^{-g}) = ½W₂²` of a flow that begins with the identity, by the exact transport of points of reference and π: biased upwards.
pub fn identity_gap(y: &Points, x: &Points) -> Option<f64> {
    let count = y.nrows().min(x.nrows()).min(ASSIGNED);
    let [from, to] = [y, x].map(|points| points.slice(s![..count, ..]).as_standard_layout().to_owned());
    let d = from.ncols();
    let [from, to] = [&from, &to].map(|points| Cloud::new(points.as_slice().expect("in standard layout"), d));
    let transport = exact::optimal_transport(from.ok()?, to.ok()?, Cost::SquaredDistance).ok()?;
    Some(0.5 * transport.cost)
}

/// The most points on each side of an exact transport.
const ASSIGNED: usize = 2000;

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn tensor(points: &Points) -> Tensor<2> {
    to_tensor(points, DType::F64, &Device::flex())
}

fn numbers(values: Tensor<1>) -> Vec<f64> {
    values.into_data().convert::<f64>().try_to_vec().expect("f64 after conversion")
}

/// `B_g(π | ρ) = ½tr(D A⁻¹ D) + ½(p - b)ᵀA⁻¹(p - b)`, `D = P^{1/2} - A`, for `ρ = (Ay + b)_# N(0, I)` and `π = N(p, P)`; `None` where A or P is
/// not positive definite.
///
/// ψ has the gradient Ay + b. Derived.
pub fn gaussian_gap(psi: &Quadratic, comparison: &Gaussian) -> Option<f64> {
    let inverse = psi.conjugate()?.matrix;
    let difference = root(comparison.covariance())? - &psi.matrix;
    let apart = &Array1::from(comparison.mean().to_vec()) - &psi.slope;
    let spread = difference.dot(&inverse).dot(&difference).diag().sum();
    Some(0.5 * (spread + apart.dot(&inverse.dot(&apart))))
}

/// The symmetric root of a positive definite matrix.
fn root(matrix: &Array2<f64>) -> Option<Array2<f64>> {
    let spectrum = symmetric_eigen(matrix)?;
    let vectors = spectrum.vectors.unwrap_or_else(|| Array2::eye(matrix.nrows()));
    let roots = Array1::from_iter(spectrum.values.iter().map(|value| value.sqrt()));
    roots.iter().all(|root| *root > 0.0).then(|| (&vectors * &roots).dot(&vectors.t()))
}
