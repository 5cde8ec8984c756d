//! A map in coordinates of its own.

use brenier_measure::Points;

use super::brenier_map::{PushForward, found};
use super::inversion::Preimages;
use crate::frame::Frame;
use crate::samplers::SamplerError;
use crate::trained_sampler::TransportMap;

/// A map between a reference and points that are seen in a frame: it is optimal there.
pub struct FramedMap<M> {
    inner: M,
    frame: Frame,
}

impl<M: PushForward> FramedMap<M> {
    /// The map whose images are those of another, out of a frame.
    pub fn new(inner: M, frame: Frame) -> Self {
        Self { inner, frame }
    }
}

impl<M: PushForward> PushForward for FramedMap<M> {
    fn to_data(&self, y: &Points) -> Preimages {
        let images = self.inner.to_data(y);
        Preimages { points: self.frame.leave(&images.points).0, ..images }
    }

    /// -∞ outside of the support.
    fn log_density(&self, x: &Points) -> Vec<f64> {
        let (z, log_dets) = self.frame.enter(x);
        let outside = |row: usize| z.row(row).iter().any(|z| !z.is_finite());
        let mut inside = z.clone();
        inside
            .rows_mut()
            .into_iter()
            .filter(|row| row.iter().any(|z| !z.is_finite()))
            .for_each(|mut row| row.fill(0.0));
        let values = self.inner.log_density(&inside);
        let values = values.into_iter().zip(log_dets).enumerate();
        values.map(|(row, (value, log_det))| if outside(row) { f64::NEG_INFINITY } else { value + log_det }).collect()
    }
}

impl<M: PushForward> TransportMap for FramedMap<M> {
    fn transport(&self, y: &Points) -> Result<(Points, Vec<f64>), SamplerError> {
        let (z, log_dets) = self.inner.transport(y)?;
        let (x, stretched) = self.frame.leave(&z);
        Ok((x, log_dets.iter().zip(stretched).map(|(a, b)| a + b).collect()))
    }

    fn transport_to_line(&self, y: &Points) -> Result<(Points, Vec<f64>), SamplerError> {
        let (z, log_dets) = self.inner.transport(y)?;
        let (coordinates, stretched) = (&self.frame.coordinates, -self.frame.coordinates.log_det());
        Ok((coordinates.undo(&z), log_dets.iter().map(|log_det| log_det + stretched).collect()))
    }

    fn inverse(&self, x: &Points) -> Result<(Points, Vec<f64>), SamplerError> {
        let (z, stretched) = self.frame.enter(x);
        let outside: Vec<usize> = (0..z.nrows()).filter(|&row| z.row(row).iter().any(|z| !z.is_finite())).collect();
        let residuals = vec![f64::NAN; z.nrows()];
        let z = found(Preimages { points: z, residuals, failures: outside })?;
        let (y, log_dets) = self.inner.inverse(&z)?;
        Ok((y, log_dets.iter().zip(stretched).map(|(a, b)| a + b).collect()))
    }

    fn frame(&self) -> Option<&Frame> {
        Some(&self.frame)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use brenier_measure::data::Standardization;
    use brenier_measure::{Gaussian, Interval, Support};
    use ndarray::array;

    use super::*;
    use crate::monge_ampere::{Inversion, PrimalMap, Quadratic, ResidualNetwork, SmoothFunction};

    #[test]
    fn a_framed_map_goes_both_ways_and_its_density_is_that_of_its_jacobian() {
        let psi = Quadratic::new(array![[2.0, 0.5], [0.5, 1.0]], array![0.3, -0.5], 0.2);
        let network = ResidualNetwork::new(SmoothFunction::Quadratic(psi));
        let inner = PrimalMap::new(Arc::new(network), Arc::new(Gaussian::standard(2)), Inversion::default());
        let coordinates = Standardization::of_gaussian(&[0.5, -1.0], &array![[4.0, 0.6], [0.6, 0.3]]).unwrap();
        let support = Support::new(vec![Interval::Positive, Interval::Between { low: -1.0, high: 2.0 }]);
        let map = FramedMap::new(inner.clone(), Frame { coordinates, support: Some(support) });
        let y = array![[0.3, -0.4], [-1.2, 0.7], [2.0, 1.0]];
        let (x, log_dets) = map.transport(&y).unwrap();
        assert!(x.rows().into_iter().all(|x| x[0] > 0.0 && x[1] > -1.0 && x[1] < 2.0), "{x}");
        let (back, log_dets_back) = map.inverse(&x).unwrap();
        assert!((&back - &y).iter().all(|e| e.abs() < 1e-8), "{back}");
        assert!(log_dets.iter().zip(&log_dets_back).all(|(a, b)| (a + b).abs() < 1e-8));
        assert_eq!(map.to_data(&y).points, x);
        let (u, to_line) = map.transport_to_line(&y).unwrap();
        let (same, stretched) = map.frame.leave(&map.frame.coordinates.apply(&u));
        let back = map.frame.coordinates.log_det();
        assert!((&same - &x).iter().all(|e| e.abs() < 1e-12));
        let whole = to_line.iter().zip(&stretched).map(|(a, b)| a + b + back);
        assert!(whole.zip(&log_dets).all(|(a, b)| (a - b).abs() < 1e-10));
        // log ρ(x) = log g(y) - log |det ∂x/∂y|.
        for (row, value) in map.log_density(&x).into_iter().enumerate() {
            let of_reference = -y.row(row).dot(&y.row(row)) / 2.0 - std::f64::consts::TAU.ln();
            assert!((value - of_reference + log_dets[row]).abs() < 1e-8, "{value}");
        }
        let h = 1e-6;
        let moved = |i: usize, by: f64| {
            let mut y = y.clone();
            y.column_mut(i).map_inplace(|y| *y += by);
            map.transport(&y).unwrap().0
        };
        let columns = [0, 1].map(|i| (moved(i, h) - moved(i, -h)) / (2.0 * h));
        for (row, log_det) in log_dets.iter().enumerate() {
            let [a, b] = [0, 1].map(|i| columns[i].row(row).to_owned());
            assert!(((a[0] * b[1] - a[1] * b[0]).abs().ln() - log_det).abs() < 1e-6, "{log_det}");
        }
        let outside = array![[-1.0, 0.0], [1.0, 3.0]];
        assert_eq!(map.log_density(&outside), [f64::NEG_INFINITY; 2]);
        assert!(matches!(map.inverse(&outside), Err(SamplerError::NotInverted { index: 0, .. })));
    }
}
