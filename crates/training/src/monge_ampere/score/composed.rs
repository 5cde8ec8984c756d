//! Stages composed as the paper has them: `n_{k+1} = n_k - η_k ∇n_k·(m_k∘n_k)`, m_k a vector field that is learnt.
//!
//! # Design
//!
//! The target knows ∇f at points alone, so that a stage is a field of a family with derivatives of every order, fitted to `m_k = ∇f + ξ_k` where the
//! sampler's points are. Fields that are gradients keep the map one; a perceptron may turn it, and what turns is lost when the stack is fitted into
//! one potential of the run's family (re-based). That potential is fitted at every stage and is the law of the run; the flow goes on from the stack
//! itself until it is re-based.

use std::ops::Range;

use brenier_measure::{Points, Purpose, Stream, to_tensor};
use brenier_model::monge_ampere::{
    Expansion, LARGEST_JACOBIAN, LARGEST_STACK, Mlp, RidgedQuadratic, SmoothFunction, VectorField, VectorNetwork,
    VectorStage,
};
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use ndarray::{Axis, s};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::config::{ComposedConfig, FieldConfig, PerceptronConfig};
use super::estimators::{ScoreConfig, normals};
use super::projection::Projection;
use super::temperatures::effective_share;
use super::{
    COMPARED, JUDGED, KEPT, MongeAmpereScore, SHORTENINGS, SHORTER, Sampled, ScoreState, Setting, Taken, score,
};
use crate::error::TrainingError;
use crate::fit::{FitConfig, Flow, Objective, fit};
use crate::monge_ampere::semi_dual::Curvature;

/// Newton steps in which the point that an earlier map sends to a place nearby is found.
const NEARBY: usize = 4;

/// A residual above this is a point that was not found.
const FOUND: f64 = 1e-6;

/// The stages since the last re-basing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stack {
    /// θ of the potential that they are composed on.
    base: Vec<f64>,
    /// The stages.
    stages: Vec<VectorStage>,
    /// Whether a misfit ended the flow.
    pub is_over: bool,
}

impl Stack {
    /// No stages, on a base.
    pub fn on(base: Vec<f64>) -> Self {
        Self { base, stages: Vec::new(), is_over: false }
    }

    /// Whether its parts make a map of points of this dimension.
    pub fn is_consistent(&self, dim: usize, coefficients: usize) -> bool {
        let is_stage = |stage: &VectorStage| {
            stage.field.dim() == dim && stage.field.is_consistent() && stage.step_size.is_finite()
        };
        self.base.len() == coefficients && self.stages.len() <= LARGEST_STACK && self.stages.iter().all(is_stage)
    }

    fn network(&self, setting: &Setting) -> VectorNetwork {
        let base = SmoothFunction::of_coefficients(&setting.ridges, &self.base);
        self.stages.iter().fold(VectorNetwork::new(base), |network, stage| {
            network.with_stage(stage.step_size, stage.field.clone()).expect("re-based before the stack is full")
        })
    }
}

/// A stage that ends where it may.
pub(super) struct Composed {
    /// The law before it.
    pub sampled: Sampled,
    /// Its step, if it found one.
    pub taken: Option<Taken>,
    /// The share of m_k that the field does not follow, where it is fitted to values.
    pub field_residual: Option<f64>,
    /// `(E|∇ψ - n|²/Var n)^{1/2}` of the potential that is fitted to the stack.
    pub misfit: Option<f64>,
}

impl ComposedConfig {
    /// Whether the choices go together.
    pub(super) fn check(&self, dim: usize) -> Result<(), TrainingError> {
        if !(1..=LARGEST_STACK).contains(&self.every) {
            return Err(TrainingError::Choice {
                what: format!("`form.composed.every` is {}", self.every),
                cure: "give a number from 1 to 4: every further stage multiplies the cost of the next",
            });
        }
        if dim > LARGEST_JACOBIAN {
            return Err(TrainingError::Choice {
                what: format!("stages are composed in up to {LARGEST_JACOBIAN} dimensions, and the target has {dim}"),
                cure: "take `form: \"fitted\"`",
            });
        }
        if let FieldConfig::Perceptron(config) = &self.field
            && config.activation == brenier_model::Activation::Relu
        {
            return Err(TrainingError::Choice {
                what: "`form.composed.field.perceptron.activation` is `relu`, which has a kink, and the map moves by derivatives of m"
                    .to_owned(),
                cure: "take `silu` or `tanh`",
            });
        }
        Ok(())
    }
}

