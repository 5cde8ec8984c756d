//! Every second square of a board.

use burn::tensor::Tensor;

use crate::host::on_host;
use crate::measure::{Denoiser, Measure, Sample};
use crate::random::Words;
use crate::uniform_box::UniformBox;

/// Checkerboard, version 1: uniform on the eight squares `i + j` even, side 0.85, of the 4 × 4 grid over [-1.7, 1.7]².
/// Entropy `log 5.78 = 1.754` nats.
///
/// A mixture of eight equal boxes, and so are its noised laws. The denoiser computes on the host in f64.
#[derive(Debug, Clone)]
pub struct Checkerboard {
    squares: Vec<UniformBox>,
}

const SIDE: f64 = 0.85;
const EDGE: f64 = -1.7;

impl Checkerboard {
    /// The board.
    pub fn new() -> Self {
        let squares = (0..16u8).map(|k| (k / 4, k % 4)).filter(|(i, j)| (i + j) % 2 == 0).map(|(i, j)| {
            let low = vec![EDGE + SIDE * f64::from(i), EDGE + SIDE * f64::from(j)];
            let high = low.iter().map(|a| a + SIDE).collect();
            UniformBox::new(low, high).expect("a square has sides")
        });
        Self { squares: squares.collect() }
    }

    /// The posterior probabilities of the squares, and `log p(y)` of `X + σZ`.
    fn posterior(&self, y: &[f64], sigma: f64) -> (Vec<f64>, f64) {
        let logs: Vec<f64> = self.squares.iter().map(|square| square.log_density_of(y, sigma)).collect();
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut weights: Vec<f64> = logs.iter().map(|log| (log - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= total);
        (weights, largest + (total / self.squares.len() as f64).ln())
    }

    /// `Σ wᵢ f(squareᵢ)` over the squares, each a point of the plane.
    fn posterior_mean(&self, y: &[f64], sigma: f64, out: &mut [f64], f: impl Fn(&UniformBox, &mut [f64])) {
        out.fill(0.0);
        let mut part = [0.0; 2];
        for (square, weight) in self.squares.iter().zip(self.posterior(y, sigma).0) {
            f(square, &mut part);
            for (out, part) in out.iter_mut().zip(part) {
                *out += weight * part;
            }
        }
    }

    /// The log-density of `X + σZ`; y `[n, 2]`, σ `[n]` (positive) `-> [n]`.
    pub fn log_density_at(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<1> {
        on_host(y, sigma, 1, |y, sigma, out| out[0] = self.posterior(y, sigma).1).squeeze_dim::<1>(1)
    }
}

impl Default for Checkerboard {
    fn default() -> Self {
        Self::new()
    }
}

impl Sample for Checkerboard {
    fn dim(&self) -> usize {
        2
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        self.squares[words.below(self.squares.len() as u64) as usize].draw(words, point);
    }
}

impl Measure for Checkerboard {
    fn dim(&self) -> usize {
        2
    }

    /// `-log 5.78` on the eight squares, -∞ elsewhere.
    fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
        let cell = ((x - EDGE) / SIDE).floor();
        let low = cell.clone().min_dim(1).squeeze_dim::<1>(1);
        let high = cell.clone().max_dim(1).squeeze_dim::<1>(1);
        let sum = cell.sum_dim(1).squeeze_dim::<1>(1);
        let parity = (sum.clone() - (sum * 0.5).floor() * 2.0).equal_elem(0.0);
        let inside = low.clone().greater_equal_elem(0.0).bool_and(high.lower_elem(4.0)).bool_and(parity);
        low.full_like(-(8.0 * SIDE * SIDE).ln()).mask_fill(inside.bool_not(), f64::NEG_INFINITY)
    }

    /// Zero, and by convention zero off the squares and on their sides.
    fn score(&self, x: Tensor<2>) -> Tensor<2> {
        x.zeros_like()
    }

    fn log_normalizer(&self) -> Option<f64> {
        Some(0.0)
    }
}

impl Denoiser for Checkerboard {
    fn dim(&self) -> usize {
        2
    }

    fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        on_host(y, sigma, 2, |y, sigma, out| {
            self.posterior_mean(y, sigma, out, |square, part| square.denoise_into(y, sigma, part))
        })
    }

    fn score(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        on_host(y, sigma, 2, |y, sigma, out| {
            self.posterior_mean(y, sigma, out, |square, part| square.score_into(y, sigma, part))
        })
    }
}
