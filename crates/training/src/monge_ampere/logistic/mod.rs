//! Algorithm 1: a Brenier map from samples, by logistic regression. Deb and Liang (2504.09279).
//!
//! A stage k, in the dual coordinates φ = ψ* (`∇φ` carries the data to the reference, and `∇φ*` is the sampler):
//!
//! ```text
//! sampling step     x'_i = ∇φ_k*(y_i),  y_i from the reference
//! learning step     h_k  = argmin_h  E log(1 + e^{h(x)}) + E log(1 + e^{-h(x')}),  x from the data:  h_k → log(ρ_k/e^{-f})
//! network update    φ_{k+1} = φ_k + η_k h_k
//! ```
//!
//! # Design
//!
//! h is linear in fixed features, so that the update is an addition of coefficients. Every stage is a step downhill on the semi-dual
//! ([`semi_dual`]); the three [steps](Step) differ in its metric alone. All of them end where the features have
//! equal means under sampler and data, and there the logistic loss is log 4, however far the laws may still be apart: it certifies nothing, and
//! the potential is chosen by the negative log-likelihood of held-out points.

mod additive_step;
mod choice;
mod config;
mod polished;

pub use config::{Coordinates, MongeAmpereLogisticConfig, Step};
pub use polished::{PolishedMap, PolishedState};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use brenier_measure::expectation_maximization::Moments;
use brenier_measure::{GaussianMixture, Points, Purpose, Stream};
use brenier_model::TrainedSampler;
use brenier_model::monge_ampere::{BrenierMap, Inversion, MapSampler, PushForward, RidgeSum, Ridges};
use brenier_transport::{Cloud, Cost, exact};
use ndarray::{Array1, Array2, Axis, s};
use serde::{Deserialize, Serialize};
use tracing::warn;

use self::additive_step::AdditiveStep;
use super::box_program;
use super::inequality::{Regret, identity_gap};
use super::iterates::{Best, Iterate, Iterates};
use super::logistic_regression::{Accuracy, Class, LogisticRegression};
use super::pool::{Inverted, Pool, RESOLVED};
use super::reference::ReferenceConfig;
use super::semi_dual::{self, Curvature, FeatureMeans};
use crate::error::TrainingError;
use crate::fit::Flow;
use crate::method::{Files, Method, Observe, Scalars};
use crate::source::{InstanceNoise, Source};

/// The file of a checkpoint.
const STATE: &str = "state.json";

/// The factor by which a step is shortened that goes too far, and how often.
const SHORTER: f64 = 0.4;
const SHORTENINGS: usize = 7;

/// So many stages one after the other that find no step end the training as diverged.
const MOST_REFUSED: u64 = 8;

/// Pairs whose exact transport is compared with the map's.
const ASSIGNED: usize = 512;

/// Points whose Hessians are looked at for their least eigenvalue.
const EIGENVALUES: usize = 1000;

/// Points from which inversions of the finished map start.
const STARTS: usize = 1024;

/// Points that ridges and the metric of the features are computed from.
pub(super) const FIRST: usize = 20_000;

/// The most coefficients: matrices of their square are formed, 0.8 GB each at this number.
pub(super) const MOST_COEFFICIENTS: usize = 10_000;

/// Draws of the reference whose images tell the logistic loss.
const UNSEEN: usize = 1000;

/// A logistic loss below this has a discriminator that nothing can be learnt from.
const SATURATED: f64 = 0.05;

/// A logistic loss below this at the end has not found what the features could have found.
const TOLD_APART: f64 = 1.2;

/// An E|x - y|² above that of the exact assignment by more than this share is that of no optimal map.
const NOT_OPTIMAL: f64 = 0.01;

/// Algorithm 1 with its data at hand.
pub struct MongeAmpereLogistic {
    config: MongeAmpereLogisticConfig,
    source: Source,
    /// The law of the data, where it is known.
    law: Option<GaussianMixture>,
    held_out: Points,
    seed: u64,
    /// Whether what comes before the first stage goes on.
    go_on: fn() -> bool,
    /// What was warned of already.
    warned: Mutex<BTreeSet<&'static str>>,
}

