//! An input-convex network with quadratic and linear skip terms.
//!
//! # Design
//!
//! ```text
//! ψ(y) = ½ε|y|² + ½|Ly|² + c·y + Σ_l o_l·z_l,    z_l = a(u_l),    u_l = W_lᵀz_{l-1} + ½(Q_lᵀy)² + A_lᵀy + b_l
//! ```
//!
//! with `W, o = softplus(free) ≥ 0` and `a = celu`, convex and increasing, is convex for all of its parameters, with curvature at least ε. With
//! `α_l = ∂ψ/∂z_l` (from the last layer to the first) and `J_l = ∂u_l/∂y` (from the first to the last),
//!
//! ```text
//! α_l = o_l + W_{l+1}(α_{l+1} a'_{l+1})             J_l = A_l + Q_l diag(Q_lᵀy) + J_{l-1} diag(a'_{l-1}) W_l
//! ∇ψ  = (LᵀL + εI)y + c + Σ_l A_l(α_l a'_l) + Q_l(α_l a'_l Q_lᵀy)
//! ∇²ψ = LᵀL + εI + Σ_l Q_l diag(α_l a'_l) Q_lᵀ + J_l diag(α_l a''_l) J_lᵀ
//! ```
//!
//! in the number type and on the device of the points, with neither a tape nor a graph: as tensor operations, and on the CPU as
//! tiles that stay in the cache. celu has a jump in its second
//! derivative: ψ is twice differentiable but for a null set, which Newton's method and the semi-dual do not mind; the gradient of log det ∇²ψ by the
//! parameters does.
//!
//! Amos, Xu and Kolter, Input Convex Neural Networks (1609.07152); quadratic skip terms as in Korotin et al. (1909.13082).

mod host;
mod tensors;

use std::sync::OnceLock;

use brenier_measure::elementary::{sigmoid, softplus};
use brenier_measure::linear_algebra::largest_eigenvalue;
use brenier_measure::{Points, Purpose, Stream, to_points, to_tensor};
use burn::tensor::{DType, Device, Tensor, TensorData};
use ndarray::{Array1, Array2, Axis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::host::{HostNetwork, Jet, Kept, Orders};
use self::tensors::TensorNetwork;
use super::conjugate;
use super::free_quadratic::FreeQuadratic;
use super::potential::ConvexPotential;
use crate::real::Real;

/// The sizes of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputConvexShape {
    /// Units of each layer.
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 8192)))]
    pub widths: Vec<usize>,
    /// Whether the first layer has no activation: its units are quadratics, and a single layer is one quadratic.
    pub quadratic_first: bool,
    /// The curvature floor ε.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub floor: f64,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    /// A, `[d, w]`.
    slopes: Array2<f64>,
    /// Q, `[d, w]`.
    squares: Array2<f64>,
    /// b, `[w]`.
    offsets: Array1<f64>,
    /// `softplus⁻¹(W)`, `[w of the layer before, w]`; no rows in the first.
    weights: Array2<f64>,
    /// `softplus⁻¹(o)`, `[w]`.
    heights: Array1<f64>,
}

impl Layer {
    fn arrays(&self) -> [&[f64]; 5] {
        let [slopes, squares, weights] = [&self.slopes, &self.squares, &self.weights].map(|array| array.as_slice());
        let [offsets, heights] = [&self.offsets, &self.heights].map(|array| array.as_slice());
        [slopes, squares, offsets, weights, heights].map(|array| array.expect("row-major"))
    }

    fn count(&self) -> usize {
        self.arrays().into_iter().map(<[f64]>::len).sum()
    }
}

/// An input-convex network. Its parameters are f64 on the host; it is computed where the points are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputConvexNetwork {
    quadratic: FreeQuadratic,
    quadratic_first: bool,
    layers: Vec<Layer>,
}

/// `ln(eᵛ - 1)`.
fn inverse_softplus(v: f64) -> f64 {
    v + (-(-v).exp_m1()).ln()
}

/// The sds of A, Q and b at the start, and the sd of log W.
const SLOPES: f64 = 1.5;
const SQUARES: f64 = 0.5;
const OFFSETS: f64 = 0.7;
const LOG_WEIGHTS: f64 = 0.7;

