//! Algorithm 2: a Brenier map from an unnormalised density, by its score. Deb and Liang (2504.09279).
//!
//! A stage k, with `∇ψ_k` from the reference e^{-g} to the target e^{-f}:
//!
//! ```text
//! sampling step     x_i = ∇ψ_k(y_i),  y_i from the reference
//! learning step     ξ_k = ∇ log ρ_k,  m_k = ∇f + ξ_k
//! network update    ∇ψ_{k+1} = ∇ψ_k - η_k ∇²ψ_k m_k∘∇ψ_k
//! ```
//!
//! # Design
//!
//! Nothing need be learnt in the learning step ([`ScoreConfig`] has estimators from points, too): a potential gives `log ρ_k(x) = -g(y) - log det ∇²ψ_k(y)` at its own samples without an
//! inversion, so that `H = h_k∘∇ψ_k`, `h_k = log ρ_k + f`, and its gradient `∇_yH = ∇²ψ_k m_k∘∇ψ_k` are explicit. The update is fitted into a
//! family that is linear in its coefficients, by one convex program a stage (`projection`).
//!
//! The target is neared by densities `p^β q^{1-β}` ([`TemperaturesConfig`]), and the length of a stage is such that the densities before and after it
//! overlap. Reverse KL, which the ELBO is up to log Z, does not see a mode that the map has lost: what judges it beside the ELBO are particles that
//! nothing was fitted to, and modes that an optimiser finds. A map is kept where it is better than its own reference by both.

mod composed;
mod config;
mod directions;
mod estimators;
mod projection;
mod reference;
mod target;
mod temperatures;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use brenier_measure::data::Standardization;
use brenier_measure::{
    Estimate, GaussianMixture, ImportanceWeights, Measure, Points, Purpose, Stream, Support, to_tensor,
};
use brenier_model::monge_ampere::{
    Conjugate, FramedMap, Inversion, Jet, MapSampler, Mlp, PrimalMap, PushForward, RidgedQuadratic, Ridges,
};
use brenier_model::{Correction, Frame, TrainedSampler, Witnesses};
use burn::tensor::{DType, Device};
use ndarray::{Array2, s};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use self::composed::{Composed, Stack, finite};
pub use self::config::{
    ComposedConfig, DensityReferenceConfig, Family, FieldConfig, Form, MongeAmpereScoreConfig, ParticlesReference,
    PerceptronConfig, TemperaturesConfig, Update,
};
pub use self::estimators::{Denoising, ScoreConfig, ScoreEstimator, Sliced};
use self::projection::Projection;
use self::reference::{FittedReference, Given, Witness};
use self::target::{FramedTarget, log_density, score};
use self::temperatures::{Densities, effective_share};
use super::RidgesConfig;
use super::iterates::Iterates;
use super::semi_dual::Curvature;
use crate::annealed_particles::{AnnealedParticles, AnnealedParticlesConfig, Spread, StartConfig, log_z_at_modes};
use crate::error::TrainingError;
use crate::fit::Flow;
use crate::method::{Files, Method, Observe, Scalars};
use crate::state::TrainingState;

/// The file of a checkpoint.
const STATE: &str = "state.json";

/// Where the perceptron in training stands in a checkpoint.
const PERCEPTRON: &str = "perceptron-";

/// The factor by which a step is shortened that goes too far, and how often.
const SHORTER: f64 = 0.4;
const SHORTENINGS: usize = 7;

/// The share of its least eigenvalue that an adaptive step leaves to the Hessian.
const KEPT: f64 = 0.3;

/// So many stages one after the other that find no step end the training as diverged.
const MOST_REFUSED: u64 = 8;

/// Draws of the reference that ridges are chosen for.
const FIRST: usize = 8192;

/// Draws at which the densities before and after a step are compared.
const COMPARED: usize = 256;

/// Draws over which the change of the KL divergence is measured.
const JUDGED: usize = 1024;

/// Points of the reference from which inversions start.
const STARTS: usize = 1024;

/// Draws of the reference from which an optimiser looks for modes.
const CLIMBERS: usize = 64;

/// How well the conjugate is found.
const INVERSION: Inversion = Inversion { tolerance: 1e-9, steps: 100 };

/// A gain of the ELBO below this is rounding (nats).
const LEAST_GAIN: f64 = 1e-9;

/// Two estimates of log Z contradict each other where they are so many joint standard errors, and so many nats, apart.
const CONTRADICTION: (f64, f64) = (5.0, 0.1);

/// Algorithm 2 with its density at hand.
pub struct MongeAmpereScore {
    config: MongeAmpereScoreConfig,
    target: Arc<dyn Measure>,
    support: Option<Support>,
    seed: u64,
    device: Device,
    /// Whether what comes before the first stage goes on.
    go_on: fn() -> bool,
}

