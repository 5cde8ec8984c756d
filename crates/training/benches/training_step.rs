//! Times one training step: a batch on the host, loss, gradient, clipping, AdamW and one moving average.

use std::sync::Arc;

use brenier_measure::data::{Standardization, Standardize};
use brenier_measure::{Points, Purpose, Stream};
use brenier_model::{Activation, NetworkConfig, Preconditioning, ScoreNetwork};
use brenier_training::{
    DenoisingScoreMatching, EmaConfig, FitConfig, Flow, InstanceNoise, LearningRate, LossConfig, NoiseLevels,
    Objective, OptimizerConfig, Source, TrainingState, Weighting, fit,
};
use burn::tensor::Device;
use divan::{Bencher, counter::ItemsCount};

/// (dimension, width, depth, batch).
const SIZES: [(usize, usize, usize, usize); 3] = [(2, 128, 3, 512), (64, 256, 4, 1024), (784, 512, 4, 512)];

fn main() {
    divan::main();
}

fn objective(dim: usize, batch: usize) -> DenoisingScoreMatching {
    let stream = Stream::new(0, Purpose::Batch);
    let points = Points::from_shape_fn((2000, dim), |(i, j)| stream.at(j as u64, i as u64).normal());
    let coordinates = Standardization::fit(&points, Standardize::None, false).expect("points");
    let noise = InstanceNoise { sd: 0.0, coordinates };
    DenoisingScoreMatching {
        source: Source::Rows { points: Arc::new(points), noise },
        noise_levels: NoiseLevels::LogNormal { mean: -1.2, sd: 1.2 },
        loss: LossConfig::AllScales { weighting: Weighting::Edm, antithetic: true },
        sigma_data: 1.0,
        batch,
        seed: 0,
    }
}

/// Steps in one measurement, so that batches are made ahead as they are in a run.
const STEPS: u64 = 20;

#[divan::bench(args = SIZES, sample_count = 10)]
fn twenty_steps(bencher: Bencher, (dim, width, depth, batch): (usize, usize, usize, usize)) {
    let device = Device::flex().autodiff();
    let architecture = NetworkConfig::ResidualMlp { width, depth, activation: Activation::Silu, embedding: 64 };
    let network = ScoreNetwork::new(&architecture, Preconditioning::Edm, dim, 1.0, 0, &device).expect("sizes in range");
    let config = FitConfig {
        read_every: 1,
        steps: STEPS,
        micro_batch: None,
        optimizer: OptimizerConfig::default(),
        learning_rate: LearningRate::Constant { rate: 1e-3, warmup: 0 },
        clip_norm: Some(1.0),
        ema: vec![EmaConfig::HalfLife(500.0)],
    };
    let objective = objective(dim, batch);
    bencher.counter(ItemsCount::new(STEPS)).bench_local(|| {
        let mut state = TrainingState::new(&config, network.clone());
        fit(&objective, &config, &mut state, &device, true, |_, _| Ok(Flow::Continue)).expect("finite losses");
    });
}

#[divan::bench(args = SIZES, sample_count = 20)]
fn one_batch_on_the_host(bencher: Bencher, (dim, _, _, batch): (usize, usize, usize, usize)) {
    let objective = objective(dim, batch);
    let mut batches = Objective::<ScoreNetwork>::batches(&objective);
    bencher.bench_local(move || batches(0));
}
