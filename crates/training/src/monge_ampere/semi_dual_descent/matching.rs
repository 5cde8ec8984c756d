//! Two clouds of one size, matched part by part.

use brenier_measure::Points;
use ndarray::ArrayView1;

/// Points in one part.
const LEAF: usize = 8;

/// The rows of two clouds `[n, d]` in an order in which the same places lie near each other, where the clouds have one law: both are halved at their
/// medians along the coordinate in which the first is widest, until a part has eight rows.
///
/// A batch of pairs at equal places then sees a difference of means without most of its noise.
pub fn matched(a: &Points, b: &Points) -> (Vec<usize>, Vec<usize>) {
    assert_eq!(a.dim(), b.dim(), "clouds of one size");
    let (mut order_a, mut order_b): (Vec<usize>, Vec<usize>) = ((0..a.nrows()).collect(), (0..b.nrows()).collect());
    halve(a, b, &mut order_a, &mut order_b);
    (order_a, order_b)
}

fn halve(a: &Points, b: &Points, rows_a: &mut [usize], rows_b: &mut [usize]) {
    if rows_a.len() <= LEAF {
        return;
    }
    let widest = (0..a.ncols())
        .map(|k| (k, variance(a.column(k), rows_a)))
        .max_by(|x, y| x.1.total_cmp(&y.1))
        .map_or(0, |(k, _)| k);
    let half = rows_a.len() / 2;
    for (points, rows) in [(a, &mut *rows_a), (b, &mut *rows_b)] {
        let column = points.column(widest);
        rows.select_nth_unstable_by(half, |&i, &j| column[i].total_cmp(&column[j]).then(i.cmp(&j)));
    }
    let ((low_a, high_a), (low_b, high_b)) = (rows_a.split_at_mut(half), rows_b.split_at_mut(half));
    halve(a, b, low_a, low_b);
    halve(a, b, high_a, high_b);
}

fn variance(column: ArrayView1<f64>, rows: &[usize]) -> f64 {
    let n = rows.len() as f64;
    let mean = rows.iter().map(|&i| column[i]).sum::<f64>() / n;
    rows.iter().map(|&i| (column[i] - mean).powi(2)).sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Gaussian, Purpose, Sample, Stream};

    use super::*;

    #[test]
    fn pairs_lie_near_each_other_and_every_row_is_in_one() {
        let normals = |seed| Gaussian::standard(2).sample(&Stream::new(seed, Purpose::Batch), 0, 0..5000);
        let (a, b) = (normals(1), normals(2));
        let (order_a, order_b) = matched(&a, &b);
        for order in [&order_a, &order_b] {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..5000));
        }
        let distance = |i: usize, j: usize| (&a.row(i) - &b.row(j)).mapv(|x| x * x).sum();
        let mean: f64 = order_a.iter().zip(&order_b).map(|(&i, &j)| distance(i, j)).sum::<f64>() / 5000.0;
        // Unmatched pairs are 4 apart.
        assert!(mean < 0.06, "{mean}");
    }
}
