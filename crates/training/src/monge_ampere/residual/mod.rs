//! Algorithm 1 as the paper has it: stages that are composed, on the side of the reference. Deb and Liang (2504.09279).
//!
//! A stage k, with `∇ψ_k` from the reference to the data:
//!
//! ```text
//! sampling step     x'_i = ∇ψ_k(y_i),  y_i from the reference
//! learning step     h_k  = argmin_h  E log(1 + e^{h(x)}) + E log(1 + e^{-h(x')}),  x from the data:  h_k → log(ρ_k/e^{-f})
//! network update    ψ_{k+1} = ψ_k - η_k h_k∘∇ψ_k
//! ```
//!
//! # Design
//!
//! Sampling needs no inversion, but a stack of stages costs more with each of them, so that every few stages it is fitted into one potential
//! ([`RebaseConfig`]): exactly where all is quadratic, else the nearest sum of ridges. With quadratic stages the same loop runs in dual coordinates,
//! `φ_{k+1} = φ_k + η_k h_k`. Expectations are sums over draws or over the nodes of a quadrature; a stage does not know which. Both
//! sides of the evolution variational inequality ([`inequality`]) are measured at every stage.

mod discriminator;
mod rebase;

use std::sync::Arc;

use brenier_measure::expectation_maximization::Moments;
use brenier_measure::linear_algebra::symmetric_eigen;
use brenier_measure::{Gaussian, GaussianMixture, Points, Purpose, Sample, Stream};
use brenier_model::TrainedSampler;
use brenier_model::monge_ampere::{
    BrenierMap, ConvexPotential, Inversion, LARGEST_JACOBIAN, MapSampler, Mlp, PrimalMap, PushForward, Quadratic,
    QuadraticPotential, ResidualNetwork, RidgeFunction, Ridges, SmoothFunction,
};
use ndarray::s;
use serde::{Deserialize, Serialize};
use tracing::warn;

pub use self::discriminator::{DiscriminatorConfig, MlpConfig};
use self::discriminator::{Learnt, MlpFit};
pub use self::rebase::RebaseConfig;
use super::expectation::{Expectations, MOST_AXES, MOST_NODES, Weighted};
use super::inequality::{self, Inequality, Laws, Regret, gaussian_gap};
use super::iterates::Iterate;
use super::logistic::{Coordinates, FIRST, MOST_COEFFICIENTS, MongeAmpereLogisticConfig, constant_column};
use super::reference::ReferenceConfig;
use super::semi_dual::Curvature;
use crate::error::TrainingError;
use crate::fit::Flow;
use crate::method::{Files, Method, Observe, Scalars};
use crate::source::Source;
use crate::state::TrainingState;

/// The file of a checkpoint.
const STATE: &str = "state.json";

/// Where the perceptron in training stands in a checkpoint.
const MLP: &str = "discriminator-";

/// The factor by which a step is shortened that goes too far, and how often.
const SHORTER: f64 = 0.4;
const SHORTENINGS: usize = 7;

/// The share of its least eigenvalue that an adaptive step leaves to the Hessian: a map that has nearly folded has no next step.
const KEPT: f64 = 0.3;

/// So many stages one after the other that find no step end the training as diverged.
const MOST_REFUSED: u64 = 8;

/// Points of the reference from which inversions start.
const STARTS: usize = 1024;

/// Held-out points whose likelihood is asked for.
const JUDGED: usize = 1000;

/// Draws on each side over which the inequality is measured.
const MEASURED: usize = 2000;

/// How well the conjugate is found.
const INVERSION: Inversion = Inversion { tolerance: 1e-9, steps: 100 };

/// Algorithm 1 in composed form, with its data at hand.
pub struct MongeAmpereResidual {
    config: MongeAmpereLogisticConfig,
    source: Source,
    /// The law of the data, where it is known.
    law: Option<GaussianMixture>,
    held_out: Points,
    seed: u64,
    /// Whether what comes before the first stage goes on.
    go_on: fn() -> bool,
}

/// The potential of a flow.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Potential {
    /// ψ, on the side of the reference.
    Primal(ResidualNetwork),
    /// φ, on the side of the data.
    Dual(Quadratic),
}

