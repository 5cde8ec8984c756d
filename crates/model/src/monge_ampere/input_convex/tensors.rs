//! An input-convex network as tensor operations, for every device.

use brenier_measure::{host_tensor, to_tensor, to_values};
use burn::tensor::{DType, Device, Tensor};
use ndarray::Array2;

use super::InputConvexNetwork;
use crate::monge_ampere::potential::ConvexPotential;
use brenier_measure::elementary::softplus;

/// The network in one number type on one device; it is asked at points of that type and device.
#[derive(Debug, Clone)]
pub struct TensorNetwork {
    /// `LᵀL + εI`, `[d, d]`.
    matrix: Tensor<2>,
    /// L, `[d, d]`.
    factor: Tensor<2>,
    /// c, `[1, d]`.
    slope: Tensor<2>,
    layers: Vec<TensorLayer>,
}

#[derive(Debug, Clone)]
struct TensorLayer {
    slopes: Tensor<2>,
    squares: Tensor<2>,
    offsets: Tensor<2>,
    weights: Option<Tensor<2>>,
    heights: Tensor<2>,
    is_quadratic: bool,
}

/// A layer at points.
struct Units {
    /// `Qᵀy`, `[n, w]`.
    products: Tensor<2>,
    /// z, `[n, w]`.
    values: Tensor<2>,
    /// `a'`, `[n, w]`; 1 of a quadratic layer.
    bends: Option<Bends>,
}

/// The derivatives of an activation.
struct Bends {
    slopes: Tensor<2>,
    curvatures: Tensor<2>,
}

/// `celu(u) = max(u, 0) + exp(min(u, 0)) - 1`, with its derivative, which is the exponential, and the second one.
fn celu(u: Tensor<2>) -> (Tensor<2>, Bends) {
    let slopes = u.clone().clamp_max(0.0).exp();
    let values = u.clone().clamp_min(0.0) + slopes.clone() - 1.0;
    let curvatures = slopes.clone().mask_fill(u.greater_elem(0.0), 0.0);
    (values, Bends { slopes, curvatures })
}

impl Units {
    /// `s a'`.
    fn times_slopes(&self, s: Tensor<2>) -> Tensor<2> {
        match &self.bends {
            Some(bends) => s * bends.slopes.clone(),
            None => s.expand(self.values.dims()),
        }
    }
}

impl TensorNetwork {
    /// The network as tensors.
    pub fn new(network: &InputConvexNetwork, dtype: DType, device: &Device) -> Self {
        let matrix = |values: &Array2<f64>| to_tensor(values, dtype, device);
        let row = |values: Vec<f64>| {
            let w = values.len();
            host_tensor(values, [1, w], dtype, device)
        };
        let layers = network.layers.iter().enumerate().map(|(l, layer)| TensorLayer {
            slopes: matrix(&layer.slopes),
            squares: matrix(&layer.squares),
            offsets: row(layer.offsets.to_vec()),
            weights: (l > 0).then(|| matrix(&layer.weights.mapv(softplus))),
            heights: row(layer.heights.iter().map(|&free| softplus(free)).collect()),
            is_quadratic: l == 0 && network.quadratic_first,
        });
        Self {
            matrix: matrix(&network.quadratic.matrix()),
            factor: matrix(&network.quadratic.factor),
            slope: row(network.quadratic.slope.to_vec()),
            layers: layers.collect(),
        }
    }