/// How far the flow has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MongeAmpereState {
    /// The stages that are done.
    step: u64,
    /// The reference e^{-g}.
    reference: Moments,
    /// The ridges, whose coefficients are learnt.
    ridges: Ridges,
    /// The potentials.
    iterates: Iterates,
    /// η of the next stage.
    step_size: f64,
    /// Stages one after the other that found no step.
    refused: u64,
    /// Means over the points of the data that were seen.
    data: FeatureMeans,
    /// The sampler's points.
    pool: Pool,
    /// The semi-dual after the last stage.
    semi_dual: Option<f64>,
    /// Regret and bounds.
    #[serde(default)]
    regret: Regret,
    /// What the last stage said.
    #[serde(skip)]
    said: Scalars,
}

impl MongeAmpereState {
    /// The state that a checkpoint holds.
    ///
    /// # Errors
    ///
    /// A missing file, or one of another method.
    pub fn from_files(files: &Files) -> Result<Self, TrainingError> {
        let bytes = files.get(STATE).ok_or_else(|| TrainingError::MissingFile { file: STATE.into() })?;
        let foreign = |reason: String| TrainingError::ForeignWeights { file: STATE.into(), reason };
        let state: Self = serde_json::from_slice(bytes).map_err(|error| foreign(error.to_string()))?;
        let dim = state.reference.mixture()?.dim();
        let shapes = [state.pool.y.dim(), state.pool.x.dim()];
        let is_whole = state.ridges.is_consistent()
            && state.ridges.dim() == dim
            && state.data.features.len() == state.ridges.count()
            && shapes[0] == shapes[1]
            && shapes[0].1 == dim
            && shapes[0].0 > 0;
        if !is_whole {
            return Err(foreign("its parts have different sizes".to_owned()));
        }
        let known = [&state.iterates.last, &state.iterates.average, &state.iterates.ema];
        let best = state.iterates.best.iter().map(|best| &best.coefficients);
        if known
            .into_iter()
            .chain(best)
            .any(|theta| RidgeSum::new(Arc::new(state.ridges.clone()), theta.clone()).is_none())
        {
            return Err(foreign("its coefficients are none of its ridges".to_owned()));
        }
        Ok(state)
    }

    /// The reference, and the potential that is asked for.
    pub(super) fn reference_and_potential(&self, iterate: Iterate) -> (Moments, RidgeSum) {
        (self.reference.clone(), self.potential(iterate))
    }

    fn potential(&self, iterate: Iterate) -> RidgeSum {
        let coefficients = self.iterates.of(iterate).to_vec();
        RidgeSum::new(Arc::new(self.ridges.clone()), coefficients).expect("coefficients in the box")
    }

    fn mixture(&self) -> Arc<GaussianMixture> {
        Arc::new(self.reference.mixture().expect("checked at the start"))
    }

    /// The law of the potential that is asked for.
    pub fn sampler(&self, iterate: Iterate) -> MapSampler {
        let potential = self.potential(iterate);
        let (reference, rows) = (self.mixture(), self.pool.x.nrows().min(STARTS));
        let map = BrenierMap::new(Arc::new(potential), reference.clone(), Inversion::default())
            .with_starts(self.pool.x.slice(s![..rows, ..]).to_owned());
        MapSampler::new(map, reference)
    }
}

/// What all stages of a run share.
struct Setting {
    ridges: Arc<Ridges>,
    reference: Arc<GaussianMixture>,
    /// Points of the data, where they stay the same.
    rows: Option<Arc<Points>>,
    /// The covariance C of the features.
    covariance: Array2<f64>,
    /// The bounds of θ, `[p]`.
    lower: Array1<f64>,
}

/// What a stage learnt: the step `η_k h_k` in coefficients.
struct Learnt {
    step: Array1<f64>,
    /// The constant of h, where it is an estimate of `log(ρ_k/e^{-f})`.
    constant: Option<f64>,
    /// The logistic loss on points that were not fitted, where there is a discriminator.
    loss: Option<f64>,
}

