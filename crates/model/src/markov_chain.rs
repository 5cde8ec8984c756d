//! Moves that leave a density as it is: Hamiltonian and Langevin proposals, accepted as Metropolis says, all points in one batch.
//!
//! Neal, MCMC using Hamiltonian dynamics, Handbook of Markov Chain Monte Carlo (2011).

use std::ops::Range;
use std::sync::Arc;

use brenier_measure::{GaussianMixture, Measure, Stream, host_tensor, to_values};
use burn::tensor::{DType, Device, Tensor};
use ndarray::Array2;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How points move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum MovesConfig {
    /// Hamiltonian Monte Carlo: a momentum is drawn, and its path is followed by leapfrog steps.
    Hmc {
        /// Moves at every temperature.
        #[serde(default = "moves")]
        #[schemars(range(min = 1, max = 1000))]
        steps: usize,
        /// Leapfrog steps of a move.
        #[serde(default = "leapfrog")]
        #[schemars(range(min = 1, max = 1000))]
        leapfrog: usize,
    },
    /// The Metropolis-adjusted Langevin algorithm: one step along the score, and noise.
    Mala {
        /// Moves at every temperature.
        #[serde(default = "moves")]
        #[schemars(range(min = 1, max = 1000))]
        steps: usize,
    },
}

fn moves() -> usize {
    3
}

fn leapfrog() -> usize {
    5
}

impl Default for MovesConfig {
    fn default() -> Self {
        Self::Hmc { steps: moves(), leapfrog: leapfrog() }
    }
}

impl MovesConfig {
    /// Moves at every temperature.
    pub fn steps(&self) -> usize {
        match *self {
            Self::Hmc { steps, .. } | Self::Mala { steps } => steps,
        }
    }

    /// Langevin's proposal is one leapfrog step.
    fn leapfrog(&self) -> usize {
        match *self {
            Self::Hmc { leapfrog, .. } => leapfrog,
            Self::Mala { .. } => 1,
        }
    }

    /// The acceptance at which a step does most: .8 for long paths (Betancourt, Byrne and Girolami, 2014), .574 for one step (Roberts and
    /// Rosenthal, 1998).
    pub fn best_acceptance(&self) -> f64 {
        match self {
            Self::Hmc { .. } => 0.8,
            Self::Mala { .. } => 0.574,
        }
    }
}

/// A density on the way from a start to a target: `log f_β = β log p + (1 - β) log q`.
#[derive(Clone)]
pub struct Tempered {
    /// p, up to a constant.
    pub target: Arc<dyn Measure>,
    /// q.
    pub start: Arc<GaussianMixture>,
    /// β in [0, 1].
    pub beta: f64,
}

impl Tempered {
    fn log_density(&self, x: &Tensor<2>) -> Tensor<1> {
        if self.beta == 1.0 {
            return self.target.log_density(x.clone());
        }
        self.target.log_density(x.clone()) * self.beta + self.start.log_density(x.clone()) * (1.0 - self.beta)
    }

    fn score(&self, x: &Tensor<2>) -> Tensor<2> {
        if self.beta == 1.0 {
            return self.target.score(x.clone());
        }
        self.target.score(x.clone()) * self.beta + Measure::score(self.start.as_ref(), x.clone()) * (1.0 - self.beta)
    }
}

/// A kernel that leaves a density as it is.
#[derive(Clone)]
pub struct Kernel {
    /// The density.
    pub density: Tempered,
    /// F with `F Fᵀ` the covariance in whose units a step is measured, `[d, d]`.
    pub factor: Array2<f64>,
    /// The length ε of a leapfrog step in those units; every point and move has its own, evenly between .8 ε and 1.2 ε.
    pub step_size: f64,
    /// The proposals.
    pub moves: MovesConfig,
}

/// Points under way, with what is known of the density there.
pub struct Walkers {
    x: Tensor<2>,
    log_density: Vec<f64>,
    score: Tensor<2>,
}

impl Walkers {
    /// Points `[n, d]` about to move.
    pub fn new(x: Tensor<2>, density: &Tempered) -> Self {
        let (log_density, score) = (to_values(density.log_density(&x)), density.score(&x));
        Self { x, log_density, score }
    }

    /// Where they are, `[n, d]`.
    pub fn points(self) -> Tensor<2> {
        self.x
    }
}

