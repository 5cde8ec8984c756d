//! Fits against scikit-learn, closed forms and data that have no mixture.

use serde::Deserialize;

use super::*;
use crate::{Purpose, Sample, Stream};

const FULL: ExpectationMaximization = ExpectationMaximization { covariance: CovarianceKind::Full, shrinkage: 0.0 };
const STOP: Stop = Stop { iterations: 200, tolerance: 1e-9 };

fn matrix(rows: &[Vec<f64>]) -> Points {
    Points::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| rows[i][j])
}

fn two() -> GaussianMixture {
    GaussianMixture::new(
        vec![0.3, 0.7],
        vec![vec![-2.0, 0.0], vec![2.0, 1.0]],
        vec![vec![vec![0.5, 0.2], vec![0.2, 0.4]], vec![vec![0.3, 0.0], vec![0.0, 0.6]]],
    )
    .unwrap()
}

fn draws(n: u64, seed: u64) -> Points {
    two().sample(&Stream::new(seed, Purpose::Batch), 0, 0..n)
}

fn observed(points: &Points) -> Observed {
    Observed::new(points, None, None).unwrap()
}

#[test]
fn fifty_steps_are_those_of_scikit_learn() {
    #[derive(Deserialize)]
    struct Fixture {
        steps: u64,
        cases: Vec<Case>,
    }
    #[derive(Deserialize)]
    struct Case {
        points: Vec<Vec<f64>>,
        fits: Vec<Fit>,
    }
    #[derive(Deserialize)]
    struct Fit {
        kind: CovarianceKind,
        components: usize,
        weights: Vec<f64>,
        means: Vec<Vec<f64>>,
        covariances: Vec<Vec<Vec<f64>>>,
        log_likelihood: f64,
    }
    let fixture: Fixture = serde_json::from_str(include_str!("../../tests/gaussian_mixture.json")).unwrap();
    for Case { points, fits } in fixture.cases {
        let x = matrix(&points);
        let (n, d) = x.dim();
        for fit in fits {
            let em = ExpectationMaximization { covariance: fit.kind, shrinkage: 0.0 };
            let k = fit.components;
            let shares = Array2::from_shape_fn((n, k), |(i, j)| f64::from(u8::from(i % k == j)));
            let nowhere =
                Moments { weights: vec![0.0; k], means: Points::zeros((k, d)), covariances: vec![Array2::eye(d); k] };
            let shares = Shares { mean: shares, by_copy: Vec::new() };
            let start = em.maximize(&observed(&x), &shares, &nowhere);
            let never = Stop { iterations: fixture.steps, tolerance: f64::NEG_INFINITY };
            let (found, _) = em.fit(&observed(&x), start, never).unwrap();
            let close = |a: f64, b: f64| (a - b).abs() < 1e-8;
            assert!(found.weights.iter().zip(&fit.weights).all(|(a, b)| close(*a, *b)), "{:?} weights", fit.kind);
            assert!(found.means.iter().zip(&matrix(&fit.means)).all(|(a, b)| close(*a, *b)), "{:?} means", fit.kind);
            for (found, exact) in found.covariances.iter().zip(&fit.covariances) {
                assert!(found.iter().zip(&matrix(exact)).all(|(a, b)| close(*a, *b)), "{:?} covariances", fit.kind);
            }
            let log_likelihood = found.mean_log_density(&x);
            assert!(close(log_likelihood, fit.log_likelihood), "{log_likelihood} against {}", fit.log_likelihood);
        }
    }
}

