//! What the samplers owe: their orders, the moments of the law, the chains of the reference numbers, equal bits.

use std::sync::atomic::{AtomicU32, Ordering};

use brenier_measure::{GaussianMixture, Points, to_points, to_tensor};

use super::*;
use crate::activation::Activation;
use crate::grid::GridConfig;
use crate::preconditioning::Preconditioning;

/// A mixture of (weight, mean, variance) on the line.
fn mixture(components: &[(f64, f64, f64)]) -> GaussianMixture {
    GaussianMixture::new(
        components.iter().map(|c| c.0).collect(),
        components.iter().map(|c| vec![c.1]).collect(),
        components.iter().map(|c| vec![vec![c.2]]).collect(),
    )
    .unwrap()
}

fn two_modes() -> GaussianMixture {
    mixture(&[(0.3, -1.0, 0.2), (0.7, 1.0, 0.5)])
}

/// 0.1 N(-4, 1) + 0.2 N(-2, .5) + 0.4 N(2, .5) + 0.3 N(4, 1).
fn four_modes() -> GaussianMixture {
    mixture(&[(0.1, -4.0, 1.0), (0.2, -2.0, 0.5), (0.4, 2.0, 0.5), (0.3, 4.0, 1.0)])
}

fn column(values: &[f64]) -> Tensor<2> {
    let points = Points::from_shape_vec((values.len(), 1), values.to_vec()).unwrap();
    to_tensor(&points, DType::F64, &Device::flex())
}

/// The ends of the paths from 33 quantiles of the reference.
fn ends(sampler: &SamplerConfig, grid: GridConfig, steps: usize) -> Vec<f64> {
    let levels = grid.levels(0.05, 10.0, steps).unwrap();
    let start: Vec<f64> = (-16..=16).map(|i| f64::from(i) / 8.0 * levels[0]).collect();
    let end = sample_from(&two_modes(), sampler, &levels, column(&start), 0, 0, &mut |_| true).unwrap();
    to_points(end).into_iter().collect()
}

#[test]
fn each_solver_shows_its_order() {
    for grid in [GridConfig::Karras { rho: 7.0 }, GridConfig::LogSnr] {
        let reference = ends(&SamplerConfig::Heun, grid, 4001);
        for (sampler, order) in
            [(SamplerConfig::Euler, 1.0), (SamplerConfig::Heun, 2.0), (SamplerConfig::DpmSolver2M, 2.0)]
        {
            let error = |steps: usize| {
                let end = ends(&sampler, grid, steps);
                let squares: f64 = end.iter().zip(&reference).map(|(x, exact)| (x - exact).powi(2)).sum();
                (squares / end.len() as f64).sqrt()
            };
            // N steps of a grid cross the range in N - 1; the last one leads from sigma_min to 0.
            let (coarse, fine) = (error(101), error(401));
            let slope = (coarse / fine).ln() / 4f64.ln();
            assert!((slope - order).abs() < 0.15, "{sampler:?} on {grid:?}: order {slope}, error {fine}");
        }
    }
}

/// Mean and variance of samples against the truth, within five standard errors.
fn assert_moments(name: &str, samples: Tensor<2>, (mean, variance): (f64, f64)) {
    let x: Vec<f64> = to_points(samples).into_iter().collect();
    let n = x.len() as f64;
    let sample_mean = x.iter().sum::<f64>() / n;
    let squares: Vec<f64> = x.iter().map(|x| (x - mean).powi(2)).collect();
    let sample_variance = squares.iter().sum::<f64>() / n;
    let fourth = squares.iter().map(|s| (s - sample_variance).powi(2)).sum::<f64>() / n;
    let (mean_error, variance_error) = ((variance / n).sqrt(), (fourth / n).sqrt());
    assert!(mean_error < 0.02 * variance.sqrt() && variance_error < 0.03 * variance, "too noisy to decide");
    assert!((sample_mean - mean).abs() < 5.0 * mean_error, "{name}: mean {sample_mean} against {mean} ± {mean_error}");
    assert!(
        (sample_variance - variance).abs() < 5.0 * variance_error,
        "{name}: variance {sample_variance} against {variance} ± {variance_error}"
    );
}

#[test]
fn samples_have_the_moments_of_the_law() {
    let chain = |beta| SamplerConfig::TransportChain { beta, eta: None, horizon: None };
    let stochastic = |beta| SamplerConfig::LangevinChain { beta, eta: None, horizon: None };
    for (sampler, steps) in [
        (SamplerConfig::Euler, 300),
        (SamplerConfig::Heun, 40),
        (SamplerConfig::DpmSolver2M, 60),
        (SamplerConfig::EulerMaruyama, 400),
        (SamplerConfig::Ancestral, 400),
        (SamplerConfig::Churn { s_churn: 40.0, s_min: 0.05, s_max: 50.0, s_noise: 1.0 }, 100),
        (chain(1.0), 400),
        (chain(2.0), 400),
        (stochastic(1.0), 400),
        (stochastic(2.0), 400),
    ] {
        let law = two_modes();
        let levels = GridConfig::default().levels(0.01, 40.0, steps).unwrap();
        let samples = sample(&law, &sampler, &levels, 7, 0..4096, DType::F64, &Device::flex(), &|| true).unwrap();
        assert_moments(&format!("{sampler:?}"), samples, (law.mean()[0], law.covariance()[[0, 0]]));
    }
}

