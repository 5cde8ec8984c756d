//! The denoising loss at each noise level, and its excess over the exact denoiser.

use std::fmt;

use brenier_measure::{
    Denoiser, Estimate, LARGEST_SUBSET, Points, Purpose, Stream, point_posteriors, to_points, to_tensor,
};
use burn::tensor::{DType, Device, Tensor, TensorData};
use ndarray::Axis;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::error::check;

/// How well a denoiser does at one noise level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DenoisingLoss {
    /// The noise level σ.
    pub sigma: f64,
    /// `E|D(x + σz, σ) - x|²/d`.
    pub loss: f64,
    /// Its standard error over the points.
    pub std_error: f64,
    /// The loss of the best denoiser on the same points and noise, an estimate of `J*_σ = E tr Cov(X | X + σZ)/d`: see [`Optimum`].
    #[serde(alias = "exact")]
    pub optimal: Option<f64>,
    /// The loss above the optimal one.
    ///
    /// Where the exact denoiser D* is known it is `E|D(y, σ) - D*(y, σ)|²/d`: x - D*(y) is orthogonal to every function of y, so that
    /// this has the expectation of `loss - optimal` and a much smaller variance. Else it is that difference.
    pub excess: Option<Estimate>,
    /// `E σ² tr ∂D(y, σ)/d`, the posterior variance that the denoiser itself claims by its Jacobian (Tweedie's formula for the
    /// covariance); `J*_σ` for the exact one. As `σ E z·D(x + σz, σ)/d`, which is the same by Stein's identity.
    #[serde(default)]
    pub posterior_variance: Option<Estimate>,
}

/// The optimal loss against σ, from the least level where a logarithmic picture has room for it: far below their spacing points have one of
/// e^{-huge}, of which nothing is to be seen.
pub fn visible_optimum(levels: &[DenoisingLoss]) -> impl Iterator<Item = (f64, f64)> {
    let is_visible = |level: &&DenoisingLoss| level.optimal.is_some_and(|value| value > VISIBLE * level.sigma.powi(2));
    let first = levels.iter().take_while(|level| !is_visible(level)).count();
    levels[first..].iter().filter_map(|level| Some((level.sigma, level.optimal?)))
}

/// The least part of σ², which the identity leaves, that is drawn.
const VISIBLE: f64 = 1e-4;

/// What the optimal loss was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimum {
    /// The exact denoiser of the target.
    Exact,
    /// The exact denoisers of so many points that hold the source of what is denoised ([`point_posteriors`]): on average at most the
    /// optimal loss of the law that points come from.
    Points(usize),
    /// The same where the sources are points that were trained on, which bounds nothing of what is left to learn.
    TrainingPoints(usize),
}

impl Optimum {
    /// How many points it was taken from, where it is not exact.
    pub fn points(&self) -> Option<usize> {
        match self {
            Self::Exact => None,
            Self::Points(count) | Self::TrainingPoints(count) => Some(*count),
        }
    }
}

impl fmt::Display for Optimum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => {
                write!(
                    f,
                    "optimal: E tr Cov(x | x + σz)/d of the target, which no network goes below; excess: what is left to learn"
                )
            }
            Self::Points(count) => write!(
                f,
                "optimal: E tr Cov(x | x + σz)/d of {count} points, on average at most that of their law, and near it where σ is above \
                 their spacing; excess: the loss above it, a bound from above of what is left to learn"
            ),
            Self::TrainingPoints(count) => write!(
                f,
                "optimal: E tr Cov(x | x + σz)/d of {count} points that were trained on; a network that has learnt them by heart has no excess"
            ),
        }
    }
}

/// Where the optimal loss is taken from.
#[derive(Clone, Copy)]
pub enum BestDenoiser<'a> {
    /// The exact denoiser of the target.
    Exact(&'a dyn Denoiser),
    /// The judged points themselves, and other points of their law in random order.
    Points {
        /// None of the judged points; where those were trained on, there are none.
        others: &'a Points,
        /// Whether the judged points were trained on.
        trained_on: bool,
    },
}

impl BestDenoiser<'_> {
    /// What is to be said of the optimal loss of `n` points.
    pub fn optimum(&self, n: usize) -> Optimum {
        match self {
            Self::Exact(_) => Optimum::Exact,
            Self::Points { others, trained_on } => {
                let count = (n + others.nrows()).min(LARGEST_SUBSET);
                if *trained_on { Optimum::TrainingPoints(count) } else { Optimum::Points(count) }
            }
        }
    }
}

