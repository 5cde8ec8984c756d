//! A network that estimates the posterior mean, and so the score, at every noise level.

use brenier_measure::Denoiser;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::fused;
use crate::initialization::Initializer;
use crate::preconditioning::{Coefficients, Preconditioning};
use crate::residual_mlp::ResidualMlp;

/// The architecture of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkConfig {
    /// A residual multilayer perceptron for vectors of dimension 1 to about 1000; see [`crate::residual_mlp`].
    ResidualMlp {
        /// The number of units of a layer.
        #[serde(default = "width")]
        #[schemars(range(min = 1, max = 16384))]
        width: usize,
        /// The number of residual blocks, of two layers each.
        #[serde(default = "depth")]
        #[schemars(range(min = 1, max = 256))]
        depth: usize,
        /// The nonlinearity.
        #[serde(default)]
        activation: Activation,
        /// The size of the embedding of the noise level.
        #[serde(default = "embedding")]
        #[schemars(range(min = 2, max = 4096))]
        embedding: usize,
    },
}

fn width() -> usize {
    256
}
fn depth() -> usize {
    4
}
fn embedding() -> usize {
    64
}

/// Why a network cannot be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NetworkError {
    /// A size out of range.
    #[error("network.residual_mlp.{key} is {value}; it must lie between {min} and {max}")]
    Size {
        /// The key of the config.
        key: &'static str,
        /// What it holds.
        value: usize,
        /// The least allowed value.
        min: usize,
        /// The greatest allowed value.
        max: usize,
    },
    /// Data of dimension zero.
    #[error("the data have dimension 0; give at least one column")]
    Dimension,
    /// A scale that is no scale.
    #[error(
        "the standard deviation of the data is {0}; it must be positive and finite: remove constant data, or standardise"
    )]
    SigmaData(f64),
}

impl NetworkConfig {
    /// Refuses sizes that no network can have.
    pub fn validate(&self) -> Result<(), NetworkError> {
        let Self::ResidualMlp { width, depth, embedding, .. } = *self;
        for (key, value, min, max) in
            [("width", width, 1, 16384), ("depth", depth, 1, 256), ("embedding", embedding, 2, 4096)]
        {
            if !(min..=max).contains(&value) {
                return Err(NetworkError::Size { key, value, min, max });
            }
        }
        Ok(())
    }
}

/// A denoiser that can also be differentiated along directions of the noisy point.
pub trait ScoreJacobian: Denoiser {
    /// `∇log p(y)` and `∇²log p(y)·v` for k directions at every point.
    ///
    /// y `[n, d]`, σ `[n]`, tangents `[k·n, d]` (the first n rows are the first direction of every point) `-> [n, d]`,
    /// `[k·n, d]`.
    fn score_jvp(&self, y: Tensor<2>, sigma: Tensor<1>, tangents: Tensor<2>) -> (Tensor<2>, Tensor<2>);

    /// `D(y, σ)` and `∂D(y, σ)·v` for k directions at every point; shapes as for [`score_jvp`](Self::score_jvp).
    ///
    /// By Tweedie's formula `∂D = I + σ²∇²log p`, which is what this computes unless overridden: far above the scale of the
    /// data `∂D` is a small difference of large numbers, so implementations form it directly where they can.
    fn denoise_jvp(&self, y: Tensor<2>, sigma: Tensor<1>, tangents: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let k = tangents.dims()[0] / y.dims()[0];
        let variance = sigma.clone().square().unsqueeze_dim::<2>(1);
        let (score, moved) = self.score_jvp(y.clone(), sigma, tangents.clone());
        (y + score * variance.clone(), tangents + moved * variance.repeat_dim(0, k))
    }
}

/// `D(y, σ) = c_skip y + c_out F(c_in y, c_noise)`, F a network; Karras et al. (2206.00364), equation 7.
///
/// Its record holds the parameters alone: the architecture, the preconditioning and σ_d come back from the config.
#[derive(Module, Debug)]
pub struct ScoreNetwork {
    network: ResidualMlp,
    #[module(skip)]
    preconditioning: Preconditioning,
    dim: usize,
    sigma_data: f64,
}