impl Potential {
    /// ψ; `None` where φ is not convex.
    fn psi(&self) -> Option<ResidualNetwork> {
        match self {
            Self::Primal(network) => Some(network.clone()),
            Self::Dual(phi) => Some(ResidualNetwork::new(SmoothFunction::Quadratic(phi.conjugate()?))),
        }
    }

    /// After one mirror step.
    fn moved(&self, step_size: f64, h: &SmoothFunction) -> Self {
        match (self, h) {
            (Self::Primal(network), _) => {
                Self::Primal(network.with_stage(step_size, h.clone()).expect("re-based before the stack is full"))
            }
            (Self::Dual(phi), SmoothFunction::Quadratic(h)) => Self::Dual(phi.plus(h, step_size)),
            (Self::Dual(_), _) => unreachable!("checked at the start: quadratics in dual coordinates"),
        }
    }

    fn is_consistent(&self) -> bool {
        match self {
            Self::Primal(network) => network.is_consistent(),
            Self::Dual(phi) => phi.conjugate().is_some(),
        }
    }

    fn dim(&self) -> usize {
        match self {
            Self::Primal(network) => network.dim(),
            Self::Dual(phi) => phi.dim(),
        }
    }
}

/// A potential and what held-out points say of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Best {
    nll: f64,
    stage: u64,
    potential: Potential,
}

/// A sum of potentials.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sum {
    sum: Option<Quadratic>,
    count: u64,
}

impl Sum {
    fn push(&mut self, potential: &Quadratic) {
        self.sum = Some(self.sum.as_ref().map_or_else(|| potential.clone(), |sum| sum.plus(potential, 1.0)));
        self.count += 1;
    }

    fn mean(&self) -> Option<Quadratic> {
        let sum = self.sum.as_ref()?;
        Some(sum.plus(sum, 1.0 / self.count as f64 - 1.0))
    }
}

/// Sums over all stages, and over the later ones: from half of the last power of two on, which are between a half and three quarters.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Means {
    all: Sum,
    later: Sum,
    /// Since the last power of two.
    next: Sum,
}

impl Means {
    fn push(&mut self, potential: &Quadratic) {
        if self.all.count.is_power_of_two() {
            self.later = std::mem::take(&mut self.next);
        }
        [&mut self.all, &mut self.later, &mut self.next].into_iter().for_each(|sum| sum.push(potential));
    }
}

/// How far the flow has come.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidualState {
    /// The stages that are done.
    step: u64,
    /// The reference e^{-g}.
    reference: Moments,
    /// The potential as it stands.
    potential: Potential,
    /// The most likely of all stages.
    best: Option<Best>,
    /// What held-out points say of the last.
    nll: Option<f64>,
    /// η of the next stage.
    step_size: f64,
    /// Stages one after the other that found no step.
    refused: u64,
    /// Regret and bounds.
    regret: Regret,
    /// Means of the potentials, where they are quadratics: those are potentials too.
    means: Means,
    /// The misfit of the last re-basing.
    misfit: Option<f64>,
    /// Whether a misfit ended the flow.
    is_over: bool,
    /// The perceptron in training.
    #[serde(skip)]
    mlp: Option<TrainingState<Mlp>>,
    /// What the last stage said.
    #[serde(skip)]
    said: Scalars,
}

impl ResidualState {
    /// The state that a checkpoint holds, without the perceptron in training.
    ///
    /// # Errors
    ///
    /// A missing file, or one of another method.
    pub fn from_files(files: &Files) -> Result<Self, TrainingError> {
        let bytes = files.get(STATE).ok_or_else(|| TrainingError::MissingFile { file: STATE.into() })?;
        let foreign = |reason: String| TrainingError::ForeignWeights { file: STATE.into(), reason };
        let state: Self = serde_json::from_slice(bytes).map_err(|error| foreign(error.to_string()))?;
        let dim = state.reference.mixture()?.dim();
        let mut potentials = std::iter::once(&state.potential).chain(state.best.iter().map(|best| &best.potential));
        if !potentials.all(|potential| potential.is_consistent() && potential.dim() == dim) {
            return Err(foreign("its parts make no potential".to_owned()));
        }
        Ok(state)
    }