/// How far the flow has come.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreState {
    /// The stages that are done.
    step: u64,
    /// The reference e^{-g} and its coordinates.
    reference: FittedReference,
    /// The ridges, whose coefficients are learnt.
    ridges: Ridges,
    /// The potentials.
    iterates: Iterates,
    /// η of the next stage.
    step_size: f64,
    /// Stages one after the other that found no step.
    refused: u64,
    /// β.
    beta: f64,
    /// What was found in the end.
    verdict: Option<Verdict>,
    /// The stages since the last re-basing, where they are composed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stack: Option<Stack>,
    /// The perceptron in training.
    #[serde(skip)]
    perceptron: Option<TrainingState<Mlp>>,
    /// What the last stage said.
    #[serde(skip)]
    said: Scalars,
}

/// Whether the map is better than its reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// By how much its ELBO is higher (nats), over draws that are held out.
    pub elbo_gain: Option<f64>,
    /// By how much its EUBO is lower (nats), over particles that nothing was fitted to, where there are some.
    pub eubo_gain: Option<f64>,
    /// Whether the map is kept; else the law of the run is the reference.
    pub is_kept: bool,
    /// log Z about the modes that an optimiser found, and their number.
    pub at_modes: Option<(Estimate, usize)>,
}

impl ScoreState {
    /// The state that a checkpoint holds.
    ///
    /// # Errors
    ///
    /// A missing file, or one of another method.
    pub fn from_files(files: &Files) -> Result<Self, TrainingError> {
        let bytes = files.get(STATE).ok_or_else(|| TrainingError::MissingFile { file: STATE.into() })?;
        let foreign = |reason: String| TrainingError::ForeignWeights { file: STATE.into(), reason };
        let state: Self = serde_json::from_slice(bytes).map_err(|error| foreign(error.to_string()))?;
        let dim = state.reference.law.mixture()?.dim();
        let known = [&state.iterates.last, &state.iterates.average, &state.iterates.ema];
        let best = state.iterates.best.iter().map(|best| &best.coefficients);
        let is_whole = state.ridges.is_consistent()
            && state.ridges.dim() == dim
            && state.reference.frame.dim() == dim
            && known.into_iter().chain(best).all(|theta| potential(&state.ridges, theta).is_some())
            && state.stack.iter().all(|stack| stack.is_consistent(dim, RidgedQuadratic::count(&state.ridges)));
        if is_whole { Ok(state) } else { Err(foreign("its parts make no potential".to_owned())) }
    }

    fn mixture(&self) -> Arc<GaussianMixture> {
        Arc::new(self.reference.law.mixture().expect("checked at the start"))
    }

    /// What was found in the end, when it has come to that.
    pub fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// β of the last stage.
    pub fn temperature(&self) -> f64 {
        self.beta
    }
}

fn potential(ridges: &Ridges, coefficients: &[f64]) -> Option<RidgedQuadratic> {
    RidgedQuadratic::new(Arc::new(ridges.clone()), coefficients)
}

/// What all stages of a run share.
struct Setting {
    reference: Arc<GaussianMixture>,
    target: FramedTarget,
    ridges: Arc<Ridges>,
    /// Draws of the reference that the ELBO is a mean over.
    held_out: Points,
}

impl Setting {
    /// `log ρ(∇ψ(y)) = -g(y) - log det ∇²ψ(y)`, `[n]`.
    fn log_law(&self, y: &Points, log_dets: &[f64]) -> Vec<f64> {
        log_density(self.reference.as_ref(), y).iter().zip(log_dets).map(|(g, log_det)| g - log_det).collect()
    }
}

/// The sampler's law at its own draws, beside the densities that it nears.
struct Sampled {
    /// β.
    beta: f64,
    /// `log (p^β q^{1-β}/ρ)`, `[n]`.
    log_weights: Vec<f64>,
    /// The effective share of the draws as weighted ones of the target.
    ess: f64,
    /// `E log p/ρ`.
    elbo: f64,
}

/// A step that was taken.
struct Taken {
    coefficients: Vec<f64>,
    step_size: f64,
    length: f64,
    least_eigenvalue: f64,
    overlap: f64,
}

