//! Annealed particles: from their section of a config to a method, and from a checkpoint to a law.

use brenier_measure::TargetConfig;
use brenier_model::TrainedSampler;
use brenier_training::annealed_particles::ParticleState;
use brenier_training::run_directory::LockedRunDirectory;
use brenier_training::{AnnealedParticles, AnnealedParticlesConfig, Files};
use serde_json::{Value, json};

use crate::config::Config;
use crate::config::mistakes::Mistakes;
use crate::error::Error;
use crate::methods::density::{Given, given};
use crate::methods::wiring::{Flags, Length, ProgressPlot, Wiring};
use crate::run::training::go_on;
use crate::run::{Ending, RunContext, RunView};

/// The name of the method in a config.
const NAME: &str = "annealed_particles";

/// The particles of a run, in the standardised coordinates of its data.
fn particles(config: &AnnealedParticlesConfig, run: &RunView) -> Result<AnnealedParticles, Error> {
    let config = AnnealedParticlesConfig {
        start: config.start.standardized(&run.record.data.standardization),
        ..config.clone()
    };
    let Given { density, support } = given(NAME, run)?;
    Ok(AnnealedParticles::new(config, density, support, run.record.config.seed, run.device)?)
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
