//! Algorithm 1 of the parabolic Monge-Ampère equation: from its section of a config to a method, and from a checkpoint to a map.

use brenier_measure::{GaussianMixture, TargetConfig};
use brenier_model::{Activation, TrainedSampler};
use brenier_training::monge_ampere::logistic::{Coordinates, MongeAmpereState, PolishedMap, PolishedState, Step};
use brenier_training::monge_ampere::polish::{Descender, PolishConfig, PotentialConfig, Smoothing};
use brenier_training::monge_ampere::reference::ReferenceConfig;
use brenier_training::monge_ampere::residual::{DiscriminatorConfig, MongeAmpereResidual, ResidualState};
use brenier_training::monge_ampere::semi_dual_descent::{
    InputConvexConfig, SemiDualChoices, SemiDualConfig, SemiDualDescent, SemiDualState,
};
use brenier_training::monge_ampere::{Expectations, Iterate};
use brenier_training::run_directory::LockedRunDirectory;
use brenier_training::{Files, MongeAmpereLogistic, MongeAmpereLogisticConfig, TrainingError};
use burn::tensor::Device;
use serde_json::{Value, json};
use tracing::warn;

use crate::config::mistakes::Mistakes;
use crate::config::{Config, MethodConfig};
use crate::error::Error;
use crate::interruption;
use crate::methods::wiring::{Flags, Length, ProgressPlot, Wiring};
use crate::run::problem::Problem;
use crate::run::training::go_on;
use crate::run::{Ending, RunContext, RunView};

/// The name of the method in a config.
const NAME: &str = "monge_ampere_logistic";

/// Stages that add up.
fn additive(config: &MongeAmpereLogisticConfig, run: &RunView) -> Result<MongeAmpereLogistic, Error> {
    let problem = run.problem.expect("a run in training has its data at hand");
    let samples = problem.samples("the points of `monge_ampere_logistic`")?;
    let (source, held_out) = (samples.source.clone(), samples.held_out.clone());
    let method = MongeAmpereLogistic::new(config.clone(), source, held_out, run.record.config.seed)?;
    Ok(method.with_law(law(run)?).while_told(|| !interruption::asked()))
}

/// Stages that add up, and a polish.
fn polished(config: &MongeAmpereLogisticConfig, polish: &PolishConfig, run: &RunView) -> Result<PolishedMap, Error> {
    let problem = run.problem.expect("a run in training has its data at hand");
    let samples = problem.samples("the points of `monge_ampere_logistic`")?;
    let (source, held_out) = (samples.source.clone(), samples.held_out.clone());
    let (config, polish, seed) = (config.clone(), polish.clone(), run.record.config.seed);
    let method = PolishedMap::new(config, polish, source, held_out, seed, || !interruption::asked())?;
    Ok(method.with_law(law(run)?))
}

/// The network of the step `semi_dual`, which is given no other potential.
fn network(config: &MongeAmpereLogisticConfig) -> Option<&InputConvexConfig> {
    match &config.potential {
        PotentialConfig::InputConvex(network) if config.step == Step::SemiDual => Some(network),
        _ => None,
    }
}

/// A network that descends the semi-dual, computed on a device.
fn semi_dual(
    config: &MongeAmpereLogisticConfig,
    network: &InputConvexConfig,
    device: &Device,
    run: &RunView,
) -> Result<SemiDualDescent, Error> {
    let problem = run.problem.expect("a run in training has its data at hand");
    let samples = problem.samples("the points of `monge_ampere_logistic`")?;
    let (source, held_out) = (samples.source.clone(), samples.held_out.clone());
    let choices = SemiDualChoices {
        network: network.clone(),
        descent: config.semi_dual.clone(),
        reference: config.reference.clone(),
        stages: config.stages,
        patience: config.patience,
        fresh: config.fresh,
        iterate: config.iterate,
    };
    let seed = run.record.config.seed;
    Ok(SemiDualDescent::new(choices, source, held_out, seed, device.clone(), || !interruption::asked())?)
}

