//! The posterior of a Gaussian mixture in closed form.
//!
//! Liang, Dharmakeerthi, Koriyama (2411.01629), §3.

use std::f64::consts::TAU;

use ndarray::Array2;
use rayon::prelude::*;

use super::{Posterior, PosteriorCovariance, by_rows, weighted_moments};
use crate::gaussian::Gaussian;
use crate::linear_algebra::largest_eigenvalue;
use crate::measure::Points;
use crate::mixture::{Component, GaussianMixture};

/// A mixture at one signal-to-noise ratio r.
///
/// With `Σᵢ = Uᵢ diag(lᵢ) Uᵢᵀ`, `vᵢ = r²lᵢ + 1`, `cᵢ = r²lᵢ/vᵢ` and `eᵢ = Uᵢᵀ(y - rμᵢ)`: weights
/// `wᵢ ∝ pᵢ exp(-½Σⱼ(eᵢⱼ²/vᵢⱼ + log vᵢⱼ))`, means `mᵢ = rμᵢ + Uᵢcᵢeᵢ`, covariances `Cᵢ = Uᵢ diag(cᵢ) Uᵢᵀ`, and
/// `Cov[rX | y] = Σ wᵢCᵢ + Σ wᵢ(mᵢ - m̄)(mᵢ - m̄)ᵀ`.
///
/// Far from all components, or where r is huge, the eᵢ are large and nearly equal. So exponents and means are differences
/// to those of the likeliest component, formed without subtracting large numbers from each other.
struct AtSnr<'a> {
    snr: f64,
    components: &'a [Component],
    /// `log pᵢ - ½Σ log vᵢⱼ`.
    log_scales: Vec<f64>,
    /// vᵢ, for each component.
    variances: Vec<Vec<f64>>,
    /// cᵢ, for each component.
    shrinkage: Vec<Vec<f64>>,
    basis: Basis<'a>,
}

/// What is known about the eigenvectors of the components.
enum Basis<'a> {
    /// One basis U serves all (`None`: the coordinates); the means in it, `Uᵀμᵢ`.
    Shared { vectors: Option<&'a Array2<f64>>, means: Vec<Vec<f64>> },
    /// Each has its own; the Cᵢ in coordinates, and whether `r²l ≤ 1` for all.
    Own { covariances: Vec<Array2<f64>>, quiet: bool },
}

/// The posterior at one y, in the shared basis or in coordinates.
struct Moments {
    log_density: f64,
    /// `E[rX | y]`.
    mean: Vec<f64>,
    /// `Cov[rX | y]`.
    covariance: Array2<f64>,
}

/// What the components say about one y, relative to the likeliest of them.
struct Relative {
    likeliest: usize,
    /// `log wᵢ - log w` of the likeliest.
    log_weights: Vec<f64>,
    /// `mᵢ - m` of the likeliest, component by component.
    deviations: Vec<f64>,
}

impl<'a> AtSnr<'a> {
    fn new(mixture: &'a GaussianMixture, snr: f64) -> Self {
        let components = mixture.components();
        let square = snr * snr;
        let variances: Vec<Vec<f64>> =
            components.iter().map(|c| c.spectrum().values.iter().map(|l| square * l + 1.0).collect()).collect();
        let shrinkage: Vec<Vec<f64>> = components
            .iter()
            .zip(&variances)
            .map(|(c, v)| c.spectrum().values.iter().zip(v).map(|(l, v)| square * l / v).collect())
            .collect();
        let log_scale = |c: &Component| {
            c.weight().ln() - 0.5 * c.spectrum().values.iter().map(|l| (square * l).ln_1p()).sum::<f64>()
        };
        let basis = match shared_basis(components) {
            Some(vectors) => {
                let mean = |c: &Component| match vectors {
                    Some(u) => transposed_product(u, c.mean()),
                    None => c.mean().to_vec(),
                };
                Basis::Shared { vectors, means: components.iter().map(mean).collect() }
            }
            None => Basis::Own {
                covariances: components.par_iter().zip(&shrinkage).map(|(c, s)| rebuilt(c, s)).collect(),
                quiet: variances.iter().flatten().all(|&v| v <= 2.0),
            },
        };
        Self { snr, components, log_scales: components.iter().map(log_scale).collect(), variances, shrinkage, basis }
    }

