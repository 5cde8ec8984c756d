//! The best denoisers that points alone can tell of: empirical posteriors of subsets, each holding the sources of what it denoises.

use ndarray::Axis;

use crate::empirical::Empirical;
use crate::error::MeasureError;
use crate::measure::Points;
use crate::random::Stream;

/// The points of one empirical posterior, at most.
pub const LARGEST_SUBSET: usize = 2_000;

/// The rows of `points` in random blocks, each with the measure `μ_S` of a subset S of at most [`LARGEST_SUBSET`] points that holds the block.
///
/// Where a point of S is noised, the denoiser of `μ_S` has the least expected square: `E tr Cov_{μ_S}(X | X + σZ)`. That is concave in
/// the measure, as a least value of linear functions of it, so for independent points of a law its mean is at most the
/// `J*_σ = E tr Cov(X | X + σZ)` of the law itself, and rises towards it with the size of S: all but equal where σ is above the
/// spacing of the points, and 0 where it is far below. S without the source of a noised point would have no such bound.
///
/// Blocks are all rows at once up to that size, and half of it beyond; the rest of S are rows of `others` `[m, d]`, points of the same law
/// in random order, and then further rows of `points`. Blocks are made one by one: memory grows with one subset.
///
/// # Errors
///
/// No points, or a number that is not finite.
pub fn point_posteriors<'a>(
    points: &'a Points,
    others: &'a Points,
    stream: &Stream,
) -> impl Iterator<Item = Result<(Vec<usize>, Empirical), MeasureError>> + 'a {
    let n = points.nrows();
    let order = stream.permutation(0, n);
    let size = if n <= LARGEST_SUBSET { n.max(1) } else { LARGEST_SUBSET / 2 };
    (0..n.div_ceil(size)).map(move |block| {
        let after = (block * size + size).min(n);
        let rows = order[block * size..after].to_vec();
        let of_others = others.nrows().min(LARGEST_SUBSET - rows.len());
        let further = (n - rows.len()).min(LARGEST_SUBSET - rows.len() - of_others);
        let own = order.iter().cycle().skip(block * size).take(rows.len() + further).copied().collect::<Vec<_>>();
        let mut subset = points.select(Axis(0), &own);
        subset.append(Axis(0), others.slice(ndarray::s![..of_others, ..])).expect("points of one dimension");
        Ok((rows, Empirical::new(subset)?))
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, Tensor};

    use super::*;
    use crate::{Denoiser, Estimate, Purpose, to_points, to_tensor};

    fn normal(n: usize, d: usize, step: u64) -> Points {
        let stream = Stream::new(11, Purpose::Evaluation);
        let mut points = Points::zeros((n, d));
        for (i, mut row) in points.rows_mut().into_iter().enumerate() {
            let mut words = stream.at(step, i as u64);
            row.iter_mut().for_each(|x| *x = words.normal());
        }
        points
    }

    fn stream() -> Stream {
        Stream::new(3, Purpose::Subsets)
    }

    #[test]
    fn every_row_has_one_subset_that_holds_it() {
        for (n, m, sizes) in [
            (1, 0, vec![1]),
            (7, 5, vec![12]),
            (700, 4_000, vec![2_000]),
            (2_000, 50, vec![2_000]),
            (2_500, 0, vec![2_000, 2_000, 2_000]),
            (2_500, 400, vec![2_000, 2_000, 2_000]),
            (2_001, 1_000, vec![2_000, 2_000, 2_000]),
        ] {
            let (points, others) = (normal(n, 1, 0), normal(m, 1, 1));
            let mut seen = Vec::new();
            let found: Vec<usize> = point_posteriors(&points, &others, &stream())
                .map(|block| {
                    let (rows, empirical) = block.unwrap();
                    let mut of_subset: Vec<u64> = empirical.points().iter().map(|x| x.to_bits()).collect();
                    assert!(rows.iter().all(|&row| of_subset.contains(&points[[row, 0]].to_bits())));
                    seen.extend(rows);
                    of_subset.sort_unstable();
                    of_subset.dedup();
                    assert_eq!(of_subset.len(), empirical.points().nrows(), "no point twice");
                    empirical.points().nrows()
                })
                .collect();
            assert_eq!(found, sizes, "{n} points and {m} others");
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..n), "{n} points and {m} others");
        }
        assert!(point_posteriors(&Points::zeros((0, 2)), &normal(3, 2, 0), &stream()).next().is_none());
    }

    #[test]
    fn its_loss_is_below_that_of_the_law_and_close_to_it_where_noise_is_wide() {
        // Of N(0, I) in d dimensions J*_σ/d = σ²/(1 + σ²).
        let (n, d) = (3_000, 2);
        let (points, noise) = (normal(n, d, 0), normal(n, d, 2));
        let others = normal(1_500, d, 3);
        let losses = |sigma: f64| {
            let mut losses = Vec::new();
            for block in point_posteriors(&points, &others, &stream()) {
                let (rows, empirical) = block.unwrap();
                let x = points.select(Axis(0), &rows);
                let y = to_tensor(&(&x + &(noise.select(Axis(0), &rows) * sigma)), DType::F64, &Device::flex());
                let sigma = Tensor::full([rows.len()], sigma, (&Device::flex(), DType::F64));
                let difference = to_points(empirical.denoise(y, sigma)) - x;
                losses.extend(difference.rows().into_iter().map(|row| row.dot(&row) / d as f64));
            }
            Estimate::mean(losses)
        };
        for sigma in [0.001, 0.01, 0.1, 0.5, 1.0, 5.0] {
            let (found, of_law) = (losses(sigma), sigma * sigma / (1.0 + sigma * sigma));
            assert!(found.value < of_law + 5.0 * found.std_error, "σ = {sigma}: {found:?} against {of_law}");
            if sigma >= 0.5 {
                assert!(found.std_error < 0.02 * of_law, "too noisy to decide: {found:?}");
                // 2000 points are worth a few hundredths of the loss.
                assert!(found.value > 0.97 * of_law - 5.0 * found.std_error, "σ = {sigma}: {found:?} against {of_law}");
            }
        }
        assert!(losses(0.001).value < 0.1 * 1e-6, "apart from each other, points are known from their noised selves");
    }
}