impl MongeAmpereScore {
    /// Algorithm 2 for a density in coordinates that are not bounded; `support` says where those of the samples live.
    ///
    /// # Errors
    ///
    /// Choices that do not go together.
    pub fn new(
        config: MongeAmpereScoreConfig,
        target: Arc<dyn Measure>,
        support: Option<Support>,
        seed: u64,
        device: &Device,
    ) -> Result<Self, TrainingError> {
        if let TemperaturesConfig::Fixed { temperatures } = &config.annealing
            && temperatures.windows(2).any(|pair| pair[0] > pair[1])
        {
            return Err(TrainingError::Choice {
                what: "`annealing.fixed.temperatures` go down".to_owned(),
                cure: "give them from the reference (0) to the target (1)",
            });
        }
        if config.annealing == TemperaturesConfig::Particles
            && !matches!(config.reference, DensityReferenceConfig::Particles(_))
        {
            return Err(TrainingError::Choice {
                what: "`annealing: \"particles\"` takes the temperatures of particles, and the reference has none"
                    .to_owned(),
                cure: "take the reference `particles`, or another annealing",
            });
        }
        config.score.check()?;
        if let Form::Composed(composed) = &config.form {
            composed.check(target.dim())?;
            if config.update == Update::ReverseKl {
                return Err(TrainingError::Choice {
                    what: "stages that are composed are mirror steps, and `update` is `reverse_kl`".to_owned(),
                    cure: "take `update: \"mirror\"` or `form: \"fitted\"`",
                });
            }
        }
        let d = target.dim();
        if most_coefficients(&Family::Quadratic, d) > MOST_COEFFICIENTS {
            return Err(TrainingError::Choice {
                what: format!("a map has d(d + 3)/2 coefficients and more, and the target has {d} coordinates"),
                cure: "take a target of at most 98, or the method `annealed_particles`",
            });
        }
        let families = [
            ("family.ridges", Some(&config.family).and_then(Family::ridges)),
            ("score.*.features", config.score.features()),
            ("form.composed.field.ridges", config.form.field().and_then(FieldConfig::features)),
        ];
        for (key, ridges) in families {
            let coefficients = ridges.map_or(0, |ridges| most_coefficients(&Family::Ridges(*ridges), d));
            if coefficients > MOST_COEFFICIENTS {
                return Err(TrainingError::Choice {
                    what: format!(
                        "`{key}` has up to {coefficients} coefficients, and at most {MOST_COEFFICIENTS} are taken"
                    ),
                    cure: "lower its `directions` or its `knots`",
                });
            }
        }
        Ok(Self { config, target, support, seed, device: device.clone(), go_on: || true })
    }

    /// The same, which gives up what comes before the first stage as soon as it is told to.
    #[must_use]
    pub fn while_told(mut self, go_on: fn() -> bool) -> Self {
        self.go_on = go_on;
        self
    }

    /// Does what could be refused before the first stage, but for following particles to their end.
    ///
    /// # Errors
    ///
    /// Those of the particles, and of a mode that is not there.
    pub fn rehearse(&self) -> Result<(), TrainingError> {
        // Particles are refused what a map is: a density that is no number at the start, or that has no normaliser.
        let from = |start| AnnealedParticlesConfig { start, ..AnnealedParticlesConfig::default() };
        let config = match &self.config.reference {
            DensityReferenceConfig::StandardNormal => {
                from(StartConfig::Gaussian { mean: None, sd: Spread::Equal(1.0) })
            }
            DensityReferenceConfig::Laplace { widen } => from(StartConfig::Laplace { widen: *widen }),
            DensityReferenceConfig::Particles(particles) => *particles.annealing.clone(),
        };
        let (target, support) = (self.target.clone(), self.support.clone());
        AnnealedParticles::new(config, target, support, self.seed, &self.device)
            .map(drop)
            .map_err(|error| self.config.reference.renamed(error))
    }

