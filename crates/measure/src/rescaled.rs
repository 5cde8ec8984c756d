//! A denoiser or a density seen in shifted and scaled coordinates.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};

use crate::measure::{Denoiser, Measure};

/// The law of `(X - shift)/scale` for one scale, through the denoiser or the density of X.
///
/// `E[X' | X' + σZ = y] = (D(scale·y + shift, scale·σ) - shift)/scale`, and its score is `scale·s(scale·y + shift, scale·σ)`.
pub struct Rescaled<D> {
    inner: D,
    shift: Vec<f64>,
    scale: f64,
}

impl<D> Rescaled<D> {
    /// The law of `(X - shift)/scale`; `shift` has length d, `scale` is positive.
    pub fn new(inner: D, shift: Vec<f64>, scale: f64) -> Self {
        Self { inner, shift, scale }
    }

    fn shift_like(&self, y: &Tensor<2>) -> Tensor<2> {
        let data = TensorData::new(self.shift.clone(), [1, self.shift.len()]);
        Tensor::from_data(data, (&y.device(), y.dtype()))
    }
}

impl<D: Denoiser> Denoiser for Rescaled<D> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        let shift = self.shift_like(&y);
        let denoised = self.inner.denoise(y * self.scale + shift.clone(), sigma * self.scale);
        (denoised - shift) / self.scale
    }

    fn score(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        let shift = self.shift_like(&y);
        self.inner.score(y * self.scale + shift, sigma * self.scale) * self.scale
    }
}

/// `log p'(z) = log p(scale z + shift) + d log scale`: the normaliser stays what it is.
impl<M: Measure + ?Sized> Measure for Rescaled<Arc<M>> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
        let shift = self.shift_like(&x);
        self.inner.log_density(x * self.scale + shift) + self.inner.dim() as f64 * self.scale.ln()
    }

    fn score(&self, x: Tensor<2>) -> Tensor<2> {
        let shift = self.shift_like(&x);
        self.inner.score(x * self.scale + shift) * self.scale
    }

    fn hessian_product(&self, x: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let shift = self.shift_like(&x);
        self.inner.hessian_product(x * self.scale + shift, v) * self.scale.powi(2)
    }

    fn log_normalizer(&self) -> Option<f64> {
        self.inner.log_normalizer()
    }
}

impl<D: Denoiser + ?Sized> Denoiser for &D {
    fn dim(&self) -> usize {
        (**self).dim()
    }

    fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        (**self).denoise(y, sigma)
    }

    fn score(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        (**self).score(y, sigma)
    }
}
