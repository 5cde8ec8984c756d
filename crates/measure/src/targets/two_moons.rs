//! Two half circles facing each other.

use crate::targets::smoothed_curve::{Arm, ParameterLaw, SmoothedCurve};

/// Two moons, version 1: `1.4 (a(t) - (½, ¼) + 0.1 z)` with t uniform on [0, π], z standard normal and
/// `a(t) = (cos t, sin t)` or `(1 - cos t, ½ - sin t)`, equally likely. Entropy 1.681 nats.
///
/// Density by the quadrature of [`SmoothedCurve`].
pub fn two_moons() -> SmoothedCurve {
    use std::f64::consts::PI;
    let arm = |position| Arm { start: 0.0, end: PI, law: ParameterLaw::Uniform, position };
    let upper = |t: f64| [1.4 * (libm::cos(t) - 0.5), 1.4 * (libm::sin(t) - 0.25)];
    let lower = |t: f64| [1.4 * (0.5 - libm::cos(t)), 1.4 * (0.25 - libm::sin(t))];
    SmoothedCurve::new(vec![arm(upper as fn(f64) -> [f64; 2]), arm(lower)], 0.14)
}
