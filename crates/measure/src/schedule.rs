//! Noise schedules: `X_t = α(t) X₀ + σ(t) Z`, in f64, in forms that do not cancel, equal on every machine.
//!
//! Every schedule is one path through the same family of laws `Y_r = rX + Z`, r = α/σ the
//! signal-to-noise ratio; the noise level of Karras et al. (EDM) is `1/r`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How signal and noise are mixed at time t.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NoiseSchedule {
    /// `dX = -X dt + √(2/β) dB`: `α = e^{-t}`, `σ² = (1 - e^{-2t})/β`. Liang, Dharmakeerthi, Koriyama (2411.01629).
    OrnsteinUhlenbeck {
        /// The inverse temperature β > 0.
        #[serde(default = "one")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        beta: f64,
    },
    /// `log α = -t²(b₁ - b₀)/4 - t b₀/2`, `σ² = 1 - α²`, t in [0, 1]. Song et al. (2011.13456).
    VariancePreserving {
        /// The rate b₀ at t = 0.
        #[serde(default = "point_one")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        beta_min: f64,
        /// The rate b₁ at t = 1.
        #[serde(default = "twenty")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        beta_max: f64,
    },
    /// `α = 1`, `σ = σ_min (σ_max/σ_min)^t`, t in [0, 1]. Song et al. (2011.13456).
    VarianceExploding {
        /// The noise level at t = 0.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        sigma_min: f64,
        /// The noise level at t = 1.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        sigma_max: f64,
    },
    /// `α = 1`, `σ = t`. Karras et al. (2206.00364).
    Edm {},
}

fn one() -> f64 {
    1.0
}
fn point_one() -> f64 {
    0.1
}
fn twenty() -> f64 {
    20.0
}

impl NoiseSchedule {
    /// `log α(t)`.
    pub fn log_alpha(&self, t: f64) -> f64 {
        match *self {
            Self::OrnsteinUhlenbeck { .. } => -t,
            Self::VariancePreserving { beta_min, beta_max } => {
                -t * t * (beta_max - beta_min) / 4.0 - t * beta_min / 2.0
            }
            Self::VarianceExploding { .. } | Self::Edm {} => 0.0,
        }
    }

    /// `α(t)`, the factor of the signal.
    pub fn alpha(&self, t: f64) -> f64 {
        libm::exp(self.log_alpha(t))
    }

    /// `σ(t)`, the factor of the noise.
    pub fn sigma(&self, t: f64) -> f64 {
        match *self {
            Self::OrnsteinUhlenbeck { beta } => (-libm::expm1(-2.0 * t) / beta).sqrt(),
            Self::VariancePreserving { .. } => (-libm::expm1(2.0 * self.log_alpha(t))).sqrt(),
            Self::VarianceExploding { sigma_min, sigma_max } => {
                sigma_min * libm::exp(libm::log(sigma_max / sigma_min) * t)
            }
            Self::Edm {} => t,
        }
    }

    /// `1/r = σ/α`, the noise level in the coordinates `X + σZ`.
    pub fn noise_level(&self, t: f64) -> f64 {
        match *self {
            // σ/α = √((e^{2t} - 1)/β): no overflow of 1/α before it must.
            Self::OrnsteinUhlenbeck { beta } => (libm::expm1(2.0 * t) / beta).sqrt(),
            Self::VariancePreserving { .. } => libm::expm1(-2.0 * self.log_alpha(t)).sqrt(),
            _ => self.sigma(t),
        }
    }

    /// The signal-to-noise ratio `r = α/σ`.
    pub fn snr(&self, t: f64) -> f64 {
        1.0 / self.noise_level(t)
    }

    /// The time at which `σ/α` equals `noise_level` (non-negative); the inverse of [`noise_level`](Self::noise_level).
    pub fn time_of_noise_level(&self, noise_level: f64) -> f64 {
        match *self {
            Self::OrnsteinUhlenbeck { beta } => libm::log1p(beta * noise_level * noise_level) / 2.0,
            Self::VariancePreserving { beta_min, beta_max } => {
                // a t² + b t = c with c = -log α = ln(1 + σ²/α²)/2, solved without cancellation.
                let c = libm::log1p(noise_level * noise_level) / 2.0;
                let (a, b) = ((beta_max - beta_min) / 4.0, beta_min / 2.0);
                2.0 * c / (b + (b * b + 4.0 * a * c).sqrt())
            }
            Self::VarianceExploding { sigma_min, sigma_max } => {
                libm::log(noise_level / sigma_min) / libm::log(sigma_max / sigma_min)
            }
            Self::Edm {} => noise_level,
        }
    }

    /// The time at which the signal-to-noise ratio equals `r`; the inverse of [`snr`](Self::snr).
    pub fn time_of_snr(&self, r: f64) -> f64 {
        self.time_of_noise_level(1.0 / r)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULES: [NoiseSchedule; 5] = [
        NoiseSchedule::OrnsteinUhlenbeck { beta: 1.0 },
        NoiseSchedule::OrnsteinUhlenbeck { beta: 4.0 },
        NoiseSchedule::VariancePreserving { beta_min: 0.1, beta_max: 20.0 },
        NoiseSchedule::VarianceExploding { sigma_min: 0.01, sigma_max: 50.0 },
        NoiseSchedule::Edm {},
    ];

    #[test]
    fn time_and_noise_level_invert_each_other_down_to_tiny_times() {
        for schedule in SCHEDULES {
            for t in [1e-12, 1e-8, 1e-3, 0.2, 0.9, 1.0] {
                let back = schedule.time_of_noise_level(schedule.noise_level(t));
                assert!((back - t).abs() < 1e-12 * t.max(1e-3), "{schedule:?} at {t}: {back}");
                let back = schedule.time_of_snr(schedule.snr(t));
                assert!((back - t).abs() < 1e-12 * t.max(1e-3), "{schedule:?} at {t}: {back}");
            }
        }
    }

    #[test]
    fn alpha_sigma_and_snr_agree() {
        for schedule in SCHEDULES {
            for t in [1e-10, 0.01, 0.5, 1.0] {
                let r = schedule.alpha(t) / schedule.sigma(t);
                assert!((schedule.snr(t) / r - 1.0).abs() < 1e-12, "{schedule:?} at {t}");
            }
        }
    }

    #[test]
    fn variance_is_preserved_where_the_name_says_so() {
        for t in [1e-9, 0.3, 1.0] {
            for schedule in [SCHEDULES[0], SCHEDULES[2]] {
                let total = schedule.alpha(t).powi(2) + schedule.sigma(t).powi(2);
                assert!((total - 1.0).abs() < 1e-14);
            }
        }
        // 1 - e^{-2t} loses every digit at t = 1e-17 when it is formed by subtraction.
        let sigma = SCHEDULES[0].sigma(1e-17);
        assert!((sigma / 2e-17f64.sqrt() - 1.0).abs() < 1e-12);
    }
}