    fn given(&self) -> Given<'_> {
        Given {
            target: &self.target,
            support: self.support.as_ref(),
            seed: self.seed,
            device: &self.device,
            go_on: self.go_on,
        }
    }

    /// Ridges along the axes and along directions in which the first step of the flow bends; in the plane at equal angles.
    fn choose_ridges(
        &self,
        ridges: &RidgesConfig,
        reference: &FittedReference,
        mixture: &GaussianMixture,
        draws: &Points,
    ) -> Ridges {
        let d = draws.ncols();
        if !(3..=directions::MOST_DIMENSIONS).contains(&d) {
            return ridges.choose(draws, self.seed);
        }
        let target = self.framed(reference.frame.clone());
        let moves = score(mixture, draws) - target.score(draws);
        let wanted = ridges.wanted(d).saturating_sub(d).max(1);
        match directions::bent_directions(draws, &moves, wanted, self.seed) {
            None => ridges.choose(draws, self.seed),
            Some(bent) => {
                let all = ndarray::concatenate![ndarray::Axis(0), Array2::eye(d), bent];
                ridges.along(all, draws)
            }
        }
    }

    fn framed(&self, frame: Standardization) -> FramedTarget {
        let dtype = if self.device == Device::flex() { DType::F64 } else { DType::F32 };
        FramedTarget { target: self.target.clone(), frame, dtype, device: self.device.clone() }
    }

    fn setting(&self, state: &ScoreState) -> Setting {
        let reference = state.mixture();
        let target = self.framed(state.reference.frame.clone());
        let ridges = Arc::new(state.ridges.clone());
        let held_out = reference.even_draws(&Stream::new(self.seed, Purpose::HeldOut), 0, self.config.held_out);
        Setting { reference, target, ridges, held_out }
    }

    /// One stage of Algorithm 2.
    fn stage(&self, state: &mut ScoreState, setting: &Setting) -> Result<(), TrainingError> {
        let stage = state.step;
        // What was found at an end that is no longer one is not known of the next map.
        state.verdict = None;
        let y = setting.reference.even_draws(&Stream::new(self.seed, Purpose::Pool), stage, self.config.batch);
        let (sampled, taken, mut said) = match &self.config.form {
            Form::Fitted => {
                let (sampled, taken, residual) = self.fitted_stage(state, setting, &y)?;
                (sampled, taken, vec![("fit_residual", residual)])
            }
            Form::Composed(config) => {
                let Composed { sampled, taken, field_residual, misfit } =
                    self.composed_stage(state, setting, config, &y)?;
                let said = [("field_residual", field_residual), ("misfit", misfit)];
                (sampled, taken, said.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
            }
        };
        let Sampled { beta, ess, elbo, .. } = sampled;
        let step_size = taken.as_ref().map_or(state.step_size, |taken| taken.step_size);
        said.extend([("step_size", step_size), ("beta", beta), ("ess", ess), ("elbo", elbo)]);
        state.refused = if taken.is_some() { 0 } else { state.refused + 1 };
        if taken.is_none() && state.refused >= MOST_REFUSED {
            return Err(TrainingError::NoStep { step: stage, refused: state.refused });
        }
        let length = taken.as_ref().map_or(0.0, |taken| taken.length);
        let coefficients =
            taken.as_ref().map_or_else(|| state.iterates.last.clone(), |taken| taken.coefficients.clone());
        if let Some(taken) = taken {
            said.extend([("least_eigenvalue", taken.least_eigenvalue), ("overlap", taken.overlap)]);
        }
        let is_averaged = beta == 1.0 && stage >= self.config.average_after;
        state.iterates.push(coefficients, is_averaged, self.config.ema);
        state.step += 1;
        state.beta = beta;
        state.step_size = self.config.step_size.after(state.step_size, length, state.step, self.config.stages);
        if beta == 1.0 {
            let found = state.iterates.judge(|theta| -self.elbo(setting, theta));
            said.extend(["elbo_last", "elbo_average", "elbo_ema"].into_iter().zip(found.map(|nll| -nll)));
        }
        if self.is_done(state) {
            self.decide(state, setting);
        }
        // What is no number has no line.
        said.retain(|(_, value)| value.is_finite());
        state.said = said;
        Ok(())
    }

    /// A stage whose moves of the draws are fitted into the family: its step, and the share of it that the family does not follow.
    fn fitted_stage(
        &self,
        state: &ScoreState,
        setting: &Setting,
        y: &Points,
    ) -> Result<(Sampled, Option<Taken>, f64), TrainingError> {
        let psi = RidgedQuadratic::new(setting.ridges.clone(), &state.iterates.last).expect("convex at every stage");
        // Sampling step: x = ∇ψ_k(y).
        let jet = psi.jet(y);
        let sampled = self.sampled(state, setting, y, &jet.images, &jet.log_dets);
        // Learning step: ξ_k, m_k = ∇f + ξ_k, and with it ∇_y(h_k∘∇ψ_k) = ∇²ψ_k m_k∘∇ψ_k.
        let moves = self.moves(setting, &jet, y, sampled.beta, state.step)?;
        // Network update: ψ_{k+1} = ψ_k - η_k h_k∘∇ψ_k.
        let (taken, residual) = self.update(state, setting, &jet, y, &moves, &sampled)?;
        Ok((sampled, taken, residual))
    }

    /// The law at its own draws `x` above `y`, and the density that it nears next.
    fn sampled(&self, state: &ScoreState, setting: &Setting, y: &Points, x: &Points, log_dets: &[f64]) -> Sampled {
        let log_p = setting.target.log_density(x);
        let log_q = log_density(setting.reference.as_ref(), x);
        let log_rho = setting.log_law(y, log_dets);
        let densities = Densities { target: &log_p, reference: &log_q, law: &log_rho };
        let taken = state.reference.particles.as_ref().map_or(&[][..], |witness| &witness.temperatures);
        let (stage, stages) = (state.step, self.config.stages);
        let beta = temperatures::next(&self.config.annealing, state.beta, stage, stages, taken, &densities);
        Sampled {
            beta,
            log_weights: densities.log_weights(beta),
            ess: effective_share(&densities.log_weights(1.0)),
            elbo: mean_difference(&log_p, &log_rho),
        }
    }

    /// `∇ log p^β q^{1-β}`, `[n, d]`.
    fn tempered_score(&self, setting: &Setting, x: &Points, beta: f64) -> Points {
        let slopes = setting.target.score(x) * beta;
        if beta < 1.0 { slopes + score(setting.reference.as_ref(), x) * (1.0 - beta) } else { slopes }
    }

    /// ξ of points by an estimator.
    fn estimated(&self, estimator: &dyn ScoreEstimator, x: &Points, stage: u64) -> Result<Points, TrainingError> {
        estimator.score(x, self.seed, stage).ok_or(TrainingError::Diverged {
            what: "estimated score",
            value: f64::NAN,
            step: stage,
            last_finite: None,
        })
    }

    /// Where the update would move the images, up to -η: `∇_y(h∘∇ψ)` of the mirror step, `∇h` of the reverse KL divergence.
    fn moves(&self, setting: &Setting, jet: &Jet, y: &Points, beta: f64, stage: u64) -> Result<Points, TrainingError> {
        let x = &jet.images;
        let slopes = self.tempered_score(setting, x, beta);
        let moves = match self.config.score.estimator() {
            // J ξ = ∇_y(log g - log det J).
            None => {
                let moves = score(setting.reference.as_ref(), y) - &jet.log_det_gradients - jet.times(&slopes);
                if self.config.update == Update::ReverseKl { jet.solve(&moves) } else { moves }
            }
            Some(estimator) => {
                let m = self.estimated(estimator.as_ref(), x, stage)? - slopes;
                if self.config.update == Update::ReverseKl { m } else { jet.times(&m) }
            }
        };
        Ok(finite(moves))
    }

    /// The step that is taken, and the share of it that the family does not follow.
    fn update(
        &self,
        state: &ScoreState,
        setting: &Setting,
        jet: &Jet,
        y: &Points,
        moves: &Points,
        sampled: &Sampled,
    ) -> Result<(Option<Taken>, f64), TrainingError> {
        let eta = state.step_size;
        let mut moves = moves.clone();
        for mut row in moves.rows_mut() {
            let length = eta * row.dot(&row).sqrt();
            row *= (self.config.clip / length).min(1.0);
        }
        let before = &state.iterates.last;
        let fitted = Projection::new(&setting.ridges, y, self.config.penalty).fit(before, &moves, eta);
        let Some(fitted) = fitted else {
            let last_finite = state.said.iter().find(|(name, _)| *name == "fit_residual").map(|(_, value)| *value);
            return Err(TrainingError::Diverged {
                what: "fitted step",
                value: f64::NAN,
                step: state.step,
                last_finite,
            });
        };
        let mut length = 1.0;
        for _ in 0..=SHORTENINGS {
            let mut coefficients: Vec<f64> =
                before.iter().zip(&fitted.coefficients).map(|(a, b)| a + length * (b - a)).collect();
            // Bounds may be missed by rounding.
            RidgedQuadratic::make_convex(&setting.ridges, &mut coefficients);
            if let Some(next) = RidgedQuadratic::new(setting.ridges.clone(), &coefficients) {
                let (least_eigenvalue, kept, overlap) = self.compare(setting, jet, y, Arc::new(next.clone()));
                let is_short =
                    kept >= KEPT && overlap >= self.config.stage_ess && self.is_downhill(setting, &next, y, sampled);
                if is_short || !self.config.step_size.is_adaptive() {
                    let taken = Taken { coefficients, step_size: eta * length, length, least_eigenvalue, overlap };
                    return Ok((Some(taken), fitted.residual));
                }
            }
            length *= SHORTER;
        }
        Ok((None, fitted.residual))
    }

    /// The least eigenvalue of the next Hessian, its ratio to that before, and the effective share of the weights `ρ_{k+1}/ρ_k`.
    fn compare(&self, setting: &Setting, jet: &Jet, y: &Points, next: Arc<RidgedQuadratic>) -> (f64, f64, f64) {
        let n = y.nrows().min(COMPARED);
        let (y, x) = (y.slice(s![..n, ..]).to_owned(), jet.images.slice(s![..n, ..]).to_owned());
        let found = Conjugate::new(next.clone(), INVERSION).gradient_from(&x, &y);
        let there = next.jet(&found.points);
        let before = setting.log_law(&y, &jet.log_dets[..n]);
        let mut after = setting.log_law(&found.points, &there.log_dets);
        found.failures.iter().for_each(|&row| after[row] = f64::NEG_INFINITY);
        let ratios: Vec<f64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        let least = |hessians: &Points| {
            Curvature::of_hessians(hessians.slice(s![..n, ..]).to_owned(), y.ncols()).least_eigenvalue(COMPARED)
        };
        let (least_before, least_after) = (least(&jet.hessians), least(&there.hessians));
        (least_after, least_after / least_before, effective_share(&ratios))
    }

    /// Whether the next potential has no larger KL divergence from the tempered density.
    fn is_downhill(&self, setting: &Setting, next: &RidgedQuadratic, y: &Points, sampled: &Sampled) -> bool {
        let y = y.slice(s![..y.nrows().min(JUDGED), ..]).to_owned();
        let jet = next.jet(&y);
        self.rises_not(setting, &y, &jet.images, &jet.log_dets, sampled)
    }

    /// Whether the KL divergence from the tempered density is no larger at a map with images x of the first draws y, by more than the error of its
    /// change.
    fn rises_not(&self, setting: &Setting, y: &Points, x: &Points, log_dets: &[f64], sampled: &Sampled) -> bool {
        let (log_p, log_q) = (setting.target.log_density(x), log_density(setting.reference.as_ref(), x));
        let log_rho = setting.log_law(y, log_dets);
        let after = Densities { target: &log_p, reference: &log_q, law: &log_rho }.log_weights(sampled.beta);
        let rise = Estimate::mean(after.iter().zip(&sampled.log_weights).map(|(after, before)| after - before));
        // From nowhere every step is welcome.
        !sampled.log_weights[..y.nrows()].iter().all(|log| log.is_finite()) || rise.value >= -rise.std_error
    }

    /// `log p - log ρ` at the images of draws of the reference.
    fn log_weights(&self, setting: &Setting, psi: &RidgedQuadratic, y: &Points) -> Vec<f64> {
        let jet = psi.jet(y);
        let log_g = log_density(setting.reference.as_ref(), y);
        let log_p = setting.target.log_density(&jet.images);
        log_p.iter().zip(&log_g).zip(&jet.log_dets).map(|((p, g), log_det)| p - g + log_det).collect()
    }

    /// The ELBO of θ over the held-out draws; NaN where it is not finite.
    fn elbo(&self, setting: &Setting, theta: &[f64]) -> f64 {
        let Some(psi) = RidgedQuadratic::new(setting.ridges.clone(), theta) else { return f64::NAN };
        let weights = self.log_weights(setting, &psi, &setting.held_out);
        weights.iter().sum::<f64>() / weights.len() as f64
    }

    /// Compares the map with its reference, and log Z by the map with what else is known of it.
    fn decide(&self, state: &mut ScoreState, setting: &Setting) {
        let theta = state.iterates.of(self.config.iterate);
        let psi = RidgedQuadratic::new(setting.ridges.clone(), theta).expect("convex at every stage");
        let identity = RidgedQuadratic::new(setting.ridges.clone(), &RidgedQuadratic::identity(&setting.ridges));
        let of_reference = self.log_weights(setting, &identity.expect("convex"), &setting.held_out);
        let of_map = self.log_weights(setting, &psi, &setting.held_out);
        let elbo_gain = gain(&of_map, &of_reference);
        let eubo_gain = state.reference.particles.as_ref().map(|witness| {
            let map = PrimalMap::new(Arc::new(psi.clone()), setting.reference.clone(), INVERSION);
            let starts = setting.reference.even_draws(&Stream::new(0, Purpose::Pool), 0, STARTS);
            let log_rho = map.with_starts(starts).log_density(&witness.points);
            gain(&log_rho, &log_density(setting.reference.as_ref(), &witness.points))
        });
        // Witnesses are few: what they say counts beyond its error.
        let is_kept = elbo_gain.value > LEAST_GAIN
            && eubo_gain.is_none_or(|gain| gain.value > -gain.std_error.max(0.0) && gain.value.is_finite());
        let (elbo_gain, eubo_gain) = (elbo_gain.value, eubo_gain.map(|gain| gain.value));
        if elbo_gain.is_nan() || elbo_gain == f64::NEG_INFINITY {
            warn!(
                "the ELBO of the map is not finite: the density is zero, or no number, at draws of it. The law of the run is the reference; give \
                 bounded coordinates their `support`"
            );
        } else if !is_kept {
            warn!(
                "the map is no better than its reference (ELBO {elbo_gain:+.4}{} nats): the law of the run is the reference",
                eubo_gain.map_or(String::new(), |gain| format!(", EUBO {:+.4}", -gain))
            );
        } else if elbo_gain == f64::INFINITY {
            info!("the map has a finite ELBO, and its reference none: the density is zero at draws of the reference");
        } else {
            info!(
                "the map raises the ELBO by {elbo_gain:.4} nats{}",
                eubo_gain.map_or(String::new(), |gain| format!(" and lowers the EUBO by {gain:.4}"))
            );
        }
        if let Some(support) = &self.support {
            let kept = if is_kept { psi.jet(&setting.held_out).images } else { setting.held_out.clone() };
            let line = to_tensor(&state.reference.frame.undo(&kept), setting.target.dtype, &self.device);
            if let Some(doubt) = support.lost_mass(&support.from_line(line), "draws") {
                warn!("{doubt}");
            }
        }
        let at_modes = self.look_for_modes(state, setting);
        let weights = if is_kept { of_map } else { of_reference };
        let finite = weights.into_iter().map(|log| if log.is_nan() { f64::NEG_INFINITY } else { log }).collect();
        if let Ok(weights) = ImportanceWeights::new(finite) {
            let own = weights.log_mean();
            let witness =
                state.reference.particles.as_ref().map(|witness| (witness.log_z(), "the annealed particles found"));
            let modes = at_modes.filter(|(found, _)| found.value > own.value);
            let modes = modes.map(|(found, _)| (found, "an optimiser found modes with"));
            for (other, whose) in witness.into_iter().chain(modes) {
                if let Some(what) = contradiction(own, other, whose) {
                    warn!("{what}");
                }
            }
        }
        let finite = |gain: f64| Some(gain).filter(|gain| gain.is_finite());
        state.verdict =
            Some(Verdict { elbo_gain: finite(elbo_gain), eubo_gain: eubo_gain.and_then(finite), is_kept, at_modes });
    }

    /// log Z about the modes that an optimiser finds from draws of the reference.
    fn look_for_modes(&self, state: &ScoreState, setting: &Setting) -> Option<(Estimate, usize)> {
        let y = setting.reference.even_draws(&Stream::new(self.seed, Purpose::Modes), 1, CLIMBERS);
        log_z_at_modes(self.target.as_ref(), &state.reference.frame.undo(&y), self.seed)
    }

    /// The state with a verdict, where it has come to the target: a checkpoint from before the end has none.
    #[must_use]
    pub fn judged(&self, mut state: ScoreState) -> ScoreState {
        if state.verdict.is_none() && state.beta == 1.0 {
            let setting = self.setting(&state);
            self.decide(&mut state, &setting);
        }
        state
    }

    /// The law as it stands.
    pub fn map_sampler(&self, state: &ScoreState) -> MapSampler {
        let reference = state.mixture();
        let is_kept = state.verdict.as_ref().is_none_or(|verdict| verdict.is_kept);
        let identity = RidgedQuadratic::identity(&state.ridges);
        let theta = if is_kept { state.iterates.of(self.config.iterate) } else { &identity };
        let psi = potential(&state.ridges, theta).expect("convex at every stage");
        let starts = reference.even_draws(&Stream::new(0, Purpose::Pool), 0, STARTS);
        let map = PrimalMap::new(Arc::new(psi), reference.clone(), INVERSION).with_starts(starts);
        let coordinates = state.reference.frame.clone();
        let frame = Frame { coordinates, support: self.support.clone() };
        let particles = state.reference.particles.as_ref();
        let witnesses = Witnesses {
            particles: particles.map(|witness| frame.leave(&witness.points).0),
            annealed: particles.map(Witness::log_z),
            at_modes: state.verdict.as_ref().and_then(|verdict| verdict.at_modes),
            is_kept: state.verdict.as_ref().map(|verdict| verdict.is_kept),
        };
        let is_own = frame.support.is_none() && frame.coordinates == Standardization::identity(frame.coordinates.dim());
        let sampler = if is_own {
            MapSampler::new(map, reference)
        } else {
            MapSampler::new(FramedMap::new(map, frame), reference)
        };
        let (target, support) = (self.target.clone(), self.support.clone());
        sampler.with_witnesses(witnesses).with_correction(Correction { target, support, device: self.device.clone() })
    }
}

