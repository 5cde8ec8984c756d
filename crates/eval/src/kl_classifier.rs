//! KL divergence between two samples by a classifier that tells them apart.
//!
//! The logit of the best classifier is `log p_A/p_B`; whatever classifier was found, held-out points turn it into a
//! lower bound of KL(A‖B). Nguyen, Wainwright and Jordan, Estimating Divergence Functionals and the Likelihood Ratio by
//! Convex Risk Minimization, IEEE Transactions on Information Theory 56 (2010); random features: Rahimi and Recht (2007).
//!
//! # Design
//!
//! The classifier is a ridge logistic regression on quadratic features (exact between Gaussians) and random Fourier
//! features at three bandwidths (for shapes that no quadratic has), in coordinates that whiten both samples together.
//! The problem is convex and small, so the answer is a function of the points and the seed, found in a second; no network
//! and no learning rate decides it. Five folds are cross-fitted: no point is judged by a classifier that saw it.

use brenier_measure::linear_algebra::symmetric_eigen;
use brenier_measure::{Estimate, ImportanceWeights, PARETO_K_LIMIT, Points, Purpose, Stream};
use ndarray::{Array1, Array2, ArrayView1, Axis};
use rayon::prelude::*;

use crate::error::{check, check_dims};
use crate::{Direction, EvalError, MetricReport};

/// KL(A‖B) by a classifier with logit f, on held-out points.
#[derive(Debug, Clone, PartialEq)]
pub struct KlClassifier {
    /// `E_A f + 1 - E_B e^f ≤ KL(A‖B)`, for any f (Nguyen, Wainwright and Jordan).
    pub lower_bound: Estimate,
    /// `E_A f - log E_B e^f ≤ KL(A‖B)` (Donsker and Varadhan): tighter, but its logarithm of a mean is high on average.
    pub donsker_varadhan: Estimate,
    /// `E_A f`, the plug-in estimate: no bound, right where f is.
    pub mean_log_ratio: Estimate,
    /// The logistic loss, both samples with weight ½: log 2 where nothing tells them apart.
    pub logistic_loss: Estimate,
    /// The Pareto k of `e^f` over B, [`ImportanceWeights::pareto_k`].
    pub pareto_k: Option<f64>,
    /// The ridge chosen in each fold.
    pub ridges: Vec<f64>,
    /// The largest |f|, beyond which logits are cut: the logarithm of the larger sample size.
    pub largest_logit: f64,
    /// The number of points of A.
    pub n: usize,
    /// The seed of the folds and of the random features.
    pub seed: u64,
}

/// Folds of the cross-fit.
const FOLDS: usize = 5;
/// The fewest points of a sample.
const LEAST: usize = 50;
/// Random Fourier features at each bandwidth.
const FREQUENCIES: usize = 64;
/// Bandwidths, in units of the median distance.
const BANDWIDTHS: [f64; 3] = [0.5, 1.0, 2.0];
/// Above this dimension the quadratic features are squares alone.
const LARGEST_PRODUCTS: usize = 24;
/// Ridges tried, each started from the answer of the one before.
const RIDGES: [f64; 7] = [10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5];
/// The first step of the stream of metrics that is this file's: far from those of projections and subsets.
const FIRST_STEP: u64 = 1 << 40;
/// Points whose distances give the median.
const MEDIAN_POINTS: usize = 400;
/// An eigenvalue of the pooled covariance that is taken for zero, relative to the largest.
const NEGLIGIBLE: f64 = 1e-10;

