//! Worst-case curvature of the noisy laws, and what it says about a whole chain.
//!
//! Liang, Dharmakeerthi, Koriyama (2411.01629), Theorems 1 and 4: a backward step expands W₂ by at most `1 + η(1 - ζ/β)`.

use brenier_measure::{NoiseSchedule, Points, Purpose, Stream};
use ndarray::{Array2, s};
use serde::{Deserialize, Serialize};

use super::{
    Examination, Law, Method, Progress, Settings, Subject, check_beta, check_richness, check_snr, check_time, zeta,
};
use crate::EvalError;

/// `sup λ_max(∇²log p_{Y_r}) = sup L_r - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WorstCase {
    /// The supremum over y, or the largest value found.
    pub sup_lambda_max: f64,
    /// Whether it is the supremum: so by quadrature on the line, and only there.
    pub exact: bool,
}

/// `ζ(t) = -sup λ_max(∇²log p_t)` along the Ornstein-Uhlenbeck chain.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WorstCaseCurvature {
    /// ζ(t), without β⁻¹.
    pub value: f64,
    /// Whether the supremum was searched and may be larger, so that ζ(t) may be smaller.
    pub lower_estimate_of_sup: bool,
}

impl WorstCase {
    /// `ζ(t) = s(t)²(1 - sup L_{r(t)})`, `s(t)² = β/(1 - e^{-2t})`: `s(t)X_t` has the law of `Y_{r(t)}`.
    pub fn along_chain(&self, time: f64, beta: f64) -> WorstCaseCurvature {
        let scale = beta / -libm::expm1(-2.0 * time);
        WorstCaseCurvature { value: -scale * self.sup_lambda_max, lower_estimate_of_sup: !self.exact }
    }
}

/// What the curvatures along K steps of size η say about diffusing two measures and denoising them again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChainBound {
    /// `-2ηβ⁻¹ Σ ζ(kη)`: bounds the log of the ratio of W₂² after and before, by the transport maps; `None` where a
    /// curvature is only a lower estimate of the supremum.
    pub log_factor: Option<f64>,
    /// `2η Σ (1 - β⁻¹ζ(kη))`: the same for the backward chain alone, which has no contraction to begin with.
    pub log_backward_factor: Option<f64>,
    /// `-2η Σ ζ*_M(kη)`: the average case, for perturbations of richness M at every step.
    pub average_log_factor: f64,
    /// ζ(kη), k = 1…K.
    pub per_step_zeta: Vec<f64>,
    /// Whether some ζ(kη) comes from a search that may have missed the supremum.
    pub lower_estimate_of_sup: bool,
}

/// The largest eigenvalue of `∇²log p_{Y_r}` over all y.
///
/// On the line by quadrature it is the supremum. Elsewhere it is the largest value that an ascent from many starts finds.
///
/// # Errors
///
/// Those of [`law()`](super::law()).
pub fn worst_case(
    subject: &Subject<'_>,
    snr: f64,
    settings: &Settings,
    watch: &mut dyn FnMut(Progress) -> bool,
) -> Result<WorstCase, EvalError> {
    check_snr(snr)?;
    let examination = Examination::new(subject, settings)?;
    let mut ascent = Ascent::new(&examination);
    let mut progress = Progress::of(ascent.steps());
    ascent.worst_case(snr, &mut progress, watch)
}

/// The curvatures along `steps` steps of size η of the chain of inverse temperature β, and the bounds they make, the average
/// case at richness M.
///
/// # Errors
///
/// No steps, an η or β that is not positive and finite, a richness below 1, and those of [`law()`](super::law()).
pub fn chain_bound(
    subject: &Subject<'_>,
    steps: usize,
    eta: f64,
    beta: f64,
    richness: f64,
    settings: &Settings,
    watch: &mut dyn FnMut(Progress) -> bool,
) -> Result<ChainBound, EvalError> {
    check_beta(beta)?;
    check_time(eta)?;
    check_time(steps as f64)?;
    check_richness(richness)?;
    let examination = Examination::new(subject, settings)?;
    let mut ascent = Ascent::new(&examination);
    let mut progress = Progress::of(steps * (examination.steps() + ascent.steps()));
    let schedule = NoiseSchedule::OrnsteinUhlenbeck { beta };
    let mut per_step_zeta = Vec::with_capacity(steps);
    let (mut average, mut exact) = (0.0, true);
    for k in 1..=steps {
        let time = k as f64 * eta;
        let snr = schedule.snr(time);
        let law: Law = examination.whole_law(snr, &mut progress, watch)?;
        let worst = match law.supremum() {
            Some(supremum) => WorstCase { sup_lambda_max: supremum - 1.0, exact: true },
            None => ascent.climb(snr, &mut progress, watch)?,
        };
        exact &= worst.exact;
        per_step_zeta.push(worst.along_chain(time, beta).value);
        average += zeta(&law, time, richness).value;
    }
    let sum: f64 = per_step_zeta.iter().sum();
    let log_factor = -2.0 * eta / beta * sum;
    Ok(ChainBound {
        log_factor: exact.then_some(log_factor),
        log_backward_factor: exact.then_some(2.0 * eta * steps as f64 + log_factor),
        average_log_factor: -2.0 * eta * average,
        per_step_zeta,
        lower_estimate_of_sup: !exact,
    })
}

