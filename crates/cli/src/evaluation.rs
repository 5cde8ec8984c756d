//! What is measured of a run: distances to its target, classes, and the denoising loss at every noise level.

use brenier_eval::{Evaluation, Labelled, Metric, classes, denoising_loss, evaluate, log_grid};
use brenier_measure::{Denoiser, Points};
use brenier_model::SamplerConfig;
use burn::module::Module;
use burn::tensor::{DType, Device};
use serde::Serialize;

use crate::config::Config;
use crate::error::Error;
use crate::problem::{Problem, Reference};
use crate::record::OpenedRun;
use crate::sampling::SamplingPlan;

/// The file of a run directory that holds the report.
pub const EVALUATION: &str = "evaluation.json";

/// The part of a data set that leaves no independent points to compare with.
const TRAINING: &str = "training";

/// Nearest training points that decide the class of a sample.
const NEIGHBOURS: usize = 10;

/// Noise levels of the denoising loss.
const LEVELS: usize = 11;

/// An evaluation with all that is needed to make it again.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The name of the run.
    pub name: String,
    /// The program that measured.
    pub program_version: &'static str,
    /// The SHA-256 of the data, or name and version of the target.
    pub target: String,
    /// Which points the samples were compared with.
    pub compared_with: &'static str,
    /// The step of the checkpoint.
    pub checkpoint: u64,
    /// The sampler.
    pub sampler: SamplerConfig,
    /// Its number of steps.
    pub steps: usize,
    /// The numbers, in the coordinates of the data; the denoising loss is in standardised ones.
    #[serde(flatten)]
    pub evaluation: Evaluation,
}

impl Report {
    /// Measures samples of a run.
    ///
    /// # Errors
    ///
    /// Samples that are too few or not finite.
    pub fn new(run: &OpenedRun, problem: &Problem, plan: &SamplingPlan, samples: &Points) -> Result<Self, Error> {
        let (reference, compared_with) = match &problem.reference {
            Reference::Data { train, test, part, .. } => (brenier_eval::Reference::Data { train, test }, *part),
            Reference::Exact(target) => (brenier_eval::Reference::Target(target.sampler.as_ref()), "fresh draws"),
        };
        let mut evaluation = evaluate(samples, &reference, &Metric::ALL, plan.seed)?;
        if compared_with == TRAINING {
            for report in evaluation.metrics.values_mut() {
                (report.floor, report.floor_sd, report.z_score) = (None, None, None);
                report.note = Some("compared with the training part, which leaves nothing for a floor".to_owned());
            }
        }
        if let Reference::Data { train, labels: Some(labels), .. } = &problem.reference
            && train.nrows() >= 3 * NEIGHBOURS
        {
            evaluation.classes = Some(classes(samples, Labelled { points: train, labels }, NEIGHBOURS, plan.seed)?);
        }
        let config = &run.record.config;
        let levels = log_grid(config.evaluation.sigma_min, config.evaluation.sigma_max, LEVELS);
        let exact = problem.exact_denoiser();
        let exact = exact.as_ref().map(|denoiser| denoiser as &dyn Denoiser);
        let points = match &problem.reference {
            Reference::Data { test, .. } => &problem.data.standardization.apply(test),
            Reference::Exact(_) => &problem.held_out,
        };
        let device = Device::flex();
        let network = run.network.clone().to_device(&device).cast(DType::F64);
        evaluation.denoising_loss = denoising_loss(&network, exact, points, &levels, plan.seed, (DType::F64, &device))?;
        Ok(Self {
            name: config.name.clone(),
            program_version: crate::arguments::VERSION,
            target: problem.data.origin.clone(),
            compared_with,
            checkpoint: run.step,
            sampler: plan.sampler,
            steps: plan.levels.len() - 1,
            evaluation,
        })
    }

    /// One JSON object in one line.
    pub fn to_json_line(&self) -> String {
        serde_json::to_string(self).expect("string keys") + "\n"
    }

    /// One JSON object, laid out to be read.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("string keys");
        text.push('\n');
        text
    }
}

/// As many samples as there are test points, or for an exact target as many as the config says.
pub fn default_count(problem: &Problem, config: &Config) -> u64 {
    match &problem.reference {
        Reference::Data { test, .. } => test.nrows() as u64,
        Reference::Exact(_) => config.evaluation.count.max(2),
    }
}