/// A lower bound of `KL(A‖B)`, in nats, between samples `[n, d]` and `[m, d]`, by a classifier.
///
/// Each of five folds is judged by a logistic regression on the other four. Its ridge is the strongest whose loss on one
/// of these four is within one standard error of the least: a weaker one would fit noise in the tails, where `e^f` lives. Quadratic features are all products of whitened coordinates up to d = 24, squares beyond. Logits are cut at
/// `± log max(n, m)`: no bound from m points can show much more than log m nats (McAllester and Stratos, 2020).
/// Standard errors are those of means over the held-out points, the classifiers held fixed.
///
/// # Errors
///
/// Fewer than 50 points on a side, points that are not finite, dimensions that differ, a covariance without
/// eigenvalues.
pub fn kl_classifier(a: &Points, b: &Points, seed: u64) -> Result<KlClassifier, EvalError> {
    check("samples", a, LEAST)?;
    check("reference points", b, LEAST)?;
    check_dims(("samples", a), ("reference points", b))?;
    let stream = Stream::new(seed, Purpose::Metric);
    let orders = [stream.permutation(FIRST_STEP, a.nrows()), stream.permutation(FIRST_STEP + 1, b.nrows())];
    let largest_logit = (a.nrows().max(b.nrows()) as f64).ln();
    let folds: Vec<Fold> = (0..FOLDS)
        .into_par_iter()
        .map(|fold| Fold::new([a, b], &orders, fold, &stream).ok_or(EvalError::PooledCovariance))
        .collect::<Result<_, _>>()?;
    let logits = |side: usize| -> Vec<f64> {
        let all = folds.iter().flat_map(|fold| &fold.logits[side]);
        all.map(|f| f.clamp(-largest_logit, largest_logit)).collect()
    };
    let (on_a, on_b) = (logits(0), logits(1));

    let mean_log_ratio = Estimate::mean(on_a.iter().copied());
    let weights = ImportanceWeights::new(on_b.clone())?;
    let log_mass = weights.log_mean();
    let mass = Estimate::mean(on_b.iter().map(|f| f.exp()));
    let losses = [Estimate::mean(on_a.iter().map(|f| softplus(-f))), Estimate::mean(on_b.iter().map(|f| softplus(*f)))];
    let joined = |value: f64, x: Estimate, y: Estimate| Estimate { value, std_error: x.std_error.hypot(y.std_error) };
    let loss = joined(losses[0].value + losses[1].value, losses[0], losses[1]);
    Ok(KlClassifier {
        lower_bound: joined(mean_log_ratio.value + 1.0 - mass.value, mean_log_ratio, mass),
        donsker_varadhan: joined(mean_log_ratio.value - log_mass.value, mean_log_ratio, log_mass),
        mean_log_ratio,
        logistic_loss: Estimate { value: 0.5 * loss.value, std_error: 0.5 * loss.std_error },
        pareto_k: weights.pareto_k(),
        ridges: folds.iter().map(|fold| fold.ridge).collect(),
        largest_logit,
        n: a.nrows(),
        seed,
    })
}

impl KlClassifier {
    /// The bound of Nguyen, Wainwright and Jordan as a report; the other answers are its details.
    pub fn report(&self) -> MetricReport {
        let report = MetricReport::new(self.lower_bound, self.n, Direction::LowerIsBetter)
            .with_seed(self.seed)
            .with_detail("donsker_varadhan", self.donsker_varadhan.value)
            .with_detail("mean_log_ratio", self.mean_log_ratio.value)
            .with_detail("logistic_loss", self.logistic_loss.value)
            .with_note("a lower bound of KL(A‖B): what this classifier cannot see is missing");
        let report = match self.pareto_k {
            Some(k) if k > PARETO_K_LIMIT => report
                .with_note(format!("unreliable: the Pareto k of the density ratio is {k:.2}, above {PARETO_K_LIMIT}")),
            _ => report,
        };
        if self.lower_bound.value > self.largest_logit - 2.0 {
            report.with_note(format!("at the most that these points can show, {:.1} nats", self.largest_logit))
        } else {
            report
        }
    }
}

/// One classifier, and its logits on the points that it has not seen.
struct Fold {
    logits: [Vec<f64>; 2],
    ridge: f64,
}

