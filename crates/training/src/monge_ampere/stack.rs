//! A stack of densities: mixtures and kernels, weighted by what they say of points that they were not fitted to.
//!
//! ```text
//! p(x) = Σ_k α_k p_k(x),    α = argmax Σ_i log Σ_k α_k p_k^{-f(i)}(x_i)
//! ```
//!
//! with `p_k^{-f}` fitted without the fold f of the point: a concave problem, solved by expectation and maximisation. Smyth and Wolpert, Linearly
//! combining density estimators via stacking (1999). Parts are mixtures of several sizes, one Gaussian about every point, and one with
//! the covariance of its neighbours about every point; all of them are mixtures of Gaussians, and so is the stack.

use std::fmt;

use brenier_measure::expectation_maximization::{ExpectationMaximization, Moments, Observed, Stop};
use brenier_measure::{Points, Purpose, Stream};
use ndarray::{Array2, Axis, concatenate};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::polish::LocalGaussians;
use super::polish::ReferenceLaw;
use crate::error::TrainingError;

/// The parts of a stack, and how their weights are found. What is null is chosen by the number of points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StackConfig {
    /// The numbers of components of the mixtures.
    #[schemars(inner(range(min = 1, max = 100_000)))]
    pub mixtures: Option<Vec<usize>>,
    /// Fits of each mixture, from different starts: each is a part.
    #[schemars(range(min = 1, max = 100))]
    pub restarts: u64,
    /// By so many points each covariance of a mixture is drawn towards the pooled one.
    #[schemars(range(min = 0.0, max = 1e12))]
    pub shrinkage: f64,
    /// The sds of Gaussians about every point, in standardised coordinates.
    #[schemars(inner(range(min = 1e-6, max = 1e6)))]
    pub kernels: Option<Vec<f64>>,
    /// Gaussians about every point with the covariance of its neighbours.
    pub local: Option<Vec<LocalKernel>>,
    /// The number of folds.
    #[schemars(range(min = 2, max = 100))]
    pub folds: usize,
    /// How many of them are held out, one after the other. Null: all; from 8000 points on, one.
    #[schemars(range(min = 1, max = 100))]
    pub used_folds: Option<usize>,
    /// Parts of a smaller weight are left out.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub least_weight: f64,
}

/// `m + √(1 - κ²)(x - m) + κ N(0, C)`, m and C of the neighbours of a point x.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocalKernel {
    /// The number of neighbours, the point itself among them.
    #[schemars(range(min = 2, max = 100_000))]
    pub neighbours: usize,
    /// κ.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub share: f64,
}

impl Default for StackConfig {
    fn default() -> Self {
        Self {
            mixtures: None,
            restarts: 2,
            shrinkage: 1.0,
            kernels: None,
            local: None,
            folds: 5,
            used_folds: None,
            least_weight: 0.01,
        }
    }
}

/// From so many points on a stack is weighted by one fold.
const MANY: usize = 8000;

/// When a mixture of a stack has come to its end.
const STOP: Stop = Stop { iterations: 100, tolerance: 1e-4 };

/// Log-densities are raised to this below that of the best part: a point that a part did not see must not decide alone.
const LEAST: f64 = -50.0;

/// Updates of the weights.
const UPDATES: usize = 500;

/// A fitted stack.
#[derive(Debug, Clone)]
pub struct Stack {
    /// The mixture of all parts.
    pub moments: Moments,
    /// The parts in words, with their weights.
    pub parts: Vec<(String, f64)>,
    /// The negative log-likelihood of the points that were held out, of the weights that they chose (nats a point).
    pub held_out_nll: f64,
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.parts.iter().map(|(part, weight)| format!("{weight:.2} of {part}")).collect();
        write!(f, "{}; negative log-likelihood {:.4} of points that were left out", parts.join(", "), self.held_out_nll)
    }
}

/// A part without a fold: what it says of the points of that fold; itself, where it is a mixture.
type Fitted = (Vec<f64>, Option<Moments>);

