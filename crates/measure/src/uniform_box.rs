//! The uniform law on a box, exact at every noise level.

use burn::tensor::Tensor;
use ndarray::{Array1, Array2};

use crate::error::{MeasureError, check_finite};
use crate::host::on_host;
use crate::measure::{Denoiser, Measure, Points, Sample, to_tensor};
use crate::posterior::{Posterior, PosteriorCovariance, by_rows};
use crate::random::Words;
use crate::truncated_normal::TruncatedNormal;

/// The uniform law on `Π [lowⱼ, highⱼ]`.
///
/// Its coordinates are independent, and so are those of `X + σZ`: a coordinate of X given y is a normal about y
/// truncated to its interval. The denoiser computes on the host in f64, whatever the number type of y.
#[derive(Debug, Clone, PartialEq)]
pub struct UniformBox {
    low: Vec<f64>,
    high: Vec<f64>,
}

impl UniformBox {
    /// The box of these corners, `[d]` each.
    ///
    /// # Errors
    ///
    /// No coordinates, lengths that disagree, numbers that are not finite, low not below high.
    pub fn new(low: Vec<f64>, high: Vec<f64>) -> Result<Self, MeasureError> {
        if low.is_empty() {
            return Err(MeasureError::Empty { field: "low".to_owned() });
        }
        if high.len() != low.len() {
            let (field, other) = ("high".to_owned(), "low".to_owned());
            return Err(MeasureError::Length { field, found: high.len(), other, expected: low.len() });
        }
        check_finite("low", &low)?;
        check_finite("high", &high)?;
        if let Some(index) = (0..low.len()).find(|&i| low[i] >= high[i]) {
            return Err(MeasureError::Interval { index, low: low[index], high: high[index] });
        }
        Ok(Self { low, high })
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.low.len()
    }

    /// The lower corner, `[d]`.
    pub fn low(&self) -> &[f64] {
        &self.low
    }

    /// The upper corner, `[d]`.
    pub fn high(&self) -> &[f64] {
        &self.high
    }

    /// `Σ log(highⱼ - lowⱼ)`.
    fn log_volume(&self) -> f64 {
        self.low.iter().zip(&self.high).map(|(a, b)| (b - a).ln()).sum()
    }

    /// Coordinate j of X given that of `X + σZ`.
    fn coordinate(&self, j: usize, y: f64, sigma: f64) -> TruncatedNormal {
        TruncatedNormal::new(y, sigma, self.low[j], self.high[j])
    }

    /// The coordinates of X given `X + σZ = y`: independent normals, each truncated to its side.
    pub(crate) fn coordinates(&self, y: &[f64], sigma: f64) -> Vec<TruncatedNormal> {
        y.iter().enumerate().map(|(j, &y)| self.coordinate(j, y, sigma)).collect()
    }

    /// `log p(y)` of `X + σZ` at one point `[d]`.
    pub(crate) fn log_density_of(&self, y: &[f64], sigma: f64) -> f64 {
        y.iter().enumerate().map(|(j, &y)| self.coordinate(j, y, sigma).log_mass).sum::<f64>() - self.log_volume()
    }

    /// `E[X | y]` at one point `[d]`.
    pub(crate) fn denoise_into(&self, y: &[f64], sigma: f64, out: &mut [f64]) {
        for (j, (out, &y)) in out.iter_mut().zip(y).enumerate() {
            *out = self.coordinate(j, y, sigma).mean;
        }
    }

    /// `∇log p(y)` at one point `[d]`.
    pub(crate) fn score_into(&self, y: &[f64], sigma: f64, out: &mut [f64]) {
        for (j, (out, &y)) in out.iter_mut().zip(y).enumerate() {
            *out = self.coordinate(j, y, sigma).score;
        }
    }

    /// The log-density of `X + σZ`; y `[n, d]`, σ `[n]` (positive) `-> [n]`.
    pub fn log_density_at(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<1> {
        on_host(y, sigma, 1, |y, sigma, out| out[0] = self.log_density_of(y, sigma)).squeeze_dim::<1>(1)
    }
}

impl PosteriorCovariance for UniformBox {
    fn dim(&self) -> usize {
        self.low.len()
    }

    /// Diagonal: the variances of truncated normals.
    fn posterior(&self, snr: f64, y: &Points) -> Vec<Posterior> {
        let sigma = 1.0 / snr;
        by_rows(y, |y| {
            let y: Vec<f64> = y.iter().map(|y| y / snr).collect();
            let coordinates = self.coordinates(&y, sigma);
            Posterior {
                log_density: coordinates.iter().map(|c| c.log_mass - snr.ln()).sum::<f64>() - self.log_volume(),
                mean: coordinates.iter().map(|c| snr * c.mean).collect(),
                covariance: Array2::from_diag(&coordinates.iter().map(|c| c.spread).collect::<Array1<f64>>()),
            }
        })
    }

    fn localization(&self, snr: f64, y: &Points) -> Vec<f64> {
        let spread = |(j, y): (usize, &f64)| self.coordinate(j, y / snr, 1.0 / snr).spread;
        by_rows(y, |y| y.iter().enumerate().map(spread).fold(f64::NAN, f64::max))
    }
}

impl Sample for UniformBox {
    fn dim(&self) -> usize {
        self.low.len()
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        for ((x, a), b) in point.iter_mut().zip(&self.low).zip(&self.high) {
            *x = a + (b - a) * words.uniform();
        }
    }
}

impl Measure for UniformBox {
    fn dim(&self) -> usize {
        self.low.len()
    }

    /// `-Σ log(highⱼ - lowⱼ)` on the closed box, -∞ outside.
    fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
        let (dtype, device) = (x.dtype(), x.device());
        let corner = |values: &[f64]| {
            let points = Array2::from_shape_vec((1, values.len()), values.to_vec()).expect("one row");
            to_tensor(&points, dtype, &device)
        };
        // Negative outside: the distance to the nearest face, by the least coordinate.
        let depth = (x.clone() - corner(&self.low)).min_pair(corner(&self.high) - x);
        let inside = depth.min_dim(1).squeeze_dim::<1>(1);
        let outside = inside.clone().greater_equal_elem(0.0).bool_not();
        inside.full_like(-self.log_volume()).mask_fill(outside, f64::NEG_INFINITY)
    }

    /// Zero, and by convention zero outside the box and on its faces.
    fn score(&self, x: Tensor<2>) -> Tensor<2> {
        x.zeros_like()
    }

    fn log_normalizer(&self) -> Option<f64> {
        Some(0.0)
    }
}

impl Denoiser for UniformBox {
    fn dim(&self) -> usize {
        self.low.len()
    }

    fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        on_host(y, sigma, self.low.len(), |y, sigma, out| self.denoise_into(y, sigma, out))
    }

    fn score(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        on_host(y, sigma, self.low.len(), |y, sigma, out| self.score_into(y, sigma, out))
    }
}
