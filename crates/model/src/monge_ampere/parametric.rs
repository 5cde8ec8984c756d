//! Convex potentials whose every parameter can be learnt by descent.
//!
//! # Design
//!
//! A loss of a map is one of `y = ∇φ(x)` and `H = ∇²φ(x)`, such as the negative log-likelihood `g(y) - log det H`. A family knows how both move
//! with its parameters, and hands back what a loss says of them: derivatives of third order in all, in closed form, with neither a tape nor
//! a graph. A family that knows this is a convex potential. All of it in f64 on the host, whatever the type and the device of the points.

use brenier_measure::{Points, host_tensor, to_points};
use burn::tensor::Tensor;
use ndarray::Axis;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::free_ridges::FreeRidges;
use super::linear_ridges::LinearRidges;
use super::log_sum_exp::LogSumExp;
use super::potential::ConvexPotential;

/// A loss at the points of a tile, and its derivatives by the gradients `[n, d]` and the Hessians `[n, d·d]` there.
pub struct Pull {
    /// The sum over the points.
    pub loss: f64,
    /// `∂/∂y`, `[n, d]`.
    pub gradients: Points,
    /// `∂/∂H`, one symmetric matrix a row, `[n, d·d]`.
    pub hessians: Points,
}

/// A loss of the gradients `[n, d]` and the Hessians `[n, d·d]` at the points of a tile.
pub type Loss<'a> = &'a (dyn Fn(&Points, &Points) -> Pull + Sync);

/// A convex potential that is a smooth function of parameters.
pub trait ParametricPotential: Clone + Send + Sync {
    /// The dimension d.
    fn dim(&self) -> usize;

    /// The parameters, `[p]`.
    fn parameters(&self) -> Vec<f64>;

    /// How far each parameter moves in a step of descent that is scaled to unit size, `[p]`.
    fn paces(&self) -> Vec<f64>;

    /// The member of the family nearest to these parameters.
    ///
    /// # Panics
    ///
    /// With another number of parameters.
    #[must_use]
    fn with_parameters(&self, parameters: &[f64]) -> Self;

    /// φ at the points of a tile, `[n]`.
    fn values(&self, x: &Points) -> Vec<f64>;

    /// ∇φ, `[n, d]`, and ∇²φ, one matrix a row, `[n, d·d]`, at the points of a tile.
    fn derivatives(&self, x: &Points) -> (Points, Points);

    /// The sum of a loss over the points of a tile, and its gradient by the parameters, `[p]`.
    fn pull(&self, x: &Points, loss: Loss) -> (f64, Vec<f64>);

    /// The mean of potentials: of the same family, and with a negative log-likelihood no higher than the mean of theirs under a log-concave
    /// reference, in which that is convex.
    ///
    /// # Panics
    ///
    /// Without a potential.
    #[must_use]
    fn mean(potentials: &[Self]) -> Self;
}

/// Points of one tile: what is kept of each stays in the second cache.
const TILE: usize = 128;

fn tiles(x: &Points) -> Vec<Points> {
    x.axis_chunks_iter(Axis(0), TILE).map(|tile| tile.to_owned()).collect()
}

/// The mean of a loss over points `[n, d]`, and its gradient by the parameters, `[p]`; the same bits on any number of threads.
pub fn mean_loss(potential: &impl ParametricPotential, x: &Points, loss: Loss) -> (f64, Vec<f64>) {
    let parts: Vec<(f64, Vec<f64>)> = tiles(x).par_iter().map(|tile| potential.pull(tile, loss)).collect();
    let mut parts = parts.into_iter();
    let (mut sum, mut gradient) = parts.next().unwrap_or_else(|| (0.0, vec![0.0; potential.parameters().len()]));
    for (loss, part) in parts {
        sum += loss;
        gradient.iter_mut().zip(part).for_each(|(g, p)| *g += p);
    }
    let n = x.nrows().max(1) as f64;
    gradient.iter_mut().for_each(|g| *g /= n);
    (sum / n, gradient)
}

