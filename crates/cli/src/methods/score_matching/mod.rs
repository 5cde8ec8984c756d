//! Denoising score matching: from its sections of a config to a method, and from a checkpoint to a law.

pub mod config;

mod check;

use brenier_measure::LARGEST_SUBSET;
use brenier_model::{DiffusionPlan, DiffusionSampler, GridConfig, ScoreNetwork, TrainedSampler};
use brenier_training::denoising_score_matching::{EXCESS_BOUND, EXCESS_LOSS};
use brenier_training::run_directory::{LockedRunDirectory, RunDirectory};
use brenier_training::{DenoisingScoreMatching, Files, ScoreMatching, TrainingConfig, averaged_model};
use burn::tensor::Device;
use serde_json::{Value, json};
use tracing::warn;

use self::config::DenoisingScoreMatchingConfig;
use crate::arguments::Sampling;
use crate::config::Config;
use crate::config::mistakes::Mistakes;
use crate::device::DeviceName;
use crate::error::Error;
use crate::methods::localized::{LOCALIZATION, Localization};
use crate::methods::sampling::{SamplingDefaults, sampling_plan};
use crate::methods::wiring::{Flags, Length, Noise, OpenedFor, ProgressPlot, Start, Wiring};
use crate::run::outputs::has_picture;
use crate::run::problem::DataRecord;
use crate::run::record::RunRecord;
use crate::run::training::go_on;
use crate::run::{Ending, RunContext, RunView};

/// The name of the method in a config.
pub const NAME: &str = "denoising_score_matching";

/// The least number of noised points in the held-out loss.
const HELD_OUT_COUNT: usize = 4_096;

/// Quantiles of the noise levels of training, from which their density is drawn.
const NOISE_QUANTILES: usize = 100;

/// Steps after which losses are read back from a GPU, at most: a signal is answered no sooner, and as many batches lie there.
const MOST_READ_TOGETHER: u64 = 100;

/// Steps of the ODE of the log-density in an evaluation, where the config does not say.
const DENSITY_STEPS: usize = 32;

/// The same where log-densities are what is asked for.
const PRECISE_DENSITY_STEPS: usize = 64;

impl DenoisingScoreMatchingConfig {
    /// A freshly initialised network for the data of a run.
    fn network(&self, run: &RunRecord, device: &Device) -> Result<ScoreNetwork, Error> {
        let DataRecord { dim, sigma_data, .. } = run.data;
        Ok(ScoreNetwork::new(&self.network, self.preconditioning, dim, sigma_data, run.config.seed, device)?)
    }

    fn method(&self, run: &RunView) -> Result<ScoreMatching, Error> {
        let (config, localization) = (&run.record.config, Localization(*run));
        let training = training(config);
        let problem = run.problem.expect("a run in training has its data at hand");
        let samples = problem.samples("the noised points of `denoising_score_matching`")?;
        let objective = DenoisingScoreMatching {
            source: samples.source.clone(),
            noise_levels: localization.noise_levels(&self.noise_levels)?,
            loss: self.loss,
            sigma_data: run.record.data.sigma_data,
            batch: training.batch,
            seed: config.seed,
        };
        let draws = config.evaluation.watch.is_some() || (config.output.figures && has_picture(&run.record.data));
        let opened_for = if draws { OpenedFor::Samples } else { OpenedFor::Knowledge };
        let held_out = objective.held_out(&samples.held_out, HELD_OUT_COUNT);
        Ok(ScoreMatching {
            held_out,
            optimum: None,
            objective,
            training: training.clone(),
            network: self.network(run.record, &run.device.clone().autodiff())?,
            plan: plan(run, &Flags { opened_for, ..Flags::default() })?,
            device: run.device.clone(),
            prefetch: rayon::current_num_threads() > 1,
            read_every: read_every(config),
        })
    }
}

