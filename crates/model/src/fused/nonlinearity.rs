//! Activations of one number, as plain operations without branches.

use crate::activation::Activation;
use crate::real::Real;

/// A function with its derivative.
pub trait Nonlinearity: Send + Sync {
    /// `(a(z), a'(z))`.
    fn at<T: Real>(z: T) -> (T, T);
}

/// `(ς(z), ς(-z))`, both to all digits.
#[inline(always)]
fn logistic<T: Real>(z: T) -> (T, T) {
    let e = (-z.magnitude()).exp_of_negative();
    let larger = T::of(1.0) / (T::of(1.0) + e);
    let smaller = e * larger;
    if z > T::of(0.0) { (larger, smaller) } else { (smaller, larger) }
}

pub struct Silu;
pub struct Gelu;
pub struct Tanh;
pub struct Relu;
pub struct Softplus;

impl Nonlinearity for Silu {
    #[inline(always)]
    fn at<T: Real>(z: T) -> (T, T) {
        let (s, c) = logistic(z);
        let a = z * s;
        (a, s + a * c)
    }
}

impl Nonlinearity for Gelu {
    #[inline(always)]
    fn at<T: Real>(z: T) -> (T, T) {
        let exp = (T::of(-0.5) * z * z).exp_of_negative();
        let distribution = z.normal_distribution(exp);
        // 1/√(2π).
        let density = exp * T::of(0.398_942_280_401_432_7);
        (z * distribution, distribution + z * density)
    }
}

impl Nonlinearity for Tanh {
    #[inline(always)]
    fn at<T: Real>(z: T) -> (T, T) {
        let e = (T::of(-2.0) * z.magnitude()).exp_of_negative();
        let total = T::of(1.0) / (T::of(1.0) + e);
        let large = (T::of(1.0) - e) * total;
        let large = if z > T::of(0.0) { large } else { -large };
        // Lambert's continued fraction, where 1 - e loses digits.
        let s = z * z;
        let above = T::of(135_135.0) + s * (T::of(17_325.0) + s * (T::of(378.0) + s));
        let below = T::of(135_135.0) + s * (T::of(62_370.0) + s * (T::of(3150.0) + s * T::of(28.0)));
        let value = if s < T::of(0.25) { z * above / below } else { large };
        (value, T::of(4.0) * e * total * total)
    }
}

impl Nonlinearity for Relu {
    #[inline(always)]
    fn at<T: Real>(z: T) -> (T, T) {
        let zero = T::of(0.0);
        (if z < zero { zero } else { z }, if z > zero { T::of(1.0) } else { zero })
    }
}

impl Nonlinearity for Softplus {
    #[inline(always)]
    fn at<T: Real>(z: T) -> (T, T) {
        let e = (-z.magnitude()).exp_of_negative();
        let above = if z < T::of(0.0) { T::of(0.0) } else { z };
        (above + e.ln_1p_of_unit(), logistic(z).0)
    }
}

/// What is done with an activation that is known when it is compiled.
pub trait WithNonlinearity {
    /// Does it.
    fn with<N: Nonlinearity>(self);
}

impl Activation {
    /// Does something with this activation.
    pub(super) fn dispatch(self, what: impl WithNonlinearity) {
        match self {
            Self::Silu => what.with::<Silu>(),
            Self::Gelu => what.with::<Gelu>(),
            Self::Tanh => what.with::<Tanh>(),
            Self::Relu => what.with::<Relu>(),
            Self::Softplus => what.with::<Softplus>(),
        }
    }
}
