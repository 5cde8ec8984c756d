//! Convex potentials and the Brenier maps that they are.
//!
//! A convex φ carries data to a reference by its gradient, `y = ∇φ(x)`, and the reference to data by the inverse of it; both are
//! optimal. Deb and Liang, No-Regret Generative Modeling via Parabolic Monge-Ampère PDE (2504.09279), in the dual coordinates `φ = ψ*`.

mod brenier_map;
mod inversion;
mod map_sampler;
mod potential;
mod quadratic;
mod ridge_sum;

pub use brenier_map::BrenierMap;
pub use inversion::{Inversion, Preimages};
pub use map_sampler::MapSampler;
pub use potential::{ConvexPotential, log_det_hessian};
pub use quadratic::QuadraticPotential;
pub use ridge_sum::{RidgeSum, Ridges};

#[cfg(test)]
mod derivative_tests;
