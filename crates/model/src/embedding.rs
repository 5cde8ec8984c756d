//! The noise level as a vector: Fourier features of `c_noise`, then one hidden layer.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};

use crate::activation::Activation;
use crate::initialization::Initializer;

/// How many frequencies the features have.
///
/// `ω_k = 2^{k/3 - 1}`, from ½ to 16. As `c_noise = log(σ/σ_d)/4`, the fastest feature has a period of 1.6 in
/// log σ: faster ones would let a network vary between noise levels more than any posterior mean does.
const FREQUENCIES: usize = 16;

/// `e(c) = (a([cos ωc, sin ωc] W), 1)`.
///
/// The constant last entry lets every linear map of the embedding carry its own bias.
#[derive(Module, Debug)]
pub struct NoiseEmbedding {
    /// W `[32, size - 1]`.
    hidden: Param<Tensor<2>>,
}

impl NoiseEmbedding {
    pub(crate) fn new(size: usize, initializer: &mut Initializer) -> Self {
        // cos² + sin² = 1: the features have the norm √FREQUENCIES.
        let sd = (1.0 / FREQUENCIES as f64).sqrt();
        Self { hidden: initializer.normal(2 * FREQUENCIES, size - 1, sd) }
    }

    /// `e(c)`; `[n, 1] -> [n, size]`.
    pub fn forward(&self, c_noise: Tensor<2>, activation: Activation) -> Tensor<2> {
        let (n, options) = (c_noise.dims()[0], (&c_noise.device(), c_noise.dtype()));
        let frequencies: Vec<f32> = (0..FREQUENCIES).map(|k| (k as f32 / 3.0 - 1.0).exp2()).collect();
        let frequencies = Tensor::<2>::from_data(TensorData::new(frequencies, [1, FREQUENCIES]), options);
        let phase = c_noise * frequencies;
        let features = Tensor::cat(vec![phase.clone().cos(), phase.sin()], 1);
        let hidden = activation.apply(features.matmul(self.hidden.val()));
        Tensor::cat(vec![hidden, Tensor::ones([n, 1], options)], 1)
    }
}
