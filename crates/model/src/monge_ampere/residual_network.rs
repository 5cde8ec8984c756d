//! The residual Monge-Ampère network ψ_{k+1} = ψ_k - η_k h_k∘∇ψ_k, evaluated exactly.
//!
//! # Design
//!
//! With `x_k = ∇ψ_k(y)` and `J_k = ∇²ψ_k(y)` a stage moves points by `x_{k+1} = x_k - η_k J_k∇h_k(x_k)`: a composition of stages with the
//! fields `m_k = ∇h_k`.
//!
//! Deb and Liang (2504.09279), the mirror step and Algorithm 1.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::composition::{Field, LARGEST_JACOBIAN, LARGEST_STACK, StackTooHigh, path};
use super::hyper_dual::{HyperDual, along_axes};
use super::potential::ConvexPotential;
use super::quadratic::Quadratic;
use super::smooth_function::SmoothFunction;

/// A base potential ψ₀ and stages `(η_k, h_k)` on it: a function of points y of the reference.
///
/// It is a potential as long as it is convex, which no form here guarantees: a log determinant is NaN where it is not.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidualNetwork {
    base: SmoothFunction,
    stages: Vec<Stage>,
}

/// `-η h∘∇ψ`, which is added to ψ.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// η.
    pub step_size: f64,
    /// h.
    pub function: SmoothFunction,
}

impl ResidualNetwork {
    /// `ψ = ψ₀`, no stages yet.
    pub fn new(base: SmoothFunction) -> Self {
        Self { base, stages: Vec::new() }
    }

    /// `ψ - η h∘∇ψ`.
    ///
    /// # Errors
    ///
    /// More than [`LARGEST_STACK`] stages.
    pub fn with_stage(&self, step_size: f64, function: SmoothFunction) -> Result<Self, StackTooHigh> {
        let mut stages = self.stages.clone();
        stages.push(Stage { step_size, function });
        if stages.len() > LARGEST_STACK {
            return Err(StackTooHigh { stages: stages.len() });
        }
        Ok(Self { base: self.base.clone(), stages })
    }

    /// The stages, first one first.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Whether all functions have one dimension and numbers that are finite.
    pub fn is_consistent(&self) -> bool {
        let functions = || std::iter::once(&self.base).chain(self.stages.iter().map(|stage| &stage.function));
        self.stages.len() <= LARGEST_STACK
            && functions().all(|function| function.dim() == self.base.dim() && function.is_consistent())
            && self.stages.iter().all(|stage| stage.step_size.is_finite())
    }

    /// The one quadratic that it is, where base and stages are quadratics.
    pub fn as_quadratic(&self) -> Option<Quadratic> {
        let form = |function: &SmoothFunction| match function {
            SmoothFunction::Quadratic(form) => Some(form.clone()),
            _ => None,
        };
        self.stages.iter().try_fold(form(&self.base)?, |psi, stage| {
            Some(psi.plus(&form(&stage.function)?.after_gradient_of(&psi), -stage.step_size))
        })
    }

    /// `x_0, …, x_k` above y, after the first k stages.
    fn path(&self, y: &HyperDual, count: usize) -> Vec<HyperDual> {
        let stages: Vec<_> = self.stages.iter().take(count).map(|stage| (stage.step_size, &stage.function)).collect();
        path(&self.base, &stages, y)
    }

    fn last(&self, y: &HyperDual) -> HyperDual {
        self.path(y, self.stages.len()).swap_remove(self.stages.len())
    }

    /// `∇ψ(y)` and `∇²ψ(y) v`; `[n, d], [n, d] -> [n, d], [n, d]`.
    pub fn gradient_and_product(&self, y: Tensor<2>, v: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let (image, tangent) = self.last(&HyperDual::real(y).with_unit(HyperDual::real(v))).split();
        (image.real_part(), tangent.real_part())
    }
}

impl Field for SmoothFunction {
    fn at(&self, x: &HyperDual) -> HyperDual {
        self.gradient_at(x)
    }
}

impl ConvexPotential for ResidualNetwork {
    fn dim(&self) -> usize {
        self.base.dim()
    }

    /// `ψ_T(y) = ψ_0(y) - Σ_k η_k h_k(x_k)`.
    fn value(&self, y: Tensor<2>) -> Tensor<1> {
        let start = self.base.value(y.clone());
        // The last point enters no stage.
        let path = self.path(&HyperDual::real(y), self.stages.len().saturating_sub(1));
        self.stages
            .iter()
            .zip(&path)
            .fold(start, |sum, (stage, x)| sum - stage.function.value(x.real_part()) * stage.step_size)
    }

    fn gradient(&self, y: Tensor<2>) -> Tensor<2> {
        self.last(&HyperDual::real(y)).real_part()
    }

    fn hessian_vector(&self, y: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        self.gradient_and_product(y, v).1
    }

    /// # Panics
    ///
    /// Above [`LARGEST_JACOBIAN`] dimensions.
    fn gradient_and_hessian(&self, y: Tensor<2>) -> (Tensor<2>, Tensor<3>) {
        let [n, d] = y.dims();
        assert!(d <= LARGEST_JACOBIAN, "whole Jacobians are formed up to {LARGEST_JACOBIAN} dimensions");
        let (image, tangents) = self.last(&along_axes(&y)).split();
        (image.real_part().narrow(0, 0, n), tangents.real_part().reshape([d, n, d]).swap_dims(0, 1))
    }
}

#[cfg(test)]
mod tests;
