//! How samplers are trained: the loop, denoising score matching, moving averages and checkpoints.
//!
//! - [`fit()`]: the loop, which reads top to bottom;
//! - [`denoising_score_matching`]: what a score network minimises;
//! - [`ema`], [`optimizer`], [`learning_rate`], [`gradients`]: the parts of an update;
//! - [`state`]: what a run carries from step to step;
//! - [`run_directory`]: how a run survives being killed;
//! - [`tensorboard`]: the scalars of a run as event files.

pub mod config;
pub mod denoising_score_matching;
pub mod ema;
pub mod error;
pub mod fit;
pub mod gradients;
pub mod learning_rate;
pub mod optimizer;
pub mod parameters;
pub mod run_directory;
pub mod state;
pub mod tensorboard;

pub use config::TrainingConfig;
pub use denoising_score_matching::{
    DenoisingScoreMatching, InstanceNoise, LossConfig, NoiseLevels, NoisedBatch, Source, Weighting,
};
pub use ema::{Ema, EmaConfig};
pub use error::TrainingError;
pub use fit::{Flow, Objective, StepReport, fit};
pub use learning_rate::LearningRate;
pub use optimizer::{Optimizer, OptimizerConfig};
pub use state::{Progress, TrainingState, averaged_model};
