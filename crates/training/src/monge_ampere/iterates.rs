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
    /// That of the last stage, of whichever checkpoint is asked for.
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
    /// What held-out points say of the three at hand: the last, the mean and the moving average.
    nll: [Option<f64>; 3],
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
            nll: [None; 3],
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

    /// Asks for the negative log-likelihood of all three at hand, and keeps the most likely of all stages.
    pub fn judge(&mut self, nll: impl Fn(&[f64]) -> f64) -> [f64; 3] {
        let all = [Iterate::Last, Iterate::Average, Iterate::Ema];
        let mut found = [0.0; 3];
        for (k, &iterate) in all.iter().enumerate() {
            // Means of one stage are that stage.
            let known = (0..k).find(|&j| self.of(all[j]) == self.of(iterate));
            found[k] = known.map_or_else(|| nll(self.of(iterate)), |j| found[j]);
            if found[k].is_finite() && self.best.as_ref().is_none_or(|best| found[k] < best.nll) {
                let coefficients = self.of(iterate).to_vec();
                self.best = Some(Best { nll: found[k], stage: self.stages, iterate, coefficients });
            }
        }
        self.nll = found.map(|nll| nll.is_finite().then_some(nll));
        found
    }

    /// The negative log-likelihood of the potential that is asked for; NaN where it was not judged.
    pub fn nll(&self, iterate: Iterate) -> f64 {
        let found = match iterate {
            Iterate::Best => self.best.as_ref().map(|best| best.nll),
            Iterate::Last => self.nll[0],
            Iterate::Average => self.nll[1],
            Iterate::Ema => self.nll[2],
        };
        found.unwrap_or(f64::NAN)
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
        assert!(iterates.nll(Iterate::Best).is_nan());
        let mut judged = Vec::new();
        for (stage, value) in [4.0, 2.0, 6.0, 1.0].into_iter().enumerate() {
            iterates.push(vec![value], stage >= 2, 0.75);
            judged.push(iterates.judge(|coefficients| (coefficients[0] - 3.25f64).abs()));
        }
        assert_eq!((iterates.last[0], iterates.average[0]), (1.0, 3.5));
        // 4, 3, 4 as plain means, then a quarter of the way.
        assert_eq!(iterates.ema[0], 4.0 + 0.25 * (1.0 - 4.0));
        assert_eq!(judged[0], [0.75; 3]);
        assert_eq!(judged[3], [2.25, 0.25, 0.0]);
        assert_eq!((iterates.nll(Iterate::Last), iterates.nll(Iterate::Average)), (2.25, 0.25));
        let best = iterates.best.clone().unwrap();
        assert_eq!((best.stage, best.iterate, best.nll), (4, Iterate::Ema, 0.0));
        assert_eq!(iterates.of(Iterate::Best), [3.25]);
        iterates.judge(|_| f64::NAN);
        assert!(iterates.nll(Iterate::Last).is_nan());
        assert_eq!(iterates.best, Some(best));
    }
}
