//! What a schema cannot say of the config of score matching.

use brenier_measure::NoiseSchedule;
use brenier_training::{LearningRate, LossConfig, NoiseLevels, TrainingConfig};

use super::config::{DenoisingScoreMatchingConfig, NoiseLevelsConfig};
use crate::config::mistakes::Mistakes;
use crate::config::{Config, EvaluationConfig};

/// Reports every mistake in the sections that score matching reads.
pub fn check(method: &DenoisingScoreMatchingConfig, config: &Config, mistakes: &mut Mistakes) {
    let path = "method.denoising_score_matching.noise_levels";
    match &method.noise_levels {
        NoiseLevelsConfig::Given(levels) => noise_levels(path, levels, mistakes),
        NoiseLevelsConfig::FromData(from_data) => {
            noise_levels(&format!("{path}.localized.floor"), from_data.parts().1, mistakes);
        }
    }
    loss(&method.loss, mistakes);
    match &config.training {
        Some(section) => training(section, mistakes),
        None => mistakes.report("training", "this key is missing, an object".to_owned()),
    }
    evaluation(&config.evaluation, mistakes);
}

/// The sampler on its grid.
fn evaluation(evaluation: &EvaluationConfig, mistakes: &mut Mistakes) {
    let (Some(sampler), Some(grid), Some(sigma_min), Some(sigma_max), Some(steps)) =
        (evaluation.sampler, evaluation.grid, evaluation.sigma_min, evaluation.sigma_max, evaluation.steps)
    else {
        return;
    };
    let range = mistakes.increasing("evaluation", "sigma_min", sigma_min, "sigma_max", sigma_max);
    if grid.is_localized() {
        if let Err(reason) = grid.fits(&sampler) {
            mistakes.report("evaluation.grid", format!("{reason}; choose another grid or another sampler"));
        }
    } else if range && let Err(error) = grid.levels(sigma_min, sigma_max, steps) {
        mistakes.report("evaluation.grid", error.to_string());
    }
    if let Err(error) = sampler.validate() {
        mistakes.report("evaluation.sampler", error.to_string());
    }
}

fn noise_levels(path: &str, noise_levels: &NoiseLevels, mistakes: &mut Mistakes) {
    match noise_levels {
        NoiseLevels::LogNormal { .. } => {}
        NoiseLevels::LogUniform { sigma_min, sigma_max } => {
            mistakes.increasing(&format!("{path}.log_uniform"), "sigma_min", *sigma_min, "sigma_max", *sigma_max);
        }
        NoiseLevels::UniformTime { schedule: of_time, t_min, t_max } => {
            let path = format!("{path}.uniform_time");
            mistakes.increasing(&path, "t_min", *t_min, "t_max", *t_max);
            schedule(&format!("{path}.schedule"), of_time, mistakes);
        }
        NoiseLevels::Tabulated { sigma } => {
            let sound = |i: usize| sigma[i] > 0.0 && (i == 0 || sigma[i] >= sigma[i - 1]);
            if let Some(i) = (0..sigma.len()).find(|&i| !sound(i)) {
                let message = format!("expected positive numbers, none below the one before, found {}", sigma[i]);
                mistakes.report(&format!("{path}.tabulated.sigma.{i}"), message);
            }
        }
    }
}

fn schedule(path: &str, schedule: &NoiseSchedule, mistakes: &mut Mistakes) {
    match schedule {
        NoiseSchedule::OrnsteinUhlenbeck { .. } | NoiseSchedule::Edm {} => {}
        NoiseSchedule::VariancePreserving { beta_min, beta_max } => {
            if beta_min > beta_max {
                let path = format!("{path}.variance_preserving");
                mistakes.report(
                    &format!("{path}.beta_max"),
                    format!("expected at least `beta_min`, {beta_min}, found {beta_max}"),
                );
            }
        }
        NoiseSchedule::VarianceExploding { sigma_min, sigma_max } => {
            mistakes.increasing(
                &format!("{path}.variance_exploding"),
                "sigma_min",
                *sigma_min,
                "sigma_max",
                *sigma_max,
            );
        }
    }
}

fn loss(loss: &LossConfig, mistakes: &mut Mistakes) {
    let largest = loss.largest_step();
    if let LossConfig::ChainStep { .. } = loss
        && largest >= 1.0
    {
        mistakes.report(
            "method.denoising_score_matching.loss.chain_step",
            format!(
                "expected every step of the chain to be below 1, found a last step of {largest}; lower `eta`, `growth` or `steps`"
            ),
        );
    }
}

fn training(training: &TrainingConfig, mistakes: &mut Mistakes) {
    if let Some(micro_batch) = training.micro_batch
        && !training.batch.is_multiple_of(micro_batch)
    {
        let batch = training.batch;
        mistakes.report(
            "training.micro_batch",
            format!("expected a divisor of `training.batch`, {batch}, found {micro_batch}"),
        );
    }
    let (kind, peak) = match training.learning_rate {
        LearningRate::Constant { rate, .. } => ("constant", rate),
        LearningRate::Cosine { peak, .. } => ("cosine", peak),
        LearningRate::InverseSquareRoot { peak, .. } => ("inverse_square_root", peak),
    };
    let path = format!("training.learning_rate.{kind}");
    let (warmup, steps) = (training.learning_rate.warmup(), training.steps);
    if warmup > steps {
        mistakes
            .report(&format!("{path}.warmup"), format!("expected at most `training.steps`, {steps}, found {warmup}"));
    }
    if let LearningRate::Cosine { last, .. } = training.learning_rate
        && last > peak
    {
        mistakes.report(&format!("{path}.last"), format!("expected at most `peak`, {peak}, found {last}"));
    }
    if let Some(start) = &training.start_from {
        mistakes.run_directory("training.start_from", start);
    }
}