/// `count` noise levels from `low` to `high`, equally spaced in their logarithm.
pub fn log_grid(low: f64, high: f64, count: usize) -> Vec<f64> {
    let last = count.saturating_sub(1).max(1) as f64;
    (0..count)
        .map(|k| match k {
            0 => low,
            _ if k + 1 == count => high,
            _ => low * ((high / low).ln() * k as f64 / last).exp(),
        })
        .collect()
}

/// The denoising loss on points `[n, d]` (held-out ones) at every level, in the order of `levels`.
///
/// The noise z of a point is a function of the seed and its index, common to all levels, so that the
/// curve is smooth and two denoisers are compared on the same draws. The denoiser runs in `dtype` on
/// `device`; the exact one in f64 on the CPU. Residuals and means are f64.
///
/// # Errors
///
/// Fewer than two points, points that are not finite, another dimension than the denoiser's, a level
/// that is not positive, a denoiser that answers with NaN.
pub fn denoising_loss(
    denoiser: &dyn Denoiser,
    best: Option<BestDenoiser>,
    points: &Points,
    levels: &[f64],
    seed: u64,
    (dtype, device): (DType, &Device),
) -> Result<Vec<DenoisingLoss>, EvalError> {
    check("held-out points", points, 2)?;
    let of_best = best.map(|best| match best {
        BestDenoiser::Exact(exact) => exact.dim(),
        BestDenoiser::Points { others, .. } => others.ncols(),
    });
    for dim in [Some(denoiser.dim()), of_best].into_iter().flatten() {
        if dim != points.ncols() {
            let a = points.ncols();
            return Err(EvalError::DimensionMismatch { a_name: "held-out points", a, b_name: "the denoiser", b: dim });
        }
    }
    if let Some(index) = levels.iter().position(|sigma| !(sigma.is_finite() && *sigma > 0.0)) {
        return Err(EvalError::NoiseLevel { index, sigma: levels[index] });
    }
    let (noise, dim) = (noise(points.dim(), seed), points.ncols() as f64);
    let mean = points.mean_axis(Axis(0)).expect("at least two points");
    let variance = points.var_axis(Axis(0), 0.0).mean().expect("at least one coordinate");
    let mut squares = vec![Squares::default(); levels.len()];
    let mut add = |rows: &[usize], best: Option<(&dyn Denoiser, Excess)>| {
        let (x, z) = (points.select(Axis(0), rows), noise.select(Axis(0), rows));
        for (&sigma, squares) in levels.iter().zip(&mut squares) {
            let y = &x + &(&z * sigma);
            let denoised = denoise(denoiser, &y, sigma, dtype, device);
            let losses = mean_squares(&(&denoised - &x));
            if let Some((best, excess)) = best {
                let best = denoise(best, &y, sigma, DType::F64, &Device::flex());
                let optimal = mean_squares(&(&best - &x));
                squares.excess.extend(match excess {
                    Excess::Orthogonal => mean_squares(&(&denoised - &best)),
                    Excess::Difference => losses.iter().zip(&optimal).map(|(loss, optimal)| loss - optimal).collect(),
                });
                squares.optimal.extend(optimal);
            }
            squares.loss.extend(losses);
            // What a Gaussian would answer to x is independent of z, and takes most of the variance away.
            let shrink = variance / (variance + sigma * sigma);
            let off = &denoised - &mean - &((&x - &mean) * shrink);
            squares.claimed.extend(off.rows().into_iter().zip(z.rows()).map(|(off, z)| sigma * off.dot(&z) / dim));
        }
    };
    match best {
        Some(BestDenoiser::Points { others, .. }) => {
            for block in point_posteriors(points, others, &Stream::new(seed, Purpose::Subsets)) {
                let (rows, posterior) = block?;
                add(&rows, Some((&posterior, Excess::Difference)));
            }
        }
        Some(BestDenoiser::Exact(exact)) => {
            tiles(points.nrows()).for_each(|rows| add(&rows, Some((exact, Excess::Orthogonal))));
        }
        None => tiles(points.nrows()).for_each(|rows| add(&rows, None)),
    }
    levels
        .iter()
        .zip(squares)
        .map(|(&sigma, squares)| {
            let loss = Estimate::mean(squares.loss);
            if !loss.value.is_finite() {
                return Err(EvalError::Denoiser { sigma });
            }
            Ok(DenoisingLoss {
                sigma,
                loss: loss.value,
                std_error: loss.std_error,
                optimal: best.map(|_| Estimate::mean(squares.optimal).value),
                excess: best.map(|_| Estimate::mean(squares.excess)),
                posterior_variance: Some(Estimate::mean(squares.claimed)),
            })
        })
        .collect()
}

