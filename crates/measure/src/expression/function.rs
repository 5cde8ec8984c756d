//! Functions of one number, with their first two derivatives, as tensor operations and on the host.

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;

use crate::measure::log_sigmoid;

/// A smooth function of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Function {
    Exp,
    Log,
    Log1p,
    Expm1,
    Sqrt,
    Abs,
    Tanh,
    Sin,
    Cos,
    Sigmoid,
    /// `log σ(v)`, which `log(sigmoid(v))`, `log1p(exp(v))` and `log(1 + exp(v))` become.
    LogSigmoid,
    /// `log Γ(v)` for v > 0.
    LogGamma,
    /// `v^p` for a constant p.
    Power(f64),
}

/// The functions that a formula calls by name.
pub(super) const NAMED: [(&str, Function); 11] = [
    ("exp", Function::Exp),
    ("log", Function::Log),
    ("log1p", Function::Log1p),
    ("expm1", Function::Expm1),
    ("sqrt", Function::Sqrt),
    ("abs", Function::Abs),
    ("tanh", Function::Tanh),
    ("sin", Function::Sin),
    ("cos", Function::Cos),
    ("sigmoid", Function::Sigmoid),
    ("lgamma", Function::LogGamma),
];

impl Function {
    /// The value at a number.
    pub fn at(self, v: f64) -> f64 {
        match self {
            Self::Exp => v.exp(),
            Self::Log => v.ln(),
            Self::Log1p => v.ln_1p(),
            Self::Expm1 => v.exp_m1(),
            Self::Sqrt => v.sqrt(),
            Self::Abs => v.abs(),
            Self::Tanh => v.tanh(),
            Self::Sin => v.sin(),
            Self::Cos => v.cos(),
            Self::Sigmoid => 1.0 / (1.0 + (-v).exp()),
            Self::LogSigmoid => v.min(0.0) - (-v.abs()).exp().ln_1p(),
            Self::LogGamma if v <= 0.0 => f64::NAN,
            Self::LogGamma => libm::lgamma(v),
            Self::Power(p) => v.powf(p),
        }
    }

    /// The value at a tensor, element by element.
    pub fn value(self, v: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Exp => v.exp(),
            Self::Log => v.log(),
            Self::Log1p => v.log1p(),
            Self::Expm1 => {
                // e^v - 1 = 2t/(1 - t) with t = tanh(v/2), which loses no digit near 0.
                let t = (v.clone() / 2.0).clamp(-1.0, 1.0).tanh();
                let near = t.clone() * 2.0 / (t.neg() + 1.0);
                let far = v.clone().abs().greater_elem(1.0);
                near.mask_where(far, v.exp() - 1.0)
            }
            Self::Sqrt => v.sqrt(),
            Self::Abs => v.abs(),
            Self::Tanh => v.tanh(),
            Self::Sin => v.sin(),
            Self::Cos => v.cos(),
            Self::Sigmoid => sigmoid(v),
            Self::LogSigmoid => log_sigmoid(v),
            Self::LogGamma => log_gamma(v),
            Self::Power(p) => power(v, p),
        }
    }

    /// The derivative, given argument and value.
    pub fn derivative(self, v: &Tensor<2>, y: &Tensor<2>) -> Tensor<2> {
        let (v, y) = (v.clone(), y.clone());
        match self {
            Self::Exp => y,
            Self::Log => v.recip(),
            Self::Log1p => (v + 1.0).recip(),
            Self::Expm1 => y + 1.0,
            Self::Sqrt => y.recip() / 2.0,
            Self::Abs => v.sign(),
            Self::Tanh => y.square().neg() + 1.0,
            Self::Sin => v.cos(),
            Self::Cos => v.sin().neg(),
            Self::Sigmoid => y * sigmoid(v.neg()),
            Self::LogSigmoid => sigmoid(v.neg()),
            Self::LogGamma => digamma(v),
            Self::Power(p) => power(v, p - 1.0) * p,
        }
    }

    /// The second derivative, given argument and value.
    pub fn second_derivative(self, v: &Tensor<2>, y: &Tensor<2>) -> Tensor<2> {
        let (v, y) = (v.clone(), y.clone());
        match self {
            Self::Exp => y,
            Self::Log => v.square().recip().neg(),
            Self::Log1p => (v + 1.0).square().recip().neg(),
            Self::Expm1 => y + 1.0,
            Self::Sqrt => (y * v).recip() / -4.0,
            Self::Abs => v.zeros_like(),
            Self::Tanh => y.clone() * (y.square() - 1.0) * 2.0,
            Self::Sin | Self::Cos => y.neg(),
            Self::Sigmoid => y.clone() * sigmoid(v.neg()) * (y * -2.0 + 1.0),
            Self::LogSigmoid => (sigmoid(v.clone()) * sigmoid(v.neg())).neg(),
            Self::LogGamma => trigamma(v),
            Self::Power(p) => power(v, p - 2.0) * (p * (p - 1.0)),
        }
    }
}

