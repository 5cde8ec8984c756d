//! Conjugates that are kept while the potential moves.
//!
//! # Design
//!
//! Every point x of the data keeps the y with `∇ψ(y) = x`. As ψ moves a little, one Newton step brings y back: from the closed-form Hessian, shortened
//! until `ψ(y) - x·y` falls as Armijo asks, with further steps for the rows whose steps were longest. A row that is let run away takes θ with it;
//! one that is left out of the means does so as well.

use brenier_measure::{Points, to_points, to_tensor, to_values};
use brenier_model::monge_ampere::newton::{EXPLICIT, by_hessians, by_products};
use brenier_model::monge_ampere::{ConvexPotential, PlacedNetwork};
use burn::tensor::{DType, Device};
use ndarray::{Axis, concatenate};
use rayon::prelude::*;

/// The longest step: a length, or a share of |x| where that is more.
const LONGEST: f64 = 2.0;
const LONGEST_SHARE: f64 = 0.25;

/// A step below this length is where Newton's method converges fast, and is taken as it is.
pub const SHORT: f64 = 0.05;

/// The part of the slope by which the objective must fall, the factor by which a step is shortened, and how often.
const ARMIJO: f64 = 1e-4;
const SHORTER: f64 = 0.4;
const SHORTENINGS: usize = 10;

/// What single precision leaves of an objective.
const ROUNDING: f64 = 1e-6;

/// Further steps for rows that are not found in a full pass.
const RETRIES: usize = 40;

/// How much is done for rows with long steps.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Rows of a tile.
    pub tile: usize,
    /// One row of so many takes further steps.
    pub of: usize,
    /// Further steps at most.
    pub further: usize,
}

/// The conjugates of all rows.
pub struct Solved {
    /// y, `[n, d]`.
    pub points: Points,
    /// The rows that were not found.
    pub lost: Vec<usize>,
    /// How many were found by further tries alone.
    pub retried: usize,
}

/// Newton's method for one potential, in single precision on a device.
pub struct Solver<'a> {
    pub network: &'a PlacedNetwork,
    pub device: &'a Device,
}

