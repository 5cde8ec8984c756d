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

impl SquaredNorm {
    /// Both parts together, a tensor of one element where `loss` is.
    pub fn on_the_device_of(self, loss: &Tensor<1>) -> Tensor<1> {
        match self.device {
            Some(norm) if self.host == 0.0 => norm,
            Some(norm) => norm + self.host,
            None => loss.full_like(self.host),
        }
    }
}

/// What gradients are multiplied by.
#[derive(Debug, Clone)]
pub enum Scale {
    /// A number that the host knows.
    Number(f64),
    /// A tensor of one element that the host has not read.
    Tensor(Box<Tensor<1>>),
}

impl Scale {
    /// Gradients times this.
    pub fn times<const D: usize>(&self, gradient: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Number(1.0) => gradient,
            Self::Number(scale) => gradient * *scale,
            Self::Tensor(scale) => gradient * (**scale).clone().reshape([1; D]),
        }
    }

    /// The number, which is read where the host does not know it.
    pub fn number(&self) -> f64 {
        match self {
            Self::Number(scale) => *scale,
            Self::Tensor(scale) => (**scale).clone().into_scalar::<f64>(),
        }
    }
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

/// The same of a squared norm that the host has not read, a tensor of one element.
pub fn clip_factor_on_device(squared_norm: Tensor<1>, clip_norm: f64) -> Tensor<1> {
    (squared_norm.sqrt().recip() * clip_norm).clamp_max(1.0)
}
