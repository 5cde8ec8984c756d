//! The network against reverse mode, closed forms and differences.

use brenier_measure::linear_algebra::symmetric_eigen;
use brenier_measure::{Points, Purpose, Stream, to_tensor};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor};
use ndarray::{Array1, Array2, array};

use super::*;
use crate::activation::Activation;
use crate::monge_ampere::{Inversion, Mlp, RidgeFunction, Ridges};

fn normals(n: usize, d: usize, seed: u64) -> Points {
    let stream = Stream::new(seed, Purpose::Batch);
    Points::from_shape_fn((n, d), |(i, j)| stream.at(j as u64, i as u64).normal())
}

fn tensor(points: &Points, dtype: DType, device: &Device) -> Tensor<2> {
    to_tensor(points, dtype, device)
}

/// Ridges of several widths and heights, some of them 0, on top of a curvature.
fn ridges(d: usize, curvature: f64) -> RidgeFunction {
    let mut directions = normals(4, d, 9);
    for mut row in directions.rows_mut() {
        let norm = row.dot(&row).sqrt();
        row /= norm;
    }
    let ridges =
        Ridges { directions, knots: normals(4, 2, 10), widths: normals(4, 2, 11).mapv(|z| 0.5 + z * z), floor: 0.1 };
    let mut coefficients: Vec<f64> = normals(1, ridges.count(), 12).iter().map(|z| 0.1 * z * z).collect();
    *coefficients.last_mut().unwrap() = 0.0;
    RidgeFunction { ridges, coefficients, curvature, constant: 0.4 }
}

/// Biases that start at 0 get other values.
struct Shake;

impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        parameter.map(|tensor| {
            let trained = tensor.is_require_grad();
            let [first, last] = [tensor.dims()[0], tensor.dims()[1]].map(|n| n as f64);
            (tensor + 0.1 / first - 0.03 / last).detach().set_require_grad(trained)
        })
    }
}

fn mlp(d: usize, seed: u64, dtype: DType, device: &Device) -> Mlp {
    Mlp::new(d, 8, 2, Activation::Silu, seed, device).map(&mut Shake).cast(dtype)
}

fn quadratic(d: usize) -> Quadratic {
    let b = normals(d, d, 7);
    Quadratic::new(b, Array1::from_iter(normals(1, d, 8)), 0.3)
}

/// One to four stages: a perceptron first, and further ones among features and a quadratic.
fn stack(d: usize, stages: usize, dtype: DType, device: &Device) -> ResidualNetwork {
    let base = ResidualNetwork::new(SmoothFunction::Ridges(ridges(d, 1.0)));
    let function = |k: usize| match k {
        0 | 3 => SmoothFunction::Mlp(mlp(d, k as u64, dtype, device)),
        1 => SmoothFunction::Ridges(ridges(d, 0.0)),
        _ => SmoothFunction::Quadratic(quadratic(d)),
    };
    (0..stages).fold(base, |network, k| network.with_stage(0.2 / (k + 1) as f64, function(k)).unwrap())
}

fn largest<const D: usize>(x: Tensor<D>) -> f64 {
    x.abs().max().into_scalar()
}

#[test]
fn nested_derivatives_are_those_of_reverse_mode() {
    let device = Device::flex().autodiff();
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-10)] {
        for stages in 1..=4 {
            let network = stack(3, stages, dtype, &device);
            let y = tensor(&normals(16, 3, 1), dtype, &device).require_grad();
            let v = tensor(&normals(16, 3, 2), dtype, &device);
            let reverse = y.grad(&network.value(y.clone()).sum().backward()).unwrap();
            let (image, product) = network.gradient_and_product(y.clone(), v.clone());
            let defect = largest(reverse.clone() - image.clone().inner()) / largest(reverse);
            assert!(defect < tolerance, "∇ψ, {stages} stages, {dtype:?}: {defect}");
            // ∇²ψ is symmetric, so that reverse mode of v·∇ψ is ∇²ψ v.
            let reverse = y.grad(&(image * v.clone()).sum().backward()).unwrap();
            let defect = largest(reverse.clone() - product.inner()) / largest(reverse);
            assert!(defect < tolerance, "∇²ψ v, {stages} stages, {dtype:?}: {defect}");
        }
    }
}