    fn mixture(&self) -> Arc<GaussianMixture> {
        Arc::new(self.reference.mixture().expect("checked at the start"))
    }

    /// The law of the potential that is asked for.
    pub fn sampler(&self, iterate: Iterate) -> MapSampler {
        let best = self.best.as_ref().filter(|_| iterate == Iterate::Best).map(|best| &best.potential);
        let reference = self.mixture();
        match best.unwrap_or(&self.potential) {
            Potential::Primal(network) => MapSampler::new(primal_map(network.clone(), &reference), reference),
            Potential::Dual(phi) => {
                let potential = QuadraticPotential::of(phi.clone()).expect("convex at every stage");
                let map = BrenierMap::new(Arc::new(potential), reference.clone(), Inversion::default());
                MapSampler::new(map, reference)
            }
        }
    }
}

/// The map of ψ, whose inversions start from points that fill the reference.
fn primal_map(psi: ResidualNetwork, reference: &Arc<GaussianMixture>) -> PrimalMap {
    // One Newton step inverts a quadratic from anywhere.
    let needs_starts = psi.as_quadratic().is_none();
    let map = PrimalMap::new(Arc::new(psi), reference.clone(), INVERSION);
    if !needs_starts {
        return map;
    }
    map.with_starts(reference.even_draws(&Stream::new(0, Purpose::Pool), 0, STARTS))
}

/// What all stages of a run share.
struct Setting {
    reference: Arc<GaussianMixture>,
    /// Ridges where data and sampler are, for h.
    of_data: Option<Ridges>,
    /// Ridges on the side of the reference, for ψ.
    of_reference: Option<Arc<Ridges>>,
    /// The law of the data, as a Gaussian.
    gaussian: Option<Gaussian>,
    /// Nodes of the reference and of the data, the same at every stage.
    nodes: Option<(Weighted, Weighted)>,
}

/// A step that was taken.
struct Taken {
    potential: Potential,
    map: PrimalMap,
    least_eigenvalue: f64,
    step_size: f64,
    /// The share of the step.
    length: f64,
    inequality: Option<Inequality>,
}

impl MongeAmpereResidual {
    /// Algorithm 1 in composed form for the points of a source; `law` is the law of the data in the same coordinates, where it is known.
    ///
    /// # Errors
    ///
    /// A reference that is none in this dimension or has no density, and choices that do not go together.
    pub fn new(
        config: MongeAmpereLogisticConfig,
        source: Source,
        law: Option<GaussianMixture>,
        held_out: Points,
        seed: u64,
    ) -> Result<Self, TrainingError> {
        let d = source.dim();
        if d > LARGEST_JACOBIAN {
            return Err(TrainingError::Choice {
                what: format!(
                    "composed stages, and quadratics, take up to {LARGEST_JACOBIAN} dimensions, and the data have {d}"
                ),
                cure: "take `coordinates: \"dual\"` with the discriminator `features`",
            });
        }
        if config.coordinates == Coordinates::Dual && config.discriminator != DiscriminatorConfig::Quadratic {
            return Err(TrainingError::Choice {
                what: "dual coordinates compose nothing but quadratics".to_owned(),
                cure: "take the discriminator `quadratic`, or `coordinates: \"primal\"`",
            });
        }
        let method = Self { config, source, law, held_out, seed, go_on: || true };
        if let Some(column) = constant_column(&method.source.points(seed, FIRST), &method.source.noise()) {
            return Err(TrainingError::ConstantColumn { column });
        }
        let coefficients = method.config.ridges.most_coefficients(d);
        if method.config.discriminator != DiscriminatorConfig::Quadratic && coefficients > MOST_COEFFICIENTS {
            return Err(TrainingError::TooManyCoefficients { count: coefficients, most: MOST_COEFFICIENTS });
        }
        if let Expectations::Nodes(count) = method.config.expectations {
            if d > MOST_AXES {
                return Err(TrainingError::Choice {
                    what: format!("nodes fill up to {MOST_AXES} dimensions, and the data have {d}"),
                    cure: "take `expectations: \"samples\"`",
                });
            }
            if !method.law.as_ref().is_some_and(GaussianMixture::has_density) {
                return Err(TrainingError::Choice {
                    what: "nodes need a target that is a mixture of Gaussians with a density".to_owned(),
                    cure: "take `expectations: \"samples\"`",
                });
            }
            if count.saturating_pow(d as u32) > MOST_NODES {
                return Err(TrainingError::Choice {
                    what: format!("{count} nodes an axis are {count}^{d} in all, and at most {MOST_NODES} are taken"),
                    cure: "lower `expectations.nodes`",
                });
            }
        }
        match &method.config.reference {
            ReferenceConfig::Stack(stack) => stack.check(method.source.points(seed, FIRST).nrows())?,
            ReferenceConfig::FittedMixture(_) => {}
            _ => drop(method.reference()?),
        }
        Ok(method)
    }

