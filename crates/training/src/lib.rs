//! How samplers are trained: what a method is, the loop, denoising score matching, moving averages and checkpoints.
//!
//! - [`Method`]: a way to learn a law, whichever;
//! - [`Source`]: where training points come from;
//! - [`fit()`]: the loop, which reads top to bottom;
//! - [`denoising_score_matching`]: what a score network minimises; [`gaussian_mixture`]: a mixture that is fitted; [`monge_ampere`]: Brenier
//!   maps; [`annealed_particles`]: particles that follow an unnormalised density;
//! - [`ema`], [`optimizer`], [`learning_rate`], [`gradients`]: the parts of an update;
//! - [`state`]: what a run carries from step to step;
//! - [`run_directory`]: how a run survives being killed;
//! - [`tensorboard`]: the scalars of a run as event files.

pub mod annealed_particles;
pub mod denoising_score_matching;
pub mod ema;
pub mod error;
pub mod fit;
pub mod gaussian_mixture;
pub mod gradients;
pub mod learning_rate;
pub mod method;
pub mod monge_ampere;
mod one_pass;
pub mod optimizer;
pub mod parameters;
pub mod run_directory;
pub mod source;
pub mod state;
pub mod tensorboard;

pub use annealed_particles::{AnnealedParticles, AnnealedParticlesConfig};
pub use denoising_score_matching::{
    DenoisingScoreMatching, LossConfig, NoiseLevels, NoisedBatch, ScoreMatching, TrainingConfig, Weighting,
};
pub use ema::{Ema, EmaConfig};
pub use error::TrainingError;
pub use fit::{FitConfig, Flow, Objective, StepReport, fit};
pub use gaussian_mixture::{Components, GaussianMixtureConfig, MixtureFit};
pub use learning_rate::LearningRate;
pub use method::{Files, Method, Observe, Scalars};
pub use monge_ampere::logistic::{MongeAmpereLogistic, MongeAmpereLogisticConfig};
pub use monge_ampere::score::{MongeAmpereScore, MongeAmpereScoreConfig};
pub use optimizer::{Optimizer, OptimizerConfig};
pub use source::{InstanceNoise, Source};
pub use state::{Progress, TrainingState, averaged_model};