impl Fold {
    /// `None` where the pooled covariance has no eigenvalues.
    fn new(samples: [&Points; 2], orders: &[Vec<usize>; 2], fold: usize, stream: &Stream) -> Option<Self> {
        let block = |side: usize, wanted: &dyn Fn(usize) -> bool| -> Points {
            let indices = orders[side].iter().enumerate().filter(|(place, _)| wanted(place % FOLDS));
            samples[side].select(Axis(0), &indices.map(|(_, &index)| index).collect::<Vec<_>>())
        };
        let validation = (fold + 1) % FOLDS;
        let fitted = [0, 1].map(|side| block(side, &|b| b != fold && b != validation));
        let validated = [0, 1].map(|side| block(side, &|b| b == validation));
        let held_out = [0, 1].map(|side| block(side, &|b| b == fold));

        let features = Features::new([&fitted, &validated], stream)?;
        let mut rows = Rows::default();
        for (samples, part) in [(&fitted, 0), (&validated, 1)] {
            for (side, points) in samples.iter().enumerate() {
                rows.push(&features.apply(points), side, part);
            }
        }
        let (centre, spectrum) = rows.centre()?;
        let mut path: Vec<(f64, Vec<f64>, Vec<f64>)> = Vec::new();
        let (mut weights, mut least, mut worse) = (vec![0.0; rows.width + 1], (f64::INFINITY, 0), 0);
        for ridge in RIDGES {
            weights = rows.fit(weights, ridge, &spectrum, |part| part == 0);
            let losses = rows.losses(&weights, |part| part == 1);
            let loss = losses.iter().sum();
            path.push((ridge, weights.clone(), losses));
            if loss < least.0 {
                (least, worse) = ((loss, path.len() - 1), 0);
            } else {
                worse += 1;
            }
            // Weaker ridges fit noise: the loss does not come down again.
            if worse == 2 {
                break;
            }
        }
        let best = path[least.1].2.clone();
        let (ridge, start, _) =
            path.into_iter().find(|(_, _, losses)| no_worse(losses, &best)).expect("the best is no worse than itself");
        let weights = rows.fit(start, ridge, &spectrum, |_| true);
        let logits = held_out.map(|points| {
            let mut features = features.apply(&points);
            features -= &centre;
            features.outer_iter().map(|row| logit(&weights, row.as_slice().expect("standard layout"))).collect()
        });
        Some(Self { logits, ridge })
    }
}

/// Quadratic and random Fourier features in coordinates z that whiten the pooled points.
struct Features {
    mean: Array1<f64>,
    /// `z = (x - mean) W`, `[d, r]`.
    whitening: Array2<f64>,
    /// `[r, D]`, and phases `[D]`.
    frequencies: Array2<f64>,
    phases: Array1<f64>,
}

impl Features {
    fn new(parts: [&[Points; 2]; 2], stream: &Stream) -> Option<Self> {
        let views: Vec<_> = parts.iter().flat_map(|part| part.iter().map(|points| points.view())).collect();
        let pooled = ndarray::concatenate(Axis(0), &views).expect("one dimension");
        let mean = pooled.mean_axis(Axis(0)).expect("at least one point");
        let centred = &pooled - &mean;
        let spectrum = symmetric_eigen(&(centred.t().dot(&centred) / centred.nrows() as f64))?;
        let d = mean.len();
        let vectors = spectrum.vectors.unwrap_or_else(|| Array2::eye(d));
        let largest = spectrum.values.iter().copied().fold(0.0, f64::max);
        let kept: Vec<usize> =
            (0..d).filter(|&k| spectrum.values[k] > NEGLIGIBLE * largest && spectrum.values[k] > 0.0).collect();
        let whitening =
            Array2::from_shape_fn((d, kept.len()), |(i, k)| vectors[[i, kept[k]]] / spectrum.values[kept[k]].sqrt());
        let median = median_distance(&centred.dot(&whitening));
        let count = FREQUENCIES * BANDWIDTHS.len();
        let mut frequencies = Array2::zeros((kept.len(), count));
        let mut phases = Array1::zeros(count);
        for feature in 0..count {
            let mut words = stream.at(FIRST_STEP + 2, feature as u64);
            phases[feature] = std::f64::consts::TAU * words.uniform();
            let bandwidth = median * BANDWIDTHS[feature / FREQUENCIES];
            frequencies.column_mut(feature).iter_mut().for_each(|w: &mut f64| *w = words.normal() / bandwidth);
        }
        Some(Self { mean, whitening, frequencies, phases })
    }