impl ScoreNetwork {
    /// A network for data of dimension `dim` and standard deviation `sigma_data`, in F32 on `device`.
    ///
    /// Its parameters are a function of the architecture and the seed. The last layer is zero: `D = c_skip y`.
    ///
    /// # Errors
    ///
    /// A size of the architecture, `dim` or `sigma_data` out of range.
    pub fn new(
        config: &NetworkConfig,
        preconditioning: Preconditioning,
        dim: usize,
        sigma_data: f64,
        seed: u64,
        device: &Device,
    ) -> Result<Self, NetworkError> {
        config.validate()?;
        if dim == 0 {
            return Err(NetworkError::Dimension);
        }
        if !(sigma_data > 0.0 && sigma_data.is_finite()) {
            return Err(NetworkError::SigmaData(sigma_data));
        }
        let NetworkConfig::ResidualMlp { width, depth, activation, embedding } = *config;
        let mut initializer = Initializer::new(seed, device);
        let network = ResidualMlp::new(dim, width, depth, activation, embedding, &mut initializer);
        Ok(Self { network, preconditioning, dim, sigma_data })
    }

    /// The same network with its parameters in another number type: F32 to train, F64 to evaluate.
    pub fn cast(self, dtype: DType) -> Self {
        self.map(&mut Cast(dtype))
    }

    /// The standard deviation σ_d of the data, the unit of the preconditioning.
    pub fn sigma_data(&self) -> f64 {
        self.sigma_data
    }

    /// What F predicts.
    pub fn preconditioning(&self) -> Preconditioning {
        self.preconditioning
    }

    /// The functions of the noise level around F; σ `[n]`.
    pub fn coefficients(&self, sigma: Tensor<1>) -> Coefficients {
        self.preconditioning.coefficients(sigma, self.sigma_data)
    }

    /// `F(c_in y, c_noise)`, the bare network; y `[n, d]`, σ `[n]` `-> [n, d]`.
    pub fn raw(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        let c = self.coefficients(sigma);
        self.network.forward(y * c.c_in, c.c_noise)
    }

    /// `D(y, σ)` and `∂D(y, σ)·v` for k directions at every point, in tensor operations that reverse mode can train through.
    ///
    /// y `[n, d]`, σ `[n]`, tangents `[k·n, d]` (the first n rows are the first direction of every point)
    /// `-> [n, d]`, `[k·n, d]`.
    pub fn jvp(&self, y: Tensor<2>, sigma: Tensor<1>, tangents: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let c = self.coefficients(sigma);
        self.jvp_of(y, tangents, c.c_skip, c.c_out, c.c_in, c.c_noise)
    }

    fn jvp_of(
        &self,
        y: Tensor<2>,
        tangents: Tensor<2>,
        skip: Tensor<2>,
        out: Tensor<2>,
        c_in: Tensor<2>,
        c_noise: Tensor<2>,
    ) -> (Tensor<2>, Tensor<2>) {
        let k = tangents.dims()[0] / y.dims()[0];
        let stacked = |c: &Tensor<2>| c.clone().repeat_dim(0, k);
        let (value, moved) = self.network.jvp(y.clone() * c_in.clone(), c_noise, tangents.clone() * stacked(&c_in));
        let tangents = tangents * stacked(&skip) + moved * stacked(&out);
        (y * skip + value * out, tangents)
    }
}

/// The noise level of all points, `[1]`, where they share one on the CPU: what depends on it alone is then computed once. Else as
/// they are, `[n]`.
fn one_for_all(sigma: Tensor<1>) -> Tensor<1> {
    if sigma.is_autodiff() || sigma.device() != Device::flex() {
        return sigma;
    }
    let data = sigma.to_data();
    let mut levels = data.bytes().chunks_exact(data.dtype().size());
    let first = levels.next();
    if first.is_some() && levels.all(|level| Some(level) == first) { sigma.narrow(0, 0, 1) } else { sigma }
}

impl Denoiser for ScoreNetwork {
    fn dim(&self) -> usize {
        self.dim
    }

    fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        let c = self.coefficients(one_for_all(sigma));
        let f = self.network.forward(y.clone() * c.c_in, c.c_noise);
        fused::blend(y, c.c_skip, f, c.c_out)
    }

    fn score(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        let c = self.coefficients(one_for_all(sigma));
        let f = self.network.forward(y.clone() * c.c_in, c.c_noise);
        fused::blend(y, c.score_skip, f, c.score_out)
    }
}

impl ScoreJacobian for ScoreNetwork {
    fn score_jvp(&self, y: Tensor<2>, sigma: Tensor<1>, tangents: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let c = self.coefficients(sigma);
        self.jvp_of(y, tangents, c.score_skip, c.score_out, c.c_in, c.c_noise)
    }

    fn denoise_jvp(&self, y: Tensor<2>, sigma: Tensor<1>, tangents: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        self.jvp(y, sigma, tangents)
    }
}

struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        parameter.map(|tensor| {
            let trained = tensor.is_require_grad();
            tensor.cast(self.0).detach().set_require_grad(trained)
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use brenier_measure::{Points, Purpose, Stream, to_points, to_tensor};
    use burn::module::ModuleVisitor;
    use burn::optim::GradientsParams;
    use burn::store::ModuleRecord;
    use burn::tensor::TensorData;

    const ALL: [Preconditioning; 5] = [
        Preconditioning::Edm,
        Preconditioning::VariancePreserving,
        Preconditioning::VarianceExploding,
        Preconditioning::Denoiser,
        Preconditioning::Velocity,
    ];

    /// Adds noise to every parameter, so that none is zero.
    struct Perturb {
        stream: Stream,
        step: u64,
        sd: f64,
    }

    impl ModuleMapper for Perturb {
        fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let mut noise = vec![0.0; parameter.val().shape().num_elements()];
            self.stream.at(self.step, 0).fill_normal(&mut noise);
            self.step += 1;
            parameter.map(|tensor| {
                let data = TensorData::new(noise, tensor.shape());
                let noise = Tensor::from_data(data, (&tensor.device(), tensor.dtype()));
                let trained = tensor.is_require_grad();
                (tensor + noise * self.sd).detach().set_require_grad(trained)
            })
        }
    }

    pub(crate) fn perturbed(network: ScoreNetwork, sd: f64) -> ScoreNetwork {
        network.map(&mut Perturb { stream: Stream::new(99, Purpose::Noise), step: 0, sd })
    }

    fn config(width: usize, depth: usize, activation: Activation) -> NetworkConfig {
        NetworkConfig::ResidualMlp { width, depth, activation, embedding: 12 }
    }

    /// A small network, no parameter zero, in F64.
    pub(crate) fn network(preconditioning: Preconditioning, dim: usize, activation: Activation) -> ScoreNetwork {
        let network =
            ScoreNetwork::new(&config(16, 2, activation), preconditioning, dim, 1.3, 5, &Device::flex()).unwrap();
        perturbed(network.cast(DType::F64), 0.1)
    }

    fn normal(n: usize, d: usize, step: u64) -> Tensor<2> {
        let mut points = Points::zeros((n, d));
        for (i, mut row) in points.rows_mut().into_iter().enumerate() {
            Stream::new(3, Purpose::Noise).at(step, i as u64).fill_normal(row.as_slice_mut().unwrap());
        }
        to_tensor(&points, DType::F64, &Device::flex())
    }

    fn levels() -> (usize, Tensor<1>) {
        let sigma = vec![0.05, 0.3, 1.0, 4.0, 20.0];
        let n = sigma.len();
        (n, Tensor::from_data(TensorData::new(sigma, [n]), (&Device::flex(), DType::F64)))
    }

    fn largest<const D: usize>(tensor: Tensor<D>) -> f64 {
        tensor.abs().max().into_scalar()
    }

    #[test]
    fn denoiser_and_score_obey_tweedie() {
        let (n, sigma) = levels();
        for preconditioning in ALL {
            let network = network(preconditioning, 3, Activation::Silu);
            let y = normal(n, 3, 0) * sigma.clone().unsqueeze_dim::<2>(1);
            let variance = sigma.clone().square().unsqueeze_dim::<2>(1);
            let score = network.score(y.clone(), sigma.clone());
            let tweedie = (network.denoise(y.clone(), sigma.clone()) - y) / variance;
            let defect = largest((score.clone() - tweedie) / (score.abs() + 1.0));
            assert!(defect < 1e-12, "{preconditioning:?}: {defect}");
        }
    }

    #[test]
    fn the_score_does_not_cancel_at_small_noise() {
        // The rounding of y spoils D - y: in F32 by a part in 10³ of it at σ = 1e-4, and in 10 at 1e-6.
        for preconditioning in [Preconditioning::Edm, Preconditioning::VariancePreserving] {
            let exact = network(preconditioning, 3, Activation::Silu);
            let single = exact.clone().cast(DType::F32);
            let y = normal(4, 3, 0);
            for sigma in [1e-4, 1e-6] {
                let sigma = Tensor::<1>::full([4], sigma, (&Device::flex(), DType::F64));
                let score = exact.score(y.clone(), sigma.clone());
                let rounded = single.score(y.clone().cast(DType::F32), sigma.cast(DType::F32)).cast(DType::F64);
                let defect = largest(rounded - score.clone()) / largest(score);
                assert!(defect < 5e-5, "{preconditioning:?}: {defect}");
            }
        }
    }

    #[test]
    fn points_that_share_a_noise_level_are_answered_as_each_alone() {
        let network = network(Preconditioning::Edm, 3, Activation::Silu);
        let y = normal(6, 3, 0);
        let shared = Tensor::<1>::full([6], 0.7, (&Device::flex(), DType::F64));
        // A seventh point at another level, so that all keep rows of their own.
        let others = Tensor::cat(vec![shared.clone(), shared.clone().narrow(0, 0, 1) * 2.0], 0);
        let more = Tensor::cat(vec![y.clone(), normal(1, 3, 1)], 0);
        for function in [ScoreNetwork::score, ScoreNetwork::denoise] {
            let alone = function(&network, more.clone(), others.clone()).narrow(0, 0, 6);
            assert!(largest(function(&network, y.clone(), shared.clone()) - alone) < 1e-12);
        }
    }

    #[test]
    fn a_new_network_answers_c_skip_y() {
        let network =
            ScoreNetwork::new(&config(16, 2, Activation::Silu), Preconditioning::Edm, 3, 1.0, 5, &Device::flex())
                .unwrap()
                .cast(DType::F64);
        let y = normal(1, 3, 0);
        let sigma = Tensor::<1>::full([1], 3.0, (&Device::flex(), DType::F64));
        assert!(largest(network.denoise(y.clone(), sigma) - y * 0.1) < 1e-14);
    }

    #[test]
    fn the_tangent_is_the_derivative() {
        let (n, sigma) = levels();
        let h = 1e-5;
        let column = sigma.clone().unsqueeze_dim::<2>(1);
        for (preconditioning, activation) in ALL.into_iter().zip([
            Activation::Silu,
            Activation::Gelu,
            Activation::Tanh,
            Activation::Softplus,
            Activation::Silu,
        ]) {
            let network = network(preconditioning, 3, activation);
            let y = normal(n, 3, 0) * column.clone();
            let tangents = normal(2 * n, 3, 1);
            let (value, moved) = network.jvp(y.clone(), sigma.clone(), tangents.clone());
            let (score, score_moved) = network.score_jvp(y.clone(), sigma.clone(), tangents.clone());
            assert!(largest(value - network.denoise(y.clone(), sigma.clone())) < 1e-11);
            assert!(largest(score - network.score(y.clone(), sigma.clone())) < 1e-9);
            for k in 0..2 {
                let rows = k * n..(k + 1) * n;
                let v = tangents.clone().slice([rows.clone()]);
                let check = |moved: &Tensor<2>, function: &dyn Fn(Tensor<2>) -> Tensor<2>| {
                    let (up, down) = (function(y.clone() + v.clone() * h), function(y.clone() - v.clone() * h));
                    let difference = (up - down) / (2.0 * h);
                    let scale = 1.0 + largest(difference.clone());
                    let defect = largest(moved.clone().slice([rows.clone()]) - difference) / scale;
                    assert!(defect < 1e-8, "{preconditioning:?}, {activation:?}: {defect}");
                };
                check(&moved, &|y| network.denoise(y, sigma.clone()));
                check(&score_moved, &|y| network.score(y, sigma.clone()));
            }
        }
    }

    #[test]
    fn gradients_reach_every_parameter() {
        struct Reached<'a> {
            gradients: &'a GradientsParams,
            count: usize,
        }
        impl ModuleVisitor for Reached<'_> {
            fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
                let gradient = self.gradients.get::<D>(parameter.id).expect("a gradient");
                assert!(largest(gradient.cast(DType::F64)) > 1e-8, "{:?}", parameter.val().shape());
                self.count += 1;
            }
        }
        let device = Device::flex().autodiff();
        let (n, sigma) = levels();
        let sigma = Tensor::from_inner(sigma);
        for preconditioning in ALL {
            let network =
                ScoreNetwork::new(&config(8, 2, Activation::Silu), preconditioning, 3, 1.0, 5, &device).unwrap();
            let network = perturbed(network.cast(DType::F64), 0.3);
            let y = Tensor::from_inner(normal(n, 3, 0));
            for train_through_tangents in [false, true] {
                let loss = if train_through_tangents {
                    let tangents = Tensor::from_inner(normal(n, 3, 1));
                    let (value, moved) = network.jvp(y.clone(), sigma.clone(), tangents);
                    value.square().mean() + moved.square().mean()
                } else {
                    network.denoise(y.clone(), sigma.clone()).square().mean()
                };
                let gradients = GradientsParams::from_grads(loss.backward(), &network);
                let mut reached = Reached { gradients: &gradients, count: 0 };
                network.visit(&mut reached);
                assert_eq!(reached.count, 5 + 4 * 2);
            }
        }
    }

    #[test]
    fn parameters_are_a_function_of_the_seed() {
        let bytes = |seed| {
            let network =
                ScoreNetwork::new(&config(8, 1, Activation::Silu), Preconditioning::Edm, 2, 1.0, seed, &Device::flex());
            perturbed(network.unwrap(), 0.1)
                .raw(normal(4, 2, 0).cast(DType::F32), Tensor::ones([4], &Device::flex()))
                .into_data()
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }

    #[test]
    fn a_record_brings_back_every_bit() {
        let device = Device::flex();
        let new =
            |seed| ScoreNetwork::new(&config(8, 2, Activation::Silu), Preconditioning::Edm, 2, 1.0, seed, &device);
        let written = perturbed(new(1).unwrap(), 0.1);
        let bytes = written.clone().into_record().into_bytes().unwrap();
        let read = new(2).unwrap().try_load_record(ModuleRecord::from_bytes(bytes).unwrap()).unwrap();
        let (y, sigma) = (normal(7, 2, 0).cast(DType::F32), Tensor::full([7], 0.5, &device));
        assert_eq!(written.denoise(y.clone(), sigma.clone()).into_data(), read.denoise(y, sigma).into_data());
    }

    #[test]
    fn impossible_networks_are_refused() {
        let new = |config: NetworkConfig, dim, sigma_data| {
            ScoreNetwork::new(&config, Preconditioning::Edm, dim, sigma_data, 0, &Device::flex())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            new(config(0, 2, Activation::Silu), 2, 1.0),
            "network.residual_mlp.width is 0; it must lie between 1 and 16384"
        );
        assert_eq!(new(config(8, 1, Activation::Silu), 0, 1.0), "the data have dimension 0; give at least one column");
        assert!(new(config(8, 1, Activation::Silu), 1, 0.0).starts_with("the standard deviation of the data is 0"));
        let config: NetworkConfig = serde_json::from_str(r#"{"residual_mlp": {}}"#).unwrap();
        let default = NetworkConfig::ResidualMlp { width: 256, depth: 4, activation: Activation::Silu, embedding: 64 };
        assert_eq!(config, default);
    }

    #[test]
    fn every_dimension_from_1_to_1000_works() {
        for dim in [1, 2, 1000] {
            let network = network(Preconditioning::Edm, dim, Activation::Silu);
            let score = network.score(normal(3, dim, 0), Tensor::ones([3], (&Device::flex(), DType::F64)));
            assert_eq!(to_points(score).dim(), (3, dim));
        }
    }
}
