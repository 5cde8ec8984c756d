//! Closed forms and an independent implementation's numbers for every exact posterior.

use ndarray::{Array2, array};
use serde::Deserialize;

use crate::quadrature::gauss_legendre;
use crate::random::{Purpose, Stream};
use crate::targets::Checkerboard;
use crate::{
    Empirical, Gaussian, GaussianMixture, Points, Posterior, PosteriorCovariance, Sample, TargetConfig, UniformBox,
};

/// Made in 50 digits, and by quadrature, outside of this project.
#[derive(Deserialize)]
struct Reference {
    mixture: MixtureReference,
    empirical: EmpiricalReference,
    extremes: Vec<Extreme>,
}

#[derive(Deserialize)]
struct MixtureReference {
    weights: Vec<f64>,
    means: Vec<Vec<f64>>,
    covs: Vec<Vec<Vec<f64>>>,
    y: Vec<Vec<f64>>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct EmpiricalReference {
    points: Vec<Vec<f64>>,
    y: Vec<Vec<f64>>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    r: f64,
    iy: usize,
    logp: f64,
    post_mean: Vec<f64>,
    cov: Option<Vec<Vec<f64>>>,
    trace: Option<f64>,
    #[serde(rename = "L")]
    localization: f64,
}

#[derive(Deserialize)]
struct Extreme {
    name: String,
    weights: Vec<f64>,
    means: Vec<Vec<f64>>,
    covs: Vec<Vec<Vec<f64>>>,
    r: f64,
    y: Vec<f64>,
    logp: f64,
    post_mean: Vec<f64>,
    cov: Vec<Vec<f64>>,
    #[serde(rename = "L")]
    localization: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../tests/posterior_covariance.json")).expect("valid JSON")
}

fn points(rows: &[Vec<f64>]) -> Points {
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| rows[i][j])
}

/// The posterior at one point, and that `localization` says the same.
fn at(measure: &dyn PosteriorCovariance, snr: f64, y: &[f64]) -> Posterior {
    let y = points(&[y.to_vec()]);
    let posterior = measure.posterior(snr, &y).remove(0);
    let localization = measure.localization(snr, &y)[0];
    let own = posterior.localization();
    assert!((localization - own).abs() <= 1e-10 * own, "r = {snr}, y = {y}: {localization} against {own}");
    posterior
}

fn close(got: f64, expected: f64, tolerance: f64, what: &str) {
    let allowed = tolerance * expected.abs().max(1.0);
    assert!((got - expected).abs() <= allowed, "{what}: {got} against {expected}");
}

#[test]
fn a_mixture_with_singular_and_zero_covariances_agrees_with_the_reference() {
    let MixtureReference { weights, means, covs, y, rows } = reference().mixture;
    let mixture = GaussianMixture::new(weights, means, covs).unwrap();
    for row in rows {
        let at_row = format!("r = {}, y {}", row.r, row.iy);
        let posterior = at(&mixture, row.r, &y[row.iy]);
        close(posterior.log_density, row.logp, 1e-10, &at_row);
        close(posterior.localization(), row.localization, 1e-10, &at_row);
        for (got, expected) in posterior.mean.iter().zip(&row.post_mean) {
            close(*got, *expected, 1e-10, &at_row);
        }
        for (got, expected) in posterior.covariance.iter().zip(row.cov.unwrap().iter().flatten()) {
            close(*got, *expected, 1e-10, &at_row);
        }
    }
}

#[test]
fn an_empirical_measure_agrees_with_the_reference_and_with_the_mixture_of_its_atoms() {
    let EmpiricalReference { points: rows_of_points, y, rows } = reference().empirical;
    let empirical = Empirical::new(points(&rows_of_points)).unwrap();
    let count = rows_of_points.len();
    let zero = vec![vec![vec![0.0; 2]; 2]; count];
    let atoms = GaussianMixture::new(vec![1.0 / count as f64; count], rows_of_points, zero).unwrap();
    for row in rows {
        let at_row = format!("r = {}, y {}", row.r, row.iy);
        let (posterior, same) = (at(&empirical, row.r, &y[row.iy]), at(&atoms, row.r, &y[row.iy]));
        close(posterior.log_density, row.logp, 1e-10, &at_row);
        close(posterior.localization(), row.localization, 1e-10, &at_row);
        close(posterior.covariance.diag().sum(), row.trace.unwrap(), 1e-10, &at_row);
        close(posterior.log_density, same.log_density, 1e-12, &at_row);
        for j in 0..2 {
            close(posterior.mean[j], row.post_mean[j], 1e-10, &at_row);
            close(posterior.mean[j], same.mean[j], 1e-12, &at_row);
        }
        for (got, expected) in posterior.covariance.iter().zip(&same.covariance) {
            assert!((got - expected).abs() <= 1e-11 * row.localization, "{at_row}: {got} against {expected}");
        }
    }
}

