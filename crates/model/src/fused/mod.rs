//! Layers as single operations on the CPU, with a backward pass written by hand; elsewhere what they are composed of.
//!
//! # Design
//!
//! A layer as separate tensor operations reads and writes whole arrays five to ten times between two matrix products, and takes its
//! exponentials one number at a time. Here points go through a layer in tiles that stay in the cache, what the backward pass
//! needs (the derivative of the activation among it) is kept in arrays that the next step uses again, and the pass itself is two
//! rounds: the derivatives by the points, tile by tile, then those by the weights, panel by panel.
//!
//! Tiles of points and panels of weights are cut without regard to the number of threads that they are handed to, and where there are
//! fewer of them than threads, their matrix products are shared: results are the same bits on any number.
//!
//! | operation | file |
//! |---|---|
//! | `a(z)` | [`activate`] |
//! | `h + a((h U) ∘ (e G) + e S) V` | [`modulated_block`] |
//! | `(h ∘ (e G)) W + e S` | [`modulated_linear`] |
//! | `y ∘ a + f ∘ b` | [`blend`] |
//! | `w |b s + z|²/d` | [`weighted_squares`] |
//!
//! Their place among the operations of Burn is a backend extension: reverse mode sees one node a layer.

mod activate;
mod blend;
mod host;
mod modulated_block;
mod modulated_linear;
mod nonlinearity;
mod product;
#[cfg(test)]
mod tests;
mod weighted_squares;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{DType, Device, Tensor};

use crate::activation::Activation;