/// A potential of any family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearnablePotential {
    /// Smoothed pieces.
    LogSumExp(LogSumExp),
    /// Ridges in directions that are learnt.
    Ridges(Box<FreeRidges>),
    /// Ridges that stay where they are.
    LinearRidges(LinearRidges),
}

impl LearnablePotential {
    /// Whether sizes agree, all numbers are finite, and the potential is convex.
    pub fn is_consistent(&self) -> bool {
        match self {
            Self::LogSumExp(potential) => potential.is_consistent(),
            Self::Ridges(potential) => potential.is_consistent(),
            // Checked where it was read.
            Self::LinearRidges(_) => true,
        }
    }
}

impl LearnablePotential {
    /// Whether a mean of both is one: of one family and shape.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::LogSumExp(own), Self::LogSumExp(other)) => own.quadratic.dim() == other.quadratic.dim(),
            (Self::Ridges(own), Self::Ridges(other)) => {
                own.directions.dim() == other.directions.dim() && own.knots.dim() == other.knots.dim()
            }
            (Self::LinearRidges(own), Self::LinearRidges(other)) => own.ridges() == other.ridges(),
            _ => false,
        }
    }
}

impl ParametricPotential for LearnablePotential {
    fn dim(&self) -> usize {
        match self {
            Self::LogSumExp(potential) => ParametricPotential::dim(potential),
            Self::Ridges(potential) => ParametricPotential::dim(potential.as_ref()),
            Self::LinearRidges(potential) => ParametricPotential::dim(potential),
        }
    }

    fn parameters(&self) -> Vec<f64> {
        match self {
            Self::LogSumExp(potential) => potential.parameters(),
            Self::Ridges(potential) => potential.parameters(),
            Self::LinearRidges(potential) => potential.parameters(),
        }
    }

    fn paces(&self) -> Vec<f64> {
        match self {
            Self::LogSumExp(potential) => potential.paces(),
            Self::Ridges(potential) => potential.paces(),
            Self::LinearRidges(potential) => potential.paces(),
        }
    }

    fn with_parameters(&self, parameters: &[f64]) -> Self {
        match self {
            Self::LogSumExp(potential) => Self::LogSumExp(potential.with_parameters(parameters)),
            Self::Ridges(potential) => Self::Ridges(Box::new(potential.with_parameters(parameters))),
            Self::LinearRidges(potential) => Self::LinearRidges(potential.with_parameters(parameters)),
        }
    }

    fn values(&self, x: &Points) -> Vec<f64> {
        match self {
            Self::LogSumExp(potential) => potential.values(x),
            Self::Ridges(potential) => potential.values(x),
            Self::LinearRidges(potential) => potential.values(x),
        }
    }

    fn derivatives(&self, x: &Points) -> (Points, Points) {
        match self {
            Self::LogSumExp(potential) => potential.derivatives(x),
            Self::Ridges(potential) => potential.derivatives(x),
            Self::LinearRidges(potential) => potential.derivatives(x),
        }
    }

    fn pull(&self, x: &Points, loss: Loss) -> (f64, Vec<f64>) {
        match self {
            Self::LogSumExp(potential) => potential.pull(x, loss),
            Self::Ridges(potential) => potential.pull(x, loss),
            Self::LinearRidges(potential) => potential.pull(x, loss),
        }
    }