/// One part.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Mixture { components: usize, restart: u64 },
    Kernel(f64),
    Local(LocalKernel),
}

impl Part {
    fn in_words(self) -> String {
        match self {
            Self::Mixture { components, restart: 0 } => format!("{components} components"),
            Self::Mixture { components, restart } => format!("{components} components, start {}", restart + 1),
            Self::Kernel(sd) => format!("kernels of sd {sd}"),
            Self::Local(LocalKernel { neighbours, share }) => {
                format!("kernels of {share} of {neighbours} neighbours")
            }
        }
    }

    /// The part for all points. A mixture that was good without each of the folds must not end in a worse optimum with all of them: of the fits from its own
    /// start and from those of the folds the most likely one.
    fn fit_to_all(
        self,
        points: &Points,
        of_folds: &[&Moments],
        shrinkage: f64,
        seed: u64,
    ) -> Result<Moments, TrainingError> {
        let Self::Mixture { components, restart } = self else { return self.fit(points, shrinkage, seed) };
        let observed = Observed::new(points, None, None)?;
        let method = ExpectationMaximization { shrinkage, ..Default::default() };
        let own = method.start(&observed, components, seed, restart);
        let mut best: Option<(Moments, f64)> = None;
        for start in std::iter::once(&own).chain(of_folds.iter().copied()) {
            let found = method.fit(&observed, start.clone(), STOP)?;
            if best.as_ref().is_none_or(|best| found.1 > best.1) {
                best = Some(found);
            }
        }
        Ok(best.map_or(own, |(moments, _)| moments))
    }

    fn fit(self, points: &Points, shrinkage: f64, seed: u64) -> Result<Moments, TrainingError> {
        let (n, d) = points.dim();
        let even = vec![1.0 / n as f64; n];
        Ok(match self {
            Self::Mixture { components, restart } => {
                let observed = Observed::new(points, None, None)?;
                let method = ExpectationMaximization { shrinkage, ..Default::default() };
                let start = method.start(&observed, components, seed, restart);
                method.fit(&observed, start, STOP)?.0
            }
            Self::Kernel(sd) => {
                let covariance = Array2::<f64>::eye(d) * (sd * sd);
                Moments { weights: even, means: points.clone(), covariances: vec![covariance; n] }
            }
            Self::Local(kernel) => {
                let local = LocalGaussians::new(points, kernel.neighbours, kernel.share)?;
                Moments { weights: even, means: local.centres, covariances: local.covariances }
            }
        })
    }
}

impl StackConfig {
    /// The parts for so many points.
    fn parts(&self, count: usize) -> Vec<Part> {
        let (mixtures, kernels, local): (&[usize], &[f64], &[(usize, f64)]) = match count {
            0..1200 => (
                &[4, 6, 8, 12, 16, 24],
                &[0.06, 0.09, 0.13],
                &[(20, 0.5), (40, 0.5), (80, 0.5), (20, 0.8), (40, 0.8), (80, 0.8)],
            ),
            1200..MANY => (
                &[8, 12, 16, 24, 32, 48],
                &[0.04, 0.06, 0.09],
                &[(40, 0.5), (80, 0.5), (160, 0.5), (40, 0.8), (80, 0.8), (160, 0.8)],
            ),
            // Kernels about so many points cost more than they say.
            _ => (&[12, 24, 48, 96], &[], &[]),
        };
        let usual: Vec<LocalKernel> =
            local.iter().map(|&(neighbours, share)| LocalKernel { neighbours, share }).collect();
        let mut parts = Vec::new();
        for &components in self.mixtures.as_deref().unwrap_or(mixtures) {
            parts.extend((0..self.restarts).map(|restart| Part::Mixture { components, restart }));
        }
        parts.extend(self.kernels.as_deref().unwrap_or(kernels).iter().map(|&sd| Part::Kernel(sd)));
        parts.extend(self.local.as_ref().unwrap_or(&usual).iter().map(|&kernel| Part::Local(kernel)));
        parts
    }

