//! The number types of the CPU.

use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

use brenier_measure::elementary;
use burn::tensor::Element;
use bytemuck::Pod;
use faer::traits::ComplexField;

/// A number type of the CPU, with elementary functions that a loop vectorises over.
pub trait Real:
    ComplexField
    + Element
    + Pod
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
{
    /// The number nearest to another.
    fn of(x: f64) -> Self;

    /// The number in double precision.
    fn double(self) -> f64;

    /// `|x|`.
    fn magnitude(self) -> Self;

    /// `eˣ` for x ≤ 0.
    fn exp_of_negative(self) -> Self;

    /// `log(1 + e)` for e in [0, 1].
    fn ln_1p_of_unit(self) -> Self;

    /// `Φ(z)`, the normal distribution function, with `e^{-z²/2}` given.
    fn normal_distribution(self, exp: Self) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as Self
    }

    #[inline(always)]
    fn double(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn magnitude(self) -> Self {
        self.abs()
    }

    #[inline(always)]
    fn exp_of_negative(self) -> Self {
        elementary::exp_of_negative_f32(self)
    }

    #[inline(always)]
    fn ln_1p_of_unit(self) -> Self {
        elementary::ln_1p_of_unit_f32(self)
    }

    #[inline(always)]
    fn normal_distribution(self, exp: Self) -> Self {
        elementary::normal_distribution_f32(self, exp)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn double(self) -> f64 {
        self
    }

    #[inline(always)]
    fn magnitude(self) -> Self {
        self.abs()
    }

    #[inline(always)]
    fn exp_of_negative(self) -> Self {
        elementary::exp_of_negative(self)
    }

    #[inline(always)]
    fn ln_1p_of_unit(self) -> Self {
        elementary::ln_1p_of_unit(self)
    }

    /// From the library, a number at a time: single precision is the one in a hurry.
    #[inline(always)]
    fn normal_distribution(self, _exp: Self) -> Self {
        elementary::normal_distribution(self)
    }
}

/// The first so many numbers of a list that grows where it is short.
pub fn room<T: Real>(list: &mut Vec<T>, count: usize) -> &mut [T] {
    if list.len() < count {
        list.resize(count, T::of(0.0));
    }
    &mut list[..count]
}
