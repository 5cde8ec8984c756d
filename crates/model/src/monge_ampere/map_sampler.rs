//! The law that a Brenier map makes of its reference.

use std::ops::Range;
use std::sync::Arc;

use brenier_measure::{GaussianMixture, Points, Purpose, Sample, Stream, to_tensor};
use burn::tensor::{DType, Device, Tensor};
use serde_json::json;

use super::brenier_map::{PushForward, log_density};
use crate::correction::{Corrected, Correction, LEAST_DRAWS};
use crate::frame::Frame;
use crate::log_density::LogDensity;
use crate::samplers::SamplerError;
use crate::trained_sampler::{Facts, TrainedSampler, TransportMap, Witnesses};

/// The images of draws of the reference, with their exact density; in f64 on the CPU.
pub struct MapSampler {
    map: Box<dyn PushForward>,
    reference: Arc<GaussianMixture>,
    witnesses: Option<Witnesses>,
    correction: Option<Correction>,
}

impl MapSampler {
    /// A map with the draws of its reference.
    pub fn new(map: impl PushForward + 'static, reference: Arc<GaussianMixture>) -> Self {
        Self { map: Box::new(map), reference, witnesses: None, correction: None }
    }

    /// The same, with what is known of its target beside it.
    #[must_use]
    pub fn with_witnesses(self, witnesses: Witnesses) -> Self {
        Self { witnesses: Some(witnesses), ..self }
    }

    /// The same, whose draws can be corrected to those of a density.
    #[must_use]
    pub fn with_correction(self, correction: Correction) -> Self {
        Self { correction: Some(correction), ..self }
    }

    /// `-g(y) - log |det ∇T(y)|`.
    fn log_law(&self, y: &Points, log_dets: &[f64]) -> Vec<f64> {
        log_density(self.reference.as_ref(), y).iter().zip(log_dets).map(|(g, log_det)| g - log_det).collect()
    }

    fn draws(&self, seed: u64, indices: Range<u64>, go_on: &(dyn Fn() -> bool + Sync)) -> Result<Points, SamplerError> {
        if !go_on() {
            return Err(SamplerError::Interrupted);
        }
        Ok(self.reference.sample(&Stream::new(seed, Purpose::Reference), 0, indices))
    }
}

impl TrainedSampler for MapSampler {
    fn dim(&self) -> usize {
        self.reference.dim()
    }

    fn sample(
        &self,
        seed: u64,
        indices: Range<u64>,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Tensor<2>, SamplerError> {
        let first = indices.start;
        let y = self.draws(seed, indices, go_on)?;
        let found = self.map.to_data(&y);
        match found.failures.first() {
            Some(&row) => Err(SamplerError::NotInverted { index: first + row as u64, residual: found.residuals[row] }),
            None => Ok(to_tensor(&found.points, DType::F64, &Device::flex())),
        }
    }

    /// Where the Hessian is not positive definite there is no density, and the value is NaN and not valid.
    fn log_density(
        &self,
        x: &Points,
        _seed: u64,
        _first_index: u64,
        _go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<LogDensity, SamplerError> {
        let values = self.map.log_density(x);
        let valid = values.iter().map(|value| value.is_finite()).collect();
        Ok(LogDensity { valid, ..LogDensity::exact(values) })
    }

    fn map(&self) -> Option<&dyn TransportMap> {
        Some(self)
    }

    fn witnesses(&self) -> Option<&Witnesses> {
        self.witnesses.as_ref()
    }

    fn corrected(
        &self,
        seed: u64,
        count: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Option<Result<Corrected, SamplerError>> {
        let correction = self.correction.as_ref()?;
        let drawn = self.draws(seed, 0..count.max(LEAST_DRAWS), go_on).and_then(|y| {
            let (u, log_dets) = self.map.transport_to_line(&y)?;
            Ok((u, self.log_law(&y, &log_dets)))
        });
        Some(drawn.and_then(|(u, log_q)| correction.apply(&u, &log_q, count as usize, seed, go_on)))
    }

    /// `log ρ(T(y)) = -g(y) - log |det ∇T(y)|`: no inversion.
    fn sample_with_log_density(
        &self,
        seed: u64,
        indices: Range<u64>,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Points, Vec<f64>), SamplerError> {
        let y = self.draws(seed, indices, go_on)?;
        let (x, log_dets) = self.map.transport(&y)?;
        Ok((x, self.log_law(&y, &log_dets)))
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

    fn frame(&self) -> Option<&Frame> {
        self.map.frame()
    }

    fn reference(&self) -> Option<&GaussianMixture> {
        Some(&self.reference)
    }
}