/// A step that was taken.
struct Taken {
    potential: RidgeSum,
    inverted: Inverted,
    /// J after it.
    value: f64,
    /// The share of the step.
    length: f64,
    /// The least eigenvalue of the Hessian over the pool.
    least_eigenvalue: f64,
}

impl MongeAmpereLogistic {
    /// Algorithm 1 for the points of a source.
    ///
    /// # Errors
    ///
    /// A column that does not vary, more coefficients than memory takes, and a reference that is none in this dimension or has no density.
    pub fn new(
        config: MongeAmpereLogisticConfig,
        source: Source,
        held_out: Points,
        seed: u64,
    ) -> Result<Self, TrainingError> {
        if config.step == Step::SemiDual {
            let what = "the step `semi_dual` is the descent of an input-convex network".to_owned();
            return Err(TrainingError::Choice { what, cure: "take another one for sums of ridges" });
        }
        let method = Self { config, source, law: None, held_out, seed, go_on: || true, warned: Mutex::default() };
        let points = method.source.points(seed, FIRST);
        let noise = method.source.noise();
        if let Some(column) = constant_column(&points, &noise) {
            return Err(TrainingError::ConstantColumn { column });
        }
        let coefficients = method.config.ridges.most_coefficients(points.ncols());
        if coefficients > MOST_COEFFICIENTS {
            return Err(TrainingError::TooManyCoefficients { count: coefficients, most: MOST_COEFFICIENTS });
        }
        check_reference(&method.config.reference, &points, &noise, &method.held_out, seed)?;
        Ok(method)
    }

    /// The same, which knows the law of the data in their coordinates, and so the divergences of the flow.
    #[must_use]
    pub fn with_law(mut self, law: Option<GaussianMixture>) -> Self {
        self.law = law;
        self
    }

    /// The same, which gives up what comes before the first stage as soon as it is told to.
    #[must_use]
    pub fn while_told(mut self, go_on: fn() -> bool) -> Self {
        self.go_on = go_on;
        self
    }

    fn setting(&self, state: &MongeAmpereState) -> Setting {
        let ridges = Arc::new(state.ridges.clone());
        let points = self.source.first_points(self.seed, FIRST);
        let first = points.slice(s![..points.nrows().min(self.config.batch), ..]).to_owned();
        let rows = match &self.source {
            Source::Rows { points, noise } if noise.sd == 0.0 => Some(points.clone()),
            _ => None,
        };
        let (p, free) = (ridges.count(), ridges.free());
        Setting {
            covariance: semi_dual::covariance(&ridges, &first),
            lower: Array1::from_shape_fn(p, |j| if j < free { f64::NEG_INFINITY } else { 0.0 }),
            reference: state.mixture(),
            rows,
            ridges,
        }
    }