    /// The same, which gives up what comes before the first stage as soon as it is told to.
    #[must_use]
    pub fn while_told(mut self, go_on: fn() -> bool) -> Self {
        self.go_on = go_on;
        self
    }

    fn reference(&self) -> Result<Moments, TrainingError> {
        let points = self.source.points(self.seed, FIRST);
        self.config.reference.build(&points, &self.source.noise(), &self.held_out, self.seed, self.go_on)
    }

    /// Points of the reference and of the data for one stage.
    fn expectations(&self, stage: u64, setting: &Setting) -> (Weighted, Weighted) {
        setting.nodes.clone().unwrap_or_else(|| {
            let stream = Stream::new(self.seed, Purpose::Pool);
            let y = setting.reference.even_draws(&stream, stage, self.config.pool.size);
            (Weighted::draws(y), Weighted::draws(self.source.of_stage(stage, self.seed, self.config.fresh)))
        })
    }

    fn setting(&self, state: &ResidualState) -> Setting {
        let reference = state.mixture();
        let is_quadratic = self.config.discriminator == DiscriminatorConfig::Quadratic;
        let draws = || reference.even_draws(&Stream::new(self.seed, Purpose::Ridges), 0, self.config.pool.size);
        // h is asked for where the data are and where the sampler is.
        let both = || {
            let data = self.source.first_points(self.seed, FIRST);
            ndarray::concatenate(ndarray::Axis(0), &[data.view(), draws().view()]).expect("one width")
        };
        let of_data = (self.config.discriminator == DiscriminatorConfig::Features)
            .then(|| self.config.ridges.choose(&both(), self.seed));
        let of_reference = (!is_quadratic).then(|| Arc::new(self.config.ridges.choose(&draws(), self.seed)));
        let gaussian = self.law.as_ref().and_then(as_gaussian);
        let nodes = match (self.config.expectations, &self.law) {
            (Expectations::Nodes(count), Some(law)) => {
                Some((Weighted::nodes(&reference, count), Weighted::nodes(law, count)))
            }
            _ => None,
        };
        Setting { of_data, of_reference, gaussian, nodes, reference }
    }

