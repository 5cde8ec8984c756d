//! The law that a Brenier map makes of its reference.

use std::ops::Range;
use std::sync::Arc;

use brenier_measure::{GaussianMixture, Points, Purpose, Sample, Stream, to_tensor};
use burn::tensor::{DType, Device, Tensor};
use serde_json::json;

use super::brenier_map::PushForward;
use crate::log_density::LogDensity;
use crate::samplers::SamplerError;
use crate::trained_sampler::{Facts, TrainedSampler, TransportMap};

/// The images of draws of the reference, with their exact density; in f64 on the CPU.
pub struct MapSampler {
    map: Box<dyn PushForward>,
    reference: Arc<GaussianMixture>,
}

impl MapSampler {
    /// A map with the draws of its reference.
    pub fn new(map: impl PushForward + 'static, reference: Arc<GaussianMixture>) -> Self {
        Self { map: Box::new(map), reference }
    }
}

impl TrainedSampler for MapSampler {
    fn dim(&self) -> usize {
        self.reference.dim()
    }

    fn sample(&self, seed: u64, indices: Range<u64>, go_on: &dyn Fn() -> bool) -> Result<Tensor<2>, SamplerError> {
        if !go_on() {
            return Err(SamplerError::Interrupted);
        }
        let first = indices.start;
        let y = self.reference.sample(&Stream::new(seed, Purpose::Reference), 0, indices);
        let found = self.map.to_data(&y);
        match found.failures.first() {
            Some(&row) => Err(SamplerError::NotInverted { index: first + row as u64, residual: found.residuals[row] }),
            None => Ok(to_tensor(&found.points, DType::F64, &Device::flex())),
        }
    }

    /// Where the Hessian is not positive definite there is no density, and the value is NaN and not valid.
    fn log_density(&self, x: &Points, _seed: u64, _first_index: u64) -> Result<LogDensity, SamplerError> {
        let values = self.map.log_density(x);
        let valid = values.iter().map(|value| value.is_finite()).collect();
        Ok(LogDensity { valid, ..LogDensity::exact(values) })
    }

    fn map(&self) -> Option<&dyn TransportMap> {
        Some(self)
    }

    fn settings(&self) -> Facts {
        Facts(vec![("sampler", json!("brenier_map"))])
    }
}

impl TransportMap for MapSampler {
    fn transport(&self, y: &Points) -> Result<(Points, Vec<f64>), SamplerError> {
        self.map.transport(y)
    }

    fn inverse(&self, x: &Points) -> Result<(Points, Vec<f64>), SamplerError> {
        self.map.inverse(x)
    }

    fn reference(&self) -> Option<&GaussianMixture> {
        Some(&self.reference)
    }
}
