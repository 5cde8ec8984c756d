//! Five blades twisted about the centre.

use std::f64::consts::TAU;

use burn::tensor::{DType, Tensor};

use crate::measure::{Measure, Sample};
use crate::random::Words;

/// Pinwheel, version 1: `1.35 R(2πk/5 + ¼e^{|u|}) u` with `u = (1 + 0.3 z₁, 0.1 z₂)`, k uniform in 0…4, z standard normal,
/// R(θ) the rotation by θ. Entropy 1.5345 nats.
///
/// Twisting by an angle that depends on |u| keeps areas, so with `v = x/1.35`, `ρ = |v| = |u|` and `u_k = R(-2πk/5 - ¼e^ρ) v`
/// the density is `(1/(5·1.35²)) Σ_k N(u_k; (1, 0), diag(0.3², 0.1²))`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pinwheel {}

const SCALE: f64 = 1.35;
const CENTRE: f64 = 1.0;
const DEVIATIONS: [f64; 2] = [0.3, 0.1];
const BLADES: u8 = 5;
const TWIST: f64 = 0.25;
/// Where the growing twist is held, so that its angle stays finite: the density there is below e⁻⁴⁰⁰⁰.
const TWIST_ENDS: f64 = 30.0;

/// The untwisted points as seen from each blade.
struct Untwisted {
    /// `v₁, v₂`, `[n]` each.
    v: [Tensor<1>; 2],
    /// `ρ`, `[n]`, positive.
    radius: Tensor<1>,
    /// Log of each blade's term, and `∇_v` of it but for the change of the twist: (log, g₁, g₂), `[n]` each.
    blades: Vec<[Tensor<1>; 3]>,
}

fn untwist(x: Tensor<2>) -> Untwisted {
    let v = x / SCALE;
    let [n, _] = v.dims();
    let least = if v.dtype() == DType::F64 { 1e-150 } else { 1e-18 };
    let v = [0, 1].map(|j| v.clone().slice([0..n, j..j + 1]).squeeze_dim::<1>(1));
    let radius = (v[0].clone().square() + v[1].clone().square()).sqrt().clamp_min(least);
    let twist = radius.clone().clamp_max(TWIST_ENDS).exp() * TWIST;
    let log_constant = -(f64::from(BLADES) * SCALE * SCALE * TAU * DEVIATIONS[0] * DEVIATIONS[1]).ln();
    let blades = (0..BLADES).map(|k| {
        let angle = twist.clone() + TAU * f64::from(k) / f64::from(BLADES);
        let (cos, sin) = (angle.clone().cos(), angle.sin());
        let along = v[0].clone() * cos.clone() + v[1].clone() * sin.clone();
        let across = v[1].clone() * cos.clone() - v[0].clone() * sin.clone();
        let (p, q) = ((along - CENTRE) / DEVIATIONS[0], across / DEVIATIONS[1]);
        let log = (p.clone().square() + q.clone().square()) * -0.5 + log_constant;
        // ∇_u of the log, turned back to the frame of v.
        let (p, q) = (p / -DEVIATIONS[0], q / -DEVIATIONS[1]);
        let g1 = p.clone() * cos.clone() - q.clone() * sin.clone();
        let g2 = p * sin + q * cos;
        [log, g1, g2]
    });
    Untwisted { blades: blades.collect(), radius, v }
}

/// The logarithm of a sum, term by term over tensors.
fn log_sum_exp(logs: &[Tensor<1>]) -> Tensor<1> {
    let largest = logs[1..].iter().cloned().fold(logs[0].clone(), Tensor::max_pair);
    let sum = logs.iter().map(|log| (log.clone() - largest.clone()).exp()).reduce(|a, b| a + b);
    sum.expect("at least one term").log() + largest
}

impl Sample for Pinwheel {
    fn dim(&self) -> usize {
        2
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        let k = words.below(u64::from(BLADES)) as f64;
        let u = [CENTRE + DEVIATIONS[0] * words.normal(), DEVIATIONS[1] * words.normal()];
        let radius = libm::hypot(u[0], u[1]).min(TWIST_ENDS);
        let angle = TAU * k / f64::from(BLADES) + TWIST * libm::exp(radius);
        let (cos, sin) = (libm::cos(angle), libm::sin(angle));
        point[0] = SCALE * (cos * u[0] - sin * u[1]);
        point[1] = SCALE * (sin * u[0] + cos * u[1]);
    }
}

impl Measure for Pinwheel {
    fn dim(&self) -> usize {
        2
    }

    fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
        let logs: Vec<_> = untwist(x).blades.into_iter().map(|[log, _, _]| log).collect();
        log_sum_exp(&logs)
    }

    /// `u_k = R(-θ_k(ρ)) v` has the derivative `R(-θ_k)(I - θ'(ρ) J v vᵀ/ρ)`, `J = R(π/2)`: with `g = R(θ_k)∇_u log N`, a
    /// blade contributes `g - θ'(ρ)(g·Jv) v/ρ`.
    fn score(&self, x: Tensor<2>) -> Tensor<2> {
        let Untwisted { v: [v1, v2], radius, blades } = untwist(x);
        let logs: Vec<_> = blades.iter().map(|[log, _, _]| log.clone()).collect();
        let total = log_sum_exp(&logs);
        let held = radius.clone().greater_elem(TWIST_ENDS);
        let rate = (radius.clone().clamp_max(TWIST_ENDS).exp() * TWIST).mask_fill(held, 0.0);
        let [g1, g2] = blades
            .into_iter()
            .map(|[log, g1, g2]| {
                let weight = (log - total.clone()).exp();
                [g1 * weight.clone(), g2 * weight]
            })
            .reduce(|[a1, a2], [b1, b2]| [a1 + b1, a2 + b2])
            .expect("five blades");
        let turn = (g2.clone() * v1.clone() - g1.clone() * v2.clone()) * rate / radius;
        let score = [g1 - turn.clone() * v1, g2 - turn * v2].map(|g| (g / SCALE).unsqueeze_dim::<2>(1));
        Tensor::cat(score.to_vec(), 1)
    }

    fn log_normalizer(&self) -> Option<f64> {
        Some(0.0)
    }
}
