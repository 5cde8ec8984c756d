//! Any target, turned by a fixed rotation.

use std::sync::Arc;

use burn::tensor::Tensor;
use ndarray::Array2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::MeasureError;
use crate::measure::{Denoiser, Measure, Points, Sample, host_tensor};
use crate::mixture::GaussianMixture;
use crate::posterior::{Posterior, PosteriorCovariance};
use crate::random::{Purpose, Stream, Words};
use crate::target::TargetConfig;

/// A rotated target, version 1: `X = QY`, Y the inner target, Q the orthogonal factor of a Gaussian matrix whose triangular factor has
/// a positive diagonal (so that Q is uniform on the orthogonal group), a function of the seed and the dimension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotatedConfig {
    /// The target that is rotated: no data set.
    pub target: Box<TargetConfig>,
    /// The seed of the rotation.
    #[serde(default)]
    pub seed: u64,
}

/// A measure seen after a rotation: `X = QY`, and one row a point, so `x = y Qᵀ`.
pub struct Rotated<T: ?Sized> {
    inner: Arc<T>,
    /// Q, `[d, d]`.
    matrix: Array2<f64>,
}

impl<T: ?Sized> Rotated<T> {
    /// The inner measure turned by Q.
    pub fn new(inner: Arc<T>, matrix: Array2<f64>) -> Self {
        Self { inner, matrix }
    }

    /// Q on the device of x, in its number type.
    fn like(&self, x: &Tensor<2>) -> Tensor<2> {
        let d = self.matrix.nrows();
        host_tensor(self.matrix.iter().copied().collect(), [d, d], x.dtype(), &x.device())
    }
}

impl RotatedConfig {
    /// Q, `[d, d]`: the columns of a Gaussian matrix made orthonormal in their order, twice for the last bits (Gram and Schmidt).
    pub fn matrix(&self, d: usize) -> Array2<f64> {
        let mut words = Stream::new(self.seed, Purpose::Rotation).at(0, 0);
        let mut rows = Array2::from_shape_simple_fn((d, d), || words.normal());
        for i in 0..d {
            let (before, mut from) = rows.view_mut().split_at(ndarray::Axis(0), i);
            let mut row = from.row_mut(0);
            for _ in 0..2 {
                for other in before.rows() {
                    let along = row.dot(&other);
                    row.scaled_add(-along, &other);
                }
                let length = row.dot(&row).sqrt();
                row.mapv_inplace(|x| x / length);
            }
        }
        rows.reversed_axes()
    }

    /// A mixture turned by Q.
    ///
    /// # Errors
    ///
    /// A covariance that rounding makes indefinite.
    pub(crate) fn mixture(&self, inner: &GaussianMixture) -> Result<GaussianMixture, MeasureError> {
        let q = self.matrix(inner.dim());
        let turned = |covariance: &Array2<f64>| {
            let turned = q.dot(covariance).dot(&q.t());
            ((&turned + &turned.t()) / 2.0).outer_iter().map(|row| row.to_vec()).collect()
        };
        let components = inner.components();
        GaussianMixture::new(
            components.iter().map(crate::Component::weight).collect(),
            components.iter().map(|c| q.dot(&ndarray::ArrayView1::from(c.mean())).to_vec()).collect(),
            components.iter().map(|c| turned(c.covariance())).collect(),
        )
    }
}

impl<T: Sample + ?Sized> Sample for Rotated<T> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        let mut inner = vec![0.0; point.len()];
        self.inner.draw(words, &mut inner);
        for (x, row) in point.iter_mut().zip(self.matrix.rows()) {
            *x = row.iter().zip(&inner).map(|(q, y)| q * y).sum();
        }
    }
}

impl<T: Measure + ?Sized> Measure for Rotated<T> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
        let q = self.like(&x);
        self.inner.log_density(x.matmul(q))
    }

    fn score(&self, x: Tensor<2>) -> Tensor<2> {
        let q = self.like(&x);
        self.inner.score(x.matmul(q.clone())).matmul(q.transpose())
    }

    fn hessian_product(&self, x: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let q = self.like(&x);
        self.inner.hessian_product(x.matmul(q.clone()), v.matmul(q.clone())).matmul(q.transpose())
    }

    fn log_normalizer(&self) -> Option<f64> {
        self.inner.log_normalizer()
    }
}

/// Noise that is equal in all directions turns with the measure.
impl<T: Denoiser + ?Sized> Denoiser for Rotated<T> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        let q = self.like(&y);
        self.inner.denoise(y.matmul(q.clone()), sigma).matmul(q.transpose())
    }

    fn score(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        let q = self.like(&y);
        self.inner.score(y.matmul(q.clone()), sigma).matmul(q.transpose())
    }
}

impl<T: PosteriorCovariance + ?Sized> PosteriorCovariance for Rotated<T> {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn posterior(&self, snr: f64, y: &Points) -> Vec<Posterior> {
        let q = &self.matrix;
        let turned = |posterior: Posterior| {
            let covariance = q.dot(&posterior.covariance).dot(&q.t());
            Posterior {
                mean: q.dot(&ndarray::Array1::from(posterior.mean)).to_vec(),
                covariance: (&covariance + &covariance.t()) / 2.0,
                ..posterior
            }
        };
        self.inner.posterior(snr, &y.dot(q)).into_iter().map(turned).collect()
    }

    fn centres(&self) -> Points {
        self.inner.centres().dot(&self.matrix.t())
    }

    fn localization(&self, snr: f64, y: &Points) -> Vec<f64> {
        self.inner.localization(snr, &y.dot(&self.matrix))
    }
}
