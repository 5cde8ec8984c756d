//! What tells sampler and data apart: h by logistic regression, in one of three forms.

use std::ops::Range;

use brenier_measure::{Points, Purpose, Stream, to_tensor};
use brenier_model::Activation;
use brenier_model::monge_ampere::{Mlp, Quadratic, RidgeFunction, Ridges, SmoothFunction};
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, activation};
use ndarray::{Array1, Array2, Axis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::TrainingError;
use crate::fit::{FitConfig, Flow, Objective, fit};
use crate::monge_ampere::expectation::Weighted;
use crate::monge_ampere::logistic_regression::{Accuracy, Class, LogisticRegression};
use crate::monge_ampere::semi_dual;
use crate::state::TrainingState;

/// The form of the discriminator h.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiscriminatorConfig {
    /// Linear in the features of `ridges`: the regression is convex.
    #[default]
    Features,
    /// `½xᵀHx + g·x + c`: exact between Gaussians, and every stage is a quadratic.
    Quadratic,
    /// A multilayer perceptron, which goes on learning from stage to stage.
    Mlp(MlpConfig),
}

/// A perceptron as a discriminator.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MlpConfig {
    /// Units of a hidden layer.
    #[schemars(range(min = 1, max = 65_536))]
    pub width: usize,
    /// Hidden layers.
    #[schemars(range(min = 1, max = 64))]
    pub depth: usize,
    /// The activation; a smooth one, for the map moves by derivatives of h.
    pub activation: Activation,
    /// Steps of Adam a stage.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub steps: u64,
    /// Points of the data, and as many of the sampler, in one of them.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch: usize,
    /// The learning rate.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// γ of the penalty `γ(E|∇h(x)|² + E|∇h(x')|²)` over data and sampler.
    #[schemars(range(min = 0.0))]
    pub gradient_penalty: f64,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            width: 96,
            depth: 3,
            activation: Activation::Silu,
            steps: 50,
            batch: 256,
            learning_rate: 1e-3,
            gradient_penalty: 5e-4,
        }
    }
}

/// A discriminator and how it was found.
pub struct Learnt {
    /// h.
    pub function: SmoothFunction,
    /// Its logistic loss on the points that it was fitted to; log 4 where nothing can be told apart.
    pub loss: f64,
}

/// The quadratic h of least loss; `None` where numbers are no longer finite.
///
/// The features are centred, so that few digits are lost far from the origin.
pub fn quadratic(data: &Weighted, sampler: &Weighted, penalty: f64) -> Option<Learnt> {
    let centre = (data.weights.dot(&data.points) + sampler.weights.dot(&sampler.points)) * 0.5;
    let d = centre.len();
    let pairs: Vec<(usize, usize)> = (0..d).flat_map(|i| (i..d).map(move |j| (i, j))).collect();
    let features = |points: &Points| {
        let z = points - &centre;
        Array2::from_shape_fn((d + pairs.len(), z.nrows()), |(row, n)| match row.checked_sub(d) {
            None => z[[n, row]],
            Some(pair) => z[[n, pairs[pair].0]] * z[[n, pairs[pair].1]],
        })
    };
    let (weights, intercept, loss) =
        regress([data, sampler], [features(&data.points), features(&sampler.points)], penalty)?;
    let mut matrix = Array2::zeros((d, d));
    for (&(i, j), weight) in pairs.iter().zip(weights.iter().skip(d)) {
        // ½zᵀHz has z_i z_j twice.
        matrix[[i, j]] += weight;
        matrix[[j, i]] += weight;
    }
    let linear = weights.slice(ndarray::s![..d]).to_owned();
    let moved = matrix.dot(&centre);
    let constant = intercept - linear.dot(&centre) + 0.5 * centre.dot(&moved);
    let function = SmoothFunction::Quadratic(Quadratic::new(matrix, linear - moved, constant));
    Some(Learnt { function, loss })
}

/// The h of least loss that is linear in features of ridges; `None` where numbers are no longer finite.
pub fn features(ridges: &Ridges, data: &Weighted, sampler: &Weighted, penalty: f64) -> Option<Learnt> {
    let none = Array1::zeros(ridges.count());
    let of = |points: &Points| semi_dual::centred(ridges, points, &none);
    let [mut of_data, mut of_sampler] = [of(&data.points), of(&sampler.points)];
    let centre = (of_data.dot(&data.weights) + of_sampler.dot(&sampler.weights)) * 0.5;
    for features in [&mut of_data, &mut of_sampler] {
        *features -= &centre.view().insert_axis(Axis(1));
    }
    let (weights, intercept, loss) = regress([data, sampler], [of_data, of_sampler], penalty)?;
    let constant = intercept - weights.dot(&centre);
    let function = RidgeFunction { ridges: ridges.clone(), coefficients: weights.to_vec(), curvature: 0.0, constant };
    Some(Learnt { function: SmoothFunction::Ridges(function), loss })
}