/// What a layer above the first is moved by: its input is positive on average.
const SHIFT: f64 = -1.0;

/// The share of the mean Hessian that the layers have at the start, on average and at most in any direction.
const SHARE: f64 = 0.5;
const MOST: f64 = 0.9;

/// Points in one pass at the start.
const TILE: usize = 64;

impl InputConvexNetwork {
    /// A network near the identity on points `[n, d]`: with `E∇²ψ = I` and `E∇ψ = E y` over them. Its parameters are functions of the seed.
    ///
    /// # Panics
    ///
    /// Without a point, a layer or a unit.
    pub fn near_identity(shape: &InputConvexShape, points: &Points, seed: u64) -> Self {
        let (n, d) = points.dim();
        assert!(n > 0 && !shape.widths.is_empty() && !shape.widths.contains(&0), "points, and units in every layer");
        let stream = Stream::new(seed, Purpose::Initialization);
        let mut layers: Vec<Layer> = Vec::with_capacity(shape.widths.len());
        for (l, &w) in shape.widths.iter().enumerate() {
            let normals = |k: u64, rows: usize, sd: f64| {
                let mut words = stream.at(l as u64, k);
                Array2::from_shape_simple_fn((rows, w), || sd * words.normal())
            };
            let below = layers.last().map_or(0, |layer| layer.heights.len());
            let scale = 1.0 / (d as f64).sqrt();
            layers.push(Layer {
                slopes: normals(0, d, SLOPES * scale),
                squares: normals(1, d, SQUARES * scale),
                offsets: normals(2, 1, OFFSETS).remove_axis(Axis(0)) + if l > 0 { SHIFT } else { 0.0 },
                weights: normals(3, below, LOG_WEIGHTS).mapv(|v| inverse_softplus(v.exp() / below as f64)),
                heights: Array1::from_elem(w, inverse_softplus(0.5 / w as f64)),
            });
        }
        let floor = shape.floor;
        let bare = FreeQuadratic { factor: Array2::zeros((d, d)), slope: Array1::zeros(d), floor };
        let mut network = Self { quadratic: bare, quadratic_first: shape.quadratic_first, layers };
        let identity = Array2::<f64>::eye(d);
        // What the layers give, less the floor, to its share of the identity.
        let mean = network.mean_hessian(points);
        let of_layers = mean - &identity * floor;
        let (mean, largest) = (of_layers.diag().sum() / d as f64, largest_eigenvalue(&of_layers));
        // No more than leaves a positive quadratic.
        let factor = (SHARE / mean).min(MOST / largest) * (1.0 - floor).max(0.0);
        for layer in &mut network.layers {
            layer.heights.mapv_inplace(|free| inverse_softplus(factor * softplus(free)));
        }
        let rest = &identity - &(of_layers * factor);
        network.quadratic = FreeQuadratic::of_matrix(&rest, Array1::zeros(d), floor);
        let slope = conjugate::gradient(&network.placed(DType::F64, &Device::flex()), points).mean_axis(Axis(0));
        network.quadratic.slope = points.mean_axis(Axis(0)).expect("a point") - slope.expect("a point");
        network
    }

    /// `E∇²ψ` over points, `[d, d]`.
    fn mean_hessian(&self, points: &Points) -> Array2<f64> {
        let (n, d) = points.dim();
        let placed = self.placed(DType::F64, &Device::flex());
        let mut sum = Array2::zeros((d, d));
        for tile in points.axis_chunks_iter(Axis(0), TILE) {
            let hessians = placed.gradient_and_hessian(to_tensor(&tile.to_owned(), DType::F64, &Device::flex())).1;
            sum += &to_points(hessians.sum_dim(0).squeeze_dim::<2>(0));
        }
        sum / n as f64
    }

