//! Brenier maps: distance to a known map, optimality against the exact transport of the same samples, and whether the
//! Jacobian is one of a convex potential.
//!
//! Korotin, Li, Genevay, Solomon, Filippov and Burnaev, Do Neural Optimal Transport Solvers Work? A Continuous
//! Wasserstein-2 Benchmark, NeurIPS (2021), for the L2-UVP and the cosine.

use std::collections::BTreeMap;

use brenier_measure::linear_algebra::symmetric_eigen;
use brenier_measure::{Estimate, Points};
use ndarray::{Array2, Array3, ArrayView2, Axis};
use rayon::prelude::*;

use crate::error::{check, check_dims};
use crate::{Direction, EvalError, MetricReport};

/// A relative difference of two costs below this is rounding.
const ROUNDING: f64 = 1e-12;

/// The exact transport between points y and their images T(y), as numbers: an optimal value of `E|x - y|²` with its
/// certificate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExactTransport<'a> {
    /// W₂² between the points and their images.
    pub w2_squared: f64,
    /// How far below it the dual value lies.
    pub gap: f64,
    /// Its standard error.
    pub std_error: f64,
    /// Dual potentials of the points and of the images, `[n]` each, `a[i] + b[j] ≤ |y_i - T(y_j)|²`, where they are kept.
    pub potentials: Option<(&'a [f64], &'a [f64])>,
}

/// A relative optimality gap above this one is no optimal map.
pub const LARGEST_GAP: f64 = 0.01;

/// The L2 unexplained variance percentage `100 · E|T(y) - T*(y)|²/Var T*(y)`; images `[n, d]` under both maps of the same
/// points.
///
/// `Var` is the trace of the covariance. The standard error is that of the ratio of two means (delta method). 0 is the
/// known map, 100 the constant one.
///
/// # Errors
///
/// Fewer than two points, different shapes, images that are not finite, a known map that is constant.
pub fn l2_uvp(images: &Points, known: &Points) -> Result<MetricReport, EvalError> {
    check_pair(("images", images), ("images under the known map", known))?;
    let n = images.nrows();
    let mean = known.mean_axis(Axis(0)).expect("at least two points");
    let errors: Vec<f64> = rows(images).zip(rows(known)).map(|(t, exact)| squared_distance(&t, &exact)).collect();
    let mean = mean.as_slice().expect("contiguous");
    let variances: Vec<f64> = rows(known).map(|exact| squared_distance(&exact, mean)).collect();
    let variance = variances.iter().sum::<f64>() / (n as f64 - 1.0);
    if variance == 0.0 {
        return Err(EvalError::ConstantMap { name: "the known map" });
    }
    let value = errors.iter().sum::<f64>() / n as f64 / variance;
    let terms = Estimate::mean(errors.iter().zip(&variances).map(|(e, v)| (e - value * v) / variance));
    let uvp = Estimate { value: 100.0 * value, std_error: 100.0 * terms.std_error };
    Ok(MetricReport::new(uvp, n, Direction::LowerIsBetter).with_floor(0.0, 0.0))
}