    /// One stage of Algorithm 1.
    fn stage(&self, state: &mut ResidualState, setting: &Setting) -> Result<(), TrainingError> {
        let stage = state.step;
        let (y, data) = self.expectations(stage, setting);
        let psi = state.potential.psi().expect("convex at every stage");
        let map = primal_map(psi, &setting.reference);
        // Sampling step: x' = ∇ψ_k(y).
        let sampler = y.with_points(map.to_data(&y.points).points);
        // Learning step: h_k.
        let Learnt { function, loss } = self.learn(state, setting, &data, &sampler)?;
        // Network update: ψ_{k+1} = ψ_k - η_k h_k∘∇ψ_k.
        let taken = self.update(state, setting, &map, &function, &y, &data)?;
        let mut said: Scalars = vec![("step_size", taken.as_ref().map_or(state.step_size, |taken| taken.step_size))];
        said.push(("logistic_loss", loss));
        state.refused = if taken.is_some() { 0 } else { state.refused + 1 };
        if taken.is_none() && state.refused >= MOST_REFUSED {
            return Err(TrainingError::NoStep { step: stage, refused: state.refused });
        }
        let length = taken.as_ref().map_or(0.0, |taken| taken.length);
        if let Some(Taken { potential, map, least_eigenvalue, inequality, .. }) = taken {
            said.push(("least_eigenvalue", least_eigenvalue));
            let is_exact = setting.nodes.is_some();
            said.extend(state.regret.told(inequality.as_ref(), is_exact, self.law.is_some()));
            state.potential = potential;
            self.rebase(state, setting, &map, &y, &data)?;
            said.extend(self.divergences(state, setting, &y)?);
        }
        match self.known_gap(state, setting) {
            Some(gap) => said.push(("bregman_gap", gap)),
            None => said.extend(state.regret.gap().map(|gap| ("bregman_gap_estimate", gap))),
        }
        if let Some(misfit) = state.misfit {
            said.push(("misfit", misfit));
        }
        state.step += 1;
        state.step_size = self.config.step_size.after(state.step_size, length, state.step, self.config.stages);
        self.judge(state);
        said.extend(state.nll.map(|nll| ("held_out_nll_last", nll)));
        // What is no number has no line.
        said.retain(|(_, value)| value.is_finite());
        state.said = said;
        Ok(())
    }

    /// h of a stage.
    fn learn(
        &self,
        state: &mut ResidualState,
        setting: &Setting,
        data: &Weighted,
        sampler: &Weighted,
    ) -> Result<Learnt, TrainingError> {
        let learnt = match &self.config.discriminator {
            DiscriminatorConfig::Quadratic => discriminator::quadratic(data, sampler, self.config.penalty),
            DiscriminatorConfig::Features => {
                let ridges = setting.of_data.as_ref().expect("chosen for this discriminator");
                let [data, sampler] =
                    [(data, 0), (sampler, 1)].map(|(class, label)| self.part(class, state.step, label));
                discriminator::features(ridges, &data, &sampler, self.config.penalty)
            }
            DiscriminatorConfig::Mlp(config) => {
                let fit = MlpFit { config, data: &data.points, sampler: &sampler.points, seed: self.seed };
                let mlp = state.mlp.as_mut().expect("begun at the start, or resumed");
                Some(fit.run(mlp, state.step)?)
            }
        };
        learnt.ok_or(TrainingError::Diverged {
            what: "logistic loss",
            value: f64::NAN,
            step: state.step,
            last_finite: state.said.iter().find(|(name, _)| *name == "logistic_loss").map(|(_, loss)| *loss),
        })
    }

    /// At most `batch` of draws; all nodes.
    fn part(&self, class: &Weighted, stage: u64, label: u64) -> Weighted {
        let n = class.points.nrows();
        if !class.are_draws() || n <= self.config.batch {
            return class.clone();
        }
        let rows = Stream::new(self.seed, Purpose::Part).permutation(2 * stage + label, n);
        Weighted::draws(class.points.select(ndarray::Axis(0), &rows[..self.config.batch]))
    }

