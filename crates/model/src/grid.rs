//! The noise levels at which a sampler stops: `σ_max = σ₀ > σ₁ > … > σ_{N-1} = σ_min`, `σ_N = 0`.
//!
//! Every grid of N steps ends like this: the last step goes from σ_min to 0, where the samplers of second order
//! fall back to one Euler step, which is the posterior mean.
//!
//! A localized grid is a function of the data and of the solver, which a range of noise levels does not know: [`GridConfig`] names it, and
//! whoever has the data makes its levels.

use brenier_measure::NoiseSchedule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::choice::choice;
use crate::samplers::SamplerConfig;

/// How noise levels are spaced between σ_max and σ_min.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields, remote = "Self")]
#[schemars(transform = by_name)]
pub enum GridConfig {
    /// `σ_i = (σ_max^{1/ρ} + i/(N-1) (σ_min^{1/ρ} - σ_max^{1/ρ}))^ρ`. Karras et al. (2206.00364), equation 5.
    Karras {
        /// ρ: the greater, the more levels near σ_min.
        #[serde(default = "seven")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        rho: f64,
    },
    /// Uniform in `log(α²/σ²)`, that is in log σ. Lu et al. (2206.00927).
    LogSnr,
    /// Uniform in the time of a noise schedule.
    Time {
        /// The schedule whose time it is.
        schedule: NoiseSchedule,
    },
    /// Where the posterior covariance of the training data asks a solver to step, by a closed formula for each solver. The range of
    /// noise levels comes from the data as well: neither `sigma_min` nor `sigma_max` is used.
    Localized,
    /// The localized grid, refined for a solver and its number of steps on a kernel density of the training data.
    LocalizedOptimized,
}

fn seven() -> f64 {
    7.0
}

choice!(GridConfig, ["karras"]);

impl Default for GridConfig {
    fn default() -> Self {
        Self::Karras { rho: seven() }
    }
}

/// Why there is no such grid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GridError {
    /// No step at all.
    #[error("a sampling grid of 0 steps; give at least 1")]
    Steps,
    /// An end of the range that is no noise level.
    #[error("{name} is {value}; it must be positive and finite")]
    Level {
        /// Which end.
        name: &'static str,
        /// What it holds.
        value: f64,
    },
    /// An empty range.
    #[error("sigma_min ({sigma_min}) must be less than sigma_max ({sigma_max}); exchange them or widen the range")]
    Range {
        /// The least noise level.
        sigma_min: f64,
        /// The greatest noise level.
        sigma_max: f64,
    },
    /// An exponent that is no exponent.
    #[error("rho of the karras grid is {0}; it must be positive and finite (7 is the usual choice)")]
    Rho(f64),
    /// Levels that the numbers cannot tell apart.
    #[error(
        "{steps} steps between {sigma_max} and {sigma_min} are too close to tell apart at {level}; take fewer steps or a wider range"
    )]
    Resolution {
        /// The number of steps.
        steps: usize,
        /// The least noise level.
        sigma_min: f64,
        /// The greatest noise level.
        sigma_max: f64,
        /// Where two neighbours coincide.
        level: f64,
    },
    /// A grid that a range does not determine.
    #[error(
        "the levels of the grid `{0}` come from data and a solver, not from sigma_min and sigma_max; take them from the data's curve"
    )]
    Localized(&'static str),
    /// A localized grid for a sampler that steps elsewhere.
    #[error("the grid `{grid}` places the steps of a solver, and those of `{sampler}` are equal in time")]
    Sampler {
        /// The grid.
        grid: &'static str,
        /// The sampler.
        sampler: &'static str,
    },
}

impl GridConfig {
    /// Refuses a sampler whose steps the grid cannot place: a localized grid places those of a solver, and the backward chains step
    /// equally in time.
    ///
    /// # Errors
    ///
    /// [`GridError::Sampler`].
    pub fn fits(&self, sampler: &SamplerConfig) -> Result<(), GridError> {
        let is_chain = matches!(sampler, SamplerConfig::TransportChain { .. } | SamplerConfig::LangevinChain { .. });
        if self.is_localized() && is_chain {
            return Err(GridError::Sampler { grid: self.name(), sampler: sampler.name() });
        }
        Ok(())
    }