/// The cosine of the displacements, `E⟨T(y) - y, T*(y) - y⟩/√(E|T(y) - y|² E|T*(y) - y|²)`; points and images `[n, d]`.
///
/// The standard error is that of the delta method. No value where one of the maps moves nothing.
///
/// # Errors
///
/// Fewer than two points, different shapes, numbers that are not finite.
pub fn displacement_cosine(points: &Points, images: &Points, known: &Points) -> Result<MetricReport, EvalError> {
    check_pair(("points", points), ("images", images))?;
    check_pair(("images", images), ("images under the known map", known))?;
    let n = points.nrows();
    let products: Vec<[f64; 3]> = rows(points)
        .zip(rows(images))
        .zip(rows(known))
        .map(|((y, t), exact)| {
            y.iter().zip(t).zip(exact).fold([0.0; 3], |[ab, aa, bb], ((y, t), exact)| {
                let (a, b) = (t - y, exact - y);
                [ab + a * b, aa + a * a, bb + b * b]
            })
        })
        .collect();
    let mean = |k: usize| products.iter().map(|p| p[k]).sum::<f64>() / n as f64;
    let (ab, aa, bb) = (mean(0), mean(1), mean(2));
    if aa == 0.0 || bb == 0.0 {
        let still = if aa == 0.0 { "the map" } else { "the known map" };
        return Ok(MetricReport::undefined(n, Direction::HigherIsBetter)
            .with_note(format!("{still} moves no point: there is no direction to compare")));
    }
    let norm = aa.sqrt() * bb.sqrt();
    let value = ab / norm;
    let terms = Estimate::mean(products.iter().map(|p| p[0] / norm - 0.5 * value * (p[1] / aa + p[2] / bb)));
    let cosine = Estimate { value, std_error: terms.std_error };
    Ok(MetricReport::new(cosine, n, Direction::HigherIsBetter).with_floor(1.0, 0.0))
}

/// The optimality gap `(E|T(y) - y|² - W₂²)/W₂²` of points and their images, `[n, d]`; 0 for an optimal map, whatever the
/// number of points.
///
/// With potentials the standard error is that of the mean of `|T(yᵢ) - yᵢ|² - r (aᵢ + bᵢ)`, r the ratio of the two costs,
/// terms that vanish for an optimal map; without them the errors of the two costs, which come from the same points, are
/// added up, and the error is an upper bound. Above 1 % a note says that the map is not optimal.
///
/// # Errors
///
/// Fewer than two points, different shapes, numbers that are not finite, potentials of another length, a cost
/// above `E|T(y) - y|²` (it belongs to other points).
pub fn optimality_gap(points: &Points, images: &Points, exact: ExactTransport) -> Result<MetricReport, EvalError> {
    check_pair(("points", points), ("images", images))?;
    let n = points.nrows();
    let moves: Vec<f64> = rows(points).zip(rows(images)).map(|(y, t)| squared_distance(&y, &t)).collect();
    let moved = Estimate::mean(moves.iter().copied());
    // The exact cost is the least one over all couplings of these points.
    if !(exact.w2_squared >= 0.0 && exact.w2_squared <= moved.value * (1.0 + 1e-6) + exact.gap) {
        return Err(EvalError::ExactCost { cost: exact.w2_squared, moved: moved.value });
    }
    // By the delta method for moved/W₂²; the derivative by W₂² is -ratio.
    let ratio = if exact.w2_squared > 0.0 { moved.value / exact.w2_squared } else { 1.0 };
    let std_error = match exact.potentials {
        Some((a, b)) if a.len() == n && b.len() == n => {
            Estimate::mean(moves.iter().zip(a).zip(b).map(|((cost, a), b)| cost - ratio * (a + b))).std_error
        }
        Some((a, b)) => return Err(EvalError::Potentials { a: a.len(), b: b.len(), points: n }),
        None => moved.std_error + ratio * exact.std_error,
    };
    let report = if exact.w2_squared > 0.0 {
        let gap = (moved.value - exact.w2_squared) / exact.w2_squared;
        // What rounding leaves of an optimal plan is 0, and without error.
        let gap = match gap.abs() > ROUNDING {
            true => Estimate { value: gap, std_error: std_error / exact.w2_squared },
            false => Estimate { value: 0.0, std_error: 0.0 },
        };
        let report = MetricReport::new(gap, n, Direction::LowerIsBetter).with_floor(0.0, 0.0);
        if gap.value > LARGEST_GAP {
            report.with_note(format!("not an optimal map: its cost is {:.2} % above the optimum", 100.0 * gap.value))
        } else {
            report
        }
    } else if moved.value == 0.0 {
        MetricReport::new(Estimate { value: 0.0, std_error: 0.0 }, n, Direction::LowerIsBetter).with_floor(0.0, 0.0)
    } else {
        MetricReport::undefined(n, Direction::LowerIsBetter)
            .with_note("not an optimal map: it moves points onto each other's places, and the optimum moves nothing")
    };
    let report = report
        .with_detail("cost", moved.value)
        .with_detail("w2_squared", exact.w2_squared)
        .with_detail("duality_gap", exact.gap);
    Ok(match exact.potentials {
        Some(_) => report,
        None => report.with_note("the standard error is an upper bound"),
    })
}

