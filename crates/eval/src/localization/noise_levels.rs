//! Noise levels for training: how often each is visited, from the localization of the data.

use super::sampling_curve::{SamplingCurve, Solver};

impl SamplingCurve {
    /// Noise levels `[n]`, rising: level i is the quantile at `(i + ½)/n` of the distribution whose density in log σ is that of the
    /// nodes of a solver.
    pub fn noise_level_quantiles(&self, solver: Solver, n: usize) -> Vec<f64> {
        let density = &self.nodes(solver).density;
        // From the least noise level up; the mass between two levels by the trapezium rule.
        let levels: Vec<(f64, f64)> = self.sigma.iter().zip(density).rev().map(|(sigma, x)| (sigma.ln(), *x)).collect();
        let masses: Vec<f64> =
            levels.windows(2).map(|pair| 0.5 * (pair[0].1 + pair[1].1) * (pair[1].0 - pair[0].0)).collect();
        let total: f64 = masses.iter().sum();
        let (mut cell, mut below) = (0, 0.0);
        (0..n)
            .map(|i| {
                let wanted = (i as f64 + 0.5) / n as f64 * total;
                while cell + 1 < masses.len() && below + masses[cell] < wanted {
                    below += masses[cell];
                    cell += 1;
                }
                let fraction = if masses[cell] > 0.0 { ((wanted - below) / masses[cell]).clamp(0.0, 1.0) } else { 0.5 };
                (levels[cell].0 + fraction * (levels[cell + 1].0 - levels[cell].0)).exp()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sampling_curve::NodeDensity;
    use super::*;

    /// A curve whose density is `density(log σ)` for Heun's method, on 101 levels from e to 1/e.
    fn curve(density: impl Fn(f64) -> f64) -> SamplingCurve {
        let log_sigma: Vec<f64> = (0..101).map(|i| 1.0 - 0.02 * f64::from(i)).collect();
        let nodes = |density: Vec<f64>| NodeDensity {
            rate: density.clone(),
            start: density.clone(),
            end: density.clone(),
            order: 2,
            constants: vec![(1, 1.0)],
            density,
        };
        let flat = || nodes(vec![1.0; 101]);
        SamplingCurve {
            sigma: log_sigma.iter().map(|x| x.exp()).collect(),
            posterior_variance: vec![1.0; 101],
            heun: nodes(log_sigma.iter().map(|&x| density(x)).collect()),
            euler: flat(),
            dpm_solver_2m: flat(),
            euler_maruyama: flat(),
            ancestral: flat(),
        }
    }

    #[test]
    fn quantiles_are_those_of_the_density_in_log_sigma() {
        let flat = curve(|_| 3.0).noise_level_quantiles(Solver::Heun, 10);
        for (i, sigma) in flat.iter().enumerate() {
            assert!((sigma.ln() - (-1.0 + 0.2 * (i as f64 + 0.5))).abs() < 1e-12, "{flat:?}");
        }
        // Density 1 + x on [-1, 1] has the distribution function (1 + x)²/4.
        let rising = curve(|x| 1.0 + x).noise_level_quantiles(Solver::Heun, 1000);
        for (i, sigma) in rising.iter().enumerate() {
            let u = (i as f64 + 0.5) / 1000.0;
            assert!((sigma.ln() - (2.0 * u.sqrt() - 1.0)).abs() < 0.011, "{u}: {sigma}");
            assert!(i == 0 || *sigma > rising[i - 1]);
        }
    }

    #[test]
    fn levels_without_mass_are_not_visited() {
        let gap = curve(|x| f64::from(u8::from(x.abs() > 0.5)));
        let quantiles = gap.noise_level_quantiles(Solver::Heun, 100);
        assert!(quantiles.iter().all(|sigma| sigma.ln().abs() > 0.47), "{quantiles:?}");
        assert_eq!(quantiles.iter().filter(|sigma| **sigma < 1.0).count(), 50);
    }
}
