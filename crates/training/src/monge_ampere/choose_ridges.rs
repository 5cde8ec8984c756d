//! Ridges that fit points: directions, and knots where the points lie along each.

use brenier_measure::linear_algebra::symmetric_eigen;
use brenier_measure::{GaussianMixture, Points, Purpose, Stream};
use brenier_model::monge_ampere::Ridges;
use ndarray::{Array2, Axis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::independent_components::independent_components;

/// The family of a ridge sum; its coefficients are what is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RidgesConfig {
    /// The number of directions: in the plane at equal angles, above that the axes and random ones, and with them the principal axes of
    /// the points. Null: 24 in the plane, four times the dimension up to eight dimensions, above that the two kinds of axes.
    #[schemars(range(min = 1, max = 100_000))]
    pub directions: Option<usize>,
    /// Knots along every direction, at quantiles of the points.
    #[schemars(range(min = 1, max = 10_000))]
    pub knots: usize,
    /// The curvature floor ε: the map from the reference to the data stretches by no more than 1/ε.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub floor: f64,
    /// The least width of a knot, in standardised coordinates.
    #[schemars(range(max = 10.0), extend("exclusiveMinimum" = 0.0))]
    pub least_width: f64,
    /// Whether directions in which the points are independent are among them.
    pub independent_components: bool,
    /// Whether the differences of the means of a reference that is a mixture are among them, as many as there is room for; of stages that add up, and of a
    /// polish in their place.
    pub component_differences: bool,
}

impl Default for RidgesConfig {
    fn default() -> Self {
        Self {
            directions: None,
            knots: 24,
            floor: 0.01,
            least_width: 0.03,
            independent_components: false,
            component_differences: false,
        }
    }
}

/// Knots beyond the points on each side of every direction, and the distance between them.
const BEYOND: [f64; 2] = [0.0, 0.5];

/// Directions whose squared cosine is above this are one.
const ALIKE: f64 = 1.0 - 1e-6;

impl RidgesConfig {
    /// The number of directions that are asked for.
    pub(super) fn wanted(&self, d: usize) -> usize {
        let usual = match d {
            2 => 24,
            0..=8 => 4 * d,
            _ => 2 * d,
        };
        let usual =
            usual + if self.independent_components { d } else { 0 } + if self.component_differences { d } else { 0 };
        self.directions.unwrap_or(usual).max(d)
    }

    /// As many coefficients as ridges in dimension d may have.
    pub fn most_coefficients(&self, d: usize) -> usize {
        let directions = if d == 1 {
            1
        } else {
            self.wanted(d).max(if self.independent_components { 3 * d } else { 2 * d }).saturating_add(if d == 2 {
                4
            } else {
                0
            })
        };
        directions.saturating_mul(1 + self.knots + 2 * BEYOND.len()).saturating_add(d)
    }

    /// The ridges for points in standardised coordinates.
    pub fn choose(&self, points: &Points, seed: u64) -> Ridges {
        self.choose_with(points, None, seed)
    }

    /// The same for a map to a reference.
    pub fn choose_with(&self, points: &Points, reference: Option<&GaussianMixture>, seed: u64) -> Ridges {
        self.along(self.directions(points, reference, seed), points)
    }

    /// The ridges along unit vectors at hand, `[G, d]`.
    pub(super) fn along(&self, directions: Array2<f64>, points: &Points) -> Ridges {
        let along = points.dot(&directions.t());
        let width = self.knots + 2 * BEYOND.len();
        let (mut knots, mut widths) =
            (Array2::zeros((directions.nrows(), width)), Array2::zeros((directions.nrows(), width)));
        for (i, column) in along.columns().into_iter().enumerate() {
            let mut sorted = column.to_vec();
            sorted.sort_by(f64::total_cmp);
            let quantile = |k: usize| {
                let place = (k as f64 + 0.5) / self.knots as f64 * (sorted.len() - 1) as f64;
                let below = place.floor() as usize;
                let above = (below + 1).min(sorted.len() - 1);
                sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
            };
            let (low, high) = (sorted[0], sorted[sorted.len() - 1]);
            let mut places: Vec<f64> = (0..self.knots).map(quantile).collect();
            places.extend(BEYOND.iter().flat_map(|by| [low - by, high + by]));
            places.sort_by(f64::total_cmp);
            for (k, &place) in places.iter().enumerate() {
                let (left, right) = (places[k.saturating_sub(1)], places[(k + 1).min(width - 1)]);
                let gaps = if k == 0 || k + 1 == width { 1.0 } else { 2.0 };
                knots[[i, k]] = place;
                // Half the distance to the neighbours: their curvatures overlap, and a sum of equal ones is flat.
                widths[[i, k]] = (0.5 * (right - left) / gaps).max(self.least_width);
            }
        }
        Ridges { directions, knots, widths, floor: self.floor }
    }