impl Solver<'_> {
    fn values(&self, y: &Points) -> Vec<f64> {
        to_values(self.network.value(to_tensor(y, DType::F32, self.device)))
    }

    /// One damped step of every row; the lengths of the full ones.
    fn step(&self, y: &mut Points, x: &Points) -> Vec<f64> {
        let at = to_tensor(y, DType::F32, self.device);
        let (values, gaps, mut directions) = if y.ncols() <= EXPLICIT {
            let (values, gradients, hessians) = self.network.jet(at);
            let gaps = to_points(gradients) - x;
            let hessians: Vec<f64> = hessians.into_data().convert::<f64>().try_to_vec().expect("f64 after conversion");
            let directions = by_hessians(&gaps, &hessians);
            (values, gaps, directions)
        } else {
            let (values, gradients) = self.network.value_and_gradient(at.clone());
            let gaps = to_points(gradients) - x;
            let directions = by_products(self.network, &at, &gaps);
            (values, gaps, directions)
        };
        let products = |a: &Points, b: &Points| -> Vec<f64> {
            a.rows().into_iter().zip(b.rows()).map(|(a, b)| a.dot(&b)).collect()
        };
        let lengths: Vec<f64> = directions.rows().into_iter().map(|row| row.dot(&row).sqrt()).collect();
        let rows = directions.rows_mut().into_iter().zip(x.rows());
        for ((mut direction, x), &length) in rows.zip(&lengths) {
            let longest = LONGEST.max(LONGEST_SHARE * x.dot(&x).sqrt());
            if length > longest {
                direction *= longest / length;
            }
        }
        let mut open: Vec<usize> = (0..y.nrows()).filter(|&i| lengths[i] > SHORT).collect();
        let mut moved = &*y + &directions;
        if !open.is_empty() {
            let slopes = products(&gaps, &directions);
            let before: Vec<f64> = to_values(values).iter().zip(products(x, y)).map(|(value, xy)| value - xy).collect();
            let mut length = 1.0;
            for _ in 0..SHORTENINGS {
                let choose = |points: &Points| points.select(Axis(0), &open);
                let trial = choose(y) + &(choose(&directions) * length);
                let after = self.values(&trial).into_iter().zip(products(&choose(x), &trial));
                let mut rest = Vec::new();
                for ((row, &i), (value, xy)) in open.iter().enumerate().zip(after) {
                    let most = before[i] + ARMIJO * length * slopes[i] + ROUNDING * (1.0 + before[i].abs());
                    if value - xy <= most {
                        moved.row_mut(i).assign(&trial.row(row));
                    } else {
                        rest.push(i);
                    }
                }
                (open, length) = (rest, SHORTER * length);
                if open.is_empty() {
                    break;
                }
            }
        }
        // Rows without a step stay; all are kept as they are computed with.
        open.into_iter().for_each(|i| moved.row_mut(i).assign(&y.row(i)));
        for (mut row, (new, length)) in y.rows_mut().into_iter().zip(moved.rows().into_iter().zip(&lengths)) {
            if length.is_finite() {
                row.iter_mut().zip(new).for_each(|(y, &new)| *y = f64::from(new as f32));
            }
        }
        lengths.into_iter().map(|length| if length.is_finite() { length } else { f64::INFINITY }).collect()
    }

    /// Steps of rows whose last was not short, so many at most.
    fn go_on(&self, y: &mut Points, x: &Points, lengths: &mut [f64], mut rows: Vec<usize>, steps: usize) {
        for _ in 0..steps {
            rows.retain(|&i| lengths[i] > SHORT);
            if rows.is_empty() {
                break;
            }
            let mut some = y.select(Axis(0), &rows);
            let of_some = self.step(&mut some, &x.select(Axis(0), &rows));
            for ((row, &i), length) in some.rows().into_iter().zip(&rows).zip(of_some) {
                y.row_mut(i).assign(&row);
                lengths[i] = length;
            }
        }
    }

    /// One step for every row of a tile, and further ones for those with the longest.
    fn tile(&self, mut y: Points, x: &Points, effort: Effort) -> (Points, Vec<f64>) {
        let mut lengths = self.step(&mut y, x);
        let mut rows: Vec<usize> = (0..y.nrows()).filter(|&i| lengths[i] > SHORT).collect();
        rows.sort_unstable_by(|&i, &j| lengths[j].total_cmp(&lengths[i]).then(i.cmp(&j)));
        rows.truncate(y.nrows().div_ceil(effort.of));
        self.go_on(&mut y, x, &mut lengths, rows, effort.further);
        (y, lengths)
    }

    /// y after a step or more of every row, `[n, d]`, and the lengths of the last ones; the same bits on any number of threads.
    pub fn advance(&self, y: &Points, x: &Points, effort: Effort) -> (Points, Vec<f64>) {
        let tiles = |points: &Points| -> Vec<Points> {
            points.axis_chunks_iter(Axis(0), effort.tile).map(|tile| tile.to_owned()).collect()
        };
        let pairs: Vec<(Points, Points)> = tiles(y).into_iter().zip(tiles(x)).collect();
        let parts: Vec<(Points, Vec<f64>)> = pairs.into_par_iter().map(|(y, x)| self.tile(y, &x, effort)).collect();
        let views: Vec<_> = parts.iter().map(|(y, _)| y.view()).collect();
        let points = concatenate(Axis(0), &views).expect("one width").as_standard_layout().into_owned();
        (points, parts.into_iter().flat_map(|(_, lengths)| lengths).collect())
    }

    /// The conjugates of all rows, from where they were kept.
    ///
    /// Rows whose steps stay long are tried again, then from where the Gaussian map has them.
    pub fn solve(&self, y: &Points, x: &Points, effort: Effort) -> Solved {
        let (mut points, mut lengths) = self.advance(y, x, effort);
        let is_open = |lengths: &[f64]| (0..lengths.len()).filter(|&i| lengths[i] > SHORT).collect::<Vec<usize>>();
        let open = is_open(&lengths);
        self.go_on(&mut points, x, &mut lengths, open.clone(), RETRIES);
        let left = is_open(&lengths);
        for &i in &left {
            points.row_mut(i).assign(&x.row(i).mapv(|x| f64::from(x as f32)));
        }
        self.go_on(&mut points, x, &mut lengths, left, RETRIES);
        let lost = is_open(&lengths);
        Solved { points, retried: open.len() - lost.len(), lost }
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Gaussian, Purpose, Sample, Stream};
    use brenier_model::monge_ampere::{InputConvexNetwork, InputConvexShape, conjugate};

    use super::*;

    #[test]
    fn conjugates_are_found_from_afar_and_a_row_without_any_is_lost() {
        let d = 3;
        let normals = |seed, n| Gaussian::standard(d).sample(&Stream::new(seed, Purpose::Batch), 0, 0..n);
        let shape = InputConvexShape { widths: vec![12, 8], quadratic_first: false, floor: 0.02 };
        let network = InputConvexNetwork::near_identity(&shape, &normals(1, 200), 4);
        let moved: Vec<f64> =
            network.parameters().iter().enumerate().map(|(k, x)| x + 0.3 * (k as f64).sin()).collect();
        let network = network.with_parameters(&moved);
        let device = Device::flex();
        let placed = network.placed(DType::F32, &device);
        let solver = Solver { network: &placed, device: &device };
        let mut x = normals(2, 300) * 3.0;
        let start = normals(3, 300) * 30.0;
        let effort = Effort { tile: 64, of: 8, further: 8 };
        let found = solver.solve(&start, &x, effort);
        assert_eq!(found.lost, [0; 0]);
        assert!(found.retried > 0, "some rows started far from the answer");
        // Near the answer one step is enough.
        let (points, lengths) = solver.advance(&found.points, &x, effort);
        assert!(lengths.iter().all(|&length| length < SHORT));
        let gaps = conjugate::gradient(&network, &points) - &x;
        assert!(gaps.iter().all(|gap| gap.abs() < 2e-3), "{}", gaps.iter().fold(0.0f64, |m, g| m.max(g.abs())));
        x[[7, 1]] = f64::NAN;
        assert_eq!(solver.solve(&found.points, &x, effort).lost, [7]);
    }
}