#[test]
fn far_away_and_at_tiny_and_huge_ratios_mixtures_lose_nothing() {
    for case in reference().extremes {
        let mixture = GaussianMixture::new(case.weights, case.means, case.covs).unwrap();
        let posterior = at(&mixture, case.r, &case.y);
        let what = |field: &str| format!("{}, {field}", case.name);
        // y itself is only known to rounding, and so are the exponents |y - rμ|² far from a mode.
        let size = case.y.iter().fold(1.0f64, |m, y| m.max(y.abs()));
        close(posterior.log_density, case.logp, 1e-12, &what("log-density"));
        for (got, expected) in posterior.mean.iter().zip(&case.post_mean) {
            assert!(
                (got - expected).abs() < 1e-11 * expected.abs() + 1e-15 * size * case.r.min(1.0),
                "{}: {got} against {expected}",
                what("mean")
            );
        }
        let largest = case.localization;
        for (got, expected) in posterior.covariance.iter().zip(case.cov.iter().flatten()) {
            assert!((got - expected).abs() < 1e-7 * largest, "{}: {got} against {expected}", what("covariance"));
        }
        assert!((posterior.localization() / largest - 1.0).abs() < 1e-7, "{}", what("L"));
    }
}

#[test]
fn where_the_signal_drowns_the_noise_the_mean_is_close_to_y_to_the_last_digit() {
    // E[rX | y] = y - S⁻¹(y - rμ), S = r²Σ + I, whose inverse is written out; rμ itself has lost nine digits of y.
    let (r, mean) = (1e6, [3.0, -5.1]);
    let (square, y) = (r * r, [0.05, 0.09]);
    let (a, b) = (2.0 * square + 1.0, square);
    let e = [y[0] - r * mean[0], y[1] - r * mean[1]];
    let solved = [(a * e[0] - b * e[1]) / (a * a - b * b), (a * e[1] - b * e[0]) / (a * a - b * b)];
    let covariances = |other: f64| vec![vec![vec![2.0, 1.0], vec![1.0, 2.0]], vec![vec![other, 0.3], vec![0.3, 1.0]]];
    for other in [2.0, 1.5] {
        let means = vec![mean.to_vec(), vec![2e3, 1e3]];
        let mixture = GaussianMixture::new(vec![0.5, 0.5], means, covariances(other)).unwrap();
        let found = at(&mixture, r, &y).mean;
        for j in 0..2 {
            close(found[j], y[j] - solved[j], 1e-14, "mean");
        }
    }
}

#[test]
fn an_isotropic_gaussian_localizes_as_its_formula_says() {
    for (dim, variance, r) in [(1, 1.0, 1.0), (3, 0.5, 2.0), (8, 4.0, 0.7)] {
        let covariance = (0..dim).map(|i| (0..dim).map(|j| if i == j { variance } else { 0.0 }).collect()).collect();
        let gaussian = Gaussian::new(vec![0.3; dim], covariance).unwrap();
        let expected = r * r * variance / (r * r * variance + 1.0);
        let posterior = at(&gaussian, r, &vec![1.5; dim]);
        close(posterior.localization(), expected, 1e-15, "L");
        close(posterior.mean[0], r * 0.3 + expected * (1.5 - r * 0.3), 1e-15, "mean");
    }
}

#[test]
fn two_atoms_localize_like_the_squared_hyperbolic_secant() {
    let gamma = 1.3;
    let two = Empirical::new(array![[gamma], [-gamma]]).unwrap();
    for r in [1e-8, 0.1, 1.0, 3.0] {
        for y in [0.0, 0.5, -2.0, 10.0, 50.0] {
            let expected = (r * gamma / f64::cosh(r * gamma * y)).powi(2);
            let got = at(&two, r, &[y]).localization();
            assert!((got - expected).abs() <= 1e-12 * expected, "r = {r}, y = {y}: {got} against {expected}");
        }
    }
}

