//! The global norm of a gradient, and clipping by it.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::one_pass::{is_on_host, sum_of_squares};

/// `|g|²` over all parameters of a model, in two parts that belong together.
pub struct SquaredNorm {
    /// What was summed on the CPU.
    pub host: f64,
    /// What lies on another device, a tensor of one element.
    pub device: Option<Tensor<1>>,
}

/// `|g|²` over all parameters of `model`; 0 where no parameter has a gradient.
pub fn squared_norm<M: Module>(model: &M, gradients: &GradientsParams) -> SquaredNorm {
    let mut sum = Sum { gradients, norm: SquaredNorm { host: 0.0, device: None } };
    model.visit(&mut sum);
    sum.norm
}

struct Sum<'a> {
    gradients: &'a GradientsParams,
    norm: SquaredNorm,
}

impl ModuleVisitor for Sum<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(param.id) else { return };
        if is_on_host(&gradient) {
            self.norm.host += sum_of_squares(gradient);
            return;
        }
        let square = gradient.square().sum();
        self.norm.device = Some(match self.norm.device.take() {
            Some(sum) => sum + square,
            None => square,
        });
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
