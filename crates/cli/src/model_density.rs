//! The log-density of a run's network by the probability-flow ODE, tile by tile, in the coordinates of its data.

use brenier_measure::{Points, to_tensor};
use brenier_model::{Divergence, GridConfig, LogDensity, ScoreNetwork, log_density};
use burn::tensor::{DType, Device};

use crate::error::Error;
use crate::problem::DataRecord;
use crate::record::OpenedRun;

/// Points in one call of the network; every one is repeated once a dimension for the exact divergence.
pub const TILE: usize = 256;

/// A network whose density can be asked.
pub struct ModelDensity<'a> {
    network: ScoreNetwork,
    levels: Vec<f64>,
    data: &'a DataRecord,
    seed: u64,
    dtype: DType,
    device: &'a Device,
}

impl<'a> ModelDensity<'a> {
    /// The density of a run's network, along an ODE of so many steps; `seed` is that of a random trace.
    ///
    /// # Errors
    ///
    /// Noise levels that do not fall.
    pub fn new(run: &'a OpenedRun, steps: usize, seed: u64, device: &'a Device) -> Result<Self, Error> {
        let evaluation = &run.record.config.evaluation;
        let levels = GridConfig::default().levels(evaluation.sigma_min, evaluation.sigma_max, steps)?;
        // In f64 where the device can: the integral sums as many terms as there are steps.
        let dtype = if *device == Device::flex() { DType::F64 } else { DType::F32 };
        let network = run.network.clone().cast(dtype);
        Ok(Self { network, levels, data: &run.record.data, seed, dtype, device })
    }

    /// How the trace of the score's Jacobian is taken.
    pub fn method(&self) -> Divergence {
        Divergence::for_dim(self.data.dim)
    }

    /// `log q` (nats) at points `[n, d]`, of which the first has this index; the Jacobian of the standardisation is included.
    ///
    /// # Errors
    ///
    /// A path that is not finite.
    pub fn at(&self, points: &Points, first_index: u64) -> Result<LogDensity, Error> {
        let standardized = to_tensor(&self.data.standardization.apply(points), self.dtype, self.device);
        let mut found = log_density(&self.network, standardized, &self.levels, self.seed, first_index)?;
        let log_jacobian = self.data.standardization.log_det();
        found.values.iter_mut().for_each(|value| *value += log_jacobian);
        Ok(found)
    }

    /// `log q` at all points; `go_on` is told how many are done, and stops the work by answering false.
    ///
    /// # Errors
    ///
    /// Those of [`at`](Self::at), and an interruption.
    pub fn values(&self, points: &Points, go_on: &mut dyn FnMut(usize) -> bool) -> Result<Vec<f64>, Error> {
        let mut values = Vec::with_capacity(points.nrows());
        for start in (0..points.nrows()).step_by(TILE) {
            let rows = points.slice(ndarray::s![start..(start + TILE).min(points.nrows()), ..]).to_owned();
            values.extend(self.at(&rows, start as u64)?.values);
            if !go_on(values.len()) {
                return Err(Error::interrupted());
            }
        }
        Ok(values)
    }
}
