//! Points with noise along the covariance of their neighbours.

use brenier_measure::linear_algebra::semidefinite_factor;
use brenier_measure::{Points, Sample, Words};
use brenier_transport::{Cloud, TransportError, nearest};
use ndarray::{Array2, Axis};
use rayon::prelude::*;

/// Part of the variance of all points that is added in every direction, so that neighbourhoods which are flat, or one point time and again, have a density.
const FLAT: f64 = 1e-6;

/// `m_i + √(1 - κ²)(x_i - m_i) + κ N(0, C_i)`, i uniform: m_i and C_i of the neighbours of x_i.
pub struct LocalNoise {
    centres: Points,
    /// `κ C_i^{1/2}`.
    factors: Vec<Array2<f64>>,
}

/// The Gaussians that stand about points, one a row: means, and factors of the covariances.
pub struct LocalGaussians {
    /// `m_i + √(1 - κ²)(x_i - m_i)`, `[n, d]`.
    pub centres: Points,
    /// `κ² C_i`, `[d, d]` each.
    pub covariances: Vec<Array2<f64>>,
}

impl LocalGaussians {
    /// Those of points `[n, d]` by so many neighbours, at most all points; the point itself is one of them.
    ///
    /// # Errors
    ///
    /// What the search for neighbours refuses.
    pub fn new(points: &Points, neighbours: usize, share: f64) -> Result<Self, TransportError> {
        let (n, d) = points.dim();
        let points = points.as_standard_layout();
        let cloud = || Cloud::new(points.as_slice().expect("row-major"), d);
        let k = neighbours.clamp(1, n);
        let found = nearest::nearest(cloud()?, cloud()?, k, false)?;
        let spread = points.var_axis(Axis(0), 0.0).sum() / d as f64;
        let flat = FLAT * spread.max(f64::MIN_POSITIVE);
        let of_point = |indices: &[u32]| {
            let rows: Vec<usize> = indices.iter().map(|&i| i as usize).collect();
            let mut own = points.select(Axis(0), &rows);
            let mean = own.mean_axis(Axis(0)).expect("the point itself");
            own -= &mean;
            let mut covariance = own.t().dot(&own) / (k - 1).max(1) as f64;
            covariance.diag_mut().mapv_inplace(|entry| entry + flat);
            (mean, covariance * (share * share))
        };
        let parts: Vec<_> = found.indices.par_chunks(k).map(of_point).collect();
        let mut centres = Points::zeros((n, d));
        let kept = (1.0 - share * share).sqrt();
        for ((mut centre, x), (mean, _)) in centres.rows_mut().into_iter().zip(points.rows()).zip(&parts) {
            centre.assign(&(mean + &((&x - mean) * kept)));
        }
        Ok(Self { centres, covariances: parts.into_iter().map(|(_, covariance)| covariance).collect() })
    }
}

impl From<LocalGaussians> for LocalNoise {
    fn from(local: LocalGaussians) -> Self {
        Self { centres: local.centres, factors: local.covariances.iter().map(semidefinite_factor).collect() }
    }
}

impl Sample for LocalNoise {
    fn dim(&self) -> usize {
        self.centres.ncols()
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        let row = words.below(self.centres.nrows() as u64) as usize;
        let mut normals = vec![0.0; point.len()];
        words.fill_normal(&mut normals);
        let factor = &self.factors[row];
        for (i, p) in point.iter_mut().enumerate() {
            *p = self.centres[[row, i]] + (0..normals.len()).map(|j| factor[[i, j]] * normals[j]).sum::<f64>();
        }
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Purpose, Stream, targets};

    use super::*;

    fn covariance(x: &Points) -> Array2<f64> {
        let centred = x - &x.mean_axis(Axis(0)).unwrap();
        centred.t().dot(&centred) / x.nrows() as f64
    }

    #[test]
    fn second_moments_stay_and_noise_is_local() {
        let x = targets::ring().sample(&Stream::new(1, Purpose::Batch), 0, 0..800);
        let local = LocalNoise::from(LocalGaussians::new(&x, 20, 0.7).unwrap());
        let draws = local.sample(&Stream::new(2, Purpose::Batch), 0, 0..40_000);
        let (before, after) = (covariance(&x), covariance(&draws));
        // Variances about 1, of 40,000 draws: ± .007, five of which are .035; and neighbours stay in their mode.
        assert!((&before - &after).iter().all(|x| x.abs() < 0.035), "{before} {after}");
        let radius = draws.map_axis(Axis(1), |row| row.dot(&row).sqrt());
        let off = radius.iter().filter(|&&r| !(0.9..1.9).contains(&r)).count();
        assert!(off < 40, "{off} far from the ring of radius √2 and sd .1");
        let all = LocalGaussians::new(&x, 10_000, 1.0).unwrap();
        assert!((&all.covariances[3] - &before).iter().all(|x| x.abs() < 1e-2));
    }
}