#[test]
fn the_jacobian_is_symmetric_and_agrees_with_its_parts() {
    let device = Device::flex();
    for stages in 0..=4 {
        let network = stack(3, stages, DType::F64, &device);
        let [y, v] = [1, 2].map(|seed| tensor(&normals(7, 3, seed), DType::F64, &device));
        let (gradient, hessian) = network.gradient_and_hessian(y.clone());
        assert!(largest(gradient - network.gradient(y.clone())) < 1e-12);
        let product = hessian.clone().matmul(v.clone().unsqueeze_dim::<3>(2)).squeeze_dim::<2>(2);
        assert!(largest(product - network.hessian_vector(y.clone(), v)) < 1e-12);
        assert!(largest(hessian.clone() - hessian.clone().swap_dims(1, 2)) < 1e-12);
        let log_det = network.gradient_and_log_det(y).1;
        let entries: Vec<f64> = hessian.into_data().try_to_vec().unwrap();
        for (log_det, entries) in log_det.iter().zip(entries.chunks(9)) {
            let matrix = Array2::from_shape_vec((3, 3), entries.to_vec()).unwrap();
            let eigenvalues = symmetric_eigen(&matrix).unwrap().values;
            let exact: f64 = eigenvalues.iter().map(|l| l.ln()).sum();
            assert!((log_det - exact).abs() < 1e-11 || (log_det.is_nan() && eigenvalues[0] <= 0.0), "{eigenvalues:?}");
        }
    }
}

/// Adds to the first entry of one parameter, in the order of traversal.
struct Move {
    parameter: usize,
    by: f64,
}

impl ModuleMapper for Move {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let here = self.parameter == 0;
        self.parameter = self.parameter.wrapping_sub(1);
        parameter.map(|tensor| {
            let mut values: Vec<f64> = tensor.clone().into_data().try_to_vec().unwrap();
            if here {
                values[0] += self.by;
            }
            let data = burn::tensor::TensorData::new(values, tensor.dims());
            Tensor::from_data(data, (&tensor.device(), DType::F64)).require_grad()
        })
    }
}

#[test]
fn reverse_mode_trains_through_the_stack() {
    let device = Device::flex().autodiff();
    let y = tensor(&normals(5, 2, 1), DType::F64, &device);
    let first = mlp(2, 0, DType::F64, &device);
    let loss = |first: &Mlp| {
        let base = ResidualNetwork::new(SmoothFunction::Ridges(ridges(2, 1.0)));
        let network = base.with_stage(0.2, SmoothFunction::Mlp(first.clone())).unwrap();
        let second = SmoothFunction::Mlp(mlp(2, 3, DType::F64, &device));
        let (gradient, hessian) = network.with_stage(0.1, second).unwrap().gradient_and_hessian(y.clone());
        gradient.square().sum() + hessian.square().sum()
    };
    let gradients = loss(&first).backward();
    // The parameters in the order in which a mapper meets them: all weights, then all biases.
    let parameters: Vec<Tensor<2>> = first.parameters().collect();
    let order = [0, 2, 4, 1, 3, 5];
    let h = 1e-5;
    for (parameter, &place) in order.iter().enumerate() {
        let exact: f64 = match parameters[place].grad(&gradients) {
            Some(gradient) => gradient.into_data().try_to_vec::<f64>().unwrap()[0],
            None => 0.0,
        };
        let moved = |by: f64| -> f64 { loss(&first.clone().map(&mut Move { parameter, by })).into_scalar() };
        let difference = (moved(h) - moved(-h)) / (2.0 * h);
        assert!((difference - exact).abs() < 1e-7 * exact.abs().max(1.0), "{parameter}: {difference} against {exact}");
        // The last bias is the constant of h, on which no derivative depends.
        assert_eq!(exact == 0.0, place == 5, "{parameter}");
    }
}

