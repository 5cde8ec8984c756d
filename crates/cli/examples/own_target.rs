//! A density of one's own, given by its logarithm and its score: followed by particles, and drawn from.

use std::f64::consts::PI;
use std::sync::Arc;

use brenier_measure::{Measure, to_points};
use brenier_training::{AnnealedParticles, AnnealedParticlesConfig, Flow, Method};
use burn::tensor::{Device, Tensor};

/// `exp(-x₀²/2 - 2(x₁ - x₀²)²)`, a bent ridge; its integral is π.
struct Banana;

impl Measure for Banana {
    fn dim(&self) -> usize {
        2
    }

    fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
        let ([x0, off], n) = (parts(&x), x.dims()[0]);
        (x0.square() * -0.5 - off.square() * 2.0).reshape([n])
    }

    fn score(&self, x: Tensor<2>) -> Tensor<2> {
        let [x0, off] = parts(&x);
        Tensor::cat(vec![x0.clone() * off.clone() * 8.0 - x0, off * -4.0], 1)
    }
}

/// x₀ and x₁ - x₀², each `[n, 1]`.
fn parts(x: &Tensor<2>) -> [Tensor<2>; 2] {
    let (x0, x1) = (x.clone().narrow(1, 0, 1), x.clone().narrow(1, 1, 1));
    let off = x1 - x0.clone().square();
    [x0, off]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = AnnealedParticlesConfig { particles: 2048, ..AnnealedParticlesConfig::default() };
    let method = AnnealedParticles::new(config, Arc::new(Banana), None, 0, &Device::flex())?;
    let mut state = method.start()?;
    method.train(&mut state, &mut |_, _| Ok(Flow::Continue))?;

    let log_z = method.log_z(&state);
    println!("log Z {:.3} ± {:.3}, of {:.3}", log_z.value, log_z.std_error, PI.ln());
    assert!((log_z.value - PI.ln()).abs() < 5.0 * log_z.std_error);

    let draws = to_points(method.sampler(&state).sample(0, 0..10_000, &|| true)?);
    println!("mean of x₁ {:.2}, of 1", draws.column(1).mean().expect("draws"));
    Ok(())
}
