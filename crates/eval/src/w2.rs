//! Exact W₂ and W₁ between two samples, with the gap that certifies them.
//!
//! `W_p^p(a, b) = min_π E_π |x - y|^p` over the couplings of the two empirical measures. Standard errors come from the
//! dual potentials, `Var W_p^p ≈ Var φ(X)/n + Var ψ(Y)/m`; del Barrio and Loubes, Central limit theorems for empirical
//! transportation cost in general dimension (2019).

use brenier_measure::{Estimate, Points};
use brenier_transport::Cost;
use brenier_transport::exact::{Optimum, optimal_transport};

use crate::clouds::{between, has_spread};
use crate::{Direction, EvalError, MetricReport};

/// `W₂` and `W₂²`, in the unit of the data and its square, between points `[n, d]` and `[m, d]`.
///
/// `SE(W₂) = SE(W₂²)/(2 W₂)`. Between two samples of one law the first variation vanishes, and the spread of the value is
/// that of the floor. The detail `duality_gap` bounds how far W₂² is from the optimum.
///
/// # Errors
///
/// No point on a side, points that are not finite, dimensions that differ.
pub fn w2(samples: &Points, reference: &Points) -> Result<[MetricReport; 2], EvalError> {
    let optimum = solve(samples, reference, Cost::SquaredDistance)?;
    let report = |value, std_error| {
        let std_error = if has_spread(samples, reference) { std_error } else { f64::NAN };
        certified(MetricReport::new(Estimate { value, std_error }, samples.nrows(), Direction::LowerIsBetter), &optimum)
    };
    let squared_error = optimum.potentials.point_error().hypot(optimum.gap + optimum.rounding);
    let squared = if optimum.cost == 0.0 && optimum.distance() > 0.0 {
        report(f64::NAN, f64::NAN).with_note("smaller than numbers can be: rescale the points")
    } else {
        report(optimum.cost, squared_error)
    };
    Ok([report(optimum.distance(), optimum.std_error()), squared])
}

/// `W₁`, in the unit of the data, between points `[n, d]` and `[m, d]`.
///
/// # Errors
///
/// No point on a side, points that are not finite, dimensions that differ.
pub fn w1(samples: &Points, reference: &Points) -> Result<MetricReport, EvalError> {
    let optimum = solve(samples, reference, Cost::Distance)?;
    let std_error = if has_spread(samples, reference) { optimum.std_error() } else { f64::NAN };
    let value = Estimate { value: optimum.distance(), std_error };
    Ok(certified(MetricReport::new(value, samples.nrows(), Direction::LowerIsBetter), &optimum))
}

/// A certificate that leaves more open than this share of the cost is told.
const LARGEST_OPEN: f64 = 1e-9;

/// The report with its certificate: the gap, what rounding may add to it, and a note where they are not small against the cost.
fn certified(report: MetricReport, optimum: &Optimum) -> MetricReport {
    let report = report.with_detail("duality_gap", optimum.gap).with_detail("rounding", optimum.rounding);
    let open = optimum.relative_error();
    if open <= LARGEST_OPEN {
        return report;
    }
    report.with_note(format!(
        "not certified: the optimum may be lower by {:.1e} of the cost; rows far from all others leave no more digits",
        open.min(1.0)
    ))
}

fn solve(samples: &Points, reference: &Points, cost: Cost) -> Result<Optimum, EvalError> {
    between(samples, reference, |a, b| Ok(optimal_transport(a, b, cost)?))
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Purpose, Sample, Stream};

    use super::*;
    use crate::reference::tests::NormalWithScale;

    fn normal(scale: Vec<f64>, index: u64, n: u64) -> Points {
        NormalWithScale(scale).sample(&Stream::new(11, Purpose::Evaluation), index, 0..n)
    }

    #[test]
    fn a_shift_costs_its_length_in_both_and_is_certified() {
        let points = normal(vec![1.0, 2.0, 0.5], 0, 200);
        let moved = &points + &ndarray::array![2.0, -1.0, 2.0];
        let [w2, squared] = w2(&moved, &points).unwrap();
        assert!((w2.value.unwrap() - 3.0).abs() < 1e-12, "{w2:?}");
        assert!((squared.value.unwrap() - 9.0).abs() < 1e-11, "{squared:?}");
        let gap = match squared.details["duality_gap"] {
            crate::Detail::Number(gap) => gap,
            ref other => panic!("{other:?}"),
        };
        assert!((0.0..1e-9).contains(&gap), "{gap}");
        assert!(w1(&moved, &points).unwrap().value.unwrap() <= 3.0 + 1e-12);
        let [none, _] = super::w2(&points, &points).unwrap();
        assert_eq!(none.value, Some(0.0));
    }

    #[test]
    fn one_point_has_a_distance_and_no_standard_error() {
        let (one, other) = (ndarray::array![[0.0, 0.0]], ndarray::array![[3.0, 4.0]]);
        let [distance, squared] = w2(&one, &other).unwrap();
        assert_eq!((distance.value, distance.std_error), (Some(5.0), None));
        assert_eq!((squared.value, squared.std_error), (Some(25.0), None));
        let distance = w1(&one, &other).unwrap();
        assert_eq!((distance.value, distance.std_error), (Some(5.0), None));
    }

    #[test]
    fn the_standard_error_is_the_spread_over_repeated_draws() {
        // Far enough apart that the first variation rules.
        let repeats: Vec<MetricReport> = (0..60)
            .map(|r| {
                let (a, b) = (normal(vec![1.0, 1.0], 2 * r, 100) + 3.0, normal(vec![2.0, 1.0], 2 * r + 1, 100));
                let [_, squared] = w2(&a, &b).unwrap();
                squared
            })
            .collect();
        let values = Estimate::mean(repeats.iter().map(|report| report.value.unwrap()));
        let spread = values.std_error * 60f64.sqrt();
        let predicted = repeats.iter().map(|report| report.std_error.unwrap()).sum::<f64>() / 60.0;
        // The sd of 60 values has a relative standard error of 1/√118 = 9 %.
        assert!((predicted / spread - 1.0).abs() < 5.0 * 0.092, "{predicted} against {spread}");
    }
}
