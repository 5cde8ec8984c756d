//! Two spirals wound into each other.

use std::f64::consts::PI;

use crate::targets::smoothed_curve::{Arm, ParameterLaw, SmoothedCurve};

/// Spirals, version 1: `±(-t cos t, t sin t)/4.5 + noise·z` with `t = 3π√u`, u uniform on [0, 1], both signs equally
/// likely, z standard normal.
///
/// The root spreads the points nearly evenly along the arms. Density by the quadrature of [`SmoothedCurve`].
pub fn spirals(noise: f64) -> SmoothedCurve {
    let arm = |position| Arm { start: 0.0, end: 3.0 * PI, law: ParameterLaw::Linear, position };
    let first = |t: f64| [-t * libm::cos(t) / 4.5, t * libm::sin(t) / 4.5];
    let second = |t: f64| [t * libm::cos(t) / 4.5, -t * libm::sin(t) / 4.5];
    SmoothedCurve::new(vec![arm(first as fn(f64) -> [f64; 2]), arm(second)], noise)
}
