//! Annealed particles: from their section of a config to a method, and from a checkpoint to a law.

use std::sync::Arc;

use brenier_measure::data::Standardization;
use brenier_measure::{Measure, Rescaled, TargetConfig};
use brenier_model::TrainedSampler;
use brenier_training::annealed_particles::ParticleState;
use brenier_training::run_directory::LockedRunDirectory;
use brenier_training::{AnnealedParticles, AnnealedParticlesConfig, Files};
use serde_json::{Value, json};

use crate::config::Config;
use crate::config::mistakes::Mistakes;
use crate::error::Error;
use crate::methods::wiring::{Flags, Length, ProgressPlot, Wiring};
use crate::run::problem::Problem;
use crate::run::training::go_on;
use crate::run::{Ending, RunContext, RunView};

/// The name of the method in a config.
const NAME: &str = "annealed_particles";

/// The particles of a run, in the standardised coordinates of its data.
fn particles(config: &AnnealedParticlesConfig, run: &RunView) -> Result<AnnealedParticles, Error> {
    let loaded;
    let problem = match run.problem {
        Some(problem) => problem,
        None => {
            loaded = Problem::new(&run.record.config)?;
            run.record.check_data(&loaded.data)?;
            &loaded
        }
    };
    let name = run.record.config.target.name();
    let target = problem.reference.target().ok_or_else(|| Error::no_target_density(NAME, name))?;
    let unbounded = target.unbounded().ok_or_else(|| Error::no_target_density(NAME, name))?;
    let standardization = &run.record.data.standardization;
    let config = AnnealedParticlesConfig { start: config.start.standardized(standardization), ..config.clone() };
    let measure = standardized(unbounded, standardization);
    Ok(AnnealedParticles::new(config, measure, target.support.clone(), run.record.config.seed, run.device)?)
}

/// A density in standardised coordinates of one scale.
fn standardized(measure: Arc<dyn Measure>, standardization: &Standardization) -> Arc<dyn Measure> {
    let Standardization { shift, scale, .. } = standardization;
    if shift.iter().all(|&x| x == 0.0) && scale[0] == 1.0 {
        return measure;
    }
    Arc::new(Rescaled::new(measure, shift.clone(), scale[0]))
}

impl Wiring for AnnealedParticlesConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self, config: &Config, mistakes: &mut Mistakes) {
        if let TargetConfig::Dataset(_) = config.target {
            let message =
                format!("`{NAME}` follow a density, and `dataset` has points alone; choose a target with a density");
            mistakes.report("target", message);
        }
    }

    fn length(&self, _: &Config) -> Length {
        Length { steps: self.temperatures, is_bound: true, key: "method.annealed_particles.temperatures" }
    }

    /// The moves of a draw, and how many temperatures there may be.
    fn may_change(&self, path: &str, _: &Config, _: &Config) -> bool {
        matches!(path.strip_prefix("method.annealed_particles."), Some("fresh_moves" | "temperatures"))
    }

    fn changeable(&self) -> Option<&'static str> {
        Some("`fresh_moves` and `temperatures`")
    }

    fn model(&self) -> Value {
        json!({ NAME: {} })
    }

    fn refuse(&self, run: &RunView) -> Result<(), Error> {
        self.rehearse(run)
    }

    fn rehearse(&self, run: &RunView) -> Result<(), Error> {
        particles(self, run).map(drop)
    }

    fn train(&self, run: &RunContext, directory: &mut LockedRunDirectory) -> Result<Ending, Error> {
        go_on(run, self, directory, |view| particles(self, view))
    }

    fn cure(&self) -> &'static str {
        "Start wider, take more particles, or raise `temperatures`"
    }

    fn open(&self, run: &RunView, files: &Files, _: &Flags) -> Result<Box<dyn TrainedSampler>, Error> {
        Ok(Box::new(particles(self, run)?.particle_sampler(&ParticleState::from_files(files)?)))
    }

    fn progress_plot(&self) -> ProgressPlot {
        ProgressPlot {
            title: "From the start to the target",
            y: "share of 1",
            log_y: false,
            lines: &[
                ("temperature β", "beta"),
                ("acceptance", "acceptance"),
                ("effective share", "ess"),
                ("starts with descendants", "distinct_ancestors"),
            ],
        }
    }
}