/// `v^p`; small whole powers by multiplication, so that negative v have them on every device.
fn power(v: Tensor<2>, p: f64) -> Tensor<2> {
    if p.fract() != 0.0 || p.abs() > 64.0 {
        return v.powf_scalar(p);
    }
    let mut left = p.abs() as u32;
    let (mut result, mut square) = (v.ones_like(), v);
    while left > 0 {
        if left & 1 == 1 {
            result = result * square.clone();
        }
        left >>= 1;
        if left > 0 {
            square = square.square();
        }
    }
    if p < 0.0 { result.recip() } else { result }
}

/// The recurrence `Γ(v + 1) = vΓ(v)` lifts the argument by so much, where Stirling's series is exact to rounding.
const LIFT: u32 = 10;

/// `Σ_k f(v + k)` over the lift.
fn lifted(v: &Tensor<2>, f: impl Fn(Tensor<2>) -> Tensor<2>) -> Tensor<2> {
    (0..LIFT).map(|k| f(v.clone() + f64::from(k))).reduce(|a, b| a + b).expect("a lift")
}

/// `Σ_k c_k y^{-2k}` by Horner's rule.
fn series(y: &Tensor<2>, coefficients: &[f64]) -> Tensor<2> {
    let inverse_square = y.clone().square().recip();
    let zero = y.zeros_like();
    coefficients.iter().rev().fold(zero, |sum, &c| sum * inverse_square.clone() + c)
}

/// Stirling's series; NaN for v ≤ 0.
fn log_gamma(v: Tensor<2>) -> Tensor<2> {
    let y = v.clone() + f64::from(LIFT);
    let tail = series(&y, &[1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0]);
    let half_log_tau = std::f64::consts::TAU.ln() / 2.0;
    (y.clone() - 0.5) * y.clone().log() - y.clone() + half_log_tau + tail / y - lifted(&v, Tensor::log)
}

/// `(log Γ)'`.
fn digamma(v: Tensor<2>) -> Tensor<2> {
    let y = v.clone() + f64::from(LIFT);
    let tail = series(&y, &[1.0 / 12.0, -1.0 / 120.0, 1.0 / 252.0, -1.0 / 240.0, 1.0 / 132.0, -691.0 / 32_760.0]);
    y.clone().log() - y.clone().recip() / 2.0 - tail / y.square() - lifted(&v, Tensor::recip)
}

/// `(log Γ)''`.
fn trigamma(v: Tensor<2>) -> Tensor<2> {
    let y = v.clone() + f64::from(LIFT);
    let tail = series(&y, &[1.0 / 6.0, -1.0 / 30.0, 1.0 / 42.0, -1.0 / 30.0, 5.0 / 66.0, -691.0 / 2730.0]);
    let inverse = y.recip();
    inverse.clone()
        + inverse.clone().square() / 2.0
        + tail * inverse.clone().square() * inverse
        + lifted(&v, |v| v.square().recip())
}