    /// One stage of Algorithm 1.
    fn stage(&self, state: &mut MongeAmpereState, setting: &Setting) -> Result<(), TrainingError> {
        let stage = state.step;
        let potential = self.potential(setting, &state.iterates.last);
        let fresh = setting.rows.is_none().then(|| self.source.of_stage(stage, self.seed, self.config.fresh));
        if let Some(points) = &fresh
            && stage > 0
        {
            state.data.join(&FeatureMeans::of(&setting.ridges, points), (stage + 1) as f64);
        }
        // Sampling step: x' = ∇φ_k*(y).
        if stage > 0 {
            state.pool.renew(&self.config.pool, stage, setting.reference.as_ref(), &potential, self.seed);
        }
        // Learning step: η_k h_k.
        let curvature = Curvature::of(&potential, &state.pool.x);
        let data = fresh.as_ref().or(setting.rows.as_deref()).expect("rows that stay, or fresh ones");
        let learnt = self.learn(state, setting, &potential, &curvature, data);
        // Network update: φ_{k+1} = φ_k + η_k h_k.
        let before = semi_dual::value(&potential, &state.data, &state.pool.y, &state.pool.x);
        let least = curvature.least_eigenvalue(EIGENVALUES);
        let taken = learnt.as_ref().and_then(|learnt| self.update(state, setting, &learnt.step, before));
        let step_size = state.step_size;
        let length = taken.as_ref().map_or(0.0, |taken| taken.length);
        state.refused = if taken.is_some() { 0 } else { state.refused + 1 };
        if !before.is_finite() {
            let last_finite = state.semi_dual;
            return Err(TrainingError::Diverged { what: "semi-dual", value: before, step: stage, last_finite });
        }
        if taken.is_none() && (!self.config.step_size.is_adaptive() || state.refused >= MOST_REFUSED) {
            return Err(TrainingError::NoStep { step: stage, refused: state.refused });
        }
        let constant = learnt.as_ref().and_then(|learnt| learnt.constant);
        let mut told = Scalars::new();
        if let Some(taken) = &taken {
            let law = self.law.as_ref();
            if let Some(constant) = constant {
                let step = AdditiveStep {
                    before: &potential,
                    after: &taken.potential,
                    step_size: taken.length * step_size,
                    constant,
                    reference: &setting.reference,
                    pool: &state.pool,
                    image: &taken.inverted.x,
                    means: &state.data,
                    data,
                    fall: before - taken.value,
                };
                told = state.regret.told(step.inequality(law).as_ref(), false, law.is_some());
            }
            told.extend(law.map(|law| {
                ("kl_estimate", additive_step::divergence(&taken.potential, &setting.reference, law, &taken.inverted.x))
            }));
        }
        let loss = learnt.and_then(|learnt| learnt.loss);
        let residual = taken.as_ref().map(|taken| taken.inverted.largest_residual());
        let (value, least) = taken.as_ref().map_or((before, least), |taken| (taken.value, taken.least_eigenvalue));
        let coefficients = match taken {
            Some(taken) => {
                state.pool.x = taken.inverted.x;
                taken.potential.coefficients().to_vec()
            }
            None => state.iterates.last.clone(),
        };
        state.iterates.push(coefficients, stage >= self.config.average_after, self.config.ema);
        state.step += 1;
        state.step_size = self.config.step_size.after(step_size, length, state.step, self.config.stages);
        state.semi_dual = Some(value);
        let judged = self.judge(state, setting);
        let gap = optimality_gap(&state.pool);
        self.warn_of(loss, gap);
        state.said = Scalars::new();
        state.said.extend(loss.map(|loss| ("logistic_loss", loss)));
        state.said.push(("semi_dual", value));
        state.said.extend(judged);
        state.said.extend([("step_size", step_size), ("step_share", length), ("least_eigenvalue", least)]);
        state.said.extend(residual.map(|residual| ("inversion_residual", residual)));
        state.said.extend(gap.map(|gap| ("optimality_gap", gap)));
        state.said.extend(told);
        // What is no number has no line.
        state.said.retain(|(_, value)| value.is_finite());
        Ok(())
    }

    fn potential(&self, setting: &Setting, coefficients: &[f64]) -> RidgeSum {
        RidgeSum::new(setting.ridges.clone(), coefficients.to_vec()).expect("coefficients in the box")
    }

