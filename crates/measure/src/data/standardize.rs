//! The affine map into the coordinates that networks are trained in, and back.
//!
//! `y = W((x - b)/s)`: a shift b for each column; a scale s for each column, or one for all; W the identity or ZCA
//! whitening. With one scale the map is a similarity, so that a map which is optimal between standardised points is
//! optimal between the points themselves.

use ndarray::{Array2, Axis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::DataError;
use crate::error::MeasureError;
use crate::expectation_maximization::Moments;
use crate::linear_algebra::{Spectrum, symmetric_eigen};
use crate::{GaussianMixture, Points};

/// How points are shifted and scaled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standardize {
    /// Each column to mean 0, all by one scale: the mean of the column variances becomes 1. Optimal maps stay optimal.
    #[default]
    Global,
    /// Each column to mean 0 and variance 1; a constant column is only shifted.
    PerColumn,
    /// Not at all.
    None,
}

/// What is added to the variances before whitening: that of noise with sd 0.3, in standardised coordinates. It keeps
/// columns that hardly vary from being blown up.
pub const WHITENING_RIDGE: f64 = 0.09;

/// `y = W((x - b)/s)`, fitted to points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standardization {
    /// b, one a column.
    pub shift: Vec<f64>,
    /// s, one a column, positive; all equal for [`Standardize::Global`].
    pub scale: Vec<f64>,
    /// W; `None` for the identity.
    pub whitening: Option<Whitening>,
}

/// ZCA whitening `W = Σ_k (v_k + 0.09)^{-1/2} a_k a_kᵀ`, with v_k, a_k the eigenvalues and eigenvectors of the covariance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whitening {
    /// `v_k + 0.09`.
    pub variances: Vec<f64>,
    /// `a_k`, orthonormal.
    pub axes: Vec<Vec<f64>>,
}

impl Standardization {
    /// Fits the map to points `[n, d]`, n at least 1: means, standard deviations and covariance with divisor n.
    ///
    /// # Errors
    /// No points, or a covariance without a finite spectrum.
    pub fn fit(points: &Points, standardize: Standardize, whiten: bool) -> Result<Self, DataError> {
        if points.is_empty() {
            let (reason, cure) = ("there are none", "give at least one");
            return Err(DataError::Fit { action: "standardised", reason, cure });
        }
        let columns = points.ncols();
        let (shift, scale) = match standardize {
            Standardize::None => (vec![0.0; columns], vec![1.0; columns]),
            Standardize::PerColumn => {
                let (means, deviations) = moments(points);
                (means, deviations.into_iter().map(positive).collect())
            }
            Standardize::Global => {
                let (means, deviations) = moments(points);
                let scale = positive(root_mean_square(&deviations));
                (means, vec![scale; columns])
            }
        };
        let mut map = Self { shift, scale, whitening: None };
        if whiten {
            let (reason, cure) = ("their covariance is not finite", "set `whiten` to false, or remove extreme values");
            let whitening = Whitening::fit(&map.apply(points));
            map.whitening = Some(whitening.ok_or(DataError::Fit { action: "whitened", reason, cure })?);
        }
        Ok(map)
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.shift.len()
    }

    /// `x -> W((x - b)/s)`; `[n, d] -> [n, d]`.
    pub fn apply(&self, points: &Points) -> Points {
        let scaled = self.columnwise(points, |x, shift, scale| (x - shift) / scale);
        self.whiten(scaled)
    }

    /// `y -> s W⁻¹y + b`, the inverse of [`apply`](Self::apply); `[n, d] -> [n, d]`.
    pub fn undo(&self, points: &Points) -> Points {
        let undo = |points: &Points| self.columnwise(points, |y, shift, scale| y * scale + shift);
        match &self.whitening {
            Some(whitening) => undo(&whitening.along_axes(points, f64::sqrt)),
            None => undo(points),
        }
    }

