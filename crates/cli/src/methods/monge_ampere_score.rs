//! Algorithm 2 of the parabolic Monge-Ampère equation: from its section of a config to a method, and from a checkpoint to a map.

use brenier_measure::TargetConfig;
use brenier_model::TrainedSampler;
use brenier_training::monge_ampere::score::{DensityReferenceConfig, ScoreState};
use brenier_training::run_directory::LockedRunDirectory;
use brenier_training::{Files, MongeAmpereScore, MongeAmpereScoreConfig};
use serde_json::{Value, json};

use crate::config::Config;
use crate::config::mistakes::Mistakes;
use crate::error::Error;
use crate::interruption;
use crate::methods::density::{Given, given};
use crate::methods::wiring::{Flags, Length, ProgressPlot, Wiring};
use crate::run::training::go_on;
use crate::run::{Ending, RunContext, RunView};

/// The name of the method in a config.
const NAME: &str = "monge_ampere_score";

fn method(config: &MongeAmpereScoreConfig, run: &RunView) -> Result<MongeAmpereScore, Error> {
    let mut config = config.clone();
    if let DensityReferenceConfig::Particles(particles) = &mut config.reference {
        particles.annealing.start = particles.annealing.start.standardized(&run.record.data.standardization);
    }
    let Given { density, support } = given(NAME, run)?;
    let method = MongeAmpereScore::new(config, density, support, run.record.config.seed, run.device)?;
    Ok(method.while_told(|| !interruption::asked()))
}

impl Wiring for MongeAmpereScoreConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self, config: &Config, mistakes: &mut Mistakes) {
        if let TargetConfig::Dataset(_) = config.target {
            let message = format!(
                "`{NAME}` follows a density, and `dataset` has points alone; choose a target with a density, or the method \
                 `monge_ampere_logistic`"
            );
            mistakes.report("target", message);
        }
        if let DensityReferenceConfig::Particles(particles) = &self.reference
            && particles.mixture.as_ref().is_some_and(|mixture| mixture.start_from.is_some())
        {
            let path = format!("method.{NAME}.reference.particles.mixture.start_from");
            mistakes.report(&path, "a reference is fitted anew; leave it out".to_owned());
        }
    }

    fn length(&self, _: &Config) -> Length {
        Length { steps: self.stages, is_bound: self.patience.is_some(), key: "method.monge_ampere_score.stages" }
    }

    fn may_change(&self, path: &str, _: &Config, _: &Config) -> bool {
        path == "method.monge_ampere_score.patience"
    }

    fn changeable(&self) -> Option<&'static str> {
        Some("`patience`")
    }

    fn model(&self) -> Value {
        json!({ NAME: self })
    }

    fn refuse(&self, run: &RunView) -> Result<(), Error> {
        self.rehearse(run)
    }

    fn rehearse(&self, run: &RunView) -> Result<(), Error> {
        Ok(method(self, run)?.rehearse()?)
    }

    fn train(&self, run: &RunContext, directory: &mut LockedRunDirectory) -> Result<Ending, Error> {
        go_on(run, self, directory, |view| method(self, view))
    }

    fn cure(&self) -> &'static str {
        "Take a smaller `step_size.adaptive.most`, more `batch`, or a reference that is nearer to the target (`particles`)"
    }

    fn open(&self, run: &RunView, files: &Files, _: &Flags) -> Result<Box<dyn TrainedSampler>, Error> {
        let method = method(self, run)?;
        let state = method.judged(ScoreState::from_files(files)?);
        Ok(Box::new(method.map_sampler(&state)))
    }

    fn has_map(&self) -> bool {
        true
    }

    fn progress_plot(&self) -> ProgressPlot {
        ProgressPlot {
            title: "Evidence lower bound of the target",
            y: "nats",
            log_y: false,
            lines: &[
                ("stage's own draws", "elbo"),
                ("last potential", "elbo_last"),
                ("mean potential", "elbo_average"),
                ("moving average", "elbo_ema"),
            ],
        }
    }
}
