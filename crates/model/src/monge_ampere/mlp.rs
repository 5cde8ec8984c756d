//! Multilayer perceptrons from Rᵈ to R: discriminators of any shape.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::hyper_dual::HyperDual;
use super::potential::like;
use crate::activation::Activation;
use crate::initialization::Initializer;

/// `z_l = a(z_{l-1}W_l + b_l)`, `h(x) = z_L W + b`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// W, `[in, out]` each.
    weights: Vec<Param<Tensor<2>>>,
    /// b, `[1, out]` each.
    biases: Vec<Param<Tensor<2>>>,
    #[module(skip)]
    activation: Activation,
}

/// The last layer's weights in units of those that would make the output's variance that of a hidden unit: h begins near 0.
const LAST_LAYER: f64 = 0.1;

impl Mlp {
    /// One with so many hidden layers of one width, in F32; its parameters are functions of the seed.
    pub fn new(dim: usize, width: usize, depth: usize, activation: Activation, seed: u64, device: &Device) -> Self {
        let mut initializer = Initializer::new(seed, device);
        let widths: Vec<usize> = std::iter::once(dim).chain(std::iter::repeat_n(width, depth)).chain([1]).collect();
        let layers = widths.windows(2).enumerate().map(|(layer, sizes)| {
            let gain = if layer == depth { LAST_LAYER } else { 1.0 };
            let weight = initializer.normal(sizes[0], sizes[1], gain / (sizes[0] as f64).sqrt());
            (weight, initializer.constant(1, sizes[1], 0.0))
        });
        let (weights, biases) = layers.unzip();
        Self { weights, biases, activation }
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.weights[0].dims()[0]
    }

    /// The parameters, layer by layer: weights, then bias.
    pub fn parameters(&self) -> impl Iterator<Item = Tensor<2>> {
        self.weights.iter().zip(&self.biases).flat_map(|(weight, bias)| [weight.val(), bias.val()])
    }

    /// The same in another number type: F32 to train, F64 to evaluate.
    #[must_use]
    pub fn cast(self, dtype: DType) -> Self {
        self.map(&mut Cast(dtype))
    }

    /// `h(x)` and `∇h(x)`; `[n, d] -> [n], [n, d]`.
    pub fn value_and_gradient(&self, x: Tensor<2>) -> (Tensor<1>, Tensor<2>) {
        let (value, gradient) = self.at(&HyperDual::real(x));
        (value.real_part().squeeze_dim::<1>(1), gradient.real_part())
    }

    /// `h` and `∇h` at hyper-dual points; `[n, d] -> [n, 1], [n, d]`.
    pub(super) fn at(&self, x: &HyperDual) -> (HyperDual, HyperDual) {
        let dtype = x.real_part().dtype();
        let in_type = |parameter: &Param<Tensor<2>>| {
            let parameter = parameter.val();
            if parameter.dtype() == dtype { parameter } else { parameter.cast(dtype) }
        };
        let (weights, biases): (Vec<_>, Vec<_>) =
            self.weights.iter().zip(&self.biases).map(|(w, b)| (in_type(w), in_type(b))).unzip();
        let (last, hidden) = weights.split_last().expect("at least one layer");
        let mut z = x.clone();
        let mut slopes = Vec::with_capacity(hidden.len());
        for (weight, bias) in hidden.iter().zip(&biases) {
            let slope;
            (z, slope) = z.matmul(weight.clone()).plus(bias.clone()).apply_with_derivative(self.activation);
            slopes.push(slope);
        }
        let value = z.matmul(last.clone()).plus(biases[hidden.len()].clone());
        let mut gradient: Option<HyperDual> = None;
        for (slope, weight) in slopes.iter().zip(hidden).rev() {
            let sensitivity = match gradient {
                None => slope.times(last.clone().transpose()),
                Some(gradient) => slope.mul(&gradient),
            };
            gradient = Some(sensitivity.matmul(weight.clone().transpose()));
        }
        let constant = || HyperDual::real(x.real_part().zeros_like() + last.clone().transpose());
        (value, gradient.unwrap_or_else(constant))
    }
}

struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        parameter.map(|tensor| {
            let trained = tensor.is_require_grad();
            tensor.cast(self.0).detach().set_require_grad(trained)
        })
    }
}

/// The parameters as numbers, in which F32 and F64 are exact.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Numbers {
    /// W and b, in this order.
    layers: Vec<[Array2<f64>; 2]>,
    activation: Activation,
}

impl From<Mlp> for Numbers {
    fn from(mlp: Mlp) -> Self {
        let parameters: Vec<Array2<f64>> = mlp.parameters().map(brenier_measure::to_points).collect();
        let layers = parameters.chunks(2).map(|pair| [pair[0].clone(), pair[1].clone()]).collect();
        Self { layers, activation: mlp.activation }
    }
}

/// In F64, without autodiff.
impl TryFrom<Numbers> for Mlp {
    type Error = String;

    fn try_from(Numbers { layers, activation }: Numbers) -> Result<Self, String> {
        let fits = |pair: &[[Array2<f64>; 2]]| pair[0][0].ncols() == pair[1][0].nrows();
        let is_layer = |[weight, bias]: &[Array2<f64>; 2]| bias.dim() == (1, weight.ncols()) && weight.nrows() > 0;
        let ends_in_one = layers.last().is_some_and(|[weight, _]| weight.ncols() == 1);
        if !(ends_in_one && layers.iter().all(is_layer) && layers.windows(2).all(fits)) {
            return Err("its layers do not fit together".to_owned());
        }
        let device = Device::flex();
        let anchor = Tensor::<1>::zeros([1], (&device, DType::F64));
        let parameter = |matrix: &Array2<f64>| {
            let values: Vec<f64> = matrix.iter().copied().collect();
            Param::from_tensor(like(&values, [matrix.nrows(), matrix.ncols()], &anchor))
        };
        let (weights, biases) = layers.iter().map(|[weight, bias]| (parameter(weight), parameter(bias))).unzip();
        Ok(Self { weights, biases, activation })
    }
}
