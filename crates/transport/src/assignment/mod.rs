//! Exact assignment: optimal transport between two clouds of the same size, with a certificate.
//!
//! ```
//! use brenier_transport::{Cloud, Cost, assignment::assign};
//!
//! let here = [0.0, 0.0, 1.0, 0.0, 0.0, 2.0];
//! let there = [0.0, 3.0, 0.0, 1.0, 2.0, 0.0];
//! let answer = assign(Cloud::new(&here, 2)?, Cloud::new(&there, 2)?, Cost::SquaredDistance)?;
//! assert_eq!(answer.matches, [1, 2, 0]);
//! assert!((answer.cost - 1.0).abs() < 1e-12 && answer.gap < 1e-12);
//! # Ok::<(), brenier_transport::TransportError>(())
//! ```
//!
//! # Design
//!
//! 1. Both clouds are centred (`W₂² = |Δmean|² + W₂²` of the centred ones) and, for the squared distance,
//!    preconditioned by the optimal linear map between their covariances, so that the duals are small.
//! 2. An auction with ε-scaling finds duals. A row searches its best columns in a tree up to dimension 4, in a matrix of
//!    f32 costs above, and bids from what it remembers of its last search as long as that is valid, which most often it
//!    is. In a tree the duals start from those of the means of neighbours.
//! 3. Pairs at reduced cost zero are kept; what is left is completed by shortest augmenting paths, so the answer is exact
//!    however coarse the auction was.
//! 4. One more search per row certifies the duals against every arc in f64. The gap between the cost of the
//!    assignment and the dual value bounds how far from optimal it is, whatever went before.

mod auction;
mod columns;
mod dense;
mod matrix;
mod preconditioning;
mod problem;
mod shortest_paths;
mod tree;

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use self::auction::Auction;
use self::columns::Columns;
use self::dense::Dense;
use self::matrix::Matrix;
use self::problem::Problem;
use self::shortest_paths::{Completion, Tight};
use self::tree::Tree;
use crate::apart::{self, Answer, Sides, Solver};
use crate::cloud::common_dim;
use crate::{Cloud, Cost, Potentials, TransportError};

/// The first ε of the auction, in units of the mean cost, from no duals at all ...
const FIRST: f64 = 0.05;
/// ... and from duals that are nearly right.
const FIRST_REFINED: f64 = 0.01;
/// ε falls by this factor from round to round.
const FACTOR: f64 = 5.0;
/// From this ε on the auction asks after each round whether it is enough: ...
const FINE: f64 = 2e-5;
/// ... whether the best columns of the rows leave no more than this share of the rows without one ...
const LEFT_OVER: f64 = 0.45;
/// ... or ε is as small as this.
const FINEST: f64 = 1e-9;
/// From this size on a problem in a tree is solved for means of neighbours first.
const COARSEN: usize = 512;
/// The most points that are assigned by shortest paths alone.
const LARGEST_PLAIN: usize = 4096;
/// Rows that one task searches.
const TILE: u32 = 64;

/// An optimal assignment.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The point of the second cloud that each point of the first is matched with, `[n]`.
    pub matches: Vec<u32>,
    /// The mean cost of the pairs: W₁ or W₂².
    pub cost: f64,
    /// The cost less the value of the duals: no assignment is cheaper by more, but for rounding.
    pub gap: f64,
    /// A bound of what rounding may add to the gap.
    pub rounding: f64,
    /// Optimal potentials, in the same unit.
    pub potentials: Potentials,
}

