//! Which potential of a flow is taken: the last, a mean, or whichever held-out points find most likely.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which potential the law of a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Iterate {
    /// Of all three at all stages so far, the one with the least held-out NLL.
    #[default]
    Best,
    /// That of the last stage.
    Last,
    /// The mean of the potentials of all stages but the first `average_after`.
    Average,
    /// The exponential moving average.
    Ema,
}

/// The potentials of a flow: linear in their coefficients, so that a mean of potentials is one of mean coefficients, and convex where they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Iterates {
    /// The number of stages.
    stages: u64,
    /// θ of the last stage, `[p]`.
    pub last: Vec<f64>,
    /// The mean, `[p]`.
    pub average: Vec<f64>,
    /// How many stages are in the mean.
    averaged: u64,
    /// The exponential moving average, `[p]`.
    pub ema: Vec<f64>,
    /// The most likely of all stages.
    pub best: Option<Best>,
}

/// A potential and what held-out points say of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Its negative log-likelihood a held-out point (nats).
    pub nll: f64,
    /// The stage that it is of.
    pub stage: u64,
    /// Which of that stage.
    pub iterate: Iterate,
    /// θ, `[p]`.
    pub coefficients: Vec<f64>,
}

impl Iterates {
    /// Those of a flow that begins.
    pub fn new(coefficients: Vec<f64>) -> Self {
        Self {
            stages: 0,
            average: coefficients.clone(),
            averaged: 0,
            ema: coefficients.clone(),
            last: coefficients,
            best: None,
        }
    }

    /// Takes the potential of the next stage; the mean begins where it says so.
    pub fn push(&mut self, coefficients: Vec<f64>, is_averaged: bool, decay: f64) {
        self.stages += 1;
        // The moving average forgets the start as a plain mean does, until that is slower than the decay.
        toward(&mut self.ema, &coefficients, (1.0 - decay).max(1.0 / self.stages as f64));
        if is_averaged {
            self.averaged += 1;
            toward(&mut self.average, &coefficients, 1.0 / self.averaged as f64);
        } else {
            self.average.clone_from(&coefficients);
        }
        self.last = coefficients;
    }

    /// All three at hand, each once where they are equal.
    pub fn all(&self) -> Vec<(Iterate, &[f64])> {
        let mut all: Vec<(Iterate, &[f64])> = vec![(Iterate::Last, &self.last)];
        for (name, coefficients) in [(Iterate::Average, &self.average), (Iterate::Ema, &self.ema)] {
            if all.iter().all(|(_, known)| known != coefficients) {
                all.push((name, coefficients));
            }
        }
        all
    }

    /// Keeps a potential where it is more likely than all before.
    pub fn judge(&mut self, stage: u64, iterate: Iterate, nll: f64) {
        if nll.is_finite() && self.best.as_ref().is_none_or(|best| nll < best.nll) {
            let coefficients = self.of(iterate).to_vec();
            self.best = Some(Best { nll, stage, iterate, coefficients });
        }
    }

    /// θ of the potential that is asked for.
    pub fn of(&self, iterate: Iterate) -> &[f64] {
        match iterate {
            Iterate::Best => self.best.as_ref().map_or(&self.last, |best| &best.coefficients),
            Iterate::Last => &self.last,
            Iterate::Average => &self.average,
            Iterate::Ema => &self.ema,
        }
    }
}

/// Moves means by a share of the way.
fn toward(means: &mut [f64], values: &[f64], share: f64) {
    means.iter_mut().zip(values).for_each(|(mean, value)| *mean += share * (value - *mean));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_those_of_the_stages_they_speak_of() {
        let mut iterates = Iterates::new(vec![9.0]);
        assert_eq!(iterates.all().len(), 1);
        for (stage, value) in [4.0, 2.0, 6.0, 1.0].into_iter().enumerate() {
            iterates.push(vec![value], stage >= 2, 0.75);
            iterates.judge(stage as u64 + 1, Iterate::Average, (value - 3.0f64).abs());
        }
        assert_eq!((iterates.last[0], iterates.average[0]), (1.0, 3.5));
        // 4, 3, 4 as plain means, then a quarter of the way.
        assert_eq!(iterates.ema[0], 4.0 + 0.25 * (1.0 - 4.0));
        let best = iterates.best.clone().unwrap();
        assert_eq!((best.stage, best.coefficients[0], best.nll), (1, 4.0, 1.0));
        assert_eq!(iterates.of(Iterate::Best), [4.0]);
        iterates.judge(9, Iterate::Last, f64::NAN);
        assert_eq!(iterates.best, Some(best));
    }
}