    /// `η_k h_k`; `None` where numbers are no longer finite.
    fn learn(
        &self,
        state: &MongeAmpereState,
        setting: &Setting,
        potential: &RidgeSum,
        curvature: &Curvature,
        data: &Points,
    ) -> Option<Learnt> {
        let (ridges, x, eta) = (&setting.ridges, &state.pool.x, state.step_size);
        let sampler = FeatureMeans::of(ridges, x).features;
        let theta = Array1::from(potential.coefficients().to_vec());
        let bounds = ndarray::Zip::from(&setting.lower).and(&theta).map_collect(|&l, &t| l - t);
        let scale = setting.covariance.diag().mapv(|c| c + 1e-9);
        let metric = || {
            let mut metric = curvature.semi_dual_hessian(ridges, x);
            metric.diag_mut().mapv_inplace(|k| k * (1.0 + 1e-4) + 1e-10);
            metric
        };
        let lambda = self.config.penalty;
        let penalty = match self.config.step {
            Step::Newton => {
                let mut matrix = &setting.covariance / eta + &metric();
                matrix.diag_mut().zip_mut_with(&scale, |entry, c| *entry += lambda * c / eta);
                let step = box_program::minimize(&matrix, &(&sampler - &state.data.features), &bounds)?;
                return Some(Learnt { step, constant: None, loss: None });
            }
            Step::Logistic => Array2::from_diag(&(&scale * lambda)),
            Step::SemiDual => unreachable!("refused at the start"),
            Step::SemiImplicit => {
                let mut penalty = metric() * (0.5 * eta);
                penalty.diag_mut().zip_mut_with(&scale, |entry, c| *entry += lambda * c);
                penalty
            }
        };
        let centre = (&sampler + &state.data.features) * 0.5;
        // A part of the points, moved to the mean of all, which is known.
        let part = |points: &Points, mean: &Array1<f64>, label: u64| {
            let stream = Stream::new(self.seed, Purpose::Part);
            let rows = stream.permutation(2 * state.step + label, points.nrows());
            let chosen = points.select(Axis(0), &rows[..points.nrows().min(self.config.batch)]);
            let mut features = semi_dual::centred(ridges, &chosen, &centre);
            let off = features.mean_axis(Axis(1)).expect("at least one point") - (mean - &centre);
            features -= &off.insert_axis(Axis(1));
            features
        };
        let of_data = part(data, &state.data.features, 0);
        let of_sampler = part(x, &sampler, 1);
        let lower = &bounds / eta;
        let even = |features: &Array2<f64>| Array1::from_elem(features.ncols(), 1.0 / features.ncols() as f64);
        let (data_weights, sampler_weights) = (even(&of_data), even(&of_sampler));
        let regression = LogisticRegression {
            data: Class { features: &of_data, weights: &data_weights },
            sampler: Class { features: &of_sampler, weights: &sampler_weights },
            penalty: &penalty,
            lower: &lower,
        };
        let found = regression.fit(Accuracy::OF_DRAWS)?;
        // Points that were not fitted: held-out ones, and the images of fresh draws of the reference.
        let stream = Stream::new(self.seed, Purpose::Pool);
        let fresh = setting.reference.even_draws(&stream, u64::MAX - state.step, UNSEEN);
        let fresh = state.pool.images(potential, &fresh).x;
        let [held_out, fresh] = [&self.held_out, &fresh].map(|points| semi_dual::centred(ridges, points, &centre));
        let [held_out_weights, fresh_weights] = [even(&held_out), even(&fresh)];
        let loss = found.loss(
            &Class { features: &held_out, weights: &held_out_weights },
            &Class { features: &fresh, weights: &fresh_weights },
        );
        let constant = Some(found.intercept - found.weights.dot(&centre));
        Some(Learnt { step: found.weights * eta, constant, loss: Some(loss) })
    }

    /// `φ_k + η_k h_k`, shortened where the step size adapts until the semi-dual falls and all of the pool can be inverted.
    ///
    /// The floor of the ridges keeps the curvature.
    fn update(&self, state: &MongeAmpereState, setting: &Setting, step: &Array1<f64>, before: f64) -> Option<Taken> {
        let is_adaptive = self.config.step_size.is_adaptive();
        let mut length = 1.0;
        for _ in 0..if is_adaptive { SHORTENINGS } else { 1 } {
            let moved = state.iterates.last.iter().zip(step).zip(&setting.lower);
            // In the box but for rounding.
            let coefficients: Vec<f64> = moved.map(|((c, s), l)| (c + length * s).max(*l)).collect();
            let potential = RidgeSum::new(setting.ridges.clone(), coefficients)?;
            let inverted = state.pool.solve(&potential);
            let value = semi_dual::value(&potential, &state.data, &state.pool.y, &inverted.x);
            let falls = value <= before + 1e-9 * before.abs().max(1.0);
            if value.is_finite() && inverted.largest_residual() <= RESOLVED && (falls || !is_adaptive) {
                let least_eigenvalue = Curvature::of(&potential, &inverted.x).least_eigenvalue(EIGENVALUES);
                return Some(Taken { potential, inverted, value, length, least_eigenvalue });
            }
            length *= SHORTER;
        }
        None
    }