    /// The law of the image of a mixture.
    ///
    /// # Errors
    ///
    /// A mixture of another dimension.
    pub fn apply_to_law(&self, law: &GaussianMixture) -> Result<GaussianMixture, MeasureError> {
        let d = self.dim();
        let origin = self.apply(&Points::zeros((1, d)));
        // The images of the unit vectors, less that of the origin, are the rows of the transposed matrix.
        let linear = self.apply(&Points::eye(d)) - &origin;
        let image = |covariance: &Array2<f64>| {
            let image = linear.t().dot(covariance).dot(&linear);
            // Symmetric to the last digit.
            (&image + &image.t()) * 0.5
        };
        let moments = Moments::of(law);
        Moments {
            weights: moments.weights,
            means: self.apply(&moments.means),
            covariances: moments.covariances.iter().map(image).collect(),
        }
        .mixture()
    }

    /// `∇_y f` of the gradients `∇_x f`, `[n, d] -> [n, d]`: `W⁻¹(s ∇_x f)`, a function seen in the coordinates y.
    pub fn pull_back(&self, gradients: &Points) -> Points {
        let scaled = self.columnwise(gradients, |gradient, _, scale| gradient * scale);
        match &self.whitening {
            Some(whitening) => whitening.along_axes(&scaled, f64::sqrt),
            None => scaled,
        }
    }

    /// The map that carries a Gaussian to the standard normal: each coordinate by its standard deviation, then the correlations by ZCA.
    ///
    /// `None` where a variance is not positive and finite, or the correlations are singular to rounding.
    pub fn of_gaussian(mean: &[f64], covariance: &Array2<f64>) -> Option<Self> {
        let d = mean.len();
        let scale: Vec<f64> = covariance.diag().iter().map(|v| v.sqrt()).collect();
        if !scale.iter().chain(mean).all(|x| x.is_finite()) || scale.iter().any(|&s| s <= 0.0) {
            return None;
        }
        let correlations = Array2::from_shape_fn((d, d), |(i, j)| covariance[[i, j]] / (scale[i] * scale[j]));
        let Spectrum { values, vectors } = symmetric_eigen(&correlations)?;
        if values.iter().any(|&value| value < f64::EPSILON * d as f64) {
            return None;
        }
        let whitening = vectors.map(|vectors| Whitening {
            variances: values,
            axes: vectors.columns().into_iter().map(|axis| axis.to_vec()).collect(),
        });
        Some(Self { shift: mean.to_vec(), scale, whitening })
    }

    /// The identity of dimension d.
    pub fn identity(d: usize) -> Self {
        Self { shift: vec![0.0; d], scale: vec![1.0; d], whitening: None }
    }

    /// W alone, `[n, d] -> [n, d]`: what carries noise of the standardised coordinates into the whitened ones.
    pub fn whiten(&self, points: Points) -> Points {
        match &self.whitening {
            Some(whitening) => whitening.along_axes(&points, |variance| 1.0 / variance.sqrt()),
            None => points,
        }
    }

    /// `log|det ∂y/∂x| = -Σ log s - ½ Σ log(v_k + 0.09)`: `log p_X(x) = log p_Y(y) + log_det`.
    pub fn log_det(&self) -> f64 {
        let whitening = self.whitening.iter().flat_map(|whitening| &whitening.variances);
        -self.scale.iter().map(|scale| scale.ln()).sum::<f64>() - whitening.map(|v| v.ln()).sum::<f64>() / 2.0
    }

    fn columnwise(&self, points: &Points, map: impl Fn(f64, f64, f64) -> f64) -> Points {
        assert_eq!(points.ncols(), self.dim(), "points of the dimension that was fitted");
        let mut points = points.clone();
        for (mut column, (&shift, &scale)) in points.axis_iter_mut(Axis(1)).zip(self.shift.iter().zip(&self.scale)) {
            column.mapv_inplace(|value| map(value, shift, scale));
        }
        points
    }
}

impl Whitening {
    /// `None` where the covariance is not finite.
    fn fit(points: &Points) -> Option<Self> {
        let (n, d) = points.dim();
        let mean = points.mean_axis(Axis(0)).expect("at least one point");
        let centred = points - &mean;
        let covariance = centred.t().dot(&centred) / n as f64;
        if covariance.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let Spectrum { values, vectors } = symmetric_eigen(&covariance)?;
        let vectors = vectors.unwrap_or_else(|| Array2::eye(d));
        Some(Self {
            // A variance of zero may come out below zero.
            variances: values.into_iter().map(|value| value.max(0.0) + WHITENING_RIDGE).collect(),
            axes: vectors.columns().into_iter().map(|axis| axis.to_vec()).collect(),
        })
    }