/// What the held-out loss of a method is at its best, as far as that is known, and what the distance to it is called.
fn optimum(run: &RunView, method: &ScoreMatching) -> Result<Option<(&'static str, f64)>, Error> {
    let problem = run.problem.expect("a run in training has its data at hand");
    let samples = problem.samples("the optimal loss")?;
    let found = match problem.exact_denoiser() {
        Some(exact) => (EXCESS_LOSS, DenoisingScoreMatching::held_out_loss(&exact, &method.held_out, &Device::flex())),
        // A network that has learnt its points by heart is at their optimum.
        None if samples.held_out_is_training => return Ok(None),
        None => {
            let others = problem.points_of_law(LARGEST_SUBSET, run.record.config.seed)?;
            (EXCESS_BOUND, method.objective.held_out_optimum(&samples.held_out, &others, &method.held_out)?)
        }
    };
    Ok(Some(found).filter(|(_, loss)| loss.is_finite()))
}

/// After how many steps of a device beside the host somebody looks; on the host, every step is looked at.
fn read_every(config: &Config) -> u64 {
    if matches!(config.device, DeviceName::Cpu | DeviceName::Ndarray) {
        return 1;
    }
    let watch = config.evaluation.watch.as_ref().and_then(|watch| watch.every);
    let looks = [config.output.log_every, config.output.checkpoint_every].into_iter().chain(watch);
    let together = looks.reduce(gcd).expect("metrics are logged");
    (1..=MOST_READ_TOGETHER.min(together)).rev().find(|every| together.is_multiple_of(*every)).unwrap_or(1)
}

/// The greatest common divisor.
fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Wiring for DenoisingScoreMatchingConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn resolve(&self, config: &mut Config) -> Result<(), String> {
        let evaluation = &mut config.evaluation;
        let SamplingDefaults { sampler, grid, sigma_min, sigma_max, steps } = SamplingDefaults::default();
        evaluation.sampler.get_or_insert(sampler);
        evaluation.grid.get_or_insert(grid);
        evaluation.sigma_min.get_or_insert(sigma_min);
        evaluation.sigma_max.get_or_insert(sigma_max);
        evaluation.steps.get_or_insert(steps);
        if let Some(log_density) = &mut evaluation.log_density {
            log_density.steps.get_or_insert(DENSITY_STEPS);
        }
        config.training.as_ref().map(drop).ok_or_else(|| "its config has no `training`".to_owned())
    }

    fn check(&self, config: &Config, mistakes: &mut Mistakes) {
        check::check(self, config, mistakes);
    }

    fn length(&self, config: &Config) -> Length {
        Length { steps: training(config).steps, is_bound: false, key: "training.steps" }
    }

    /// The number of steps, where the learning rate does not depend on it.
    fn may_change(&self, path: &str, old: &Config, new: &Config) -> bool {
        let is_free = |config: &Config| {
            config.training.as_ref().is_some_and(|training| training.learning_rate.is_independent_of_length())
        };
        path == "training.steps" && is_free(old) && is_free(new)
    }

    fn changeable(&self) -> Option<&'static str> {
        Some("under a learning rate that does not depend on it, `training.steps`")
    }

    fn start_from<'a>(&'a self, config: &'a Config) -> Option<Start<'a>> {
        let path = training(config).start_from.as_deref()?;
        Some(Start { path, key: "training.start_from", must_match: "`network`, `preconditioning`" })
    }

    fn model(&self) -> Value {
        json!({NAME: {"network": self.network, "preconditioning": self.preconditioning}})
    }

    fn rehearse(&self, run: &RunView) -> Result<(), Error> {
        self.method(run)?;
        plan(run, &Flags::default()).map(drop)
    }

    fn train(&self, run: &RunContext, directory: &mut LockedRunDirectory) -> Result<Ending, Error> {
        go_on(run, self, directory, |view| {
            let method = self.method(view)?;
            Ok(ScoreMatching { optimum: optimum(view, &method)?, ..method })
        })
    }

    fn cure(&self) -> &'static str {
        "Lower `training.learning_rate`, set `training.clip_norm`, or narrow `noise_levels`"
    }

    /// The localization curve; data that have none can still be sampled on every other grid.
    fn keep(&self, run: &RunView, directory: &RunDirectory) -> Result<(), Error> {
        if directory.path().join(LOCALIZATION).exists() {
            return Ok(());
        }
        match Localization(*run).keep() {
            Err(error) if !error.is_interruption() => {
                warn!("no localized grids for this run: {error}");
                Ok(())
            }
            kept => kept,
        }
    }

    fn open(&self, run: &RunView, files: &Files, flags: &Flags) -> Result<Box<dyn TrainedSampler>, Error> {
        let network = averaged_model(self.network(run.record, run.device)?, files, 0)?;
        let plan = plan(run, flags)?;
        Ok(Box::new(DiffusionSampler::new(network, plan, run.device.clone())))
    }

    fn progress_plot(&self) -> ProgressPlot {
        ProgressPlot {
            title: "Denoising loss (surrogate) during training",
            y: "weighted squared error",
            log_y: true,
            lines: &[("training", "surrogate_loss"), ("held out, averaged weights", "held_out_surrogate_loss")],
        }
    }

    fn noise(&self, run: &RunView) -> Result<Option<Noise>, Error> {
        let levels = Localization(*run).noise_levels(&self.noise_levels)?;
        // A secant between neighbouring quantiles, the outermost of which are left out.
        let at = |k: usize| levels.quantile(k as f64 / NOISE_QUANTILES as f64).ln();
        let training = (1..NOISE_QUANTILES - 1).filter_map(|k| {
            let (low, high) = (at(k), at(k + 1));
            let density = 1.0 / (NOISE_QUANTILES as f64 * (high - low));
            density.is_finite().then(|| (((low + high) / 2.0).exp(), density))
        });
        let grid = plan(run, &Flags { opened_for: OpenedFor::Samples, ..Flags::default() })?.sampling.levels;
        Ok(Some(Noise { training: training.collect(), grid: grid.into_iter().filter(|sigma| *sigma > 0.0).collect() }))
    }

    fn has_score_network(&self) -> bool {
        true
    }
}