/// Weights, intercept and loss of a regression on features about a centre, with the penalty `λ/2 Σ_j Var(F_j) w_j²`.
fn regress(classes: [&Weighted; 2], features: [Array2<f64>; 2], penalty: f64) -> Option<(Array1<f64>, f64, f64)> {
    let p = features[0].nrows();
    let spread = |side: usize| (&features[side] * &features[side]).dot(&classes[side].weights);
    let scale = (spread(0) + spread(1)) * 0.5;
    let penalty = Array2::from_diag(&(scale * penalty + 1e-14));
    let class = |side: usize| Class { features: &features[side], weights: &classes[side].weights };
    let lower = Array1::from_elem(p, f64::NEG_INFINITY);
    let regression = LogisticRegression { data: class(0), sampler: class(1), penalty: &penalty, lower: &lower };
    let accuracy = if classes.iter().any(|class| class.are_draws()) { Accuracy::OF_DRAWS } else { Accuracy::EXACT };
    let h = regression.fit(accuracy)?;
    let loss = h.loss(&class(0), &class(1));
    Some((h.weights, h.intercept, loss))
}

/// A perceptron in training: it goes on where it was at the stage before.
pub struct MlpFit<'a> {
    /// Its form and how it is fitted.
    pub config: &'a MlpConfig,
    /// Points of the data.
    pub data: &'a Points,
    /// Points of the sampler.
    pub sampler: &'a Points,
    /// The seed of the batches.
    pub seed: u64,
}

impl MlpConfig {
    /// The fit up to the end of so many stages.
    pub fn fit(&self, stages: u64) -> FitConfig {
        FitConfig::at_a_constant_rate(stages * self.steps, self.learning_rate)
    }

    /// The perceptron before the first stage, on a device with autodiff.
    pub fn begin(&self, dim: usize, seed: u64) -> Mlp {
        Mlp::new(dim, self.width, self.depth, self.activation, seed, &Device::flex().autodiff())
    }
}

impl MlpFit<'_> {
    /// The steps of one stage.
    ///
    /// # Errors
    ///
    /// A loss that is no longer finite.
    pub fn run(&self, state: &mut TrainingState<Mlp>, stage: u64) -> Result<Learnt, TrainingError> {
        let device = Device::flex().autodiff();
        fit(self, &self.config.fit(stage + 1), state, &device, false, |_, _| Ok(Flow::Continue))?;
        let function = SmoothFunction::Mlp(state.model.clone().valid().cast(DType::F64));
        let mean = |points: &Points, sign: f64| -> f64 {
            let h = function.value(to_tensor(points, DType::F64, &Device::flex()));
            (-activation::log_sigmoid(h * -sign)).mean().into_scalar()
        };
        let loss = mean(self.data, 1.0) + mean(self.sampler, -1.0);
        Ok(Learnt { function, loss })
    }
}

/// `E log(1 + e^{h(x)}) + E log(1 + e^{-h(x')}) + γ(E|∇h(x)|² + E|∇h(x')|²)`; rows of data and sampler in one batch.
impl Objective<Mlp> for MlpFit<'_> {
    /// Points of the data, then as many of the sampler.
    type Batch = [Points; 2];

    fn batches(&self) -> Box<dyn FnMut(u64) -> Self::Batch + Send + '_> {
        let stream = Stream::new(self.seed, Purpose::Part);
        Box::new(move |step| {
            let mut words = stream.at(step, 0);
            [self.data, self.sampler].map(|points| {
                let rows: Vec<usize> =
                    (0..self.config.batch).map(|_| words.below(points.nrows() as u64) as usize).collect();
                points.select(Axis(0), &rows)
            })
        })
    }

    fn len(&self, batch: &Self::Batch) -> usize {
        batch[0].nrows()
    }

    fn loss_at(&self, model: &Mlp, batch: &Self::Batch, rows: Range<usize>, device: &Device) -> Tensor<1> {
        let class = |points: &Points, sign: f64| {
            let points = points.slice(ndarray::s![rows.clone(), ..]).to_owned();
            let (h, slopes) = model.value_and_gradient(to_tensor(&points, DType::F32, device));
            let penalty = slopes.square().sum_dim(1).mean() * self.config.gradient_penalty;
            // log(1 + e^{±h}).
            -activation::log_sigmoid(h * -sign).mean() + penalty
        };
        class(&batch[0], 1.0) + class(&batch[1], -1.0)
    }
}