    /// Refuses a stack that has no parts for so many points.
    ///
    /// # Errors
    ///
    /// [`TrainingError::EmptyStack`].
    pub fn check(&self, points: usize) -> Result<(), TrainingError> {
        if self.parts(points).is_empty() { Err(TrainingError::EmptyStack) } else { Ok(()) }
    }

    /// The stack for points `[n, d]`.
    ///
    /// # Errors
    ///
    /// No parts; points of which no mixture can be made; an interruption, as `go_on` says.
    pub fn fit(&self, points: &Points, seed: u64, go_on: fn() -> bool) -> Result<Stack, TrainingError> {
        let n = points.nrows();
        let (parts, folds) = (self.parts(n), self.folds.min(n));
        if parts.is_empty() || folds < 2 {
            return Err(TrainingError::EmptyStack);
        }
        let fold_of: Vec<usize> = Stream::new(seed, Purpose::MixtureStart)
            .permutation(u64::MAX, n)
            .into_iter()
            .map(|place| place % folds)
            .collect();
        let used = self.used_folds.unwrap_or(if n >= MANY { 1 } else { folds }).min(folds);
        let mut told: Vec<Array2<f64>> = Vec::new();
        // Of every fold, the mixtures among its parts.
        let mut of_folds: Vec<Vec<Option<Moments>>> = Vec::new();
        for fold in 0..used {
            let (out, kept): (Vec<usize>, Vec<usize>) = (0..n).partition(|&i| fold_of[i] == fold);
            let (held_out, kept) = (points.select(Axis(0), &out), points.select(Axis(0), &kept));
            let fitted: Vec<Result<Fitted, TrainingError>> = parts
                .par_iter()
                .map(|part| {
                    if !go_on() {
                        return Err(TrainingError::Interrupted);
                    }
                    let moments = part.fit(&kept, self.shrinkage, seed)?;
                    let law = ReferenceLaw::new(&moments.mixture()?).ok_or(TrainingError::NoReferenceDensity)?;
                    Ok((law.log_density(&held_out), matches!(part, Part::Mixture { .. }).then_some(moments)))
                })
                .collect();
            let (columns, mixtures): (Vec<_>, Vec<_>) =
                fitted.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
            of_folds.push(mixtures);
            told.push(Array2::from_shape_fn((out.len(), parts.len()), |(i, k)| columns[k][i]));
        }
        let views: Vec<_> = told.iter().map(|part| part.view()).collect();
        let told = concatenate(Axis(0), &views).expect("as many parts");
        let weights = weigh(&told);
        let heaviest = (0..parts.len()).max_by(|&a, &b| weights[a].total_cmp(&weights[b]));
        let stays = |&k: &usize| weights[k] >= self.least_weight || Some(k) == heaviest;
        let alive: Vec<usize> = (0..parts.len()).filter(stays).collect();
        let total: f64 = alive.iter().map(|&k| weights[k]).sum();
        let fitted: Vec<Result<Moments, TrainingError>> = alive
            .par_iter()
            .map(|&k| {
                if !go_on() {
                    return Err(TrainingError::Interrupted);
                }
                let mixtures: Vec<&Moments> = of_folds.iter().filter_map(|parts| parts[k].as_ref()).collect();
                parts[k].fit_to_all(points, &mixtures, self.shrinkage, seed)
            })
            .collect();
        let fitted = fitted.into_iter().collect::<Result<Vec<_>, _>>()?;
        let shares: Vec<f64> = alive.iter().map(|&k| weights[k] / total).collect();
        let held_out_nll = -told
            .rows()
            .into_iter()
            .map(|row| log_sum(alive.iter().zip(&shares).map(|(&k, share)| share.ln() + row[k])))
            .sum::<f64>()
            / told.nrows() as f64;
        let means: Vec<_> = fitted.iter().map(|moments| moments.means.view()).collect();
        Ok(Stack {
            moments: Moments {
                weights: fitted
                    .iter()
                    .zip(&shares)
                    .flat_map(|(m, share)| m.weights.iter().map(move |w| w * share))
                    .collect(),
                means: concatenate(Axis(0), &means).expect("one width"),
                covariances: fitted.iter().flat_map(|moments| moments.covariances.iter().cloned()).collect(),
            },
            parts: alive.iter().zip(&shares).map(|(&k, &share)| (parts[k].in_words(), share)).collect(),
            held_out_nll,
        })
    }
}

