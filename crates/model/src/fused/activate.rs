//! `a(z)`, entry by entry.

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

use super::host::{Kept, Reused, contiguous, numbers, owned, tensor};
use super::nonlinearity::{Nonlinearity, WithNonlinearity};
use crate::activation::Activation;

/// Numbers of one task.
const PART: usize = 1 << 14;

/// `z ← a(z)`, and a' where it is asked for.
struct InPlace<'a, T> {
    z: &'a mut [T],
    slope: Option<&'a mut [T]>,
}

struct Pass<'a, T, N> {
    arrays: InPlace<'a, T>,
    nonlinearity: PhantomData<N>,
}

impl<T: Reused, N: Nonlinearity> NullaryFnOnce for Pass<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let InPlace { z, slope } = self.arrays;
        match slope {
            Some(slope) => z.iter_mut().zip(slope).for_each(|(z, slope)| (*z, *slope) = N::at(*z)),
            None => z.iter_mut().for_each(|z| *z = N::at(*z).0),
        }
    }
}

impl<T: Reused> WithNonlinearity for InPlace<'_, T> {
    fn with<N: Nonlinearity>(self) {
        Arch::new().dispatch(Pass { arrays: self, nonlinearity: PhantomData::<N> });
    }
}

pub fn value<T: Reused>(z: FlexTensor, activation: Activation) -> FlexTensor {
    let mut z = owned(z);
    z.storage_mut::<T>().par_chunks_mut(PART).for_each(|z| activation.dispatch(InPlace { z, slope: None }));
    z
}

fn value_and_slope<T: Reused>(z: FlexTensor, activation: Activation) -> (FlexTensor, Kept<T>) {
    let mut z = owned(z);
    let values = z.storage_mut::<T>();
    let mut slope = Kept::new(values.len());
    let parts = values.par_chunks_mut(PART).zip(slope.par_chunks_mut(PART));
    parts.for_each(|(z, slope)| activation.dispatch(InPlace { z, slope: Some(slope) }));
    (z, slope)
}

#[derive(Debug)]
struct Activate<T>(PhantomData<T>);

impl<T: Reused> Backward<Flex, 1> for Activate<T> {
    type State = Kept<T>;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let adjoint = contiguous(gradients.consume::<Flex>(&ops.node));
        let [Some(z)] = ops.parents else { return };
        let shape = adjoint.layout().shape().clone();
        let product =
            numbers::<T>(&adjoint).iter().zip(&*ops.state).map(|(&adjoint, &slope)| adjoint * slope).collect();
        gradients.register::<Flex>(z.id, tensor::<T>(product, shape));
    }
}

pub fn tracked<T: Reused, C: CheckpointStrategy>(
    z: FloatTensor<Autodiff<Flex, C>>,
    activation: Activation,
) -> FloatTensor<Autodiff<Flex, C>> {
    match Activate::<T>(PhantomData).prepare::<C>([z.node()]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (value, slope) = value_and_slope::<T>(z.into_primitive(), activation);
            prep.finish(slope, value)
        }
        OpsKind::UnTracked(prep) => prep.finish(value::<T>(z.into_primitive(), activation)),
    }
}
