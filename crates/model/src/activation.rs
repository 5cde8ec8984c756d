//! Activation functions, each with its derivative.

use burn::tensor::{Tensor, activation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
}
