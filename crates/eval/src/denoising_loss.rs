//! The denoising loss at each noise level, and its excess over the exact denoiser.

use brenier_measure::{Denoiser, Estimate, Points, Purpose, Stream, to_points, to_tensor};
use burn::tensor::{DType, Device, Tensor, TensorData};
use ndarray::{Axis, s};
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
    /// The loss of the exact denoiser `D* = E[X | X + σZ]` on the same points and noise, where it is known.
    pub exact: Option<f64>,
    /// `E|D(y, σ) - D*(y, σ)|²/d`: the excess loss, since x - D*(y) is orthogonal to every function of y.
    ///
    /// It has the same expectation as `loss - exact` and a much smaller variance.
    pub excess: Option<Estimate>,
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
    exact: Option<&dyn Denoiser>,
    points: &Points,
    levels: &[f64],
    seed: u64,
    (dtype, device): (DType, &Device),
) -> Result<Vec<DenoisingLoss>, EvalError> {
    check("held-out points", points, 2)?;
    for dim in [Some(denoiser.dim()), exact.map(Denoiser::dim)].into_iter().flatten() {
        if dim != points.ncols() {
            let a = points.ncols();
            return Err(EvalError::DimensionMismatch { a_name: "held-out points", a, b_name: "the denoiser", b: dim });
        }
    }
    if let Some(index) = levels.iter().position(|sigma| !(sigma.is_finite() && *sigma > 0.0)) {
        return Err(EvalError::NoiseLevel { index, sigma: levels[index] });
    }
    let noise = noise(points.dim(), seed);
    let cpu = Device::flex();
    levels
        .iter()
        .map(|&sigma| {
            let mut squares = [Vec::new(), Vec::new(), Vec::new()];
            for first in (0..points.nrows()).step_by(TILE) {
                let rows = s![first..(first + TILE).min(points.nrows()), ..];
                let x = points.slice(rows);
                let y = &x + &(&noise.slice(rows) * sigma);
                let denoised = denoise(denoiser, &y, sigma, dtype, device);
                squares[0].extend(mean_squares(&(&denoised - &x)));
                if let Some(exact) = exact {
                    let best = denoise(exact, &y, sigma, DType::F64, &cpu);
                    squares[1].extend(mean_squares(&(&best - &x)));
                    squares[2].extend(mean_squares(&(&denoised - &best)));
                }
            }
            let [loss, exact_loss, excess] = squares.map(Estimate::mean);
            if !loss.value.is_finite() {
                return Err(EvalError::Denoiser { sigma });
            }
            Ok(DenoisingLoss {
                sigma,
                loss: loss.value,
                std_error: loss.std_error,
                exact: exact.map(|_| exact_loss.value),
                excess: exact.map(|_| excess),
            })
        })
        .collect()
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
        let losses = denoising_loss(&model, Some(&exact), &points, &levels, 3, f64_cpu).unwrap();
        for level in losses {
            let total = 2.25 + level.sigma * level.sigma;
            // E Var[x | y] = s²σ²/(s² + σ²); the excess is (0.1)² E(D*)² = 0.01 s⁴/(s² + σ²).
            let (best, excess) = (2.25 * level.sigma * level.sigma / total, 0.01 * 2.25 * 2.25 / total);
            assert!(level.std_error < 0.02 * level.loss, "too noisy to decide: {level:?}");
            assert!((level.loss - best - excess).abs() < 5.0 * level.std_error, "{level:?} against {best} + {excess}");
            let found = level.excess.unwrap();
            assert!(found.std_error < 0.02 * excess, "too noisy to decide: {level:?}");
            assert!((found.value - excess).abs() < 5.0 * found.std_error, "{level:?} against {excess}");
            assert!((level.exact.unwrap() - best).abs() < 5.0 * level.std_error, "{level:?} against {best}");
        }
    }

    #[test]
    fn tiles_and_number_types_do_not_show() {
        // A point's noise is a function of its index: the first 300 of many points give what 300 alone give.
        let points = normal(TILE + 7, 1.5);
        assert_eq!(noise((300, 2), 3), noise(points.dim(), 3).slice(s![..300, ..]));
        let model = Linear { variance: 2.25, factor: 0.9 };
        let cpu = Device::flex();
        let at = |dtype| denoising_loss(&model, None, &points, &[0.5], 3, (dtype, &cpu)).unwrap()[0];
        let (single, double) = (at(DType::F32), at(DType::F64));
        assert!((single.loss / double.loss - 1.0).abs() < 1e-5, "{single:?} {double:?}");
        assert_eq!(double.exact, None);
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
