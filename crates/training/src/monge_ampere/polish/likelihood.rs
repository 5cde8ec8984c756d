//! The negative log-likelihood of points under a map, and what it says of the map.

use brenier_measure::elementary::exp_of_negative;
use brenier_measure::linear_algebra::Cholesky;
use brenier_measure::{GaussianMixture, Points};
use brenier_model::monge_ampere::{ParametricPotential, Pull, mean_loss};
use ndarray::{Array2, Axis};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

/// `log 2π`.
const LOG_TAU: f64 = 1.837_877_066_409_345_3;

/// Rows of one tile of a likelihood.
const TILE: usize = 256;

/// A reference e^{-g} at hand for many points: g and ∇g a tile at a time, component after component.
pub struct ReferenceLaw {
    components: Vec<Component>,
    dim: usize,
}

/// `p N(m, Σ)` by the factor W of `Σ⁻¹ = WᵀW`, lower triangular.
struct Component {
    /// `log p - ½ log det Σ - ½d log 2π`.
    constant: f64,
    mean: Vec<f64>,
    factor: Array2<f64>,
}

impl ReferenceLaw {
    /// That of a mixture; `None` where one of its covariances is singular.
    pub fn new(mixture: &GaussianMixture) -> Option<Self> {
        let dim = mixture.dim();
        let component = |component: &brenier_measure::Component| {
            let cholesky = Cholesky::of_matrix(component.covariance())?;
            Some(Component {
                constant: component.weight().ln() - 0.5 * cholesky.log_det() - 0.5 * dim as f64 * LOG_TAU,
                mean: component.mean().to_vec(),
                factor: cholesky.inverse_factor(),
            })
        };
        Some(Self { components: mixture.components().iter().map(component).collect::<Option<_>>()?, dim })
    }

    /// `-g(y)`, `[n]`, and `∇g(y)`, `[n, d]`, of a tile.
    pub fn log_density_and_pull(&self, y: &Points) -> (Vec<f64>, Points) {
        let (n, d) = y.dim();
        let columns: Vec<f64> = y.t().iter().copied().collect();
        let (mut terms, mut whitened) = (self.terms(y), vec![0.0; d * n]);
        let mut values = vec![f64::NEG_INFINITY; n];
        let mut pulls = vec![0.0; d * n];
        Arch::new().dispatch(Shares { terms: &mut terms, values: &mut values });
        for (component, shares) in self.components.iter().zip(terms.chunks(n)) {
            // A share below rounding changes no digit.
            if shares.iter().any(|&share| share > 1e-18) {
                Arch::new().dispatch(Slope {
                    component,
                    columns: &columns,
                    whitened: &mut whitened,
                    shares,
                    pulls: &mut pulls,
                });
            }
        }
        let pulls = Points::from_shape_vec((d, n), pulls).expect("d rows of n");
        (values, pulls.t().as_standard_layout().into_owned())
    }

    /// `-g(y)`, `[n]`.
    pub fn log_density(&self, y: &Points) -> Vec<f64> {
        let tiles = tiles(y);
        let parts: Vec<Vec<f64>> = tiles.par_iter().map(|tile| self.log_density_and_pull(tile).0).collect();
        parts.concat()
    }

    /// `Σ r Σ⁻¹` over the components that are responsible for points y, one matrix a row, `[n, d·d]`.
    pub fn mean_precisions(&self, y: &Points) -> Points {
        let (n, d) = y.dim();
        let mut terms = self.terms(y);
        let mut values = vec![f64::NEG_INFINITY; n];
        Arch::new().dispatch(Shares { terms: &mut terms, values: &mut values });
        let mut mean = Points::zeros((n, d * d));
        for (component, shares) in self.components.iter().zip(terms.chunks(n)) {
            let precision = component.factor.t().dot(&component.factor);
            for (&share, mut row) in shares.iter().zip(mean.rows_mut()) {
                row.iter_mut().zip(&precision).for_each(|(mean, entry)| *mean += share * entry);
            }
        }
        mean
    }