#[test]
fn one_gaussian_has_the_moments_of_the_points_far_from_the_origin_too() {
    let x = draws(500, 1) + 1e6;
    let (found, _) = FULL.fit(&observed(&x), FULL.start(&observed(&x), 1, 0, 0), STOP).unwrap();
    let mean = x.mean_axis(Axis(0)).unwrap();
    let centred = &x - &mean;
    let covariance = centred.t().dot(&centred) / 500.0;
    assert!(found.means.row(0).iter().zip(&mean).all(|(a, b)| (a / b - 1.0).abs() < 1e-15));
    // The mean itself is rounded to 10⁻¹⁰.
    assert!(found.covariances[0].iter().zip(&covariance).all(|(a, b)| (a - b).abs() < 1e-13 * covariance[[0, 0]]));
    assert_eq!(found.weights, [1.0]);
}

#[test]
fn a_known_mixture_is_found() {
    let n = 20_000;
    let x = observed(&draws(n, 1));
    let (found, _) = FULL.fit(&x, FULL.start(&x, 2, 0, 0), STOP).unwrap();
    let first = usize::from(found.means[[0, 0]] > 0.0);
    let std_error = (0.3 * 0.7 / n as f64).sqrt();
    assert!(std_error < 0.004 && (found.weights[first] - 0.3).abs() < 5.0 * std_error, "{:?}", found.weights);
    // The sd of a mean of a component with at least .3 n points and variance at most .6.
    let std_error = (0.6 / (0.3 * n as f64)).sqrt();
    assert!(std_error < 0.02);
    for (k, exact) in [(first, [-2.0, 0.0]), (1 - first, [2.0, 1.0])] {
        for (j, exact) in exact.iter().enumerate() {
            assert!((found.means[[k, j]] - exact).abs() < 5.0 * std_error, "{}", found.means);
        }
    }
    // An entry of a covariance of .3 n points: √((Σ₀₀Σ₁₁ + Σ₀₁²)/.3n).
    let std_error = ((0.5 * 0.4 + 0.04) / (0.3 * n as f64)).sqrt();
    assert!((found.covariances[first][[0, 1]] - 0.2).abs() < 5.0 * std_error && std_error < 0.01);
}

#[test]
fn the_likelihood_never_falls() {
    let x = observed(&draws(500, 2));
    for covariance in [CovarianceKind::Full, CovarianceKind::Diagonal, CovarianceKind::Tied] {
        let em = ExpectationMaximization { covariance, shrinkage: 0.0 };
        // So many that some collapse onto a point.
        for components in [1, 3, 8, 60] {
            let mut moments = em.start(&x, components, 3, 0);
            let mut before = f64::NEG_INFINITY;
            for step in 0..60 {
                let (next, log_likelihood) = em.step(&x, &moments).unwrap();
                let slack = 1e-9 * log_likelihood.abs().max(1.0);
                assert!(
                    log_likelihood > before - slack,
                    "{covariance:?}, {components}, step {step}: {before} then {log_likelihood}"
                );
                (before, moments) = (log_likelihood, next);
            }
        }
    }
}

#[test]
fn a_weight_is_so_many_equal_points() {
    let x = draws(60, 4);
    let weights: Vec<f64> = (0..60).map(|i| f64::from(1 + i % 3)).collect();
    let rows: Vec<usize> = (0..60).flat_map(|i| std::iter::repeat_n(i, 1 + i % 3)).collect();
    let repeated = observed(&x.select(Axis(0), &rows));
    let weighted = Observed::new(&x, Some(&weights), None).unwrap();
    let start = Moments::of(&two());
    let stop = Stop { iterations: 10, tolerance: f64::NEG_INFINITY };
    let (a, value_a) = FULL.fit(&weighted, start.clone(), stop).unwrap();
    let (b, value_b) = FULL.fit(&repeated, start, stop).unwrap();
    assert!((value_a - value_b).abs() < 1e-12, "{value_a} against {value_b}");
    assert!(a.means.iter().zip(&b.means).all(|(a, b)| (a - b).abs() < 1e-11), "{} against {}", a.means, b.means);
}

