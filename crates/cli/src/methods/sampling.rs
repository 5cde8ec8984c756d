//! How a law whose score is known at every noise level is sampled: its own plan, with what the command line puts over it.

use brenier_model::{GridConfig, GridError, SamplerConfig, SamplingPlan};
use serde_json::Value;

use crate::arguments::Sampling;
use crate::error::Error;
use crate::methods::localized::Localization;
use crate::run::RunView;

/// The range of noise levels, in standardised coordinates, as the schema of a config has it: beyond, f32 holds no square of a level.
const LEAST_LEVEL: f64 = 1e-6;
const GREATEST_LEVEL: f64 = 1e6;

/// A sampler and its grid before the command line has its say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingDefaults {
    /// The sampler.
    pub sampler: SamplerConfig,
    /// How its noise levels are spaced.
    pub grid: GridConfig,
    /// The least of them above 0.
    pub sigma_min: f64,
    /// The greatest of them.
    pub sigma_max: f64,
    /// The number of steps.
    pub steps: usize,
}

impl Default for SamplingDefaults {
    fn default() -> Self {
        Self {
            sampler: SamplerConfig::default(),
            grid: GridConfig::default(),
            sigma_min: 0.002,
            sigma_max: 80.0,
            steps: 18,
        }
    }
}

/// The plan by which a run is sampled.
///
/// # Errors
///
/// A sampler or grid that does not parse or does not fit, levels that do not fall, a localized grid without its curve.
pub fn sampling_plan(run: &RunView, flag: &Sampling, defaults: &SamplingDefaults) -> Result<SamplingPlan, Error> {
    let sampler = match &flag.sampler {
        Some(text) => parse_choice("sampler", text)?,
        None => defaults.sampler,
    };
    let grid: GridConfig = match &flag.grid {
        Some(text) => parse_choice("grid", text)?,
        None => defaults.grid,
    };
    let steps = flag.steps.map_or(defaults.steps, |steps| steps as usize);
    let levels = if !grid.is_localized() {
        let (least, greatest) =
            (flag.sigma_min.unwrap_or(defaults.sigma_min), flag.sigma_max.unwrap_or(defaults.sigma_max));
        let range = || {
            let SamplingDefaults { sigma_min, sigma_max, .. } = defaults;
            format!(
                "noise levels lie between {LEAST_LEVEL:e} and {GREATEST_LEVEL:e}, and `--sigma-min` below `--sigma-max`; those of the \
                 run are {sigma_min} and {sigma_max}"
            )
        };
        if least < LEAST_LEVEL || greatest > GREATEST_LEVEL {
            let message = format!("nothing can be sampled between the noise levels {least:e} and {greatest:e}");
            return Err(Error::bad_input(message).hint(range()));
        }
        grid.levels(least, greatest, steps).map_err(|error| match error {
            GridError::Range { .. } => Error::from(error).hint(range()),
            error => error.into(),
        })?
    } else if flag.sigma_min.or(flag.sigma_max).is_none() {
        Localization(*run).levels(grid, &sampler, steps)?
    } else {
        let message =
            format!("the grid `{}` has a range of noise levels of its own, from the data of the run", grid.name());
        return Err(Error::bad_input(message).hint("leave `--sigma-min` and `--sigma-max` out, or choose another grid"));
    };
    Ok(SamplingPlan { sampler, grid, levels })
}

/// A choice given on the command line: a bare name, whose words may be joined by hyphens, or JSON with settings.
fn parse_choice<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Error> {
    let value = match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => value,
        _ => Value::String(text.replace('-', "_")),
    };
    serde_json::from_value(value).map_err(|error| {
        Error::bad_input(format!("`--{what} {text}` names no {what}"))
            .caused_by(error)
            .hint(format!("give a name, or JSON with settings as in a config; `train sample --help` lists the {what}s"))
    })
}