/// The cheapest assignment between clouds of the same size.
///
/// Memory is linear in n up to dimension 4, and 4n² bytes above (1.6 GB at n = 20,000).
///
/// # Errors
///
/// Clouds of different sizes or dimensions, coordinates whose distances overflow.
pub fn assign(a: Cloud, b: Cloud, cost: Cost) -> Result<Assignment, TransportError> {
    let dim = common_dim(&a, &b)?;
    if a.count() != b.count() {
        return Err(TransportError::UnequalSizes { a: a.count(), b: b.count() });
    }
    let ones = vec![1; a.count()];
    let sides = Sides { x: a.values(), supplies: &ones, y: b.values(), demands: &ones, dim, cost };
    let Answer { entries, cost, gap, rounding, potentials } = apart::solve(sides, &Assignments)?;
    let mut matches = vec![0; ones.len()];
    entries.iter().for_each(|&(i, j, _)| matches[i as usize] = j);
    Ok(Assignment { matches, cost, gap, rounding, potentials })
}

/// The solvers below, for points of one unit each.
struct Assignments;

impl Solver for Assignments {
    fn fast(&self, sides: Sides) -> Result<apart::Solution, TransportError> {
        let Sides { x, y, dim, cost, .. } = sides;
        let problem = Problem::new(Cloud::new(x, dim)?, Cloud::new(y, dim)?, cost)?;
        let solution = if problem.scale == 0.0 {
            problem.of_two_points()
        } else {
            match dim {
                1 => solve_in_tree::<1>(&problem),
                2 => solve_in_tree::<2>(&problem),
                3 => solve_in_tree::<3>(&problem),
                4 => solve_in_tree::<4>(&problem),
                _ => solve_in_matrix(&problem, dim)?,
            }
        };
        Ok(problem.answer(solution))
    }

    /// Shortest paths alone, from duals of zero: an auction takes steps in the unit of all costs, far ones too.
    fn plain(&self, sides: Sides) -> Option<Result<apart::Solution, TransportError>> {
        let n = sides.supplies.len();
        (n <= LARGEST_PLAIN).then(|| {
            let mut columns = Dense::new(&sides);
            let mut tight = Tight::new(&least_of_all(&columns));
            let radius = columns.typical();
            Arch::new().dispatch(Completion { columns: &mut columns, tight: &mut tight, radius });
            let a: Vec<f64> = least_of_all(&columns).into_iter().map(|(_, reduced)| reduced).collect();
            let b: Vec<f64> = (0..n as u32).map(|column| columns.dual(column)).collect();
            let (mut gap, mut rounding) = (0.0, 0.0);
            for (i, &j) in tight.columns_of.iter().enumerate() {
                let (cost, j) = (sides.cost_of(i, j as usize), j as usize);
                gap += (cost - a[i] - b[j]).max(0.0);
                rounding += (sides.dim as f64 + 4.0) * f64::EPSILON * (cost + a[i].abs() + b[j].abs());
            }
            let entries = tight.columns_of.iter().enumerate().map(|(i, &j)| (i as u32, j, 1)).collect();
            Ok(apart::Solution { entries, potentials: Potentials { a, b }, gap, rounding })
        })
    }
}

/// What a solver finds: the column of each row, and optimal duals of rows and columns.
struct Solution {
    matches: Vec<u32>,
    row_duals: Vec<f64>,
    column_duals: Vec<f64>,
}

fn solve_in_matrix(problem: &Problem, dim: usize) -> Result<Solution, TransportError> {
    let start = problem.start();
    let matrix = Matrix::new(&problem.x, &problem.y, dim, problem.cost, &start)?;
    let mut solution = solve(matrix, &vec![0.0; start.len()], problem.scale, FIRST_REFINED);
    solution.column_duals.iter_mut().zip(&start).for_each(|(dual, start)| *dual += start);
    Ok(solution)
}

fn solve_in_tree<const D: usize>(problem: &Problem) -> Solution {
    let points = |values: &[f64]| -> Vec<[f64; D]> {
        values.chunks_exact(D).map(|point| point.try_into().expect("D coordinates")).collect()
    };
    let (x, y) = (points(&problem.x), points(&problem.y));
    match problem.cost {
        Cost::Distance => refine::<D, 1>(&x, &y, problem.start(), problem.scale),
        Cost::SquaredDistance => refine::<D, 2>(&x, &y, problem.start(), problem.scale),
    }
}