/// What every point adds at one level.
#[derive(Clone, Default)]
struct Squares {
    loss: Vec<f64>,
    optimal: Vec<f64>,
    excess: Vec<f64>,
    claimed: Vec<f64>,
}

/// How the excess is taken: the best denoiser of points that training saw is no function of the law alone, and nothing is orthogonal to it.
#[derive(Clone, Copy)]
enum Excess {
    Orthogonal,
    Difference,
}

fn tiles(n: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..n).step_by(TILE).map(move |first| (first..(first + TILE).min(n)).collect())
}

/// Points that go through a denoiser together: enough to fill it, few enough for its activations.
const TILE: usize = 2048;

fn noise((n, d): (usize, usize), seed: u64) -> Points {
    let stream = Stream::new(seed, Purpose::DenoisingLoss);
    let mut noise = Points::zeros((n, d));
    noise.axis_iter_mut(Axis(0)).into_par_iter().enumerate().for_each(|(index, mut row)| {
        let mut words = stream.at(0, index as u64);
        row.iter_mut().for_each(|z| *z = words.normal());
    });
    noise
}

fn denoise(denoiser: &dyn Denoiser, y: &Points, sigma: f64, dtype: DType, device: &Device) -> Points {
    let n = y.nrows();
    let sigma = match dtype {
        DType::F64 => TensorData::new(vec![sigma; n], [n]),
        _ => TensorData::new(vec![sigma as f32; n], [n]),
    };
    to_points(denoiser.denoise(to_tensor(y, dtype, device), Tensor::from_data(sigma, (device, dtype))))
}

