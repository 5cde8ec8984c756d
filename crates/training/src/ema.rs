//! Exponential moving averages of a model's parameters.

use burn::module::Module;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::one_pass::{is_on_host, moved_towards};
use crate::parameters::{Combine, Parameters, combine};

/// The shape of a moving average.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EmaConfig {
    /// Weights of the past halve every so many steps; while a run is young, the average follows with `(1 + k)/(10 + k)`.
    HalfLife(#[schemars(extend("exclusiveMinimum" = 0.0))] f64),
    /// A power function of the step whose width is this fraction of the training so far (0.001 to 0.28).
    /// Karras et al. (2312.02696).
    Power(#[schemars(range(min = 0.001, max = 0.28))] f64),
}

impl EmaConfig {
    /// The factor of the old average at update number k = 1, 2, …
    ///
    /// Half-life h: `min(2^{-1/h}, (1 + k)/(10 + k))`. Power function: `(1 - 1/k)^{γ+1}`, where the relative width
    /// is `√(γ+1)/((γ+2)√(γ+3))`.
    pub fn decay(&self, k: u64) -> f64 {
        let k = k as f64;
        match *self {
            Self::HalfLife(half_life) => (-1.0 / half_life).exp2().min((1.0 + k) / (10.0 + k)),
            Self::Power(relative_sd) => (1.0 - 1.0 / k).powf(power_exponent(relative_sd) + 1.0),
        }
    }
}

/// γ with `√(γ+1)/((γ+2)√(γ+3)) = s`, by bisection (the left side falls in γ). Karras et al. (2312.02696), equation 126.
fn power_exponent(relative_sd: f64) -> f64 {
    let width = |gamma: f64| ((gamma + 1.0) / (gamma + 3.0)).sqrt() / (gamma + 2.0);
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if width(middle) > relative_sd { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// A model whose parameters are a moving average of another's, stepped once per optimiser update.
///
/// Only parameters are averaged; it lives on the device without autodiff.
#[derive(Debug, Clone)]
pub struct Ema<M> {
    config: EmaConfig,
    average: M,
}

impl<M: Module> Ema<M> {
    /// An average that starts at `model`.
    pub fn new(config: EmaConfig, model: &M) -> Self {
        Self { config, average: model.clone().valid() }
    }

    /// An average that goes on from stored parameters.
    pub fn resume(config: EmaConfig, average: M) -> Self {
        Self { config, average }
    }

    /// `average ← decay·average + (1 - decay)·model` for update number k = 1, 2, …
    pub fn update(&mut self, model: &M, k: u64) {
        let rule = Lerp { decay: self.config.decay(k) };
        let model = model.clone().valid();
        // The average moves in place where nobody else has its memory, so it is taken out while it does.
        let average = std::mem::replace(&mut self.average, model.clone());
        self.average = combine(average, Parameters::of(&model), rule);
    }

    /// The averaged model.
    pub fn model(&self) -> &M {
        &self.average
    }
}

struct Lerp {
    decay: f64,
}

impl Combine for Lerp {
    fn combine<const D: usize>(&self, own: Tensor<D>, other: Tensor<D>) -> Tensor<D> {
        // own + (1 - decay)(other - own): a constant model stays exactly where it is.
        let share = 1.0 - self.decay;
        if is_on_host(&own) {
            return moved_towards(own, other, share as f32);
        }
        own.clone() + (other - own) * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_function_has_the_asked_width() {
        // Weights of update j at the end: Π decays; their relative sd must be the asked one.
        for relative_sd in [0.05, 0.1, 0.2] {
            let config = EmaConfig::Power(relative_sd);
            let n = 20_000u64;
            let (mut mean, mut square) = (0.0, 0.0);
            for k in 1..=n {
                let decay = config.decay(k);
                let t = k as f64 / n as f64;
                mean = decay * mean + (1.0 - decay) * t;
                square = decay * square + (1.0 - decay) * t * t;
            }
            let sd = (square - mean * mean).sqrt();
            assert!((sd / relative_sd - 1.0).abs() < 1e-3, "{relative_sd}: {sd}");
        }
    }

    #[test]
    fn a_half_life_halves() {
        let config = EmaConfig::HalfLife(100.0);
        let kept: f64 = (10_000..10_100).map(|k| config.decay(k)).product();
        assert!((kept - 0.5).abs() < 1e-12);
    }
}