/// Solves for the means of about eight neighbours each first, and starts from their duals.
fn refine<const D: usize, const P: u32>(x: &[[f64; D]], y: &[[f64; D]], mut start: Vec<f64>, scale: f64) -> Solution {
    let n = x.len();
    let mut first = FIRST;
    if n >= COARSEN {
        first = FIRST_REFINED;
        let (x_means, y_means) = (tree::leaf_means(x), tree::leaf_means(y));
        let coarse_start = tree::leaf_values(y, &start);
        let coarse = refine::<D, P>(&x_means, &y_means, coarse_start, scale);
        // v_j = min_i c(x̄_i, y_j) - u_i.
        let mut means = Tree::<D, P>::over(y, &x_means);
        for (k, &mean) in (0..).zip(&means.columns) {
            means.tree.set_dual(k, coarse.row_duals[mean as usize]);
        }
        for (&point, (_, dual)) in means.rows.iter().zip(least_of_all(&means.tree)) {
            start[point as usize] = dual;
        }
    }
    let ordered = Tree::<D, P>::over(x, y);
    let start: Vec<f64> = ordered.columns.iter().map(|&column| start[column as usize]).collect();
    let inner = solve(ordered.tree, &start, scale, first);
    let mut solution = Solution { matches: vec![0; n], row_duals: vec![0.0; n], column_duals: vec![0.0; n] };
    for (k, (&row, &column)) in ordered.rows.iter().zip(&ordered.columns).enumerate() {
        solution.matches[row as usize] = ordered.columns[inner.matches[k] as usize];
        solution.row_duals[row as usize] = inner.row_duals[k];
        solution.column_duals[column as usize] = inner.column_duals[k];
    }
    solution
}

/// Solves from duals of the columns to begin with; `scale` is about the mean cost, `first` the first ε in its unit.
fn solve<C: Columns>(mut columns: C, start: &[f64], scale: f64, first: f64) -> Solution {
    let n = columns.count();
    for (column, &dual) in (0..).zip(start).filter(|(_, dual)| **dual != 0.0) {
        columns.set_dual(column, dual);
    }
    // Smaller steps would be lost in the rounding of the duals.
    let largest = start.iter().fold(0.0, |largest: f64, dual| largest.max(dual.abs()));
    let finest = (FINEST * scale).max(32.0 * f64::EPSILON * largest);
    let mut tight = None;
    let enough = |columns: &C, epsilon: f64| {
        if epsilon > finest.max(FINE * scale) {
            return false;
        }
        let pairs = Tight::new(&least_of_all(columns));
        let enough = pairs.free().count() as f64 <= LEFT_OVER * n as f64 || epsilon <= finest;
        tight = Some((pairs, epsilon));
        enough
    };
    let arch = Arch::new();
    arch.dispatch(Auction { columns: &mut columns, epsilon: finest.max(first * scale), factor: FACTOR, enough });
    let (mut tight, last) = tight.expect("an auction ends when it is enough");
    arch.dispatch(Completion { columns: &mut columns, tight: &mut tight, radius: 4.0 * last });
    Solution {
        row_duals: least_of_all(&columns).into_iter().map(|(_, reduced)| reduced).collect(),
        column_duals: (0..n as u32).map(|column| columns.dual(column)).collect(),
        matches: tight.columns_of,
    }
}

/// The column of least reduced cost of every row, and that cost.
fn least_of_all<C: Columns>(columns: &C) -> Vec<(u32, f64)> {
    let n = columns.rows() as u32;
    let tiles: Vec<_> = (0..n).step_by(TILE as usize).map(|first| first..n.min(first + TILE)).collect();
    let arch = Arch::new();
    tiles.into_par_iter().flat_map_iter(|rows| arch.dispatch(LeastOf { columns, rows })).collect()
}

/// The columns of least reduced cost of some rows, for the vector units of this machine.
struct LeastOf<'a, C> {
    columns: &'a C,
    rows: std::ops::Range<u32>,
}

