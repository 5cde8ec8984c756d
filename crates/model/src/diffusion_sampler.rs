//! The law of a score network under one of the samplers.

use std::ops::Range;
use std::sync::OnceLock;

use brenier_measure::{Points, to_tensor};
use burn::tensor::{DType, Device, Tensor};
use serde_json::json;

use crate::log_density::{LogDensity, log_density};
use crate::samplers::{SamplerConfig, SamplerError, sample};
use crate::sampling_plan::SamplingPlan;
use crate::score_network::ScoreNetwork;
use crate::trained_sampler::{Facts, TrainedSampler};

/// How a score network is sampled, and how its log-density is found.
#[derive(Debug, Clone, PartialEq)]
pub struct DiffusionPlan {
    /// The sampler on its grid.
    pub sampling: SamplingPlan,
    /// The noise levels of the ODE of the log-density, falling to 0.
    pub density_levels: Vec<f64>,
    /// Those of a check with half the steps; with twice as many where half are none.
    pub coarse_levels: Vec<f64>,
}

/// A score network with the plan by which it is a law.
pub struct DiffusionSampler {
    network: ScoreNetwork,
    plan: DiffusionPlan,
    device: Device,
    /// The network in the number type of log-densities.
    precise: OnceLock<ScoreNetwork>,
}

impl DiffusionSampler {
    /// The law of a network that computes on `device`, without autodiff.
    pub fn new(network: ScoreNetwork, plan: DiffusionPlan, device: Device) -> Self {
        Self { network, plan, device, precise: OnceLock::new() }
    }

    /// F64 where the device can: the integral of the log-density sums as many terms as there are steps.
    fn precise_dtype(&self) -> DType {
        if self.device == Device::flex() { DType::F64 } else { DType::F32 }
    }

    fn log_density_along(
        &self,
        levels: &[f64],
        x: &Points,
        seed: u64,
        first_index: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<LogDensity, SamplerError> {
        let dtype = self.precise_dtype();
        let network = self.precise.get_or_init(|| self.network.clone().cast(dtype));
        log_density(network, to_tensor(x, dtype, &self.device), levels, seed, first_index, go_on)
    }
}

impl TrainedSampler for DiffusionSampler {
    fn dim(&self) -> usize {
        brenier_measure::Denoiser::dim(&self.network)
    }

    fn sample(
        &self,
        seed: u64,
        indices: Range<u64>,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Tensor<2>, SamplerError> {
        let SamplingPlan { sampler, levels, .. } = &self.plan.sampling;
        sample(&self.network, sampler, levels, seed, indices, DType::F32, &self.device, go_on)
    }

    /// By the probability-flow ODE, whatever the sampler.
    fn log_density(
        &self,
        x: &Points,
        seed: u64,
        first_index: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<LogDensity, SamplerError> {
        let mut found = self.log_density_along(&self.plan.density_levels, x, seed, first_index, go_on)?;
        if !matches!(
            self.plan.sampling.sampler,
            SamplerConfig::Euler | SamplerConfig::Heun | SamplerConfig::DpmSolver2M
        ) {
            found.of_another_law =
                Some("the density is that of the probability-flow ODE, the samples are those of another sampler");
        }
        Ok(found)
    }

    fn coarse_log_density(
        &self,
        x: &Points,
        seed: u64,
        first_index: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<LogDensity>, SamplerError> {
        self.log_density_along(&self.plan.coarse_levels, x, seed, first_index, go_on).map(Some)
    }

    fn score_network(&self) -> Option<&ScoreNetwork> {
        Some(&self.network)
    }

    fn settings(&self) -> Facts {
        self.plan.sampling.facts()
    }

    fn density_settings(&self) -> Facts {
        Facts(vec![("ode_steps", json!(self.plan.density_levels.len() - 1))])
    }
}
