//! The answer of a Monte Carlo computation.

use serde::{Deserialize, Serialize};

/// A value with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Its standard error (0 where the value is exact).
    pub std_error: f64,
}

impl Estimate {
    /// The mean of independent draws, with the standard error `s/√n`.
    pub fn mean(draws: impl IntoIterator<Item = f64>) -> Self {
        // Welford's recurrence: no cancellation when the mean is large.
        let (mut n, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for x in draws {
            n += 1.0;
            let delta = x - mean;
            mean += delta / n;
            squares += delta * (x - mean);
        }
        Self { value: mean, std_error: (squares / (n - 1.0) / n).sqrt() }
    }
}
