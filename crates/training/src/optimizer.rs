//! Adam and AdamW over a whole module, with a state that is saved and resumed bit for bit.
//!
//! The update rule is Burn's, on the CPU in one pass over the numbers; the state is ours, because the one of Burn's module optimiser loads onto the
//! process's default device and drops missing entries silently.

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::{
    AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, DynState, GradientsParams, Optimizer as UpdateRule,
};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gradients::Scale;
use crate::one_pass::{AdamStep, is_on_host};
use crate::parameters::{Parameters, Replace, combine};

/// The update rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Adam. Kingma, Ba (1412.6980).
    Adam {
        /// The decay of the first moment.
        #[serde(default = "default_beta_1")]
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
        beta_1: f64,
        /// The decay of the second moment.
        #[serde(default = "default_beta_2")]
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
        beta_2: f64,
        /// The number added to the root of the second moment.
        #[serde(default = "default_epsilon")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        epsilon: f64,
    },
    /// Adam with decoupled weight decay. Loshchilov, Hutter (1711.05101).
    Adamw {
        /// The decay of the first moment.
        #[serde(default = "default_beta_1")]
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
        beta_1: f64,
        /// The decay of the second moment.
        #[serde(default = "default_beta_2")]
        #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
        beta_2: f64,
        /// The number added to the root of the second moment.
        #[serde(default = "default_epsilon")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        epsilon: f64,
        /// The fraction of every parameter that is removed per unit of learning rate.
        #[serde(default = "default_weight_decay")]
        #[schemars(range(min = 0.0))]
        weight_decay: f64,
    },
}

fn default_beta_1() -> f64 {
    0.9
}
fn default_beta_2() -> f64 {
    0.999
}
fn default_epsilon() -> f64 {
    1e-8
}
fn default_weight_decay() -> f64 {
    0.01
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adam { beta_1: default_beta_1(), beta_2: default_beta_2(), epsilon: default_epsilon() }
    }
}

impl OptimizerConfig {
    /// β₁, β₂, ε, and the weight decay λ.
    fn numbers(&self) -> [f64; 4] {
        match *self {
            Self::Adam { beta_1, beta_2, epsilon } => [beta_1, beta_2, epsilon, 0.0],
            Self::Adamw { beta_1, beta_2, epsilon, weight_decay } => [beta_1, beta_2, epsilon, weight_decay],
        }
    }

    fn rule(&self) -> AdamW {
        let [beta_1, beta_2, epsilon, weight_decay] = self.numbers();
        AdamWConfig::new()
            .with_beta_1(beta_1 as f32)
            .with_beta_2(beta_2 as f32)
            .with_epsilon(epsilon as f32)
            .with_weight_decay(weight_decay as f32)
            .build()
    }
}

/// An update rule with its moments, one entry a parameter in the order of the module's traversal.
#[derive(Clone)]
pub struct Optimizer {
    config: OptimizerConfig,
    rule: AdamW,
    states: Vec<DynState>,
}

impl Optimizer {
    /// An optimiser that has seen no gradient.
    pub fn new(config: OptimizerConfig) -> Self {
        Self { config, rule: config.rule(), states: Vec::new() }
    }

    /// An optimiser that goes on after `updates` updates from the moments that [`moments`](Self::moments) gave.
    pub fn resume<M: Module>(config: OptimizerConfig, updates: u64, first: &M, second: &M) -> Self {
        let mut optimizer = Self::new(config);
        if updates > 0 {
            let mut gather = Gather { second: Parameters::of(second), updates, states: Vec::new() };
            let _ = first.clone().map(&mut gather);
            optimizer.states = gather.states;
        }
        optimizer
    }

    /// One update: every parameter moves against `scale` times its gradient.
    pub(crate) fn step<M: Module>(
        &mut self,
        learning_rate: f64,
        model: M,
        gradients: GradientsParams,
        scale: Scale,
    ) -> M {
        let mut update = Update {
            config: self.config,
            rule: &self.rule,
            learning_rate,
            scale,
            gradients,
            old: std::mem::take(&mut self.states).into_iter(),
            new: Vec::new(),
        };
        let model = model.map(&mut update);
        self.states = update.new;
        model
    }

    /// First and second moments in the shape of `model` (on the device without autodiff); zeros before the first update.
    pub fn moments<M: Module>(&self, model: &M) -> (M, M) {
        let model = model.clone().valid();
        let mut split =
            Split { states: self.states.iter(), first: Parameters::default(), second: Parameters::default() };
        let _ = model.clone().map(&mut split);
        let Split { first, second, .. } = split;
        (combine(model.clone(), first, Replace), combine(model, second, Replace))
    }
}

struct Update<'a> {
    config: OptimizerConfig,
    rule: &'a AdamW,
    learning_rate: f64,
    scale: Scale,
    gradients: GradientsParams,
    old: std::vec::IntoIter<DynState>,
    new: Vec<DynState>,
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, tensor, mapper) = param.consume();
        let requires_gradient = tensor.is_require_grad();
        let tensor = tensor.inner();
        let gradient: Tensor<D> = self.gradients.remove(id).unwrap_or_else(|| tensor.zeros_like());
        let state = self.old.next().map(|state| state.downcast::<AdamWState<D>>());
        let (tensor, state) = if is_on_host(&tensor) {
            self.on_host(tensor, gradient, state)
        } else {
            let (tensor, state) = self.rule.step(self.learning_rate, tensor, self.scale.times(gradient), state);
            (tensor, state.expect("the rule keeps moments"))
        };
        self.new.push(DynState::create(state, D));
        let mut tensor = Tensor::from_inner(tensor);
        if requires_gradient {
            tensor = tensor.require_grad();
        }
        Param::from_mapped_value(id, tensor, mapper)
    }
}

impl Update<'_> {
    /// The same to rounding, in one pass over the numbers.
    fn on_host<const D: usize>(
        &self,
        tensor: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, AdamWState<D>) {
        let (updates, moments) = match state.map(|state| state.momentum) {
            Some(momentum) => (momentum.time, [momentum.moment_1, momentum.moment_2]),
            None => (0, [tensor.zeros_like(), tensor.zeros_like()]),
        };
        let [beta_1, beta_2, epsilon, weight_decay] = self.config.numbers();
        let time = updates + 1;
        let scale = self.scale.number();
        let step = AdamStep::new([beta_1, beta_2], epsilon, weight_decay, self.learning_rate, scale, time as u64);
        let (tensor, [moment_1, moment_2]) = step.apply(tensor, gradient, moments);
        (tensor, AdamWState::new(AdaptiveMomentumState { time, moment_1, moment_2, max_moment_2: None }))
    }
}

struct Gather {
    second: Parameters,
    updates: u64,
    states: Vec<DynState>,
}

impl ModuleMapper for Gather {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let momentum = AdaptiveMomentumState {
            time: self.updates as usize,
            moment_1: param.val(),
            moment_2: self.second.next(),
            max_moment_2: None,
        };
        self.states.push(DynState::create(AdamWState::<D>::new(momentum), D));
        param
    }
}

struct Split<'a> {
    states: std::slice::Iter<'a, DynState>,
    first: Parameters,
    second: Parameters,
}

impl ModuleMapper for Split<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.states.next() {
            Some(state) => {
                let momentum = &state.downcast_ref::<AdamWState<D>>().momentum;
                self.first.push(momentum.moment_1.clone());
                self.second.push(momentum.moment_2.clone());
            }
            None => {
                let zeros = param.val().zeros_like();
                self.first.push(zeros.clone());
                self.second.push(zeros);
            }
        }
        param
    }
}
