//! Updates of parameters on the CPU, each in one pass over their numbers: a step of Adam, a moving average, the norm of a gradient.
//!
//! # Design
//!
//! As tensor operations, Adam with a moving average goes over the parameters some thirty times, and a network of millions of them
//! does not fit the cache. Here every number goes through the same operations at once. Other devices and number types keep the tensor
//! operations.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Device, Tensor};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

/// Numbers of one task.
const PART: usize = 1 << 14;

/// Whether a tensor lies on the CPU in single precision.
pub(crate) fn is_on_host<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.dtype() == DType::F32 && !tensor.is_autodiff() && tensor.device() == Device::flex()
}

/// A tensor on the CPU that fills its memory from the first number to the last.
fn whole<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor.try_into_primitive::<Flex>().expect("a tensor on the CPU").to_contiguous()
}

fn tensor<const D: usize>(tensor: FlexTensor) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(tensor)
}

/// An update of AdamW with the numbers of one step at hand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamStep {
    /// What gradients are multiplied by.
    pub scale: f32,
    /// β₁, β₂.
    pub decays: [f32; 2],
    /// `1/(1 - β₁ᵏ)`, `1/(1 - β₂ᵏ)` at update number k = 1, 2, …
    pub corrections: [f32; 2],
    /// ε.
    pub epsilon: f32,
    /// What is left of a parameter, `1 - ηλ`.
    pub kept: f32,
    /// η.
    pub rate: f32,
}

impl AdamStep {
    /// Update number k = 1, 2, … at a learning rate, of gradients times `scale`.
    pub fn new(betas: [f64; 2], epsilon: f64, weight_decay: f64, learning_rate: f64, scale: f64, k: u64) -> Self {
        let decays = betas.map(|beta| beta as f32);
        Self {
            scale: scale as f32,
            decays,
            corrections: decays.map(|decay| 1.0 / (1.0 - decay.powi(k.min(i32::MAX as u64) as i32))),
            epsilon: epsilon as f32,
            // As Burn does it, which keeps the weight decay in single precision.
            kept: (1.0 - learning_rate * f64::from(weight_decay as f32)) as f32,
            rate: learning_rate as f32,
        }
    }
}

/// Corresponding parts of a parameter, its gradient and its moments.
struct AdamPart<'a> {
    step: AdamStep,
    parameters: &'a mut [f32],
    gradients: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl NullaryFnOnce for AdamPart<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let AdamStep { scale, decays, corrections, epsilon, kept, rate } = self.step;
        let fresh = decays.map(|decay| 1.0 - decay);
        let numbers = self.parameters.iter_mut().zip(self.gradients).zip(self.first).zip(self.second);
        for (((p, &g), m), v) in numbers {
            let g = g * scale;
            *m = *m * decays[0] + g * fresh[0];
            *v = *v * decays[1] + g * g * fresh[1];
            let delta = (*m * corrections[0]) / ((*v * corrections[1]).sqrt() + epsilon);
            *p = *p * kept - delta * rate;
        }
    }
}

impl AdamStep {
    /// The parameters after the update, and their moments; all [on the CPU](is_on_host).
    pub fn apply<const D: usize>(
        self,
        parameters: Tensor<D>,
        gradients: Tensor<D>,
        moments: [Tensor<D>; 2],
    ) -> (Tensor<D>, [Tensor<D>; 2]) {
        let (mut parameters, gradients) = (whole(parameters), whole(gradients));
        let [mut first, mut second] = moments.map(whole);
        let parts = (parameters.storage_mut().par_chunks_mut(PART).zip(gradients.storage().par_chunks(PART)))
            .zip(first.storage_mut().par_chunks_mut(PART).zip(second.storage_mut().par_chunks_mut(PART)));
        parts.for_each(|((parameters, gradients), (first, second))| {
            Arch::new().dispatch(AdamPart { step: self, parameters, gradients, first, second });
        });
        (tensor(parameters), [tensor(first), tensor(second)])
    }
}