    /// # Panics
    ///
    /// With potentials of different families.
    fn mean(potentials: &[Self]) -> Self {
        /// All of one family.
        fn all<T>(potentials: &[LearnablePotential], of: impl Fn(&LearnablePotential) -> Option<T>) -> Vec<T> {
            potentials.iter().map(|potential| of(potential).expect("potentials of one family")).collect()
        }
        match &potentials[0] {
            Self::LogSumExp(_) => Self::LogSumExp(LogSumExp::mean(&all(potentials, |potential| match potential {
                Self::LogSumExp(potential) => Some(potential.clone()),
                _ => None,
            }))),
            Self::Ridges(_) => {
                Self::Ridges(Box::new(FreeRidges::mean(&all(potentials, |potential| match potential {
                    Self::Ridges(potential) => Some(potential.as_ref().clone()),
                    _ => None,
                }))))
            }
            Self::LinearRidges(_) => {
                Self::LinearRidges(LinearRidges::mean(&all(potentials, |potential| match potential {
                    Self::LinearRidges(potential) => Some(potential.clone()),
                    _ => None,
                })))
            }
        }
    }
}

/// Applies `f` to tiles of points, and joins what it says as a tensor of their type and device.
fn tiled<const D: usize>(x: &Tensor<2>, shape: [usize; D], f: impl Fn(&Points) -> Vec<f64> + Send + Sync) -> Tensor<D> {
    let parts: Vec<Vec<f64>> = tiles(&to_points(x.clone())).par_iter().map(f).collect();
    host_tensor(parts.concat(), shape, x.dtype(), &x.device())
}

fn numbers(points: Points) -> Vec<f64> {
    points.as_standard_layout().into_owned().into_raw_vec_and_offset().0
}

impl<P: ParametricPotential> ConvexPotential for P {
    fn dim(&self) -> usize {
        ParametricPotential::dim(self)
    }

    fn value(&self, x: Tensor<2>) -> Tensor<1> {
        tiled(&x, [x.dims()[0]], |tile| self.values(tile))
    }

    fn gradient(&self, x: Tensor<2>) -> Tensor<2> {
        tiled(&x, x.dims(), |tile| numbers(self.derivatives(tile).0))
    }

    fn hessian_vector(&self, x: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let hessian = self.gradient_and_hessian(x).1;
        hessian.matmul(v.unsqueeze_dim::<3>(2)).squeeze_dim::<2>(2)
    }