fn log_sum(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = terms.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + terms.map(|term| (term - largest).exp()).sum::<f64>().ln()
}

/// The weights of the largest mean log-density, from log-densities `[n, K]`.
fn weigh(told: &Array2<f64>) -> Vec<f64> {
    let (n, count) = told.dim();
    // In units of the largest of a row, which cancel.
    let mut densities = told.clone();
    for mut row in densities.rows_mut() {
        let largest = row.fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        row.mapv_inplace(|value| (value - largest).max(LEAST).exp());
    }
    let mut weights = vec![1.0 / count as f64; count];
    for _ in 0..UPDATES {
        let mut next = vec![0.0; count];
        for row in densities.rows() {
            let total: f64 = row.iter().zip(&weights).map(|(p, w)| p * w).sum();
            next.iter_mut().zip(row).zip(&weights).for_each(|((sum, p), w)| *sum += w * p / total);
        }
        weights = next.into_iter().map(|sum| sum / n as f64).collect();
    }
    weights
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Measure, Sample, targets, to_tensor, to_values};
    use burn::tensor::{DType, Device};

    use super::*;

    fn nll(moments: &Moments, x: &Points) -> f64 {
        let values = to_values(moments.mixture().unwrap().log_density(to_tensor(x, DType::F64, &Device::flex())));
        -values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn a_stack_is_better_than_its_parts_and_says_how_good_it_is() {
        let draws = |seed, n| targets::two_moons().sample(&Stream::new(seed, Purpose::Batch), 0, 0..n);
        let (x, fresh) = (draws(1, 500), draws(2, 20_000));
        let config = StackConfig {
            mixtures: Some(vec![4, 8, 16]),
            restarts: 1,
            kernels: Some(vec![0.1]),
            local: Some(vec![LocalKernel { neighbours: 40, share: 0.7 }]),
            ..Default::default()
        };
        let stack = config.fit(&x, 3, || true).unwrap();
        assert!((stack.moments.weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((stack.parts.iter().map(|(_, weight)| weight).sum::<f64>() - 1.0).abs() < 1e-9);
        let of_stack = nll(&stack.moments, &fresh);
        for part in config.parts(500) {
            assert!(of_stack < nll(&part.fit(&x, 1.0, 3).unwrap(), &fresh) + 0.01, "{}", part.in_words());
        }
        // 500 log-densities of sd about 1.1: ± .05, five of which are .25.
        assert!((stack.held_out_nll - of_stack).abs() < 0.25, "{} and {of_stack}", stack.held_out_nll);
        assert!(matches!(config.fit(&x, 3, || false), Err(TrainingError::Interrupted)));
        let empty = StackConfig { mixtures: Some(vec![]), kernels: Some(vec![]), local: Some(vec![]), ..config };
        assert!(matches!(empty.fit(&x, 3, || true), Err(TrainingError::EmptyStack)));
    }

    #[test]
    fn weights_go_to_what_is_more_likely() {
        let told = Array2::from_shape_fn((100, 3), |(i, k)| match k {
            0 => -1.0,
            1 => {
                if i % 2 == 0 {
                    0.0
                } else {
                    -9.0
                }
            }
            _ => -30.0,
        });
        let weights = weigh(&told);
        // (e - 2)/(2(e - 1)), but for the e⁻⁸ of the other half.
        assert!((weights[1] - 0.209).abs() < 1e-3 && weights[2] < 1e-6, "{weights:?}");
    }
}