/// `E (a - b)`; NaN where one is not finite.
fn mean_difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a - b).sum::<f64>() / a.len() as f64
}

/// `E a - E b` of log-densities with its standard error. A point that was not found (NaN) decides nothing, and where more than one in twenty was not,
/// the answer is NaN; so it is where the density is zero at draws of both. Where it is at draws of one alone, that one is infinitely worse.
fn gain(a: &[f64], b: &[f64]) -> Estimate {
    let none = |values: &[f64]| values.contains(&f64::NEG_INFINITY);
    let of = |value: f64| Estimate { value, std_error: 0.0 };
    match (none(a), none(b)) {
        (true, true) => return of(f64::NAN),
        (true, false) => return of(f64::NEG_INFINITY),
        (false, true) => return of(f64::INFINITY),
        (false, false) => {}
    }
    let all: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).filter(|gain| gain.is_finite()).collect();
    if all.len() * 20 < a.len() * 19 { of(f64::NAN) } else { Estimate::mean(all) }
}

/// What speaks against a log Z, in words: another estimate that is far off.
pub fn contradiction(own: Estimate, other: Estimate, whose: &str) -> Option<String> {
    let (errors, nats) = CONTRADICTION;
    let apart = (own.value - other.value).abs();
    (apart > nats && apart > errors * own.std_error.hypot(other.std_error)).then(|| {
        let Estimate { value, std_error } = own;
        let missing =
            if other.value > own.value { "mass is missing, modes may be lost" } else { "one of them is wrong" };
        format!(
            "{missing}: the map has log Z = {value:.3} ± {std_error:.3}, and {whose} {:.3} ± {:.3}",
            other.value, other.std_error
        )
    })
}