/// What the step `semi_dual` and its network go with, by key.
fn check_semi_dual(config: &MongeAmpereLogisticConfig, report: &mut dyn FnMut(&str, &str)) {
    let usual = MongeAmpereLogisticConfig::default();
    if config.step != Step::SemiDual {
        report("potential", "an input-convex network is learnt by `step: \"semi_dual\"`, in `coordinates: \"primal\"`");
        return;
    }
    if network(config).is_none() {
        report(
            "step",
            "`semi_dual` is the descent of a network; give `potential` an `input_convex`, `{\"input_convex\": {}}` for all defaults",
        );
        return;
    }
    if config.coordinates != Coordinates::Primal {
        report(
            "coordinates",
            "an input-convex network is a potential on the side of the reference; set `coordinates` to `primal`",
        );
    }
    if config.stages == 0 {
        report("stages", "take at least one stage");
    }
    if matches!(config.iterate, Iterate::Average | Iterate::Ema) {
        report("iterate", "a network has no mean of its own form; take `best` or `last`");
    }
    let descent = &config.semi_dual;
    if descent.matched == Some(true) && descent.draws.is_some_and(|draws| draws > 1) {
        report("semi_dual.draws", "matched pairs have one draw a point; set it to 1, or `matched` to false");
    }
    let plain = descent.plain_stages(config.stages);
    if plain == config.stages && descent.rate.is_some() {
        report("semi_dual.rate", "is that of stages with variance reduction, and `plain` leaves none; leave it out");
    }
    if plain == 0 && descent.plain_rate.is_some() {
        report(
            "semi_dual.plain_rate",
            "is that of stages without variance reduction, and `plain` leaves none; leave it out",
        );
    }
    let given = [
        ("discriminator", config.discriminator != usual.discriminator),
        ("expectations", config.expectations != usual.expectations),
        ("rebase", config.rebase != usual.rebase),
        ("ridges", config.ridges != usual.ridges),
        ("step_size", config.step_size != usual.step_size),
        ("pool", config.pool != usual.pool),
        ("batch", config.batch != usual.batch),
        ("penalty", config.penalty != usual.penalty),
        ("ema", config.ema != usual.ema),
        ("average_after", config.average_after != usual.average_after),
        ("polish", config.polish.is_some()),
    ];
    for (key, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
        report(key, "is not for `step: \"semi_dual\"`, whose choices are in `semi_dual`; leave it out");
    }
}

/// Whether the rows of the data count differently.
fn is_weighted(config: &Config) -> bool {
    matches!(&config.target, TargetConfig::Dataset(dataset) if dataset.weight.is_some())
}

/// What a polish does not go with, by key.
fn check_polish(config: &MongeAmpereLogisticConfig, is_weighted: bool, report: &mut dyn FnMut(&str, &str)) {
    let usual = MongeAmpereLogisticConfig::default();
    let is_plain = config.potential == PotentialConfig::Ridges && config.polish.is_none();
    if !config.is_additive() && !is_plain {
        let key = if config.potential == PotentialConfig::Ridges { "polish" } else { "potential" };
        report(key, "is for dual coordinates with the discriminator `features`; leave it out");
        return;
    }
    if config.potential == PotentialConfig::Automatic {
        let given = [
            ("polish", config.polish.is_some()),
            ("stages", config.stages != usual.stages),
            ("ridges", config.ridges != usual.ridges),
        ];
        for (key, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
            report(key, "is chosen with the potential; leave it out, or name the potential");
        }
        return;
    }
    let Some(polish) = &config.polish else {
        if let PotentialConfig::LogSumExp(_) = config.potential {
            report(
                "polish",
                "a log-sum-exp potential is learnt by the polish; give it a section, `{}` for all defaults",
            );
        } else if config.stages == 0 {
            report(
                "stages",
                "take at least one stage, or give a `polish`, which in dual coordinates needs none; `{}` has all defaults",
            );
        }
        return;
    };
    if matches!(config.potential, PotentialConfig::LogSumExp(_)) && config.stages > 0 {
        report(
            "stages",
            "a log-sum-exp potential starts where stages would end, at semi-discrete transport; set `stages` to 0",
        );
    }
    if polish.by == Descender::Fisher && matches!(config.potential, PotentialConfig::LogSumExp(_)) {
        report(
            "polish.by",
            "Fisher scoring is for potentials that are linear in their coefficients, `ridges`; take `adam`",
        );
    }
    let may_be_fitted = match config.reference {
        ReferenceConfig::FittedMixture(_) => true,
        // Ridges are given one, pieces N(0, I).
        ReferenceConfig::Automatic => config.potential == PotentialConfig::Ridges,
        _ => false,
    };
    if polish.refit.is_some() && !may_be_fitted {
        report("polish.refit", "a `fitted_mixture` is refitted; leave it out for other references");
    }
    let is_normal = config.reference == ReferenceConfig::Automatic && config.potential != PotentialConfig::Ridges;
    if polish.folds > 1 && !config.reference.is_log_concave() && !is_normal {
        report(
            "polish.folds",
            "the mean of potentials is as likely as their mean likelihood under `standard_normal` and `fitted_gaussian`; set it to 1",
        );
    }
    if polish.folds > 1 && config.stages > 0 {
        report("polish.folds", "stages have seen the points of every fold; set it to 1, or `stages` to 0");
    }
    let has_parts = polish.folds > 1 || polish.refit.is_some_and(|refit| refit.folds > 1);
    if is_weighted && (has_parts || matches!(polish.smoothing, Smoothing::Stack(_) | Smoothing::LocalCovariance { .. }))
    {
        report(
            "polish",
            "rows with weights are repeated, and a row must not judge itself: set `folds` and `refit.folds` to 1, and take `smoothing` `isotropic`",
        );
    }
    if polish.folds > 1 && matches!(polish.smoothing, Smoothing::Stack(_)) {
        report("polish.folds", "a stack holds out folds of its own; set it to 1");
    }
}