    /// `[n, d] -> [n, F]`: z, its squares and products at unit variance, and `√(2/D) cos(ωᵀz + phase)`.
    fn apply(&self, points: &Points) -> Array2<f64> {
        let z = (points - &self.mean).dot(&self.whitening);
        let r = z.ncols();
        let waves = if r == 0 { Array2::zeros((z.nrows(), 0)) } else { z.dot(&self.frequencies) };
        let products = if r <= LARGEST_PRODUCTS { r * r.saturating_sub(1) / 2 } else { 0 };
        let width = 2 * r + products + waves.ncols();
        let scale = (2.0 / self.phases.len() as f64).sqrt();
        let mut values = Vec::with_capacity(z.nrows() * width);
        for (z, waves) in z.outer_iter().zip(waves.outer_iter()) {
            values.extend(z);
            values.extend(z.iter().map(|z| (z * z - 1.0) * std::f64::consts::FRAC_1_SQRT_2));
            if products > 0 {
                values.extend((0..r).flat_map(|i| (0..i).map(move |j| z[i] * z[j])));
            }
            values.extend(waves.iter().zip(&self.phases).map(|(wave, phase)| scale * (wave + phase).cos()));
        }
        Array2::from_shape_vec((z.nrows(), width), values).expect("a row for each point")
    }
}

/// The median distance between some of the points; 1 where they are equal.
fn median_distance(points: &Array2<f64>) -> f64 {
    let stride = points.nrows().div_ceil(MEDIAN_POINTS);
    let some: Vec<ArrayView1<f64>> = points.outer_iter().step_by(stride).collect();
    let mut distances: Vec<f64> = (0..some.len())
        .flat_map(|i| (0..i).map(move |j| (i, j)))
        .map(|(i, j)| some[i].iter().zip(some[j]).map(|(a, b)| (a - b) * (a - b)).sum())
        .collect();
    let middle = distances.len() / 2;
    let median = *distances.select_nth_unstable_by(middle, f64::total_cmp).1;
    if median > 0.0 { median.sqrt() } else { 1.0 }
}

/// Features of labelled points, one a row.
#[derive(Default)]
struct Rows {
    width: usize,
    features: Vec<f64>,
    /// Which sample, and which part of the training points.
    labels: Vec<(usize, usize)>,
}

/// `XᵀDX = U diag(s) Uᵀ`.
struct Gram {
    values: Vec<f64>,
    vectors: Array2<f64>,
}

impl Rows {
    fn push(&mut self, features: &Array2<f64>, side: usize, part: usize) {
        self.width = features.ncols();
        self.features.extend(features);
        self.labels.extend(std::iter::repeat_n((side, part), features.nrows()));
    }

    /// Subtracts the mean under ½(A + B), and decomposes the second moment under it.
    fn centre(&mut self) -> Option<(Array1<f64>, Gram)> {
        let (count, width) = (self.labels.len(), self.width);
        let shares = self.shares(|_| true);
        let mut features = Array2::from_shape_vec((count, width), std::mem::take(&mut self.features)).expect("rows");
        let centre = shares.dot(&features);
        features -= &centre;
        let weighted = &features * &shares.mapv(f64::sqrt).insert_axis(Axis(1));
        let spectrum = symmetric_eigen(&weighted.t().dot(&weighted))?;
        self.features = features.into_raw_vec_and_offset().0;
        Some((
            centre,
            Gram { vectors: spectrum.vectors.unwrap_or_else(|| Array2::eye(width)), values: spectrum.values },
        ))
    }

    /// The weight of each row: both samples have ½ in all, whatever their sizes.
    fn shares(&self, wanted: impl Fn(usize) -> bool) -> Array1<f64> {
        let count = |side| self.labels.iter().filter(|&&(s, part)| s == side && wanted(part)).count() as f64;
        let each = [0.5 / count(0), 0.5 / count(1)];
        self.labels.iter().map(|&(side, part)| if wanted(part) { each[side] } else { 0.0 }).collect()
    }