    /// Unit vectors, `[G, d]`, with the axes among them.
    fn directions(&self, points: &Points, reference: Option<&GaussianMixture>, seed: u64) -> Array2<f64> {
        let d = points.ncols();
        let wanted = self.wanted(d);
        let mut rows: Vec<Vec<f64>> = Vec::new();
        let mut add = |row: Vec<f64>| {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            let unit: Vec<f64> = row.iter().map(|x| x / norm).collect();
            let cosine = |other: &Vec<f64>| other.iter().zip(&unit).map(|(a, b)| a * b).sum::<f64>();
            if norm > 0.0 && unit.iter().all(|x| x.is_finite()) && rows.iter().all(|row| cosine(row).powi(2) < ALIKE) {
                rows.push(unit);
            }
            rows.len()
        };
        for i in 0..d {
            add((0..d).map(|j| f64::from(u8::from(i == j))).collect());
        }
        // Along its principal axes a Gaussian is carried to the standard normal by curvatures alone.
        if d > 1
            && let Some(vectors) = principal_axes(points)
        {
            for axis in vectors.columns() {
                add(axis.to_vec());
            }
        }
        if self.independent_components
            && let Some(components) = independent_components(points, seed)
        {
            for component in components.rows() {
                add(component.to_vec());
            }
        }
        if let Some(reference) = reference.filter(|_| self.component_differences) {
            let means: Vec<&[f64]> = reference.components().iter().map(|component| component.mean()).collect();
            let pairs = (0..means.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
            for (i, j) in pairs {
                // A vector without length is not added: how many there are.
                if add(vec![0.0; d]) >= wanted {
                    break;
                }
                add(means[i].iter().zip(means[j]).map(|(a, b)| a - b).collect());
            }
        }
        if d == 2 {
            for k in 0..wanted {
                let angle = std::f64::consts::PI * k as f64 / wanted as f64;
                add(vec![libm::cos(angle), libm::sin(angle)]);
            }
        } else if d > 2 {
            let stream = Stream::new(seed, Purpose::Ridges);
            let mut index = 0;
            while add(vec![0.0; d]) < wanted {
                let mut row = vec![0.0; d];
                stream.at(0, index).fill_normal(&mut row);
                add(row);
                index += 1;
            }
        }
        Array2::from_shape_vec((rows.len(), d), rows.concat()).expect("rows of length d")
    }
}

/// The eigenvectors of the covariance, as columns; `None` where they are the axes.
fn principal_axes(points: &Points) -> Option<Array2<f64>> {
    let centred = points - &points.mean_axis(Axis(0))?;
    symmetric_eigen(&(centred.t().dot(&centred) / points.nrows() as f64))?.vectors
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Sample, targets};

    use super::*;

    #[test]
    fn directions_are_unit_vectors_with_the_axes_first_and_knots_ascend() {
        let planar = targets::two_moons().sample(&Stream::new(1, Purpose::Batch), 0, 0..500);
        let space = Points::from_shape_fn((50, 5), |(i, j)| ((3 * i + 7 * j) as f64).sin() * (1.0 + j as f64));
        for (points, count) in [(&planar, 26), (&space, 20), (&planar.slice(ndarray::s![.., ..1]).to_owned(), 1)] {
            let ridges = RidgesConfig::default().choose(points, 3);
            assert_eq!(ridges.directions.nrows(), count);
            let d = points.ncols();
            assert_eq!(ridges.directions.slice(ndarray::s![..d, ..]), Array2::<f64>::eye(d));
            assert!(ridges.directions.rows().into_iter().all(|u| (u.dot(&u) - 1.0).abs() < 1e-12));
            assert_eq!(ridges.knots.ncols(), 28);
            assert!(
                ridges.knots.rows().into_iter().all(|row| row.windows(2).into_iter().all(|pair| pair[0] <= pair[1]))
            );
            assert!(ridges.widths.iter().all(|&width| width >= 0.03));
        }
    }

    #[test]
    fn points_that_are_one_have_ridges_all_the_same() {
        let ridges = RidgesConfig::default().choose(&Points::ones((4, 2)), 0);
        assert!(ridges.knots.iter().chain(&ridges.widths).chain(&ridges.directions).all(|x| x.is_finite()));
    }
}
