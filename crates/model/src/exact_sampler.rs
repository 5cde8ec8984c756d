//! A law in closed form: drawn exactly, or for comparison as a score network is.

use std::ops::Range;

use brenier_measure::{GaussianMixture, Measure, Points, Purpose, Sample, Stream, to_tensor};
use burn::tensor::{DType, Device, Tensor};
use serde_json::json;

use crate::log_density::LogDensity;
use crate::samplers::{SamplerError, sample};
use crate::sampling_plan::SamplingPlan;
use crate::trained_sampler::{Facts, TrainedSampler};

/// A Gaussian mixture that was learnt, in f64 on the CPU.
pub struct ExactSampler {
    law: GaussianMixture,
    plan: Option<SamplingPlan>,
}

impl ExactSampler {
    /// A mixture with a density; with a plan its samples are those of a solver with the exact scores.
    pub fn new(law: GaussianMixture, plan: Option<SamplingPlan>) -> Self {
        Self { law, plan }
    }
}

impl TrainedSampler for ExactSampler {
    fn dim(&self) -> usize {
        self.law.dim()
    }

    fn sample(
        &self,
        seed: u64,
        indices: Range<u64>,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Tensor<2>, SamplerError> {
        let device = Device::flex();
        if let Some(SamplingPlan { sampler, levels, .. }) = &self.plan {
            return sample(&self.law, sampler, levels, seed, indices, DType::F64, &device, go_on);
        }
        if !go_on() {
            return Err(SamplerError::Interrupted);
        }
        let drawn = self.law.sample(&Stream::new(seed, Purpose::Reference), 0, indices);
        Ok(to_tensor(&drawn, DType::F64, &device))
    }

    /// That of the mixture, whatever the plan.
    fn log_density(
        &self,
        x: &Points,
        _seed: u64,
        _first_index: u64,
        _go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<LogDensity, SamplerError> {
        let found = self.law.log_density(to_tensor(x, DType::F64, &Device::flex())).into_data().convert::<f64>();
        let values: Vec<f64> = found.try_to_vec().expect("f64 after conversion");
        let valid = values.iter().map(|value| value.is_finite()).collect();
        let mut found = LogDensity { valid, ..LogDensity::exact(values) };
        if self.plan.is_some() {
            found.of_another_law =
                Some("the density is that of the mixture, the samples are those of a solver with its scores");
        }
        Ok(found)
    }

    fn closed_form(&self) -> Option<&GaussianMixture> {
        Some(&self.law)
    }

    fn settings(&self) -> Facts {
        match &self.plan {
            Some(plan) => plan.facts(),
            None => Facts(vec![("sampler", json!("exact"))]),
        }
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::to_points;

    use super::*;
    use crate::{GridConfig, SamplerConfig};

    #[test]
    fn a_solver_with_exact_scores_draws_the_same_law() {
        let law = GaussianMixture::new(
            vec![0.4, 0.6],
            vec![vec![-1.0, 0.0], vec![1.0, 0.5]],
            vec![vec![vec![0.2, 0.1], vec![0.1, 0.3]], vec![vec![0.3, 0.0], vec![0.0, 0.1]]],
        )
        .unwrap();
        let levels = GridConfig::default().levels(0.002, 80.0, 64).unwrap();
        let plan = SamplingPlan { sampler: SamplerConfig::Heun, grid: GridConfig::default(), levels };
        let n = 4000;
        for sampler in [ExactSampler::new(law.clone(), None), ExactSampler::new(law.clone(), Some(plan))] {
            let points = to_points(sampler.sample(1, 0..n, &|| true).unwrap());
            let (mean, covariance) = (law.mean(), law.covariance());
            for j in 0..2 {
                let std_error = (covariance[[j, j]] / n as f64).sqrt();
                let found = points.column(j).sum() / n as f64;
                assert!(std_error < 0.02 && (found - mean[j]).abs() < 5.0 * std_error, "{found} against {}", mean[j]);
            }
            let part = to_points(sampler.sample(1, 100..103, &|| true).unwrap());
            assert!(part == points.slice(ndarray::s![100..103, ..]), "a sample is a function of its index");
        }
    }
}