#[test]
fn quadratic_stages_are_one_quadratic() {
    let device = Device::flex();
    let base = Quadratic::new(array![[1.3, 0.2], [0.2, 0.9]], array![0.4, -0.1], 0.2);
    let network = ResidualNetwork::new(SmoothFunction::Quadratic(base))
        .with_stage(0.1, SmoothFunction::Quadratic(quadratic(2)))
        .unwrap()
        .with_stage(0.2, SmoothFunction::Quadratic(quadratic(2)))
        .unwrap();
    let one = ResidualNetwork::new(SmoothFunction::Quadratic(network.as_quadratic().unwrap()));
    let y = tensor(&normals(9, 2, 0), DType::F64, &device);
    assert!(largest(network.value(y.clone()) - one.value(y.clone())) < 1e-13);
    let [(x, hessian), (same, constant)] = [&network, &one].map(|network| network.gradient_and_hessian(y.clone()));
    assert!(largest(x - same) < 1e-13 && largest(hessian - constant) < 1e-13);
    assert_eq!(stack(2, 1, DType::F64, &device).as_quadratic(), None);
    // A step too far folds the map, and there is no density.
    let identity = || SmoothFunction::Quadratic(Quadratic::identity(2));
    let folded = ResidualNetwork::new(identity()).with_stage(1.5, identity()).unwrap();
    assert!(folded.gradient_and_log_det(y).1.iter().all(|log_det| log_det.is_nan()));
}

#[test]
fn a_network_is_the_same_after_it_was_stored() {
    let device = Device::flex();
    let y = tensor(&normals(4, 2, 0), DType::F64, &device);
    for dtype in [DType::F32, DType::F64] {
        let network = stack(2, 4, dtype, &device);
        let text = serde_json::to_string(&network).unwrap();
        let stored: ResidualNetwork = serde_json::from_str(&text).unwrap();
        assert!(stored.is_consistent());
        assert_eq!(serde_json::to_string(&stored).unwrap(), text);
        assert_eq!(largest(stored.gradient(y.clone()) - network.gradient(y.clone())), 0.0);
        let mut value = serde_json::to_value(&network).unwrap();
        value["stages"][0]["function"]["mlp"]["layers"].as_array_mut().unwrap().pop();
        let error = serde_json::from_value::<ResidualNetwork>(value).unwrap_err().to_string();
        assert!(error.contains("do not fit together"), "{error}");
    }
}

#[test]
fn a_fifth_stage_is_refused_with_what_to_do_instead() {
    let network = stack(1, LARGEST_STACK, DType::F64, &Device::flex());
    let error = network.with_stage(0.1, SmoothFunction::Quadratic(Quadratic::identity(1))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "5 stages are too many to compose exactly: each of them multiplies the cost of the next, and 4 is the limit. Fit the stack \
         into one potential every few stages (`rebase.every`), or take `coordinates: \"dual\"`, where stages add up"
    );
}

#[test]
fn a_step_in_primal_and_in_dual_coordinates_differ_by_its_square() {
    let device = Device::flex();
    let identity = || ResidualNetwork::new(SmoothFunction::Quadratic(Quadratic::identity(2)));
    let h = || SmoothFunction::Mlp(mlp(2, 3, DType::F64, &device));
    let y = normals(40, 2, 5);
    let difference = |eta: f64| {
        let psi = identity().with_stage(eta, h()).unwrap();
        // φ = ½|x|² + ηh.
        let phi = identity().with_stage(-eta, h()).unwrap();
        let inverse = Inversion { tolerance: 1e-13, steps: 100 }.solve(&phi, &y, &y).points;
        largest(psi.gradient(tensor(&y, DType::F64, &device)) - tensor(&inverse, DType::F64, &device))
    };
    let order = (difference(0.04) / difference(0.02)).log2();
    assert!((order - 2.0).abs() < 0.15, "{order}");
}
