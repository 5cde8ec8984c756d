//! A network of one's own, on draws of a law of one's own: learnt, sampled and judged.

use std::sync::Arc;

use brenier_eval::energy_distance;
use brenier_measure::{Denoiser, Points, Purpose, Sample, Stream, Words, host_tensor, to_points};
use brenier_model::{GridConfig, SamplerConfig, sample};
use brenier_training::{
    DenoisingScoreMatching, EmaConfig, FitConfig, Flow, LossConfig, NoiseLevels, Source, TrainingState, Weighting, fit,
};
use burn::module::{Module, Param};
use burn::tensor::activation::silu;
use burn::tensor::{DType, Device, Tensor};

/// Points on a spiral, with a little noise; of unit size.
struct Spiral;

impl Sample for Spiral {
    fn dim(&self) -> usize {
        2
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        let turn = 10.0 * words.uniform().sqrt();
        point[0] = turn.cos() * turn / 7.0 + 0.03 * words.normal();
        point[1] = turn.sin() * turn / 7.0 + 0.03 * words.normal();
    }
}

/// `D(y, σ) = (y - σ√(1 + σ²) F)/(1 + σ²)` with F three layers that see `y/√(1 + σ²)` and `log σ`.
#[derive(Module, Debug)]
struct ThreeLayers {
    weights: Vec<Param<Tensor<2>>>,
}

const WIDTH: usize = 128;

/// The size of what the first layer sees: two coordinates, eight waves of log σ, and 1.
const SEEN: usize = 11;

impl ThreeLayers {
    fn new(seed: u64, device: &Device) -> Self {
        let mut words = Stream::new(seed, Purpose::Initialization).at(0, 0);
        let mut layer = |rows: usize, columns: usize, scale: f64| {
            let values = (0..rows * columns).map(|_| words.normal() * scale / (rows as f64).sqrt()).collect();
            Param::from_tensor(host_tensor(values, [rows, columns], DType::F32, device))
        };
        // The last layer starts at zero.
        Self { weights: vec![layer(SEEN, WIDTH, 1.0), layer(WIDTH, WIDTH, 1.0), layer(WIDTH, 2, 0.0)] }
    }
}

impl Denoiser for ThreeLayers {
    fn dim(&self) -> usize {
        2
    }

    fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        let sigma = sigma.unsqueeze_dim::<2>(1);
        let total = sigma.clone().square() + 1.0;
        let level = sigma.clone().log();
        let waves = (1..=4).flat_map(|k| [(level.clone() * k / 2.0).sin(), (level.clone() * k / 2.0).cos()]);
        let seen = [y.clone() / total.clone().sqrt(), level.ones_like()].into_iter().chain(waves);
        let [first, second, third] = [0, 1, 2].map(|k| self.weights[k].val());
        let hidden = silu(silu(Tensor::cat(seen.collect(), 1).matmul(first)).matmul(second));
        (y - sigma * total.clone().sqrt() * hidden.matmul(third)) / total
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (seed, device) = (0, Device::flex());
    let steps = std::env::args().nth(1).map_or(Ok(4000), |steps| steps.parse())?;
    let objective = DenoisingScoreMatching {
        source: Source::Fresh { target: Arc::new(Spiral), shift: vec![0.0; 2], scale: vec![1.0; 2] },
        noise_levels: NoiseLevels::LogNormal { mean: -1.2, sd: 1.2 },
        loss: LossConfig::AllScales { weighting: Weighting::Edm, antithetic: true },
        sigma_data: 1.0,
        batch: 512,
        seed,
    };
    let config = FitConfig {
        clip_norm: Some(1.0),
        ema: vec![EmaConfig::HalfLife(200.0)],
        ..FitConfig::at_a_constant_rate(steps, 2e-3)
    };
    let mut state = TrainingState::new(&config, ThreeLayers::new(seed, &device.clone().autodiff()));
    fit(&objective, &config, &mut state, &device.clone().autodiff(), true, |state, report| {
        if state.progress.step.is_multiple_of(500) {
            println!("step {:>5}, loss {:.4}", state.progress.step, report.loss);
        }
        Ok(Flow::Continue)
    })?;

    let network = state.emas[0].model().clone();
    let levels = GridConfig::default().levels(0.01, 20.0, 20)?;
    let samples = sample(&network, &SamplerConfig::Heun, &levels, seed, 0..2000, DType::F32, &device, &|| true)?;
    let fresh = |step: u64| -> Points { Spiral.sample(&Stream::new(seed, Purpose::Evaluation), step, 0..2000) };
    let found = energy_distance(&to_points(samples), &fresh(0))?;
    let floor = energy_distance(&fresh(1), &fresh(0))?;
    println!("energy distance {:.4} ± {:.4}", found.value.unwrap_or(f64::NAN), found.std_error.unwrap_or(f64::NAN));
    println!("of fresh draws  {:.4} ± {:.4}", floor.value.unwrap_or(f64::NAN), floor.std_error.unwrap_or(f64::NAN));
    Ok(())
}