impl<C: Columns> NullaryFnOnce for LeastOf<'_, C> {
    type Output = Vec<(u32, f64)>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let mut least = Vec::with_capacity(self.rows.len());
        for row in self.rows {
            least.push(self.columns.least(row));
        }
        least
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// n points of Rᵈ on an additive recurrence: spread out, without a generator.
    fn recurrence(n: usize, dim: usize, step: f64) -> Vec<f64> {
        (0..n * dim).map(|k| ((k + 1) as f64 * step).fract() * 2.0 - 1.0).collect()
    }

    const STEPS: [f64; 2] = [0.754_877_666_246_692_8, 0.569_840_290_998_053_2];

    fn solved(x: &[f64], y: &[f64], dim: usize, cost: Cost) -> Assignment {
        let (a, b) = (Cloud::new(x, dim).unwrap(), Cloud::new(y, dim).unwrap());
        let answer = assign(a, b, cost).unwrap();
        certified(&answer, a, b, cost);
        answer
    }

    /// The matches are a permutation, the potentials feasible against every arc, and both say the same cost.
    fn certified(answer: &Assignment, a: Cloud, b: Cloud, cost: Cost) {
        let mut columns = answer.matches.clone();
        columns.sort_unstable();
        assert!(columns.iter().copied().eq(0..a.count() as u32), "no permutation");
        let (x, y): (Vec<&[f64]>, Vec<&[f64]>) = (a.points().collect(), b.points().collect());
        let c = |i: usize, j: usize| cost.of_squared(crate::distances::squared_distance(x[i], y[j]));
        let largest =
            (0..x.len()).flat_map(|i| (0..y.len()).map(move |j| (i, j))).map(|(i, j)| c(i, j)).fold(0.0, f64::max);
        let rounding = 1e-12 * largest;
        let primal = (0..x.len()).map(|i| c(i, answer.matches[i] as usize)).sum::<f64>() / x.len() as f64;
        assert!((primal - answer.cost).abs() <= rounding, "{primal} against {}", answer.cost);
        assert!(
            (primal - answer.potentials.value()).abs() <= rounding,
            "{primal} against {}",
            answer.potentials.value()
        );
        assert!((0.0..=rounding).contains(&answer.gap), "gap {}", answer.gap);
        for i in 0..x.len() {
            for j in 0..y.len() {
                let slack = c(i, j) - answer.potentials.a[i] - answer.potentials.b[j];
                assert!(slack >= -rounding, "arc {i} {j}: {slack}");
            }
        }
    }

    #[test]
    fn certificates_hold_in_trees_and_in_matrices_of_every_size() {
        for dim in [1, 2, 3, 4, 5, 9] {
            for n in [1, 2, 7, 8, 9, 17, 65, 300, 700] {
                let (x, y) = (recurrence(n, dim, STEPS[0]), recurrence(n, dim, STEPS[1]));
                for cost in [Cost::Distance, Cost::SquaredDistance] {
                    solved(&x, &y, dim, cost);
                }
            }
        }
    }

    #[test]
    fn a_tree_and_a_matrix_agree() {
        // The same problem in the plane, and in the plane within five dimensions.
        let (x, y) = (recurrence(600, 2, STEPS[0]), recurrence(600, 2, STEPS[1]));
        let lift = |points: &[f64]| points.chunks(2).flat_map(|p| [p[0], p[1], 0.0, 0.0, 0.0]).collect::<Vec<f64>>();
        for cost in [Cost::Distance, Cost::SquaredDistance] {
            let (flat, lifted) = (solved(&x, &y, 2, cost), solved(&lift(&x), &lift(&y), 5, cost));
            assert!((flat.cost - lifted.cost).abs() < 1e-13, "{} against {}", flat.cost, lifted.cost);
        }
    }

    #[test]
    fn a_shift_and_a_symmetric_map_have_closed_forms() {
        // Gradients of convex functions are optimal: W₂² is the mean square of the displacement.
        let x = recurrence(500, 3, STEPS[0]);
        let moved: Vec<f64> = x.chunks(3).flat_map(|p| [3.0 * p[0] + 5.0, 0.5 * p[1] - 1.0, p[2]]).collect();
        let exact = x.iter().zip(&moved).map(|(x, y)| (x - y) * (x - y)).sum::<f64>() / 500.0;
        let answer = solved(&x, &moved, 3, Cost::SquaredDistance);
        assert!((answer.cost - exact).abs() < 1e-12 * exact, "{} against {exact}", answer.cost);
        assert!(answer.matches.iter().copied().eq(0..500));
        let shifted: Vec<f64> = x.chunks(3).flat_map(|p| [p[0] + 3.0, p[1], p[2] + 4.0]).collect();
        assert!((solved(&x, &shifted, 3, Cost::Distance).cost - 5.0).abs() < 1e-12);
    }

    #[test]
    fn on_a_line_in_space_it_is_sorting() {
        let (s, t) = (recurrence(400, 1, STEPS[0]), recurrence(400, 1, STEPS[1]));
        for dim in [2, 6] {
            let line = |values: &[f64]| -> Vec<f64> {
                let direction = (dim as f64).sqrt().recip();
                values.iter().flat_map(|value| vec![value * direction; dim]).collect()
            };
            for (cost, p) in [(Cost::Distance, 1.0), (Cost::SquaredDistance, 2.0)] {
                let exact = crate::one_dimension::w_p(&s, &t, p).unwrap();
                let ours = cost.distance(solved(&line(&s), &line(&t), dim, cost).cost);
                assert!((ours - exact).abs() < 1e-12, "d = {dim}, p = {p}: {ours} against {exact}");
            }
        }
    }

    #[test]
    fn ties_and_coincident_points() {
        let grid = |order: usize| -> Vec<f64> {
            (0..400).flat_map(|k| [(k * order % 400 / 20) as f64, (k * order % 20) as f64]).collect()
        };
        for cost in [Cost::Distance, Cost::SquaredDistance] {
            // The same grid in another order: every point finds itself.
            assert_eq!(solved(&grid(1), &grid(7), 2, cost).cost, 0.0);
            // One step to the right: W₁ = W₂ = 1, by many assignments.
            let right: Vec<f64> = grid(7).chunks(2).flat_map(|p| [p[0] + 1.0, p[1]]).collect();
            assert!((solved(&grid(1), &right, 2, cost).cost - 1.0).abs() < 1e-12);
            for dim in [2, 5] {
                let (here, there) = (vec![1.5; 50 * dim], vec![-0.5; 50 * dim]);
                assert_eq!(solved(&here, &here, dim, cost).cost, 0.0);
                let distance = cost.of_squared(4.0 * dim as f64);
                assert!((solved(&here, &there, dim, cost).cost - distance).abs() < 1e-14 * distance);
                // One point against many.
                solved(&here, &recurrence(50, dim, STEPS[0]), dim, cost);
                // Every point eight times.
                let eightfold: Vec<f64> =
                    recurrence(12, dim, STEPS[0]).chunks(dim).flat_map(|point| point.repeat(8)).collect();
                solved(&eightfold, &recurrence(96, dim, STEPS[1]), dim, cost);
            }
        }
    }

    #[test]
    fn clouds_far_apart_and_scales_far_from_one() {
        for dim in [2, 5] {
            let (x, y) = (recurrence(200, dim, STEPS[0]), recurrence(200, dim, STEPS[1]));
            let near = solved(&x, &y, dim, Cost::SquaredDistance);
            // W₂² = |shift|² + 2 shift·(difference of the means) + W₂² of the near clouds: all three are in the digits.
            let far: Vec<f64> = y.iter().map(|y| y + 1048576.0).collect();
            let answer = solved(&x, &far, dim, Cost::SquaredDistance);
            assert_eq!(answer.matches, near.matches);
            solved(&x, &far, dim, Cost::Distance);
            for scale in [1e-140f64, 1e-30, 1e30, 1e140] {
                let scaled = |points: &[f64]| points.iter().map(|x| x * scale).collect::<Vec<f64>>();
                for cost in [Cost::Distance, Cost::SquaredDistance] {
                    let unit = cost.of_squared(scale * scale);
                    let (ours, exact) =
                        (solved(&scaled(&x), &scaled(&y), dim, cost).cost, solved(&x, &y, dim, cost).cost);
                    assert!((ours / unit / exact - 1.0).abs() < 1e-12, "scale {scale}: {ours}");
                }
            }
            let huge = |points: &[f64]| points.iter().map(|x| x * 1e200).collect::<Vec<f64>>();
            let (x, y) = (huge(&x), huge(&y));
            let overflow = assign(Cloud::new(&x, dim).unwrap(), Cloud::new(&y, dim).unwrap(), Cost::SquaredDistance);
            assert!(matches!(overflow.unwrap_err(), TransportError::TooLarge { .. }));
        }
    }

    #[test]
    fn heavy_tails_start_no_endless_price_war() {
        // Scales over eight decades.
        for dim in [2, 6] {
            let tails = |step: f64| -> Vec<f64> {
                recurrence(400, dim, step)
                    .chunks(dim)
                    .flat_map(|p| p.iter().map(|x| x * (9.0 * p[0]).exp()).collect::<Vec<_>>())
                    .collect()
            };
            for cost in [Cost::Distance, Cost::SquaredDistance] {
                solved(&tails(STEPS[0]), &tails(STEPS[1]), dim, cost);
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        for dim in [2, 7] {
            let (x, y) = (recurrence(900, dim, STEPS[0]), recurrence(900, dim, STEPS[1]));
            let on = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let (a, b) = (Cloud::new(&x, dim).unwrap(), Cloud::new(&y, dim).unwrap());
                pool.install(|| assign(a, b, Cost::SquaredDistance).unwrap())
            };
            assert_eq!(on(1), on(3));
        }
    }

    #[test]
    fn sizes_that_differ_are_refused() {
        let (x, y) = (recurrence(3, 2, STEPS[0]), recurrence(4, 2, STEPS[1]));
        let refused = assign(Cloud::new(&x, 2).unwrap(), Cloud::new(&y, 2).unwrap(), Cost::Distance).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "one cloud has 3 points, the other 4; an assignment needs equal sizes: use `weighted::transport_uniform`"
        );
    }

    proptest! {
        #[test]
        fn no_permutation_of_six_points_is_cheaper(values in proptest::collection::vec(-3i32..=3, 24), dim in 1usize..=2) {
            // Small integers: many ties.
            let points = |range: std::ops::Range<usize>| values[range].iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
            let (x, y) = (points(0..6 * dim), points(12..12 + 6 * dim));
            for cost in [Cost::Distance, Cost::SquaredDistance] {
                let answer = solved(&x, &y, dim, cost);
                let mut best = f64::INFINITY;
                permutations(&mut [0, 1, 2, 3, 4, 5], 0, &mut |order| {
                    let pairs = x.chunks(dim).zip(order.iter().map(|&j| &y[j * dim..(j + 1) * dim]));
                    let total: f64 = pairs.map(|(x, y)| cost.of_squared(crate::distances::squared_distance(x, y))).sum();
                    best = best.min(total / 6.0);
                });
                prop_assert!((answer.cost - best).abs() < 1e-12, "{} against {best}", answer.cost);
            }
        }
    }

    fn permutations(order: &mut [usize], first: usize, visit: &mut impl FnMut(&[usize])) {
        if first == order.len() {
            visit(order);
        }
        for k in first..order.len() {
            order.swap(first, k);
            permutations(order, first + 1, visit);
            order.swap(first, k);
        }
    }
}
