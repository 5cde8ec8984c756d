//! The start of a log-sum-exp potential: exact transport from points of the data to points of the reference.
//!
//! With the duals v of transport at cost `½|x - y|²` between points x of the data and points y of the reference, `ψ(y) = ½|y|² - v(y)` and
//! `φ(x) = max_j x·y_j - ψ(y_j)` is the potential of the map: its gradient takes every x to the y that carries it. It is the minimiser of the
//! semi-dual `E_data φ + E_ref φ*` over all maxima of pieces with these slopes, which the stages of Algorithm 1 descend.

use brenier_measure::linear_algebra::semidefinite_factor;
use brenier_measure::{GaussianMixture, Points, Purpose, Stream};
use brenier_model::monge_ampere::{FreeQuadratic, LogSumExp, Pieces};
use brenier_transport::{Cloud, Cost, TransportError, exact};
use ndarray::{Array1, Array2, Axis, concatenate};

use super::config::LogSumExpConfig;

/// How far outer pieces lie beyond √d, in standard deviations of the reference.
const BEYOND: [f64; 2] = [2.2, 4.0];

/// By which factor the temperature rises from group to group.
const WARMER: f64 = 3.0;

/// The potential of transport from points of the data, `[n, d]`, to draws of the reference.
///
/// # Errors
///
/// What exact transport refuses.
pub fn start(
    config: &LogSumExpConfig,
    points: &Points,
    reference: &GaussianMixture,
    seed: u64,
) -> Result<LogSumExp, TransportError> {
    let d = points.ncols();
    let x = points.slice(ndarray::s![..points.nrows().min(config.points), ..]).as_standard_layout().into_owned();
    let stream = Stream::new(seed, Purpose::Pool);
    let share = 1.0 / config.groups as f64;
    let mut groups = Vec::with_capacity(config.groups);
    for group in 0..config.groups {
        let y = reference.even_draws(&stream, group as u64, config.pieces);
        let offsets = -conjugate_duals(&x, &y)?;
        let outer = outer(config.outer, reference, &stream, group as u64);
        let affine = x.dot(&y.t()) + &offsets;
        let values = affine.map_axis(Axis(1), |row| row.fold(f64::NEG_INFINITY, |a, &b| a.max(b)));
        // The largest offset with which an outer piece touches the potential from below at a point of the data.
        let gaps = outer.dot(&x.t()) - &values;
        let outer_offsets = gaps.map_axis(Axis(1), |row| -row.fold(f64::NEG_INFINITY, |a, &b| a.max(b)));
        groups.push(Pieces {
            slopes: concatenate![Axis(0), y, outer] * share,
            offsets: concatenate![Axis(0), offsets, outer_offsets] * share,
            log_temperature: config.temperature.ln() + group as f64 * WARMER.ln(),
        });
    }
    let quadratic =
        FreeQuadratic::of_matrix(&(Array2::eye(d) * (config.curvature + config.floor)), Array1::zeros(d), config.floor);
    Ok(LogSumExp { quadratic, groups })
}

/// `ψ(y) = ½|y|² - v(y)`, `[m]`, the duals as large as every x allows.
fn conjugate_duals(x: &Points, y: &Points) -> Result<Array1<f64>, TransportError> {
    let d = x.ncols();
    let (from, to) =
        (Cloud::new(x.as_slice().expect("row-major"), d)?, Cloud::new(y.as_slice().expect("row-major"), d)?);
    let duals = exact::optimal_transport(from, to, Cost::SquaredDistance)?.potentials.b;
    let half = |points: &Points| points.map_axis(Axis(1), |row| 0.5 * row.dot(&row));
    let psi = half(y) - Array1::from(duals) * 0.5;
    // φ at the points, and ψ = φ* of it: the conjugate of the conjugate.
    let products = x.dot(&y.t());
    let phi = (&products - &psi).map_axis(Axis(1), |row| row.fold(f64::NEG_INFINITY, |a, &b| a.max(b)));
    Ok((products.t().to_owned() - &phi).map_axis(Axis(1), |row| row.fold(f64::NEG_INFINITY, |a, &b| a.max(b))))
}

/// Points far out in the reference, `[2k, d]`: in the plane in even directions, elsewhere in random ones.
fn outer(count: usize, reference: &GaussianMixture, stream: &Stream, group: u64) -> Points {
    let d = reference.dim();
    let mut directions = Points::zeros((count, d));
    for (k, mut row) in directions.rows_mut().into_iter().enumerate() {
        if d == 2 {
            let angle = std::f64::consts::TAU * k as f64 / count as f64;
            row.assign(&Array1::from(vec![libm::cos(angle), libm::sin(angle)]));
        } else {
            stream.at(u64::MAX - group, k as u64).fill_normal(row.as_slice_mut().expect("row-major"));
            let norm = row.dot(&row).sqrt();
            row /= norm;
        }
    }
    let factor = semidefinite_factor(&reference.covariance());
    let spread = directions.dot(&factor.t());
    let rings = BEYOND.map(|beyond| &spread * ((d as f64).sqrt() + beyond) + &Array1::from(reference.mean()));
    concatenate![Axis(0), rings[0], rings[1]]
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Gaussian, Sample, targets};
    use brenier_model::monge_ampere::conjugate;

    use super::*;

    /// The gradient takes the points of the data to the pieces in equal shares, as transport does.
    #[test]
    fn the_start_is_the_transport_of_the_points() {
        let x = targets::two_moons().sample(&Stream::new(1, Purpose::Batch), 0, 0..512);
        let reference = GaussianMixture::new(vec![1.0], vec![vec![0.0; 2]], vec![vec![vec![1.0, 0.0], vec![0.0, 1.0]]]);
        let config =
            LogSumExpConfig { groups: 1, pieces: 64, temperature: 1e-4, curvature: 1e-6, ..Default::default() };
        let potential = start(&config, &x, &reference.unwrap(), 5).unwrap();
        assert!(potential.is_consistent());
        let pieces = &potential.groups[0];
        assert_eq!(pieces.slopes.dim(), (64 + 48, 2));
        let y = conjugate::gradient(&potential, &x) - &(&x * (1e-6 + config.floor));
        let mut counts = vec![0; 64 + 48];
        for row in y.rows() {
            let distance = |j: usize| (&pieces.slopes.row(j) - &row).mapv(|x| x * x).sum();
            let nearest = (0..64 + 48).min_by(|&i, &j| distance(i).total_cmp(&distance(j))).unwrap();
            counts[nearest] += 1;
        }
        // 512 points to 64 pieces, ties apart; the outer ones touch the hull.
        let inner = &counts[..64];
        assert!(inner.iter().filter(|&&count| (5..=9).contains(&count)).count() > 50, "{counts:?}");
        let far = Gaussian::standard(2).sample(&Stream::new(2, Purpose::Batch), 0, 0..100) * 30.0;
        let reach = conjugate::gradient(&potential, &far).map_axis(Axis(1), |row| row.dot(&row).sqrt());
        assert!(reach.iter().all(|&radius| radius > 3.0), "the image reaches out where points do");
    }
}
