//! Distances that a run computes while it trains, on the device it trains on.

use brenier_eval::on_device::{energy_distance, median_bandwidth, mmd_squared, sinkhorn_divergence, sliced_w2_squared};
use brenier_eval::{DIRECTIONS, EvalError, random_directions};
use brenier_measure::to_tensor;
use brenier_model::TrainedSampler;
use brenier_transport::Cost;
use brenier_transport::sinkhorn::{Epsilon, Settings};
use burn::tensor::{DType, Device, Tensor};
use tracing::{info, warn};

use crate::config::WatchedMetric;
use crate::error::Error;
use crate::run::RunContext;

/// The share of the mean squared distance between held-out points that is the ε of the Sinkhorn divergence.
const EPSILON: f64 = 0.05;

impl WatchedMetric {
    /// The name in metrics.jsonl.
    fn scalar(self) -> &'static str {
        match self {
            Self::SlicedW2 => "watch_sliced_w2",
            Self::SinkhornDivergence => "watch_sinkhorn_divergence",
            Self::EnergyDistance => "watch_energy_distance",
            Self::MmdSquared => "watch_mmd_squared",
        }
    }
}

/// The held-out points of a run on its device, with all that its distances need besides samples.
///
/// # Design
///
/// Samples take the same draws every time, and directions, bandwidth and ε are fixed by points that do not change: from one
/// step to the next nothing but the law differs, and a resumed run writes what the undisturbed one would have.
pub struct Watch {
    metrics: Vec<WatchedMetric>,
    count: u64,
    every: u64,
    seed: u64,
    device: Device,
    held_out: Tensor<2>,
    directions: Vec<f64>,
    sinkhorn: Settings,
}

impl Watch {
    /// What the config of a run asks for, if anything.
    ///
    /// # Errors
    ///
    /// A target without draws.
    pub fn of(run: &RunContext) -> Result<Option<Self>, Error> {
        let config = &run.record.config;
        let Some(watch) = &config.evaluation.watch else { return Ok(None) };
        let points = &run.problem.samples("watched distances")?.held_out;
        let count = points.nrows().min(watch.count as usize);
        let points = points.slice(ndarray::s![..count, ..]);
        // Twice the sum of the variances is the mean squared distance between two of them.
        let mean_cost = 2.0 * points.var_axis(ndarray::Axis(0), 0.0).sum();
        let held_out = to_tensor(&points.to_owned(), DType::F32, &run.device);
        Ok(Some(Self {
            metrics: watch.metrics.clone(),
            count: watch.count,
            every: watch.every.unwrap_or(config.output.checkpoint_every),
            seed: config.seed,
            device: run.device.clone(),
            directions: random_directions(DIRECTIONS, points.ncols(), config.seed),
            sinkhorn: Settings {
                epsilon: Epsilon::Absolute(EPSILON * mean_cost),
                cost: Cost::SquaredDistance,
                ..Settings::default()
            },
            held_out,
        }))
    }

    /// Whether a step is one of those that are watched.
    pub fn looks(&self, step: u64) -> bool {
        step.is_multiple_of(self.every)
    }

    /// The distances of the samples of a law by name; those that are no number are said and left out.
    pub fn look(&self, sampler: &dyn TrainedSampler, step: u64) -> Vec<(&'static str, f64)> {
        let drawn = sampler.sample(self.seed, 0..self.count, &|| true);
        let samples = match drawn {
            Ok(samples) => samples.to_device(&self.device).cast(DType::F32),
            Err(error) => {
                warn!("nothing to watch at step {step}: {error}");
                return Vec::new();
            }
        };
        let mut scalars = Vec::new();
        for &metric in &self.metrics {
            let name = metric.scalar();
            match self.distance(metric, samples.clone()) {
                Ok(value) if value.is_finite() => scalars.push((name, value)),
                Ok(value) => warn!("{name} is {value} at step {step}"),
                Err(error) => warn!("no {name} at step {step}: {error}"),
            }
        }
        let listed: Vec<String> = scalars.iter().map(|(name, value)| format!("{name} {value:.4e}")).collect();
        if !listed.is_empty() {
            info!("step {step}: {}", listed.join(", "));
        }
        scalars
    }

    fn distance(&self, metric: WatchedMetric, samples: Tensor<2>) -> Result<f64, EvalError> {
        let held_out = self.held_out.clone();
        let value = match metric {
            WatchedMetric::SlicedW2 => sliced_w2_squared(samples, held_out, &self.directions)?.sqrt(),
            WatchedMetric::SinkhornDivergence => sinkhorn_divergence(samples, held_out, &self.sinkhorn)?.value,
            WatchedMetric::EnergyDistance => energy_distance(samples, held_out)?,
            WatchedMetric::MmdSquared => {
                let bandwidth = median_bandwidth(&held_out, &held_out)?;
                mmd_squared(samples, held_out, bandwidth)?
            }
        };
        Ok(value.into_data().convert::<f64>().try_to_vec().expect("f64 after conversion")[0])
    }
}
