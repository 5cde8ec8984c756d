//! A trained law in the coordinates of its data: samples and log-densities, tile by tile.

use std::ops::Range;

use brenier_measure::{Points, to_points};
use brenier_model::{LogDensity, SamplerError, TrainedSampler, samplers};

use crate::error::Error;
use crate::run::problem::DataRecord;

/// Numbers in one tile of samples; a tile holds this many divided by the dimension, within the limits below, and whole tiles of the
/// samplers, of which a cut one would be computed twice.
const TILE_NUMBERS: usize = 1 << 18;
const LARGEST_TILE: usize = 16 * samplers::TILE;

/// Points in one tile of log-densities; a network repeats every one once a dimension for the exact divergence.
pub const DENSITY_TILE: usize = 256;

/// Why there are no log-densities.
#[derive(Debug)]
pub enum DensityError {
    /// The law has none, or none that can be found.
    Undefined(SamplerError),
    /// Whoever was told of a tile ended the work.
    Stopped(Error),
}

/// A trained law and the way into the coordinates of its data.
#[derive(Clone, Copy)]
pub struct Law<'a> {
    /// The law in standardised coordinates.
    pub sampler: &'a dyn TrainedSampler,
    /// The data that it was learnt from.
    pub data: &'a DataRecord,
}

impl Law<'_> {
    /// The samples of these indices in original coordinates; `go_on` is asked between steps.
    ///
    /// # Errors
    ///
    /// An interruption, and samples that are not finite.
    pub fn draw(&self, seed: u64, indices: Range<u64>, go_on: &(dyn Fn() -> bool + Sync)) -> Result<Points, Error> {
        // Samplers begin and end at whole tiles: a part of a tile is computed as the whole one would be, with its bits.
        let tile = samplers::TILE as u64;
        let (first, last) = (indices.start / tile * tile, indices.end);
        let drawn = self.sampler.sample(seed, first..last, go_on)?;
        let drawn = drawn.narrow(0, (indices.start - first) as usize, (last - indices.start) as usize);
        Ok(self.data.standardization.undo(&to_points(drawn)))
    }

    /// The ranges of indices of the tiles that make up the samples of these indices: between the ends, whole tiles of the samplers.
    pub fn tiles(&self, indices: Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
        // The samplers move their tiles side by side: one for every thread, or two for one.
        let smallest = rayon::current_num_threads().clamp(2, 16) * samplers::TILE;
        let numbers = (TILE_NUMBERS / self.data.dim).clamp(smallest, LARGEST_TILE);
        let tile = (numbers / samplers::TILE * samplers::TILE) as u64;
        let Range { start, end } = indices;
        (start / tile..end.div_ceil(tile)).map(move |k| (k * tile).max(start)..((k + 1) * tile).min(end))
    }

    /// All samples of these indices at once.
    ///
    /// # Errors
    ///
    /// Those of [`draw`](Self::draw).
    pub fn draw_all(&self, seed: u64, indices: Range<u64>, go_on: &(dyn Fn() -> bool + Sync)) -> Result<Points, Error> {
        let row = |index: u64| (index - indices.start) as usize;
        let mut points = Points::zeros((row(indices.end), self.data.dim));
        for tile in self.tiles(indices.clone()) {
            let drawn = self.draw(seed, tile.clone(), go_on)?;
            points.slice_mut(ndarray::s![row(tile.start)..row(tile.end), ..]).assign(&drawn);
        }
        Ok(points)
    }

    /// `log q` (nats) at points `[n, d]`, of which the first has this index; the Jacobian of the standardisation is included.
    /// `go_on` is asked between steps.
    ///
    /// # Errors
    ///
    /// A law without log-densities, an interruption.
    pub fn log_density(
        &self,
        points: &Points,
        seed: u64,
        first_index: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<LogDensity, SamplerError> {
        let standardization = &self.data.standardization;
        let mut found = self.sampler.log_density(&standardization.apply(points), seed, first_index, go_on)?;
        let log_jacobian = standardization.log_det();
        found.values.iter_mut().for_each(|value| *value += log_jacobian);
        Ok(found)
    }

    /// The same by a solver with half the steps; `None` where no solver finds it.
    ///
    /// # Errors
    ///
    /// Those of [`log_density`](Self::log_density).
    pub fn coarse_log_density(
        &self,
        points: &Points,
        seed: u64,
        first_index: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<LogDensity>, SamplerError> {
        let standardization = &self.data.standardization;
        let found = self.sampler.coarse_log_density(&standardization.apply(points), seed, first_index, go_on)?;
        Ok(found.map(|mut found| {
            let log_jacobian = standardization.log_det();
            found.values.iter_mut().for_each(|value| *value += log_jacobian);
            found
        }))
    }

    /// `log q` at all points; `each` sees every tile with the number of points that are done, and stops the work by an error, as does
    /// `go_on` between steps.
    ///
    /// # Errors
    ///
    /// Those of [`log_density`](Self::log_density) and of `each`, told apart.
    pub fn log_densities(
        &self,
        points: &Points,
        seed: u64,
        go_on: &(dyn Fn() -> bool + Sync),
        each: &mut dyn FnMut(&LogDensity, usize) -> Result<(), Error>,
    ) -> Result<LogDensity, DensityError> {
        let mut all: Option<LogDensity> = None;
        for start in (0..points.nrows()).step_by(DENSITY_TILE) {
            if !go_on() {
                return Err(DensityError::Stopped(Error::interrupted()));
            }
            let end = (start + DENSITY_TILE).min(points.nrows());
            let rows = points.slice(ndarray::s![start..end, ..]).to_owned();
            let tile = self.log_density(&rows, seed, start as u64, go_on).map_err(|error| match error {
                SamplerError::Interrupted => DensityError::Stopped(error.into()),
                error => DensityError::Undefined(error),
            })?;
            each(&tile, end).map_err(DensityError::Stopped)?;
            match &mut all {
                Some(all) => all.extend(tile),
                None => all = Some(tile),
            }
        }
        Ok(all.expect("at least one point"))
    }
}
