//! Denoising score matching: a network learns the score of every noised law from samples.

mod config;
mod loss;
mod method;
mod noise_levels;

pub use config::TrainingConfig;
pub use loss::{LossConfig, Weighting};
pub use method::{EXCESS_BOUND, EXCESS_LOSS, ScoreMatching};
pub use noise_levels::NoiseLevels;

use std::ops::Range;

use brenier_measure::{Denoiser, MeasureError, Points, Purpose, Sample, Stream, Words, point_posteriors};
use brenier_model::weighted_squares;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use self::loss::Level;
use crate::fit::Objective;
use crate::source::Source;

/// The objective of a run: the loss, the points and the noise it is taken over, all functions of (seed, step, index).
pub struct DenoisingScoreMatching {
    /// Where training points come from.
    pub source: Source,
    /// The distribution of noise levels.
    pub noise_levels: NoiseLevels,
    /// The loss.
    pub loss: LossConfig,
    /// The sd of the data in standardised coordinates.
    pub sigma_data: f64,
    /// The points of one update.
    pub batch: usize,
    /// The seed of the run.
    pub seed: u64,
}

/// Noised points on the host, with what the regression needs; n rows.
#[derive(Debug, Clone, PartialEq)]
pub struct NoisedBatch {
    dim: usize,
    /// `y = x + σξ`, `[n, d]`.
    noised: Vec<f32>,
    /// The noise z that the regression sees, `[n, d]`.
    noise: Vec<f32>,
    /// σ, `[n]`.
    sigma: Vec<f32>,
    /// b, `[n]`.
    seen: Vec<f32>,
    /// w, `[n]`.
    weight: Vec<f32>,
}

impl NoisedBatch {
    fn with_capacity(n: usize, dim: usize) -> Self {
        Self {
            dim,
            noised: Vec::with_capacity(n * dim),
            noise: Vec::with_capacity(n * dim),
            sigma: Vec::with_capacity(n),
            seen: Vec::with_capacity(n),
            weight: Vec::with_capacity(n),
        }
    }

    /// Adds `clean` at one noise level; `draws` holds d normals, or 2d where part of the noise is hidden.
    fn push(&mut self, clean: &[f64], level: &Level, draws: &[f64]) {
        let (seen, hidden) = draws.split_at(self.dim);
        for (j, (x, z)) in clean.iter().zip(seen).enumerate() {
            let hidden = hidden.get(j).map_or(0.0, |z| level.hidden * z);
            self.noised.push((x + level.seen * z + hidden) as f32);
            self.noise.push(*z as f32);
        }
        self.sigma.push(level.sigma as f32);
        self.seen.push(level.seen as f32);
        self.weight.push(level.weight as f32);
    }

    /// These rows of it, in their order.
    fn select(&self, rows: &[usize]) -> Self {
        let d = self.dim;
        let mut batch = Self::with_capacity(rows.len(), d);
        for &row in rows {
            batch.noised.extend_from_slice(&self.noised[row * d..(row + 1) * d]);
            batch.noise.extend_from_slice(&self.noise[row * d..(row + 1) * d]);
            batch.sigma.push(self.sigma[row]);
            batch.seen.push(self.seen[row]);
            batch.weight.push(self.weight[row]);
        }
        batch
    }

    /// The number of points.
    pub fn len(&self) -> usize {
        self.sigma.len()
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.sigma.is_empty()
    }

    /// The weighted squared error of every point, `[n]`: `w |b·s(y, σ) + z|²/d`.
    fn errors(&self, network: &impl Denoiser, rows: Range<usize>, device: &Device) -> Tensor<1> {
        let (n, d) = (rows.len(), self.dim);
        let matrix = |values: &[f32]| {
            Tensor::<2>::from_data(TensorData::new(values[rows.start * d..rows.end * d].to_vec(), [n, d]), device)
        };
        let column =
            |values: &[f32]| Tensor::<1>::from_data(TensorData::new(values[rows.clone()].to_vec(), [n]), device);
        let score = network.score(matrix(&self.noised), column(&self.sigma));
        weighted_squares(score, column(&self.seen), matrix(&self.noise), column(&self.weight))
    }

    /// The mean over these rows of `w |b·s(y, σ) + z|²/d`.
    pub fn loss_at(&self, network: &impl Denoiser, rows: Range<usize>, device: &Device) -> Tensor<1> {
        self.errors(network, rows, device).mean()
    }
}