    fn gradient_and_hessian(&self, x: Tensor<2>) -> (Tensor<2>, Tensor<3>) {
        let ([n, d], points) = (x.dims(), to_points(x.clone()));
        let parts: Vec<(Points, Points)> = tiles(&points).par_iter().map(|tile| self.derivatives(tile)).collect();
        let (gradients, hessians): (Vec<_>, Vec<_>) =
            parts.into_iter().map(|(gradients, hessians)| (numbers(gradients), numbers(hessians))).unzip();
        let tensor = |values| host_tensor(values, [n, d], x.dtype(), &x.device());
        (tensor(gradients.concat()), host_tensor(hessians.concat(), [n, d, d], x.dtype(), &x.device()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use brenier_measure::linear_algebra::Cholesky;
    use brenier_measure::{Purpose, Stream, to_tensor};
    use burn::tensor::{DType, Device};

    use super::*;
    use crate::monge_ampere::conjugate;

    /// Normal numbers that depend on a seed.
    pub fn normals(n: usize, d: usize, seed: u64) -> Points {
        let stream = Stream::new(seed, Purpose::Batch);
        Points::from_shape_fn((n, d), |(i, j)| stream.at(j as u64, i as u64).normal())
    }

    /// `½|y|² - log det H`.
    pub fn likelihood(y: &Points, hessians: &Points) -> Pull {
        let d = y.ncols();
        let (mut loss, mut pulls) = (0.0, Points::zeros(hessians.dim()));
        for ((y, hessian), mut pull) in y.rows().into_iter().zip(hessians.rows()).zip(pulls.rows_mut()) {
            let cholesky = Cholesky::of(hessian.as_slice().unwrap(), d).unwrap();
            loss += 0.5 * y.dot(&y) - cholesky.log_det();
            let factor = cholesky.inverse_factor();
            pull.assign(&-ndarray::Array1::from_iter(factor.t().dot(&factor).iter().copied()));
        }
        Pull { loss, gradients: y.clone(), hessians: pulls }
    }

    /// Every claim of the trait, against differences of the values.
    pub fn check(potential: &impl ParametricPotential, seed: u64) {
        let d = ParametricPotential::dim(potential);
        let x = normals(150, d, seed);
        let h = 1e-5;
        let (gradients, hessians) = conjugate_derivatives(potential, &x);
        for j in 0..d {
            let moved = |by: f64| {
                let mut x = x.clone();
                x.column_mut(j).map_inplace(|x| *x += by);
                x
            };
            let (above, below) = (moved(h), moved(-h));
            let values = [&above, &below].map(|x| conjugate::value(potential, x));
            let slopes = [&above, &below].map(|x| conjugate::gradient(potential, x));
            for i in 0..x.nrows() {
                let slope = (values[0][i] - values[1][i]) / (2.0 * h);
                assert!((slope - gradients[[i, j]]).abs() < 1e-6 * (1.0 + slope.abs()), "∂_{j}: {slope}");
                for k in 0..d {
                    let bend = (slopes[0][[i, k]] - slopes[1][[i, k]]) / (2.0 * h);
                    assert!((bend - hessians[[i, j * d + k]]).abs() < 1e-5 * (1.0 + bend.abs()), "∂_{j}{k}: {bend}");
                }
            }
        }
        let v = normals(150, d, seed + 1);
        let tensor = |points: &Points| to_tensor(points, DType::F64, &Device::flex());
        let products = to_points(potential.hessian_vector(tensor(&x), tensor(&v)));
        for i in 0..x.nrows() {
            let hessian = hessians.row(i).to_owned().into_shape_with_order((d, d)).unwrap();
            assert!((&hessian.dot(&v.row(i)) - &products.row(i)).iter().all(|x| x.abs() < 1e-9));
        }
        let parameters = potential.parameters();
        assert_eq!(potential.with_parameters(&parameters).parameters(), parameters);
        assert_eq!(potential.paces().len(), parameters.len());
        let (_, gradient) = mean_loss(potential, &x, &likelihood);
        assert_eq!(gradient.len(), parameters.len());
        let size = gradient.iter().map(|x| x * x).sum::<f64>().sqrt();
        for (k, found) in gradient.into_iter().enumerate() {
            let at = |by: f64| {
                let mut moved = parameters.clone();
                moved[k] += by;
                mean_loss(&potential.with_parameters(&moved), &x, &likelihood).0
            };
            let difference = (at(h) - at(-h)) / (2.0 * h);
            assert!((found - difference).abs() < 1e-6 * (1.0 + size), "parameter {k}: {found} and {difference}");
        }
    }

    fn conjugate_derivatives(potential: &impl ParametricPotential, x: &Points) -> (Points, Points) {
        let (gradients, hessians) = potential.gradient_and_hessian(to_tensor(x, DType::F64, &Device::flex()));
        let [n, d, _] = hessians.dims();
        (to_points(gradients), to_points(hessians.reshape([n, d * d])))
    }

    /// The mean of two potentials is the mean of their values, and so is its gradient.
    pub fn check_mean<P: ParametricPotential>(a: &P, b: &P) {
        let d = ParametricPotential::dim(a);
        let (x, mean) = (normals(60, d, 5), P::mean(&[a.clone(), b.clone()]));
        let halves = |u: &Points, v: &Points| (u + v) / 2.0;
        let values = [a, b, &mean].map(|potential| ndarray::Array1::from(conjugate::value(potential, &x)));
        assert!((0.5 * (&values[0] + &values[1]) - &values[2]).iter().all(|off| off.abs() < 1e-10));
        let derivatives = [a, b, &mean].map(|potential| conjugate_derivatives(potential, &x));
        let close = |u: &Points, v: &Points| (u - v).iter().all(|x| x.abs() < 1e-9);
        assert!(close(&halves(&derivatives[0].0, &derivatives[1].0), &derivatives[2].0));
        assert!(close(&halves(&derivatives[0].1, &derivatives[1].1), &derivatives[2].1));
    }
}
