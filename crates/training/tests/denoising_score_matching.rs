//! Denoising score matching against exact answers.

use std::sync::Arc;

use brenier_measure::{Denoiser, GaussianMixture, Purpose, Sample, Stream, to_points, to_tensor};
use brenier_model::{Activation, NetworkConfig, Preconditioning, ScoreNetwork};
use brenier_training::{
    DenoisingScoreMatching, EmaConfig, Flow, LearningRate, LossConfig, NoiseLevels, OptimizerConfig, Source,
    TrainingConfig, TrainingState, Weighting, fit,
};
use burn::tensor::{DType, Device, Tensor};

/// Variances 1.3 and 0.7 along tilted axes, mean (0.4, -0.2): neither centred, nor isotropic, nor of unit variance.
fn gaussian() -> GaussianMixture {
    GaussianMixture::new(vec![1.0], vec![vec![0.4, -0.2]], vec![vec![vec![1.0, 0.3], vec![0.3, 1.0]]]).unwrap()
}

fn objective(loss: LossConfig) -> DenoisingScoreMatching {
    DenoisingScoreMatching {
        source: Source::Fresh { target: Arc::new(gaussian()), shift: vec![0.0; 2], scale: vec![1.0; 2] },
        noise_levels: NoiseLevels::LogUniform { sigma_min: 0.02, sigma_max: 50.0 },
        loss,
        sigma_data: 1.0,
        batch: 512,
        seed: 3,
    }
}

fn config(steps: u64) -> TrainingConfig {
    TrainingConfig {
        steps,
        batch: 512,
        micro_batch: None,
        optimizer: OptimizerConfig::default(),
        learning_rate: LearningRate::Cosine { peak: 3e-3, warmup: 100, last: 0.0 },
        clip_norm: Some(1.0),
        ema: vec![EmaConfig::Power(0.05)],
        start_from: None,
    }
}

fn network(preconditioning: Preconditioning, device: &Device) -> ScoreNetwork {
    let architecture =
        NetworkConfig::ResidualMlp { width: 48, depth: 1, activation: Activation::default(), embedding: 32 };
    ScoreNetwork::new(&architecture, preconditioning, 2, 1.0, 5, device).unwrap()
}

fn train(loss: LossConfig, preconditioning: Preconditioning, steps: u64) -> ScoreNetwork {
    let device = Device::flex().autodiff();
    let config = config(steps);
    let mut state = TrainingState::new(&config, network(preconditioning, &device));
    fit(&objective(loss), &config, &mut state, &device, false, |_, _| Ok(Flow::Continue)).unwrap();
    state.emas[0].model().clone()
}

/// The relative L2 error of the score at one noise level, and |D - D*|/σ (root mean square over points and coordinates).
fn errors(network: &ScoreNetwork, sigma: f64) -> (f64, f64) {
    let (n, device) = (4000u64, Device::flex());
    let exact = gaussian();
    let noised = exact.noised(1.0, sigma);
    let y = noised.sample(&Stream::new(11, Purpose::Evaluation), 0, 0..n);
    let levels = |dtype| Tensor::<1>::full([n as usize], sigma, (&device, dtype));
    let learnt = to_points(network.score(to_tensor(&y, DType::F32, &device), levels(DType::F32)));
    let score = to_points(Denoiser::score(&exact, to_tensor(&y, DType::F64, &device), levels(DType::F64)));
    let squared = |points: ndarray::Array2<f64>| points.mapv(|x| x * x).mean().unwrap();
    let error = squared(learnt - &score);
    ((error / squared(score)).sqrt(), error.sqrt() * sigma)
}

fn assert_exact(network: &ScoreNetwork, what: &str) {
    for sigma in [0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 20.0] {
        let (relative, _) = errors(network, sigma);
        assert!(relative < 0.02, "{what}: relative score error {relative} at sigma = {sigma}");
    }
    for sigma in [0.02, 0.03, 30.0, 45.0] {
        let (_, denoiser) = errors(network, sigma);
        assert!(denoiser < 0.02, "{what}: |D - D*| = {denoiser} sigma at sigma = {sigma}");
    }
}

#[test]
fn the_loss_over_all_scales_reaches_the_exact_score() {
    let loss = LossConfig::AllScales { weighting: Weighting::Edm, antithetic: true };
    assert_exact(&train(loss, Preconditioning::Edm, 4000), "all scales");
}

#[test]
fn the_loss_of_one_chain_step_reaches_the_exact_score() {
    // Steps from .0002 growing by a third each: noise levels from .02 to 48.
    let loss = LossConfig::ChainStep { beta: 1.0, eta: 2e-4, steps: 30, growth: 1.33, antithetic: true };
    assert!(loss.largest_step() < 1.0);
    assert_exact(&train(loss, Preconditioning::Edm, 6000), "one chain step");
}

#[test]
#[ignore]
fn experiment() {
    let get = |name: &str, default: f64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let device = Device::flex().autodiff();
    let steps = get("STEPS", 4000.0) as u64;
    let batch = get("BATCH", 512.0) as usize;
    let mut config = config(steps);
    config.batch = batch;
    config.learning_rate = LearningRate::Cosine { peak: get("LR", 3e-3), warmup: 100, last: 0.0 };
    config.ema = vec![EmaConfig::Power(get("EMA", 0.05))];
    let architecture = NetworkConfig::ResidualMlp {
        width: get("WIDTH", 48.0) as usize,
        depth: get("DEPTH", 1.0) as usize,
        activation: Activation::default(),
        embedding: get("EMBED", 32.0) as usize,
    };
    let mut o = objective(LossConfig::AllScales { weighting: Weighting::Edm, antithetic: get("ANTI", 1.0) > 0.0 });
    o.batch = batch;
    let network = ScoreNetwork::new(&architecture, Preconditioning::Edm, 2, 1.0, 5, &device).unwrap();
    let mut state = TrainingState::new(&config, network);
    let start = std::time::Instant::now();
    fit(&o, &config, &mut state, &device, false, |_, _| Ok(Flow::Continue)).unwrap();
    let t = start.elapsed().as_secs_f64();
    let e: Vec<String> = [0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 20.0, 45.0]
        .iter()
        .map(|&s| format!("{s}: {:.4}", errors(state.emas[0].model(), s).0))
        .collect();
    println!("{t:.1}s {}", e.join("  "));
}
