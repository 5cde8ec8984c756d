//! Drawing samples from a run's network, tile by tile, in the coordinates of its data.

use brenier_measure::{Denoiser, Points, to_points};
use brenier_model::{GridConfig, SamplerConfig, sample};
use burn::tensor::{DType, Device};

use crate::arguments::Sampling;
use crate::config::EvaluationConfig;
use crate::error::Error;
use crate::localized::Localization;
use crate::problem::DataRecord;

/// Numbers in one tile; a tile holds this many divided by the dimension, within the limits below.
const TILE_NUMBERS: usize = 1 << 18;
const SMALLEST_TILE: usize = 256;
const LARGEST_TILE: usize = 8192;

/// A sampler on its grid.
#[derive(Debug, Clone)]
pub struct SamplingPlan {
    /// The sampler.
    pub sampler: SamplerConfig,
    /// The name of the grid.
    pub grid: GridConfig,
    /// Its noise levels, falling to 0.
    pub levels: Vec<f64>,
    /// The seed of every draw.
    pub seed: u64,
}

impl SamplingPlan {
    /// The plan of a run's config, with what the command line puts over it.
    ///
    /// # Errors
    ///
    /// A sampler or grid that does not parse, levels that do not fall, a localized grid without its curve.
    pub fn new(localization: &Localization, flags: &Sampling, seed: u64) -> Result<Self, Error> {
        let config: &EvaluationConfig = &localization.run.config.evaluation;
        let sampler = match &flags.sampler {
            Some(text) => parse_choice("sampler", text)?,
            None => config.sampler,
        };
        let grid: GridConfig = match &flags.grid {
            Some(text) => parse_choice("grid", text)?,
            None => config.grid,
        };
        let steps = flags.steps.map_or(config.steps, |steps| steps as usize);
        let levels = if !grid.is_localized() {
            let (sigma_min, sigma_max) = (flags.sigma_min, flags.sigma_max);
            grid.levels(sigma_min.unwrap_or(config.sigma_min), sigma_max.unwrap_or(config.sigma_max), steps)?
        } else if flags.sigma_min.or(flags.sigma_max).is_none() {
            localization.levels(grid, &sampler, steps)?
        } else {
            return Err(Error::range_of_localized_grid(grid.name()));
        };
        Ok(Self { sampler, grid, levels, seed })
    }

    /// The greatest noise level, and the least above 0.
    pub fn range(&self) -> (f64, f64) {
        (self.levels[0], self.levels[self.levels.len() - 2])
    }

    /// The samples of these indices in original coordinates; `go_on` is asked between steps.
    ///
    /// # Errors
    ///
    /// An interruption, and samples that are not finite.
    pub fn draw(
        &self,
        network: &dyn Denoiser,
        data: &DataRecord,
        indices: std::ops::Range<u64>,
        device: &Device,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Points, Error> {
        let drawn = sample(network, &self.sampler, &self.levels, self.seed, indices, DType::F32, device, go_on)?;
        Ok(data.standardization.undo(&to_points(drawn)))
    }

    /// The ranges of indices of the tiles that make up `count` samples.
    pub fn tiles(data: &DataRecord, count: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
        let tile = (TILE_NUMBERS / data.dim).clamp(SMALLEST_TILE, LARGEST_TILE) as u64;
        (0..count.div_ceil(tile)).map(move |k| k * tile..((k + 1) * tile).min(count))
    }

    /// All of `count` samples at once.
    ///
    /// # Errors
    ///
    /// Those of [`draw`](Self::draw).
    pub fn draw_all(
        &self,
        network: &dyn Denoiser,
        data: &DataRecord,
        count: u64,
        device: &Device,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Points, Error> {
        let mut points = Points::zeros((count as usize, data.dim));
        for tile in Self::tiles(data, count) {
            let drawn = self.draw(network, data, tile.clone(), device, go_on)?;
            points.slice_mut(ndarray::s![tile.start as usize..tile.end as usize, ..]).assign(&drawn);
        }
        Ok(points)
    }
}

/// A choice given on the command line: a bare name, whose words may be joined by hyphens, or JSON with settings.
fn parse_choice<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Error> {
    let value = match serde_json::from_str(text) {
        Ok(value @ serde_json::Value::Object(_)) => value,
        _ => serde_json::Value::String(text.replace('-', "_")),
    };
    serde_json::from_value(value).map_err(|error| Error::choice(what, text, &error))
}
