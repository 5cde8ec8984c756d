//! Independent components: directions along which points are least like a Gaussian.

use brenier_measure::linear_algebra::symmetric_eigen;
use brenier_measure::{Points, Purpose, Stream};
use ndarray::{Array1, Array2, Axis, s};

/// Points that are looked at.
const MOST: usize = 5000;

/// Steps at most, and the change of a direction that ends them.
const STEPS: usize = 100;
const STILL: f64 = 1e-6;

/// Variances below this part of the largest are rounding: no direction is looked for there.
const FLAT: f64 = 1e-10;

/// Unit vectors, `[k, d]`, k ≤ d: rows of the unmixing matrix of points `[n, d]`.
///
/// The symmetric fixed-point iteration with `g = tanh` on whitened points, `W ← E[g(Wz)zᵀ] - diag(E[g'(Wz)])W`, then `W ← (WWᵀ)^{-1/2}W`.
/// Hyvärinen, IEEE Trans. Neural Networks 10 (1999).
pub fn independent_components(points: &Points, seed: u64) -> Option<Array2<f64>> {
    let x = points.slice(s![..points.nrows().min(MOST), ..]);
    let (n, d) = x.dim();
    let centred = &x - &x.mean_axis(Axis(0))?;
    let spectrum = symmetric_eigen(&(centred.t().dot(&centred) / n as f64))?;
    let largest = spectrum.values.iter().fold(0.0, |a: f64, &b| a.max(b));
    let alive: Vec<usize> = (0..d).filter(|&i| spectrum.values[i] > FLAT * largest).collect();
    let vectors = spectrum.vectors.unwrap_or_else(|| Array2::eye(d)).select(Axis(1), &alive);
    let scales = Array1::from_iter(alive.iter().map(|&i| 1.0 / spectrum.values[i].sqrt()));
    // z = whitening x, `[k, d]`.
    let whitening = (&vectors * &scales).t().to_owned();
    let z = centred.dot(&whitening.t());
    let k = alive.len();
    let mut start = Array2::zeros((k, k));
    Stream::new(seed, Purpose::Ridges).at(u64::MAX, 0).fill_normal(start.as_slice_mut()?);
    let mut unmixing = orthogonal(&start)?;
    for _ in 0..STEPS {
        let bent = z.dot(&unmixing.t()).mapv(libm::tanh);
        let slopes = bent.mapv(|g| 1.0 - g * g).mean_axis(Axis(0))?;
        let next = bent.t().dot(&z) / n as f64 - &unmixing * &slopes.insert_axis(Axis(1));
        let next = orthogonal(&next)?;
        let turned = (&next * &unmixing).sum_axis(Axis(1)).mapv(|cosine| 1.0 - cosine.abs());
        unmixing = next;
        if turned.iter().all(|&turn| turn < STILL) {
            break;
        }
    }
    let mut directions = unmixing.dot(&whitening);
    for mut row in directions.rows_mut() {
        let norm = row.dot(&row).sqrt();
        row /= norm;
    }
    directions.iter().all(|x| x.is_finite()).then_some(directions)
}

/// `(WWᵀ)^{-1/2} W`.
fn orthogonal(matrix: &Array2<f64>) -> Option<Array2<f64>> {
    let spectrum = symmetric_eigen(&matrix.dot(&matrix.t()))?;
    let vectors = spectrum.vectors.unwrap_or_else(|| Array2::eye(matrix.nrows()));
    let roots = Array1::from(spectrum.values).mapv(|value| 1.0 / value.max(f64::MIN_POSITIVE).sqrt());
    Some((&vectors * &roots).dot(&vectors.t()).dot(matrix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_coordinates_are_found_again() {
        let stream = Stream::new(3, Purpose::Batch);
        // Two uniform coordinates and an exponential one, mixed.
        let sources = Points::from_shape_fn((5000, 3), |(i, j)| {
            let u = stream.at(j as u64, i as u64).uniform();
            if j < 2 { u } else { -u.ln() }
        });
        let mixing = ndarray::array![[1.0, 0.4, -0.3], [0.2, 1.0, 0.5], [-0.6, 0.3, 1.0]];
        let found = independent_components(&sources.dot(&mixing.t()), 5).unwrap();
        assert_eq!(found.dim(), (3, 3));
        let inverse = brenier_measure::linear_algebra::inverse_and_log_det(&mixing).unwrap().0;
        for row in inverse.rows() {
            let norm = row.dot(&row).sqrt();
            let best = found.rows().into_iter().map(|u| (u.dot(&row) / norm).abs()).fold(0.0, f64::max);
            assert!(best > 0.995, "{best}");
        }
    }

    #[test]
    fn a_flat_direction_is_passed_over() {
        let stream = Stream::new(3, Purpose::Batch);
        let flat = Points::from_shape_fn((300, 2), |(i, _)| stream.at(0, i as u64).uniform());
        assert_eq!(independent_components(&flat, 5).unwrap().dim(), (1, 2));
    }
}