/// What a backend with layers of its own answers.
#[backend_extension(Flex, Autodiff)]
pub trait FusedLayers: Backend {
    /// `a(z)`, entry by entry.
    fn activate(z: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;

    /// `h + a((h U) ∘ (e G) + e S) V`.
    fn modulated_block(
        h: FloatTensor<Self>,
        e: FloatTensor<Self>,
        inner: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        outer: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    /// `(h ∘ (e G)) W + e S`.
    fn modulated_linear(
        h: FloatTensor<Self>,
        e: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// `y ∘ a + f ∘ b`.
    fn blend(
        y: FloatTensor<Self>,
        a: FloatTensor<Self>,
        f: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// `w |b s + z|²/d`.
    fn weighted_squares(
        s: FloatTensor<Self>,
        b: FloatTensor<Self>,
        z: FloatTensor<Self>,
        w: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl FusedLayers for Flex {
    fn activate(z: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        host::by_type!(z.dtype(), T => activate::value::<T>(z, activation))
    }

    fn modulated_block(
        h: FloatTensor<Self>,
        e: FloatTensor<Self>,
        inner: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        outer: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        host::by_type!(h.dtype(), T => modulated_block::value::<T>([h, e, inner, gain, shift, outer], activation))
    }

    fn modulated_linear(
        h: FloatTensor<Self>,
        e: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        host::by_type!(h.dtype(), T => modulated_linear::value::<T>([h, e, gain, weights, shift]))
    }

    fn blend(
        y: FloatTensor<Self>,
        a: FloatTensor<Self>,
        f: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        host::by_type!(y.dtype(), T => blend::value::<T>([y, a, f, b]))
    }

    fn weighted_squares(
        s: FloatTensor<Self>,
        b: FloatTensor<Self>,
        z: FloatTensor<Self>,
        w: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        host::by_type!(s.dtype(), T => weighted_squares::value::<T>([s, b, z, w]))
    }
}

impl<C: CheckpointStrategy> FusedLayers for Autodiff<Flex, C> {
    fn activate(z: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        host::by_type!(z.dtype(), T => activate::tracked::<T, C>(z, activation))
    }

    fn modulated_block(
        h: FloatTensor<Self>,
        e: FloatTensor<Self>,
        inner: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        outer: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        host::by_type!(h.dtype(), T => modulated_block::tracked::<T, C>([h, e, inner, gain, shift, outer], activation))
    }

    fn modulated_linear(
        h: FloatTensor<Self>,
        e: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        host::by_type!(h.dtype(), T => modulated_linear::tracked::<T, C>([h, e, gain, weights, shift]))
    }

    fn blend(
        y: FloatTensor<Self>,
        a: FloatTensor<Self>,
        f: FloatTensor<Self>,
        b: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        host::by_type!(y.dtype(), T => blend::tracked::<T, C>([y, a, f, b]))
    }

    fn weighted_squares(
        s: FloatTensor<Self>,
        b: FloatTensor<Self>,
        z: FloatTensor<Self>,
        w: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        host::by_type!(s.dtype(), T => weighted_squares::tracked::<T, C>([s, b, z, w]))
    }
}

/// Whether operands of this type on this device have layers of their own.
fn has_fused_layers(device: Device, dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64) && device.inner() == Device::flex()
}

/// Refuses an embedding, or a factor, that belongs neither to all points nor to each.
fn check_rows(h: &Tensor<2>, e: &Tensor<2>) {
    let [[n, _], [rows, _]] = [h.dims(), e.dims()];
    assert!(rows == n || rows == 1, "{rows} rows for {n} points");
}

/// Rows of their own for all points where reverse mode asks for derivatives by them.
fn a_row_a_point(e: Tensor<2>, h: &Tensor<2>) -> Tensor<2> {
    let [[n, _], [rows, embedding]] = [h.dims(), e.dims()];
    if rows == n || !h.is_autodiff() { e } else { e.expand([n, embedding]) }
}

/// `a(z)`, entry by entry.
pub(crate) fn activate<const D: usize>(z: Tensor<D>, activation: Activation) -> Tensor<D> {
    if !has_fused_layers(z.device(), z.dtype()) {
        return activation.compose(z);
    }
    Tensor::from_dispatch(<Dispatch as FusedLayers>::activate(z.into_dispatch(), activation))
}

/// The weights of a modulated block.
pub(crate) struct BlockWeights {
    /// U, `[width, width]`.
    pub inner: Tensor<2>,
    /// G, `[embedding, width]`.
    pub gain: Tensor<2>,
    /// S, `[embedding, width]`.
    pub shift: Tensor<2>,
    /// V, `[width, width]`.
    pub outer: Tensor<2>,
}

/// `h + a((h U) ∘ (e G) + e S) V`; h `[n, width]`, e `[n, embedding]` or, the same at all points, `[1, embedding]`.
pub(crate) fn modulated_block(h: Tensor<2>, e: Tensor<2>, weights: BlockWeights, activation: Activation) -> Tensor<2> {
    check_rows(&h, &e);
    let BlockWeights { inner, gain, shift, outer } = weights;
    if !has_fused_layers(h.device(), h.dtype()) {
        let z = h.clone().matmul(inner) * e.clone().matmul(gain) + e.matmul(shift);
        return h + activation.apply(z).matmul(outer);
    }
    let e = a_row_a_point(e, &h);
    let [h, e, inner, gain, shift, outer] = [h, e, inner, gain, shift, outer].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as FusedLayers>::modulated_block(h, e, inner, gain, shift, outer, activation))
}

/// `(h ∘ (e G)) W + e S`; h `[n, width]`, e `[n, embedding]` or `[1, embedding]`, G `[embedding, width]`, W `[width, m]`, S `[embedding, m]`.
pub(crate) fn modulated_linear(
    h: Tensor<2>,
    e: Tensor<2>,
    gain: Tensor<2>,
    weights: Tensor<2>,
    shift: Tensor<2>,
) -> Tensor<2> {
    check_rows(&h, &e);
    if !has_fused_layers(h.device(), h.dtype()) {
        return (h * e.clone().matmul(gain)).matmul(weights) + e.matmul(shift);
    }
    let e = a_row_a_point(e, &h);
    let [h, e, gain, weights, shift] = [h, e, gain, weights, shift].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as FusedLayers>::modulated_linear(h, e, gain, weights, shift))
}

/// `y ∘ a + f ∘ b`; y, f `[n, d]`, a, b `[n, 1]` or, the same for all rows, `[1, 1]`.
pub(crate) fn blend(y: Tensor<2>, a: Tensor<2>, f: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    assert_eq!(y.dims(), f.dims());
    check_rows(&y, &a);
    check_rows(&y, &b);
    if !has_fused_layers(y.device(), y.dtype()) {
        return y * a + f * b;
    }
    let [y, a, f, b] = [y, a, f, b].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as FusedLayers>::blend(y, a, f, b))
}

/// `w |b s + z|²/d` of every row, which reverse mode takes as a function of s alone; s, z `[n, d]`, b, w `[n]` `-> [n]`.
pub fn weighted_squares(s: Tensor<2>, b: Tensor<1>, z: Tensor<2>, w: Tensor<1>) -> Tensor<1> {
    let [n, _] = s.dims();
    assert_eq!((s.dims(), b.dims(), w.dims()), (z.dims(), [n], [n]));
    if !has_fused_layers(s.device(), s.dtype()) {
        let error = s * b.unsqueeze_dim(1) + z;
        return error.square().mean_dim(1).squeeze_dim::<1>(1) * w;
    }
    let (s, b, z, w) = (s.into_dispatch(), b.into_dispatch(), z.into_dispatch(), w.into_dispatch());
    Tensor::from_dispatch(<Dispatch as FusedLayers>::weighted_squares(s, b, z, w))
}