    fn forward(&self, y: &Tensor<2>) -> Vec<Units> {
        let mut all: Vec<Units> = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let products = y.clone().matmul(layer.squares.clone());
            let mut u =
                products.clone().square() * 0.5 + y.clone().matmul(layer.slopes.clone()) + layer.offsets.clone();
            if let (Some(weights), Some(below)) = (&layer.weights, all.last()) {
                u = u + below.values.clone().matmul(weights.clone());
            }
            all.push(if layer.is_quadratic {
                Units { products, values: u, bends: None }
            } else {
                let (values, bends) = celu(u);
                Units { products, values, bends: Some(bends) }
            });
        }
        all
    }

    /// `α a'` of every layer, `[n, w]`, and α where it is not the same at every point.
    fn backward(&self, units: &[Units]) -> Vec<Adjoint> {
        let mut all: Vec<Adjoint> = Vec::with_capacity(units.len());
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let alpha = match all.last() {
                None => layer.heights.clone(),
                Some(above) => {
                    let weights = self.layers[l + 1].weights.clone().expect("a layer above another");
                    above.by_input.clone().matmul(weights.transpose()) + layer.heights.clone()
                }
            };
            all.push(Adjoint { by_input: units[l].times_slopes(alpha.clone()), by_value: alpha });
        }
        all.reverse();
        all
    }

    fn gradient_of(&self, y: Tensor<2>, units: &[Units], adjoints: &[Adjoint]) -> Tensor<2> {
        let mut gradient = y.matmul(self.matrix.clone()) + self.slope.clone();
        for ((layer, units), adjoint) in self.layers.iter().zip(units).zip(adjoints) {
            let along = adjoint.by_input.clone() * units.products.clone();
            gradient = gradient
                + adjoint.by_input.clone().matmul(layer.slopes.clone().transpose())
                + along.matmul(layer.squares.clone().transpose());
        }
        gradient
    }

    fn value_of(&self, y: Tensor<2>, units: &[Units]) -> Tensor<1> {
        let quadratic = y.clone().matmul(self.matrix.clone()) * 0.5 + self.slope.clone();
        let mut value = (quadratic * y).sum_dim(1);
        for (layer, units) in self.layers.iter().zip(units) {
            value = value + units.values.clone().matmul(layer.heights.clone().transpose());
        }
        value.squeeze_dim::<1>(1)
    }

    fn hessian_of(&self, n: usize, units: &[Units], adjoints: &[Adjoint]) -> Tensor<3> {
        let d = self.slope.dims()[1];
        let mut hessian = self.matrix.clone().reshape([1, d, d]).expand([n, d, d]);
        let mut below: Option<Tensor<3>> = None;
        for (l, (layer, units_of)) in self.layers.iter().zip(units).enumerate() {
            let w = layer.heights.dims()[1];
            // Q_i Q_jᵀ as one row for every pair of coordinates.
            let pairs = (layer.squares.clone().reshape([d, 1, w]) * layer.squares.clone().reshape([1, d, w]))
                .reshape([d * d, w]);
            hessian = hessian + adjoints[l].by_input.clone().matmul(pairs.transpose()).reshape([n, d, d]);
            let mut jacobian = units_of.products.clone().reshape([n, 1, w]) * layer.squares.clone().reshape([1, d, w])
                + layer.slopes.clone().reshape([1, d, w]);
            if let (Some(weights), Some(below)) = (&layer.weights, below.take()) {
                let [_, _, v] = below.dims();
                let below = match &units[l - 1].bends {
                    Some(bends) => below * bends.slopes.clone().reshape([n, 1, v]),
                    None => below,
                };
                jacobian = jacobian + below.reshape([n * d, v]).matmul(weights.clone()).reshape([n, d, w]);
            }
            if let Some(bends) = &units_of.bends {
                let scale = (adjoints[l].by_value.clone() * bends.curvatures.clone()).reshape([n, 1, w]);
                hessian = hessian + (jacobian.clone() * scale).matmul(jacobian.clone().swap_dims(1, 2));
            }
            below = Some(jacobian);
        }
        hessian
    }

    /// ψ and ∇ψ; `[n, d] -> [n], [n, d]`.
    pub fn value_and_gradient(&self, y: Tensor<2>) -> (Tensor<1>, Tensor<2>) {
        let units = self.forward(&y);
        let adjoints = self.backward(&units);
        (self.value_of(y.clone(), &units), self.gradient_of(y, &units, &adjoints))
    }

    /// ψ, ∇ψ and ∇²ψ; `[n, d] -> [n], [n, d], [n, d, d]`.
    pub fn jet(&self, y: Tensor<2>) -> (Tensor<1>, Tensor<2>, Tensor<3>) {
        let units = self.forward(&y);
        let adjoints = self.backward(&units);
        let hessian = self.hessian_of(y.dims()[0], &units, &adjoints);
        (self.value_of(y.clone(), &units), self.gradient_of(y, &units, &adjoints), hessian)
    }

    /// The gradient of `Σ_i w_i ψ(y_i)` by the parameters after the softplus, in their order, `[p]`; y `[n, d]`, w `[n]`.
    pub fn pull(&self, y: Tensor<2>, weights: Tensor<1>) -> Vec<f64> {
        let units = self.forward(&y);
        let adjoints = self.backward(&units);
        let weights = weights.unsqueeze_dim::<2>(1);
        let flat = |tensor: Tensor<2>| {
            let [rows, columns] = tensor.dims();
            tensor.reshape([rows * columns])
        };
        let weighted = y.clone() * weights.clone();
        let mut parts = vec![
            flat(weighted.clone().sum_dim(0)),
            flat(self.factor.clone().matmul(y.clone().transpose().matmul(weighted))),
        ];
        let transposed = y.transpose();
        for (l, (units_of, adjoint)) in units.iter().zip(adjoints).enumerate() {
            let by_input = adjoint.by_input * weights.clone();
            parts.push(flat(transposed.clone().matmul(by_input.clone())));
            parts.push(flat(transposed.clone().matmul(by_input.clone() * units_of.products.clone())));
            parts.push(flat(by_input.clone().sum_dim(0)));
            if l > 0 {
                parts.push(flat(units[l - 1].values.clone().transpose().matmul(by_input)));
            }
            parts.push(flat(weights.clone().transpose().matmul(units_of.values.clone())));
        }
        to_values(Tensor::cat(parts, 0))
    }
}

