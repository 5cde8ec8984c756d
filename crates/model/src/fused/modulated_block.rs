//! `h + a(z) V` with `z = (h U) ∘ (e G) + e S`.
//!
//! With `p = h U`, `g = e G`, and adjoints written with a bar, the backward pass is
//!
//! ```text
//! z̄ = (h̄' Vᵀ) ∘ a'(z)     h̄ = h̄' + (z̄ ∘ g) Uᵀ     ē = (z̄ ∘ p) Gᵀ + z̄ Sᵀ
//! Ū = hᵀ (z̄ ∘ g)          V̄ = a(z)ᵀ h̄'            Ḡ = eᵀ (z̄ ∘ p)     S̄ = eᵀ z̄
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
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::host::{Kept, Reused, TILE, contiguous, dims, matrix, numbers, owned, pulls, rows_of_tile, tensor, tiles};
use super::nonlinearity::{Nonlinearity, WithNonlinearity};
use super::product::{Sharing, product};
use crate::activation::Activation;
use crate::real::room;

/// h, e, U, G, S, V.
type Operands<X> = [X; 6];

/// The weights as matrices.
struct Weights<'a, T> {
    inner: MatRef<'a, T>,
    gain: MatRef<'a, T>,
    shift: MatRef<'a, T>,
    outer: MatRef<'a, T>,
}

impl<'a, T: Reused> Weights<'a, T> {
    fn new([inner, gain, shift, outer]: [&'a FlexTensor; 4]) -> Self {
        let [inner, gain, shift, outer] = [inner, gain, shift, outer].map(|t| matrix(numbers(t), dims(t)[1]));
        Self { inner, gain, shift, outer }
    }
}

/// What the backward pass needs besides the operands, `[n, width]` each.
#[derive(Debug, Clone)]
struct Tape<T: Reused> {
    /// p.
    products: Kept<T>,
    /// g.
    gains: Kept<T>,
    /// a(z).
    values: Kept<T>,
    /// a'(z).
    slopes: Kept<T>,
}

/// Arrays of a tile; those of e have one row where e has.
struct Tile<'a, T> {
    /// p, then where no slopes are asked for a(z).
    products: &'a mut [T],
    gains: &'a [T],
    shifts: &'a [T],
    kept: Option<(&'a mut [T], &'a mut [T])>,
}

/// Rows of p and of what belongs to them side by side.
struct Modulate<'a, T, N> {
    tile: Tile<'a, T>,
    nonlinearity: PhantomData<N>,
}

impl<T: Reused, N: Nonlinearity> NullaryFnOnce for Modulate<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Tile { products, gains, shifts, kept } = self.tile;
        let width = gains.len();
        match kept {
            None => {
                for products in products.chunks_mut(width) {
                    for ((p, &gain), &shift) in products.iter_mut().zip(gains).zip(shifts) {
                        *p = N::at(*p * gain + shift).0;
                    }
                }
            }
            Some((values, slopes)) => {
                let arrays = products.iter().zip(gains).zip(shifts).zip(values).zip(slopes);
                for ((((&p, &gain), &shift), value), slope) in arrays {
                    (*value, *slope) = N::at(p * gain + shift);
                }
            }
        }
    }
}

impl<T: Reused> WithNonlinearity for Tile<'_, T> {
    fn with<N: Nonlinearity>(self) {
        Arch::new().dispatch(Modulate { tile: self, nonlinearity: PhantomData::<N> });
    }
}

pub fn value<T: Reused>(operands: Operands<FlexTensor>, activation: Activation) -> FlexTensor {
    let [h, e, inner, gain, shift, outer] = operands.map(contiguous);
    let ([n, width], [_, embedding]) = (dims(&h), dims(&e));
    let weights = Weights::<T>::new([&inner, &gain, &shift, &outer]);
    let sharing = Sharing::among(tiles(n));
    let mut h = owned(h);
    let e = numbers(&e);
    h.storage_mut().par_chunks_mut(TILE * width).enumerate().for_each_init(
        || [const { Vec::new() }; 3],
        |[products, gains, shifts], (tile, h)| {
            let e = matrix(rows_of_tile(e, embedding, tile), embedding);
            let gains = room(gains, e.nrows() * width);
            product(gains, Accum::Replace, e, weights.gain, sharing);
            let shifts = room(shifts, e.nrows() * width);
            product(shifts, Accum::Replace, e, weights.shift, sharing);
            let products = room(products, h.len());
            product(products, Accum::Replace, matrix(h, width), weights.inner, sharing);
            activation.dispatch(Tile { products: &mut *products, gains, shifts, kept: None });
            product(h, Accum::Add, matrix(products, width), weights.outer, sharing);
        },
    );
    h
}

