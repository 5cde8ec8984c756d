//! The global norm of a gradient, and clipping by it.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// `|g|²` over all parameters of `model`, a tensor of one element (None where no parameter has a gradient).
pub fn squared_norm<M: Module>(model: &M, gradients: &GradientsParams) -> Option<Tensor<1>> {
    let mut sum = SquaredNorm { gradients, sum: None };
    model.visit(&mut sum);
    sum.sum
}

struct SquaredNorm<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for SquaredNorm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let square = gradient.square().sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

/// The factor that brings a gradient of this global norm down to `clip_norm`; 1 where it is short enough.
///
/// Pascanu, Mikolov, Bengio (1211.5063).
pub fn clip_factor(norm: f64, clip_norm: Option<f64>) -> f64 {
    match clip_norm {
        Some(limit) if norm > limit => limit / norm,
        _ => 1.0,
    }
}