/// Rows of one pass of the held-out loss.
const TILE: usize = 1024;

impl DenoisingScoreMatching {
    fn noise(&self, batch: &mut NoisedBatch, clean: &[f64], sign: f64, mut level_words: Words, mut noise_words: Words) {
        let level = self.loss.draw(&self.noise_levels, self.sigma_data, &mut level_words);
        let count = if level.hidden > 0.0 { 2 * batch.dim } else { batch.dim };
        let mut draws = vec![0.0; count];
        noise_words.fill_normal(&mut draws);
        draws.iter_mut().for_each(|z| *z *= sign);
        batch.push(clean, &level, &draws);
    }

    /// A fixed batch for the held-out loss: every point equally often, `count` rows or a few more, with noise of its own.
    pub fn held_out(&self, points: &Points, count: usize) -> NoisedBatch {
        let rows = count.div_ceil(points.nrows()) * points.nrows();
        let mut batch = NoisedBatch::with_capacity(rows, points.ncols());
        let stream = Stream::new(self.seed, Purpose::HeldOut);
        for index in 0..rows as u64 {
            let clean = points.row(index as usize % points.nrows()).to_vec();
            self.noise(&mut batch, &clean, 1.0, stream.at(0, index), stream.at(1, index));
        }
        batch
    }

    /// The mean loss over a fixed batch, in tiles, summed in f64.
    pub fn held_out_loss(network: &impl Denoiser, batch: &NoisedBatch, device: &Device) -> f64 {
        let mut sum = 0.0;
        for start in (0..batch.len()).step_by(TILE) {
            let rows = start..(start + TILE).min(batch.len());
            let errors = batch.errors(network, rows, device).into_data().convert::<f64>();
            sum += errors.try_to_vec::<f64>().expect("f64 after conversion").iter().sum::<f64>();
        }
        sum / batch.len() as f64
    }

    /// What the held-out loss of the best denoiser is, as far as points can tell ([`point_posteriors`]); `batch` is that of
    /// [`held_out`](Self::held_out) at these points, and `others` are points of the same law.
    ///
    /// # Errors
    ///
    /// A point that is not finite.
    pub fn held_out_optimum(&self, points: &Points, others: &Points, batch: &NoisedBatch) -> Result<f64, MeasureError> {
        let mut sum = 0.0;
        for block in point_posteriors(points, others, &Stream::new(self.seed, Purpose::Subsets)) {
            let (sources, posterior) = block?;
            let of_source = |source: usize| (source..batch.len()).step_by(points.nrows());
            let rows: Vec<usize> = sources.into_iter().flat_map(of_source).collect();
            let batch = batch.select(&rows);
            sum += Self::held_out_loss(&posterior, &batch, &Device::flex()) * batch.len() as f64;
        }
        Ok(sum / batch.len() as f64)
    }
}

impl<M: Denoiser + Module> Objective<M> for DenoisingScoreMatching {
    type Batch = NoisedBatch;

    fn batches(&self) -> Box<dyn FnMut(u64) -> NoisedBatch + Send + '_> {
        let mut reader = self.source.reader(self.seed);
        let dim = self.source.dim();
        let levels = Stream::new(self.seed, Purpose::NoiseLevel);
        let noises = Stream::new(self.seed, Purpose::Noise);
        let copies = if self.loss.is_antithetic() { 2 } else { 1 };
        let clean_points = (self.batch as u64).div_ceil(copies);
        Box::new(move |step| {
            let mut batch = NoisedBatch::with_capacity(self.batch, dim);
            let mut clean = vec![0.0; dim];
            for index in 0..self.batch as u64 {
                let (draw, sign) = (index / copies, if index % copies == 0 { 1.0 } else { -1.0 });
                reader.read(step * clean_points + draw, &mut clean);
                self.noise(&mut batch, &clean, sign, levels.at(step, draw), noises.at(step, draw));
            }
            batch
        })
    }

    fn len(&self, batch: &NoisedBatch) -> usize {
        batch.len()
    }

    fn loss_at(&self, model: &M, batch: &NoisedBatch, rows: Range<usize>, device: &Device) -> Tensor<1> {
        batch.loss_at(model, rows, device)
    }
}
