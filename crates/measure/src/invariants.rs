//! One battery for every measure: score against log-density, sampler against both, noised laws against convolution.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use ndarray::Array2;

use crate::random::{Purpose, Stream};
use crate::{
    Denoiser, Empirical, Estimate, Gaussian, GaussianMixture, Measure, Points, PosteriorCovariance, Sample,
    TargetConfig, UniformBox, to_points, to_tensor,
};

fn column(values: &[f64]) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), (&Device::flex(), DType::F64))
}

fn rows(points: &Points) -> Tensor<2> {
    to_tensor(points, DType::F64, &Device::flex())
}

fn values(tensor: Tensor<1>) -> Vec<f64> {
    to_points(tensor.unsqueeze_dim::<2>(1)).into_raw_vec_and_offset().0
}

fn points(rows: &[&[f64]]) -> Points {
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| rows[i][j])
}

fn config(json: &str) -> TargetConfig {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

const SINGULAR: &str = r#"{"gaussian_mixture": {"weights": [0.3, 0.25, 0.25, 0.2],
    "means": [[-2, 0], [1.5, 1], [1, -2], [0, 0]],
    "covariances": [[[1, 0.6], [0.6, 0.8]], [[0.3, -0.1], [-0.1, 0.5]], [[0.09, 0.12], [0.12, 0.16]], [[0, 0], [0, 0]]]}}"#;
const FULL: &str = r#"{"gaussian_mixture": {"weights": [0.3, 0.7], "means": [[-1, 0, 0.5], [1.5, 1, -0.5]],
    "covariances": [[[1, 0.6, 0], [0.6, 0.8, 0.1], [0, 0.1, 0.3]], [[0.3, -0.1, 0], [-0.1, 0.5, 0], [0, 0, 2]]]}}"#;
const GAUSSIAN: &str = r#"{"gaussian": {"mean": [0.5, -1], "covariance": [[1.5, -0.7], [-0.7, 0.9]]}}"#;
const PLANE: [&str; 7] = [
    r#"{"two_moons": {}}"#,
    r#"{"ring": {}}"#,
    r#"{"pinwheel": {}}"#,
    r#"{"s_curve": {}}"#,
    r#"{"swiss_roll": {}}"#,
    r#"{"spirals": {"noise": 0.2}}"#,
    r#"{"checkerboard": {}}"#,
];

/// Targets of any dimension that have draws and are not mixtures of Gaussians.
const SPACE: [&str; 6] = [
    r#"{"funnel": {"dim": 4, "sigma": 1}}"#,
    r#"{"many_well": {"dim": 4}}"#,
    r#"{"rosenbrock": {}}"#,
    r#"{"student_t_mixture": {"degrees_of_freedom": 3, "locations": [[0, 1, 0.5], [-4, 2, 0]]}}"#,
    r#"{"rotated": {"target": {"funnel": {"dim": 3, "sigma": 1}}, "seed": 2}}"#,
    r#"{"rotated": {"target": {"two_moons": {}}}}"#,
];

fn target(json: &str) -> crate::Target {
    config(json).build_exact().unwrap().expect("a closed form")
}