#[test]
fn the_transport_chain_reproduces_the_reference_numbers() {
    // K = 100 steps of η = .01 at β = 1 from quantiles of the exact law at time 1, by an independent implementation.
    let chain = SamplerConfig::TransportChain { beta: 1.0, eta: Some(0.01), horizon: None };
    let levels = GridConfig::default().levels(0.1, 10.0, 100).unwrap();
    let start = [-2.9091511310433753, -1.4675819425133039, 0.5408942955494166, 1.4381564735291226, 3.3666782942619915];
    let exact = [-5.266648483965209, -2.98811738138895, 1.9646358147614524, 3.2180425270348483, 5.820267059050895];
    let law = four_modes();
    let end = sample_from(&law, &chain, &levels, column(&start), 0, 0, &mut |_| true).unwrap();
    for (x, exact) in to_points(end).into_iter().zip(exact) {
        assert!((x - exact).abs() < 1e-9, "{x} against {exact}");
    }
    let points = mixture(&[(0.5, -1.0, 0.0), (0.5, 1.0, 0.0)]);
    let start = [-2.16320922829507, -1.1916808333169373, 0.6271901413782217, 1.5295057909097456];
    let exact = [-1.1514249584208283, -1.05786148200229, 0.9926069812547151, 1.0918022892032564];
    let end = sample_from(&points, &chain, &levels, column(&start), 0, 0, &mut |_| true).unwrap();
    for (x, exact) in to_points(end).into_iter().zip(exact) {
        assert!((x - exact).abs() < 1e-9, "{x} against {exact}");
    }
}

#[test]
fn the_langevin_chain_has_the_reference_moments() {
    // K = 100 steps of η = .01 at β = 1 from N(0, 1 - e^{-2}): mean and variance by quadrature on a grid.
    let chain = SamplerConfig::LangevinChain { beta: 1.0, eta: Some(0.01), horizon: None };
    let levels = GridConfig::default().levels(0.1, 10.0, 100).unwrap();
    let start =
        Normals { stream: Stream::new(1, Purpose::Reference), first: 0, rows: 0..20_000, count: 20_000, dim: 1 };
    let start = start.draw(0, DType::F64, &Device::flex()) * (-(-2.0f64).exp_m1()).sqrt();
    let end = sample_from(&four_modes(), &chain, &levels, start, 1, 0, &mut |_| true).unwrap();
    assert_moments("langevin chain from the wrong start", end, (0.625262443893698, 7.0291571788051845));
}

#[test]
fn a_sample_does_not_depend_on_the_others() {
    let network = crate::score_network::tests::network(Preconditioning::Edm, 3, Activation::Silu).cast(DType::F32);
    let levels = GridConfig::default().levels(0.1, 10.0, 4).unwrap();
    for sampler in [
        SamplerConfig::Heun,
        SamplerConfig::DpmSolver2M,
        SamplerConfig::EulerMaruyama,
        SamplerConfig::Ancestral,
        SamplerConfig::Churn { s_churn: 40.0, s_min: 0.05, s_max: 50.0, s_noise: 1.0 },
        SamplerConfig::LangevinChain { beta: 1.0, eta: None, horizon: None },
    ] {
        let draw = |indices| {
            let samples = sample(&network, &sampler, &levels, 7, indices, DType::F32, &Device::flex(), &|| true);
            samples.unwrap()
        };
        let whole = draw(0..600).into_data();
        let parts = Tensor::cat(vec![draw(0..1), draw(1..255), draw(255..300), draw(300..600)], 0).into_data();
        assert_eq!(whole, parts, "{sampler:?}");
        assert_eq!(draw(5..5).dims(), [0, 3]);
    }
}

#[test]
fn sampling_stops_when_told() {
    let levels = GridConfig::default().levels(0.1, 10.0, 20).unwrap();
    let steps = AtomicU32::new(0);
    let keep_going = || steps.fetch_add(1, Ordering::Relaxed) + 1 < 7;
    let end = sample(&two_modes(), &SamplerConfig::Heun, &levels, 0, 0..10, DType::F64, &Device::flex(), &keep_going);
    assert_eq!(end.unwrap_err(), SamplerError::Interrupted);
    assert_eq!(steps.into_inner(), 7);
}

#[test]
fn the_observer_sees_every_step() {
    let levels = GridConfig::default().levels(0.1, 10.0, 5).unwrap();
    let mut seen = Vec::new();
    let mut observer = |progress: &Progress| {
        assert_eq!((progress.steps, progress.points.dims()), (5, [1, 1]));
        seen.push((progress.step, progress.sigma));
        true
    };
    sample_from(&two_modes(), &SamplerConfig::Heun, &levels, column(&[3.0]), 0, 0, &mut observer).unwrap();
    assert_eq!(seen, (1..=5).zip(levels[1..].iter().copied()).collect::<Vec<_>>());
}