impl MongeAmpereScore {
    /// One stage of the composed form.
    pub(super) fn composed_stage(
        &self,
        state: &mut ScoreState,
        setting: &Setting,
        config: &ComposedConfig,
        y: &Points,
    ) -> Result<Composed, TrainingError> {
        let network = state.stack.as_ref().expect("made at the start").network(setting);
        // Sampling step: x = n_k(y).
        let expansion = network.expansion(y);
        let sampled = self.sampled(state, setting, y, &expansion.images, &expansion.log_dets);
        // Learning step: m_k = ∇f + ξ_k.
        let (field, field_residual) =
            self.learn_field(state, setting, config, (&network, &expansion, y), sampled.beta)?;
        // Network update: n_{k+1} = n_k - η_k ∇n_k·(m_k∘n_k).
        let mut stack = state.stack.take().expect("made at the start");
        let found = self.compose(state, setting, &stack, (&network, &expansion, y), &field, &sampled);
        let (taken, misfit) = found.map_or((None, None), |(taken, misfit)| (Some(taken), Some(misfit)));
        if let Some(taken) = &taken {
            stack.stages.push(VectorStage { step_size: taken.step_size, field });
        }
        if stack.stages.len() == config.every {
            let misfit = misfit.unwrap_or(f64::NAN);
            if misfit <= config.tolerance {
                stack = Stack::on(taken.as_ref().expect("a stage filled the stack").coefficients.clone());
            } else {
                stack.is_over = true;
                warn!(
                    "the flow ends at stage {}: the stack of {} stages is fitted with a misfit of {misfit:.3}, above `form.composed.tolerance` {}; \
                     take more `family.ridges.directions` and `family.ridges.knots`, a smaller `form.composed.every` or step, or `form: \"fitted\"`",
                    state.step + 1,
                    config.every,
                    config.tolerance
                );
            }
        }
        state.stack = Some(stack);
        Ok(Composed { sampled, taken, field_residual, misfit })
    }

    /// The field of a stage, and the share of m_k that it does not follow.
    fn learn_field(
        &self,
        state: &mut ScoreState,
        setting: &Setting,
        config: &ComposedConfig,
        (network, expansion, y): (&VectorNetwork, &Expansion, &Points),
        beta: f64,
    ) -> Result<(VectorField, Option<f64>), TrainingError> {
        let (x, stage, eta) = (&expansion.images, state.step, state.step_size);
        let slopes = self.tempered_score(setting, x, beta);
        if let (FieldConfig::Perceptron(perceptron), ScoreConfig::Sliced { probes, .. }) =
            (&config.field, &self.config.score)
        {
            let aim = Aim::Score { slopes: &finite(slopes), probes: *probes };
            return Ok((self.learn_perceptron(state, perceptron, x, aim)?, None));
        }
        let xi = match self.config.score.estimator() {
            // Jᵀξ = ∇_y(log g - log det J).
            None => {
                let of_reference = score(setting.reference.as_ref(), y);
                expansion.solve_transposed(&(of_reference - network.log_det_gradients(y, expansion)))
            }
            Some(estimator) => self.estimated(estimator.as_ref(), x, stage)?,
        };
        let mut m = finite(xi - slopes);
        let steps = expansion.times(&m);
        for (mut row, step) in m.rows_mut().into_iter().zip(steps.rows()) {
            row *= (self.config.clip / (eta * step.dot(&step).sqrt())).min(1.0);
        }
        let field = match &config.field {
            FieldConfig::Perceptron(perceptron) => self.learn_perceptron(state, perceptron, x, Aim::Values(&m))?,
            of_features => {
                let ridges = of_features.ridges(x, self.seed);
                let problem = Projection::new(&ridges, x, self.config.penalty);
                let theta = problem.solve(&problem.features().means(&m)).ok_or(TrainingError::Diverged {
                    what: "fitted field",
                    value: f64::NAN,
                    step: stage,
                    last_finite: None,
                })?;
                VectorField::gradient_of(SmoothFunction::of_coefficients(&ridges, &theta.to_vec()))
            }
        };
        let square = |points: &Points| points.iter().map(|x| x * x).sum::<f64>();
        let residual = square(&(field.image(x) - &m)) / square(&m);
        Ok((field, residual.is_finite().then_some(residual)))
    }

