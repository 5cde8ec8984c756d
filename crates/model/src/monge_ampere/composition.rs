//! Stages composed: `n_{k+1} = n_k - η_k ∇n_k·(m_k∘n_k)` of vector fields m_k, on a map n_0.
//!
//! # Design
//!
//! The product with `∇n_k` is the derivative of the map so far in a direction that depends on where it leads:
//!
//! ```text
//! n_{k+1}(y) = n_k(y) - η_k ∂_ε n_k(y + ε m_k(n_k(y)))
//! ```
//!
//! so a stack of T stages is T nested derivatives, and its Jacobian one more: [`HyperDual`] points carry them all. No
//! difference quotient enters, and reverse mode trains through. The number of evaluations of a stage doubles with every
//! further stage, and the units of the points grow beside it. Hence the limit of [`LARGEST_STACK`] stages: what is deeper is fitted into one
//! potential first (re-based), or added up in the coordinates of the data, where nothing is composed.
//!
//! Deb and Liang (2504.09279), Algorithms 1 and 2.

use super::hyper_dual::HyperDual;
use super::smooth_function::SmoothFunction;

/// The most stages that are composed exactly.
pub const LARGEST_STACK: usize = 4;

/// The largest dimension in which whole Jacobians are formed.
pub const LARGEST_JACOBIAN: usize = 16;

/// A stack that is too high.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{stages} stages are too many to compose exactly: each of them multiplies the cost of the next, and {LARGEST_STACK} is the limit. Fit \
     the stack into one potential every few stages (`rebase.every`), or take `coordinates: \"dual\"`, where stages add up"
)]
pub struct StackTooHigh {
    /// How many stages there would be.
    pub stages: usize,
}

/// A vector field at hyper-dual points.
pub(super) trait Field {
    /// `m(x)`; `[n, d] -> [n, d]`.
    fn at(&self, x: &HyperDual) -> HyperDual;
}

/// `n_0(y), …, n_T(y)` of stages `(η_k, m_k)` on `n_0 = ∇ψ_0`.
pub(super) fn path<F: Field>(base: &SmoothFunction, stages: &[(f64, &F)], y: &HyperDual) -> Vec<HyperDual> {
    let mut path = vec![base.gradient_at(y)];
    for (k, (step_size, field)) in stages.iter().enumerate() {
        let along = y.clone().with_unit(field.at(&path[k]));
        let image = self::path(base, &stages[..k], &along).swap_remove(k);
        let next = path[k].sub(&image.split().1.scale(*step_size));
        path.push(next);
    }
    path
}
