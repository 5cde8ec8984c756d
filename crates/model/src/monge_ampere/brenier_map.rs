//! The Brenier map of a convex potential, in both directions, with its density.

use std::sync::Arc;

use brenier_measure::{Measure, Points, to_tensor, to_values};
use burn::tensor::{DType, Device};

use super::conjugate::{self, Conjugate};
use super::inversion::{Inversion, Preimages};
use super::potential::ConvexPotential;
use crate::samplers::SamplerError;
use crate::trained_sampler::TransportMap;

/// A map from a reference to data that knows the density of what it makes.
pub trait PushForward: TransportMap {
    /// The images x of points y of the reference, `[n, d]`: one that is not found is a failure and no point.
    fn to_data(&self, y: &Points) -> Preimages;

    /// `log ρ(x)` (nats, less log Z of the reference), `[n]`; NaN where there is no density.
    fn log_density(&self, x: &Points) -> Vec<f64>;
}

/// A reference e^{-g} and a convex φ that carries data to it: `y = ∇φ(x)` is the optimal map from data to reference, its inverse that from
/// the reference to data, and
///
/// ```text
/// log ρ(x) = -g(∇φ(x)) + log det ∇²φ(x)
/// ```
///
/// the density of what the inverse draws. In f64 on the CPU, in the coordinates of the potential. Deb and Liang (2504.09279), with
/// `φ = ψ*`.
#[derive(Clone)]
pub struct BrenierMap {
    conjugate: Conjugate,
    reference: Arc<dyn Measure>,
}

impl BrenierMap {
    /// A map from its parts.
    ///
    /// # Panics
    ///
    /// Where potential and reference have different dimensions.
    pub fn new(potential: Arc<dyn ConvexPotential>, reference: Arc<dyn Measure>, inversion: Inversion) -> Self {
        assert_eq!(potential.dim(), reference.dim(), "a potential and a reference in one space");
        Self { conjugate: Conjugate::new(potential, inversion), reference }
    }

    /// The same map, whose inversions start from the best of these points, `[m, d]`: images of the reference, where they are known.
    ///
    /// # Panics
    ///
    /// Where there is no point.
    #[must_use]
    pub fn with_starts(self, points: Points) -> Self {
        Self { conjugate: self.conjugate.with_starts(points), ..self }
    }

    /// φ.
    pub fn potential(&self) -> &dyn ConvexPotential {
        self.conjugate.potential()
    }

    /// e^{-g}.
    pub fn reference(&self) -> &dyn Measure {
        self.reference.as_ref()
    }

    /// y = ∇φ(x), `[n, d]`.
    pub fn to_reference(&self, x: &Points) -> Points {
        conjugate::gradient(self.potential(), x)
    }

    /// x with ∇φ(x) = y from a start for every row: near the answer a step or two is enough.
    pub fn to_data_from(&self, y: &Points, start: &Points) -> Preimages {
        self.conjugate.gradient_from(y, start)
    }
}

impl PushForward for BrenierMap {
    /// From where y lies or the best of the starts.
    fn to_data(&self, y: &Points) -> Preimages {
        self.conjugate.gradient(y)
    }

    /// NaN where the Hessian is not positive definite.
    fn log_density(&self, x: &Points) -> Vec<f64> {
        let (y, log_det) = conjugate::gradient_and_log_det(self.potential(), x);
        log_density(self.reference(), &y).into_iter().zip(log_det).map(|(density, log_det)| density + log_det).collect()
    }
}

/// From the reference to data: `T = (∇φ)⁻¹`.
impl TransportMap for BrenierMap {
    fn transport(&self, y: &Points) -> Result<(Points, Vec<f64>), SamplerError> {
        let points = found(self.to_data(y))?;
        let log_dets = conjugate::gradient_and_log_det(self.potential(), &points).1;
        Ok((points, log_dets.iter().map(|log_det| -log_det).collect()))
    }

    fn inverse(&self, x: &Points) -> Result<(Points, Vec<f64>), SamplerError> {
        Ok(conjugate::gradient_and_log_det(self.potential(), x))
    }
}

/// The log-density of a reference, with its normalisation.
pub(super) fn log_density(reference: &dyn Measure, y: &Points) -> Vec<f64> {
    let log_z = reference.log_normalizer().unwrap_or(0.0);
    let values = reference.log_density(to_tensor(y, DType::F64, &Device::flex()));
    to_values(values).into_iter().map(|value| value - log_z).collect()
}

