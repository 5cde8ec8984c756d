//! `y ∘ a + f ∘ b`, a factor a row.

use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use rayon::prelude::*;

use super::host::{ROWS, Reused, contiguous, dims, numbers, owned, tensor};

/// y, a, f, b.
type Operands<X> = [X; 4];

/// The factor of every row, or the one of all.
fn factor<T: Copy>(factors: &[T], row: usize) -> T {
    if factors.len() == 1 { factors[0] } else { factors[row] }
}

pub fn value<T: Reused>(operands: Operands<FlexTensor>) -> FlexTensor {
    let [y, a, f, b] = operands.map(contiguous);
    let d = dims(&y)[1];
    let (y, a, b): (&[T], &[T], &[T]) = (numbers(&y), numbers(&a), numbers(&b));
    let mut f = owned(f);
    f.storage_mut::<T>().par_chunks_mut(ROWS * d).zip(y.par_chunks(ROWS * d)).enumerate().for_each(|(i, (f, y))| {
        for (row, (f, y)) in f.chunks_mut(d).zip(y.chunks(d)).enumerate() {
            let (a, b) = (factor(a, i * ROWS + row), factor(b, i * ROWS + row));
            f.iter_mut().zip(y).for_each(|(f, &y)| *f = y * a + *f * b);
        }
    });
    f
}

#[derive(Debug)]
struct Blend<T>(PhantomData<T>);

impl<T: Reused> Backward<Flex, 4> for Blend<T> {
    type State = Operands<FlexTensor>;

    fn backward(self, ops: Ops<Self::State, 4>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let adjoint = contiguous(gradients.consume::<Flex>(&ops.node));
        let [n, d] = dims(&adjoint);
        // Of y ∘ a and of f ∘ b.
        for (i, [points, factors]) in [[0, 1], [2, 3]].into_iter().enumerate() {
            let (points, factors) = (&ops.parents[points], &ops.parents[factors]);
            let (x, a): (&[T], &[T]) = (numbers(&ops.state[2 * i]), numbers(&ops.state[2 * i + 1]));
            if let Some(parent) = factors {
                let rows = numbers::<T>(&adjoint).chunks(d).zip(x.chunks(d));
                let sums = rows.map(|(adjoint, x)| adjoint.iter().zip(x).fold(T::of(0.0), |sum, (&u, &v)| sum + u * v));
                let sums: Vec<T> = if a.len() == 1 && n != 1 {
                    vec![sums.fold(T::of(0.0), |total, sum| total + sum)]
                } else {
                    sums.collect()
                };
                let shape = [sums.len(), 1];
                gradients.register::<Flex>(parent.id, tensor(sums, shape));
            }
            if let Some(parent) = points {
                let mut derivative = owned(adjoint.clone());
                let parts = derivative.storage_mut::<T>().par_chunks_mut(ROWS * d).enumerate();
                parts.for_each(|(i, part)| {
                    for (row, part) in part.chunks_mut(d).enumerate() {
                        let a = factor(a, i * ROWS + row);
                        part.iter_mut().for_each(|x| *x *= a);
                    }
                });
                gradients.register::<Flex>(parent.id, derivative);
            }
        }
    }
}

pub fn tracked<T: Reused, C: CheckpointStrategy>(
    operands: Operands<FloatTensor<Autodiff<Flex, C>>>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = operands.each_ref().map(|operand| operand.node());
    let prepared = Blend::<T>(PhantomData).prepare::<C>(nodes).compute_bound().stateful();
    let operands = operands.map(|operand| contiguous(operand.into_primitive()));
    match prepared {
        OpsKind::Tracked(prep) => {
            let value = value::<T>(operands.clone());
            prep.finish(operands, value)
        }
        OpsKind::UnTracked(prep) => prep.finish(value::<T>(operands)),
    }
}
