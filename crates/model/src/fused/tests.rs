//! Every layer against what it is composed of, against differences, and against itself on other threads.

use brenier_measure::{Purpose, Stream};
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::*;

const ALL: [Activation; 5] =
    [Activation::Silu, Activation::Gelu, Activation::Tanh, Activation::Relu, Activation::Softplus];

/// Normals of a seed, `[rows, columns]`, times a scale.
fn normal(seed: u64, [rows, columns]: [usize; 2], scale: f64) -> TensorData {
    let mut values = vec![0.0; rows * columns];
    Stream::new(seed, Purpose::Noise).at(0, 0).fill_normal(&mut values);
    values.iter_mut().for_each(|z| *z *= scale);
    TensorData::new(values, [rows, columns])
}

/// A layer, and what it is composed of.
#[derive(Debug, Clone, Copy)]
enum Layer {
    Activate(Activation),
    Block(Activation),
    Linear,
    Blend,
    Squares,
}

fn layers() -> impl Iterator<Item = Layer> {
    let others = [Layer::Linear, Layer::Blend, Layer::Squares];
    ALL.into_iter().map(Layer::Activate).chain(ALL.into_iter().map(Layer::Block)).chain(others)
}

/// What the squares take besides their one operand.
fn constants(s: &Tensor<2>) -> (Tensor<1>, Tensor<2>, Tensor<1>) {
    let ([n, d], options) = (s.dims(), (&s.device(), s.dtype()));
    let of = |seed, shape| Tensor::<2>::from_data(normal(seed, shape, 1.0), options);
    (of(20, [n, 1]).squeeze_dim(1), of(21, [n, d]), of(22, [n, 1]).abs().squeeze_dim(1))
}

impl Layer {
    /// Operands that fill neither the last tile nor the last panel.
    fn operands(self, n: usize) -> Vec<TensorData> {
        let (width, embedding, m) = (150, 7, 37);
        let shapes: &[([usize; 2], f64)] = match self {
            Self::Activate(_) => &[([n, width], 2.0)],
            Self::Block(_) => &[
                ([n, width], 1.0),
                ([n, embedding], 0.5),
                ([width, width], 0.1),
                ([embedding, width], 1.0),
                ([embedding, width], 1.0),
                ([width, width], 0.1),
            ],
            Self::Linear => &[
                ([n, width], 1.0),
                ([n, embedding], 0.5),
                ([embedding, width], 1.0),
                ([width, m], 0.1),
                ([embedding, m], 1.0),
            ],
            Self::Blend => &[([n, width], 1.0), ([n, 1], 1.0), ([n, width], 1.0), ([n, 1], 1.0)],
            Self::Squares => &[([n, width], 1.0)],
        };
        shapes.iter().enumerate().map(|(i, &(shape, scale))| normal(i as u64, shape, scale)).collect()
    }

    fn fused(self, x: &[Tensor<2>]) -> Tensor<2> {
        let x = |i: usize| x[i].clone();
        match self {
            Self::Activate(activation) => activate(x(0), activation),
            Self::Block(activation) => {
                let weights = BlockWeights { inner: x(2), gain: x(3), shift: x(4), outer: x(5) };
                modulated_block(x(0), x(1), weights, activation)
            }
            Self::Linear => modulated_linear(x(0), x(1), x(2), x(3), x(4)),
            Self::Blend => blend(x(0), x(1), x(2), x(3)),
            Self::Squares => {
                let (b, z, w) = constants(&x(0));
                weighted_squares(x(0), b, z, w).unsqueeze_dim(1)
            }
        }
    }

    fn composed(self, x: &[Tensor<2>]) -> Tensor<2> {
        let x = |i: usize| x[i].clone();
        match self {
            Self::Activate(activation) => activation.compose(x(0)),
            Self::Block(activation) => {
                let z = x(0).matmul(x(2)) * x(1).matmul(x(3)) + x(1).matmul(x(4));
                x(0) + activation.compose(z).matmul(x(5))
            }
            Self::Linear => (x(0) * x(1).matmul(x(2))).matmul(x(3)) + x(1).matmul(x(4)),
            Self::Blend => x(0) * x(1) + x(2) * x(3),
            Self::Squares => {
                let (b, z, w) = constants(&x(0));
                (x(0) * b.unsqueeze_dim(1) + z).square().mean_dim(1) * w.unsqueeze_dim::<2>(1)
            }
        }
    }
}

