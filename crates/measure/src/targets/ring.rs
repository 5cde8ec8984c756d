//! Eight Gaussians on a circle.

use std::f64::consts::{SQRT_2, TAU};

use crate::mixture::GaussianMixture;

/// Ring, version 1: eight equally likely Gaussians, centres `√2 (cos, sin)(2πk/8)`, standard deviation 0.1. Entropy
/// 0.3122 nats.
pub fn ring() -> GaussianMixture {
    let centre = |k: u8| {
        let angle = TAU * f64::from(k) / 8.0;
        vec![SQRT_2 * libm::cos(angle), SQRT_2 * libm::sin(angle)]
    };
    GaussianMixture::about_points(&[1.0 / 8.0; 8], (0..8).map(centre).collect(), 0.1)
}