#[test]
fn atoms_far_from_the_origin_far_queries_and_duplicates_lose_nothing() {
    // Moving all points by s moves Y_r by rs and changes nothing else; 2²⁰ adds without rounding here.
    let rows = vec![vec![0.5, 1.0], vec![-0.25, 2.0], vec![-0.25, 2.0], vec![3.0, -1.5]];
    let shift = 1_048_576.0;
    let near = Empirical::new(points(&rows)).unwrap();
    let far = Empirical::new(points(&rows).mapv(|x| x + shift)).unwrap();
    for y in [[0.25, 1.0], [2.0, -8.0]] {
        let (a, b) = (at(&near, 2.0, &y), at(&far, 2.0, &[y[0] + 2.0 * shift, y[1] + 2.0 * shift]));
        close(a.log_density, b.log_density, 1e-9, "log-density");
        assert!((a.localization() / b.localization() - 1.0).abs() < 1e-8);
        close(a.mean[0], b.mean[0] - 2.0 * shift, 1e-8, "mean");
    }
    // A duplicate is a weight of two.
    let weighted = GaussianMixture::new(
        vec![0.25, 0.5, 0.25],
        vec![rows[0].clone(), rows[1].clone(), rows[3].clone()],
        vec![vec![vec![0.0; 2]; 2]; 3],
    )
    .unwrap();
    for (r, y) in [(1.0, [0.5, 1.0]), (1e-8, [1e8, -1e8]), (1e-3, [1e8, 1.0]), (40.0, [-10.0, 80.0])] {
        let (a, b) = (at(&near, r, &y), at(&weighted, r, &y));
        close(a.log_density, b.log_density, 1e-12, "log-density");
        assert!((a.localization() - b.localization()).abs() <= 1e-10 * b.localization(), "r = {r}");
    }
    // One point, or copies of it, leave nothing unknown.
    for rows in [vec![vec![2.0, 1.0]], vec![vec![2.0, 1.0]; 5]] {
        let point = Empirical::new(points(&rows)).unwrap();
        for (r, y) in [(1.0, [0.0, 0.0]), (1e8, [1e8, 0.0]), (1e-8, [1e8, 1e8])] {
            let posterior = at(&point, r, &y);
            assert_eq!(posterior.localization(), 0.0);
            assert_eq!(posterior.mean, vec![2.0 * r, r]);
        }
    }
}

/// Posterior by quadrature of the uniform law on intervals, `E[rX | y]` and `Cov[rX | y]` in one dimension.
fn interval_by_quadrature(snr: f64, y: f64, low: f64, high: f64) -> [f64; 3] {
    let (mut mass, mut first, mut second) = (0.0, 0.0, 0.0);
    let panels = 400;
    let width = (high - low) / f64::from(panels);
    for panel in 0..panels {
        for (x, weight) in gauss_legendre(8) {
            let x = snr * (low + width * (f64::from(panel) + 0.5 + x / 2.0));
            let density = weight / 2.0 / f64::from(panels) * (-(y - x) * (y - x) / 2.0).exp();
            mass += density;
            first += density * x;
            second += density * x * x;
        }
    }
    let mean = first / mass;
    [mass.ln() - 0.5 * std::f64::consts::TAU.ln(), mean, second / mass - mean * mean]
}

#[test]
fn a_box_has_the_moments_of_its_sides() {
    let sides = [(-1.0, 1.0), (0.25, 3.0)];
    let square = UniformBox::new(vec![-1.0, 0.25], vec![1.0, 3.0]).unwrap();
    for r in [0.2, 1.0, 4.0] {
        for y in [[0.3, -0.5], [2.0, 1.5], [-3.0, 6.0]] {
            let posterior = at(&square, r, &y);
            let mut log_density = 0.0;
            for j in 0..2 {
                let [log_mass, mean, variance] = interval_by_quadrature(r, y[j], sides[j].0, sides[j].1);
                log_density += log_mass;
                close(posterior.mean[j], mean, 1e-12, "mean");
                close(posterior.covariance[[j, j]], variance, 1e-12, "variance");
            }
            close(posterior.log_density, log_density, 1e-12, "log-density");
            assert_eq!(posterior.covariance[[0, 1]], 0.0);
        }
    }
    // Noise far above the sides: r² side²/12. Noise far below: 1. Far away: the exponential law of rate |y|.
    let expected = 1e-16 * 2.75 * 2.75 / 12.0;
    assert!((at(&square, 1e-8, &[0.0, 0.0]).localization() / expected - 1.0).abs() < 1e-12);
    close(at(&square, 1e8, &[0.0, 1e8]).localization(), 1.0, 1e-12, "L");
    assert!((at(&square, 1.0, &[1e8, 1e8]).localization() * 1e16 - 1.0).abs() < 1e-6);
}

