//! Coordinates in which the Gaussian map is the identity.

use brenier_measure::linear_algebra::symmetric_eigen;
use brenier_measure::{GaussianMixture, Points};
use brenier_model::monge_ampere::{Congruence, ConvexPotential};
use brenier_transport::gaussian;
use ndarray::{Array1, Array2, Axis};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::error::TrainingError;

/// What is added to the variances of the data, in units of their mean: any such coordinates do, and these exist for data in a subspace, too.
const RIDGE: f64 = 1e-6;

/// Variances of the data so few times above the ridge are told of, and a condition number of the common covariance.
const ABOVE_RIDGE: f64 = 100.0;
const STRETCHED: f64 = 1e4;

/// `y' = A(y - m)/s` and `x' = A⁻¹(x - q)/s` with `A² = M`, the matrix of the Brenier map between Gaussians with the moments of the reference and of
/// the data: there both have one covariance, of mean variance 1, and gradients of convex functions stay such.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuresCoordinates {
    /// A, `[d, d]`.
    root: Array2<f64>,
    /// A⁻¹.
    inverse: Array2<f64>,
    /// s.
    scale: f64,
    /// m, the mean of the reference.
    reference_mean: Array1<f64>,
    /// q, the mean of the data.
    data_mean: Array1<f64>,
}

impl BuresCoordinates {
    /// Those of a reference and points of the data, `[n, d]`.
    ///
    /// # Errors
    ///
    /// A reference without a density.
    pub fn new(reference: &GaussianMixture, points: &Points) -> Result<Self, TrainingError> {
        let d = points.ncols();
        let data_mean = points.mean_axis(Axis(0)).expect("at least one point");
        let centred = points - &data_mean;
        let covariance = centred.t().dot(&centred) / points.nrows() as f64;
        let ridge = RIDGE * covariance.diag().sum() / d as f64;
        let least_of_data = symmetric_eigen(&covariance)
            .map_or(f64::NAN, |spectrum| spectrum.values.into_iter().fold(f64::INFINITY, f64::min));
        let covariance = covariance + Array2::<f64>::eye(d) * ridge;
        let entries = |matrix: &Array2<f64>| matrix.iter().copied().collect::<Vec<f64>>();
        let matrix = gaussian::brenier_matrix(&entries(&reference.covariance()), &entries(&covariance), d)?;
        let matrix = Array2::from_shape_vec((d, d), matrix).expect("d·d entries");
        let spectrum = symmetric_eigen(&matrix).ok_or(TrainingError::NoReferenceDensity)?;
        let vectors = spectrum.vectors.unwrap_or_else(|| Array2::eye(d));
        let power = |exponent: f64| {
            let values = Array1::from(spectrum.values.clone()).mapv(|value| value.powf(exponent));
            (&vectors * &values).dot(&vectors.t())
        };
        let (root, inverse) = (power(0.5), power(-0.5));
        let common = root.dot(&reference.covariance()).dot(&root);
        let variances =
            symmetric_eigen(&((&common + &common.t()) / 2.0)).ok_or(TrainingError::NoReferenceDensity)?.values;
        let scale = (variances.iter().sum::<f64>() / d as f64).sqrt();
        let (least, most) = variances.iter().fold((f64::INFINITY, 0.0f64), |(a, b), &v| (a.min(v), b.max(v)));
        if most > STRETCHED * least || least_of_data < ABOVE_RIDGE * ridge {
            warn!(
                "the data are far narrower in one direction than in another: the map is told of there late, or not at all. Whiten the data, \
                 standardise each column, or leave columns out that follow from others"
            );
        }
        let reference_mean = Array1::from(reference.mean());
        let coordinates = Self { root, inverse, scale, reference_mean, data_mean };
        if coordinates.is_consistent() {
            return Ok(coordinates);
        }
        let what = "reference and data have no common coordinates in numbers".to_owned();
        Err(TrainingError::Choice {
            what,
            cure: "standardise the data, or look for values that are far from all others",
        })
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.data_mean.len()
    }

    /// Whether sizes agree and all numbers are finite.
    pub fn is_consistent(&self) -> bool {
        let d = self.dim();
        let numbers = self.root.iter().chain(&self.inverse).chain(&self.reference_mean).chain(&self.data_mean);
        self.root.dim() == (d, d)
            && self.inverse.dim() == (d, d)
            && self.reference_mean.len() == d
            && self.scale > 0.0
            && self.scale.is_finite()
            && numbers.into_iter().all(|x| x.is_finite())
    }

    /// Points of the data.
    pub fn of_data(&self, x: &Points) -> Points {
        (x - &self.data_mean).dot(&self.inverse) / self.scale
    }

    /// Points of the reference, back.
    pub fn to_reference(&self, y: &Points) -> Points {
        y.dot(&self.inverse) * self.scale + &self.reference_mean
    }

    /// The law of the reference.
    ///
    /// # Errors
    ///
    /// Numbers that make no mixture.
    pub fn of_reference(&self, reference: &GaussianMixture) -> Result<GaussianMixture, TrainingError> {
        let components = reference.components();
        let rows = |matrix: Array2<f64>| matrix.rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>();
        let root = &self.root / self.scale;
        let mean = |mean: &[f64]| (Array1::from(mean.to_vec()) - &self.reference_mean).dot(&root).to_vec();
        let covariance = |covariance: &Array2<f64>| {
            let turned = root.dot(covariance).dot(&root);
            rows((&turned + &turned.t()) / 2.0)
        };
        Ok(GaussianMixture::new(
            components.iter().map(|component| component.weight()).collect(),
            components.iter().map(|component| mean(component.mean())).collect(),
            components.iter().map(|component| covariance(component.covariance())).collect(),
        )?)
    }

    /// A potential of these coordinates in those of reference and data.
    pub fn leave<P: ConvexPotential>(&self, potential: P) -> Congruence<P> {
        let (factor, matrix) = (self.scale * self.scale, &self.root / self.scale);
        Congruence::new(potential, factor, matrix, self.reference_mean.clone(), self.data_mean.clone())
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Purpose, Sample, Stream};

    use super::*;

    #[test]
    fn both_laws_have_one_covariance_there() {
        let reference = GaussianMixture::new(
            vec![0.3, 0.7],
            vec![vec![1.0, -2.0], vec![-1.0, 0.5]],
            vec![vec![vec![1.0, 0.3], vec![0.3, 0.5]], vec![vec![0.2, 0.0], vec![0.0, 2.0]]],
        )
        .unwrap();
        let data = GaussianMixture::new(vec![1.0], vec![vec![3.0, 1.0]], vec![vec![vec![2.0, -0.9], vec![-0.9, 1.0]]]);
        let x = data.unwrap().sample(&Stream::new(1, Purpose::Batch), 0, 0..3000);
        let coordinates = BuresCoordinates::new(&reference, &x).unwrap();
        let there = coordinates.of_data(&x);
        let covariance = there.t().dot(&there) / 3000.0;
        let law = coordinates.of_reference(&reference).unwrap();
        assert!(law.mean().iter().all(|mean| mean.abs() < 1e-12));
        assert!((law.covariance().diag().sum() / 2.0 - 1.0).abs() < 1e-12);
        assert!((covariance - law.covariance()).iter().all(|x| x.abs() < 1e-5));
        let y = reference.sample(&Stream::new(2, Purpose::Batch), 0, 0..50);
        let there = (&y - &Array1::from(reference.mean())).dot(&coordinates.root) / coordinates.scale;
        assert!((coordinates.to_reference(&there) - &y).iter().all(|x| x.abs() < 1e-12));
    }
}