/// The Jacobians of a map at points `[n, d]`, `[n, d, d]` with entry `∂Tᵢ/∂yⱼ` at `[.., i, j]`, from Jacobian-vector
/// products: `product(v)` answers `J(y)v` at every point, `[n, d]`, for one direction v, `[d]`.
///
/// # Errors
///
/// No point or no dimension, an answer of another shape.
pub fn jacobians(points: &Points, mut product: impl FnMut(&[f64]) -> Points) -> Result<Array3<f64>, EvalError> {
    check("points", points, 1)?;
    let (n, d) = points.dim();
    let mut all = Array3::zeros((n, d, d));
    for column in 0..d {
        let mut direction = vec![0.0; d];
        direction[column] = 1.0;
        let along = product(&direction);
        if along.dim() != (n, d) {
            return Err(EvalError::Shape { name: "a Jacobian-vector product", found: along.dim(), expected: (n, d) });
        }
        all.index_axis_mut(Axis(2), column).assign(&along);
    }
    Ok(all)
}

/// Whether Jacobians `[n, d, d]` are those of the gradient of a convex function, as reports:
/// - `jacobian_asymmetry`: the mean of `‖J - Jᵀ‖/‖J‖` (Frobenius); 0 for a gradient;
/// - `least_eigenvalue`: the least eigenvalue of `½(J + Jᵀ)` over all points; an extreme has no standard error;
/// - `folds`: the share of points where it is not positive; there the map is not injective nearby, and its density is
///   invalid.
///
/// # Errors
///
/// No point, matrices that are not square, entries that are not finite (by row), eigenvalues that do not converge.
pub fn jacobian_reports(jacobians: &Array3<f64>) -> Result<BTreeMap<String, MetricReport>, EvalError> {
    let (n, d, columns) = jacobians.dim();
    if n == 0 || d == 0 {
        return Err(EvalError::TooFew { name: "Jacobians", count: n.min(d), least: 1 });
    }
    if d != columns {
        return Err(EvalError::Shape { name: "a Jacobian", found: (d, columns), expected: (d, d) });
    }
    if let Some(((row, i, j), &value)) = jacobians.indexed_iter().find(|(_, value)| !value.is_finite()) {
        return Err(EvalError::NotFinite { name: "Jacobians", row, column: i * d + j, value });
    }
    let matrices: Vec<ArrayView2<f64>> = jacobians.outer_iter().collect();
    let judged: Vec<(f64, f64)> = matrices
        .par_iter()
        .enumerate()
        .map(|(row, jacobian)| {
            let least = least_eigenvalue(jacobian).ok_or(EvalError::JacobianEigenvalues { row })?;
            Ok((asymmetry(jacobian), least))
        })
        .collect::<Result<_, EvalError>>()?;

    let estimate = |values: &dyn Fn(&(f64, f64)) -> f64| Estimate::mean(judged.iter().map(values));
    let largest = judged.iter().map(|(asymmetry, _)| *asymmetry).fold(0.0, f64::max);
    let asymmetry = MetricReport::new(estimate(&|(asymmetry, _)| *asymmetry), n, Direction::LowerIsBetter)
        .with_floor(0.0, 0.0)
        .with_detail("largest", largest);

    let least = judged.iter().map(|(_, least)| *least).fold(f64::INFINITY, f64::min);
    let folded = judged.iter().filter(|(_, least)| *least <= 0.0).count();
    let invalid = |report: MetricReport| match folded {
        0 => report,
        _ => report.with_note(format!("fold: the density is invalid at {folded} of {n} points")),
    };
    let extreme = Estimate { value: least, std_error: f64::NAN };
    let eigenvalue = MetricReport::new(extreme, n, Direction::HigherIsBetter)
        .with_detail("mean", estimate(&|(_, least)| *least).value)
        .with_note("the least over these points: an upper bound of the least over all");
    let folds =
        MetricReport::new(estimate(&|(_, least)| f64::from(u8::from(*least <= 0.0))), n, Direction::LowerIsBetter);
    Ok(BTreeMap::from([
        ("jacobian_asymmetry".to_owned(), asymmetry),
        ("least_eigenvalue".to_owned(), invalid(eigenvalue)),
        ("folds".to_owned(), invalid(folds.with_floor(0.0, 0.0))),
    ]))
}