/// The mixture of a config.
fn mixture(json: &str) -> GaussianMixture {
    match config(json) {
        TargetConfig::GaussianMixture { weights, means, covariances } => {
            GaussianMixture::new(weights, means, covariances).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

/// Fourth-order central differences of `f` along each coordinate.
fn gradient(f: impl Fn(&Points) -> Vec<f64>, x: &Points, h: f64) -> Points {
    let mut gradient = Points::zeros(x.dim());
    for j in 0..x.ncols() {
        let shifted = |steps: f64| {
            let mut x = x.clone();
            x.column_mut(j).map_inplace(|x| *x += steps * h);
            f(&x)
        };
        let (a, b, c, d) = (shifted(-2.0), shifted(-1.0), shifted(1.0), shifted(2.0));
        for i in 0..x.nrows() {
            gradient[[i, j]] = (a[i] - 8.0 * b[i] + 8.0 * c[i] - d[i]) / (12.0 * h);
        }
    }
    gradient
}

/// Every entry of `score` within 10⁻⁶ of the derivative, relative where the derivative exceeds 1.
fn assert_gradient(name: &str, score: &Points, derivative: &Points) {
    for ((i, j), exact) in derivative.indexed_iter() {
        let got = score[[i, j]];
        assert!((got - exact).abs() < 1e-6 * exact.abs().max(1.0), "{name} [{i}][{j}]: {got} against {exact}");
    }
}

#[test]
fn the_score_is_the_derivative_of_the_log_density() {
    for json in [FULL, GAUSSIAN].iter().chain(&PLANE[..6]).chain(&SPACE) {
        let target = target(json);
        let density = target.density.unwrap();
        let mut x = target.sampler.as_ref().unwrap().sample(&Stream::new(1, Purpose::Evaluation), 0, 0..40);
        // Some points of the law, some about it.
        x.rows_mut().into_iter().step_by(2).for_each(|mut row| row.map_inplace(|x| *x += 0.7));
        let derivative = gradient(|x| values(density.log_density(rows(x))), &x, 1e-4);
        assert_gradient(json, &to_points(density.score(rows(&x))), &derivative);
    }
}

/// Log-density of `X + σZ` at rows with their own σ.
type LogDensityAt = Box<dyn Fn(&Points, &[f64]) -> Vec<f64>>;

/// Every denoiser, with the log-density of `X + σZ` beside it.
fn denoisers() -> Vec<(&'static str, Arc<dyn Denoiser>, LogDensityAt)> {
    macro_rules! noised {
        ($name:expr, $measure:expr) => {{
            let measure = Arc::new($measure);
            let denoiser: Arc<dyn Denoiser> = measure.clone();
            let log_density: LogDensityAt =
                Box::new(move |y, sigma| values(measure.log_density_at(rows(y), column(sigma))));
            ($name, denoiser, log_density)
        }};
    }
    vec![
        noised!("singular mixture", mixture(SINGULAR)),
        noised!("gaussian", Gaussian::new(vec![0.5, -1.0], vec![vec![1.5, -0.7], vec![-0.7, 0.9]]).unwrap()),
        noised!("two_moons", crate::targets::two_moons().quadrature().unwrap()),
        noised!("box", UniformBox::new(vec![-1.0, 0.5], vec![0.3, 2.0]).unwrap()),
        noised!("checkerboard", crate::targets::Checkerboard::new()),
        noised!("empirical", Empirical::new(points(&[&[0.1, 0.2], &[-1.0, 0.7], &[0.3, -1.5]])).unwrap()),
    ]
}

#[test]
fn every_noised_score_is_the_derivative_of_its_log_density_and_tweedies_posterior_mean() {
    let y = points(&[&[0.4, 0.9], &[-1.3, 0.2], &[1.4, -0.6], &[2.5, 2.0], &[0.0, -0.3]]);
    for (name, denoiser, log_density) in denoisers() {
        for sigma in [[0.15; 5], [0.9; 5], [0.15, 20.0, 0.4, 3.0, 1.0]] {
            let score = to_points(denoiser.score(rows(&y), column(&sigma)));
            assert_gradient(name, &score, &gradient(|y| log_density(y, &sigma), &y, 3e-4));
            let mean = to_points(denoiser.denoise(rows(&y), column(&sigma)));
            for ((i, j), mean) in mean.indexed_iter() {
                let tweedie = y[[i, j]] + sigma[i] * sigma[i] * score[[i, j]];
                assert!((mean - tweedie).abs() < 1e-12, "{name}: {mean} against {tweedie}");
            }
        }
    }
}

#[test]
fn denoisers_stay_finite_far_away_and_at_every_noise_level() {
    for (name, denoiser, log_density) in denoisers() {
        for sigma in [1e-12, 1e-6, 1.0, 1e6, 1e12] {
            for scale in [0.0, 1.0, 1e3, 1e8] {
                let y = points(&[&[scale, -0.7 * scale], &[0.3 * scale, scale]]);
                for dtype in [DType::F32, DType::F64] {
                    let tensor = || to_tensor(&y, dtype, &Device::flex());
                    let level = || column(&[sigma; 2]).cast(dtype);
                    let mean = to_points(denoiser.denoise(tensor(), level()));
                    let score = to_points(denoiser.score(tensor(), level()));
                    let at = format!("{name} at |y| = {scale}, σ = {sigma}, {dtype:?}: {mean:?}, {score:?}");
                    assert!(mean.iter().all(|x| x.is_finite()), "{at}");
                    // Between isolated points the score itself passes the range of f32: |y - x|/σ² at σ = 10⁻¹².
                    assert!(
                        score.iter().all(|x| x.is_finite() || (dtype == DType::F32 && scale / sigma > 1e18)),
                        "{at}"
                    );
                }
                assert!(log_density(&y, &[sigma; 2]).iter().all(|x| !x.is_nan()), "{name}");
            }
        }
    }
}

#[test]
fn posterior_means_and_log_densities_match_an_independent_implementation() {
    // Y_r = rX + Z for the mixture with full, singular and zero covariances: (r, y, log p(y), E[rX | y]).
    type Row = (f64, [f64; 2], f64, [f64; 2]);
    const REFERENCE: [Row; 8] = [
        (0.25, [3.492076, 1.550522], -8.513701382922964, [0.3283708127223023, 0.13804847583373991]),
        (0.25, [0.070863, 1.56817], -3.1620685180599275, [0.044730465749437495, 0.08426346552788336]),
        (0.7, [-1.407718, -2.140834], -4.501047501502364, [-0.7433905064890701, -0.8194686471626412]),
        (1.0, [-0.963152, -0.528817], -3.3104737726554534, [-0.6545820976220219, -0.08327819420606965]),
        (1.6, [2.232764, -0.605492], -4.454574008098754, [1.924570509835533, -0.37509549105285483]),
        (3.0, [3.492076, 1.550522], -5.1123889846780255, [3.822824999841839, 1.865998707336418]),
        (3.0, [-2.491945, -1.814517], -6.691671370469392, [-2.5072423676657607, -0.8659370638645627]),
        (3.0, [0.070863, 1.56817], -4.56370257924318, [-0.007345405317284234, 0.21178453146208268]),
    ];
    let mixture = mixture(SINGULAR);
    // X + σZ = Y_r/r at σ = 1/r: one call, a noise level for each row.
    let y = Array2::from_shape_fn((8, 2), |(i, j)| REFERENCE[i].1[j] / REFERENCE[i].0);
    let sigma: Vec<f64> = REFERENCE.iter().map(|row| 1.0 / row.0).collect();
    let log_density = values(mixture.log_density_at(rows(&y), column(&sigma)));
    let mean = to_points(mixture.denoise(rows(&y), column(&sigma)));
    for (i, (r, _, log_p, posterior)) in REFERENCE.iter().enumerate() {
        let got = log_density[i] - 2.0 * r.ln();
        assert!((got - log_p).abs() < 1e-10, "log-density at r = {r}: {got} against {log_p}");
        for j in 0..2 {
            let got = r * mean[[i, j]];
            assert!((got - posterior[j]).abs() < 1e-10, "mean at r = {r}: {got} against {}", posterior[j]);
        }
    }
}

#[test]
fn a_noised_mixture_is_the_convolution() {
    // In one dimension, against quadrature of ∫ p(x) N(y; αx, σ²) dx.
    let weights = vec![0.6, 0.4];
    let mixture =
        GaussianMixture::new(weights, vec![vec![-1.0], vec![2.0]], vec![vec![vec![0.3]], vec![vec![0.05]]]).unwrap();
    let (alpha, sigma) = (0.6, 0.5);
    let step = 1e-3;
    let x = Array2::from_shape_fn((16_000, 1), |(i, _)| -8.0 + step * i as f64);
    let p = values(mixture.log_density(rows(&x)));
    let y = points(&[&[-2.5], &[-0.6], &[0.3], &[1.2], &[4.0]]);
    let noised = values(mixture.noised(alpha, sigma).log_density(rows(&y)));
    for (y, got) in y.iter().zip(noised) {
        let kernel = |x: f64| (-(y - alpha * x).powi(2) / (2.0 * sigma * sigma)).exp();
        let integral: f64 = x.iter().zip(&p).map(|(&x, p)| p.exp() * kernel(x)).sum::<f64>() * step;
        let exact = (integral / (sigma * std::f64::consts::TAU.sqrt())).ln();
        assert!((got - exact).abs() < 1e-10, "{got} against {exact}");
    }
    // Noising twice is noising once: α = α₁α₂, σ² = α₂²σ₁² + σ₂².
    let mixture = self::mixture(SINGULAR);
    let y = points(&[&[0.2, 0.4], &[-1.5, 1.0], &[0.8, -1.7]]);
    let twice = mixture.noised(0.9, 0.3).noised(0.8, 0.4);
    let once = mixture.noised(0.72, (0.8f64 * 0.8 * 0.09 + 0.16).sqrt());
    let at_level = mixture.noised(1.0, 0.37);
    let level = values(mixture.log_density_at(rows(&y), column(&[0.37; 3])));
    let pairs = [
        (values(twice.log_density(rows(&y))), values(once.log_density(rows(&y)))),
        (values(at_level.log_density(rows(&y))), level),
    ];
    for (a, b) in pairs.iter().flat_map(|(a, b)| a.iter().zip(b)) {
        assert!((a - b).abs() < 1e-12, "{a} against {b}");
    }
}

#[test]
fn point_masses_are_the_empirical_measure() {
    let set = Gaussian::standard(5).sample(&Stream::new(4, Purpose::Evaluation), 0, 0..30);
    let means: Vec<Vec<f64>> = set.rows().into_iter().map(|row| row.to_vec()).collect();
    let mixture = GaussianMixture::new(vec![1.0 / 30.0; 30], means, vec![vec![vec![0.0; 5]; 5]; 30]).unwrap();
    assert!(!mixture.has_density());
    let empirical = Empirical::new(set.clone()).unwrap();
    for sigma in [1e-3, 0.3, 2.0, 50.0] {
        let y = &set + 0.4 * sigma;
        let level = || column(&[sigma; 30]);
        let pairs = [
            (to_points(mixture.denoise(rows(&y), level())), to_points(empirical.denoise(rows(&y), level()))),
            (
                to_points(Denoiser::score(&mixture, rows(&y), level())),
                to_points(Denoiser::score(&empirical, rows(&y), level())),
            ),
        ];
        for (a, b) in pairs.iter().flat_map(|(a, b)| a.iter().zip(b)) {
            assert!((a - b).abs() < 1e-11 * b.abs().max(1.0), "σ = {sigma}: {a} against {b}");
        }
        let log_densities =
            (values(mixture.log_density_at(rows(&y), level())), values(empirical.log_density_at(rows(&y), level())));
        for (a, b) in log_densities.0.iter().zip(&log_densities.1) {
            assert!((a - b).abs() < 1e-11 * b.abs().max(1.0), "σ = {sigma}: {a} against {b}");
        }
    }
}

#[test]
fn draws_of_a_mixture_have_its_moments() {
    let n = 100_000;
    for mixture in [mixture(SINGULAR), mixture(FULL), mixture(SINGULAR).noised(0.5, 0.3)] {
        let x = mixture.sample(&Stream::new(2, Purpose::Evaluation), 0, 0..n);
        let (mean, covariance) = (mixture.mean(), mixture.covariance());
        for i in 0..mixture.dim() {
            let estimate = Estimate::mean(x.column(i).iter().copied());
            assert!((estimate.value - mean[i]).abs() < 5.0 * estimate.std_error, "{estimate:?} against {}", mean[i]);
            for j in 0..mixture.dim() {
                let estimate = Estimate::mean(x.rows().into_iter().map(|x| (x[i] - mean[i]) * (x[j] - mean[j])));
                let exact = covariance[[i, j]];
                assert!(estimate.std_error < 0.02, "too noisy to decide: {estimate:?}");
                assert!((estimate.value - exact).abs() < 5.0 * estimate.std_error, "{estimate:?} against {exact}");
            }
        }
    }
}

#[test]
fn draws_of_a_singular_gaussian_stay_in_its_support() {
    let gaussian = Gaussian::new(vec![1.0, -2.0], vec![vec![0.09, 0.12], vec![0.12, 0.16]]).unwrap();
    let x = gaussian.sample(&Stream::new(3, Purpose::Evaluation), 0, 0..100);
    // The support is the line through the mean along (3, 4).
    assert!(x.rows().into_iter().all(|x| ((x[0] - 1.0) * 4.0 - (x[1] + 2.0) * 3.0).abs() < 1e-7));
    let point = Gaussian::new(vec![1.0, -2.0], vec![vec![0.0; 2]; 2]).unwrap();
    assert!(point.sample(&Stream::new(3, Purpose::Evaluation), 0, 0..10).rows().into_iter().all(|x| x[1] == -2.0));
    // No density, and no number that could be taken for one.
    assert!(values(gaussian.log_density(rows(&x))).iter().all(|p| p.is_nan()));
    assert!(config(SINGULAR).build_exact().unwrap().unwrap().density.is_none());
}

#[test]
fn entropies_match_the_table() {
    let table = [
        ("two_moons", 1.681, 0.0005),
        ("ring", 0.3122, 5e-5),
        ("pinwheel", 1.5345, 5e-5),
        ("checkerboard", 1.754, 0.0005),
    ];
    for (name, exact, rounding) in table {
        let target = target(&format!("{{\"{name}\": {{}}}}"));
        let x = target.sampler.as_ref().unwrap().sample(&Stream::new(5, Purpose::Evaluation), 0, 0..60_000);
        let log_density = values(target.density.unwrap().log_density(rows(&x)));
        assert!(log_density.iter().all(|p| p.is_finite()), "{name}: a draw outside the support");
        let entropy = Estimate::mean(log_density.iter().map(|p| -p));
        assert!(entropy.std_error < 0.006, "too noisy to decide: {entropy:?}");
        assert!(
            (entropy.value - exact).abs() < 5.0 * entropy.std_error + rounding,
            "{name}: {entropy:?} against {exact}"
        );
    }
}

#[test]
fn plane_densities_have_mass_one_and_the_moments_of_their_samplers() {
    // The midpoint rule on [-3.4, 3.4]², whose cells divide the squares of the checkerboard.
    for (json, side) in PLANE.iter().zip([96, 96, 240, 96, 96, 64, 240]) {
        let target = target(json);
        let step = 6.8 / side as f64;
        let at = |i: usize| -3.4 + step * (i as f64 + 0.5);
        let x = Array2::from_shape_fn((side * side, 2), |(i, j)| at(if j == 0 { i / side } else { i % side }));
        let density: Vec<f64> =
            values(target.density.unwrap().log_density(rows(&x))).iter().map(|p| p.exp() * step * step).collect();
        let mass: f64 = density.iter().sum();
        assert!((mass - 1.0).abs() < 1e-4, "{json}: mass {mass}");
        let draws = target.sampler.as_ref().unwrap().sample(&Stream::new(6, Purpose::Evaluation), 0, 0..40_000);
        type Moment = fn(f64, f64) -> f64;
        let moments: [Moment; 6] =
            [|x, _| x, |_, y| y, |x, _| x * x, |x, y| x * y, |_, y| y * y, |x, y| x * x * y + (2.0 * y).sin()];
        for moment in moments {
            let exact: f64 = x.rows().into_iter().zip(&density).map(|(x, p)| p * moment(x[0], x[1])).sum();
            let estimate = Estimate::mean(draws.rows().into_iter().map(|x| moment(x[0], x[1])));
            assert!(estimate.std_error < 0.03, "too noisy to decide: {estimate:?}");
            let far = (estimate.value - exact).abs();
            assert!(far < 5.0 * estimate.std_error + 1e-4, "{json}: {estimate:?} against {exact}");
        }
    }
}

#[test]
fn the_uniform_box_has_its_density_its_draws_and_its_noised_mass() {
    let uniform = UniformBox::new(vec![-1.0, 0.5], vec![0.3, 2.5]).unwrap();
    let x = uniform.sample(&Stream::new(7, Purpose::Evaluation), 0, 0..20_000);
    assert!(values(uniform.log_density(rows(&x))).iter().all(|p| (p + 2.6f64.ln()).abs() < 1e-15));
    for (j, (low, high)) in [(-1.0, 0.3), (0.5, 2.5)].into_iter().enumerate() {
        let mean = Estimate::mean(x.column(j).iter().copied());
        assert!((mean.value - (low + high) / 2.0).abs() < 5.0 * mean.std_error, "{mean:?}");
        let square = Estimate::mean(x.column(j).iter().map(|x| (x - (low + high) / 2.0).powi(2)));
        let exact = (high - low) * (high - low) / 12.0;
        assert!((square.value - exact).abs() < 5.0 * square.std_error, "{square:?} against {exact}");
    }
    let outside = points(&[&[-1.1, 1.0], &[0.0, 2.6], &[0.4, 0.4]]);
    assert!(values(uniform.log_density(rows(&outside))).iter().all(|&p| p == f64::NEG_INFINITY));
    let side = 120;
    let at = |i: usize| -5.0 + 0.1 * (i as f64 + 0.5);
    let y = Array2::from_shape_fn((side * side, 2), |(i, j)| at(if j == 0 { i / side } else { i % side }));
    let noised = values(uniform.log_density_at(rows(&y), column(&vec![0.4; side * side])));
    let mass: f64 = noised.iter().map(|p| p.exp() * 0.01).sum();
    assert!((mass - 1.0).abs() < 1e-9, "{mass}");
}

#[test]
fn single_precision_follows_double_precision() {
    for json in PLANE {
        let target = target(json);
        let x = target.sampler.as_ref().unwrap().sample(&Stream::new(8, Purpose::Evaluation), 0, 0..200);
        let density = target.density.unwrap();
        let single = to_tensor(&x, DType::F32, &Device::flex());
        let got = density.log_density(single.clone());
        assert_eq!(got.dtype(), DType::F32, "{json}");
        for (a, b) in values(got).iter().zip(values(density.log_density(rows(&x)))) {
            assert!((a - b).abs() < 1e-3, "{json}: {a} against {b}");
        }
        assert_eq!(density.score(single).dtype(), DType::F32, "{json}");
    }
}

#[test]
fn tiles_do_not_change_a_bit() {
    // Some 500 components: 1000 rows take several tiles, 10 take one.
    let curve = crate::targets::spirals(0.15);
    let mixture = curve.quadrature().unwrap();
    let x = curve.sample(&Stream::new(9, Purpose::Evaluation), 0, 0..1000);
    let all = values(mixture.log_density(rows(&x)));
    let few = values(mixture.log_density(rows(&x.slice(ndarray::s![700..710, ..]).to_owned())));
    assert_eq!(all[700..710], few[..]);
}

#[test]
fn wrong_parameters_are_refused_by_name() {
    let refused = [
        (
            r#"{"gaussian_mixture": {"weights": [0.5, 0.6], "means": [[0], [1]], "covariances": [[[1]], [[1]]]}}"#,
            "`weights` sum to 1.1; they must sum to 1 within 1e-6. Divide each by 1.1",
        ),
        (
            r#"{"gaussian_mixture": {"weights": [1.5, -0.5], "means": [[0], [1]], "covariances": [[[1]], [[1]]]}}"#,
            "`weights[1]` is -0.5; weights must be positive. Leave out a component that has no weight",
        ),
        (
            r#"{"gaussian_mixture": {"weights": [0.5, 0.5], "means": [[0]], "covariances": [[[1]], [[1]]]}}"#,
            "`means` has length 1, but `weights` asks for 2; give one entry for each",
        ),
        (
            r#"{"gaussian_mixture": {"weights": [0.5, 0.5], "means": [[0], [1, 2]], "covariances": [[[1]], [[1]]]}}"#,
            "`means[1]` has length 2, but `means[0]` asks for 1; give one entry for each",
        ),
        (
            r#"{"gaussian_mixture": {"weights": [1], "means": [[0, 0]], "covariances": [[[1, 0], [1]]]}}"#,
            "`covariances[0][1]` has length 1, but `means[0]` asks for 2; give one entry for each",
        ),
        (
            r#"{"gaussian_mixture": {"weights": [], "means": [], "covariances": []}}"#,
            "`weights` is empty; give at least one entry",
        ),
        (
            r#"{"gaussian": {"mean": [0, 0], "covariance": [[1, 0.5], [0.4, 1]]}}"#,
            "`covariance` is not symmetric: entry [0][1] is 0.5, entry [1][0] is 0.4. Give both the same value",
        ),
        (
            r#"{"gaussian": {"mean": [0, 0], "covariance": [[1, 2], [2, 1]]}}"#,
            "`covariance` is not positive semi-definite: its least eigenvalue is -1",
        ),
        (
            r#"{"uniform_box": {"low": [0, 1], "high": [1, 1]}}"#,
            "`low[1]` is 1 and `high[1]` is 1; low must be below high",
        ),
        (r#"{"s_curve": {"noise": -1}}"#, "`noise` is -1; a standard deviation must be 0 or larger"),
    ];
    for (json, message) in refused {
        let error = config(json).build_exact().unwrap_err().to_string();
        assert!(error.starts_with(message), "{json}: {error}");
    }
    let error = Gaussian::new(vec![f64::NAN], vec![vec![1.0]]).unwrap_err().to_string();
    assert_eq!(error, "`mean[0]` is NaN; every number must be finite");
    assert!(Empirical::new(Points::zeros((0, 3))).is_err());
}

#[test]
fn configs_survive_a_round_trip_and_refuse_unknown_keys() {
    for json in [SINGULAR, GAUSSIAN].iter().chain(&PLANE) {
        let config = config(json);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<TargetConfig>(&text).unwrap(), config);
        assert!(text.starts_with(&format!("{{\"{}\"", config.name())), "{text}");
    }
    assert!(serde_json::from_str::<TargetConfig>(r#"{"two_moons": {"noise": 0.1}}"#).is_err());
}

#[test]
fn responsibilities_are_shares_of_the_density_and_never_lost_far_away() {
    let full = mixture(FULL);
    let x = points(&[&[0.3, -0.2, 0.8], &[-1.0, 0.4, 0.1], &[2.0, 1.5, -1.0], &[800.0, -900.0, 700.0]]);
    let shares = to_points(full.responsibilities(rows(&x)));
    let distances = to_points(full.squared_mahalanobis(rows(&x)));
    let log_density = values(full.log_density(rows(&x)));
    for (k, component) in full.components().iter().enumerate() {
        let covariance: Vec<Vec<f64>> = component.covariance().outer_iter().map(|row| row.to_vec()).collect();
        let alone = GaussianMixture::new(vec![1.0], vec![component.mean().to_vec()], vec![covariance]).unwrap();
        let log_alone = values(alone.log_density(rows(&x)));
        let at_mean = values(alone.log_density(rows(&points(&[component.mean()]))))[0];
        for i in 0..x.nrows() {
            let share = (component.weight().ln() + log_alone[i] - log_density[i]).exp();
            assert!((shares[[i, k]] - share).abs() < 1e-9, "[{i}][{k}]: {} against {share}", shares[[i, k]]);
            let squared = 2.0 * (at_mean - log_alone[i]);
            assert!(
                (distances[[i, k]] / squared - 1.0).abs() < 1e-9,
                "[{i}][{k}]: {} against {squared}",
                distances[[i, k]]
            );
        }
    }
    for (i, row) in shares.outer_iter().enumerate() {
        assert!((row.sum() - 1.0).abs() < 1e-12, "row {i}: {row}");
    }
    let singular = mixture(SINGULAR);
    let none = to_points(singular.responsibilities(rows(&points(&[&[0.0, 1.0]]))));
    assert_eq!(none.dim(), (1, 4));
    assert!(none.iter().all(|r| r.is_nan()));
}

#[test]
fn draws_have_the_score_of_the_density() {
    // Stein: E[∂φ/∂x_j + φ s_j] = 0 for every bounded smooth φ.
    let n = 20_000;
    for json in SPACE {
        let target = target(json);
        let x = target.sampler.as_ref().unwrap().sample(&Stream::new(3, Purpose::Evaluation), 0, 0..n);
        let score = to_points(target.density.unwrap().score(rows(&x)));
        let d = x.ncols();
        for trial in 0..4 {
            let mut words = Stream::new(4, Purpose::Evaluation).at(trial, 0);
            let direction: Vec<f64> = (0..d).map(|_| words.normal()).collect();
            let offset = words.normal();
            for j in 0..d {
                let terms = x.rows().into_iter().zip(score.column(j)).map(|(x, s)| {
                    let phi = (x.iter().zip(&direction).map(|(x, w)| x * w).sum::<f64>() + offset).tanh();
                    direction[j] * (1.0 - phi * phi) + phi * s
                });
                let Estimate { value, std_error } = Estimate::mean(terms);
                assert!(value.abs() < 5.0 * std_error && std_error < 0.2, "{json} [{j}]: {value} ± {std_error}");
            }
        }
    }
}

#[test]
fn wells_are_drawn_as_often_as_they_are_heavy() {
    let wells = target(r#"{"many_well": {"dim": 2}}"#);
    let x = wells.sampler.as_ref().unwrap().sample(&Stream::new(5, Purpose::Evaluation), 0, 0..20_000);
    // The mean of a double well by the rectangle rule, whose error falls faster than any power here.
    let mass = |x: f64| (-x.powi(4) + 6.0 * x * x + x / 2.0).exp();
    let grid = (-600..=600).map(|i| f64::from(i) / 100.0);
    let exact = grid.clone().map(|x| x * mass(x)).sum::<f64>() / grid.map(mass).sum::<f64>();
    let Estimate { value, std_error } = Estimate::mean(x.column(0).iter().copied());
    assert!((value - exact).abs() < 5.0 * std_error && std_error < 0.02, "{value} ± {std_error} against {exact}");
}

#[test]
fn densities_without_normaliser_are_what_their_definitions_say() {
    let at = |json: &str, x: &[f64]| values(target(json).density.unwrap().log_density(rows(&points(&[x]))))[0];
    let normal = |x: f64, mean: f64, variance: f64| {
        -(x - mean).powi(2) / (2.0 * variance) - (std::f64::consts::TAU * variance).ln() / 2.0
    };
    let funnel = normal(1.5, 0.0, 9.0) + normal(-0.7, 0.0, 1.5f64.exp()) + normal(2.0, 0.0, 1.5f64.exp());
    assert!((at(r#"{"funnel": {"dim": 3}}"#, &[1.5, -0.7, 2.0]) - funnel).abs() < 1e-13);
    let valley = normal(0.3, 1.0, 10.0) + normal(-0.2, 0.09, 0.1);
    assert!((at(r#"{"rosenbrock": {}}"#, &[0.3, -0.2]) - valley).abs() < 1e-13);
    // Student's t with 2 degrees of freedom: (2 + x²)^{-3/2}.
    let t = |x: f64| -1.5 * (2.0 + x * x).ln();
    let mixture = ((t(1.0) + t(0.5)).exp() / 2.0 + (t(-2.0) + t(0.5)).exp() / 2.0).ln();
    let json = r#"{"student_t_mixture": {"locations": [[0, 0], [3, 0]]}}"#;
    assert!((at(json, &[1.0, 0.5]) - mixture).abs() < 1e-13);
    let spike = (0.9 * normal(0.1, 0.0, 0.0025).exp() + 0.1 * normal(0.1, 0.0, 9.0).exp()).ln();
    assert!((at(r#"{"spike_in_slab": {"dim": 1}}"#, &[0.1]) - spike).abs() < 1e-12);
}

#[test]
fn a_rotation_turns_all_that_is_known() {
    let inner = r#"{"gaussian_mixture": {"weights": [0.3, 0.7], "means": [[-1, 0, 0.5], [1.5, 1, -0.5]],
        "covariances": [[[1, 0.6, 0], [0.6, 0.8, 0.1], [0, 0.1, 0.3]], [[0.3, -0.1, 0], [-0.1, 0.5, 0], [0, 0, 2]]]}}"#;
    let json = format!(r#"{{"rotated": {{"target": {inner}, "seed": 5}}}}"#);
    let TargetConfig::Rotated(rotated) = config(&json) else { panic!() };
    let q = rotated.matrix(3);
    let identity = q.t().dot(&q);
    assert!((&identity - &Array2::<f64>::eye(3)).iter().all(|x| x.abs() < 1e-15), "{identity}");
    let (whole, part) = (target(&json), Arc::new(mixture(inner)));
    let parts = crate::targets::Rotated::new(part, q.clone());
    let y = points(&[&[0.3, -1.0, 2.0], &[1.0, 0.2, -0.4]]);
    let sigma = column(&[0.4, 1.1]);
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12 * (1.0 + b.abs()));
    let flat = |points: Points| points.into_iter().collect::<Vec<f64>>();
    let density = whole.density.unwrap();
    assert!(close(&values(density.log_density(rows(&y))), &values(parts.log_density(rows(&y)))));
    assert!(close(&flat(to_points(density.score(rows(&y)))), &flat(to_points(Measure::score(&parts, rows(&y))))));
    let denoised =
        [whole.denoiser.unwrap().denoise(rows(&y), sigma.clone()), Denoiser::denoise(&parts, rows(&y), sigma)]
            .map(|tensor| flat(to_points(tensor)));
    assert!(close(&denoised[0], &denoised[1]));
    let [a, b] = [whole.posterior.unwrap().posterior(1.3, &y), PosteriorCovariance::posterior(&parts, 1.3, &y)];
    for (a, b) in a.iter().zip(&b) {
        assert!(close(&a.mean, &b.mean) && (a.log_density - b.log_density).abs() < 1e-12);
        assert!(close(a.covariance.as_slice().unwrap(), b.covariance.as_slice().unwrap()));
    }
    // The rows of a rotated sampler are the rotated rows of the inner one.
    let stream = Stream::new(1, Purpose::Evaluation);
    let drawn = parts.sample(&stream, 0, 0..5);
    assert!(close(&flat(drawn), &flat(mixture(inner).sample(&stream, 0, 0..5).dot(&q.t()))));
    for (json, name) in [
        (r#"{"rotated": {"target": {"dataset": {"path": "a.csv"}}}}"#, "dataset"),
        (r#"{"rotated": {"target": {"drawn": {"target": {"ring": {}}, "points": 10}}}}"#, "drawn"),
    ] {
        let error = config(json).build_exact().unwrap_err().to_string();
        assert!(error.starts_with(&format!("`rotated.target` is `{name}`")), "{error}");
    }
}

#[test]
fn hessian_products_are_derivatives_of_scores() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("points.csv");
    std::fs::write(&path, "a,b,y\n1,2.5,no\n-1,0.5,yes\n0.3,-2,yes\n2,1,no\n").unwrap();
    let regression = serde_json::json!({"bayesian_logistic_regression": {"path": path, "label": "y"}}).to_string();
    for json in SPACE.iter().copied().chain([regression.as_str(), FULL]) {
        let density = target(json).density.unwrap();
        let d = density.dim();
        let x = Points::from_shape_fn((7, d), |(i, j)| ((3 * i + 5 * j) % 7) as f64 / 3.0 - 1.0);
        let v = Points::from_shape_fn((7, d), |(i, j)| ((2 * i + 3 * j) % 5) as f64 - 1.5);
        let product = to_points(density.hessian_product(rows(&x), rows(&v)));
        let h = 1e-4;
        let score = |step: f64| to_points(density.score(rows(&(&x + &(&v * step)))));
        let fourth = (score(-2.0 * h) - score(-h) * 8.0 + score(h) * 8.0 - score(2.0 * h)) / (12.0 * h);
        for (a, b) in product.iter().zip(&fourth) {
            assert!((a - b).abs() < 1e-6 * (1.0 + b.abs()), "{json}: {a} against {b}");
        }
    }
}

#[test]
fn a_regression_posterior_is_prior_times_likelihood() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("points.csv");
    std::fs::write(&path, "a,b,y\n1,2.5,no\n-1,0.5,yes\n0.5,-3,yes\n-0.5,0,no\n").unwrap();
    let json = |more: &str| {
        let path = serde_json::to_string(&path).unwrap();
        format!(r#"{{"bayesian_logistic_regression": {{"path": {path}, "label": "y"{more}}}}}"#)
    };
    let posterior = target(&json(""));
    assert_eq!(posterior.columns.as_deref().unwrap(), ["intercept", "a", "b"]);
    assert!(posterior.sampler.is_none() && posterior.origin().contains("version 1, sha256:"));
    // Both columns have mean 0; their variances are .625 and 3.875.
    let (sa, sb) = (0.625f64.sqrt(), 3.875f64.sqrt());
    let data: [(f64, f64, f64); 4] = [(1.0, 2.5, -1.0), (-1.0, 0.5, 1.0), (0.5, -3.0, 1.0), (-0.5, 0.0, -1.0)];
    let w: [f64; 3] = [0.3, -1.2, 0.8];
    let likelihood: f64 =
        data.iter().map(|(a, b, y)| -(1.0 + (-y * (w[0] + w[1] * a / sa + w[2] * b / sb)).exp()).ln()).sum();
    let prior =
        |s: f64| -w.iter().map(|w| w * w).sum::<f64>() / (2.0 * s * s) - 1.5 * (std::f64::consts::TAU * s * s).ln();
    let x = rows(&points(&[&w]));
    let found = values(posterior.density.as_ref().unwrap().log_density(x.clone()))[0];
    assert!((found - likelihood - prior(1.0)).abs() < 1e-13, "{found}");
    let other = values(target(&json(r#", "prior_sd": 2, "positive": "yes""#)).density.unwrap().log_density(x))[0];
    assert!((other - likelihood - prior(2.0)).abs() < 1e-13, "{other}");
    let points = Points::from_shape_fn((6, 3), |(i, j)| (i as f64 - 2.0) * 0.7 + j as f64 * 0.4);
    let density = posterior.density.unwrap();
    let derivative = gradient(|x| values(density.log_density(rows(x))), &points, 1e-3);
    assert_gradient("regression", &to_points(density.score(rows(&points))), &derivative);
    for (more, message) in [
        (r#", "positive": "maybe""#, "`positive` is `maybe`, and the label has the values `no` and `yes`"),
        (r#", "columns": ["a", "c"]"#, "c"),
        (r#", "prior_sd": 0"#, "`bayesian_logistic_regression.prior_sd` is 0; give a positive number"),
    ] {
        let error = config(&json(more)).build_exact().unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