    /// `log p N(y; m, Σ)` of all components, `[K, n]`.
    fn terms(&self, y: &Points) -> Vec<f64> {
        let (n, d) = y.dim();
        let columns: Vec<f64> = y.t().iter().copied().collect();
        let mut terms = vec![0.0; self.components.len() * n];
        let mut whitened = vec![0.0; d * n];
        for (component, terms) in self.components.iter().zip(terms.chunks_mut(n)) {
            Arch::new().dispatch(Term { component, columns: &columns, whitened: &mut whitened, terms });
        }
        terms
    }

    /// `-log ρ(x)`, `[n]`, of the map ∇φ to this reference.
    pub fn negative_log_likelihood(&self, potential: &impl ParametricPotential, x: &Points) -> Vec<f64> {
        let tiles = tiles(x);
        let of_tile = |tile: &Points| -> Vec<f64> {
            let (y, hessians) = potential.derivatives(tile);
            let (values, _) = self.log_density_and_pull(&y);
            let log_det = |hessian: ndarray::ArrayView1<f64>| {
                Cholesky::of(hessian.as_slice().expect("row-major"), self.dim).map_or(f64::NAN, |c| c.log_det())
            };
            values.iter().zip(hessians.rows()).map(|(value, hessian)| -value - log_det(hessian)).collect()
        };
        let parts: Vec<Vec<f64>> = tiles.par_iter().map(of_tile).collect();
        parts.concat()
    }

    /// The mean of `g(∇φ(x)) - log det ∇²φ(x)`, and its gradient by the parameters of φ, `[p]`.
    pub fn descend(&self, potential: &impl ParametricPotential, x: &Points) -> (f64, Vec<f64>) {
        mean_loss(potential, x, &|y, hessians| self.pull(y, hessians))
    }

    /// `∂/∂y = ∇g`, `∂/∂H = -H⁻¹`.
    fn pull(&self, y: &Points, hessians: &Points) -> Pull {
        let d = self.dim;
        let (values, gradients) = self.log_density_and_pull(y);
        let mut loss = -values.iter().sum::<f64>();
        let mut pulls = Points::zeros(hessians.dim());
        for (hessian, mut pull) in hessians.rows().into_iter().zip(pulls.rows_mut()) {
            let hessian = hessian.as_slice().expect("row-major");
            let pull = pull.as_slice_mut().expect("row-major");
            if let [a, b, _, c] = *hessian {
                // In the plane without a factor.
                let det = a * c - b * b;
                if a > 0.0 && det > 0.0 {
                    loss -= det.ln();
                    pull.copy_from_slice(&[-c / det, b / det, b / det, -a / det]);
                    continue;
                }
            } else if let Some(cholesky) = Cholesky::of(hessian, d) {
                loss -= cholesky.log_det();
                let factor = cholesky.inverse_factor();
                pull.iter_mut().zip(&factor.t().dot(&factor)).for_each(|(pull, entry)| *pull = -entry);
                continue;
            }
            loss = f64::NAN;
        }
        Pull { loss, gradients, hessians: pulls }
    }
}

fn tiles(x: &Points) -> Vec<Points> {
    x.axis_chunks_iter(Axis(0), TILE).map(|tile| tile.to_owned()).collect()
}

/// The whitened points `W(y - m)` of a tile by columns.
#[inline(always)]
fn whiten(component: &Component, columns: &[f64], whitened: &mut [f64]) {
    let d = component.mean.len();
    let n = columns.len() / d;
    for i in 0..d {
        let out = &mut whitened[i * n..(i + 1) * n];
        out.fill(0.0);
        for j in 0..=i {
            let (weight, mean) = (component.factor[[i, j]], component.mean[j]);
            for (out, y) in out.iter_mut().zip(&columns[j * n..(j + 1) * n]) {
                *out += weight * (y - mean);
            }
        }
    }
}