#[test]
fn shrinkage_draws_towards_the_pooled_covariance() {
    let x = observed(&draws(400, 5));
    let (free, _) = FULL.step(&x, &Moments::of(&two())).unwrap();
    let nu = 30.0;
    let (shrunk, _) = ExpectationMaximization { shrinkage: nu, ..FULL }.step(&x, &Moments::of(&two())).unwrap();
    let tied = ExpectationMaximization { covariance: CovarianceKind::Tied, shrinkage: 0.0 };
    let (tied, _) = tied.step(&x, &Moments::of(&two())).unwrap();
    for k in 0..2 {
        let count = 400.0 * free.weights[k];
        let exact = (&free.covariances[k] * count + &(&tied.covariances[k] * nu)) / (count + nu);
        assert!(shrunk.covariances[k].iter().zip(&exact).all(|(a, b)| (a - b).abs() < 1e-13), "component {k}");
    }
}

#[test]
fn noise_that_is_known_is_added_exactly() {
    let x = draws(300, 4);
    let noise = ndarray::array![[0.25, 0.1], [0.1, 0.5]];
    let mean = x.mean_axis(Axis(0)).unwrap();
    let centred = &x - &mean;
    let exact = centred.t().dot(&centred) / 300.0 + &noise;
    let known = KnownNoise { covariance: noise, copies: vec![&x - 0.3, &x + 0.3] };
    let seen = Observed::new(&x, None, Some(known)).unwrap();
    let (found, log_likelihood) = FULL.fit(&seen, FULL.start(&seen, 1, 0, 0), STOP).unwrap();
    assert!(found.covariances[0].iter().zip(&exact).all(|(a, b)| (a - b).abs() < 1e-12));
    // The likelihood is that of what was seen, the mean over the copies; two of them see √½ of their difference each.
    let by_copy = [-0.3, 0.3].map(|noise| found.mean_log_density(&(&x + noise * 2f64.sqrt())));
    let by_copy = 0.5 * (by_copy[0] + by_copy[1]);
    assert!((log_likelihood - by_copy).abs() < 1e-12, "{log_likelihood} against {by_copy}");
}

#[test]
fn the_law_of_noised_points_is_a_fixed_point_where_the_noise_decides_who_is_responsible() {
    // Half of the points are -1, half 1, with noise of sd ½ and then .8: the exact mixture is ½N(±1, s²).
    for sd in [0.5, 0.8] {
        let n = 4000;
        let x = Points::from_shape_fn((n, 1), |(i, _)| if i % 2 == 0 { -1.0 } else { 1.0 });
        let stream = Stream::new(8, Purpose::InstanceNoise);
        let copy = |c: u64| Points::from_shape_fn((n, 1), |(i, _)| x[[i, 0]] + sd * stream.at(c, i as u64).normal());
        let variance = ndarray::array![[sd * sd]];
        let noise = KnownNoise { covariance: variance.clone(), copies: (0..4).map(copy).collect() };
        let seen = Observed::new(&x, None, Some(noise)).unwrap();
        let exact = Moments {
            weights: vec![0.5; 2],
            means: ndarray::array![[-1.0], [1.0]],
            covariances: vec![variance.clone(), variance],
        };
        let (found, _) = FULL.fit(&seen, exact, Stop { iterations: 1000, tolerance: 1e-9 }).unwrap();
        // Over seeds of the noise the means have a spread of .003 and .033 (sd .8 overlaps); moments of the points without the noise that
        // decides, which is what comes of leaving the covariances out, end at means of 0.
        let spread = if sd < 0.6 { 0.003 } else { 0.033 };
        assert!((found.means[[1, 0]] - 1.0).abs() < 5.0 * spread, "sd {sd}: {}", found.means);
        assert!((found.means[[0, 0]] + 1.0).abs() < 5.0 * spread, "sd {sd}: {}", found.means);
    }
}