/// `α` and `α a'` of a layer.
struct Adjoint {
    by_value: Tensor<2>,
    by_input: Tensor<2>,
}

impl ConvexPotential for TensorNetwork {
    fn dim(&self) -> usize {
        self.slope.dims()[1]
    }

    fn value(&self, y: Tensor<2>) -> Tensor<1> {
        let units = self.forward(&y);
        self.value_of(y, &units)
    }

    fn gradient(&self, y: Tensor<2>) -> Tensor<2> {
        let units = self.forward(&y);
        let adjoints = self.backward(&units);
        self.gradient_of(y, &units, &adjoints)
    }

    /// `t_l = J_lᵀv` from the first layer to the last, `J_l r` from the last to the first: no Hessian is formed.
    fn hessian_vector(&self, y: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let units = self.forward(&y);
        let adjoints = self.backward(&units);
        let mut product = v.clone().matmul(self.matrix.clone());
        let mut tangents: Vec<Tensor<2>> = Vec::with_capacity(units.len());
        for (l, (layer, units_of)) in self.layers.iter().zip(&units).enumerate() {
            let along = v.clone().matmul(layer.squares.clone());
            product =
                product + (adjoints[l].by_input.clone() * along.clone()).matmul(layer.squares.clone().transpose());
            let mut tangent = v.clone().matmul(layer.slopes.clone()) + units_of.products.clone() * along;
            if let (Some(weights), Some(below)) = (&layer.weights, tangents.last()) {
                tangent = tangent + units[l - 1].times_slopes(below.clone()).matmul(weights.clone());
            }
            tangents.push(tangent);
        }
        let mut above: Option<Tensor<2>> = None;
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let own = units[l]
                .bends
                .as_ref()
                .map(|bends| adjoints[l].by_value.clone() * bends.curvatures.clone() * tangents[l].clone());
            let from_above = above.take().map(|r| {
                let weights = self.layers[l + 1].weights.clone().expect("a layer above another");
                units[l].times_slopes(r.matmul(weights.transpose()))
            });
            let Some(r) = own.into_iter().chain(from_above).reduce(|a, b| a + b) else { continue };
            product = product
                + r.clone().matmul(layer.slopes.clone().transpose())
                + (r.clone() * units[l].products.clone()).matmul(layer.squares.clone().transpose());
            above = Some(r);
        }
        product
    }

    fn gradient_and_hessian(&self, y: Tensor<2>) -> (Tensor<2>, Tensor<3>) {
        let (_, gradient, hessian) = self.jet(y);
        (gradient, hessian)
    }
}
