//! `y = (h ∘ g) W + e S` with `g = e G`.
//!
//! With `q = h ∘ g` and adjoints written with a bar, the backward pass is
//!
//! ```text
//! q̄ = ȳ Wᵀ     h̄ = q̄ ∘ g     ē = (q̄ ∘ h) Gᵀ + ȳ Sᵀ     W̄ = qᵀ ȳ     Ḡ = eᵀ (q̄ ∘ h)     S̄ = eᵀ ȳ
//! ```

use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use faer::{Accum, MatRef};
use rayon::prelude::*;

use super::host::{Kept, Reused, TILE, contiguous, dims, matrix, numbers, pulls, rows_of_tile, tensor, tiles};
use super::product::{Sharing, product};
use crate::real::room;

/// h, e, G, W, S.
type Operands<X> = [X; 5];

/// What the backward pass needs besides the operands, `[n, width]` each.
#[derive(Debug, Clone)]
struct Tape<T: Reused> {
    /// g.
    gains: Kept<T>,
    /// q.
    products: Kept<T>,
}

/// G, W, S as matrices.
fn weights<'a, T: Reused>(tensors: [&'a FlexTensor; 3]) -> [MatRef<'a, T>; 3] {
    tensors.map(|t| matrix(numbers(t), dims(t)[1]))
}

pub fn value<T: Reused>(operands: Operands<FlexTensor>) -> FlexTensor {
    let [h, e, gain, outputs, shift] = operands.map(contiguous);
    let ([n, width], [_, embedding], [_, m]) = (dims(&h), dims(&e), dims(&outputs));
    let [gain, outputs, shift] = weights([&gain, &outputs, &shift]);
    let (h, e): (&[T], &[T]) = (numbers(&h), numbers(&e));
    let sharing = Sharing::among(tiles(n));
    let mut out = vec![T::of(0.0); n * m];
    out.par_chunks_mut(TILE * m).zip(h.par_chunks(TILE * width)).enumerate().for_each_init(
        || [const { Vec::new() }; 3],
        |[gains, products, shifts], (tile, (out, h))| {
            let e = matrix(rows_of_tile(e, embedding, tile), embedding);
            let gains = room(gains, e.nrows() * width);
            product(gains, Accum::Replace, e, gain, sharing);
            let products = room(products, h.len());
            for (products, h) in products.chunks_mut(gains.len()).zip(h.chunks(gains.len())) {
                products.iter_mut().zip(h).zip(&*gains).for_each(|((q, &h), &g)| *q = h * g);
            }
            product(out, Accum::Replace, matrix(products, width), outputs, sharing);
            let shifts = room(shifts, e.nrows() * m);
            product(shifts, Accum::Replace, e, shift, sharing);
            for out in out.chunks_mut(shifts.len()) {
                out.iter_mut().zip(&*shifts).for_each(|(out, &shift)| *out += shift);
            }
        },
    );
    tensor(out, [n, m])
}

fn value_and_tape<T: Reused>(operands: &Operands<FlexTensor>) -> (FlexTensor, Tape<T>) {
    let [h, e, gain, outputs, shift] = operands;
    let ([n, width], [_, embedding], [_, m]) = (dims(h), dims(e), dims(outputs));
    let [gain, outputs, shift] = weights([gain, outputs, shift]);
    let (h, e): (&[T], &[T]) = (numbers(h), numbers(e));
    let mut out = vec![T::of(0.0); n * m];
    let mut tape = Tape { gains: Kept::new(n * width), products: Kept::new(n * width) };
    let (size, sharing) = (TILE * width, Sharing::among(tiles(n)));
    let tiles = (out.par_chunks_mut(TILE * m).zip(h.par_chunks(size)))
        .zip(tape.gains.par_chunks_mut(size).zip(tape.products.par_chunks_mut(size)));
    tiles.enumerate().for_each(|(tile, ((out, h), (gains, products)))| {
        let e = matrix(rows_of_tile(e, embedding, tile), embedding);
        product(gains, Accum::Replace, e, gain, sharing);
        products.iter_mut().zip(h).zip(&*gains).for_each(|((q, &h), &g)| *q = h * g);
        product(out, Accum::Replace, matrix(products, width), outputs, sharing);
        product(out, Accum::Add, e, shift, sharing);
    });
    (tensor(out, [n, m]), tape)
}