    /// The steps of one stage of the perceptron.
    fn learn_perceptron(
        &self,
        state: &mut ScoreState,
        config: &PerceptronConfig,
        x: &Points,
        aim: Aim,
    ) -> Result<VectorField, TrainingError> {
        let learner = state.perceptron.as_mut().expect("made at the start");
        let objective = FieldFit { config, x, aim, seed: self.seed };
        let device = Device::flex().autodiff();
        fit(&objective, &config.fit(state.step + 1), learner, &device, false, |_, _| Ok(Flow::Continue))?;
        Ok(VectorField::Mlp(learner.model.clone().valid().cast(DType::F64)))
    }

    /// The longest step that keeps the map monotone, the overlap of the densities, and the divergence from rising; with the potential that is
    /// nearest to the map after it.
    fn compose(
        &self,
        state: &ScoreState,
        setting: &Setting,
        stack: &Stack,
        (network, expansion, y): (&VectorNetwork, &Expansion, &Points),
        field: &VectorField,
        sampled: &Sampled,
    ) -> Option<(Taken, f64)> {
        let eta = state.step_size;
        let is_adaptive = self.config.step_size.is_adaptive();
        let of_base = RidgedQuadratic::new(setting.ridges.clone(), &stack.base)?.jet(y).images;
        let projection = Projection::new(&setting.ridges, y, self.config.penalty);
        let judged = y.slice(s![..y.nrows().min(JUDGED), ..]).to_owned();
        let mut length = 1.0;
        for _ in 0..=SHORTENINGS {
            let next = network.with_stage(eta * length, field.clone()).expect("re-based before the stack is full");
            let after = next.expansion(&judged);
            let (least_before, least_after) = (least_eigenvalue(expansion), least_eigenvalue(&after));
            let overlap =
                self.overlap(setting, network, (&after, &judged), &field.image(&expansion.images), eta * length);
            let is_short = || {
                least_after >= KEPT * least_before
                    && overlap >= self.config.stage_ess
                    && self.rises_not(setting, &judged, &after.images, &after.log_dets, sampled)
            };
            if !is_adaptive || is_short() {
                let images = next.images(y);
                // From the base to the map: -(∇ψ - n).
                let fitted = projection.fit(&stack.base, &(&of_base - &images), 1.0)?;
                let mut coefficients = fitted.coefficients.to_vec();
                RidgedQuadratic::make_convex(&setting.ridges, &mut coefficients);
                if let Some(psi) = RidgedQuadratic::new(setting.ridges.clone(), &coefficients) {
                    let misfit = misfit(&psi.jet(y).images, &images);
                    let step_size = eta * length;
                    return Some((
                        Taken { coefficients, step_size, length, least_eigenvalue: least_after, overlap },
                        misfit,
                    ));
                }
            }
            length *= SHORTER;
        }
        None
    }

    /// The effective share of the weights `ρ_k/ρ_{k+1}` over draws of `ρ_{k+1}`: where the map before sends points there, Newton's method
    /// finds from `y - ηm(x)`.
    fn overlap(
        &self,
        setting: &Setting,
        before: &VectorNetwork,
        (after, y): (&Expansion, &Points),
        m: &Points,
        eta: f64,
    ) -> f64 {
        let n = y.nrows().min(COMPARED);
        let [y, m, target] = [y, m, &after.images].map(|points| points.slice(s![..n, ..]).to_owned());
        let mut nearby = &y - &(m * eta);
        let mut there = before.expansion(&nearby);
        for _ in 0..NEARBY {
            nearby += &there.solve(&(&target - &there.images));
            there = before.expansion(&nearby);
        }
        let (of_before, of_after) =
            (setting.log_law(&nearby, &there.log_dets), setting.log_law(&y, &after.log_dets[..n]));
        let apart = &target - &there.images;
        let ratio = |row: usize| {
            let is_found = apart.row(row).iter().all(|e| e.abs() < FOUND);
            if is_found { of_before[row] - of_after[row] } else { f64::NEG_INFINITY }
        };
        effective_share(&(0..n).map(ratio).collect::<Vec<_>>())
    }
}

/// Rows that are numbers; others do not move.
pub(super) fn finite(mut points: Points) -> Points {
    for mut row in points.rows_mut() {
        // Beyond the support there is no way to tell where it lies.
        if row.iter().any(|x| !x.is_finite()) {
            row.fill(0.0);
        }
    }
    points
}