impl Kernel {
    /// Moves every point once; a function of the stream, the step and the index of a point. The mean probability of acceptance.
    pub fn step(&self, walkers: &mut Walkers, stream: &Stream, step: u64, indices: Range<u64>) -> f64 {
        let [n, d] = walkers.x.dims();
        let (dtype, device) = (walkers.x.dtype(), walkers.x.device());
        let drawn: Vec<(Vec<f64>, f64, f64)> = indices
            .into_par_iter()
            .map(|index| {
                let mut words = stream.at(step, index);
                let mut momentum = vec![0.0; d];
                words.fill_normal(&mut momentum);
                (momentum, words.uniform(), words.uniform())
            })
            .collect();
        let tensor = |values: Vec<f64>, width| host_tensor(values, [n, width], dtype, &device);
        let start = tensor(drawn.iter().flat_map(|(momentum, ..)| momentum.iter().copied()).collect(), d);
        let size = tensor(drawn.iter().map(|(_, jitter, _)| self.step_size * (0.8 + 0.4 * jitter)).collect(), 1);
        let factor = host_tensor(self.factor.iter().copied().collect(), [d, d], dtype, &device);
        let (half, transposed) = (size.clone() / 2.0, factor.clone().transpose());
        let mut momentum = start.clone() + walkers.score.clone().matmul(factor.clone()) * half.clone();
        let (mut x, mut score) = (walkers.x.clone(), walkers.score.clone());
        let leapfrog = self.moves.leapfrog();
        for k in 1..=leapfrog {
            x = x + momentum.clone().matmul(transposed.clone()) * size.clone();
            score = self.density.score(&x);
            let kick = score.clone().matmul(factor.clone());
            momentum = momentum + kick * if k < leapfrog { size.clone() } else { half.clone() };
        }
        let log_density = to_values(self.density.log_density(&x));
        let kinetic = |p: Tensor<2>| to_values((p.square().sum_dim(1) / 2.0).squeeze_dim(1));
        let (before, after) = (kinetic(start), kinetic(momentum));
        let mut acceptance = 0.0;
        let mut accepted = vec![0.0; n];
        for i in 0..n {
            let log_ratio = log_density[i] - walkers.log_density[i] + before[i] - after[i];
            // What is no number is refused, and a pole is no place to stay at.
            let is_pole = log_density[i] == f64::INFINITY;
            if !is_pole && (log_ratio >= 0.0 || drawn[i].2.ln() < log_ratio) {
                accepted[i] = 1.0;
                walkers.log_density[i] = log_density[i];
            }
            acceptance += if log_ratio.is_nan() || is_pole { 0.0 } else { log_ratio.min(0.0).exp() };
        }
        let accepted = tensor(accepted, 1).greater_elem(0.5).expand([n, d]);
        walkers.x = walkers.x.clone().mask_where(accepted.clone(), x);
        walkers.score = walkers.score.clone().mask_where(accepted, score);
        acceptance / n as f64
    }
}

/// The number type that a device is sure to have: f64 on the CPU.
pub(crate) fn dtype_of(device: &Device) -> DType {
    if *device == Device::flex() { DType::F64 } else { DType::F32 }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Estimate, Purpose, Sample, to_points, to_tensor};

    use super::*;

    #[test]
    fn moves_leave_a_law_as_it_is() {
        let law = GaussianMixture::new(
            vec![0.4, 0.6],
            vec![vec![-1.0, 0.0], vec![1.0, 0.5]],
            vec![vec![vec![0.2, 0.1], vec![0.1, 0.3]], vec![vec![0.3, 0.0], vec![0.0, 0.1]]],
        )
        .unwrap();
        let law = Arc::new(law);
        let n = 20_000;
        for moves in [MovesConfig::default(), MovesConfig::Mala { steps: 1 }] {
            let density = Tempered { target: law.clone(), start: law.clone(), beta: 1.0 };
            let factor = Array2::from_shape_vec((2, 2), vec![0.8, 0.0, 0.2, 0.5]).unwrap();
            let kernel = Kernel { density, factor, step_size: 0.7, moves };
            let start = law.sample(&Stream::new(1, Purpose::Particles), 0, 0..n);
            let stream = Stream::new(1, Purpose::Moves);
            let walk = |indices: Range<u64>| {
                let rows = start.slice(ndarray::s![indices.start as usize..indices.end as usize, ..]).to_owned();
                let mut walkers = Walkers::new(to_tensor(&rows, DType::F64, &Device::flex()), &kernel.density);
                let acceptance =
                    (0..4).map(|step| kernel.step(&mut walkers, &stream, step, indices.clone())).sum::<f64>();
                (to_points(walkers.points()), acceptance / 4.0)
            };
            let (moved, acceptance) = walk(0..n);
            assert!((0.4..0.97).contains(&acceptance), "{acceptance}");
            let (mean, covariance) = (law.mean(), law.covariance());
            for j in 0..2 {
                let of = |f: fn(f64) -> f64| Estimate::mean(moved.column(j).iter().map(|x| f(*x)));
                let first = of(|x| x);
                let second = of(|x| x * x);
                let moment = covariance[[j, j]] + mean[j] * mean[j];
                assert!((first.value - mean[j]).abs() < 5.0 * first.std_error, "{first:?} against {}", mean[j]);
                assert!((second.value - moment).abs() < 5.0 * second.std_error, "{second:?} against {moment}");
            }
            // Moves are functions of the index: a part moves as it does in the whole.
            assert_eq!(walk(100..103).0, moved.slice(ndarray::s![100..103, ..]));
        }
    }
}