#[derive(Debug)]
struct ModulatedLinear<T>(PhantomData<T>);

impl<T: Reused> Backward<Flex, 5> for ModulatedLinear<T> {
    type State = (Operands<FlexTensor>, Tape<T>);

    fn backward(self, ops: Ops<Self::State, 5>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let adjoint = contiguous(gradients.consume::<Flex>(&ops.node));
        let adjoint: &[T] = numbers(&adjoint);
        let ([h, e, gain, outputs, shift], mut tape) = ops.state;
        let ([n, width], [_, embedding], [_, m]) = (dims(&h), dims(&e), dims(&outputs));
        let [gain, outputs, shift] = weights([&gain, &outputs, &shift]);
        let (h, e): (&[T], &[T]) = (numbers(&h), numbers(&e));
        let mut of_h = vec![T::of(0.0); n * width];
        let [_, wants_e, wants_gain, wants_outputs, wants_shift] =
            ops.parents.each_ref().map(|parent| parent.is_some());
        let mut of_e = vec![T::of(0.0); n * embedding];

        let (size, sharing) = (TILE * width, Sharing::among(tiles(n)));
        let tiles = (of_h.par_chunks_mut(size).zip(of_e.par_chunks_mut(TILE * embedding)))
            .zip(adjoint.par_chunks(TILE * m).zip(h.par_chunks(size)))
            .zip(tape.gains.par_chunks_mut(size));
        tiles.for_each(|(((of_h, of_e), (adjoint, h)), gains)| {
            product(of_h, Accum::Replace, matrix(adjoint, m), outputs.transpose(), sharing);
            // q̄ ∘ h takes the place of g.
            for ((of_h, &h), gain) in of_h.iter_mut().zip(h).zip(&mut *gains) {
                let q = *of_h;
                *of_h = q * *gain;
                *gain = q * h;
            }
            if wants_e {
                product(of_e, Accum::Replace, matrix(gains, width), gain.transpose(), sharing);
                product(of_e, Accum::Add, matrix(adjoint, m), shift.transpose(), sharing);
            }
        });

        let (adjoint, e) = (matrix(adjoint, m), matrix(e, embedding));
        let [of_gain, of_outputs, of_shift] = pulls([
            wants_gain.then_some((e, matrix(&tape.gains, width))),
            wants_outputs.then_some((matrix(&tape.products, width), adjoint)),
            wants_shift.then_some((e, adjoint)),
        ]);
        let found: Operands<(Vec<T>, [usize; 2])> = [
            (of_h, [n, width]),
            (of_e, [n, embedding]),
            (of_gain, [embedding, width]),
            (of_outputs, [width, m]),
            (of_shift, [embedding, m]),
        ];
        for (parent, (derivative, shape)) in ops.parents.into_iter().zip(found) {
            if let Some(parent) = parent {
                gradients.register::<Flex>(parent.id, tensor(derivative, shape));
            }
        }
    }
}

pub fn tracked<T: Reused, C: CheckpointStrategy>(
    operands: Operands<FloatTensor<Autodiff<Flex, C>>>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = operands.each_ref().map(|operand| operand.node());
    let prepared = ModulatedLinear::<T>(PhantomData).prepare::<C>(nodes).compute_bound().stateful();
    let operands = operands.map(|operand| operand.into_primitive());
    match prepared {
        OpsKind::Tracked(prep) => {
            let operands = operands.map(contiguous);
            let (value, tape) = value_and_tape::<T>(&operands);
            prep.finish((operands, tape), value)
        }
        OpsKind::UnTracked(prep) => prep.finish(value::<T>(operands)),
    }
}
