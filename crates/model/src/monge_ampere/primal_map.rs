//! The map of a potential on the side of the reference.

use std::sync::Arc;

use brenier_measure::{Measure, Points};

use super::brenier_map::{PushForward, found, log_density};
use super::conjugate::{self, Conjugate};
use super::inversion::{Inversion, Preimages};
use super::potential::ConvexPotential;
use crate::samplers::SamplerError;
use crate::trained_sampler::TransportMap;

/// A reference e^{-g} and a ψ that carries it to data, `x = ∇ψ(y)`: sampling is a gradient, and where ψ is convex
///
/// ```text
/// log ρ(x) = -g(y) - log det ∇²ψ(y),    y = ∇ψ*(x)
/// ```
///
/// is the density of what it draws, by an inversion. In f64 on the CPU. Deb and Liang (2504.09279).
#[derive(Clone)]
pub struct PrimalMap {
    conjugate: Conjugate,
    reference: Arc<dyn Measure>,
}

impl PrimalMap {
    /// A map from its parts.
    ///
    /// # Panics
    ///
    /// Where potential and reference have different dimensions.
    pub fn new(potential: Arc<dyn ConvexPotential>, reference: Arc<dyn Measure>, inversion: Inversion) -> Self {
        assert_eq!(potential.dim(), reference.dim(), "a potential and a reference in one space");
        Self { conjugate: Conjugate::new(potential, inversion), reference }
    }

    /// The same map, whose inversions start from the best of these points of the reference, `[m, d]`.
    ///
    /// # Panics
    ///
    /// Where there is no point.
    #[must_use]
    pub fn with_starts(self, points: Points) -> Self {
        Self { conjugate: self.conjugate.with_starts(points), ..self }
    }

    /// ψ*, the potential on the side of the data.
    pub fn conjugate(&self) -> &Conjugate {
        &self.conjugate
    }

    /// ψ.
    pub fn potential(&self) -> &dyn ConvexPotential {
        self.conjugate.potential()
    }

    /// `log ρ(∇ψ(y))`, `[n]`: no inversion where y is known; NaN where ψ is not convex.
    pub fn log_density_above(&self, y: &Points) -> Vec<f64> {
        let log_dets = conjugate::gradient_and_log_det(self.potential(), y).1;
        log_density(self.reference.as_ref(), y)
            .iter()
            .zip(log_dets)
            .map(|(density, log_det)| density - log_det)
            .collect()
    }
}

impl PushForward for PrimalMap {
    /// Always found, but for images that are not finite.
    fn to_data(&self, y: &Points) -> Preimages {
        images(conjugate::gradient(self.potential(), y))
    }

    /// NaN where no y is found and where ψ is not convex.
    fn log_density(&self, x: &Points) -> Vec<f64> {
        let preimages = self.conjugate.gradient(x);
        let mut values = self.log_density_above(&preimages.points);
        preimages.failures.iter().for_each(|&row| values[row] = f64::NAN);
        values
    }
}

/// From the reference to data: `T = ∇ψ`.
impl TransportMap for PrimalMap {
    fn transport(&self, y: &Points) -> Result<(Points, Vec<f64>), SamplerError> {
        let (points, log_dets) = conjugate::gradient_and_log_det(self.potential(), y);
        Ok((found(images(points))?, log_dets))
    }

    fn inverse(&self, x: &Points) -> Result<(Points, Vec<f64>), SamplerError> {
        let y = found(self.conjugate.gradient(x))?;
        let log_dets = conjugate::gradient_and_log_det(self.potential(), &y).1;
        Ok((y, log_dets.iter().map(|log_det| -log_det).collect()))
    }
}

/// Points that are found where they are finite.
fn images(points: Points) -> Preimages {
    let residual = |row: ndarray::ArrayView1<f64>| if row.iter().all(|x| x.is_finite()) { 0.0 } else { f64::NAN };
    let residuals: Vec<f64> = points.rows().into_iter().map(residual).collect();
    let failures = (0..residuals.len()).filter(|&row| residuals[row].is_nan()).collect();
    Preimages { points, residuals, failures }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Gaussian, Purpose, Sample, Stream};
    use ndarray::array;

    use super::*;
    use crate::monge_ampere::{BrenierMap, Quadratic, QuadraticPotential, ResidualNetwork, SmoothFunction};

    fn normals(n: u64) -> Points {
        Gaussian::standard(2).sample(&Stream::new(3, Purpose::Reference), 0, 0..n)
    }

    #[test]
    fn a_potential_and_its_conjugate_are_one_map() {
        let psi = Quadratic::new(array![[2.0, 0.5], [0.5, 1.0]], array![1.0, -0.5], 0.2);
        let phi = QuadraticPotential::of(psi.conjugate().unwrap()).unwrap();
        let reference = Arc::new(Gaussian::standard(2));
        let network = ResidualNetwork::new(SmoothFunction::Quadratic(psi));
        let primal = PrimalMap::new(Arc::new(network), reference.clone(), Inversion::default());
        let dual = BrenierMap::new(Arc::new(phi), reference, Inversion::default());
        let y = normals(50);
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-10);
        let (x, log_det) = primal.transport(&y).unwrap();
        let (same, same_log_det) = dual.transport(&y).unwrap();
        assert!((&x - &same).iter().all(|x| x.abs() < 1e-10) && close(&log_det, &same_log_det));
        assert!(close(&primal.log_density(&x), &dual.log_density(&x)));
        assert!(close(&primal.log_density_above(&y), &dual.log_density(&x)));
        let (back, log_det_back) = primal.inverse(&x).unwrap();
        assert!((&back - &y).iter().all(|x| x.abs() < 1e-8));
        assert!(close(&log_det, &log_det_back.iter().map(|l| -l).collect::<Vec<_>>()));
        let started = primal.clone().with_starts(normals(10));
        assert!(close(&started.log_density(&x), &dual.log_density(&x)));
    }

    #[test]
    fn a_folded_map_has_no_density() {
        let identity = || SmoothFunction::Quadratic(Quadratic::identity(2));
        let network = ResidualNetwork::new(identity()).with_stage(1.5, identity()).unwrap();
        let map = PrimalMap::new(Arc::new(network), Arc::new(Gaussian::standard(2)), Inversion::default());
        let y = normals(5);
        assert!(map.to_data(&y).failures.is_empty());
        assert!(map.log_density_above(&y).iter().all(|density| density.is_nan()));
    }
}
