//! Denoising score matching against exact answers.

use std::sync::Arc;

use brenier_measure::{Denoiser, GaussianMixture, Points, Purpose, Sample, Stream, to_points, to_tensor};
use brenier_model::{Activation, NetworkConfig, Preconditioning, ScoreNetwork};
use brenier_training::{
    DenoisingScoreMatching, EmaConfig, Files, FitConfig, Flow, LearningRate, LossConfig, NoiseLevels, OptimizerConfig,
    Source, TrainingError, TrainingState, Weighting, fit,
};
use burn::tensor::{DType, Device, Tensor};

/// Variances 1.3 and 0.7 along tilted axes, mean (0.4, -0.2): neither centred, nor isotropic, nor of unit variance.
fn gaussian() -> GaussianMixture {
    GaussianMixture::new(vec![1.0], vec![vec![0.4, -0.2]], vec![vec![vec![1.0, 0.3], vec![0.3, 1.0]]]).unwrap()
}

const BATCH: usize = 1024;

fn objective(loss: LossConfig) -> DenoisingScoreMatching {
    DenoisingScoreMatching {
        source: Source::Fresh { target: Arc::new(gaussian()), shift: vec![0.0; 2], scale: vec![1.0; 2] },
        // Most draws at small levels: there the network's output is small, and two per cent of it smaller still.
        noise_levels: NoiseLevels::LogNormal { mean: -2.8, sd: 1.8 },
        loss,
        sigma_data: 1.0,
        batch: BATCH,
        seed: 3,
    }
}

fn config(steps: u64) -> FitConfig {
    FitConfig {
        steps,
        micro_batch: None,
        optimizer: OptimizerConfig::default(),
        learning_rate: LearningRate::Cosine { peak: 1e-2, warmup: 100, last: 0.0 },
        clip_norm: None,
        ema: vec![EmaConfig::Power(0.15)],
        read_every: 1,
    }
}

fn network(preconditioning: Preconditioning, device: &Device) -> ScoreNetwork {
    let architecture =
        NetworkConfig::ResidualMlp { width: 32, depth: 1, activation: Activation::default(), embedding: 32 };
    ScoreNetwork::new(&architecture, preconditioning, 2, 1.0, 5, device).unwrap()
}

fn train(loss: LossConfig, preconditioning: Preconditioning, steps: u64) -> ScoreNetwork {
    // Two per cent at σ = .05 is .001 of the network's output: that many points it takes.
    train_on(&DenoisingScoreMatching { batch: 2 * BATCH, ..objective(loss) }, preconditioning, steps)
}

fn train_on(objective: &DenoisingScoreMatching, preconditioning: Preconditioning, steps: u64) -> ScoreNetwork {
    let device = Device::flex().autodiff();
    let config = config(steps);
    let mut state = TrainingState::new(&config, network(preconditioning, &device));
    fit(objective, &config, &mut state, &device, false, |_, _| Ok(Flow::Continue)).unwrap();
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
    let squared = |points: Points| points.mapv(|x| x * x).mean().unwrap();
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
    assert_exact(&train(loss, Preconditioning::Edm, 3000), "one chain step");
}

#[test]
fn every_preconditioning_under_every_weighting_reaches_the_same_optimum() {
    let weightings = [Weighting::Edm, Weighting::Noise, Weighting::Denoiser, Weighting::MinSnr { gamma: 5.0 }];
    let preconditionings = [
        Preconditioning::Edm,
        Preconditioning::VariancePreserving,
        Preconditioning::VarianceExploding,
        Preconditioning::Denoiser,
        Preconditioning::Velocity,
    ];
    for preconditioning in preconditionings {
        for weighting in weightings {
            let loss = LossConfig::AllScales { weighting, antithetic: true };
            let objective = DenoisingScoreMatching {
                noise_levels: NoiseLevels::LogUniform { sigma_min: 0.2, sigma_max: 5.0 },
                ..objective(loss)
            };
            let network = train_on(&objective, preconditioning, 1000);
            for sigma in [0.3, 1.0, 3.0] {
                let (relative, _) = errors(&network, sigma);
                assert!(relative < 0.05, "{preconditioning:?} under {weighting:?}: {relative} at sigma = {sigma}");
            }
        }
    }
}

/// Parameters and moments after some steps, as the files of a checkpoint.
fn files_after(config: &FitConfig, objective: &DenoisingScoreMatching, prefetch: bool) -> Files {
    let device = Device::flex().autodiff();
    let mut state = TrainingState::new(config, network(Preconditioning::Edm, &device));
    fit(objective, config, &mut state, &device, prefetch, |_, _| Ok(Flow::Continue)).unwrap();
    state.to_files()
}