#[test]
fn what_is_not_finite_is_an_error() {
    let levels = GridConfig::default().levels(0.1, 10.0, 5).unwrap();
    let start = column(&[3.0, f64::INFINITY]);
    let end = sample_from(&two_modes(), &SamplerConfig::Heun, &levels, start, 0, 40, &mut |_| true);
    assert!(matches!(end, Err(SamplerError::NotFinite { index: 41, .. })), "{end:?}");
}

#[test]
fn the_steps_of_the_reverse_sde_have_their_own_variances_on_a_gaussian() {
    // Of N(0, v) everything is linear: a step from σ to σ' multiplies by 1 - (1 - ρ)(1 - C), ρ = (σ'/σ)², C = v/(v + σ²), and adds
    // noise of variance σ²(1 - ρ), or ρ times that.
    let (v, levels) = (0.25, [2.0, 0.9, 0.3, 0.0]);
    for (sampler, share) in [(SamplerConfig::EulerMaruyama, 0), (SamplerConfig::Ancestral, 1)] {
        let mut variance: f64 = levels[0] * levels[0];
        for pair in levels.windows(2) {
            let rho = (pair[1] / pair[0]).powi(2);
            let kept = 1.0 - (1.0 - rho) * (1.0 - v / (v + pair[0] * pair[0]));
            let noise = pair[0] * pair[0] * (1.0 - rho) * rho.powi(share);
            variance = kept * kept * variance + if pair[1] > 0.0 { noise } else { 0.0 };
        }
        let law = mixture(&[(1.0, 0.0, v)]);
        let samples = sample(&law, &sampler, &levels, 3, 0..20_000, DType::F64, &Device::flex(), &|| true).unwrap();
        assert_moments(sampler.name(), samples, (0.0, variance));
    }
}

#[test]
fn a_sampler_may_be_given_by_its_name_alone() {
    let churn = SamplerConfig::Churn { s_churn: 40.0, s_min: 0.05, s_max: 50.0, s_noise: 1.0 };
    for (text, sampler) in [
        (r#""heun""#, SamplerConfig::Heun),
        (r#""dpm_solver_2m""#, SamplerConfig::DpmSolver2M),
        (r#""churn""#, churn),
        (r#"{"churn": {}}"#, churn),
        (r#""transport_chain""#, SamplerConfig::TransportChain { beta: 1.0, eta: None, horizon: None }),
        (
            r#"{"langevin_chain": {"beta": 4.0, "eta": 0.01}}"#,
            SamplerConfig::LangevinChain { beta: 4.0, eta: Some(0.01), horizon: None },
        ),
    ] {
        let read: SamplerConfig = serde_json::from_str(text).unwrap();
        assert_eq!(read, sampler);
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<SamplerConfig>(&written).unwrap(), sampler);
        assert!(written.contains(sampler.name()));
    }
    assert_eq!(serde_json::to_string(&SamplerConfig::Euler).unwrap(), r#""euler""#);
    for (text, fragment) in [
        (r#""huen""#, "unknown variant `huen`, expected one of `euler`, `heun`"),
        (r#"{"churn": {"s_chrun": 1}}"#, "unknown field `s_chrun`"),
        (r#"{"heun": 1}"#, "expected unit"),
        ("3", "a name, or a name with its parameters"),
    ] {
        let error = serde_json::from_str::<SamplerConfig>(text).unwrap_err().to_string();
        assert!(error.contains(fragment), "{text}: {error}");
    }
}

#[test]
fn the_schema_knows_the_bare_names() {
    let schema = schemars::schema_for!(SamplerConfig).to_value().to_string();
    for name in ["euler", "heun", "dpm_solver_2m", "churn", "transport_chain", "langevin_chain"] {
        assert!(schema.contains(&format!(r#""const":"{name}""#)), "{name} in {schema}");
    }
    assert!(schema.contains("s_noise"));
}

#[test]
fn parameters_out_of_range_are_refused() {
    let both = SamplerConfig::TransportChain { beta: 1.0, eta: Some(0.1), horizon: Some(1.0) };
    assert_eq!(
        both.validate().unwrap_err().to_string(),
        "sampler.transport_chain has both eta (0.1) and horizon (1); give one: the number of steps links them"
    );
    let negative = SamplerConfig::LangevinChain { beta: -1.0, eta: None, horizon: None };
    assert_eq!(
        negative.validate().unwrap_err().to_string(),
        "sampler.langevin_chain.beta is -1; it must be positive and finite"
    );
    for levels in [vec![], vec![1.0], vec![0.0, 0.0], vec![1.0, 2.0, 0.0], vec![1.0, 0.5], vec![f64::NAN, 0.0]] {
        assert!(matches!(check_levels(&levels), Err(SamplerError::Levels { .. })), "{levels:?}");
    }
    assert!(check_levels(&[1.0, 0.0]).is_ok());
}