    /// The name of the grid in a config.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Karras { .. } => "karras",
            Self::LogSnr => "log_snr",
            Self::Time { .. } => "time",
            Self::Localized => "localized",
            Self::LocalizedOptimized => "localized_optimized",
        }
    }

    /// Whether the levels come from data and a solver, so that [`levels`](Self::levels) cannot give them.
    pub fn is_localized(&self) -> bool {
        matches!(self, Self::Localized | Self::LocalizedOptimized)
    }

    /// The `steps + 1` noise levels, decreasing from `sigma_max` over `sigma_min` to 0; one step goes from `sigma_max` to 0.
    ///
    /// # Errors
    ///
    /// No steps, `sigma_min >= sigma_max`, a number that is not positive and finite, or a localized grid.
    pub fn levels(&self, sigma_min: f64, sigma_max: f64, steps: usize) -> Result<Vec<f64>, GridError> {
        if steps == 0 {
            return Err(GridError::Steps);
        }
        for (name, value) in [("sigma_min", sigma_min), ("sigma_max", sigma_max)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(GridError::Level { name, value });
            }
        }
        if sigma_min >= sigma_max {
            return Err(GridError::Range { sigma_min, sigma_max });
        }
        let between = |from: f64, to: f64, fraction: f64| from + fraction * (to - from);
        let level: Box<dyn Fn(f64) -> f64> = match *self {
            Self::Karras { rho } if rho > 0.0 && rho.is_finite() => {
                let root = move |sigma: f64| sigma.powf(1.0 / rho);
                Box::new(move |fraction| between(root(sigma_max), root(sigma_min), fraction).powf(rho))
            }
            Self::Karras { rho } => return Err(GridError::Rho(rho)),
            Self::LogSnr => Box::new(|fraction| between(sigma_max.ln(), sigma_min.ln(), fraction).exp()),
            Self::Time { schedule } => {
                let (first, last) = (schedule.time_of_noise_level(sigma_max), schedule.time_of_noise_level(sigma_min));
                Box::new(move |fraction| schedule.noise_level(between(first, last, fraction)))
            }
            Self::Localized | Self::LocalizedOptimized => return Err(GridError::Localized(self.name())),
        };
        let mut levels = vec![sigma_max];
        levels.extend((1..steps).map(
            |i| {
                if i + 1 == steps { sigma_min } else { level(i as f64 / (steps - 1) as f64) }
            },
        ));
        levels.push(0.0);
        match levels.windows(2).find(|pair| pair[0] <= pair[1] || pair[0].is_nan() || pair[1].is_nan()) {
            Some(pair) => Err(GridError::Resolution { steps, sigma_min, sigma_max, level: pair[0] }),
            None => Ok(levels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OU: NoiseSchedule = NoiseSchedule::OrnsteinUhlenbeck { beta: 1.0 };
    const GRIDS: [GridConfig; 3] =
        [GridConfig::Karras { rho: 7.0 }, GridConfig::LogSnr, GridConfig::Time { schedule: OU }];

    #[test]
    fn every_grid_falls_from_sigma_max_over_sigma_min_to_zero() {
        for grid in GRIDS {
            for steps in [2, 3, 18, 200] {
                let levels = grid.levels(0.002, 80.0, steps).unwrap();
                assert_eq!(levels.len(), steps + 1);
                assert_eq!((levels[0], levels[steps - 1], levels[steps]), (80.0, 0.002, 0.0));
                assert!(levels.windows(2).all(|pair| pair[0] > pair[1]));
            }
            assert_eq!(grid.levels(0.002, 80.0, 1).unwrap(), [80.0, 0.0]);
        }
    }

    #[test]
    fn levels_are_uniform_in_what_the_name_says() {
        type Coordinate = fn(f64) -> f64;
        let coordinates: [Coordinate; 3] =
            [|sigma| sigma.powf(1.0 / 7.0), f64::ln, |sigma| OU.time_of_noise_level(sigma)];
        for (grid, coordinate) in GRIDS.into_iter().zip(coordinates) {
            let levels = grid.levels(0.01, 50.0, 9).unwrap();
            let at: Vec<f64> = levels[..9].iter().map(|&sigma| coordinate(sigma)).collect();
            let step = (at[8] - at[0]) / 8.0;
            for pair in at.windows(2) {
                assert!((pair[1] - pair[0] - step).abs() < 1e-12, "{grid:?}: {at:?}");
            }
        }
    }

    #[test]
    fn impossible_grids_are_refused() {
        let levels = |sigma_min, sigma_max, steps| GridConfig::LogSnr.levels(sigma_min, sigma_max, steps);
        assert_eq!(levels(0.1, 1.0, 0), Err(GridError::Steps));
        assert_eq!(levels(1.0, 1.0, 5), Err(GridError::Range { sigma_min: 1.0, sigma_max: 1.0 }));
        assert_eq!(levels(-0.1, 1.0, 5), Err(GridError::Level { name: "sigma_min", value: -0.1 }));
        assert!(matches!(levels(0.1, f64::NAN, 5), Err(GridError::Level { name: "sigma_max", .. })));
        assert_eq!(GridConfig::Karras { rho: 0.0 }.levels(0.1, 1.0, 5), Err(GridError::Rho(0.0)));
        assert!(matches!(levels(1.0, 1.0 + 1e-15, 100), Err(GridError::Resolution { .. })));
        assert_eq!(GridConfig::Localized.levels(0.1, 1.0, 5), Err(GridError::Localized("localized")));
    }

    #[test]
    fn a_grid_may_be_given_by_its_name_alone() {
        for (text, grid) in [
            (r#""karras""#, GridConfig::default()),
            (r#"{"karras": {}}"#, GridConfig::default()),
            (r#"{"karras": {"rho": 3.0}}"#, GridConfig::Karras { rho: 3.0 }),
            (r#""log_snr""#, GridConfig::LogSnr),
            (r#"{"time": {"schedule": {"ornstein_uhlenbeck": {}}}}"#, GridConfig::Time { schedule: OU }),
            (r#""localized""#, GridConfig::Localized),
            (r#""localized_optimized""#, GridConfig::LocalizedOptimized),
        ] {
            let read: GridConfig = serde_json::from_str(text).unwrap();
            assert_eq!(read, grid);
            assert!(text.contains(read.name()));
            let written = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<GridConfig>(&written).unwrap(), grid);
        }
        let error = serde_json::from_str::<GridConfig>(r#""karas""#).unwrap_err().to_string();
        let expected =
            "unknown variant `karas`, expected one of `karras`, `log_snr`, `time`, `localized`, `localized_optimized`";
        assert!(error.contains(expected), "{error}");
        let error = serde_json::from_str::<GridConfig>(r#""time""#).unwrap_err().to_string();
        assert!(error.contains("missing field `schedule`"), "{error}");
    }
}
