//! A Gaussian mixture fitted by expectation and maximisation: from its section of a config to a method, and from a checkpoint to a law.

use brenier_measure::TargetConfig;
use brenier_measure::expectation_maximization::CovarianceKind;
use brenier_model::{ExactSampler, TrainedSampler};
use brenier_training::gaussian_mixture::MixtureState;
use brenier_training::run_directory::LockedRunDirectory;
use brenier_training::{Files, GaussianMixtureConfig, MixtureFit};
use burn::tensor::Device;
use serde_json::{Value, json};
use tracing::warn;

use crate::arguments::Sampling;
use crate::config::Config;
use crate::config::mistakes::Mistakes;
use crate::error::Error;
use crate::methods::sampling::{SamplingDefaults, sampling_plan};
use crate::methods::wiring::{Flags, Length, ProgressPlot, Start, Wiring};
use crate::run::training::go_on;
use crate::run::{Ending, RunContext, RunView};

/// The name of the method in a config.
const NAME: &str = "gaussian_mixture";

/// The key of the run that it starts from.
const START_FROM: &str = "method.gaussian_mixture.start_from";

/// The fit of a run.
fn fit(config: &GaussianMixtureConfig, run: &RunView) -> Result<MixtureFit, Error> {
    let problem = run.problem.expect("a run in training has its data at hand");
    let samples = problem.samples("the points of `gaussian_mixture`")?;
    Ok(MixtureFit::new(config.clone(), &samples.source, samples.held_out.clone(), run.record.config.seed)?)
}

impl Wiring for GaussianMixtureConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self, config: &Config, mistakes: &mut Mistakes) {
        if !matches!(config.target, TargetConfig::Dataset(_) | TargetConfig::Drawn(_)) {
            let name = config.target.name();
            mistakes.report(
                "target",
                format!(
                    "`{NAME}` learns from a fixed number of points, and `{name}` is drawn afresh without end; write \
                     {{\"drawn\": {{\"target\": {{\"{name}\": …}}, \"points\": 20000}}}}"
                ),
            );
        }
        let sizes = self.components.sizes();
        let validation = match &config.target {
            TargetConfig::Dataset(data) => data.split.validation,
            TargetConfig::Drawn(drawn) => drawn.split.validation,
            _ => 1.0,
        };
        if sizes.len() > 1 && validation == 0.0 {
            let message =
                "several sizes are chosen from by held-out points, and `split.validation` is 0; give one size";
            mistakes.report("method.gaussian_mixture.components", message.to_owned());
        }
        if let Some(twice) = sizes.iter().enumerate().find_map(|(i, size)| sizes[..i].contains(size).then_some(size)) {
            mistakes.report("method.gaussian_mixture.components", format!("the size {twice} is there twice; keep one"));
        }
        if self.covariance == CovarianceKind::Tied && self.shrinkage > 0.0 {
            let message = "`tied` covariances are one already, and there is nothing to draw them towards; leave it out";
            mistakes.report("method.gaussian_mixture.shrinkage", message.to_owned());
        }
        if let Some(start) = &self.start_from {
            mistakes.run_directory(START_FROM, start);
        }
    }

    fn length(&self, _: &Config) -> Length {
        Length { steps: self.most_steps(), is_bound: true, key: "method.gaussian_mixture.iterations" }
    }

    fn start_from<'a>(&'a self, _: &'a Config) -> Option<Start<'a>> {
        let path = self.start_from.as_deref()?;
        Some(Start { path, key: START_FROM, must_match: "the method" })
    }

    fn model(&self) -> Value {
        json!({ NAME: {} })
    }

    fn rehearse(&self, run: &RunView) -> Result<(), Error> {
        fit(self, run).map(drop)
    }

    fn train(&self, run: &RunContext, directory: &mut LockedRunDirectory) -> Result<Ending, Error> {
        if run.device != Device::flex() {
            warn!("a mixture is fitted in f64 on the CPU, whatever the device");
        }
        go_on(run, self, directory, |view| fit(self, view))
    }

    fn cure(&self) -> &'static str {
        "Look for points that are far from all others, or raise `shrinkage`"
    }

    /// Drawn exactly, unless a flag asks for a sampler.
    fn open(&self, run: &RunView, files: &Files, flags: &Flags) -> Result<Box<dyn TrainedSampler>, Error> {
        let law = MixtureState::from_files(files)?.best().mixture()?;
        let flag = flags.sampling.filter(|flag| **flag != Sampling::default());
        let plan = flag.map(|flag| sampling_plan(run, flag, &SamplingDefaults::default())).transpose()?;
        Ok(Box::new(ExactSampler::new(law, plan)))
    }

    fn progress_plot(&self) -> ProgressPlot {
        ProgressPlot {
            title: "Log-likelihood of the mixtures that are fitted",
            y: "nats a point, in standardised coordinates",
            log_y: false,
            lines: &[("training", "log_likelihood"), ("held out", "held_out_log_likelihood")],
        }
    }

    fn takes_samplers(&self) -> bool {
        true
    }

    fn takes_weights(&self) -> bool {
        true
    }
}