fn placed(operands: &[TensorData], dtype: DType, device: &Device) -> Vec<Tensor<2>> {
    operands.iter().map(|data| Tensor::from_data(data.clone(), (device, dtype))).collect()
}

/// The value, and the derivatives of its product with fixed numbers by every operand.
fn with_gradients(
    layer: Layer,
    operands: &[TensorData],
    dtype: DType,
    function: impl Fn(Layer, &[Tensor<2>]) -> Tensor<2>,
) -> Vec<Tensor<2>> {
    let device = Device::flex().autodiff();
    let x: Vec<Tensor<2>> = placed(operands, dtype, &device).into_iter().map(Tensor::require_grad).collect();
    let y = function(layer, &x);
    let weights = Tensor::from_data(normal(99, y.dims(), 1.0), (&device, dtype));
    let gradients = (y.clone() * weights).sum().backward();
    let derivatives = x.iter().map(|x| x.grad(&gradients).expect("every operand is a leaf of the product"));
    std::iter::once(y.inner()).chain(derivatives).collect()
}

/// The norm of a difference over that of the second.
fn relative(a: &Tensor<2>, b: &Tensor<2>) -> f64 {
    let norm = |x: Tensor<2>| -> f64 { x.cast(DType::F64).square().sum().sqrt().into_scalar() };
    norm(a.clone().cast(DType::F64) - b.clone().cast(DType::F64)) / norm(b.clone())
}

#[test]
fn a_layer_is_what_it_is_composed_of() {
    for layer in layers() {
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
            // The last tile has 44 rows, then one.
            for n in [300, 257] {
                let operands = layer.operands(n);
                let fused = with_gradients(layer, &operands, dtype, Layer::fused);
                let composed = with_gradients(layer, &operands, dtype, Layer::composed);
                for (i, (a, b)) in fused.iter().zip(&composed).enumerate() {
                    assert_eq!(a.dims(), b.dims());
                    let defect = relative(a, b);
                    assert!(defect < tolerance, "{layer:?}, {dtype:?}, derivative {i}: {defect:e}");
                }
                let untracked = layer.fused(&placed(&operands, dtype, &Device::flex()));
                assert!(relative(&untracked, &composed[0]) < tolerance, "{layer:?}, {dtype:?}");
            }
        }
    }
}

