//! Brenier maps by the parabolic Monge-Ampère equation. Deb and Liang (2504.09279).
//!
//! # Design
//!
//! Most maps are kept in dual coordinates, `φ = ψ*` on the side of the data, where the flow `∂ₜφ = h` is an addition ([`logistic`]). With φ linear
//! in its coefficients a stage costs the same however many went before, and is one step downhill on Kantorovich's semi-dual ([`semi_dual`]). The
//! form of the paper, ψ on the side of the reference, composes its stages ([`residual`]). From an unnormalised density nothing is left to learn in a
//! stage, and the update is fitted into a family on the side of the reference ([`score`]).
//!
//! Stages end where moments match. What the likelihood still gains is had by descent on it ([`polish`]), on every parameter of a convex potential, from
//! where stages or semi-discrete transport end; the reference may be a stack of densities, or a mixture that follows the map.

mod box_program;
mod choose_ridges;
mod descent;
mod expectation;
mod independent_components;
pub mod inequality;
mod iterates;
pub mod logistic;
mod logistic_regression;
pub mod polish;
mod pool;
pub mod reference;
pub mod residual;
pub mod score;
pub mod semi_dual;
pub mod semi_dual_descent;
mod stack;
mod step_size;

pub use choose_ridges::RidgesConfig;
pub use expectation::{Expectations, Weighted};
pub use iterates::Iterate;
pub use pool::PoolConfig;
pub use stack::{LocalKernel, Stack, StackConfig};
pub use step_size::StepSize;