/// As many coefficients as a family may have.
fn most_coefficients(family: &Family, d: usize) -> usize {
    let of_quadratic = d + d * (d + 1) / 2;
    match family {
        Family::Quadratic => of_quadratic,
        Family::Ridges(ridges) => ridges.most_coefficients(d).saturating_add(of_quadratic),
    }
}

/// The most coefficients: matrices of their square are factored at every stage.
const MOST_COEFFICIENTS: usize = 5000;

impl Method for MongeAmpereScore {
    type State = ScoreState;

    fn steps(&self) -> u64 {
        self.config.stages
    }

    /// Makes the reference, chooses ridges, and starts from the identity.
    fn start(&self) -> Result<ScoreState, TrainingError> {
        self.rehearse()?;
        let reference = self.config.reference.build(&self.given())?;
        let mixture = reference.law.mixture()?;
        let draws = mixture.even_draws(&Stream::new(self.seed, Purpose::Ridges), 0, FIRST);
        let ridges = match &self.config.family {
            Family::Ridges(ridges) => self.choose_ridges(ridges, &reference, &mixture, &draws),
            Family::Quadratic => without_ridges(mixture.dim(), RidgesConfig::default().floor),
        };
        let identity = RidgedQuadratic::identity(&ridges);
        let (stack, perceptron) = match &self.config.form {
            Form::Fitted => (None, None),
            Form::Composed(config) => {
                let perceptron = match &config.field {
                    FieldConfig::Perceptron(config) => {
                        Some(TrainingState::new(&config.fit(1), config.begin(mixture.dim(), self.seed)))
                    }
                    _ => None,
                };
                (Some(Stack::on(identity.clone())), perceptron)
            }
        };
        Ok(ScoreState {
            step: 0,
            stack,
            perceptron,
            iterates: Iterates::new(identity),
            step_size: self.config.step_size.at(0, self.config.stages),
            refused: 0,
            beta: 0.0,
            verdict: None,
            said: Scalars::new(),
            reference,
            ridges,
        })
    }

