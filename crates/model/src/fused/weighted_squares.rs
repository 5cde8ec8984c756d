//! `w |b s + z|²/d` of every row, with derivatives by s.

use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::host::{ROWS, Reused, contiguous, dims, numbers, tensor};

/// s, b, z, w.
type Operands<X> = [X; 4];

/// Partial sums of a row.
const LANES: usize = 16;

/// `|b s + z|²` of a row.
struct Squares<'a, T> {
    s: &'a [T],
    b: T,
    z: &'a [T],
}

impl<T: Reused> NullaryFnOnce for Squares<'_, T> {
    type Output = T;

    #[inline(always)]
    fn call(self) -> T {
        let mut sums = [T::of(0.0); LANES];
        let (s, s_rest) = self.s.as_chunks::<LANES>();
        let (z, z_rest) = self.z.as_chunks::<LANES>();
        for (s, z) in s.iter().zip(z) {
            for ((sum, &s), &z) in sums.iter_mut().zip(s).zip(z) {
                let error = self.b * s + z;
                *sum += error * error;
            }
        }
        for ((sum, &s), &z) in sums.iter_mut().zip(s_rest).zip(z_rest) {
            let error = self.b * s + z;
            *sum += error * error;
        }
        sums.into_iter().fold(T::of(0.0), |total, sum| total + sum)
    }
}

pub fn value<T: Reused>(operands: Operands<FlexTensor>) -> FlexTensor {
    let operands = operands.map(contiguous);
    value_of::<T>(&operands)
}

fn value_of<T: Reused>([s, b, z, w]: &Operands<FlexTensor>) -> FlexTensor {
    let [n, d] = dims(s);
    let (s, b, z, w): (&[T], &[T], &[T], &[T]) = (numbers(s), numbers(b), numbers(z), numbers(w));
    let share = T::of(1.0 / d as f64);
    let row = |i: usize| {
        let (s, z) = (&s[i * d..(i + 1) * d], &z[i * d..(i + 1) * d]);
        w[i] * share * Arch::new().dispatch(Squares { s, b: b[i], z })
    };
    let values: Vec<T> = (0..n).into_par_iter().with_min_len(ROWS).map(row).collect();
    tensor(values, [n])
}

#[derive(Debug)]
struct WeightedSquares<T>(PhantomData<T>);

impl<T: Reused> Backward<Flex, 1> for WeightedSquares<T> {
    type State = Operands<FlexTensor>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let adjoint = contiguous(gradients.consume::<Flex>(&ops.node));
        let adjoint: &[T] = numbers(&adjoint);
        let [Some(parent)] = ops.parents else { return };
        let [n, d] = dims(&ops.state[0]);
        let [s, b, z, w] = ops.state.each_ref().map(numbers::<T>);
        let twice = T::of(2.0 / d as f64);
        let mut derivative = vec![T::of(0.0); n * d];
        derivative.par_chunks_mut(ROWS * d).enumerate().for_each(|(part, derivative)| {
            for (row, derivative) in derivative.chunks_mut(d).enumerate() {
                let i = part * ROWS + row;
                let (s, z) = (&s[i * d..(i + 1) * d], &z[i * d..(i + 1) * d]);
                let (b, factor) = (b[i], adjoint[i] * w[i] * b[i] * twice);
                for ((derivative, &s), &z) in derivative.iter_mut().zip(s).zip(z) {
                    *derivative = factor * (b * s + z);
                }
            }
        });
        gradients.register::<Flex>(parent.id, tensor(derivative, [n, d]));
    }
}

pub fn tracked<T: Reused, C: CheckpointStrategy>(
    operands: Operands<FloatTensor<Autodiff<Flex, C>>>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let node = operands[0].node();
    let prepared = WeightedSquares::<T>(PhantomData).prepare::<C>([node]).compute_bound().stateful();
    let operands = operands.map(|operand| contiguous(operand.into_primitive()));
    let value = value_of::<T>(&operands);
    match prepared {
        OpsKind::Tracked(prep) => prep.finish(operands, value),
        OpsKind::UnTracked(prep) => prep.finish(value),
    }
}