    /// Multiplies the coordinate along each axis by a function of its variance.
    fn along_axes(&self, points: &Points, factor: impl Fn(f64) -> f64) -> Points {
        let d = self.variances.len();
        let axes = Array2::from_shape_fn((d, d), |(k, i)| self.axes[k][i]);
        let mut coordinates = points.dot(&axes.t());
        for (mut column, &variance) in coordinates.axis_iter_mut(Axis(1)).zip(&self.variances) {
            column *= factor(variance);
        }
        coordinates.dot(&axes)
    }
}

/// The deviation, in units of the last place of the mean, up to which a column is constant: what a few operations round.
const ROUNDING: f64 = 2.0;

/// The deviation from which on a column is scaled all the same: unscaled, it would stand out beside those of deviation 1.
const SMALL: f64 = 1e-3;

/// Mean and standard deviation of each column; a column that is constant up to rounding has deviation 0.
fn moments(points: &Points) -> (Vec<f64>, Vec<f64>) {
    let n = points.nrows() as f64;
    points
        .axis_iter(Axis(1))
        .map(|column| {
            let first = column[0];
            if column.iter().all(|&x| x == first) {
                return (first, 0.0);
            }
            // Divided before they are summed, deviations before they are squared: values near 1e308 stay finite.
            let mean: f64 = column.iter().map(|x| x / n).sum();
            let about = |mean: f64| root_mean_square(&column.iter().map(|x| x - mean).collect::<Vec<f64>>());
            let (mut mean, mut deviation) = (mean, about(mean));
            if deviation <= n * f64::EPSILON * mean.abs() {
                // What the sum has rounded may be all of it.
                mean += column.iter().map(|x| (x - mean) / n).sum::<f64>();
                deviation = about(mean);
            }
            let last_place = mean.abs().next_up() - mean.abs();
            let is_rounding = deviation <= ROUNDING * last_place && deviation < SMALL;
            (mean, if is_rounding { 0.0 } else { deviation })
        })
        .unzip()
}