    /// The terms of the logistic loss of the wanted parts, a row each.
    fn losses(&self, weights: &[f64], wanted: impl Fn(usize) -> bool) -> Vec<f64> {
        let shares = self.shares(wanted);
        let rows = self.rows().zip(&self.labels).zip(&shares).filter(|(_, share)| **share > 0.0);
        rows.map(|((row, (side, _)), share)| share * softplus(-sign(*side) * logit(weights, row))).collect()
    }

    fn rows(&self) -> impl Iterator<Item = &[f64]> {
        (0..self.labels.len()).map(|row| &self.features[row * self.width..(row + 1) * self.width])
    }

    /// The loss with `½ ridge |w|²` (the intercept, last, is free), and its gradient, in one pass over the rows.
    fn objective(&self, weights: &[f64], ridge: f64, shares: &Array1<f64>, gradient: &mut [f64]) -> f64 {
        let width = self.width;
        let mut value = 0.0;
        gradient.fill(0.0);
        for ((row, &(side, _)), &share) in self.rows().zip(&self.labels).zip(shares) {
            if share == 0.0 {
                continue;
            }
            let margin = sign(side) * logit(weights, row);
            value += share * softplus(-margin);
            let slope = -sign(side) * share / (1.0 + margin.exp());
            gradient[..width].iter_mut().zip(row).for_each(|(g, x)| *g += slope * x);
            gradient[width] += slope;
        }
        for (g, w) in gradient.iter_mut().zip(weights).take(width) {
            value += 0.5 * ridge * w * w;
            *g += ridge * w;
        }
        value
    }

    /// Minimises the objective over the wanted parts: L-BFGS, preconditioned by the Hessian's bound `¼ XᵀDX + ridge`.
    /// Nocedal and Wright, Numerical Optimization (2006), algorithm 7.4.
    fn fit(&self, start: Vec<f64>, ridge: f64, gram: &Gram, wanted: impl Fn(usize) -> bool) -> Vec<f64> {
        const MEMORY: usize = 10;
        const ITERATIONS: usize = 100;
        /// A decrease of the loss that no standard error sees.
        const TOLERANCE: f64 = 1e-9;
        let shares = self.shares(wanted);
        let mut weights = start;
        let mut gradient = vec![0.0; weights.len()];
        let mut value = self.objective(&weights, ridge, &shares, &mut gradient);
        let mut pairs: Vec<(Vec<f64>, Vec<f64>, f64)> = Vec::new();
        for _ in 0..ITERATIONS {
            let direction = quasi_newton(&gradient, &pairs, |vector| gram.precondition(vector, ridge));
            let slope = -dot(&direction, &gradient);
            // A convex function: the slope is negative unless rounding is all that is left.
            if slope > -TOLERANCE {
                break;
            }
            let mut step = 1.0;
            let (mut next, mut next_gradient) = (weights.clone(), gradient.clone());
            let next_value = loop {
                next.iter_mut().zip(&weights).zip(&direction).for_each(|((n, w), d)| *n = w - step * d);
                let next_value = self.objective(&next, ridge, &shares, &mut next_gradient);
                if next_value <= value + 1e-4 * step * slope || step < 1e-6 {
                    break next_value;
                }
                step *= 0.5;
            };
            let moved: Vec<f64> = next.iter().zip(&weights).map(|(n, w)| n - w).collect();
            let turned: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(n, g)| n - g).collect();
            let curvature = dot(&moved, &turned);
            if next_value > value || curvature <= 0.0 {
                break;
            }
            if pairs.len() == MEMORY {
                pairs.remove(0);
            }
            pairs.push((moved, turned, curvature));
            (weights, gradient, value) = (next, next_gradient, next_value);
        }
        weights
    }
}