    /// Asks held-out points for the likelihood of the potentials at hand.
    fn judge(&self, state: &mut MongeAmpereState, setting: &Setting) -> Scalars {
        let nll = |coefficients: &[f64]| {
            let potential = Arc::new(self.potential(setting, coefficients));
            let map = BrenierMap::new(potential, setting.reference.clone(), Inversion::default());
            let log_density = map.log_density(&self.held_out);
            -log_density.iter().sum::<f64>() / log_density.len() as f64
        };
        let found = state.iterates.judge(nll);
        ["held_out_nll_last", "held_out_nll_average", "held_out_nll_ema"].into_iter().zip(found).collect()
    }

    /// Says whether sampler and data are still told apart when all stages are done.
    fn warn_at_the_end(&self, state: &MongeAmpereState) {
        let loss = state.said.iter().find(|(name, _)| *name == "logistic_loss").map(|(_, loss)| *loss);
        if let Some(loss) = loss.filter(|&loss| loss < TOLD_APART && self.is_done(state)) {
            warn!(
                "sampler and data can still be told apart (logistic loss {loss:.3} of log 4 = 1.386): a mode may be lost, or the \
                 flow has stalled; take more `stages`, the step `newton`, or more `ridges.directions` and `ridges.knots`"
            );
        }
    }

    /// Says once what a user should know of a run.
    fn warn_of(&self, loss: Option<f64>, gap: Option<f64>) {
        let mut warned = self.warned.lock().expect("no panic while it is held");
        if loss.is_some_and(|loss| loss < SATURATED) && warned.insert("saturated") {
            warn!(
                "the discriminator tells sampler and data apart almost surely (logistic loss {:.3} of log 4 = 1.386); take the \
                 step `newton`, or give the data noise of their own (`noise`)",
                loss.unwrap_or(f64::NAN)
            );
        }
        if let Some(gap) = gap.filter(|&gap| gap > NOT_OPTIMAL)
            && warned.insert("not optimal")
        {
            warn!(
                "the map is not optimal: over its pairs E|x - y|² is {:.2} % above that of the exact assignment, so they are \
                 not inverted well; raise `ridges.floor`",
                100.0 * gap
            );
        }
    }
}

/// By which share `E|x - y|²` over pairs is above the least of all their assignments; `None` where that is 0.
fn optimality_gap(pool: &Pool) -> Option<f64> {
    let count = pool.y.nrows().min(ASSIGNED);
    let first = |points: &Points| points.slice(s![..count, ..]).as_standard_layout().to_owned();
    let (y, x) = (first(&pool.y), first(&pool.x));
    let d = y.ncols();
    let [from, to] = [&y, &x].map(|points| Cloud::new(points.as_slice().expect("in standard layout"), d));
    let least = exact::optimal_transport(from.ok()?, to.ok()?, Cost::SquaredDistance).ok()?.cost;
    let cost = (&x - &y).mapv(|e| e * e).sum() / count as f64;
    // Below 0 by rounding alone.
    (least > 0.0).then(|| (cost / least - 1.0).max(0.0))
}

impl Method for MongeAmpereLogistic {
    type State = MongeAmpereState;

    fn steps(&self) -> u64 {
        self.config.stages
    }

