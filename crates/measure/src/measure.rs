//! What a probability measure can be asked.

use std::ops::Range;

use burn::tensor::{DType, Device, Tensor, TensorData};
use ndarray::Array2;
use rayon::prelude::*;

use crate::random::{Stream, Words};

/// Points on the host, one a row: `[n, d]`.
pub type Points = Array2<f64>;

/// A probability measure on Rᵈ that has draws.
pub trait Sample: Send + Sync {
    /// The dimension d.
    fn dim(&self) -> usize;

    /// One draw, a function of `words` alone; `point` has length d.
    fn draw(&self, words: &mut Words, point: &mut [f64]);

    /// The draws of these indices at one step of a stream: `[n, d]`.
    fn sample(&self, stream: &Stream, step: u64, indices: Range<u64>) -> Points {
        let d = self.dim();
        let n = (indices.end - indices.start) as usize;
        let mut values = vec![0.0; n * d];
        values
            .par_chunks_mut(d)
            .enumerate()
            .for_each(|(i, point)| self.draw(&mut stream.at(step, indices.start + i as u64), point));
        Array2::from_shape_vec((n, d), values).expect("n·d values")
    }
}

/// A probability measure on Rᵈ known through its log-density, up to a constant.
pub trait Measure: Send + Sync {
    /// The dimension d.
    fn dim(&self) -> usize;

    /// `log p(x)` up to [`log_normalizer`](Self::log_normalizer); `[n, d] -> [n]`, in the number type of `x`.
    fn log_density(&self, x: Tensor<2>) -> Tensor<1>;

    /// `∇log p(x)`; `[n, d] -> [n, d]`.
    fn score(&self, x: Tensor<2>) -> Tensor<2>;

    /// `∇²log p(x) v`, x and v `[n, d] -> [n, d]`; by default central differences of the score in f64 on the CPU, right to about eight
    /// digits where the third derivatives are of the size of the second.
    fn hessian_product(&self, x: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        difference_of_scores(self, x, v)
    }

    /// `log Z`, where `log p = log_density - log Z`; `None` where it is unknown.
    fn log_normalizer(&self) -> Option<f64> {
        None
    }
}

/// `(s(x + h v) - s(x - h v))/(2h)` with `h|v| = ε^{1/3}(1 + |x|)`.
fn difference_of_scores<M: Measure + ?Sized>(measure: &M, x: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
    let (dtype, device, host) = (x.dtype(), x.device(), Device::flex());
    let [x, v] = [x, v].map(|tensor| to_tensor(&to_points(tensor), DType::F64, &host));
    let length = |t: &Tensor<2>| t.clone().square().sum_dim(1).sqrt();
    let step = (length(&x) + 1.0) * f64::EPSILON.cbrt() / length(&v).clamp_min(f64::MIN_POSITIVE);
    let move_by = v * step.clone();
    let difference = measure.score(x.clone() + move_by.clone()) - measure.score(x - move_by);
    to_tensor(&to_points(difference / (step * 2.0)), dtype, &device)
}

/// The posterior mean of a measure under Gaussian noise at every noise level: an exact measure or a network.
///
/// With `Y = X + σZ`: `denoise(y, σ) = E[X | Y = y]` and, by Tweedie's formula,
/// `score(y, σ) = ∇log p_Y(y) = (denoise(y, σ) - y)/σ²`.
pub trait Denoiser: Send + Sync {
    /// The dimension d.
    fn dim(&self) -> usize;

    /// `E[X | X + σZ = y]`; y `[n, d]`, σ `[n]` (positive) `-> [n, d]`.
    fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2>;

    /// `∇log p_{X+σZ}(y)`; y `[n, d]`, σ `[n]` `-> [n, d]`. Implementations form it without cancellation where they can.
    fn score(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        let variance = sigma.clone().square().unsqueeze_dim::<2>(1);
        (self.denoise(y.clone(), sigma) - y) / variance
    }
}

/// Host points as a tensor of the given number type (F32 or F64).
pub fn to_tensor(points: &Points, dtype: DType, device: &Device) -> Tensor<2> {
    host_tensor(points.iter().copied().collect(), [points.nrows(), points.ncols()], dtype, device)
}

/// Host numbers, the last axis fastest, as a tensor of the given number type (F32 or F64).
pub fn host_tensor<const D: usize>(values: Vec<f64>, shape: [usize; D], dtype: DType, device: &Device) -> Tensor<D> {
    let data = if dtype == DType::F64 {
        TensorData::new(values, shape)
    } else {
        TensorData::new(values.iter().map(|&x| x as f32).collect::<Vec<f32>>(), shape)
    };
    Tensor::from_data(data, (device, dtype))
}

/// A tensor's values as host points in f64.
pub fn to_points(tensor: Tensor<2>) -> Points {
    let [n, d] = tensor.dims();
    let values = tensor.into_data().convert::<f64>().try_to_vec().expect("f64 after conversion");
    Array2::from_shape_vec((n, d), values).expect("n·d values")
}

/// A tensor's values on the host in f64, `[n]`.
pub fn to_values(tensor: Tensor<1>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_to_vec().expect("f64 after conversion")
}

/// `log σ(z) = min(z, 0) - log(1 + e^{-|z|})`, exact in both tails.
pub(crate) fn log_sigmoid<const D: usize>(z: Tensor<D>) -> Tensor<D> {
    z.clone().clamp_max(0.0) - z.abs().neg().exp().log1p()
}
