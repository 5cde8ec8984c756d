//! Trained laws and what they are made of: score networks, and how they are sampled.
//!
//! - [`TrainedSampler`]: a law that was learnt, whichever way, and what it can be asked;
//! - [`DiffusionSampler`]: that of a score network; [`ExactSampler`]: one in closed form; [`ParticleSampler`]: one of particles;
//! - [`ScoreNetwork`]: a preconditioned denoiser, read as a score at every noise level;
//! - [`monge_ampere`]: convex potentials, whose gradients are Brenier maps;
//! - [`markov_chain`]: moves that leave a density as it is;
//! - [`GridConfig`]: the noise levels at which a sampler stops;
//! - [`sample`]: solvers of the probability-flow ODE and the reverse SDE, and backward chains;
//! - [`log_density`]: the log-density of the samples.
//!
//! Whatever holds for a network holds for the exact posterior mean of a known measure, which is how the samplers are tested.

pub mod markov_chain;
pub mod monge_ampere;
pub mod preconditioning;
pub mod residual_mlp;
pub mod samplers;

mod activation;
mod choice;
mod correction;
mod diffusion_sampler;
mod embedding;
mod exact_sampler;
mod frame;
mod fused;
mod grid;
mod initialization;
mod log_density;
mod particle_sampler;
mod real;
mod sampling_plan;
mod score_network;
mod trained_sampler;

pub use activation::Activation;
pub use correction::{Corrected, Correction, LEAST_DRAWS};
pub use diffusion_sampler::{DiffusionPlan, DiffusionSampler};
pub use exact_sampler::ExactSampler;
pub use frame::Frame;
pub use fused::weighted_squares;
pub use grid::{GridConfig, GridError};
pub use log_density::{Divergence, LogDensity, log_density, log_density_by};
pub use particle_sampler::{Annealing, ParticleSampler};
pub use preconditioning::Preconditioning;
pub use samplers::{Observer, Progress, SamplerConfig, SamplerError, sample, sample_from};
pub use sampling_plan::SamplingPlan;
pub use score_network::{NetworkConfig, NetworkError, ScoreJacobian, ScoreNetwork};
pub use trained_sampler::{Facts, TrainedSampler, TransportMap, Witnesses};