    /// The mirror step, shortened where the step size adapts until ψ is convex well enough and the semi-dual falls.
    ///
    /// # Errors
    ///
    /// A step of fixed size after which ψ is not convex.
    fn update(
        &self,
        state: &ResidualState,
        setting: &Setting,
        before: &PrimalMap,
        h: &SmoothFunction,
        y: &Weighted,
        data: &Weighted,
    ) -> Result<Option<Taken>, TrainingError> {
        let is_adaptive = self.config.step_size.is_adaptive();
        let (few, data) = (measured(y), measured(data));
        let laws = self.law.as_ref().map(|law| Laws { target: law, comparison: law });
        let least_before = match &state.potential {
            _ if !is_adaptive => f64::NAN,
            Potential::Dual(phi) => least_eigenvalue(phi),
            Potential::Primal(_) => Curvature::of(before.potential(), &y.points).least_eigenvalue(usize::MAX),
        };
        let mut length = 1.0;
        let mut least = f64::NAN;
        for _ in 0..if is_adaptive { SHORTENINGS } else { 1 } {
            let step_size = length * state.step_size;
            let potential = state.potential.moved(step_size, h);
            let map = potential.psi().map(|psi| primal_map(psi, &setting.reference));
            least = match (&potential, &map) {
                (Potential::Dual(phi), _) => least_eigenvalue(phi),
                (_, Some(map)) => Curvature::of(map.potential(), &y.points).least_eigenvalue(usize::MAX),
                _ => f64::NAN,
            };
            if let (true, Some(map)) = (least > 0.0 && !(is_adaptive && least < KEPT * least_before), map) {
                let least_curvature = match &potential {
                    // That of ψ is one over the largest of φ.
                    Potential::Dual(phi) => phi.conjugate().map_or(f64::NAN, |psi| least_eigenvalue(&psi)),
                    Potential::Primal(_) => least,
                };
                let step = inequality::Step { before, after: &map, discriminator: h, step_size, least_curvature };
                let inequality = step.inequality(&few, &data, laws);
                let falls = inequality.as_ref().is_some_and(|inequality| inequality.fall > -1e-9);
                if !is_adaptive || falls {
                    return Ok(Some(Taken {
                        potential,
                        map,
                        least_eigenvalue: least_curvature,
                        step_size,
                        length,
                        inequality,
                    }));
                }
            }
            length *= SHORTER;
        }
        if is_adaptive {
            return Ok(None);
        }
        Err(TrainingError::LostConvexity { step: state.step + 1, step_size: state.step_size, eigenvalue: least })
    }

    /// `KL(ρ_{k+1} | e^{-f})` of the law as it stands, and of the laws of mean potentials, where the density of the target is known.
    ///
    /// # Errors
    ///
    /// A potential that is not convex at one of the points.
    fn divergences(
        &self,
        state: &mut ResidualState,
        setting: &Setting,
        y: &Weighted,
    ) -> Result<Scalars, TrainingError> {
        let Some(law) = &self.law else { return Ok(Scalars::new()) };
        let is_exact = setting.nodes.is_some();
        let name = |exact: &'static str, estimate: &'static str| if is_exact { exact } else { estimate };
        let of = |psi: ResidualNetwork| divergence(&primal_map(psi, &setting.reference), law, y);
        let psi = state.potential.psi().expect("convex at every stage");
        let quadratic = psi.as_quadratic();
        let divergence = of(psi);
        if !divergence.is_finite() {
            let (value, step) = (divergence, state.step);
            return Err(TrainingError::Diverged { what: "divergence", value, step, last_finite: None });
        }
        let mut told = vec![(name("kl", "kl_estimate"), divergence)];
        if let Some(quadratic) = quadratic {
            state.means.push(&quadratic);
            for (name, mean) in [
                (name("kl_of_mean", "kl_of_mean_estimate"), &state.means.all),
                (name("kl_of_tail_mean", "kl_of_tail_mean_estimate"), &state.means.later),
            ] {
                let mean = mean.mean().expect("a stage was just taken");
                told.push((name, of(ResidualNetwork::new(SmoothFunction::Quadratic(mean)))));
            }
        }
        Ok(told)
    }

