//! Elementary functions as plain operations without branches: the compiler vectorises a loop over them.
//!
//! They are exact to a few units in the last place, and the same on every machine, since nothing is contracted.

/// `eˣ` for x ≤ 0, within two units in the last place; zero below -708.
///
/// `x = k log 2 + s`, k the nearest integer, and the Taylor polynomial of degree 13 on `|s| ≤ ½ log 2`.
#[inline(always)]
pub fn exp_of_negative(x: f64) -> f64 {
    // Adding 1.5·2⁵² leaves the nearest integer in the last bits.
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN_2_LOW: f64 = 1.908_214_929_270_588e-10;
    const FACTORIALS: [f64; 14] = [
        1.0,
        1.0,
        1.0 / 2.0,
        1.0 / 6.0,
        1.0 / 24.0,
        1.0 / 120.0,
        1.0 / 720.0,
        1.0 / 5040.0,
        1.0 / 40_320.0,
        1.0 / 362_880.0,
        1.0 / 3_628_800.0,
        1.0 / 39_916_800.0,
        1.0 / 479_001_600.0,
        1.0 / 6_227_020_800.0,
    ];
    let shifted = x * std::f64::consts::LOG2_E + SHIFT;
    let k = shifted - SHIFT;
    let s = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    let polynomial = FACTORIALS.iter().rev().fold(0.0, |sum, c| sum * s + c);
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
    if x < -708.0 { 0.0 } else { polynomial * power }
}

/// `eˣ` for x ≤ 0 in single precision, within two units in the last place; zero below -87.
///
/// As in double precision, with the Taylor polynomial of degree 7.
#[inline(always)]
pub fn exp_of_negative_f32(x: f32) -> f32 {
    // Adding 1.5·2²³ leaves the nearest integer in the last bits.
    const SHIFT: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    const FACTORIALS: [f32; 8] = [1.0, 1.0, 1.0 / 2.0, 1.0 / 6.0, 1.0 / 24.0, 1.0 / 120.0, 1.0 / 720.0, 1.0 / 5040.0];
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let k = shifted - SHIFT;
    let s = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    let polynomial = FACTORIALS.iter().rev().fold(0.0, |sum, c| sum * s + c);
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { polynomial * power }
}

/// `log(1 + e)` for e in [0, 1], within four units in the last place.
///
/// `2 artanh z` with `z = e/(2 + e) ≤ ⅓`: the first term of the series left out is below `z·10⁻¹⁷`.
#[inline(always)]
pub fn ln_1p_of_unit(e: f64) -> f64 {
    const TERMS: usize = 17;
    let z = e / (2.0 + e);
    let square = z * z;
    let series = (0..TERMS).rev().fold(0.0, |sum, k| sum * square + 2.0 / (2 * k + 1) as f64);
    z * series
}

/// `log(1 + e)` for e in [0, 1] in single precision, within four units in the last place.
#[inline(always)]
pub fn ln_1p_of_unit_f32(e: f32) -> f32 {
    const TERMS: usize = 8;
    let z = e / (2.0 + e);
    let square = z * z;
    let series = (0..TERMS).rev().fold(0.0, |sum, k| sum * square + 2.0 / (2 * k + 1) as f32);
    z * series
}

/// `Φ(z)`, the normal distribution function.
pub fn normal_distribution(z: f64) -> f64 {
    0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2)
}

/// `Φ(z)` in single precision, to 1.5e-7, with `e^{-z²/2}` given.
///
/// Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 7.1.26.
#[inline(always)]
pub fn normal_distribution_f32(z: f32, exp: f32) -> f32 {
    const COEFFICIENTS: [f32; 5] = [0.254_829_6, -0.284_496_72, 1.421_413_8, -1.453_152_1, 1.061_405_4];
    let u = z.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * u);
    let polynomial = COEFFICIENTS.iter().rev().fold(0.0, |sum, c| sum * t + c);
    let tail = 0.5 * polynomial * t * exp;
    if z < 0.0 { tail } else { 1.0 - tail }
}

/// `ς(t) = 1/(1 + e⁻ᵗ)`.
#[inline(always)]
pub fn sigmoid(t: f64) -> f64 {
    let e = exp_of_negative(-t.abs());
    (if t > 0.0 { 1.0 } else { e }) / (1.0 + e)
}

/// `log(1 + eᵗ)`, without overflow or cancellation.
#[inline(always)]
pub fn softplus(t: f64) -> f64 {
    t.max(0.0) + ln_1p_of_unit(exp_of_negative(-t.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest relative error over a fine grid, in units in the last place.
    fn worst(low: f64, high: f64, ours: impl Fn(f64) -> f64, exact: impl Fn(f64) -> f64) -> f64 {
        let at = |k: u32| low + (high - low) * f64::from(k) / 400_000.0;
        (0..=400_000).map(at).map(|x| ((ours(x) - exact(x)) / exact(x)).abs() / f64::EPSILON).fold(0.0, f64::max)
    }

    #[test]
    fn values_are_those_of_the_library_to_rounding() {
        assert!(worst(-700.0, 0.0, exp_of_negative, f64::exp) < 2.0);
        assert!(worst(1e-9, 1.0, ln_1p_of_unit, f64::ln_1p) < 4.0);
        assert!(worst(-30.0, 30.0, softplus, |t| t.max(0.0) + (-t.abs()).exp().ln_1p()) < 4.0);
        assert!(worst(-30.0, 30.0, sigmoid, |t| 1.0 / (1.0 + (-t).exp())) < 4.0);
        let single = |x: f64| f64::from(exp_of_negative_f32(x as f32));
        let nearest = |x: f64| f64::from(x as f32).exp();
        assert!(worst(-86.0, 0.0, single, nearest) * f64::EPSILON < 2.0 * f64::from(f32::EPSILON));
        assert_eq!((exp_of_negative_f32(f32::NEG_INFINITY), exp_of_negative_f32(0.0)), (0.0, 1.0));
        assert!(exp_of_negative_f32(f32::NAN).is_nan());
        assert_eq!((exp_of_negative(f64::NEG_INFINITY), ln_1p_of_unit(0.0), sigmoid(-800.0)), (0.0, 0.0, 0.0));
        let single = |e: f64| f64::from(ln_1p_of_unit_f32(e as f32));
        let nearest = |e: f64| f64::from(e as f32).ln_1p();
        assert!(worst(1e-6, 1.0, single, nearest) * f64::EPSILON < 4.0 * f64::from(f32::EPSILON));
        for z in (-600..=600).map(|k| f64::from(k) / 100.0) {
            let single = normal_distribution_f32(z as f32, exp_of_negative_f32((-0.5 * z * z) as f32));
            assert!((f64::from(single) - normal_distribution(z)).abs() < 2e-7, "{z}");
        }
        assert_eq!((normal_distribution(0.0), normal_distribution(40.0)), (0.5, 1.0));
        assert_eq!((softplus(1e300), softplus(-1e300), sigmoid(1e300)), (1e300, 0.0, 1.0));
        assert!(softplus(f64::NAN).is_nan() && sigmoid(f64::NAN).is_nan());
    }
}
