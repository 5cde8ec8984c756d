//! The rolled-up strip, seen from its side.

use std::f64::consts::PI;

use crate::targets::smoothed_curve::{Arm, ParameterLaw, SmoothedCurve};

/// Swiss roll, version 1: `(t cos t, t sin t)/7 + noise·z` with t uniform on [3π/2, 9π/2], z standard normal.
///
/// The first and third coordinate of the scikit-learn data set of that name, divided by 7. Density by the quadrature of
/// [`SmoothedCurve`].
pub fn swiss_roll(noise: f64) -> SmoothedCurve {
    let position = |t: f64| [t * libm::cos(t) / 7.0, t * libm::sin(t) / 7.0];
    let arm = Arm { start: 1.5 * PI, end: 4.5 * PI, law: ParameterLaw::Uniform, position };
    SmoothedCurve::new(vec![arm], noise)
}