    fn moments(&self, y: &[f64]) -> Moments {
        let d = y.len();
        let (mut own, offsets) = match &self.basis {
            Basis::Shared { vectors, means } => {
                let y = vectors.map_or_else(|| y.to_vec(), |u| transposed_product(u, y));
                let offsets: Vec<Vec<f64>> = means.iter().map(|m| difference(&y, self.snr, m)).collect();
                (self.relative_in_shared_basis(means, &offsets), offsets)
            }
            Basis::Own { quiet, .. } => {
                let offsets: Vec<Vec<f64>> =
                    self.components.iter().map(|c| rotated(c, &difference(y, self.snr, c.mean()))).collect();
                let relative =
                    if *quiet { self.relative_in_quiet(y, &offsets) } else { self.relative_in_loud(&offsets) };
                (relative, offsets)
            }
        };
        // Another may be a little likelier than the first estimate said.
        let top = own.log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = own.log_weights.iter().map(|log| (log - top).exp()).collect();
        let total: f64 = weights.iter().sum();
        let p = own.likeliest;
        let (deviation, mut covariance) = weighted_moments(&weights, &mut own.deviations, d);
        let mut mean = match &self.basis {
            Basis::Shared { vectors, means } => {
                let y = vectors.map_or_else(|| y.to_vec(), |u| transposed_product(u, y));
                self.mean_of(p, &offsets[p], &y, &means[p])
            }
            Basis::Own { .. } => {
                let c = &self.components[p];
                rotated_back(c, &self.mean_of(p, &offsets[p], &rotated(c, y), &rotated(c, c.mean())))
            }
        };
        mean.iter_mut().zip(&deviation).for_each(|(mean, deviation)| *mean += deviation);
        match &self.basis {
            Basis::Shared { .. } => {
                for (weight, shrinkage) in weights.iter().zip(&self.shrinkage) {
                    for (entry, c) in covariance.diag_mut().iter_mut().zip(shrinkage) {
                        *entry += weight / total * c;
                    }
                }
            }
            Basis::Own { covariances, .. } => {
                for (weight, own) in weights.iter().zip(covariances).filter(|(weight, _)| **weight > 0.0) {
                    covariance.scaled_add(weight / total, own);
                }
            }
        }
        let log_density = self.log_term(p, &offsets[p]) + top + total.ln() - 0.5 * d as f64 * TAU.ln();
        Moments { log_density, mean, covariance }
    }

    /// mᵢ from `eᵢ`, y and μᵢ in the eigenbasis: `rμᵢ + cᵢeᵢ` or, where `r²l > 1`, `y - eᵢ/vᵢ`, whose last term is the small one.
    fn mean_of(&self, i: usize, offset: &[f64], y: &[f64], mean: &[f64]) -> Vec<f64> {
        let (v, c) = (&self.variances[i], &self.shrinkage[i]);
        let of = |j: usize| if v[j] > 2.0 { y[j] - offset[j] / v[j] } else { self.snr * mean[j] + c[j] * offset[j] };
        (0..y.len()).map(of).collect()
    }

    /// `log pᵢ - ½Σⱼ(eᵢⱼ²/vᵢⱼ + log vᵢⱼ)`.
    fn log_term(&self, i: usize, offset: &[f64]) -> f64 {
        self.log_scales[i] - 0.5 * offset.iter().zip(&self.variances[i]).map(|(e, v)| e * (e / v)).sum::<f64>()
    }

    /// The likeliest component, as far as the plain exponents tell.
    fn likeliest(&self, offsets: &[Vec<f64>]) -> usize {
        let terms = offsets.iter().enumerate().map(|(i, offset)| (i, self.log_term(i, offset)));
        terms.fold((0, f64::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best }).0
    }