/// The law of the data in standardised coordinates, where it is known.
fn law(run: &RunView) -> Result<Option<GaussianMixture>, Error> {
    let standardization = &run.record.data.standardization;
    let law = run.record.config.target.closed_form().map_err(TrainingError::from)?;
    Ok(law.map(|law| standardization.apply_to_law(&law)).transpose().map_err(TrainingError::from)?)
}

/// Stages that are composed, and quadratics in either coordinates.
fn composed(config: &MongeAmpereLogisticConfig, run: &RunView) -> Result<MongeAmpereResidual, Error> {
    let problem = run.problem.expect("a run in training has its data at hand");
    let samples = problem.samples("the points of `monge_ampere_logistic`")?;
    let (source, held_out) = (samples.source.clone(), samples.held_out.clone());
    let law = law(run)?;
    let method = MongeAmpereResidual::new(config.clone(), source, law, held_out, run.record.config.seed)?;
    Ok(method.while_told(|| !interruption::asked()))
}

impl Wiring for MongeAmpereLogisticConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn choose(&self, config: &Config, problem: &Problem) -> Option<(MethodConfig, Vec<String>)> {
        let points = problem.data.counts.map(|[train, ..]| train);
        let (chosen, reasons) = self.chosen(problem.data.dim, points, is_weighted(config))?;
        Some((MethodConfig::MongeAmpereLogistic(Box::new(chosen)), reasons))
    }

    fn check(&self, config: &Config, mistakes: &mut Mistakes) {
        if let ReferenceConfig::FittedMixture(mixture) = &self.reference
            && mixture.start_from.is_some()
        {
            let path = "method.monge_ampere_logistic.reference.fitted_mixture.start_from";
            mistakes.report(path, "a reference is fitted anew; leave it out".to_owned());
        }
        let mut report =
            |key: &str, message: &str| mistakes.report(&format!("method.{NAME}.{key}"), message.to_owned());
        if is_weighted(config) && matches!(self.reference, ReferenceConfig::Stack(_)) {
            report(
                "reference",
                "rows with weights are repeated, and a row must not judge itself in a stack; take `fitted_mixture`",
            );
        }
        if self.step == Step::SemiDual || matches!(self.potential, PotentialConfig::InputConvex(_)) {
            check_semi_dual(self, &mut report);
            return;
        }
        if self.semi_dual != SemiDualConfig::default() {
            report("semi_dual", "is for `step: \"semi_dual\"`; leave it out");
        }
        check_polish(self, is_weighted(config), &mut report);
        if self.is_additive() {
            if self.expectations != Expectations::Samples {
                report(
                    "expectations",
                    "sums of ridges in dual coordinates are learnt from `samples`; nodes are for `coordinates: \"primal\"`, and for the discriminator `quadratic`",
                );
            }
            return;
        }
        if self.coordinates == Coordinates::Dual && matches!(self.discriminator, DiscriminatorConfig::Mlp(_)) {
            report(
                "discriminator",
                "a perceptron is for `coordinates: \"primal\"`; dual coordinates take `features` and `quadratic`",
            );
        }
        if matches!(self.discriminator, DiscriminatorConfig::Mlp(_)) && self.expectations != Expectations::Samples {
            report("expectations", "a perceptron is learnt from `samples`");
        }
        if let DiscriminatorConfig::Mlp(mlp) = &self.discriminator
            && mlp.activation == Activation::Relu
        {
            report(
                "discriminator.mlp.activation",
                "`relu` has a kink, and the map moves by second derivatives of h; take `silu`",
            );
        }
        if self.step != Step::Logistic {
            report(
                "step",
                "`newton` and `semi_implicit` are for sums of ridges in dual coordinates; stages that are composed, and quadratics, take `logistic`",
            );
        }
        if matches!(self.iterate, Iterate::Average | Iterate::Ema) {
            report("iterate", "potentials that are composed have no mean of their own form; take `best` or `last`");
        }
    }

    fn length(&self, _: &Config) -> Length {
        let polish = self.polish.as_ref();
        Length {
            steps: self.stages.saturating_add(polish.map_or(0, PolishConfig::most_steps)),
            is_bound: self.patience.is_some() && self.stages > 0
                || polish.is_some_and(|polish| polish.patience.is_some()),
            key: "method.monge_ampere_logistic.stages",
        }
    }

    /// How many stages there are, where neither the step size nor a polish depends on it.
    fn may_change(&self, path: &str, old: &Config, new: &Config) -> bool {
        let is_free = |config: &Config| match &config.method {
            MethodConfig::MongeAmpereLogistic(method) => {
                method.step_size.is_independent_of_length() && method.polish.is_none() && method.step != Step::SemiDual
            }
            _ => false,
        };
        match path.strip_prefix("method.monge_ampere_logistic.") {
            Some("stages") => is_free(old) && is_free(new),
            Some(key) => key == "patience",
            None => false,
        }
    }

    fn changeable(&self) -> Option<&'static str> {
        Some("`patience` and, where neither a polish nor the step size nor `semi_dual` depends on it, `stages`")
    }

    fn model(&self) -> Value {
        json!({ NAME: self })
    }

    fn rehearse(&self, run: &RunView) -> Result<(), Error> {
        if let Some(network) = network(self) {
            return semi_dual(self, network, &Device::flex(), run).map(drop);
        }
        match &self.polish {
            Some(polish) => polished(self, polish, run).map(drop),
            None if self.is_additive() => additive(self, run).map(drop),
            None => composed(self, run).map(drop),
        }
    }

    fn train(&self, run: &RunContext, directory: &mut LockedRunDirectory) -> Result<Ending, Error> {
        if let Some(network) = network(self) {
            let device = run.device.clone();
            return go_on(run, self, directory, |view| semi_dual(self, network, &device, view));
        }
        if run.device != Device::flex() {
            warn!("a map is learnt in f64 on the CPU, whatever the device");
        }
        match &self.polish {
            Some(polish) => go_on(run, self, directory, |view| polished(self, polish, view)),
            None if self.is_additive() => go_on(run, self, directory, |view| additive(self, view)),
            None => go_on(run, self, directory, |view| composed(self, view)),
        }
    }

    fn cure(&self) -> &'static str {
        if self.step == Step::SemiDual {
            "Take a smaller `semi_dual.rate` and `semi_dual.plain_rate`, a larger `semi_dual.batch`, or a larger `floor` of the network; look for \
             points that are far from all others"
        } else if self.polish.as_ref().is_some_and(|polish| polish.by == Descender::Fisher) {
            "Take a larger `polish.batch`, look for points that are far from all others, or raise `ridges.floor`"
        } else if self.polish.is_some() {
            "Take a smaller `polish.rate`, look for points that are far from all others, or raise the `floor` of the potential"
        } else if self.is_additive() {
            "Look for points that are far from all others, take the step `newton` or a smaller `step_size`, or raise `ridges.floor`"
        } else {
            "Take a smaller `step_size`, or one that is `adaptive`; dual coordinates with `features` are convex at every step"
        }
    }

    fn open(&self, _: &RunView, files: &Files, _: &Flags) -> Result<Box<dyn TrainedSampler>, Error> {
        Ok(if self.step == Step::SemiDual {
            Box::new(SemiDualState::from_files(files)?.sampler(self.iterate))
        } else if self.polish.is_some() {
            Box::new(PolishedState::from_files(files)?.sampler(self.iterate))
        } else if self.is_additive() {
            Box::new(MongeAmpereState::from_files(files)?.sampler(self.iterate))
        } else {
            Box::new(ResidualState::from_files(files)?.sampler(self.iterate))
        })
    }

    fn has_map(&self) -> bool {
        true
    }

    fn takes_weights(&self) -> bool {
        true
    }

    fn progress_plot(&self) -> ProgressPlot {
        if self.step == Step::SemiDual {
            return ProgressPlot {
                title: "Semi-dual over held-out points",
                y: "J(ψ) in Bures coordinates",
                log_y: false,
                lines: &[("held-out value", "held_out_semi_dual_last")],
            };
        }
        ProgressPlot {
            title: "Negative log-likelihood of held-out points",
            y: "nats a point, in standardised coordinates",
            log_y: false,
            lines: if self.polish.is_some() {
                &[
                    ("last potential of the stages", "held_out_nll_last"),
                    ("polish", "held_out_nll_polish"),
                    ("reference alone", "held_out_nll_reference"),
                ]
            } else if self.is_additive() {
                &[
                    ("last potential", "held_out_nll_last"),
                    ("mean potential", "held_out_nll_average"),
                    ("moving average", "held_out_nll_ema"),
                ]
            } else {
                &[("last potential", "held_out_nll_last")]
            },
        }
    }
}