impl Gram {
    /// `(¼ XᵀDX + ridge)⁻¹ v`; the intercept's entry is ¼.
    fn precondition(&self, vector: &[f64], ridge: f64) -> Vec<f64> {
        let width = self.values.len();
        let mut along = ArrayView1::from(&vector[..width]).dot(&self.vectors);
        along.iter_mut().zip(&self.values).for_each(|(x, s)| *x /= 0.25 * s.max(0.0) + ridge);
        let mut answer = self.vectors.dot(&along).to_vec();
        answer.push(4.0 * vector[width]);
        answer
    }
}

/// `H g` by the two-loop recursion over pairs (step, change of the gradient, their product), oldest first.
fn quasi_newton(
    gradient: &[f64],
    pairs: &[(Vec<f64>, Vec<f64>, f64)],
    precondition: impl Fn(&[f64]) -> Vec<f64>,
) -> Vec<f64> {
    let mut q = gradient.to_vec();
    let mut alphas = Vec::with_capacity(pairs.len());
    for (moved, turned, product) in pairs.iter().rev() {
        let alpha = dot(moved, &q) / product;
        q.iter_mut().zip(turned).for_each(|(q, y)| *q -= alpha * y);
        alphas.push(alpha);
    }
    let mut r = precondition(&q);
    for ((moved, turned, product), alpha) in pairs.iter().zip(alphas.into_iter().rev()) {
        let beta = dot(turned, &r) / product;
        r.iter_mut().zip(moved).for_each(|(r, s)| *r += (alpha - beta) * s);
    }
    r
}

/// Whether the sum of the first terms exceeds that of the second by at most one standard error of the difference.
fn no_worse(losses: &[f64], best: &[f64]) -> bool {
    let n = losses.len() as f64;
    let excess = Estimate::mean(losses.iter().zip(best).map(|(loss, best)| n * (loss - best)));
    excess.value <= excess.std_error
}

fn sign(side: usize) -> f64 {
    if side == 0 { 1.0 } else { -1.0 }
}

/// `wᵀx + intercept`.
fn logit(weights: &[f64], row: &[f64]) -> f64 {
    dot(&weights[..row.len()], row) + weights[row.len()]
}

