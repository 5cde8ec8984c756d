//! The Gaussian: a mixture of one.

use burn::tensor::Tensor;
use ndarray::Array2;

use crate::error::MeasureError;
use crate::measure::{Denoiser, Measure, Sample};
use crate::mixture::GaussianMixture;
use crate::random::Words;

/// `N(m, S)`, where S may be singular, or zero (a point mass).
///
/// Its noised laws `N(αm, α²S + σ²I)` are Gaussian, `E[X | X + σZ = y] = m + S(S + σ²I)⁻¹(y - m)`.
#[derive(Debug, Clone)]
pub struct Gaussian {
    mixture: GaussianMixture,
}

impl Gaussian {
    /// The Gaussian of this mean `[d]` and covariance `[d][d]`.
    ///
    /// # Errors
    ///
    /// Lengths that disagree, numbers that are not finite, a covariance that is not symmetric or has a negative
    /// eigenvalue.
    pub fn new(mean: Vec<f64>, covariance: Vec<Vec<f64>>) -> Result<Self, MeasureError> {
        Ok(Self { mixture: GaussianMixture::single(mean, &covariance)? })
    }

    /// `N(0, I)` in dimension `dim` (at least 1).
    pub fn standard(dim: usize) -> Self {
        Self { mixture: GaussianMixture::about_points(&[1.0], vec![vec![0.0; dim]], 1.0) }
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.mixture.dim()
    }

    /// The mean m, `[d]`.
    pub fn mean(&self) -> &[f64] {
        self.mixture.components()[0].mean()
    }

    /// The covariance S, `[d, d]`.
    pub fn covariance(&self) -> &Array2<f64> {
        self.mixture.components()[0].covariance()
    }

    /// Whether S is invertible.
    pub fn has_density(&self) -> bool {
        self.mixture.has_density()
    }

    /// The law of `αX + σZ`.
    pub fn noised(&self, alpha: f64, sigma: f64) -> Self {
        Self { mixture: self.mixture.noised(alpha, sigma) }
    }

    /// The log-density of `X + σZ`; y `[n, d]`, σ `[n]` (positive) `-> [n]`.
    pub fn log_density_at(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<1> {
        self.mixture.log_density_at(y, sigma)
    }

    /// The same law as a mixture.
    pub fn as_mixture(&self) -> &GaussianMixture {
        &self.mixture
    }
}

impl Sample for Gaussian {
    fn dim(&self) -> usize {
        self.mixture.dim()
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        self.mixture.draw(words, point);
    }
}

impl Measure for Gaussian {
    fn dim(&self) -> usize {
        self.mixture.dim()
    }

    fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
        self.mixture.log_density(x)
    }

    fn score(&self, x: Tensor<2>) -> Tensor<2> {
        Measure::score(&self.mixture, x)
    }

    fn log_normalizer(&self) -> Option<f64> {
        Some(0.0)
    }
}

impl Denoiser for Gaussian {
    fn dim(&self) -> usize {
        self.mixture.dim()
    }

    fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        self.mixture.denoise(y, sigma)
    }

    fn score(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        Denoiser::score(&self.mixture, y, sigma)
    }
}
