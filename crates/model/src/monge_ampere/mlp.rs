//! Multilayer perceptrons: functions `Rᵈ -> R`, discriminators of any shape, and vector fields `Rᵈ -> Rᵈ`.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor};
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::hyper_dual::HyperDual;
use super::potential::like;
use crate::activation::Activation;
use crate::initialization::Initializer;

/// `z_l = a(z_{l-1}W_l + b_l)`, `h(x) = z_L W + b`; h has one value, or as many as x.
#[derive(Module, Debug)]
pub struct Mlp {
    /// W, `[in, out]` each.
    weights: Vec<Param<Tensor<2>>>,
    /// b, `[1, out]` each.
    biases: Vec<Param<Tensor<2>>>,
    #[module(skip)]
    activation: Activation,
}

/// The last layer's weights in units of those that would give an output the variance of a hidden unit: h begins near 0.
const LAST_LAYER: f64 = 0.1;

impl Mlp {
    /// A function with so many hidden layers of one width, in F32; its parameters are functions of the seed.
    pub fn new(dim: usize, width: usize, depth: usize, activation: Activation, seed: u64, device: &Device) -> Self {
        Self::with_outputs([dim, 1], width, depth, activation, seed, device)
    }

    /// A vector field, likewise.
    pub fn field(dim: usize, width: usize, depth: usize, activation: Activation, seed: u64, device: &Device) -> Self {
        Self::with_outputs([dim, dim], width, depth, activation, seed, device)
    }

    fn with_outputs(
        [dim, outputs]: [usize; 2],
        width: usize,
        depth: usize,
        activation: Activation,
        seed: u64,
        device: &Device,
    ) -> Self {
        let mut initializer = Initializer::new(seed, device);
        let widths: Vec<usize> =
            std::iter::once(dim).chain(std::iter::repeat_n(width, depth)).chain([outputs]).collect();
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

    /// The number of values: 1 of a function, d of a vector field.
    pub fn outputs(&self) -> usize {
        self.weights[self.weights.len() - 1].dims()[1]
    }

    /// The parameters, layer by layer: weights, then bias.
    pub fn parameters(&self) -> impl Iterator<Item = Tensor<2>> {
        self.weights.iter().zip(&self.biases).flat_map(|(weight, bias)| [weight.val(), bias.val()])
    }

    /// Whether all parameters are finite.
    pub fn is_finite(&self) -> bool {
        self.parameters().all(|parameter| brenier_measure::to_points(parameter).iter().all(|x| x.is_finite()))
    }

    /// The same in another number type: F32 to train, F64 to evaluate.
    #[must_use]
    pub fn cast(self, dtype: DType) -> Self {
        self.map(&mut Cast(dtype))
    }

    /// `m(x)` and `∇m(x) v` of a vector field; `[n, d], [n, d] -> [n, d], [n, d]`.
    pub fn image_and_derivative(&self, x: Tensor<2>, v: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let along = HyperDual::real(x).with_unit(HyperDual::real(v));
        let (image, derivative) = self.image_at(&along).split();
        (image.real_part(), derivative.real_part())
    }

    /// `h(x)` and `∇h(x)` of a function; `[n, d] -> [n], [n, d]`.
    pub fn value_and_gradient(&self, x: Tensor<2>) -> (Tensor<1>, Tensor<2>) {
        let (value, gradient) = self.at(&HyperDual::real(x));
        (value.real_part().squeeze_dim::<1>(1), gradient.real_part())
    }

    /// All values at hyper-dual points; `[n, d] -> [n, outputs]`.
    pub(super) fn image_at(&self, x: &HyperDual) -> HyperDual {
        self.forward(x).0
    }

    /// The values, the slopes `a'` of all hidden layers, and the weights.
    fn forward(&self, x: &HyperDual) -> (HyperDual, Vec<HyperDual>, Vec<Tensor<2>>) {
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
        let values = z.matmul(last.clone()).plus(biases[hidden.len()].clone());
        (values, slopes, weights)
    }

    /// `h` and `∇h` of a function at hyper-dual points; `[n, d] -> [n, 1], [n, d]`.
    pub(super) fn at(&self, x: &HyperDual) -> (HyperDual, HyperDual) {
        let (value, slopes, weights) = self.forward(x);
        let (last, hidden) = weights.split_last().expect("at least one layer");
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
        let ends = layers.first().zip(layers.last()).map(|(first, last)| (first[0].nrows(), last[0].ncols()));
        let is_function_or_field = ends.is_some_and(|(dim, outputs)| outputs == 1 || outputs == dim);
        if !(is_function_or_field && layers.iter().all(is_layer) && layers.windows(2).all(fits)) {
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