#[test]
fn the_checkerboard_is_the_mixture_of_its_squares() {
    // By the law of total covariance, from one-dimensional quadratures.
    let board = Checkerboard::new();
    for (r, y) in [(0.5, [0.3, -0.2]), (2.0, [1.1, 0.4]), (3.0, [-6.0, 5.0]), (1.0, [1e-3, 4.0])] {
        let (mut mass, mut mean, mut second) = (0.0, [0.0; 2], [[0.0; 2]; 2]);
        for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))).filter(|(i, j)| (i + j) % 2 == 0) {
            let side = |k: i32| -1.7 + 0.85 * f64::from(k);
            let u = interval_by_quadrature(r, y[0], side(i), side(i) + 0.85);
            let v = interval_by_quadrature(r, y[1], side(j), side(j) + 0.85);
            let weight = (u[0] + v[0]).exp() / 8.0;
            mass += weight;
            for (k, a) in [u, v].iter().enumerate() {
                mean[k] += weight * a[1];
                second[k][k] += weight * (a[2] + a[1] * a[1]);
            }
            second[0][1] += weight * u[1] * v[1];
        }
        let posterior = at(&board, r, &y);
        close(posterior.log_density, mass.ln(), 1e-12, "log-density");
        close(posterior.mean[0], mean[0] / mass, 1e-12, "mean");
        close(posterior.mean[1], mean[1] / mass, 1e-12, "mean");
        for (k, l) in [(0, 0), (0, 1), (1, 1)] {
            let expected = second[k][l] / mass - mean[k] * mean[l] / mass / mass;
            close(posterior.covariance[[k, l]], expected, 1e-11, "covariance");
        }
    }
    // From far away its columns look like boxes: as seen from (∞, y), the squares of the last column.
    let far = at(&board, 1.0, &[1e8, 0.1]);
    let upper = interval_by_quadrature(1.0, 0.1, 0.85, 1.7);
    let lower = interval_by_quadrature(1.0, 0.1, -0.85, 0.0);
    let share = 1.0 / (1.0 + (lower[0] - upper[0]).exp());
    close(far.mean[1], share * upper[1] + (1.0 - share) * lower[1], 1e-7, "mean");
    // Where noise swamps the board, a whisper from afar tilts it by e^{ry·x}.
    let tilted = at(&board, 1e-8, &[1e8, 0.0]);
    close(tilted.mean[0] * 1e8, 1.7 / f64::tanh(1.7) - 1.0, 1e-7, "mean");
}

#[test]
fn covariance_and_mean_are_derivatives_of_the_log_density() {
    // ∇log p(y) = E[rX | y] - y and ∇²log p(y) = Cov[rX | y] - I, for every target that has a posterior.
    let configs = [
        r#"{"gaussian": {"mean": [0.5, -1], "covariance": [[1.5, -0.7], [-0.7, 0.9]]}}"#,
        r#"{"gaussian_mixture": {"weights": [0.3, 0.7], "means": [[0, 0], [1, -2]],
            "covariances": [[[0, 0], [0, 0]], [[0.09, 0.12], [0.12, 0.16]]]}}"#,
        r#"{"uniform_box": {"low": [-1, 0], "high": [0.5, 2]}}"#,
        r#"{"ring": {}}"#,
        r#"{"checkerboard": {}}"#,
        r#"{"two_moons": {}}"#,
        r#"{"spirals": {"noise": 0.2}}"#,
    ];
    let stream = Stream::new(3, Purpose::Evaluation);
    for json in configs {
        let target = serde_json::from_str::<TargetConfig>(json).unwrap().build_exact().unwrap().unwrap();
        let posterior = target.posterior.expect("an exact posterior");
        let x = target.sampler.as_ref().unwrap().sample(&stream, 0, 0..3);
        for r in [0.3, 1.0, 2.5] {
            for (i, x) in x.rows().into_iter().enumerate() {
                let y = [r * x[0] + 0.7 - i as f64, r * x[1] + 0.4 * i as f64];
                let h = 1e-4;
                let moved = |j: usize, by: f64| {
                    let mut z = y;
                    z[j] += by;
                    at(posterior.as_ref(), r, &z)
                };
                let here = at(posterior.as_ref(), r, &y);
                for (j, y) in y.iter().enumerate() {
                    let (up, down) = (moved(j, h), moved(j, -h));
                    let slope = (up.log_density - down.log_density) / 2.0 / h;
                    close(here.mean[j] - y, slope, 1e-6, json);
                    for k in 0..2 {
                        close(here.covariance[[j, k]], (up.mean[k] - down.mean[k]) / 2.0 / h, 1e-5, json);
                    }
                }
            }
        }
    }
    let pinwheel = serde_json::from_str::<TargetConfig>(r#"{"pinwheel": {}}"#).unwrap().build_exact().unwrap().unwrap();
    assert!(pinwheel.posterior.is_none());
}