/// `√(mean x²)` without overflow.
fn root_mean_square(values: &[f64]) -> f64 {
    let largest = values.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    largest * (values.iter().map(|x| (x / largest).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

/// A scale to divide by: 1 where nothing varies.
fn positive(deviation: f64) -> f64 {
    if deviation > 0.0 && deviation.is_finite() { deviation } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use faer::Mat;

    use super::*;

    /// 200 points in five columns of different mean and spread, correlated, the last constant.
    fn cloud() -> Points {
        let mut words = crate::Stream::new(5, crate::Purpose::Evaluation).at(0, 0);
        let z = Array2::from_shape_simple_fn((200, 4), || words.normal());
        Array2::from_shape_fn((200, 5), |(i, j)| match j {
            0 => 3.0 + 2.0 * z[[i, 0]],
            1 => -10.0 + 1e-2 * z[[i, 1]],
            2 => 5.0 * z[[i, 0]] + z[[i, 2]],
            3 => 100.0 * z[[i, 3]],
            _ => 0.1,
        })
    }

    #[test]
    fn a_gaussian_is_carried_to_the_standard_normal() {
        let covariance = ndarray::array![[4e-12, 3e-3, 0.0], [3e-3, 9e6, 1e3], [0.0, 1e3, 1.0]];
        let mean = [1.0, -2e3, 0.5];
        let map = Standardization::of_gaussian(&mean, &covariance).unwrap();
        let rows = covariance.rows().into_iter().map(|row| row.to_vec()).collect();
        let law = GaussianMixture::new(vec![1.0], vec![mean.to_vec()], vec![rows]).unwrap();
        let image = map.apply_to_law(&law).unwrap();
        assert!(image.mean().iter().all(|x| x.abs() < 1e-10), "{:?}", image.mean());
        assert!(
            (&image.covariance() - &Array2::<f64>::eye(3)).iter().all(|x| x.abs() < 1e-6),
            "{}",
            image.covariance()
        );
        // f(x) = a·x has the gradient a; f(x(y)) changes by a·(x(y + e) - x(y)).
        let a = ndarray::array![[1.0, 2.0, -1.0]];
        let (y, e) = (Points::zeros((1, 3)), ndarray::array![[0.3, -0.2, 0.5]]);
        let change = (map.undo(&(&y + &e)) - map.undo(&y)).row(0).dot(&a.row(0));
        assert!((map.pull_back(&a).row(0).dot(&e.row(0)) - change).abs() < 1e-9 * change.abs());
        assert_eq!(Standardization::of_gaussian(&[0.0; 2], &ndarray::array![[1.0, 1.0], [1.0, 1.0]]), None);
        assert_eq!(Standardization::of_gaussian(&[0.0], &ndarray::array![[0.0]]), None);
        assert_eq!(Standardization::identity(2).apply(&Points::ones((1, 2))), Points::ones((1, 2)));
    }

    fn variance(points: &Points, column: usize) -> f64 {
        let column = points.column(column);
        let mean = column.mean().unwrap();
        column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / column.len() as f64
    }

    const ALL: [(Standardize, bool); 6] = [
        (Standardize::Global, false),
        (Standardize::PerColumn, false),
        (Standardize::None, false),
        (Standardize::Global, true),
        (Standardize::PerColumn, true),
        (Standardize::None, true),
    ];

    #[test]
    fn undo_inverts_apply() {
        let points = cloud();
        for (standardize, whiten) in ALL {
            let map = Standardization::fit(&points, standardize, whiten).unwrap();
            let back = map.undo(&map.apply(&points));
            let size = points.iter().fold(0.0, |size: f64, x| size.max(x.abs()));
            // Whitening mixes columns, so the rounding error of the largest reaches all.
            for (x, y) in points.iter().zip(&back) {
                let scale = if whiten { size } else { x.abs().max(1.0) };
                assert!((x - y).abs() < 1e-13 * scale, "{standardize:?} {whiten}: {x} became {y}");
            }
        }
    }

    #[test]
    fn one_scale_makes_the_mean_variance_one() {
        let points = cloud();
        let map = Standardization::fit(&points, Standardize::Global, false).unwrap();
        assert!(map.scale.iter().all(|&scale| scale == map.scale[0]));
        let standard = map.apply(&points);
        let mean_variance = (0..5).map(|column| variance(&standard, column)).sum::<f64>() / 5.0;
        assert!((mean_variance - 1.0).abs() < 1e-12, "{mean_variance}");
        assert!(standard.mean_axis(Axis(0)).unwrap().iter().all(|mean| mean.abs() < 1e-12));
    }

    #[test]
    fn each_column_has_variance_one_and_a_constant_one_scale_one() {
        let points = cloud();
        let map = Standardization::fit(&points, Standardize::PerColumn, false).unwrap();
        let standard = map.apply(&points);
        for column in 0..4 {
            assert!((variance(&standard, column) - 1.0).abs() < 1e-9, "column {column}");
        }
        assert_eq!((map.shift[4], map.scale[4]), (0.1, 1.0));
        assert!(standard.column(4).iter().all(|&value| value == 0.0));
    }

    #[test]
    fn a_column_that_varies_by_rounding_alone_is_constant() {
        let points = Array2::from_shape_fn((10, 1), |(i, _)| if i == 3 { 1.0 + f64::EPSILON } else { 1.0 });
        assert_eq!(Standardization::fit(&points, Standardize::PerColumn, false).unwrap().scale, [1.0]);
        // .3 up to the last place, as .1 + .2 rounds; the same beside 1.7e9, and one that varies by more.
        let last = |k: usize, x: f64, places: u32| (0..(k as u32 * 7 + 3) % (places + 1)).fold(x, |x, _| x.next_up());
        let points = Array2::from_shape_fn((200, 3), |(i, j)| match j {
            0 => last(i, 0.3, 1),
            1 => last(i, 1.7e9, 3),
            _ => 1.7e9 + 1e-4 * i as f64,
        });
        let map = Standardization::fit(&points, Standardize::PerColumn, false).unwrap();
        assert_eq!(map.scale[..2], [1.0, 1.0]);
        let integers = Array2::from_shape_fn((200, 1), |(i, _)| 1.7e18 + 256.0 * (i % 13) as f64);
        let standard = Standardization::fit(&integers, Standardize::PerColumn, false).unwrap().apply(&integers);
        assert!((variance(&standard, 0) - 1.0).abs() < 1e-3, "{}", variance(&standard, 0));
        let standard = map.apply(&points);
        assert!(standard.columns().into_iter().take(2).flatten().all(|x| x.abs() < 1e-6));
        assert!((variance(&standard, 2) - 1.0).abs() < 1e-4 && standard.column(2).mean().unwrap().abs() < 1e-4);
        let single = Array2::from_elem((1, 2), 7.0);
        assert_eq!(Standardization::fit(&single, Standardize::Global, true).unwrap().scale, [1.0, 1.0]);
    }

    #[test]
    fn huge_values_do_not_overflow() {
        let points = Array2::from_shape_vec((2, 1), vec![8e307, -8e307]).unwrap();
        for standardize in [Standardize::Global, Standardize::PerColumn] {
            let map = Standardization::fit(&points, standardize, false).unwrap();
            assert!((map.scale[0] / 8e307 - 1.0).abs() < 1e-15, "{map:?}");
        }
    }

    #[test]
    fn whitening_divides_each_principal_variance_by_itself_and_the_ridge() {
        let points = cloud();
        let map = Standardization::fit(&points, Standardize::PerColumn, true).unwrap();
        let plain = Standardization { whitening: None, ..map.clone() };
        let whitened = map.apply(&points);
        let covariance = |points: &Points| {
            let centred = points - &points.mean_axis(Axis(0)).unwrap();
            centred.t().dot(&centred) / points.nrows() as f64
        };
        // C' = C (C + ridge)⁻¹, so C'(C + ridge) = C.
        let before = covariance(&plain.apply(&points));
        let after = covariance(&whitened);
        let product = after.dot(&(&before + &(Array2::<f64>::eye(5) * WHITENING_RIDGE)));
        assert!((&product - &before).iter().all(|difference| difference.abs() < 1e-12), "{product} against {before}");
        // ZCA: the map is symmetric and positive, unlike any other square root.
        let matrix = map.whiten(Array2::eye(5));
        assert!((&matrix - &matrix.t()).iter().all(|difference| difference.abs() < 1e-13));
        assert!(map.whitening.unwrap().variances.iter().all(|&variance| variance >= WHITENING_RIDGE));
    }

    #[test]
    fn log_det_is_that_of_the_jacobian() {
        let points = cloud();
        for (standardize, whiten) in ALL {
            let map = Standardization::fit(&points, standardize, whiten).unwrap();
            // The map is affine: its Jacobian is the image of the unit vectors less the image of 0.
            let origin = map.apply(&Array2::zeros((1, 5)));
            let image = &map.apply(&Array2::eye(5)) - &origin;
            let jacobian = Mat::from_fn(5, 5, |i, j| image[[i, j]]);
            let exact = jacobian.determinant().abs().ln();
            assert!((map.log_det() - exact).abs() < 1e-9, "{standardize:?} {whiten}: {} {exact}", map.log_det());
        }
    }

    #[test]
    fn points_that_fit_no_map_say_so() {
        let message = |points: &Points| {
            Standardization::fit(points, Standardize::None, true).err().map(|error| error.to_string())
        };
        assert_eq!(
            message(&Array2::zeros((0, 2))).as_deref(),
            Some("the points cannot be standardised: there are none; give at least one")
        );
        assert_eq!(
            message(&Array2::from_shape_fn((2, 1), |(i, _)| i as f64 * 1e300)).as_deref(),
            Some(
                "the points cannot be whitened: their covariance is not finite; set `whiten` to false, or remove extreme \
                 values"
            )
        );
    }

    #[test]
    fn a_stored_map_is_the_same_map() {
        let map = Standardization::fit(&cloud(), Standardize::PerColumn, true).unwrap();
        let stored = serde_json::to_string(&map).unwrap();
        assert_eq!(serde_json::from_str::<Standardization>(&stored).unwrap(), map);
    }
}