/// `|row|²/d` of every row.
fn mean_squares(rows: &Points) -> Vec<f64> {
    rows.rows().into_iter().map(|row| row.dot(&row) / rows.ncols() as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact denoiser of N(0, s²I), `y s²/(s² + σ²)`, and that times a factor.
    struct Linear {
        variance: f64,
        factor: f64,
    }

    impl Denoiser for Linear {
        fn dim(&self) -> usize {
            2
        }

        fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
            let shrink = (sigma.square() + self.variance).recip().mul_scalar(self.variance * self.factor);
            y * shrink.unsqueeze_dim::<2>(1)
        }
    }

    fn normal(n: usize, scale: f64) -> Points {
        let stream = Stream::new(4, Purpose::Evaluation);
        let mut points = Points::zeros((n, 2));
        for (index, mut row) in points.rows_mut().into_iter().enumerate() {
            let mut words = stream.at(0, index as u64);
            row.iter_mut().for_each(|x| *x = scale * words.normal());
        }
        points
    }

    #[test]
    fn a_gaussian_has_the_closed_form_at_every_level() {
        let points = normal(20_000, 1.5);
        let (exact, model) = (Linear { variance: 2.25, factor: 1.0 }, Linear { variance: 2.25, factor: 0.9 });
        let levels = log_grid(0.01, 100.0, 9);
        let f64_cpu = (DType::F64, &Device::flex());
        let losses = denoising_loss(&model, Some(BestDenoiser::Exact(&exact)), &points, &levels, 3, f64_cpu).unwrap();
        for level in losses {
            let total = 2.25 + level.sigma * level.sigma;
            // E Var[x | y] = s²σ²/(s² + σ²); the excess is (0.1)² E(D*)² = 0.01 s⁴/(s² + σ²).
            let (best, excess) = (2.25 * level.sigma * level.sigma / total, 0.01 * 2.25 * 2.25 / total);
            assert!(level.std_error < 0.02 * level.loss, "too noisy to decide: {level:?}");
            assert!((level.loss - best - excess).abs() < 5.0 * level.std_error, "{level:?} against {best} + {excess}");
            let found = level.excess.unwrap();
            assert!(found.std_error < 0.02 * excess, "too noisy to decide: {level:?}");
            assert!((found.value - excess).abs() < 5.0 * found.std_error, "{level:?} against {excess}");
            assert!((level.optimal.unwrap() - best).abs() < 5.0 * level.std_error, "{level:?} against {best}");
            // σ² tr ∂D/d of the linear one, whatever the points.
            let claimed = level.posterior_variance.unwrap();
            assert!(level.sigma < 0.05 || claimed.std_error < 0.02 * best, "too noisy to decide: {level:?}");
            assert!((claimed.value - 0.9 * best).abs() < 5.0 * claimed.std_error, "{level:?} against {}", 0.9 * best);
        }
    }

    #[test]
    fn points_tell_of_the_optimum_from_below() {
        let points = normal(3_000, 1.5);
        let model = Linear { variance: 2.25, factor: 0.9 };
        let f64_cpu = (DType::F64, &Device::flex());
        let levels = [0.001, 0.3, 1.0, 10.0];
        for others in [Points::zeros((0, 2)), normal(4_000, 1.5).slice(ndarray::s![3_000.., ..]).to_owned()] {
            let best = BestDenoiser::Points { others: &others, trained_on: false };
            assert_eq!(best.optimum(3_000), Optimum::Points(2_000));
            let alone = denoising_loss(&model, None, &points, &levels, 3, f64_cpu).unwrap();
            let found = denoising_loss(&model, Some(best), &points, &levels, 3, f64_cpu).unwrap();
            for (level, alone) in found.iter().zip(alone) {
                let best = 2.25 * level.sigma * level.sigma / (2.25 + level.sigma * level.sigma);
                let (optimal, excess) = (level.optimal.unwrap(), level.excess.unwrap());
                assert!((level.loss / alone.loss - 1.0).abs() < 1e-12 && level.std_error > 0.0, "{level:?} {alone:?}");
                assert!((level.loss - optimal - excess.value).abs() < 1e-12 * level.loss, "{level:?}");
                assert!(optimal < best + 5.0 * level.std_error, "{level:?} against {best}");
                if level.sigma >= 1.0 {
                    assert!(level.std_error < 0.03 * best, "too noisy to decide: {level:?}");
                    assert!(optimal > 0.97 * best - 5.0 * level.std_error, "{level:?} against {best}");
                }
            }
            assert!(found[0].optimal.unwrap() < 1e-3 * found[0].loss);
        }
        let other_space = Points::zeros((1, 3));
        let refused = denoising_loss(
            &model,
            Some(BestDenoiser::Points { others: &other_space, trained_on: false }),
            &points,
            &levels,
            3,
            f64_cpu,
        );
        assert!(matches!(refused, Err(EvalError::DimensionMismatch { b: 3, .. })));
    }

    #[test]
    fn tiles_and_number_types_do_not_show() {
        // A point's noise is a function of its index: the first 300 of many points give what 300 alone give.
        let points = normal(TILE + 7, 1.5);
        assert_eq!(noise((300, 2), 3), noise(points.dim(), 3).slice(ndarray::s![..300, ..]));
        let model = Linear { variance: 2.25, factor: 0.9 };
        let cpu = Device::flex();
        let at = |dtype| denoising_loss(&model, None, &points, &[0.5], 3, (dtype, &cpu)).unwrap()[0];
        let (single, double) = (at(DType::F32), at(DType::F64));
        assert!((single.loss / double.loss - 1.0).abs() < 1e-5, "{single:?} {double:?}");
        assert_eq!(double.optimal, None);
    }

    #[test]
    fn wrong_arguments_are_named() {
        let model = Linear { variance: 1.0, factor: 1.0 };
        let cpu = Device::flex();
        let text = |points: &Points, levels: &[f64]| {
            denoising_loss(&model, None, points, levels, 0, (DType::F64, &cpu)).unwrap_err().to_string()
        };
        assert_eq!(text(&normal(3, 1.0), &[1.0, 0.0]), "noise level 1 is 0; noise levels are positive and finite");
        assert_eq!(
            text(&Points::zeros((3, 1)), &[1.0]),
            "held-out points have dimension 1, the denoiser dimension 2; both must live in one space"
        );
        let broken = Linear { variance: 1.0, factor: f64::NAN };
        let refused = denoising_loss(&broken, None, &normal(3, 1.0), &[0.5], 0, (DType::F64, &cpu)).unwrap_err();
        assert!(matches!(refused, EvalError::Denoiser { sigma: 0.5 }));
    }

    #[test]
    fn a_log_grid_has_its_ends_and_equal_ratios() {
        let grid = log_grid(0.002, 80.0, 5);
        assert_eq!((grid[0], grid[4]), (0.002, 80.0));
        for pair in grid.windows(2) {
            assert!((pair[1] / pair[0] - 40_000f64.powf(0.25)).abs() < 1e-10, "{grid:?}");
        }
        assert_eq!(log_grid(1.0, 2.0, 1), [1.0]);
    }
}
