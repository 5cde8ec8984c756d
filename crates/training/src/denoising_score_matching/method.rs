//! Denoising score matching as a method: a network, its averages, and the law that they are.

use brenier_model::{DiffusionPlan, DiffusionSampler, ScoreNetwork, TrainedSampler};
use burn::module::Module;
use burn::tensor::Device;

use super::{DenoisingScoreMatching, NoisedBatch, TrainingConfig};
use crate::error::TrainingError;
use crate::fit::{FitConfig, fit};
use crate::method::{Files, Method, Observe, Scalars, starting_point};
use crate::state::{TrainingState, averaged_model};

/// The held-out loss above that of the exact denoiser: what is left to learn.
pub const EXCESS_LOSS: &str = "held_out_excess_loss";

/// The held-out loss above that of the best denoiser of points: what is left to learn, at most.
pub const EXCESS_BOUND: &str = "held_out_excess_bound";

/// A score network in training, with all that it is trained and judged on.
pub struct ScoreMatching {
    /// What is minimised.
    pub objective: DenoisingScoreMatching,
    /// How.
    pub training: TrainingConfig,
    /// The network before the first step, in F32 on an autodiff device.
    pub network: ScoreNetwork,
    /// The batch of the held-out loss.
    pub held_out: NoisedBatch,
    /// The loss on that batch of the exact denoiser, or a bound on it from below by points ([`DenoisingScoreMatching::held_out_optimum`]),
    /// with the name of the distance to it: [`EXCESS_LOSS`] or [`EXCESS_BOUND`].
    pub optimum: Option<(&'static str, f64)>,
    /// How the network is sampled.
    pub plan: DiffusionPlan,
    /// Where it computes, without autodiff.
    pub device: Device,
    /// Whether batches are made ahead on a thread of their own.
    pub prefetch: bool,
    /// After how many steps losses are read back from the device, at most.
    pub read_every: u64,
}

impl Method for ScoreMatching {
    type State = TrainingState<ScoreNetwork>;

    fn steps(&self) -> u64 {
        self.training.steps
    }

    /// A fresh network, or the averaged one of the run in `start_from`.
    fn start(&self) -> Result<Self::State, TrainingError> {
        let mut network = self.network.clone();
        if let Some(path) = &self.training.start_from {
            network = averaged_model(network.valid(), &starting_point(path, "averaged weights")?.files, 0)?.train();
        }
        Ok(TrainingState::new(&self.training.fit(), network))
    }

    fn resume(&self, files: &Files) -> Result<Self::State, TrainingError> {
        TrainingState::from_files(&self.training.fit(), self.network.clone(), files)
    }

    fn files(&self, state: &Self::State) -> Files {
        state.to_files()
    }

    fn step(&self, state: &Self::State) -> u64 {
        state.progress.step
    }

    fn train(&self, state: &mut Self::State, observe: &mut Observe<Self::State>) -> Result<(), TrainingError> {
        let device = self.device.clone().autodiff();
        let config = FitConfig { read_every: self.read_every, ..self.training.fit() };
        fit(&self.objective, &config, state, &device, self.prefetch, |state, report| {
            observe(state, &[("loss", report.loss)])
        })
    }

    fn means(&self, state: &mut Self::State) -> Scalars {
        let (loss, gradient_norm) = state.progress.take_means();
        let last = state.progress.step - 1;
        let learning_rate = self.training.learning_rate.at(last, self.training.steps);
        vec![("surrogate_loss", loss), ("gradient_norm", gradient_norm), ("learning_rate", learning_rate)]
    }

    fn held_out(&self, state: &Self::State) -> (&'static str, f64) {
        let network = state.emas[0].model();
        let loss = DenoisingScoreMatching::held_out_loss(network, &self.held_out, &self.device);
        ("held_out_surrogate_loss", loss)
    }

    fn optimum(&self) -> Option<(&'static str, f64)> {
        self.optimum
    }

    fn sampler(&self, state: &Self::State) -> Box<dyn TrainedSampler> {
        let network = state.emas[0].model().clone();
        Box::new(DiffusionSampler::new(network, self.plan.clone(), self.device.clone()))
    }
}