/// `(E|a - b|²/Var b)^{1/2}`.
fn misfit(a: &Points, b: &Points) -> f64 {
    let square = |points: &Points| points.iter().map(|x| x * x).sum::<f64>();
    let mean = b.mean_axis(Axis(0)).expect("at least one point");
    (square(&(a - b)) / square(&(b - &mean))).sqrt()
}

/// The least eigenvalue of the symmetric part of the Jacobians; NaN where one is no number.
fn least_eigenvalue(expansion: &Expansion) -> f64 {
    let (n, d) = expansion.images.dim();
    let symmetric = |entry: usize| (entry % d) * d + entry / d;
    let jacobians = &expansion.jacobians;
    let halves = Points::from_shape_fn((n.min(COMPARED), d * d), |(row, entry)| {
        f64::midpoint(jacobians[[row, entry]], jacobians[[row, symmetric(entry)]])
    });
    Curvature::of_hessians(halves, d).least_eigenvalue(COMPARED)
}

/// What a perceptron learns at points x.
enum Aim<'a> {
    /// `E ½|m - m_k|²`.
    Values(&'a Points),
    /// `E ½|m|² + m·∇log p + vᵀ∇m v` over probes v, whose minimum is `m_k = ξ_k - ∇log p`. Song et al. (1905.07088).
    Score { slopes: &'a Points, probes: usize },
}

/// A perceptron in training: it goes on where it was at the stage before.
struct FieldFit<'a> {
    config: &'a PerceptronConfig,
    x: &'a Points,
    aim: Aim<'a>,
    seed: u64,
}

impl PerceptronConfig {
    /// The fit up to the end of so many stages.
    pub(super) fn fit(&self, stages: u64) -> FitConfig {
        FitConfig::at_a_constant_rate(stages * self.steps, self.learning_rate)
    }

    /// The field before the first stage, on a device with autodiff.
    pub(super) fn begin(&self, dim: usize, seed: u64) -> Mlp {
        Mlp::field(dim, self.width, self.depth, self.activation, seed, &Device::flex().autodiff())
    }
}

impl Objective<Mlp> for FieldFit<'_> {
    /// Points, what is known there, and the probes.
    type Batch = (Points, Points, Vec<Points>);

    fn batches(&self) -> Box<dyn FnMut(u64) -> Self::Batch + Send + '_> {
        let [part, probe] = [Purpose::Part, Purpose::Probe].map(|purpose| Stream::new(self.seed, purpose));
        Box::new(move |step| {
            let mut words = part.at(step, 0);
            let rows: Vec<usize> =
                (0..self.config.batch).map(|_| words.below(self.x.nrows() as u64) as usize).collect();
            let x = self.x.select(Axis(0), &rows);
            match self.aim {
                Aim::Values(values) => (x, values.select(Axis(0), &rows), Vec::new()),
                Aim::Score { slopes, probes } => {
                    let directions = (0..probes).map(|k| normals(&probe, step * 1000 + k as u64, x.dim())).collect();
                    (x, slopes.select(Axis(0), &rows), directions)
                }
            }
        })
    }

    fn len(&self, batch: &Self::Batch) -> usize {
        batch.0.nrows()
    }

    fn loss_at(&self, model: &Mlp, (x, known, probes): &Self::Batch, rows: Range<usize>, device: &Device) -> Tensor<1> {
        let tensor = |points: &Points| to_tensor(&points.slice(s![rows.clone(), ..]).to_owned(), DType::F32, device);
        let (x, known) = (tensor(x), tensor(known));
        let mean = |products: Tensor<2>| products.sum_dim(1).mean();
        let Some((first, others)) = probes.split_first() else {
            let (image, _) = model.image_and_derivative(x.clone(), x.zeros_like());
            return mean((image - known).square()) * 0.5;
        };
        let along = |v: &Points| {
            let v = tensor(v);
            let (image, derivative) = model.image_and_derivative(x.clone(), v.clone());
            (image, mean(derivative * v))
        };
        let (image, divergence) = along(first);
        let divergence = others.iter().fold(divergence, |sum, v| sum + along(v).1) / probes.len() as f64;
        mean(image.clone().square()) * 0.5 + mean(image * known) + divergence
    }
}