/// `log p N(y; m, Σ)` at the points of a tile.
struct Term<'a> {
    component: &'a Component,
    columns: &'a [f64],
    whitened: &'a mut [f64],
    terms: &'a mut [f64],
}

impl NullaryFnOnce for Term<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        whiten(self.component, self.columns, self.whitened);
        self.terms.fill(self.component.constant);
        for column in self.whitened.chunks(self.terms.len()) {
            for (term, z) in self.terms.iter_mut().zip(column) {
                *term -= 0.5 * z * z;
            }
        }
    }
}

/// Turns the logarithms of all terms into their shares, and sums them to the log-density.
struct Shares<'a> {
    terms: &'a mut [f64],
    values: &'a mut [f64],
}

impl NullaryFnOnce for Shares<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let n = self.values.len();
        for terms in self.terms.chunks(n) {
            for (value, &term) in self.values.iter_mut().zip(terms) {
                *value = if term > *value { term } else { *value };
            }
        }
        let mut sums = vec![0.0; n];
        for terms in self.terms.chunks_mut(n) {
            for ((sum, term), largest) in sums.iter_mut().zip(terms).zip(self.values.iter()) {
                *term = exp_of_negative(*term - largest);
                *sum += *term;
            }
        }
        for terms in self.terms.chunks_mut(n) {
            for (term, sum) in terms.iter_mut().zip(&sums) {
                *term /= sum;
            }
        }
        self.values.iter_mut().zip(sums).for_each(|(value, sum)| *value += sum.ln());
    }
}

/// Adds `r Wᵀ W(y - m)`.
struct Slope<'a> {
    component: &'a Component,
    columns: &'a [f64],
    whitened: &'a mut [f64],
    shares: &'a [f64],
    pulls: &'a mut [f64],
}

impl NullaryFnOnce for Slope<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (d, n) = (self.component.mean.len(), self.shares.len());
        whiten(self.component, self.columns, self.whitened);
        for j in 0..d {
            let out = &mut self.pulls[j * n..(j + 1) * n];
            for i in j..d {
                let weight = self.component.factor[[i, j]];
                for ((out, z), share) in out.iter_mut().zip(&self.whitened[i * n..(i + 1) * n]).zip(self.shares) {
                    *out += share * weight * z;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Measure, Purpose, Sample, Stream, targets, to_points, to_tensor, to_values};
    use burn::tensor::{DType, Device};

    use super::*;

    #[test]
    fn a_reference_is_the_mixture_that_it_is_made_of() {
        let four = GaussianMixture::new(
            vec![0.2, 0.5, 0.3],
            vec![vec![0.0, 1.0, 2.0], vec![-3.0, 0.0, 0.5], vec![40.0, 0.0, 0.0]],
            vec![
                vec![vec![1.0, 0.2, 0.0], vec![0.2, 0.5, 0.1], vec![0.0, 0.1, 2.0]],
                vec![vec![0.1, 0.0, 0.0], vec![0.0, 0.1, 0.0], vec![0.0, 0.0, 0.1]],
                vec![vec![1.0, 0.9, 0.0], vec![0.9, 1.0, 0.0], vec![0.0, 0.0, 1.0]],
            ],
        )
        .unwrap();
        for mixture in [targets::ring(), four] {
            let law = ReferenceLaw::new(&mixture).unwrap();
            let y = mixture.sample(&Stream::new(3, Purpose::Batch), 0, 0..300) * 1.3;
            let (values, pulls) = law.log_density_and_pull(&y);
            let tensor = to_tensor(&y, DType::F64, &Device::flex());
            let exact = to_values(mixture.log_density(tensor.clone()));
            assert!(values.iter().zip(exact).all(|(a, b)| (a - b).abs() < 1e-9 * (1.0 + b.abs())));
            let score = to_points(mixture.score(tensor));
            assert!((&pulls + &score).iter().zip(&score).all(|(x, s)| x.abs() < 1e-9 * (1.0 + s.abs())));
        }
    }
}