    fn resume(&self, files: &Files) -> Result<ScoreState, TrainingError> {
        let mut state = ScoreState::from_files(files)?;
        if let Form::Composed(ComposedConfig { field: FieldConfig::Perceptron(config), .. }) = &self.config.form {
            let own = |(name, content): (&String, &Vec<u8>)| {
                Some((name.strip_prefix(PERCEPTRON)?.to_owned(), content.clone()))
            };
            let template = config.begin(state.ridges.dim(), self.seed);
            let files: Files = files.iter().filter_map(own).collect();
            state.perceptron = Some(TrainingState::from_files(&config.fit(state.step), template, &files)?);
        }
        Ok(state)
    }

    fn files(&self, state: &ScoreState) -> Files {
        let mut files = Files::from([(STATE.to_owned(), serde_json::to_vec(state).expect("finite numbers"))]);
        if let Some(perceptron) = &state.perceptron {
            let own = perceptron.to_files().into_iter();
            files.extend(own.map(|(name, content)| (format!("{PERCEPTRON}{name}"), content)));
        }
        files
    }

    fn step(&self, state: &ScoreState) -> u64 {
        state.step
    }

    fn is_done(&self, state: &ScoreState) -> bool {
        let best = state.iterates.best.as_ref();
        let is_stuck =
            self.config.patience.zip(best).is_some_and(|(patience, best)| state.step >= best.stage + patience);
        state.step >= self.config.stages || is_stuck || state.stack.as_ref().is_some_and(|stack| stack.is_over)
    }

    fn train(&self, state: &mut ScoreState, observe: &mut Observe<ScoreState>) -> Result<(), TrainingError> {
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

    fn means(&self, state: &mut ScoreState) -> Scalars {
        state.said.clone()
    }

    /// Minus the ELBO at the target, so that lower is better.
    fn held_out(&self, state: &ScoreState) -> (&'static str, f64) {
        ("minus_elbo", state.iterates.nll(self.config.iterate))
    }

    fn sampler(&self, state: &ScoreState) -> Box<dyn TrainedSampler> {
        Box::new(self.map_sampler(state))
    }
}

/// A family of quadratics alone.
fn without_ridges(d: usize, floor: f64) -> Ridges {
    Ridges { directions: Array2::eye(d), knots: Array2::zeros((d, 0)), widths: Array2::zeros((d, 0)), floor }
}