    /// Where variances are alike, `eᵢ²/vᵢ - e²/v = (eᵢ - e)(eᵢ + e)/v + eᵢ²(v - vᵢ)/(vvᵢ)`, whose factors are exact.
    fn relative_in_shared_basis(&self, means: &[Vec<f64>], offsets: &[Vec<f64>]) -> Relative {
        let p = self.likeliest(offsets);
        let d = offsets[p].len();
        let (e0, v0, l0) = (&offsets[p], &self.variances[p], &self.components[p].spectrum().values);
        let mut log_weights = Vec::with_capacity(offsets.len());
        let mut deviations = Vec::with_capacity(offsets.len() * d);
        for (i, e) in offsets.iter().enumerate() {
            let (v, l) = (&self.variances[i], &self.components[i].spectrum().values);
            let mut excess = 0.0;
            for j in 0..d {
                if v[j] <= 2.0 * v0[j] && v0[j] <= 2.0 * v[j] {
                    let step = self.snr * (means[p][j] - means[i][j]);
                    // 1/vᵢ - 1/v.
                    let loss = self.snr * ((l0[j] - l[j]) / v[j]) * (self.snr / v0[j]);
                    excess += step * ((e[j] + e0[j]) / v0[j]) + e[j] * (e[j] * loss);
                    deviations.push(-step / v0[j] - loss * e[j]);
                } else {
                    excess += e[j] * (e[j] / v[j]) - e0[j] * (e0[j] / v0[j]);
                    deviations.push(e0[j] / v0[j] - e[j] / v[j]);
                }
            }
            log_weights.push(self.log_scales[i] - self.log_scales[p] - 0.5 * excess);
        }
        Relative { likeliest: p, log_weights, deviations }
    }

    /// Where `r²l ≤ 1`: `Sᵢ⁻¹ - S⁻¹ = r²Sᵢ⁻¹(Σ - Σᵢ)S⁻¹`, the small difference of matrices near I.
    fn relative_in_quiet(&self, y: &[f64], offsets: &[Vec<f64>]) -> Relative {
        let p = self.likeliest(offsets);
        let first = &self.components[p];
        let solved = |i: usize, offset: &[f64]| -> Vec<f64> {
            let scaled: Vec<f64> = offset.iter().zip(&self.variances[i]).map(|(e, v)| e / v).collect();
            rotated_back(&self.components[i], &scaled)
        };
        let own = solved(p, &offsets[p]);
        let mut log_weights = Vec::with_capacity(offsets.len());
        let mut deviations = Vec::with_capacity(offsets.len() * y.len());
        for (i, c) in self.components.iter().enumerate() {
            let step: Vec<f64> = c.mean().iter().zip(first.mean()).map(|(m, m0)| self.snr * (m - m0)).collect();
            // S⁻¹(y - rμᵢ), Sᵢ⁻¹(y - rμᵢ), and r²(Σᵢ - Σ) of the former.
            let crossed = solved(p, &rotated(first, &difference(y, self.snr, c.mean())));
            let plain = solved(i, &offsets[i]);
            let change =
                ((c.covariance() - first.covariance()) * (self.snr * self.snr)).dot(&ndarray::aview1(&crossed));
            let excess: f64 = step.iter().zip(&crossed).zip(&own).map(|((s, a), b)| -s * (a + b)).sum::<f64>()
                - plain.iter().zip(&change).map(|(a, b)| a * b).sum::<f64>();
            log_weights.push(self.log_scales[i] - self.log_scales[p] - 0.5 * excess);
            let moved = solved(p, &rotated(first, &step));
            let turned = solved(i, &rotated(c, change.as_slice().expect("contiguous")));
            deviations.extend(moved.iter().zip(&turned).map(|(a, b)| a + b));
        }
        Relative { likeliest: p, log_weights, deviations }
    }

    /// Otherwise `mᵢ - y = -Sᵢ⁻¹(y - rμᵢ)`, which is small in the directions in which r is large.
    fn relative_in_loud(&self, offsets: &[Vec<f64>]) -> Relative {
        let p = self.likeliest(offsets);
        let solved = |i: usize| -> Vec<f64> {
            let scaled: Vec<f64> = offsets[i].iter().zip(&self.variances[i]).map(|(e, v)| e / v).collect();
            rotated_back(&self.components[i], &scaled)
        };
        let own = solved(p);
        let top = self.log_term(p, &offsets[p]);
        Relative {
            likeliest: p,
            log_weights: offsets.iter().enumerate().map(|(i, offset)| self.log_term(i, offset) - top).collect(),
            deviations: (0..offsets.len())
                .flat_map(|i| own.iter().zip(solved(i)).map(|(a, b)| a - b).collect::<Vec<f64>>())
                .collect(),
        }
    }
}