    /// Whether sizes agree, all numbers are finite, and the floor is positive.
    pub fn is_consistent(&self) -> bool {
        let d = self.quadratic.dim();
        let mut below = 0;
        let mut fits = |layer: &Layer| {
            let w = layer.heights.len();
            let shapes = [layer.slopes.dim(), layer.squares.dim(), (1, layer.offsets.len()), layer.weights.dim()];
            let fits = w > 0 && shapes == [(d, w), (d, w), (1, w), (below, w)];
            below = w;
            fits && layer.arrays().into_iter().flatten().all(|x| x.is_finite())
        };
        self.quadratic.is_consistent() && !self.layers.is_empty() && self.layers.iter().all(&mut fits)
    }

    /// The parameters: c, L, and of every layer A, Q, b, and W and o before the softplus.
    pub fn parameters(&self) -> Vec<f64> {
        let of_layers = self.layers.iter().flat_map(Layer::arrays).flatten().copied();
        self.quadratic.parameters().chain(of_layers).collect()
    }

    /// The network of this shape with these parameters.
    ///
    /// # Panics
    ///
    /// With another number of parameters.
    #[must_use]
    pub fn with_parameters(&self, parameters: &[f64]) -> Self {
        let mut network = self.clone();
        let (quadratic, mut rest) = parameters.split_at(self.quadratic.count());
        network.quadratic = self.quadratic.with_parameters(quadratic);
        for layer in &mut network.layers {
            let own;
            (own, rest) = rest.split_at(layer.count());
            let Layer { slopes, squares, offsets, weights, heights } = layer;
            let all = slopes.iter_mut().chain(squares).chain(offsets).chain(weights).chain(heights);
            all.zip(own).for_each(|(parameter, value)| *parameter = *value);
        }
        assert!(rest.is_empty(), "as many parameters as the network has");
        network
    }

    /// The network in one number type on one device: to be asked often.
    pub fn placed(&self, dtype: DType, device: &Device) -> PlacedNetwork {
        let is_host = *device == Device::flex();
        PlacedNetwork {
            network: self.clone(),
            dtype,
            device: device.clone(),
            host: match dtype {
                DType::F32 if is_host => Host::Single(HostNetwork::new(self)),
                DType::F64 if is_host => Host::Double(HostNetwork::new(self)),
                _ => Host::Elsewhere,
            },
            tensors: OnceLock::new(),
        }
    }

    /// Turns derivatives by W and o into those by what they are the softplus of.
    fn through_softplus(&self, pull: &mut [f64]) {
        let mut rest = &mut pull[self.quadratic.count()..];
        for layer in &self.layers {
            let free = layer.slopes.len() + layer.squares.len() + layer.offsets.len();
            let own;
            (own, rest) = rest.split_at_mut(layer.count());
            let softened = layer.weights.iter().chain(&layer.heights);
            own[free..].iter_mut().zip(softened).for_each(|(pull, &free)| *pull *= sigmoid(free));
        }
    }
}

impl ConvexPotential for InputConvexNetwork {
    fn dim(&self) -> usize {
        self.quadratic.dim()
    }

    fn value(&self, y: Tensor<2>) -> Tensor<1> {
        self.placed(y.dtype(), &y.device()).value(y)
    }

    fn gradient(&self, y: Tensor<2>) -> Tensor<2> {
        self.placed(y.dtype(), &y.device()).gradient(y)
    }

    fn hessian_vector(&self, y: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        TensorNetwork::new(self, y.dtype(), &y.device()).hessian_vector(y, v)
    }

    fn gradient_and_hessian(&self, y: Tensor<2>) -> (Tensor<2>, Tensor<3>) {
        self.placed(y.dtype(), &y.device()).gradient_and_hessian(y)
    }
}

/// An input-convex network in one number type on one device, ready to be asked often at points of that type and device.
pub struct PlacedNetwork {
    network: InputConvexNetwork,
    dtype: DType,
    device: Device,
    host: Host,
    /// For what the CPU is not asked.
    tensors: OnceLock<TensorNetwork>,
}

/// The network on the CPU.
enum Host {
    Single(HostNetwork<f32>),
    Double(HostNetwork<f64>),
    /// It is on another device.
    Elsewhere,
}

const VALUE: Orders = Orders { value: true, gradient: false, hessian: false };
const GRADIENT: Orders = Orders { value: false, gradient: true, hessian: false };

