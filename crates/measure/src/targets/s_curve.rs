//! The letter S.

use std::f64::consts::PI;

use crate::targets::smoothed_curve::{Arm, ParameterLaw, SmoothedCurve};

/// S curve, version 1: `0.9 (sin t, sign(t)(cos t - 1)) + noise·z` with t uniform on [-3π/2, 3π/2], z standard normal.
///
/// Two three-quarter circles of radius 0.9 that meet at the origin: the first and third coordinate of the scikit-learn
/// data set of that name, times 0.9. Density by the quadrature of [`SmoothedCurve`], an arm on each side of t = 0.
pub fn s_curve(noise: f64) -> SmoothedCurve {
    let arm = |start, end, position| Arm { start, end, law: ParameterLaw::Uniform, position };
    let negative = |t: f64| [0.9 * libm::sin(t), 0.9 * (1.0 - libm::cos(t))];
    let positive = |t: f64| [0.9 * libm::sin(t), 0.9 * (libm::cos(t) - 1.0)];
    let arms = vec![arm(-1.5 * PI, 0.0, negative as fn(f64) -> [f64; 2]), arm(0.0, 1.5 * PI, positive)];
    SmoothedCurve::new(arms, noise)
}
