//! A residual multilayer perceptron whose every layer is modulated by the noise level.
//!
//! # Design
//!
//! With the embedding e of the noise level and `∘` the product entry by entry,
//!
//! ```text
//! h₀ = x W_in
//! h_{l+1} = h_l + a((h_l U_l) ∘ (e G_l) + e S_l) V_l
//! F(x, e) = (h_L ∘ (e G)) W_out + e S
//! ```
//!
//! (FiLM: Perez et al., 1709.07871). All products are of matrices of rank two, and on the CPU a block is one operation
//! with a backward pass of its own. A preconditioned input has unit variance at every noise level, so
//! that no normalisation is needed at these depths; the last layer starts at zero, so F does. The
//! path from h₀ to the output is linear with a gain of its own at every noise level: what a
//! Gaussian needs is there from the start, and the blocks learn the rest.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::activation::Activation;
use crate::embedding::NoiseEmbedding;
use crate::fused::{self, BlockWeights};
use crate::initialization::Initializer;

/// `h + a((h U) ∘ (e G) + e S) V`.
#[derive(Module, Debug)]
struct ResidualBlock {
    /// U `[width, width]`.
    inner: Param<Tensor<2>>,
    /// G `[embedding, width]`, starting at a gain of 1.
    gain: Param<Tensor<2>>,
    /// S `[embedding, width]`, starting at a shift of 0.
    shift: Param<Tensor<2>>,
    /// V `[width, width]`.
    outer: Param<Tensor<2>>,
}

impl ResidualBlock {
    fn new(width: usize, depth: usize, embedding: usize, initializer: &mut Initializer) -> Self {
        Self {
            inner: initializer.normal(width, width, (1.0 / width as f64).sqrt()),
            gain: initializer.constant(embedding, width, 1.0),
            shift: initializer.constant(embedding, width, 0.0),
            // The sum of all branches has about the variance of the stream, whatever the depth.
            outer: initializer.normal(width, width, (1.0 / (width * depth) as f64).sqrt()),
        }
    }

    fn forward(&self, h: Tensor<2>, e: Tensor<2>, activation: Activation) -> Tensor<2> {
        let [inner, gain, shift, outer] = [&self.inner, &self.gain, &self.shift, &self.outer].map(Param::val);
        fused::modulated_block(h, e, BlockWeights { inner, gain, shift, outer }, activation)
    }

    /// The block and its Jacobian times tangents; h `[n, width]`, tangents `[k·n, width]`.
    fn jvp(&self, h: Tensor<2>, tangents: Tensor<2>, e: Tensor<2>, activation: Activation) -> (Tensor<2>, Tensor<2>) {
        let gain = e.clone().matmul(self.gain.val());
        let shift = e.matmul(self.shift.val());
        let z = h.clone().matmul(self.inner.val()) * gain.clone() + shift;
        let (a, derivative) = activation.with_derivative(z);
        let inner = scale_rows(tangents.clone().matmul(self.inner.val()), derivative * gain);
        (h + a.matmul(self.outer.val()), tangents + inner.matmul(self.outer.val()))
    }
}

/// Multiplies k stacked blocks of n rows by one factor; `[k·n, m] ∘ [n, m]`.
fn scale_rows(stacked: Tensor<2>, factor: Tensor<2>) -> Tensor<2> {
    let ([rows, m], [n, _]) = (stacked.dims(), factor.dims());
    if rows == n {
        return stacked * factor;
    }
    (stacked.reshape([rows / n, n, m]) * factor.unsqueeze_dim::<3>(0)).reshape([rows, m])
}

/// `F: R^d × R -> R^d`; see the [module](self).
#[derive(Module, Debug)]
pub struct ResidualMlp {
    /// W_in `[d, width]`.
    input: Param<Tensor<2>>,
    embedding: NoiseEmbedding,
    blocks: Vec<ResidualBlock>,
    /// G `[embedding, width]`.
    gain: Param<Tensor<2>>,
    /// W_out `[width, d]`, starting at 0.
    output: Param<Tensor<2>>,
    /// S `[embedding, d]`, starting at 0.
    shift: Param<Tensor<2>>,
    #[module(skip)]
    activation: Activation,
}

impl ResidualMlp {
    pub(crate) fn new(
        dim: usize,
        width: usize,
        depth: usize,
        activation: Activation,
        embedding: usize,
        initializer: &mut Initializer,
    ) -> Self {
        Self {
            input: initializer.normal(dim, width, (1.0 / dim as f64).sqrt()),
            embedding: NoiseEmbedding::new(embedding, initializer),
            blocks: (0..depth).map(|_| ResidualBlock::new(width, depth, embedding, initializer)).collect(),
            gain: initializer.constant(embedding, width, 1.0),
            output: initializer.constant(width, dim, 0.0),
            shift: initializer.constant(embedding, dim, 0.0),
            activation,
        }
    }

    /// `F(x, c)`; x `[n, d]`, c_noise `[n, 1]` `-> [n, d]`.
    pub fn forward(&self, x: Tensor<2>, c_noise: Tensor<2>) -> Tensor<2> {
        let e = self.embedding.forward(c_noise, self.activation);
        let mut h = x.matmul(self.input.val());
        for block in &self.blocks {
            h = block.forward(h, e.clone(), self.activation);
        }
        fused::modulated_linear(h, e, self.gain.val(), self.output.val(), self.shift.val())
    }

    /// `F(x, c)` and `∂ₓF(x, c)·v` for k tangents at every point, in forward mode.
    ///
    /// x `[n, d]`, c_noise `[n, 1]`, tangents `[k·n, d]` (the first n rows are the first tangent of every point)
    /// `-> [n, d]`, `[k·n, d]`. The values of the layers are computed once for all tangents.
    pub fn jvp(&self, x: Tensor<2>, c_noise: Tensor<2>, tangents: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let e = self.embedding.forward(c_noise, self.activation);
        let mut h = x.matmul(self.input.val());
        let mut tangents = tangents.matmul(self.input.val());
        for block in &self.blocks {
            (h, tangents) = block.jvp(h, tangents, e.clone(), self.activation);
        }
        let gain = e.clone().matmul(self.gain.val());
        let value = (h * gain.clone()).matmul(self.output.val()) + e.matmul(self.shift.val());
        (value, scale_rows(tangents, gain).matmul(self.output.val()))
    }
}
