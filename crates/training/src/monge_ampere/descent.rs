//! Adam on a list of numbers, with a moving average of them.

use serde::{Deserialize, Serialize};

/// The decays of the moments and what keeps their ratio finite. Kingma, Ba (1412.6980); the second decay is short, for landscapes that change.
const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.99;
const EPSILON: f64 = 1e-8;

/// Gradients longer than this are shortened to it.
const LONGEST: f64 = 5.0;

/// Parameters on their way down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descent {
    /// The parameters, `[p]`.
    pub parameters: Vec<f64>,
    /// Their moving average, `[p]`.
    pub average: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    updates: u64,
}

impl Descent {
    /// From where it starts.
    pub fn new(parameters: Vec<f64>) -> Self {
        let zeros = vec![0.0; parameters.len()];
        Self { average: parameters.clone(), parameters, first: zeros.clone(), second: zeros, updates: 0 }
    }

    /// Whether all lists are of one length, and finite.
    pub fn is_consistent(&self) -> bool {
        let lists = [&self.parameters, &self.average, &self.first, &self.second];
        lists.iter().all(|list| list.len() == self.parameters.len() && list.iter().all(|x| x.is_finite()))
            && self.second.iter().all(|&square| square >= 0.0)
    }

    /// One update against a gradient, each parameter at its own pace; then `settle` may move the parameters, and the average follows.
    pub fn update(
        &mut self,
        mut gradient: Vec<f64>,
        rate: f64,
        paces: &[f64],
        settle: impl FnOnce(&[f64]) -> Vec<f64>,
    ) {
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        if norm > LONGEST {
            gradient.iter_mut().for_each(|g| *g *= LONGEST / norm);
        }
        self.updates += 1;
        let corrections = [BETA_1, BETA_2].map(|beta| 1.0 - libm::pow(beta, self.updates as f64));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for (((parameter, (first, second)), g), pace) in
            self.parameters.iter_mut().zip(moments).zip(gradient).zip(paces)
        {
            *first = BETA_1 * *first + (1.0 - BETA_1) * g;
            *second = BETA_2 * *second + (1.0 - BETA_2) * g * g;
            *parameter -= rate * pace * (*first / corrections[0]) / ((*second / corrections[1]).sqrt() + EPSILON);
        }
        self.parameters = settle(&self.parameters);
    }

    /// Takes parameters that were found in another way.
    pub fn take(&mut self, parameters: Vec<f64>) {
        self.parameters = parameters;
        self.updates += 1;
    }

    /// Moves the average toward the parameters; while it is young, faster than the decay says.
    pub fn follow(&mut self, decay: f64) {
        let young = (1.0 + self.updates as f64) / (10.0 + self.updates as f64);
        let share = 1.0 - decay.min(young);
        self.average.iter_mut().zip(&self.parameters).for_each(|(mean, value)| *mean += share * (value - *mean));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bowl_is_descended_to_its_bottom() {
        let bottom = [3.0, -1.0, 0.5];
        let mut descent = Descent::new(vec![0.0; 3]);
        for step in 0..3000 {
            let gradient =
                descent.parameters.iter().zip(bottom).zip([1.0, 100.0, 0.01]).map(|((x, b), c)| c * (x - b)).collect();
            let rate = 0.05 * (1.0 - f64::from(step) / 3000.0);
            descent.update(gradient, rate, &[1.0, 1.0, 1.0], |parameters| {
                parameters.iter().map(|x| x.max(-0.5)).collect()
            });
            descent.follow(0.99);
        }
        assert!(descent.is_consistent());
        // The longer an average is, the less it has of what was taken last.
        let after = |decay: f64| {
            let mut taken = Descent::new(vec![0.0]);
            for step in 0..203 {
                taken.take(vec![if step < 200 { 0.0 } else { 1.0 }]);
                taken.follow(decay);
            }
            taken.average[0]
        };
        assert!(after(0.6) > after(0.9) && after(0.9) > after(0.99));
        for (found, wanted) in [&descent.parameters, &descent.average].into_iter().map(|x| (x, [3.0, -0.5, 0.5])) {
            assert!(found.iter().zip(wanted).all(|(x, y)| (x - y).abs() < 2e-2), "{found:?}");
        }
    }
}