#[test]
fn derivatives_are_those_of_differences() {
    let h = 1e-5;
    for layer in
        layers().filter(|layer| !matches!(layer, Layer::Activate(Activation::Relu) | Layer::Block(Activation::Relu)))
    {
        let operands = layer.operands(9);
        let found = with_gradients(layer, &operands, DType::F64, Layer::fused);
        let x = placed(&operands, DType::F64, &Device::flex());
        let along = |i: usize, step: f64| -> f64 {
            let mut moved = x.clone();
            let direction = Tensor::from_data(normal(50, x[i].dims(), 1.0), (&Device::flex(), DType::F64));
            moved[i] = moved[i].clone() + direction * step;
            let y = layer.fused(&moved);
            let weights = Tensor::from_data(normal(99, y.dims(), 1.0), (&Device::flex(), DType::F64));
            (y * weights).sum().into_scalar()
        };
        for i in 0..x.len() {
            let difference = (along(i, h) - along(i, -h)) / (2.0 * h);
            let direction = Tensor::from_data(normal(50, x[i].dims(), 1.0), (&Device::flex(), DType::F64));
            let derivative: f64 = (found[i + 1].clone() * direction).sum().into_scalar();
            let defect = (derivative - difference).abs() / difference.abs().max(1.0);
            assert!(defect < 1e-7, "{layer:?}, operand {i}: {derivative} and {difference}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for layer in layers() {
        let operands = layer.operands(700);
        let [one, three, eight] = [1, 3, 8].map(|threads| {
            // Eight threads are more than there are tiles.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let all = pool.install(|| with_gradients(layer, &operands, DType::F32, Layer::fused));
            all.into_iter().map(|x| x.into_data()).collect::<Vec<_>>()
        });
        assert!(one == three && one == eight, "{layer:?}");
    }
}

#[test]
fn one_embedding_serves_all_points() {
    for layer in layers().filter(|layer| matches!(layer, Layer::Block(_) | Layer::Linear | Layer::Blend)) {
        let operands = layer.operands(300);
        let x = placed(&operands, DType::F64, &Device::flex());
        let mut repeated = x.clone();
        let mut single = x.clone();
        single[1] = x[1].clone().narrow(0, 0, 1);
        repeated[1] = single[1].clone().repeat_dim(0, 300);
        let defect = relative(&layer.fused(&single), &layer.fused(&repeated));
        assert!(defect < 1e-14, "{layer:?}: {defect}");

        // With reverse mode on, its derivative is the sum over the points.
        let mut tracked: Vec<Tensor<2>> = single.iter().map(|x| Tensor::from_inner(x.clone())).collect();
        tracked[1] = tracked[1].clone().require_grad();
        let gradients = layer.fused(&tracked).sum().backward();
        let found = tracked[1].grad(&gradients).unwrap();
        let mut rows: Vec<Tensor<2>> = repeated.iter().map(|x| Tensor::from_inner(x.clone())).collect();
        rows[1] = rows[1].clone().require_grad();
        let gradients = layer.fused(&rows).sum().backward();
        let sum = rows[1].grad(&gradients).unwrap().sum_dim(0);
        assert!(relative(&found, &sum) < 1e-12, "{layer:?}");
    }
}

#[test]
fn operands_may_be_views() {
    for layer in layers() {
        let operands = layer.operands(200);
        let x = placed(&operands, DType::F64, &Device::flex());
        let turned = |x: &Tensor<2>| {
            let columns = x.clone().transpose().into_data();
            Tensor::<2>::from_data(columns, (&Device::flex(), DType::F64)).transpose()
        };
        let views: Vec<Tensor<2>> = x.iter().map(turned).collect();
        let cut = x.iter().map(|x| {
            let [rows, columns] = x.dims();
            Tensor::cat(vec![x.clone(), x.clone()], 0).slice([rows..2 * rows, 0..columns])
        });
        let value = layer.fused(&x);
        assert!(relative(&layer.fused(&views), &value) < 1e-14, "{layer:?}");
        assert!(relative(&layer.fused(&cut.collect::<Vec<_>>()), &value) < 1e-14, "{layer:?}");
        assert!(relative(&layer.fused(&x), &value) == 0.0, "operands are left as they were");
    }
}

#[test]
fn what_is_no_number_stays_none_and_tails_are_exact() {
    let at = |z: f64, dtype, activation: Activation| -> f64 {
        let z = Tensor::<1>::from_data(TensorData::new(vec![z], [1]), (&Device::flex(), dtype));
        activate(z, activation).cast(DType::F64).into_scalar()
    };
    for activation in ALL {
        for dtype in [DType::F32, DType::F64] {
            assert!(at(f64::NAN, dtype, activation).is_nan(), "{activation:?}");
            let bounded = matches!(activation, Activation::Tanh);
            assert_eq!(at(1e4, dtype, activation), if bounded { 1.0 } else { 1e4 }, "{activation:?}");
            assert_eq!(at(-1e4, dtype, activation), if bounded { -1.0 } else { 0.0 }, "{activation:?}");
        }
        // The relative error of a small value in single precision; that of gelu is absolute.
        for z in [-12.0f32, -3.0, -1e-3, 1e-3, 0.3, 0.6, 3.0] {
            let (single, double) = (at(z.into(), DType::F32, activation), at(z.into(), DType::F64, activation));
            let scale = if activation == Activation::Gelu { z.abs().into() } else { double.abs() };
            assert!((single - double).abs() <= 5e-7 * scale, "{activation:?} at {z}: {single} and {double}");
        }
    }
}

#[test]
fn an_operand_may_come_twice_and_constants_cost_no_derivative() {
    let operands = Layer::Block(Activation::Silu).operands(40);
    let device = Device::flex().autodiff();
    let x = placed(&operands, DType::F64, &device);
    let gradient = |function: &dyn Fn(Layer, &[Tensor<2>]) -> Tensor<2>| {
        // U and V are one matrix; h, e, G and S are constants.
        let shared = x[2].clone().detach().require_grad();
        let mut all = x.clone();
        (all[2], all[5]) = (shared.clone(), shared.clone());
        let gradients = function(Layer::Block(Activation::Silu), &all).square().sum().backward();
        assert!(x[0].grad(&gradients).is_none());
        shared.grad(&gradients).expect("the shared operand is a leaf")
    };
    assert!(relative(&gradient(&Layer::fused), &gradient(&Layer::composed)) < 1e-12);
}

#[test]
fn no_points_are_no_rows() {
    for layer in layers() {
        let x = placed(&layer.operands(0), DType::F32, &Device::flex());
        assert_eq!(layer.fused(&x).dims()[0], 0, "{layer:?}");
    }
}