fn value_and_tape<T: Reused>(operands: &Operands<FlexTensor>, activation: Activation) -> (FlexTensor, Tape<T>) {
    let [h, e, inner, gain, shift, outer] = operands;
    let ([n, width], [_, embedding]) = (dims(h), dims(e));
    let weights = Weights::new([inner, gain, shift, outer]);
    let mut out: Vec<T> = numbers(h).to_vec();
    let e = numbers(e);
    let mut tape = Tape {
        products: Kept::new(n * width),
        gains: Kept::new(n * width),
        values: Kept::new(n * width),
        slopes: Kept::new(n * width),
    };
    let (size, sharing) = (TILE * width, Sharing::among(tiles(n)));
    let tiles = (out.par_chunks_mut(size).zip(tape.products.par_chunks_mut(size)))
        .zip(tape.gains.par_chunks_mut(size).zip(tape.values.par_chunks_mut(size)))
        .zip(tape.slopes.par_chunks_mut(size));
    tiles.enumerate().for_each_init(Vec::new, |shifts, (tile, (((out, products), (gains, values)), slopes))| {
        let e = matrix(rows_of_tile(e, embedding, tile), embedding);
        product(gains, Accum::Replace, e, weights.gain, sharing);
        let shifts = room(shifts, gains.len());
        product(shifts, Accum::Replace, e, weights.shift, sharing);
        product(products, Accum::Replace, matrix(out, width), weights.inner, sharing);
        activation.dispatch(Tile { products, gains, shifts, kept: Some((&mut *values, slopes)) });
        product(out, Accum::Add, matrix(values, width), weights.outer, sharing);
    });
    (tensor(out, [n, width]), tape)
}

/// `z̄` in place of a', `z̄ ∘ p` in place of p, `z̄ ∘ g` in place of g; `adjoints` is `h̄' Vᵀ`.
struct Chain<'a, T> {
    adjoints: &'a [T],
    products: &'a mut [T],
    gains: &'a mut [T],
    slopes: &'a mut [T],
}

impl<T: Reused> NullaryFnOnce for Chain<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let arrays = self.adjoints.iter().zip(self.products).zip(self.gains).zip(self.slopes);
        for (((&adjoint, product), gain), slope) in arrays {
            let z = adjoint * *slope;
            *slope = z;
            *product = z * *product;
            *gain = z * *gain;
        }
    }
}

#[derive(Debug)]
struct ModulatedBlock<T>(PhantomData<T>);

impl<T: Reused> Backward<Flex, 6> for ModulatedBlock<T> {
    type State = (Operands<FlexTensor>, Tape<T>);

    fn backward(self, ops: Ops<Self::State, 6>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let adjoint = contiguous(gradients.consume::<Flex>(&ops.node));
        let adjoint: &[T] = numbers(&adjoint);
        let ([h, e, inner, gain, shift, outer], mut tape) = ops.state;
        let ([n, width], [_, embedding]) = (dims(&h), dims(&e));
        let weights = Weights::new([&inner, &gain, &shift, &outer]);
        let mut of_h = adjoint.to_vec();
        let [_, wants_e, wants_inner, wants_gain, wants_shift, wants_outer] =
            ops.parents.each_ref().map(|parent| parent.is_some());
        let mut of_e = vec![T::of(0.0); n * embedding];

        let (size, sharing) = (TILE * width, Sharing::among(tiles(n)));
        let tiles = (of_h.par_chunks_mut(size).zip(of_e.par_chunks_mut(TILE * embedding)))
            .zip(adjoint.par_chunks(size).zip(tape.products.par_chunks_mut(size)))
            .zip(tape.gains.par_chunks_mut(size).zip(tape.slopes.par_chunks_mut(size)));
        tiles.for_each_init(Vec::new, |adjoints, (((of_h, of_e), (adjoint, products)), (gains, slopes))| {
            let adjoints = room(adjoints, adjoint.len());
            product(adjoints, Accum::Replace, matrix(adjoint, width), weights.outer.transpose(), sharing);
            Arch::new().dispatch(Chain {
                adjoints,
                products: &mut *products,
                gains: &mut *gains,
                slopes: &mut *slopes,
            });
            product(of_h, Accum::Add, matrix(gains, width), weights.inner.transpose(), sharing);
            if wants_e {
                product(of_e, Accum::Replace, matrix(products, width), weights.gain.transpose(), sharing);
                product(of_e, Accum::Add, matrix(slopes, width), weights.shift.transpose(), sharing);
            }
        });

        let (of_gains, of_products, of_z) =
            (matrix(&tape.products, width), matrix(&tape.gains, width), matrix(&tape.slopes, width));
        let (h, e) = (matrix(numbers(&h), width), matrix(numbers(&e), embedding));
        let values = matrix(&tape.values, width);
        let [of_inner, of_gain, of_shift, of_outer] = pulls([
            wants_inner.then_some((h, of_products)),
            wants_gain.then_some((e, of_gains)),
            wants_shift.then_some((e, of_z)),
            wants_outer.then_some((values, matrix(adjoint, width))),
        ]);

        let found: Operands<(Vec<T>, [usize; 2])> = [
            (of_h, [n, width]),
            (of_e, [n, embedding]),
            (of_inner, [width, width]),
            (of_gain, [embedding, width]),
            (of_shift, [embedding, width]),
            (of_outer, [width, width]),
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
    activation: Activation,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = operands.each_ref().map(|operand| operand.node());
    let prepared = ModulatedBlock::<T>(PhantomData).prepare::<C>(nodes).compute_bound().stateful();
    let operands = operands.map(|operand| operand.into_primitive());
    match prepared {
        OpsKind::Tracked(prep) => {
            let operands = operands.map(contiguous);
            let (value, tape) = value_and_tape::<T>(&operands, activation);
            prep.finish((operands, tape), value)
        }
        OpsKind::UnTracked(prep) => prep.finish(value::<T>(operands, activation)),
    }
}