#[test]
fn with_shrinkage_a_fit_ends_where_it_moves_no_more() {
    let x = observed(&draws(500, 2));
    let em = ExpectationMaximization { shrinkage: 30.0, ..FULL };
    let (found, _) = em.fit(&x, em.start(&x, 8, 0, 0), Stop { iterations: 5000, tolerance: 1e-12 }).unwrap();
    let (next, _) = em.step(&x, &found).unwrap();
    assert!(
        found.means.iter().zip(&next.means).all(|(a, b)| (a - b).abs() < 1e-4),
        "{} then {}",
        found.means,
        next.means
    );
}

#[test]
fn points_far_from_all_components_have_responsibilities() {
    let moments = Moments::of(&two());
    let terms = Terms::of(&moments, &Array1::zeros(2)).unwrap();
    let far = matrix(&[vec![1e3, 0.0], vec![-1e8, 1e8], vec![1e200, 1e200], vec![0.0, 0.0]]);
    let (shares, log_densities) = terms.responsibilities(far.view());
    assert!(shares.rows().into_iter().all(|row| (row.sum() - 1.0).abs() < 1e-12), "{shares}");
    assert!(log_densities.iter().all(|log_density| log_density.is_finite()), "{log_densities:?}");
}

#[test]
fn poor_data_have_a_density_all_the_same() {
    let equal = Points::from_elem((20, 3), 2.1);
    let few = Points::from_shape_fn((3, 5), |(i, j)| (i * i * 5 + j) as f64);
    let flat = Points::from_shape_fn((40, 2), |(i, j)| if j == 0 { i as f64 } else { 0.1 });
    let tiny =
        Points::from_shape_fn((40, 2), |(i, j)| if j == 0 { (i * i % 17) as f64 } else { 1e-7 * (i % 5) as f64 });
    let one = Points::from_elem((1, 2), -3.0);
    let line = Points::from_shape_fn((30, 2), |(i, _)| i as f64);
    for (name, x) in [("equal", equal), ("few", few), ("flat", flat), ("tiny", tiny), ("one", one), ("line", line)] {
        for covariance in [CovarianceKind::Full, CovarianceKind::Diagonal, CovarianceKind::Tied] {
            for shrinkage in [0.0, 3.0] {
                let em = ExpectationMaximization { covariance, shrinkage };
                let seen = observed(&x);
                let (found, log_likelihood) = em.fit(&seen, em.start(&seen, 8, 1, 0), STOP).unwrap();
                assert!(log_likelihood.is_finite(), "{name}, {covariance:?}: {log_likelihood}");
                let mixture = found.mixture().unwrap();
                assert!(mixture.has_density(), "{name}, {covariance:?}");
                assert!(mixture.components().len() <= x.nrows());
            }
        }
    }
    // A narrow column is no constant one: its sd is kept.
    let narrow = Points::from_shape_fn((200, 2), |(i, j)| if j == 0 { (i % 20) as f64 } else { 1e-6 * (i % 7) as f64 });
    let (found, _) = FULL.fit(&observed(&narrow), FULL.start(&observed(&narrow), 1, 0, 0), STOP).unwrap();
    let sd = found.covariances[0][[1, 1]].sqrt();
    assert!((sd - 1e-6 * narrow.column(1).mapv(|x| x * 1e6).std(0.0)).abs() < 1e-9 * sd, "{sd}");
    for (points, weights) in [
        (Points::zeros((0, 2)), None),
        (Points::from_elem((2, 1), f64::NAN), None),
        (Points::zeros((2, 1)), Some(vec![1.0])),
        (Points::zeros((2, 1)), Some(vec![1.0, 0.0])),
    ] {
        assert!(Observed::new(&points, weights.as_deref(), None).is_err());
    }
}

#[test]
fn starts_differ_by_restart_and_are_functions_of_the_seed() {
    let x = observed(&draws(400, 9));
    let start = |seed, restart| FULL.start(&x, 6, seed, restart);
    assert!(start(1, 0) == start(1, 0) && start(1, 0) != start(1, 1) && start(1, 0) != start(2, 0));
    assert_eq!(start(1, 0).weights.len(), 6);
}