/// The numbers of a tensor of this type.
fn numbers<T: Real, const D: usize>(tensor: Tensor<D>) -> Vec<T> {
    tensor.into_data().convert::<T>().try_to_vec().expect("numbers of this type")
}

impl PlacedNetwork {
    /// The same at points of another type or device.
    fn elsewhere(&self, y: &Tensor<2>) -> Option<&InputConvexNetwork> {
        (y.dtype() != self.dtype || y.device() != self.device).then_some(&self.network)
    }

    fn tensors(&self) -> &TensorNetwork {
        self.tensors.get_or_init(|| TensorNetwork::new(&self.network, self.dtype, &self.device))
    }

    /// A jet on the CPU, one list after the other; none elsewhere.
    fn on_host(&self, y: &Tensor<2>, orders: Orders) -> Option<[TensorData; 3]> {
        fn lists<T: Kept>(network: &HostNetwork<T>, y: &Tensor<2>, orders: Orders) -> [TensorData; 3] {
            let Jet { values, gradients, hessians } = network.jet(&numbers::<T, 2>(y.clone()), orders);
            [values, gradients, hessians].map(|list| {
                let count = list.len();
                TensorData::new(list, [count])
            })
        }
        match &self.host {
            Host::Single(network) => Some(lists(network, y, orders)),
            Host::Double(network) => Some(lists(network, y, orders)),
            Host::Elsewhere => None,
        }
    }

    fn tensor<const D: usize>(&self, list: TensorData, shape: [usize; D]) -> Tensor<D> {
        Tensor::<1>::from_data(list, (&self.device, self.dtype)).reshape(shape)
    }

    /// ψ and ∇ψ; `[n, d] -> [n], [n, d]`.
    pub fn value_and_gradient(&self, y: Tensor<2>) -> (Tensor<1>, Tensor<2>) {
        let [n, d] = y.dims();
        match self.on_host(&y, Orders { value: true, ..GRADIENT }) {
            Some([values, gradients, _]) => (self.tensor(values, [n]), self.tensor(gradients, [n, d])),
            None => self.tensors().value_and_gradient(y),
        }
    }

    /// ψ, ∇ψ and ∇²ψ; `[n, d] -> [n], [n, d], [n, d, d]`.
    pub fn jet(&self, y: Tensor<2>) -> (Tensor<1>, Tensor<2>, Tensor<3>) {
        let [n, d] = y.dims();
        match self.on_host(&y, Orders { value: true, gradient: true, hessian: true }) {
            Some([values, gradients, hessians]) => {
                (self.tensor(values, [n]), self.tensor(gradients, [n, d]), self.tensor(hessians, [n, d, d]))
            }
            None => self.tensors().jet(y),
        }
    }

    /// The gradient of `Σ_i w_i ψ(y_i)` by the parameters, in their order, `[p]`; y `[n, d]`, w `[n]`.
    pub fn pull(&self, y: Tensor<2>, weights: Tensor<1>) -> Vec<f64> {
        let mut pull = match &self.host {
            Host::Single(network) => network.pull(&numbers::<f32, 2>(y), &numbers::<f32, 1>(weights)),
            Host::Double(network) => network.pull(&numbers::<f64, 2>(y), &numbers::<f64, 1>(weights)),
            Host::Elsewhere => self.tensors().pull(y, weights),
        };
        self.network.through_softplus(&mut pull);
        pull
    }
}

impl ConvexPotential for PlacedNetwork {
    fn dim(&self) -> usize {
        self.network.quadratic.dim()
    }

    fn value(&self, y: Tensor<2>) -> Tensor<1> {
        if let Some(network) = self.elsewhere(&y) {
            return network.value(y);
        }
        let [n, _] = y.dims();
        match self.on_host(&y, VALUE) {
            Some([values, ..]) => self.tensor(values, [n]),
            None => self.tensors().value(y),
        }
    }

    fn gradient(&self, y: Tensor<2>) -> Tensor<2> {
        if let Some(network) = self.elsewhere(&y) {
            return network.gradient(y);
        }
        let shape = y.dims();
        match self.on_host(&y, GRADIENT) {
            Some([_, gradients, _]) => self.tensor(gradients, shape),
            None => self.tensors().gradient(y),
        }
    }