/// The section of a config that only score matching has, and has always.
fn training(config: &Config) -> &TrainingConfig {
    config.training.as_ref().expect("a config of score matching that was checked holds `training`")
}

/// How the config of a run samples its network, with what the command line puts over it.
fn plan(run: &RunView, flags: &Flags) -> Result<DiffusionPlan, Error> {
    let Config { evaluation, .. } = &run.record.config;
    let resolved = "a config of score matching is resolved";
    let grid = evaluation.grid.expect(resolved);
    let defaults = SamplingDefaults {
        sampler: evaluation.sampler.expect(resolved),
        // A localized grid takes the data or the kept curve, which whoever asks for no samples need not have.
        grid: if flags.opened_for == OpenedFor::Samples { grid } else { GridConfig::default() },
        sigma_min: evaluation.sigma_min.expect(resolved),
        sigma_max: evaluation.sigma_max.expect(resolved),
        steps: evaluation.steps.expect(resolved),
    };
    let none = Sampling::default();
    let sampling = sampling_plan(run, flags.sampling.unwrap_or(&none), &defaults)?;
    let of_config = evaluation.log_density.and_then(|log_density| log_density.steps).unwrap_or(DENSITY_STEPS);
    let default = if flags.opened_for == OpenedFor::Densities { PRECISE_DENSITY_STEPS } else { of_config };
    let density_steps = flags.density_steps.unwrap_or(default);
    let levels = |steps| GridConfig::default().levels(defaults.sigma_min, defaults.sigma_max, steps);
    // One step is none: a path takes two levels above 0.
    let coarse_steps = if density_steps < 4 { 2 * density_steps } else { density_steps / 2 };
    let (density_levels, coarse_levels) = (levels(density_steps)?, levels(coarse_steps)?);
    Ok(DiffusionPlan { sampling, density_levels, coarse_levels })
}