/// Draws, and as many midpoints of draws, among which an ascent starts.
const STARTS: usize = 192;
/// Points that climb.
const CLIMBERS: usize = 12;
/// Steps tried by every climber in a round.
const TRIALS: usize = 6;
/// Rounds of a first ascent, and of one that starts where another ended.
const ROUNDS: (u64, u64) = (24, 6);

/// A search for sup L without derivatives, that begins each time where it ended at the r before.
///
/// The starts are the draws of largest L and midpoints between draws, where the posterior is split; every climber then
/// tries random steps, longer after success and shorter after failure.
pub(super) struct Ascent<'e, 's> {
    examination: &'e Examination<'s>,
    /// Where the last ascent ended, in the coordinates of X.
    climbers: Option<Points>,
    rounds: u64,
}

impl<'e, 's> Ascent<'e, 's> {
    pub(super) fn new(examination: &'e Examination<'s>) -> Self {
        Self { examination, climbers: None, rounds: 0 }
    }

    /// Steps of the work at one r.
    pub(super) fn steps(&self) -> usize {
        usize::from(self.examination.method == Method::MonteCarlo)
    }

    fn worst_case(
        &mut self,
        snr: f64,
        progress: &mut Progress,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<WorstCase, EvalError> {
        if self.examination.method == Method::MonteCarlo {
            return self.climb(snr, progress, watch);
        }
        let law = self.examination.whole_law(snr, progress, watch)?;
        Ok(WorstCase { sup_lambda_max: law.supremum().unwrap_or(f64::NAN) - 1.0, exact: true })
    }

    fn localization(&self, snr: f64, y: &Points) -> Result<Vec<f64>, EvalError> {
        let values = self.examination.subject.posterior.localization(snr, y);
        match values.iter().position(|value| !value.is_finite()) {
            Some(row) => Err(EvalError::Localization { snr, row, value: values[row] }),
            None => Ok(values),
        }
    }

    /// Places y where climbing begins.
    fn starts(&self, snr: f64) -> Points {
        let draws = &self.examination.draws;
        let n = draws.x.nrows();
        let count = n.min(STARTS);
        let mut starts = draws.noisy(snr, 0..count);
        let pairs = (0..count).map(|i| (i, n - 1 - i)).filter(|(i, j)| i != j);
        for (i, j) in pairs {
            let middle = (&draws.x.row(i) + &draws.x.row(j)) * (0.5 * snr);
            starts.push_row(middle.view()).expect("d columns");
        }
        if let Some(climbers) = &self.climbers {
            starts.append(ndarray::Axis(0), (climbers * snr).view()).expect("d columns");
        }
        starts
    }

    /// The largest L found, less 1.
    pub(super) fn climb(
        &mut self,
        snr: f64,
        progress: &mut Progress,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<WorstCase, EvalError> {
        let starts = self.starts(snr);
        let values = self.localization(snr, &starts)?;
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&i, &j| values[j].total_cmp(&values[i]));
        order.truncate(CLIMBERS);
        let mut places = starts.select(ndarray::Axis(0), &order);
        let mut values: Vec<f64> = order.iter().map(|&i| values[i]).collect();
        let (count, d) = places.dim();
        let mut lengths = vec![0.5; count];
        let rounds = if self.climbers.is_some() { ROUNDS.1 } else { ROUNDS.0 };
        let stream = Stream::new(0, Purpose::Localization);
        for _ in 0..rounds {
            progress.pause(watch)?;
            self.rounds += 1;
            let mut trials = Array2::zeros((count * TRIALS, d));
            for (index, mut trial) in trials.rows_mut().into_iter().enumerate() {
                // Step 0 of the stream belongs to the draws.
                let mut words = stream.at(self.rounds, index as u64);
                let mut direction = vec![0.0; d];
                words.fill_normal(&mut direction);
                let size = direction.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
                let climber = index / TRIALS;
                for ((y, place), x) in trial.iter_mut().zip(places.row(climber)).zip(&direction) {
                    *y = place + lengths[climber] * x / size;
                }
            }
            let found = self.localization(snr, &trials)?;
            for climber in 0..count {
                let first = climber * TRIALS;
                let best = (first..first + TRIALS).fold(first, |best, i| if found[i] > found[best] { i } else { best });
                if found[best] > values[climber] {
                    values[climber] = found[best];
                    places.row_mut(climber).assign(&trials.slice(s![best, ..]));
                    lengths[climber] *= 1.5;
                } else {
                    lengths[climber] *= 0.5;
                }
            }
        }
        progress.step(watch)?;
        self.climbers = Some(places / snr);
        let sup_lambda_max = values.into_iter().fold(f64::NEG_INFINITY, f64::max) - 1.0;
        Ok(WorstCase { sup_lambda_max, exact: false })
    }
}