#[test]
fn a_state_that_went_through_files_goes_on_with_the_same_bits() {
    let device = Device::flex().autodiff();
    let loss = LossConfig::AllScales { weighting: Weighting::Edm, antithetic: true };
    let (objective, config) = (objective(loss), config(12));
    let whole = files_after(&config, &objective, false);
    let mut state = TrainingState::new(&config, network(Preconditioning::Edm, &device));
    fit(&objective, &config, &mut state, &device, true, |state, _| {
        Ok(if state.progress.step == 5 { Flow::Stop } else { Flow::Continue })
    })
    .unwrap();
    let files = state.to_files().into_iter().collect();
    let mut state = TrainingState::from_files(&config, network(Preconditioning::Edm, &device), &files).unwrap();
    assert_eq!(state.progress.step, 5);
    fit(&objective, &config, &mut state, &device, true, |_, _| Ok(Flow::Continue)).unwrap();
    assert!(whole == state.to_files(), "the files differ");
}

#[test]
fn micro_batches_change_only_the_rounding() {
    let loss = LossConfig::AllScales { weighting: Weighting::Edm, antithetic: true };
    let objective = objective(loss);
    let device = Device::flex().autodiff();
    let first_report = |micro_batch| {
        let config = FitConfig { micro_batch, ..config(1) };
        let mut state = TrainingState::new(&config, network(Preconditioning::Edm, &device));
        let mut first = None;
        fit(&objective, &config, &mut state, &device, false, |_, report| {
            first = Some(report);
            Ok(Flow::Continue)
        })
        .unwrap();
        first.unwrap()
    };
    let (whole, parts) = (first_report(None), first_report(Some(128)));
    assert!((whole.loss - parts.loss).abs() < 1e-5 * whole.loss, "{whole:?} {parts:?}");
    assert!((whole.gradient_norm - parts.gradient_norm).abs() < 1e-4 * whole.gradient_norm, "{whole:?} {parts:?}");
}

#[test]
fn a_loss_that_is_no_number_stops_before_the_update() {
    let loss = LossConfig::AllScales { weighting: Weighting::Edm, antithetic: true };
    let config = FitConfig { learning_rate: LearningRate::Constant { rate: 1e30, warmup: 0 }, ..config(50) };
    let device = Device::flex().autodiff();
    let mut state = TrainingState::new(&config, network(Preconditioning::Edm, &device));
    let error = fit(&objective(loss), &config, &mut state, &device, false, |_, _| Ok(Flow::Continue)).unwrap_err();
    let TrainingError::Diverged { step, last_finite, .. } = error else { panic!("{error}") };
    assert_eq!(step, state.progress.step);
    assert!(last_finite.is_some_and(f64::is_finite));

    // Losses that are read together stop at the same step, with the same state.
    let config = FitConfig { read_every: 20, ..config };
    let mut later = TrainingState::new(&config, network(Preconditioning::Edm, &device));
    let error = fit(&objective(loss), &config, &mut later, &device, true, |_, _| Ok(Flow::Continue)).unwrap_err();
    assert!(matches!(error, TrainingError::Diverged { step: at, .. } if at == step), "{error}");
    assert!(state.to_files() == later.to_files(), "the files differ");
}

#[test]
fn losses_that_are_read_together_change_no_bit_of_the_model() {
    let loss = LossConfig::AllScales { weighting: Weighting::Edm, antithetic: true };
    let device = Device::flex().autodiff();
    let told = |config: &FitConfig, device: &Device| {
        let (mut told, mut steps) = (Vec::new(), Vec::new());
        let mut state = TrainingState::new(config, network(Preconditioning::Edm, device));
        fit(&objective(loss), config, &mut state, device, true, |state, report| {
            steps.push(state.progress.step);
            told.push(report);
            Ok(Flow::Continue)
        })
        .unwrap();
        let mut files = state.to_files();
        files.remove("state.json");
        (files, told, steps)
    };
    let each = told(&config(23), &device);
    let together = told(&FitConfig { read_every: 10, ..config(23) }, &device);
    assert_eq!(together.2, [10, 20, 23]);
    for (together, step) in together.1.iter().zip([9, 19, 22]) {
        let each = each.1[step];
        assert_eq!((together.loss, together.learning_rate), (each.loss, each.learning_rate));
        // The device adds squares up in its own precision.
        let defect = together.gradient_norm / each.gradient_norm - 1.0;
        assert!(defect.abs() < 1e-6, "{defect:e}");
    }
    assert!(each.0 == together.0, "the files differ");
}

#[test]
fn a_gradient_is_clipped_where_it_lies() {
    let loss = LossConfig::AllScales { weighting: Weighting::Edm, antithetic: true };
    let device = Device::flex().autodiff();
    let losses = |clip_norm, read_every| {
        let config = FitConfig { clip_norm, read_every, ..config(12) };
        let mut state = TrainingState::new(&config, network(Preconditioning::Edm, &device));
        let mut last = None;
        fit(&objective(loss), &config, &mut state, &device, false, |_, report| {
            last = Some(report.loss);
            Ok(Flow::Continue)
        })
        .unwrap();
        last.unwrap()
    };
    let (each, together, free) = (losses(Some(0.1), 1), losses(Some(0.1), 12), losses(None, 1));
    assert!((each - together).abs() < 1e-6 * each, "{each} {together}");
    assert!((each - free).abs() > 1e-5 * each, "clipping did nothing: {each} {free}");
}