#[test]
fn localization_of_many_queries_is_that_of_the_covariances() {
    // Low and high dimension, weights spread over all points and on a few, duplicates, data far from the origin.
    let stream = Stream::new(5, Purpose::Evaluation);
    for (n, d, shift) in
        [(700, 1, 0.0), (500, 2, 100.0), (900, 3, 0.0), (1500, 24, 0.0), (60, 40, 1e4), (700, 230, 0.0)]
    {
        let mut x = Gaussian::standard(d).sample(&stream, d as u64, 0..n);
        // Two widths, so that L has some, and every tenth point twice.
        for i in 0..x.nrows() {
            if i % 10 == 1 {
                let other = x.row(i - 1).to_owned();
                x.row_mut(i).assign(&other);
            }
            x[[i, 0]] *= if i % 4 < 2 { 3.0 } else { 0.5 };
        }
        x.mapv_inplace(|x| x + shift);
        let z = Gaussian::standard(d).sample(&stream, 1000 + d as u64, 0..40);
        let empirical = Empirical::new(x.clone()).unwrap();
        for r in [1e-3, 0.2, 1.0, 6.0] {
            let y = Array2::from_shape_fn((40, d), |(i, j)| r * x[[7 * i % x.nrows(), j]] + z[[i, j]]);
            let fast = empirical.localization(r, &y);
            let exact: Vec<f64> = empirical.posterior(r, &y).iter().map(Posterior::localization).collect();
            // Where y = rx + z is about r·shift, its last digit is an error of the exponents.
            let tolerance = 1e-11 + 1e-13 * r * shift * r;
            for (i, (fast, exact)) in fast.iter().zip(&exact).enumerate() {
                let allowed = tolerance * exact + 1e-280;
                assert!((fast - exact).abs() <= allowed, "d = {d}, r = {r}, query {i}: {fast} against {exact}");
            }
        }
    }
}

#[test]
fn localization_does_not_depend_on_threads_or_on_the_company_of_a_query() {
    let stream = Stream::new(6, Purpose::Evaluation);
    for d in [2, 20, 200] {
        let x = Gaussian::standard(d).sample(&stream, 0, 0..400);
        let y = Gaussian::standard(d).sample(&stream, 1, 0..70);
        let empirical = Empirical::new(x).unwrap();
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| empirical.localization(0.4, &y))
        };
        assert_eq!(run(1), run(3));
        let alone = empirical.localization(0.4, &y.slice(ndarray::s![37..38, ..]).to_owned())[0];
        assert!((alone / run(1)[37] - 1.0).abs() < 1e-12);
    }
}