/// `log(1 + eˣ)`.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The inner product in eight running sums, in an order that does not depend on the machine.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_blocks, b_blocks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_blocks.zip(b_blocks) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Normals `shift + scale·z` in every coordinate.
    fn normals(n: usize, d: usize, shift: f64, scale: f64, step: u64) -> Points {
        let stream = Stream::new(29, Purpose::Evaluation);
        let mut points = Points::zeros((n, d));
        for (i, mut row) in points.outer_iter_mut().enumerate() {
            stream.at(step, i as u64).fill_normal(row.as_slice_mut().unwrap());
        }
        points * scale + shift
    }

    /// KL(N(shift, scale²)‖N(0, 1)) in each of d coordinates.
    fn exact(d: usize, shift: f64, scale: f64) -> f64 {
        d as f64 * (0.5 * (scale * scale + shift * shift - 1.0) - scale.ln())
    }

    #[test]
    fn between_gaussians_the_bound_is_tight() {
        for (d, shift, scale) in [(1, 0.7, 1.0), (2, 0.6, 0.7), (8, 0.2, 0.8)] {
            let found = kl_classifier(&normals(2500, d, shift, scale, 0), &normals(2000, d, 0.0, 1.0, 1), 3).unwrap();
            let kl = exact(d, shift, scale);
            for estimate in [found.lower_bound, found.donsker_varadhan, found.mean_log_ratio] {
                assert!(estimate.std_error < 0.06, "too noisy to decide: {found:?}");
                assert!((estimate.value - kl).abs() < 5.0 * estimate.std_error, "d = {d}: {found:?} against {kl}");
            }
            assert!(found.donsker_varadhan.value >= found.lower_bound.value);
            assert!(found.report().note.unwrap().starts_with("a lower bound of KL(A‖B)"));
        }
    }

    #[test]
    fn equal_laws_cannot_be_told_apart() {
        for (d, seed) in [(1, 0), (2, 1), (8, 2)] {
            let found = kl_classifier(&normals(1000, d, 0.0, 1.0, 4), &normals(1500, d, 0.0, 1.0, 5), seed).unwrap();
            assert!(found.lower_bound.std_error < 0.02, "too noisy to decide: {found:?}");
            assert!(found.lower_bound.value.abs() < 5.0 * found.lower_bound.std_error + 1e-3, "d = {d}: {found:?}");
            assert!((found.logistic_loss.value - 2f64.ln()).abs() < 5e-3, "{found:?}");
        }
    }

    #[test]
    fn a_shape_that_no_quadratic_has_is_seen_by_the_waves() {
        // Two bumps at ±1.5 against the normal law of equal variance: mean, variance and third moment agree.
        let (shift, scale) = (1.5f64, 0.5f64);
        let sd = (shift * shift + scale * scale).sqrt();
        let mut bumps = normals(2500, 1, 0.0, scale, 6);
        bumps.iter_mut().enumerate().for_each(|(i, x)| *x += if i % 2 == 0 { shift } else { -shift });
        let found = kl_classifier(&bumps, &normals(2500, 1, 0.0, sd, 7), 1).unwrap();
        let normal = |x: f64, s: f64| (-0.5 * (x / s).powi(2)).exp() / (s * std::f64::consts::TAU.sqrt());
        let h = 1e-3;
        let kl: f64 = (-6000..6000)
            .map(|i| h * (f64::from(i) + 0.5))
            .map(|x| {
                let p = 0.5 * (normal(x - shift, scale) + normal(x + shift, scale));
                h * p * (p / normal(x, sd)).ln()
            })
            .sum();
        assert!(kl > 0.25, "{kl}");
        let bound = found.lower_bound;
        assert!(bound.std_error < 0.03, "too noisy to decide: {found:?}");
        assert!(bound.value < kl + 5.0 * bound.std_error, "{found:?} against {kl}");
        assert!(bound.value > 0.9 * kl - 5.0 * bound.std_error, "{found:?} against {kl}");
    }

    #[test]
    fn the_answer_is_a_function_of_points_and_seed() {
        let (a, b) = (normals(120, 2, 0.3, 1.0, 8), normals(150, 2, 0.0, 1.0, 9));
        let on = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| kl_classifier(&a, &b, seed).unwrap())
        };
        assert_eq!(on(1, 5), on(3, 5));
        assert_ne!(on(1, 5).lower_bound, on(1, 6).lower_bound);
    }

    #[test]
    fn samples_that_do_not_overlap_are_at_the_most_that_points_can_show() {
        let found = kl_classifier(&normals(500, 2, 50.0, 1.0, 10), &normals(500, 2, 0.0, 1.0, 11), 0).unwrap();
        assert!(found.lower_bound.value <= found.largest_logit + 1.0, "{found:?}");
        let note = found.report().note.unwrap();
        assert!(note.contains("at the most that these points can show, 6.2 nats"), "{note}");
    }

    #[test]
    fn degenerate_points_are_answered_or_refused() {
        let same = Points::ones((60, 2));
        assert_eq!(kl_classifier(&same, &same, 0).unwrap().lower_bound, Estimate { value: 0.0, std_error: 0.0 });
        // A constant column beside a telling one.
        let flat = |shift: f64, step| {
            let mut points = normals(400, 2, shift, 1.0, step);
            points.column_mut(1).fill(3.0);
            points
        };
        assert!(kl_classifier(&flat(1.0, 12), &flat(0.0, 13), 0).unwrap().lower_bound.value > 0.2);
        let refuse = |a: &Points, b: &Points| kl_classifier(a, b, 0).unwrap_err().to_string();
        assert!(refuse(&Points::zeros((49, 2)), &same).contains("there are 49 samples; at least 50"));
        assert!(refuse(&same, &Points::zeros((60, 1))).contains("must live in one space"));
        let mut broken = same.clone();
        broken[[7, 1]] = f64::NAN;
        assert!(refuse(&same, &broken).contains("reference points: row 7, column 1 is NaN"));
    }
}
