//! Convex potentials and the Brenier maps that they are.
//!
//! A convex φ carries data to a reference by its gradient, `y = ∇φ(x)`, and the reference to data by the inverse of it; both are
//! optimal. Deb and Liang, No-Regret Generative Modeling via Parabolic Monge-Ampère PDE (2504.09279), in the dual coordinates `φ = ψ*`.
//! The paper's own coordinates are the primal ones: `x = ∇ψ(y)`, ψ a residual network.
//!
//! A family whose every parameter is learnt says what a loss of the map pulls at each ([`ParametricPotential`]): log-sum-exp pieces, and ridges that
//! move or stay.

mod brenier_map;
mod composition;
mod congruence;
pub mod conjugate;
mod framed_map;
mod free_quadratic;
mod free_ridges;
mod hyper_dual;
mod input_convex;
mod inversion;
mod linear_ridges;
mod log_sum_exp;
mod map_sampler;
mod mlp;
pub mod newton;
mod parametric;
mod potential;
mod primal_map;
mod quadratic;
mod residual_network;
mod ridge_sum;
mod ridged_quadratic;
mod smooth_function;
mod vector_network;

pub use brenier_map::{BrenierMap, PushForward};
pub use composition::{LARGEST_JACOBIAN, LARGEST_STACK, StackTooHigh};
pub use congruence::Congruence;
pub use conjugate::Conjugate;
pub use framed_map::FramedMap;
pub use free_quadratic::FreeQuadratic;
pub use free_ridges::FreeRidges;
pub use input_convex::{InputConvexNetwork, InputConvexShape, PlacedNetwork};
pub use inversion::{Inversion, Preimages};
pub use linear_ridges::LinearRidges;
pub use log_sum_exp::{LogSumExp, Pieces};
pub use map_sampler::MapSampler;
pub use mlp::Mlp;
pub use parametric::{LearnablePotential, Loss, ParametricPotential, Pull, mean_loss};
pub use potential::{ConvexPotential, log_det_hessian, solve_hessians};
pub use primal_map::PrimalMap;
pub use quadratic::{Quadratic, QuadraticPotential};
pub use residual_network::{ResidualNetwork, Stage};
pub use ridge_sum::{RidgeSum, Ridges};
pub use ridged_quadratic::{Jet, RidgedQuadratic, entries};
pub use smooth_function::{RidgeFunction, SmoothFunction};
pub use vector_network::{Expansion, VectorField, VectorNetwork, VectorStage};

#[cfg(test)]
mod derivative_tests;
