//! Activation functions, each with its derivative.

use burn::tensor::{Tensor, activation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fused;

/// The nonlinearity of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `z ς(z)`, ς the logistic function. Elfwing, Uchibe, Doya (1702.03118).
    #[default]
    Silu,
    /// `z Φ(z)`, Φ the normal distribution function. Hendrycks, Gimpel (1606.08415).
    Gelu,
    /// `tanh z`.
    Tanh,
    /// `max(z, 0)`.
    Relu,
    /// `log(1 + e^z)`.
    Softplus,
}

impl Activation {
    /// `a(z)`, entry by entry.
    pub fn apply<const D: usize>(&self, z: Tensor<D>) -> Tensor<D> {
        fused::activate(z, *self)
    }

    /// `a(z)`, composed of tensor operations.
    pub(crate) fn compose<const D: usize>(&self, z: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Silu => activation::silu(z),
            Self::Gelu => activation::gelu(z),
            Self::Tanh => z.tanh(),
            Self::Relu => activation::relu(z),
            Self::Softplus => -activation::log_sigmoid(-z),
        }
    }

    /// `(a(z), a'(z))`, entry by entry; at the kink of [`Relu`](Self::Relu) the derivative is 0.
    pub fn with_derivative<const D: usize>(&self, z: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
        match self {
            Self::Silu => {
                let s = activation::sigmoid(z.clone());
                let a = z * s.clone();
                (a.clone(), s.clone() + a * (-s + 1.0))
            }
            Self::Gelu => {
                let cdf = ((z.clone() * std::f64::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
                let pdf = (z.clone().square() * -0.5).exp()
                    * (0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
                (z.clone() * cdf.clone(), cdf + z * pdf)
            }
            Self::Tanh => {
                let a = z.tanh();
                (a.clone(), -a.square() + 1.0)
            }
            Self::Relu => {
                let a = activation::relu(z);
                (a.clone(), a.sign())
            }
            Self::Softplus => (-activation::log_sigmoid(-z.clone()), activation::sigmoid(z)),
        }
    }

    /// `a(z), a'(z), …, a⁽ᵏ⁾(z)`, entry by entry.
    ///
    /// The kink of [`Relu`](Self::Relu) is passed over: its derivatives from the second on are 0.
    pub fn derivatives(&self, z: Tensor<2>, order: usize) -> Vec<Tensor<2>> {
        // (z g)⁽ʲ⁾ = z g⁽ʲ⁾ + j g⁽ʲ⁻¹⁾.
        let times_argument = |g: Vec<Tensor<2>>| {
            let first = z.clone() * g[0].clone();
            let rest = (1..g.len()).map(|j| z.clone() * g[j].clone() + g[j - 1].clone() * j as f64);
            std::iter::once(first).chain(rest).collect()
        };
        match self {
            Self::Silu => times_argument(sigmoid_derivatives(&z, order)),
            Self::Gelu => times_argument(normal_derivatives(&z, order)),
            Self::Tanh => {
                let t = z.clone().tanh();
                // 1 - tanh² = 4ς(2z)ς(-2z), without cancellation.
                let slope = activation::sigmoid(z.clone() * 2.0) * activation::sigmoid(z * -2.0) * 4.0;
                logistic_derivatives(t, slope, 1.0, order)
            }
            Self::Relu => {
                let (value, slope) = self.with_derivative(z);
                let zero = value.zeros_like();
                [value, slope].into_iter().chain(std::iter::repeat(zero)).take(order + 1).collect()
            }
            Self::Softplus => {
                let value = self.apply(z.clone());
                let rest = if order > 0 { sigmoid_derivatives(&z, order - 1) } else { Vec::new() };
                std::iter::once(value).chain(rest).collect()
            }
        }
    }
}

fn sigmoid_derivatives(z: &Tensor<2>, order: usize) -> Vec<Tensor<2>> {
    let s = activation::sigmoid(z.clone());
    // ς' = ς(z)ς(-z); in c = ς - ½ it is ¼ - c², and both tails keep their digits.
    let slope = s.clone() * activation::sigmoid(-z.clone());
    let mut derivatives = logistic_derivatives(s.clone() - 0.5, slope, 0.25, order);
    derivatives[0] = s;
    derivatives
}

/// `c, c', …, c⁽ᵏ⁾` of a solution of `c' = a - c²`, `c'` given.
///
/// `c⁽ʲ⁾ = c' Q_j(c)` with `Q_1 = 1`, `Q_{j+1} = (a - c²)Q_j' - 2cQ_j`.
fn logistic_derivatives(c: Tensor<2>, slope: Tensor<2>, a: f64, order: usize) -> Vec<Tensor<2>> {
    let mut derivatives = vec![c.clone()];
    let mut q = vec![1.0];
    for _ in 0..order {
        derivatives.push(slope.clone() * polynomial(&q, &c));
        let mut next = vec![0.0; q.len() + 1];
        for (power, coefficient) in q.iter().enumerate() {
            if power > 0 {
                next[power - 1] += a * power as f64 * coefficient;
            }
            next[power + 1] -= (power as f64 + 2.0) * coefficient;
        }
        q = next;
    }
    derivatives
}

/// `Φ, Φ', …, Φ⁽ᵏ⁾` of the normal distribution function: `Φ⁽ʲ⁾ = (-1)ʲ⁻¹He_{j-1} Φ'`.
fn normal_derivatives(z: &Tensor<2>, order: usize) -> Vec<Tensor<2>> {
    let cdf = ((z.clone() * std::f64::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
    let pdf = (z.clone().square() * -0.5).exp() / std::f64::consts::TAU.sqrt();
    let mut derivatives = vec![cdf];
    let mut q = vec![1.0];
    for _ in 0..order {
        derivatives.push(pdf.clone() * polynomial(&q, z));
        // (Qφ)' = (Q' - zQ)φ.
        let mut next = vec![0.0; q.len() + 1];
        for (power, coefficient) in q.iter().enumerate() {
            if power > 0 {
                next[power - 1] += power as f64 * coefficient;
            }
            next[power + 1] -= coefficient;
        }
        q = next;
    }
    derivatives
}

/// `Σ_i q_i xⁱ` by Horner's rule.
fn polynomial(q: &[f64], x: &Tensor<2>) -> Tensor<2> {
    let (last, rest) = q.split_last().expect("at least a constant");
    let start = x.full_like(*last);
    rest.iter().rev().fold(start, |sum, coefficient| sum * x.clone() + *coefficient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device, TensorData};

    #[test]
    fn the_derivative_is_that_of_the_value() {
        let device = Device::flex();
        let points = [-30.0, -3.0, -0.7, 0.2, 1.1, 4.0, 30.0];
        let at = |shift: f64| {
            let moved: Vec<f64> = points.iter().map(|z| z + shift).collect();
            Tensor::<1>::from_data(TensorData::new(moved, [points.len()]), (&device, DType::F64))
        };
        let h = 1e-5;
        for activation in [Activation::Silu, Activation::Gelu, Activation::Tanh, Activation::Relu, Activation::Softplus]
        {
            let (value, derivative) = activation.with_derivative(at(0.0));
            let difference = (activation.apply(at(h)) - activation.apply(at(-h))) / (2.0 * h);
            let defect: f64 = (derivative - difference).abs().max().into_scalar();
            assert!(defect < 1e-9, "{activation:?}: {defect}");
            let defect: f64 = (value - activation.apply(at(0.0))).abs().max().into_scalar();
            assert!(defect < 1e-14, "{activation:?}: {defect}");
        }
    }

    fn column(values: &[f64]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.to_vec(), [values.len(), 1]), (&Device::flex(), DType::F64))
    }

    #[test]
    fn each_derivative_is_that_of_the_one_before() {
        let points = [-4.0, -1.3, -0.2, 0.0, 0.4, 1.7, 3.0];
        let largest = |x: Tensor<2>| -> f64 { x.abs().max().into_scalar() };
        let h = 1e-4;
        for activation in [Activation::Silu, Activation::Gelu, Activation::Tanh, Activation::Softplus] {
            let at = |shift: f64| activation.derivatives(column(&points.map(|z| z + shift)), 8);
            let (before, here, after) = (at(-h), at(0.0), at(h));
            assert_eq!(here.len(), 9);
            for order in 0..8 {
                let difference = (after[order].clone() - before[order].clone()) / (2.0 * h);
                let scale = largest(here[order + 1].clone()).max(1.0);
                let defect = largest(difference - here[order + 1].clone()) / scale;
                // h²/6 of the derivative three orders up, which grows like a factorial.
                assert!(defect < 1e-6, "{activation:?}, order {}: {defect}", order + 1);
            }
        }
    }

    #[test]
    fn tails_of_derivatives_keep_their_digits() {
        let derivatives = Activation::Softplus.derivatives(column(&[-30.0, 30.0]), 4);
        for (order, sign) in [(2, 1.0), (3, -1.0), (4, 1.0)] {
            // ς(z) = Σ (-1)^{k+1} e^{kz} below zero: every derivative is e^{-30} there.
            let relative = derivatives[order].clone() / (-30.0f64).exp();
            let defect: f64 = (relative - column(&[1.0, sign])).abs().max().into_scalar();
            assert!(defect < 1e-11, "order {order}: {defect}");
        }
    }
}