#[test]
fn localization_of_digits_is_a_number_at_every_noise_level() {
    // In pixels of 0 … 16: between a dozen likely digits at the lowest r and a second one of probability e⁻³⁰⁰ at the highest.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/digits.npz");
    let x = crate::data::read_points(std::path::Path::new(path), None, None).unwrap().points;
    let empirical = Empirical::new(x.clone()).unwrap();
    let z = Gaussian::standard(64).sample(&Stream::new(7, Purpose::Evaluation), 0, 0..24);
    let mut least = f64::INFINITY;
    for step in 0..=30 {
        let r = 0.05 * 800f64.powf(f64::from(step) / 30.0);
        let y = Array2::from_shape_fn((24, 64), |(i, j)| r * x[[70 * i, j]] + z[[i, j]]);
        let fast = empirical.localization(r, &y);
        least = fast.iter().copied().filter(|value| *value > 0.0).fold(least, f64::min);
        if step % 6 == 0 {
            let exact = empirical.posterior(r, &y);
            for (fast, exact) in fast.iter().zip(exact.iter().map(Posterior::localization)) {
                assert!((fast - exact).abs() <= 1e-10 * exact + 1e-290, "r = {r}: {fast} against {exact}");
            }
        }
        assert!(fast.iter().all(|value| value.is_finite() && *value >= 0.0), "r = {r}: {fast:?}");
    }
    assert!(least < 1e-200, "{least}");
}

#[test]
fn a_pivot_that_leaves_next_to_nothing_to_the_others_hides_none_of_their_digits() {
    // So few points that all of them share the products with the other queries.
    let stream = Stream::new(8, Purpose::Evaluation);
    for (n, d) in [(40usize, 3usize), (240, 20), (300, 220)] {
        let x = Gaussian::standard(d).sample(&stream, d as u64, 0..n as u64);
        // Points on a small sphere but one: exponents hardly differ among the many, and from the one by hundreds.
        let unit = |i: usize| x.row(i).dot(&x.row(i)).sqrt();
        let x = Array2::from_shape_fn((n, d), |(i, j)| {
            if i == 0 { f64::from(u8::from(j == 0)) } else { 1e-2 * x[[i, j]] / unit(i) }
        });
        let empirical = Empirical::new(x.clone()).unwrap();
        for r in [4.0, 12.0, 20.0] {
            let y = Array2::from_shape_fn((9, d), |(i, j)| r * x[[0, j]] + 0.1 * (i * j) as f64 / d as f64);
            let exact = empirical.posterior(r, &y);
            for (fast, exact) in empirical.localization(r, &y).iter().zip(exact.iter().map(Posterior::localization)) {
                assert!((fast - exact).abs() <= 1e-9 * exact, "n = {n}, r = {r}: {fast} against {exact}");
            }
        }
    }
}

#[test]
fn eigenvalues_that_are_nearly_equal_are_told_apart() {
    // The points ±bⱼeⱼ, several times: C = diag(b²)/d at y = 0, b so that the two largest differ by a relative 1e-4 … 1e-13.
    let d = 12;
    for difference in [1e-4, 1e-7, 1e-10, 1e-13] {
        let side = |j: usize| if j == 0 { 1.0 + difference } else { 1.0 - 0.01 * (j - 1) as f64 };
        for copies in [1, 40] {
            // A little noise in the last coordinate, which is small, makes different points of the copies.
            let x = Array2::from_shape_fn((2 * d * copies, d), |(i, j)| {
                let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
                let copy = 1e-9 * (i / (2 * d)) as f64 * f64::from(u8::from(j == d - 1));
                if i / 2 % d == j { sign * (side(j) + copy) } else { sign * copy }
            });
            let empirical = Empirical::new(x).unwrap();
            for r in [1e-3, 1.0] {
                let y = Array2::zeros((3, d));
                let exact = empirical.posterior(r, &y)[0].localization();
                for fast in empirical.localization(r, &y) {
                    assert!((fast - exact).abs() <= 1e-10 * exact, "{difference}, r = {r}: {fast} against {exact}");
                }
            }
        }
    }
}

#[test]
fn localization_far_away_at_extreme_ratios_and_of_huge_points_is_finite() {
    let stream = Stream::new(9, Purpose::Evaluation);
    for (n, d) in [(1, 1), (1, 5), (300, 2), (300, 24), (300, 230)] {
        let x = Gaussian::standard(d).sample(&stream, d as u64, 0..n);
        for scale in [1e-150, 1.0, 1e100] {
            let empirical = Empirical::new(&x * scale).unwrap();
            for r in [1e-8, 1.0, 1e8] {
                for far in [0.0, 1e6, 1e150] {
                    let y = Array2::from_elem((2, d), far);
                    for value in empirical.localization(r, &y) {
                        assert!(
                            value.is_finite() && value >= 0.0,
                            "n = {n}, d = {d}, {scale}, r = {r}, {far}: {value}"
                        );
                        assert!(n > 1 || value == 0.0);
                    }
                }
            }
        }
    }
}