/// The eigenbasis that serves all components, if there is one; an isotropic covariance is at home in any.
fn shared_basis(components: &[Component]) -> Option<Option<&Array2<f64>>> {
    let isotropic = |c: &Component| c.spectrum().values.iter().all(|l| *l == c.spectrum().values[0]);
    let mut bases = components.iter().filter(|c| !isotropic(c)).map(|c| c.spectrum().vectors.as_ref());
    let first = bases.next().unwrap_or(None);
    bases.all(|basis| basis == first).then_some(first)
}

/// `y - rm`.
fn difference(y: &[f64], snr: f64, mean: &[f64]) -> Vec<f64> {
    y.iter().zip(mean).map(|(y, m)| y - snr * m).collect()
}

/// `Uᵀx`.
fn transposed_product(vectors: &Array2<f64>, x: &[f64]) -> Vec<f64> {
    let mut product = vec![0.0; x.len()];
    for (row, x) in vectors.rows().into_iter().zip(x) {
        for (sum, u) in product.iter_mut().zip(row) {
            *sum += u * x;
        }
    }
    product
}

/// `Uᵀx` for the eigenvectors of a component.
fn rotated(component: &Component, x: &[f64]) -> Vec<f64> {
    component.spectrum().vectors.as_ref().map_or_else(|| x.to_vec(), |u| transposed_product(u, x))
}

/// `Ux` for the eigenvectors of a component.
fn rotated_back(component: &Component, x: &[f64]) -> Vec<f64> {
    component.spectrum().vectors.as_ref().map_or_else(|| x.to_vec(), |u| u.dot(&ndarray::aview1(x)).to_vec())
}

/// `U diag(values) Uᵀ` for the eigenvectors of a component.
fn rebuilt(component: &Component, values: &[f64]) -> Array2<f64> {
    let diagonal = ndarray::aview1(values);
    match &component.spectrum().vectors {
        Some(u) => (u * &diagonal).dot(&u.t()),
        None => Array2::from_diag(&diagonal),
    }
}

impl PosteriorCovariance for GaussianMixture {
    fn dim(&self) -> usize {
        self.dim()
    }

    fn centres(&self) -> Points {
        Points::from_shape_fn((self.components().len(), self.dim()), |(i, j)| self.components()[i].mean()[j])
    }

    fn posterior(&self, snr: f64, y: &Points) -> Vec<Posterior> {
        let at = AtSnr::new(self, snr);
        by_rows(y, |y| {
            let Moments { log_density, mean, covariance } = at.moments(y);
            match at.basis {
                Basis::Shared { vectors: Some(u), .. } => Posterior {
                    log_density,
                    mean: u.dot(&ndarray::aview1(&mean)).to_vec(),
                    covariance: u.dot(&covariance).dot(&u.t()),
                },
                _ => Posterior { log_density, mean, covariance },
            }
        })
    }

    /// One covariance a thread at a time; in a shared eigenbasis the rotation back is left out.
    fn localization(&self, snr: f64, y: &Points) -> Vec<f64> {
        let at = AtSnr::new(self, snr);
        by_rows(y, |y| largest_eigenvalue(&at.moments(y).covariance))
    }
}

impl PosteriorCovariance for Gaussian {
    fn dim(&self) -> usize {
        self.dim()
    }

    fn centres(&self) -> Points {
        self.as_mixture().centres()
    }

    fn posterior(&self, snr: f64, y: &Points) -> Vec<Posterior> {
        self.as_mixture().posterior(snr, y)
    }

    fn localization(&self, snr: f64, y: &Points) -> Vec<f64> {
        self.as_mixture().localization(snr, y)
    }
}