    /// Fits the stack into one potential where it is high enough.
    fn rebase(
        &self,
        state: &mut ResidualState,
        setting: &Setting,
        map: &PrimalMap,
        y: &Weighted,
        data: &Weighted,
    ) -> Result<(), TrainingError> {
        let Potential::Primal(network) = &state.potential else { return Ok(()) };
        if network.stages().len() < self.config.rebase.every {
            return Ok(());
        }
        if let Some(quadratic) = network.as_quadratic() {
            state.potential = Potential::Primal(ResidualNetwork::new(SmoothFunction::Quadratic(quadratic)));
            return Ok(());
        }
        let draws = |step: u64, count: usize| {
            // Steps that no stage draws from.
            setting.reference.even_draws(&Stream::new(self.seed, Purpose::Ridges), step, count)
        };
        let count = self.config.rebase.points;
        let ridges = setting.of_reference.as_ref().expect("chosen for these discriminators");
        let fitted = rebase::nearest(ridges, network, &draws(2 * state.step + 2, count), self.config.rebase.steps);
        let diverged = TrainingError::Diverged {
            what: "re-based potential",
            value: f64::NAN,
            step: state.step,
            last_finite: None,
        };
        let fitted = fitted.ok_or(diverged)?;
        let misfit = rebase::misfit(network, &fitted, &draws(2 * state.step + 3, count.div_ceil(4)));
        state.misfit = Some(misfit);
        let tolerance = self.config.rebase.tolerance;
        if misfit.is_nan() || misfit > tolerance {
            state.is_over = true;
            warn!(
                "the flow ends at stage {}: the stack of {} stages is fitted with a misfit of {misfit:.3}, above `rebase.tolerance` \
                 {tolerance}; take more `ridges.directions` and `ridges.knots`, a smaller `rebase.every` or `step_size`, or \
                 `coordinates: \"dual\"`, where nothing is fitted",
                state.step + 1,
                network.stages().len()
            );
            return Ok(());
        }
        let psi = ResidualNetwork::new(SmoothFunction::Ridges(RidgeFunction::from(&fitted)));
        let based = primal_map(psi.clone(), &setting.reference);
        // The change of B_g.
        match inequality::fall(map, &based, &measured(y), &measured(data)) {
            Some(fall) => state.regret.shift_gap(-fall),
            None => state.regret.push(None),
        }
        state.potential = Potential::Primal(psi);
        Ok(())
    }

    /// `B_g(target | ρ)` in closed form.
    fn known_gap(&self, state: &ResidualState, setting: &Setting) -> Option<f64> {
        let [reference] = setting.reference.components() else { return None };
        let d = reference.mean().len();
        let is_standard =
            reference.mean().iter().all(|&m| m == 0.0) && reference.covariance() == ndarray::Array2::<f64>::eye(d);
        if !is_standard {
            return None;
        }
        gaussian_gap(&state.potential.psi()?.as_quadratic()?, setting.gaussian.as_ref()?)
    }

    /// Asks held-out points for the likelihood of the potential as it stands.
    fn judge(&self, state: &mut ResidualState) {
        let points = self.held_out.slice(s![..self.held_out.nrows().min(JUDGED), ..]).to_owned();
        let reference = state.mixture();
        let values = match &state.potential {
            Potential::Primal(network) => primal_map(network.clone(), &reference).log_density(&points),
            Potential::Dual(phi) => {
                let potential = QuadraticPotential::of(phi.clone()).expect("convex at every stage");
                BrenierMap::new(Arc::new(potential), reference, INVERSION).log_density(&points)
            }
        };
        let nll = -values.iter().sum::<f64>() / values.len() as f64;
        state.nll = nll.is_finite().then_some(nll);
        if let Some(nll) = state.nll
            && state.best.as_ref().is_none_or(|best| nll < best.nll)
        {
            state.best = Some(Best { nll, stage: state.step, potential: state.potential.clone() });
        }
    }
}

/// `KL(ρ | e^{-f})` of the law of a map, over points y of the reference.
fn divergence(map: &PrimalMap, law: &GaussianMixture, y: &Weighted) -> f64 {
    let target = inequality::log_density(law, &map.to_data(&y.points).points);
    y.mean(&inequality::difference(&map.log_density_above(&y.points), &target)).value
}

/// Not too many draws, all nodes.
fn measured(class: &Weighted) -> Weighted {
    let n = class.points.nrows();
    if !class.are_draws() || n <= MEASURED {
        return class.clone();
    }
    Weighted::draws(class.points.slice(s![..MEASURED, ..]).to_owned())
}

fn as_gaussian(law: &GaussianMixture) -> Option<Gaussian> {
    let [component] = law.components() else { return None };
    let rows = component.covariance().rows().into_iter().map(|row| row.to_vec()).collect();
    Gaussian::new(component.mean().to_vec(), rows).ok()
}

fn least_eigenvalue(quadratic: &Quadratic) -> f64 {
    let spectrum = symmetric_eigen(&quadratic.matrix);
    spectrum.map_or(f64::NAN, |spectrum| spectrum.values.into_iter().fold(f64::INFINITY, f64::min))
}