/// The points, all of them found.
pub(super) fn found(preimages: Preimages) -> Result<Points, SamplerError> {
    match preimages.failures.first() {
        Some(&row) => Err(SamplerError::NotInverted { index: row as u64, residual: preimages.residuals[row] }),
        None => Ok(preimages.points),
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Gaussian, Purpose, Sample, Stream};
    use ndarray::{Array1, Array2, array};

    use super::*;
    use crate::monge_ampere::{QuadraticPotential, RidgeSum, Ridges};

    fn normals(n: u64, d: usize) -> Points {
        Gaussian::standard(d).sample(&Stream::new(3, Purpose::Reference), 0, 0..n)
    }

    /// Ridges in the plane that bend a normal law.
    fn bent(d: usize) -> RidgeSum {
        let g = 3 * d;
        let mut directions = Gaussian::standard(d).sample(&Stream::new(5, Purpose::Batch), 0, 0..g as u64);
        for mut row in directions.rows_mut() {
            let norm = row.dot(&row).sqrt();
            row /= norm;
        }
        let ridges = Arc::new(Ridges {
            directions,
            knots: Array2::from_shape_fn((g, 3), |(_, k)| k as f64 - 1.0),
            widths: Array2::from_elem((g, 3), 0.2),
            floor: 0.1,
        });
        let mut coefficients = ridges.identity();
        let first = coefficients.len() - 3 * g;
        coefficients[first..].iter_mut().enumerate().for_each(|(i, height)| *height = 0.1 * (1 + i % 5) as f64);
        RidgeSum::new(ridges, coefficients).unwrap()
    }

    fn map(potential: impl ConvexPotential + 'static) -> BrenierMap {
        let reference = Arc::new(Gaussian::standard(potential.dim()));
        BrenierMap::new(Arc::new(potential), reference, Inversion::default())
    }

    #[test]
    fn between_gaussians_everything_is_in_closed_form() {
        // φ(x) = ½xᵀQx + q·x carries N(-Q⁻¹q, Q⁻²) to the standard normal.
        let matrix = array![[2.0, 0.5], [0.5, 1.0]];
        let slope = array![1.0, -0.5];
        let map = map(QuadraticPotential::new(matrix.clone(), slope.clone(), 0.0).unwrap());
        let inverse = array![[1.0, -0.5], [-0.5, 2.0]] / 1.75;
        let mean = -inverse.dot(&slope);
        let covariance = inverse.dot(&inverse);
        let rows = |matrix: &Array2<f64>| matrix.rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>();
        let exact = Gaussian::new(mean.to_vec(), rows(&covariance)).unwrap();
        let y = normals(200, 2);
        let found = map.to_data(&y);
        assert!(found.failures.is_empty());
        let images = (&y - &slope).dot(&inverse);
        assert!((&found.points - &images).iter().all(|x| x.abs() < 1e-12));
        let log_density = exact.log_density(to_tensor(&images, DType::F64, &Device::flex()));
        let log_density: Vec<f64> = log_density.into_data().convert::<f64>().try_to_vec().unwrap();
        for (a, b) in map.log_density(&images).iter().zip(log_density) {
            assert!((a - b).abs() < 1e-12, "{a} against {b}");
        }
        let (same, log_det) = map.transport(&y).unwrap();
        assert!(same == found.points && log_det.iter().all(|l| (l + 1.75f64.ln()).abs() < 1e-12));
        assert!((&map.inverse(&same).unwrap().0 - &y).iter().all(|x| x.abs() < 1e-12));
    }

    #[test]
    fn there_and_back_is_where_one_was_with_hessians_and_without() {
        // The last dimension has no Hessians.
        for d in [1, 2, 8, 70] {
            let map = map(bent(d));
            // Far points too: the gradient is linear there.
            let y = normals(100, d) * 3.0;
            let found = map.to_data(&y);
            assert!(found.failures.is_empty(), "d = {d}: {} failures", found.failures.len());
            let there = map.to_reference(&found.points);
            assert!((&there - &y).iter().all(|x| x.abs() < 1e-7), "d = {d}");
            let back = map.to_data(&map.to_reference(&y)).points;
            assert!((&back - &y).iter().all(|x| x.abs() < 1e-6), "d = {d}");
            let near = map.to_data_from(&y, &found.points);
            assert!(near.points == found.points, "a start at the answer stays there");
            let started = map.clone().with_starts(map.to_data(&normals(50, d)).points).to_data(&y);
            assert!(started.failures.is_empty());
            assert!((&started.points - &found.points).iter().all(|x| x.abs() < 1e-6), "d = {d}");
        }
    }

    #[test]
    fn the_density_has_mass_one() {
        let map = map(bent(2));
        let (n, width) = (400, 24.0);
        let cell = |i: usize| ((i as f64 + 0.5) / n as f64 - 0.5) * width;
        let grid = Points::from_shape_fn((n * n, 2), |(k, j)| cell(if j == 0 { k / n } else { k % n }));
        let log_density = map.log_density(&grid);
        assert!(log_density.iter().all(|log_density| log_density.is_finite()));
        let mass = log_density.iter().map(|l| l.exp()).sum::<f64>() * (width / n as f64).powi(2);
        assert!((mass - 1.0).abs() < 1e-3, "{mass}");
    }

    #[test]
    fn what_is_not_found_is_a_failure_and_no_point() {
        let potential = Arc::new(bent(2));
        let reference = Arc::new(Gaussian::standard(2));
        let short = BrenierMap::new(potential.clone(), reference.clone(), Inversion { tolerance: 1e-8, steps: 0 });
        let y = normals(5, 2);
        assert_eq!(short.to_data(&y).failures, [0, 1, 2, 3, 4]);
        assert!(matches!(short.transport(&y), Err(SamplerError::NotInverted { index: 0, .. })));
        let map = BrenierMap::new(potential, reference, Inversion::default());
        let mut broken = y.clone();
        broken[[3, 1]] = f64::NAN;
        let found = map.to_data(&broken);
        assert_eq!(found.failures, [3]);
        assert_eq!(Array1::from(found.residuals).iter().filter(|r| r.is_nan()).count(), 1);
    }
}