    /// Chooses ridges, fits the reference, and starts from the identity.
    fn start(&self) -> Result<MongeAmpereState, TrainingError> {
        let points = self.source.points(self.seed, FIRST);
        let noise = self.source.noise();
        let reference = self.config.reference.build(&points, &noise, &self.held_out, self.seed, self.go_on)?;
        let (first, mixture) = (self.source.first_points(self.seed, FIRST), reference.mixture()?);
        let ridges = self.config.ridges.choose_with(&first, Some(&mixture), self.seed);
        let potential = RidgeSum::new(Arc::new(ridges.clone()), ridges.identity()).expect("curvatures of the identity");
        let data = match &self.source {
            Source::Rows { points, noise } if noise.sd == 0.0 => FeatureMeans::of(&ridges, points),
            _ => FeatureMeans::of(&ridges, &self.source.of_stage(0, self.seed, self.config.fresh)),
        };
        if !(data.half_square.is_finite() && data.features.iter().all(|mean| mean.is_finite())) {
            let value = data.half_square;
            return Err(TrainingError::Diverged { what: "mean of the features", value, step: 0, last_finite: None });
        }
        // Only a regression estimates the log-ratio that the bounds speak of.
        let regret = match self.config.step {
            Step::Newton | Step::SemiDual => Regret::default(),
            Step::Logistic | Step::SemiImplicit => {
                let y = Pool::draw(&self.config.pool, &mixture, &potential, self.seed).y;
                Regret::new(identity_gap(&y, &self.source.of_stage(0, self.seed, self.config.fresh)))
            }
        };
        Ok(MongeAmpereState {
            step: 0,
            regret,
            iterates: Iterates::new(ridges.identity()),
            step_size: self.config.step_size.at(0, self.config.stages),
            refused: 0,
            data,
            pool: Pool::draw(&self.config.pool, &mixture, &potential, self.seed),
            semi_dual: None,
            said: Scalars::new(),
            reference,
            ridges,
        })
    }

    fn resume(&self, files: &Files) -> Result<MongeAmpereState, TrainingError> {
        MongeAmpereState::from_files(files)
    }

    fn files(&self, state: &MongeAmpereState) -> Files {
        Files::from([(STATE.to_owned(), serde_json::to_vec(state).expect("finite numbers"))])
    }

    fn step(&self, state: &MongeAmpereState) -> u64 {
        state.step
    }

    fn is_done(&self, state: &MongeAmpereState) -> bool {
        let is_stuck = |best: &Best| self.config.patience.is_some_and(|patience| state.step >= best.stage + patience);
        state.step >= self.config.stages || state.iterates.best.as_ref().is_some_and(is_stuck)
    }

    fn train(
        &self,
        state: &mut MongeAmpereState,
        observe: &mut Observe<MongeAmpereState>,
    ) -> Result<(), TrainingError> {
        let setting = self.setting(state);
        while !self.is_done(state) {
            self.stage(state, &setting)?;
            let scalars = state.said.clone();
            if observe(state, &scalars)? == Flow::Stop {
                break;
            }
        }
        self.warn_at_the_end(state);
        Ok(())
    }

    fn means(&self, state: &mut MongeAmpereState) -> Scalars {
        state.said.clone()
    }

    fn held_out(&self, state: &MongeAmpereState) -> (&'static str, f64) {
        ("held_out_nll", state.iterates.nll(self.config.iterate))
    }

    fn sampler(&self, state: &MongeAmpereState) -> Box<dyn TrainedSampler> {
        Box::new(state.sampler(self.config.iterate))
    }
}

/// Builds a reference that takes next to no time, for what it refuses.
pub(super) fn check_reference(
    reference: &ReferenceConfig,
    points: &Points,
    noise: &InstanceNoise,
    held_out: &Points,
    seed: u64,
) -> Result<(), TrainingError> {
    if let ReferenceConfig::Stack(stack) = reference {
        stack.check(points.nrows())?;
    }
    if reference.is_fitted() { Ok(()) } else { reference.build(points, noise, held_out, seed, || true).map(drop) }
}

/// The first column that does not vary, noise included.
pub(super) fn constant_column(points: &Points, noise: &InstanceNoise) -> Option<usize> {
    let varies = |column: ndarray::ArrayView1<f64>| column.iter().any(|&x| x != column[0]);
    let noise = noise.covariance();
    let has_noise = |j: usize| noise.as_ref().is_some_and(|covariance| covariance[[j, j]] > 0.0);
    (0..points.ncols()).find(|&j| !varies(points.column(j)) && !has_noise(j))
}

#[cfg(test)]
mod tests;
