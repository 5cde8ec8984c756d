//! The density to be learnt, in the coordinates of the map.

use std::sync::Arc;

use brenier_measure::data::Standardization;
use brenier_measure::{Measure, Points, to_points, to_tensor, to_values};
use burn::tensor::{DType, Device, Tensor};

/// `p` seen in the coordinates `z = W((x - b)/s)`: `log p'(z) = log p(x) - log |det ∂z/∂x|`.
pub(super) struct FramedTarget {
    pub target: Arc<dyn Measure>,
    pub frame: Standardization,
    pub dtype: DType,
    pub device: Device,
}

impl FramedTarget {
    fn points(&self, z: &Points) -> Tensor<2> {
        to_tensor(&self.frame.undo(z), self.dtype, &self.device)
    }

    /// `log p'(z)`, `[n]`, up to the constant of log p.
    pub fn log_density(&self, z: &Points) -> Vec<f64> {
        let log_det = self.frame.log_det();
        to_values(self.target.log_density(self.points(z))).into_iter().map(|log| log - log_det).collect()
    }

    /// `∇ log p'(z)`, `[n, d]`.
    pub fn score(&self, z: &Points) -> Points {
        self.frame.pull_back(&to_points(self.target.score(self.points(z))))
    }
}

/// `log q` and `∇ log q` of a reference with its normaliser, in f64 on the CPU.
pub(super) fn log_density(reference: &dyn Measure, y: &Points) -> Vec<f64> {
    let log_z = reference.log_normalizer().unwrap_or(0.0);
    to_values(reference.log_density(tensor(y))).into_iter().map(|log| log - log_z).collect()
}

pub(super) fn score(reference: &dyn Measure, y: &Points) -> Points {
    to_points(reference.score(tensor(y)))
}

fn tensor(points: &Points) -> Tensor<2> {
    to_tensor(points, DType::F64, &Device::flex())
}