/// `‖J - Jᵀ‖/‖J‖`; 0 for the zero matrix.
fn asymmetry(jacobian: &ArrayView2<f64>) -> f64 {
    let scale = jacobian.iter().fold(0.0f64, |scale, x| scale.max(x.abs()));
    if scale == 0.0 {
        return 0.0;
    }
    // Scaled: entries of 1e-200 have squares of zero.
    let (mut difference, mut norm) = (0.0, 0.0);
    for ((i, j), x) in jacobian.indexed_iter() {
        difference += ((x - jacobian[[j, i]]) / scale).powi(2);
        norm += (x / scale).powi(2);
    }
    (difference / norm).sqrt()
}

fn least_eigenvalue(jacobian: &ArrayView2<f64>) -> Option<f64> {
    let d = jacobian.nrows();
    let symmetric = Array2::from_shape_fn((d, d), |(i, j)| f64::midpoint(jacobian[[i, j]], jacobian[[j, i]]));
    symmetric_eigen(&symmetric)?.values.into_iter().reduce(f64::min)
}

fn rows(points: &Points) -> impl Iterator<Item = Vec<f64>> {
    points.rows().into_iter().map(|row| row.to_vec())
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Refuses points that are too few, not finite, or do not match one to one.
fn check_pair(a: (&'static str, &Points), b: (&'static str, &Points)) -> Result<(), EvalError> {
    check(a.0, a.1, 2)?;
    check(b.0, b.1, 2)?;
    check_dims(a, b)?;
    if a.1.nrows() != b.1.nrows() {
        return Err(EvalError::Shape { name: b.0, found: b.1.dim(), expected: a.1.dim() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Purpose, Stream};
    use ndarray::array;

    use super::*;

    fn normals(n: usize, d: usize, step: u64) -> Points {
        let stream = Stream::new(17, Purpose::Evaluation);
        let mut points = Points::zeros((n, d));
        for (i, mut row) in points.outer_iter_mut().enumerate() {
            stream.at(step, i as u64).fill_normal(row.as_slice_mut().unwrap());
        }
        points
    }

    fn estimate(report: &MetricReport) -> (f64, f64) {
        (report.value.unwrap(), report.std_error.unwrap())
    }

    #[test]
    fn linear_maps_of_a_gaussian_have_closed_forms() {
        // T* = A y, T = B y with diagonal A, B and y ~ N(0, I): UVP = 100 Σ(b - a)²/Σa²,
        // cos = Σ(a - 1)(b - 1)/√(Σ(a - 1)² Σ(b - 1)²).
        let (a, b) = (array![2.0, 0.5, 3.0], array![2.2, 0.6, 2.5]);
        let y = normals(40_000, 3, 0);
        let (known, images) = (&y * &a, &y * &b);
        let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(&b).map(|(&a, &b)| f(a, b)).sum::<f64>();
        let uvp = 100.0 * sum(&|a, b| (b - a).powi(2)) / sum(&|a, _| a * a);
        let norms = sum(&|a, _| (a - 1.0).powi(2)) * sum(&|_, b| (b - 1.0).powi(2));
        let cosine = sum(&|a, b| (a - 1.0) * (b - 1.0)) / norms.sqrt();
        for (report, exact, resolution) in [
            (l2_uvp(&images, &known).unwrap(), uvp, 0.05),
            (displacement_cosine(&y, &images, &known).unwrap(), cosine, 1e-3),
        ] {
            let (value, std_error) = estimate(&report);
            assert!(std_error < resolution, "too noisy to decide: {report:?}");
            assert!((value - exact).abs() < 5.0 * std_error, "{report:?} against {exact}");
        }
        assert_eq!(estimate(&l2_uvp(&known, &known).unwrap()), (0.0, 0.0));
        assert!((estimate(&displacement_cosine(&y, &known, &known).unwrap()).0 - 1.0).abs() < 1e-14);
        assert!((estimate(&displacement_cosine(&y, &(2.0 * &y - &known), &known).unwrap()).0 + 1.0).abs() < 1e-14);
    }

    #[test]
    fn standard_errors_are_the_spread_over_repeated_draws() {
        const REPEATS: u64 = 200;
        type Ask = fn(&Points) -> MetricReport;
        let asked: [Ask; 2] = [
            |y| l2_uvp(&(y * &array![1.5, 0.8]), &(y * &array![2.0, 1.0])).unwrap(),
            |y| displacement_cosine(y, &(y * &array![1.5, 0.2]), &(y * &array![2.0, 0.9])).unwrap(),
        ];
        for ask in asked {
            let answers: Vec<(f64, f64)> = (0..REPEATS).map(|r| estimate(&ask(&normals(300, 2, 10 + r)))).collect();
            let spread = Estimate::mean(answers.iter().map(|a| a.0)).std_error * (REPEATS as f64).sqrt();
            let predicted = answers.iter().map(|a| a.1).sum::<f64>() / REPEATS as f64;
            // The sd of 200 values has a relative standard error of 5 %.
            assert!((predicted / spread - 1.0).abs() < 0.25, "{predicted} against {spread}");
        }
    }

    #[test]
    fn a_rotation_pushes_a_gaussian_forward_but_is_no_optimal_map() {
        // Four points of a square turned by a right angle land on each other: W₂² = 0, and nothing had to move.
        let square = array![[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]];
        let turned = array![[-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [1.0, 1.0]];
        let nothing = ExactTransport { w2_squared: 0.0, gap: 0.0, std_error: 0.0, potentials: None };
        let report = optimality_gap(&square, &turned, nothing).unwrap();
        assert_eq!(report.value, None);
        assert!(report.note.unwrap().starts_with("not an optimal map"));
        assert_eq!(optimality_gap(&square, &square, nothing).unwrap().value, Some(0.0));
        // J = R: antisymmetric part sin, symmetric part cos(angle)·I.
        let (sin, cos) = 2.0f64.sin_cos();
        let jacobian = Array3::from_shape_fn((6, 2, 2), |(_, i, j)| match (i, j) {
            (0, 1) => -sin,
            (1, 0) => sin,
            _ => cos,
        });
        let reports = jacobian_reports(&jacobian).unwrap();
        // ‖R - Rᵀ‖ = 2√2 sin, ‖R‖ = √2.
        assert!((reports["jacobian_asymmetry"].value.unwrap() - 2.0 * sin).abs() < 1e-14);
        assert!((reports["least_eigenvalue"].value.unwrap() - cos).abs() < 1e-14);
        assert_eq!(reports["least_eigenvalue"].std_error, None);
        assert_eq!(reports["folds"].value, Some(1.0));
        assert!(reports["folds"].note.as_ref().unwrap().contains("fold: the density is invalid at 6 of 6 points"));
    }

    #[test]
    fn on_a_line_the_gap_is_that_of_sorting() {
        // T(y) = 2y is optimal; exchanging neighbours costs exactly what sorting saves.
        let y = Points::from_shape_fn((200, 1), |(i, _)| i as f64 * 0.01);
        let images = &y * 2.0;
        let optimum = images.iter().zip(&y).map(|(t, y)| (t - y) * (t - y)).sum::<f64>() / 200.0;
        // T = φ' with φ(y) = y² and φ*(t) = t²/4: a(y) = y² - 2φ(y), b(t) = t² - 2φ*(t).
        let a: Vec<f64> = y.iter().map(|y| -y * y).collect();
        let b: Vec<f64> = images.iter().map(|t| 0.5 * t * t).collect();
        let exact = ExactTransport { w2_squared: optimum, gap: 0.0, std_error: 0.1, potentials: Some((&a, &b)) };
        let (value, std_error) = estimate(&optimality_gap(&y, &images, exact).unwrap());
        assert!(value.abs() < 1e-12 && std_error < 1e-12, "{value} ± {std_error}");

        let mut exchanged = images.clone();
        for i in (0..200).step_by(2) {
            exchanged.swap([i, 0], [i + 1, 0]);
        }
        // Each exchange of neighbours at distance h and their images at 2h costs 2·h·2h more, shared by two points.
        let exact = ExactTransport { potentials: None, ..exact };
        let report = optimality_gap(&y, &exchanged, exact).unwrap();
        assert!((report.value.unwrap() - 0.01 * 0.02 / optimum).abs() < 1e-12, "{report:?}");
        assert_eq!(report.note.as_deref(), Some("the standard error is an upper bound"));
        // Turned about, it is far from optimal, and said to be.
        let reversed = images.slice(ndarray::s![..;-1, ..]).to_owned();
        let note = optimality_gap(&y, &reversed, exact).unwrap().note.unwrap();
        assert!(note.starts_with("not an optimal map: its cost is"), "{note}");
    }

    #[test]
    fn jacobian_vector_products_make_the_jacobian() {
        let points = normals(7, 3, 4);
        let matrix = array![[2.0, 0.3, 0.0], [0.3, 1.0, -0.1], [0.0, -0.1, 0.5]];
        let all = jacobians(&points, |v| {
            let image = matrix.dot(&ndarray::arr1(v));
            Points::from_shape_fn((7, 3), |(_, j)| image[j])
        })
        .unwrap();
        for jacobian in all.outer_iter() {
            assert_eq!(jacobian, matrix);
        }
        let reports = jacobian_reports(&all).unwrap();
        assert_eq!(reports["jacobian_asymmetry"].value, Some(0.0));
        assert_eq!(reports["folds"].value, Some(0.0));
        let least = symmetric_eigen(&matrix).unwrap().values[0];
        assert_eq!(reports["least_eigenvalue"].value, Some(least));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (y, t) = (normals(5, 2, 0), normals(4, 2, 1));
        let say = |error: EvalError| error.to_string();
        assert_eq!(
            say(l2_uvp(&y, &t).unwrap_err()),
            "images under the known map have shape [4, 2]; [5, 2] was expected, a row for each point"
        );
        assert!(say(l2_uvp(&y, &Points::ones((5, 2))).unwrap_err()).contains("the known map is constant"));
        let exact = ExactTransport { w2_squared: 1e6, gap: 0.0, std_error: 1.0, potentials: None };
        assert!(say(optimality_gap(&y, &(&y + 1.0), exact).unwrap_err()).contains("belongs to other points"));
        let short = ExactTransport { w2_squared: 2.0, potentials: Some((&[0.0], &[0.0])), ..exact };
        assert!(say(optimality_gap(&y, &(&y + 1.0), short).unwrap_err()).contains("1 and 1 potentials for 5 points"));
        let still = displacement_cosine(&y, &y, &(&y + 1.0)).unwrap();
        assert_eq!(still.value, None);
        let mut jacobian = Array3::zeros((2, 2, 2));
        jacobian[[1, 0, 1]] = f64::NAN;
        assert!(say(jacobian_reports(&jacobian).unwrap_err()).contains("Jacobians: row 1, column 1 is NaN"));
        assert!(say(jacobians(&y, |_| t.clone()).unwrap_err()).contains("shape [4, 2]"));
    }
}