/// `own + share·(other - own)`, for which a number that both have stays exactly what it is; both [on the CPU](is_on_host).
pub(crate) fn moved_towards<const D: usize>(own: Tensor<D>, other: Tensor<D>, share: f32) -> Tensor<D> {
    let (mut own, other) = (whole(own), whole(other));
    let parts = own.storage_mut::<f32>().par_chunks_mut(PART).zip(other.storage::<f32>().par_chunks(PART));
    parts.for_each(|(own, other)| {
        own.iter_mut().zip(other).for_each(|(own, other)| *own += (other - *own) * share);
    });
    tensor(own)
}

/// Numbers of a sum in single precision, before it goes on in double.
const LANES: usize = 16;

/// The sum of the squares of all numbers of a tensor [on the CPU](is_on_host).
pub(crate) fn sum_of_squares<const D: usize>(tensor: Tensor<D>) -> f64 {
    let tensor = whole(tensor);
    // Parts are summed in their order: the same bits on any number of threads.
    let parts: Vec<f64> = tensor.storage().par_chunks(PART).map(|part| Arch::new().dispatch(Squares(part))).collect();
    parts.into_iter().sum()
}

struct Squares<'a>(&'a [f32]);

impl NullaryFnOnce for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let mut sums = [0.0f64; LANES];
        for part in self.0.chunks(64 * LANES) {
            let mut lanes = [0.0f32; LANES];
            let (rows, rest) = part.as_chunks::<LANES>();
            for row in rows {
                lanes.iter_mut().zip(row).for_each(|(lane, x)| *lane += x * x);
            }
            lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane += x * x);
            sums.iter_mut().zip(lanes).for_each(|(sum, lane)| *sum += f64::from(lane));
        }
        sums.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Purpose, Stream};
    use burn::optim::{AdamWConfig, Optimizer};
    use burn::tensor::TensorData;

    use super::*;

    fn normals(seed: u64, n: usize) -> Tensor<1> {
        let mut values = vec![0.0; n];
        Stream::new(seed, Purpose::Noise).at(0, 0).fill_normal(&mut values);
        Tensor::from_data(TensorData::new(values, [n]), &Device::flex())
    }

    /// Neither whole parts nor whole lanes.
    const COUNT: usize = 2 * PART + 77;

    #[test]
    fn a_step_of_adam_is_that_of_tensor_operations() {
        for (weight_decay, scale) in [(0.0, 1.0), (0.01, 0.37)] {
            let rule = AdamWConfig::new().with_weight_decay(weight_decay as f32).with_epsilon(1e-8).build();
            let (mut theirs, mut state) = (normals(0, COUNT), None);
            let (mut ours, mut moments) = (theirs.clone(), [theirs.zeros_like(), theirs.zeros_like()]);
            for k in 1..=5 {
                let gradients = normals(k, COUNT);
                let scaled = if scale == 1.0 { gradients.clone() } else { gradients.clone() * scale };
                (theirs, state) = rule.step(1e-3, theirs, scaled, state);
                let step = AdamStep::new([0.9, 0.999], 1e-8, weight_decay, 1e-3, scale, k);
                (ours, moments) = step.apply(ours, gradients, moments);
                let defect: f32 = (ours.clone() - theirs.clone()).abs().max().into_scalar();
                // Steps are 1e-3 long, and parameters of size 4 have steps of 4.8e-7 between them.
                assert!(defect <= 4.8e-7, "{defect:e}");
            }
        }
    }

    #[test]
    fn an_average_moves_as_tensor_operations_would() {
        let (own, other) = (normals(0, COUNT), normals(1, COUNT));
        let expected = own.clone() + (other.clone() - own.clone()) * 0.001;
        moved_towards(own.clone(), other, 0.001).into_data().assert_eq(&expected.into_data(), true);
        moved_towards(own.clone(), own.clone(), 0.3).into_data().assert_eq(&own.into_data(), true);
    }

    #[test]
    fn squares_are_summed_to_rounding() {
        let x = normals(3, COUNT);
        let exact: f64 = x.clone().cast(DType::F64).square().sum().into_scalar();
        assert!((sum_of_squares(x) / exact - 1.0).abs() < 1e-7);
        assert!(sum_of_squares(Tensor::<1>::from_floats([1.0, f32::NAN], &Device::flex())).is_nan());
        assert_eq!(sum_of_squares(Tensor::<1>::from_floats([f32::INFINITY], &Device::flex())), f64::INFINITY);
    }
}