impl Method for MongeAmpereResidual {
    type State = ResidualState;

    fn steps(&self) -> u64 {
        self.config.stages
    }

    /// Fits the reference and starts from the identity.
    fn start(&self) -> Result<ResidualState, TrainingError> {
        let reference = self.reference()?;
        let mixture = reference.mixture()?;
        let d = mixture.dim();
        let identity = Quadratic::identity(d);
        let potential = match self.config.coordinates {
            Coordinates::Primal => Potential::Primal(ResidualNetwork::new(SmoothFunction::Quadratic(identity))),
            Coordinates::Dual => Potential::Dual(identity),
        };
        let mlp = match &self.config.discriminator {
            DiscriminatorConfig::Mlp(config) => Some(TrainingState::new(&config.fit(1), config.begin(d, self.seed))),
            _ => None,
        };
        let mut state = ResidualState {
            step: 0,
            potential,
            best: None,
            nll: None,
            step_size: self.config.step_size.at(0, self.config.stages),
            refused: 0,
            regret: Regret::default(),
            means: Means::default(),
            misfit: None,
            is_over: false,
            mlp,
            said: Scalars::new(),
            reference,
        };
        let setting = self.setting(&state);
        let gap = self.known_gap(&state, &setting).or_else(|| {
            let stream = Stream::new(self.seed, Purpose::Pool);
            let y = setting.reference.even_draws(&stream, u64::MAX, self.config.pool.size);
            let x = match &self.law {
                Some(law) => law.even_draws(&stream, u64::MAX - 1, self.config.pool.size),
                None => self.source.of_stage(0, self.seed, self.config.fresh),
            };
            inequality::identity_gap(&y, &x)
        });
        state.regret = Regret::new(gap);
        Ok(state)
    }

    fn resume(&self, files: &Files) -> Result<ResidualState, TrainingError> {
        let mut state = ResidualState::from_files(files)?;
        if let DiscriminatorConfig::Mlp(config) = &self.config.discriminator {
            let own =
                |(name, content): (&String, &Vec<u8>)| Some((name.strip_prefix(MLP)?.to_owned(), content.clone()));
            let template = config.begin(state.potential.dim(), self.seed);
            let files: Files = files.iter().filter_map(own).collect();
            state.mlp = Some(TrainingState::from_files(&config.fit(state.step), template, &files)?);
        }
        Ok(state)
    }

    fn files(&self, state: &ResidualState) -> Files {
        let mut files = Files::from([(STATE.to_owned(), serde_json::to_vec(state).expect("finite numbers"))]);
        if let Some(mlp) = &state.mlp {
            files.extend(mlp.to_files().into_iter().map(|(name, content)| (format!("{MLP}{name}"), content)));
        }
        files
    }

    fn step(&self, state: &ResidualState) -> u64 {
        state.step
    }

    fn is_done(&self, state: &ResidualState) -> bool {
        let is_stuck = |best: &Best| self.config.patience.is_some_and(|patience| state.step >= best.stage + patience);
        state.is_over || state.step >= self.config.stages || state.best.as_ref().is_some_and(is_stuck)
    }

    fn train(&self, state: &mut ResidualState, observe: &mut Observe<ResidualState>) -> Result<(), TrainingError> {
        let setting = self.setting(state);
        while !self.is_done(state) {
            self.stage(state, &setting)?;
            let scalars = state.said.clone();
            if observe(state, &scalars)? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }

    fn means(&self, state: &mut ResidualState) -> Scalars {
        state.said.clone()
    }

    fn held_out(&self, state: &ResidualState) -> (&'static str, f64) {
        let best = state.best.as_ref().filter(|_| self.config.iterate == Iterate::Best).map(|best| best.nll);
        ("held_out_nll", best.or(state.nll).unwrap_or(f64::NAN))
    }

    fn sampler(&self, state: &ResidualState) -> Box<dyn TrainedSampler> {
        Box::new(state.sampler(self.config.iterate))
    }
}

#[cfg(test)]
mod tests;