    fn hessian_vector(&self, y: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        match self.elsewhere(&y) {
            Some(network) => network.hessian_vector(y, v),
            None => self.tensors().hessian_vector(y, v),
        }
    }

    fn gradient_and_hessian(&self, y: Tensor<2>) -> (Tensor<2>, Tensor<3>) {
        if let Some(network) = self.elsewhere(&y) {
            return network.gradient_and_hessian(y);
        }
        let (_, gradient, hessian) = self.jet(y);
        (gradient, hessian)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parametric::tests::normals;
    use brenier_measure::host_tensor;

    use super::*;

    fn shape(widths: &[usize], quadratic_first: bool) -> InputConvexShape {
        InputConvexShape { widths: widths.to_vec(), quadratic_first, floor: 0.02 }
    }

    fn tensor(points: &Points) -> Tensor<2> {
        to_tensor(points, DType::F64, &Device::flex())
    }

    fn networks() -> Vec<(Points, InputConvexNetwork)> {
        [
            (1, vec![5], false),
            (2, vec![6, 5, 4], true),
            (3, vec![7, 6, 5], false),
            (2, vec![4], true),
            (6, vec![1], false),
        ]
        .into_iter()
        .map(|(d, widths, quadratic_first)| {
            let points = normals(40, d, 3);
            let network = InputConvexNetwork::near_identity(&shape(&widths, quadratic_first), &points, 7);
            (points, network)
        })
        .collect()
    }

    #[test]
    fn derivatives_and_products_are_those_of_differences() {
        for (y, network) in networks() {
            let (n, d) = y.dim();
            let h = 1e-5;
            let (gradients, hessians) = network.gradient_and_hessian(tensor(&y));
            let (gradients, hessians) = (to_points(gradients), to_points(hessians.reshape([n, d * d])));
            assert!((&gradients - &conjugate::gradient(&network, &y)).iter().all(|x| x.abs() < 1e-12));
            for j in 0..d {
                let moved = |by: f64| {
                    let mut y = y.clone();
                    y.column_mut(j).map_inplace(|y| *y += by);
                    y
                };
                let values = [h, -h].map(|by| conjugate::value(&network, &moved(by)));
                let slopes = [h, -h].map(|by| conjugate::gradient(&network, &moved(by)));
                let mut unit = Points::zeros((n, d));
                unit.column_mut(j).fill(1.0);
                let products = to_points(network.hessian_vector(tensor(&y), tensor(&unit)));
                for i in 0..n {
                    let slope = (values[0][i] - values[1][i]) / (2.0 * h);
                    assert!((slope - gradients[[i, j]]).abs() < 1e-7 * (1.0 + slope.abs()));
                    for k in 0..d {
                        let bend = (slopes[0][[i, k]] - slopes[1][[i, k]]) / (2.0 * h);
                        assert!((bend - hessians[[i, j * d + k]]).abs() < 1e-6 * (1.0 + bend.abs()));
                        assert!((products[[i, k]] - hessians[[i, j * d + k]]).abs() < 1e-12);
                    }
                }
            }
        }
    }

    #[test]
    fn the_pull_at_parameters_is_that_of_differences() {
        for (y, network) in networks() {
            let n = y.nrows();
            // Weights of both signs, as a difference of two means has.
            let weights: Vec<f64> = (0..n).map(|i| if i % 3 == 0 { -0.05 } else { 0.02 }).collect();
            let placed = network.placed(DType::F64, &Device::flex());
            let pull = placed.pull(tensor(&y), host_tensor(weights.clone(), [n], DType::F64, &Device::flex()));
            let parameters = network.parameters();
            assert_eq!(pull.len(), parameters.len());
            assert_eq!(network.with_parameters(&parameters), network);
            let (h, size) = (1e-5, pull.iter().map(|x| x * x).sum::<f64>().sqrt());
            for (k, found) in pull.into_iter().enumerate() {
                let at = |by: f64| {
                    let mut moved = parameters.clone();
                    moved[k] += by;
                    let values = conjugate::value(&network.with_parameters(&moved), &y);
                    values.iter().zip(&weights).map(|(value, weight)| value * weight).sum::<f64>()
                };
                let difference = (at(h) - at(-h)) / (2.0 * h);
                assert!((found - difference).abs() < 1e-7 * (1.0 + size), "parameter {k}: {found} and {difference}");
            }
        }
    }

    #[test]
    fn it_starts_near_the_identity_and_stays_convex_for_all_parameters() {
        for (y, network) in networks() {
            let d = y.ncols();
            let slope = conjugate::gradient(&network, &y).mean_axis(Axis(0)).unwrap();
            let hessian = network.mean_hessian(&y);
            assert!((slope - y.mean_axis(Axis(0)).unwrap()).iter().all(|x| x.abs() < 1e-10));
            assert!((hessian - Array2::<f64>::eye(d)).iter().all(|x| x.abs() < 1e-10));
            assert!(network.is_consistent());
            let moved: Vec<f64> =
                network.parameters().into_iter().enumerate().map(|(k, x)| x + 3.0 * (k as f64).sin()).collect();
            let (_, hessians) = network.with_parameters(&moved).gradient_and_hessian(tensor(&y));
            let hessians = to_points(hessians.reshape([y.nrows(), d * d]));
            for row in hessians.rows() {
                let matrix = row.to_owned().into_shape_with_order((d, d)).unwrap();
                let least = -brenier_measure::linear_algebra::largest_eigenvalue(&-matrix);
                assert!(least > 0.02 - 1e-9, "{least}");
            }
        }
    }

    #[test]
    fn tiles_on_the_cpu_agree_with_tensor_operations() {
        let mut all = networks();
        // More than a tile, and a last one that is short.
        let many = normals(150, 5, 2);
        all.push((many.clone(), InputConvexNetwork::near_identity(&shape(&[20, 17, 9], false), &many, 3)));
        for (y, network) in all {
            let (n, d) = y.dim();
            let plain = TensorNetwork::new(&network, DType::F64, &Device::flex());
            let placed = network.placed(DType::F64, &Device::flex());
            let close = |a: &[f64], b: &[f64]| {
                let size = b.iter().map(|x| x * x).sum::<f64>().sqrt();
                let off = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
                assert!(a.len() == b.len() && off < 1e-12 * size, "{off} of {size}");
            };
            let ((value, gradient, hessian), (v, g, h)) = (placed.jet(tensor(&y)), plain.jet(tensor(&y)));
            close(&numbers::<f64, 1>(value), &numbers::<f64, 1>(v.clone()));
            close(&numbers::<f64, 1>(placed.value(tensor(&y))), &numbers::<f64, 1>(v));
            close(&numbers::<f64, 2>(gradient), &numbers::<f64, 2>(g));
            close(&numbers::<f64, 3>(hessian), &numbers::<f64, 3>(h));
            let weights: Vec<f64> = (0..n).map(|i| 1.0 - 0.7 * (i % 4) as f64).collect();
            let weights = host_tensor(weights, [n], DType::F64, &Device::flex());
            let mut pull = plain.pull(tensor(&y), weights.clone());
            network.through_softplus(&mut pull);
            close(&placed.pull(tensor(&y), weights), &pull);
            assert!(d < 7);
        }
    }

    #[test]
    fn single_precision_agrees_and_a_stored_network_is_the_same() {
        let (y, network) = networks().remove(2);
        let single = network.gradient(to_tensor(&y, DType::F32, &Device::flex()));
        assert_eq!(single.dtype(), DType::F32);
        let double = conjugate::gradient(&network, &y);
        let size = double.iter().map(|x| x * x).sum::<f64>().sqrt();
        let off = (to_points(single) - &double).iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!(off < 1e-5 * size, "{off}");
        let stored: InputConvexNetwork = serde_json::from_slice(&serde_json::to_vec(&network).unwrap()).unwrap();
        assert_eq!(stored, network);
        let mut broken = network.clone();
        broken.layers[1].weights = Array2::zeros((2, 6));
        assert!(!broken.is_consistent());
    }
}
