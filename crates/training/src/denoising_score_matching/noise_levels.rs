//! The distribution of noise levels that a score network is trained on.

use brenier_measure::random::normal_quantile;
use brenier_measure::{NoiseSchedule, Words};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the noise level σ of each training point is drawn, in standardised coordinates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NoiseLevels {
    /// `log σ ~ N(mean, sd²)`. Karras et al. (2206.00364).
    LogNormal {
        /// The mean of log σ.
        mean: f64,
        /// The standard deviation of log σ.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        sd: f64,
    },
    /// `log σ` uniform between `log σ_min` and `log σ_max`.
    LogUniform {
        /// The least noise level.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        sigma_min: f64,
        /// The greatest noise level.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        sigma_max: f64,
    },
    /// The noise level `σ/α` of a schedule at a uniform time. Song et al. (2011.13456).
    UniformTime {
        /// The schedule that turns times into noise levels.
        schedule: NoiseSchedule,
        /// The least time.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        t_min: f64,
        /// The greatest time.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        t_max: f64,
    },
    /// A table of quantiles: level i of n is the quantile at `(i + ½)/n`, between them `log σ` is linear.
    Tabulated {
        /// Noise levels, none less than the one before.
        #[schemars(length(min = 1))]
        sigma: Vec<f64>,
    },
}

impl NoiseLevels {
    /// The table of n quantiles of a mixture, which takes from each part (a share and its quantile function) quantiles in proportion to its
    /// share: sorted together they are those of the mixture, to the n-th part of a share.
    ///
    /// # Panics
    ///
    /// Without parts, or with a share that is negative or no number: shares need not sum to 1.
    pub fn mixture(n: usize, parts: &[(f64, &dyn Fn(f64) -> f64)]) -> Self {
        let total: f64 = parts.iter().map(|(share, _)| share).sum();
        assert!(total > 0.0 && parts.iter().all(|(share, _)| *share >= 0.0), "shares are positive numbers");
        let mut sigma = Vec::with_capacity(n + parts.len());
        for (share, quantile) in parts {
            let count = (n as f64 * share / total).round() as usize;
            sigma.extend((0..count).map(|i| quantile((i as f64 + 0.5) / count as f64)));
        }
        sigma.sort_by(f64::total_cmp);
        Self::Tabulated { sigma }
    }

    /// A noise level from one random word.
    pub fn draw(&self, words: &mut Words) -> f64 {
        self.quantile(words.uniform())
    }

    /// The noise level below which a fraction `u` in (0, 1) of the draws lie.
    pub fn quantile(&self, u: f64) -> f64 {
        match self {
            Self::LogNormal { mean, sd } => libm::exp(mean + sd * normal_quantile(u)),
            Self::LogUniform { sigma_min, sigma_max } => sigma_min * libm::exp(u * libm::log(sigma_max / sigma_min)),
            Self::UniformTime { schedule, t_min, t_max } => schedule.noise_level(t_min + u * (t_max - t_min)),
            Self::Tabulated { sigma } => {
                let place = (u * sigma.len() as f64 - 0.5).clamp(0.0, sigma.len() as f64 - 1.0);
                let (low, high) = (sigma[place as usize], sigma[(place as usize + 1).min(sigma.len() - 1)]);
                low * libm::exp(place.fract() * libm::log(high / low))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG_NORMAL: NoiseLevels = NoiseLevels::LogNormal { mean: -1.0, sd: 1.5 };
    const LOG_UNIFORM: NoiseLevels = NoiseLevels::LogUniform { sigma_min: 0.01, sigma_max: 2.0 };

    /// The fraction of a distribution below a level, by bisection of its quantiles.
    fn below(levels: &NoiseLevels, sigma: f64) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..50 {
            let middle = 0.5 * (low + high);
            if levels.quantile(middle) < sigma { low = middle } else { high = middle }
        }
        low
    }

    #[test]
    fn a_table_has_the_quantiles_it_was_made_of_and_log_linear_ones_between() {
        let table = NoiseLevels::mixture(1000, &[(1.0, &|u| LOG_UNIFORM.quantile(u))]);
        for u in [0.0005, 0.25, 0.5, 0.7123, 0.9995] {
            let (found, exact) = (table.quantile(u), LOG_UNIFORM.quantile(u));
            assert!((found / exact - 1.0).abs() < 1e-12, "at {u}: {found} against {exact}");
        }
        // Beyond the outermost quantiles there is nothing to interpolate.
        assert_eq!(table.quantile(1e-9), table.quantile(0.0005));
        assert_eq!(NoiseLevels::Tabulated { sigma: vec![0.3] }.quantile(0.9), 0.3);
    }

    #[test]
    fn a_mixture_has_the_mean_of_the_distribution_functions() {
        let parts: [(f64, &dyn Fn(f64) -> f64); 2] =
            [(0.25, &|u| LOG_UNIFORM.quantile(u)), (0.75, &|u| LOG_NORMAL.quantile(u))];
        let mixture = NoiseLevels::mixture(4000, &parts);
        for sigma in [0.012, 0.05, 0.3, 0.9, 1.9, 4.0] {
            let exact = 0.25 * below(&LOG_UNIFORM, sigma) + 0.75 * below(&LOG_NORMAL, sigma);
            let found = below(&mixture, sigma);
            assert!((found - exact).abs() < 1.0 / 1000.0, "below {sigma}: {found} against {exact}");
        }
    }
}
