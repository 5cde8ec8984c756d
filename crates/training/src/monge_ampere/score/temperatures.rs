//! The next density on the way from the reference to the target.

use super::config::TemperaturesConfig;

/// `(Σw)²/(nΣw²)` of weights from their logarithms; 0 where there is none.
pub(super) fn effective_share(log_weights: &[f64]) -> f64 {
    let finite = |log: &&f64| log.is_finite();
    let largest = log_weights.iter().filter(finite).copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return 0.0;
    }
    let weights = || log_weights.iter().filter(finite).map(|log| (log - largest).exp());
    let (sum, squares): (f64, f64) = (weights().sum(), weights().map(|w| w * w).sum());
    sum * sum / (squares * log_weights.len() as f64)
}

/// Log-densities at the sampler's points: of the target p, of the reference q and of the map's law ρ.
pub(super) struct Densities<'a> {
    pub target: &'a [f64],
    pub reference: &'a [f64],
    pub law: &'a [f64],
}

impl Densities<'_> {
    /// `log (p^β q^{1-β}/ρ)`.
    pub fn log_weights(&self, beta: f64) -> Vec<f64> {
        let tempered = self.target.iter().zip(self.reference).map(|(p, q)| tempered(beta, *p, *q));
        tempered.zip(self.law).map(|(tempered, rho)| tempered - rho).collect()
    }
}

/// `β a + (1 - β) b`, and a alone at β = 1.
fn tempered(beta: f64, a: f64, b: f64) -> f64 {
    if beta == 1.0 { a } else { beta * a + (1.0 - beta) * b }
}

/// β of the stage after one at `before`; `taken` are the temperatures of the particles.
pub(super) fn next(
    config: &TemperaturesConfig,
    before: f64,
    stage: u64,
    stages: u64,
    taken: &[f64],
    densities: &Densities,
) -> f64 {
    // The last stage is at the target, and so is the only one.
    let half = stages.div_ceil(2).min(stages - 1);
    let listed = |list: &[f64]| {
        if stage >= half { 1.0 } else { list.get((stage * list.len() as u64 / half) as usize).copied().unwrap_or(1.0) }
    };
    match config {
        TemperaturesConfig::None => 1.0,
        TemperaturesConfig::Fixed { temperatures } => listed(temperatures),
        TemperaturesConfig::Particles => listed(taken),
        TemperaturesConfig::Adaptive { share } => {
            let late = ((stage + 1) as f64 / half as f64).min(1.0);
            let reaches = |beta: f64| effective_share(&densities.log_weights(beta)) >= *share;
            if reaches(1.0) {
                return 1.0;
            }
            let (mut low, mut high) = (before, 1.0);
            for _ in 0..40 {
                let middle = f64::midpoint(low, high);
                if reaches(middle) { low = middle } else { high = middle }
            }
            // The ramp begins behind what the weights allow.
            low.max(if late < 1.0 { before.max(late * late) } else { 1.0 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_temperatures_are_those_of_their_definitions() {
        assert_eq!(effective_share(&[0.0, 0.0, f64::NEG_INFINITY, f64::NAN]), 0.5);
        assert_eq!(effective_share(&[f64::NEG_INFINITY]), 0.0);
        assert!((effective_share(&[0.0, 2f64.ln()]) - 0.9).abs() < 1e-15);
        let (target, reference) = ([0.0, -8.0], [-1.0, -1.0]);
        let densities = Densities { target: &target, reference: &reference, law: &reference };
        let at = |config: &TemperaturesConfig, stage| next(config, 0.0, stage, 10, &[0.0, 0.3, 1.0], &densities);
        let adaptive = TemperaturesConfig::Adaptive { share: 0.8 };
        let beta = at(&adaptive, 0);
        assert!((effective_share(&densities.log_weights(beta)) - 0.8).abs() < 1e-9 && beta < 1.0, "{beta}");
        assert_eq!(at(&adaptive, 4), 1.0);
        let fixed = TemperaturesConfig::Fixed { temperatures: vec![0.2, 0.6] };
        assert_eq!([0, 2, 3, 4, 5].map(|stage| at(&fixed, stage)), [0.2, 0.2, 0.6, 0.6, 1.0]);
        assert_eq!([0, 2, 4, 9].map(|stage| at(&TemperaturesConfig::Particles, stage)), [0.0, 0.3, 1.0, 1.0]);
        assert_eq!(at(&TemperaturesConfig::None, 0), 1.0);
        for config in [adaptive, fixed, TemperaturesConfig::Particles] {
            assert_eq!(next(&config, 0.0, 0, 1, &[0.0, 0.3, 1.0], &densities), 1.0);
        }
    }
}
