use brenier_measure::{Empirical, Gaussian, GaussianMixture, TargetConfig};
use serde_json::Value;

use super::*;

/// Numbers of an independent implementation. Where the backward map of two points jumps, and for the W₂ of the stochastic chain
/// from δ₀, they come from trapezoidal sums in log x and in x that were refined until they stood still.
fn fixture() -> Value {
    serde_json::from_str(include_str!("../../tests/chain.json")).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

#[track_caller]
fn close(found: f64, exact: f64, tolerance: f64) {
    assert!((found - exact).abs() <= tolerance, "{found} against {exact}: {:e}", found - exact);
}

fn mixture(weights: &[f64], means: &[f64], variances: &[f64]) -> GaussianMixture {
    let column = |values: &[f64]| values.iter().map(|&value| vec![value]).collect();
    GaussianMixture::new(weights.to_vec(), column(means), variances.iter().map(|&v| vec![vec![v]]).collect()).unwrap()
}

fn four_components() -> GaussianMixture {
    mixture(&[0.1, 0.2, 0.4, 0.3], &[-4.0, -2.0, 2.0, 4.0], &[1.0, 0.5, 0.5, 1.0])
}

fn two_points() -> GaussianMixture {
    mixture(&[0.5, 0.5], &[-1.0, 1.0], &[0.0, 0.0])
}

fn target<'a>(law: &'a GaussianMixture, line: Option<&'a Line>, device: &'a Device) -> Target<'a> {
    Target { sampler: law, denoiser: law, line, dtype: DType::F64, device }
}

const PAPER: Chain = Chain { steps: 100, eta: 0.01, beta: 1.0, forward: Forward::Exact, scheme: Scheme::Ode };

const SETTINGS: Settings = Settings { particles: 2000, seed: 1 };

fn run(chain: &Chain, target: &Target, start: Start) -> Outcome {
    chain.run(target, start, &SETTINGS, &mut |_| true).unwrap()
}

#[test]
fn transport_chains_on_the_line_agree_with_the_reference() {
    let device = Device::flex();
    for (name, law) in [("four_components", four_components()), ("two_points", two_points())] {
        let file = &fixture()["ode"][name];
        let line = Line::of_mixture(&law).unwrap();
        let target = target(&law, Some(&line), &device);
        for (start, key) in [(Start::Target, "from_muT"), (Start::Point(&[0.0]), "from_nuT")] {
            let outcome = run(&PAPER, &target, start);
            let expected = &file[key];
            assert_eq!(outcome.method, Method::Quadrature);
            close(outcome.backward.mean[0], number(&expected["mean"]), 1e-8);
            close(outcome.backward.variance[0], number(&expected["variance"]), 1e-8);
            close(outcome.backward.w2.value, number(&expected["w2_to_target"]), 1e-7);
            let starts = numbers(&expected["start_quantiles"]);
            let starts = Points::from_shape_vec((starts.len(), 1), starts).unwrap();
            let ends = PAPER.backward(&target, &starts, 0, &mut |_, _, _| true).unwrap();
            for (found, exact) in ends.iter().zip(numbers(&expected["final_quantiles"])) {
                close(*found, exact, 1e-9);
            }
            let Some(expansion) = outcome.expansion else {
                assert_eq!(key, "from_muT");
                continue;
            };
            close(expansion.w2_start, number(&file["w2_start"]), 1e-7);
            close(expansion.w2_forward, number(&file["w2_forward"]), 1e-7);
            close(expansion.w2_backward, number(&file["w2_backward"]), 1e-7);
            close(expansion.log_backward_factor, number(&file["log_backward_actual"]), 1e-4);
            let ratio = (expansion.w2_to_target / expansion.w2_start).powi(2);
            close(ratio, number(&file["ratio_to_target"]), 1e-7);
            // What is measured keeps the bounds.
            assert!(expansion.log_backward_factor <= number(&file["log_backward_bound"]));
            assert!(expansion.log_factor <= number(&file["log_chain_bound"]));
        }
    }
}

#[test]
fn stochastic_chains_on_the_line_agree_with_the_reference() {
    let device = Device::flex();
    let (law, file) = (four_components(), &fixture()["sde"]);
    let line = Line::of_mixture(&law).unwrap();
    let chain = Chain { scheme: Scheme::Sde, ..PAPER };
    for (start, key) in [(Start::Target, "from_muT"), (Start::Point(&[0.0]), "from_nuT")] {
        let outcome = run(&chain, &target(&law, Some(&line), &device), start);
        assert_eq!(outcome.method, Method::Quadrature);
        close(outcome.backward.mean[0], number(&file[key]["mean"]), 1e-8);
        close(outcome.backward.variance[0], number(&file[key]["variance"]), 1e-7);
        close(outcome.backward.w2.value, number(&file[key]["w2_to_target"]), 1e-7);
    }
}

#[test]
fn particles_agree_with_quadrature() {
    let device = Device::flex();
    let law = four_components();
    let line = Line::of_mixture(&law).unwrap();
    for scheme in [Scheme::Ode, Scheme::Sde] {
        let chain = Chain { scheme, steps: 40, eta: 0.02, beta: 2.0, forward: Forward::Euler };
        let start = Start::Point(&[0.5]);
        let exact = run(&chain, &target(&law, Some(&line), &device), start);
        let found = run(&chain, &target(&law, None, &device), start);
        assert_eq!((exact.method, found.method), (Method::Quadrature, Method::MonteCarlo));
        for (found, exact) in [(&found.forward, &exact.forward), (&found.backward, &exact.backward)] {
            let errors = [found.mean_std_error[0], found.variance_std_error[0]];
            assert!(errors[0] < 0.06 && errors[1] < 0.2, "too noisy to decide: {errors:?}");
            close(found.mean[0], exact.mean[0], 5.0 * errors[0]);
            close(found.variance[0], exact.variance[0], 5.0 * errors[1]);
            assert!(found.w2.std_error < 0.06, "too noisy to decide: {:?}", found.w2);
            close(found.w2.value, exact.w2.value, 5.0 * found.w2.std_error + found.w2.floor);
        }
        let (found, exact) = (found.expansion.unwrap(), exact.expansion.unwrap());
        close(found.w2_start, exact.w2_start, 0.15);
        assert!(found.w2_backward_std_error > 0.0 && found.w2_backward_std_error < 0.1, "{found:?}");
        assert_eq!(exact.w2_backward_std_error, 0.0);
        close(found.w2_forward, exact.w2_forward, 0.15);
        close(found.w2_backward, exact.w2_backward, 0.25);
    }
}

#[test]
fn one_step_there_and_back_misses_by_the_square_of_the_step() {
    // W₂² = O(η⁴): a step back is the optimal map up to O(η²).
    let device = Device::flex();
    let law = four_components();
    let line = Line::of_mixture(&law).unwrap();
    let mut last = None;
    for row in fixture()["eta4"].as_array().unwrap() {
        let eta = number(&row["eta"]);
        let outcome = run(&Chain { steps: 1, eta, ..PAPER }, &target(&law, Some(&line), &device), Start::Target);
        let w2_squared = outcome.backward.w2.value.powi(2);
        assert!((w2_squared / number(&row["w2_squared"]) - 1.0).abs() < 1e-6, "{row}: {w2_squared:e}");
        if let Some((last_eta, last_value)) = last.replace((eta, w2_squared)) {
            let order = f64::ln(w2_squared / last_value) / f64::ln(eta / last_eta);
            assert!((order - 4.0).abs() < 0.15, "order {order} at {eta}");
        }
    }
}

#[test]
fn a_step_expands_gaussians_by_their_closed_form() {
    let device = Device::flex();
    for row in fixture()["gaussian_ratio"].as_array().unwrap() {
        let (variance, eta) = (number(&row["variance"]), number(&row["eta"]));
        let law = mixture(&[1.0], &[0.0], &[variance]);
        let target = target(&law, None, &device);
        let mut product = 1.0;
        let chain = Chain { eta, ..PAPER };
        let mut before = 1.0;
        let mut ratios = Vec::new();
        let start = ndarray::array![[before]];
        chain
            .backward(&target, &start, 0, &mut |_, _, points| {
                ratios.push(points[[0, 0]] / before);
                before = points[[0, 0]];
                true
            })
            .unwrap();
        // The first step back is that of k = K.
        ratios.reverse();
        for (k, ratio) in (1..).zip(&ratios) {
            let closed = 1.0 + eta * (variance - 1.0) / (libm::exp(2.0 * f64::from(k) * eta) + variance - 1.0);
            close(*ratio, closed, 1e-12);
            product *= ratio;
        }
        for step in row["steps"].as_array().unwrap() {
            close(ratios[number(&step[0]) as usize - 1], number(&step[1]), 1e-12);
        }
        close(product, number(&row["product_100"]), 1e-12);
        assert_eq!(variance > 1.0, product > 1.0, "an expansion iff σ² > 1");
    }
}

#[test]
fn a_forward_chain_has_the_moments_of_its_marginal() {
    let start = Points::from_elem((4000, 2), 1.5);
    for forward in [Forward::Exact, Forward::Euler] {
        let chain = Chain { steps: 7, eta: 0.1, beta: 3.0, forward, ..PAPER };
        let end = chain.forward(start.clone(), 3, &mut |_, _| true).unwrap();
        let (alpha, s) = chain.marginal(7);
        let (mean, variance) = (end.mean().unwrap(), end.var(1.0));
        let n = end.len() as f64;
        close(mean, 1.5 * alpha, 5.0 * s / n.sqrt());
        close(variance, s * s, 5.0 * s * s * (2.0 / n).sqrt());
    }
    // Euler's variance by its own recursion.
    let chain = Chain { steps: 7, eta: 0.1, beta: 3.0, forward: Forward::Euler, ..PAPER };
    let variance = (0..7).fold(0.0, |v, _| 0.81 * v + 0.2 / 3.0);
    let (alpha, s) = chain.marginal(7);
    close(alpha, 0.9f64.powi(7), 1e-15);
    close(s * s, variance, 1e-15);
    let whole = Chain { eta: 1.0, ..chain };
    assert_eq!(whole.marginal(2), (0.0, (2.0f64 / 3.0).sqrt()), "a whole step forgets the start");
}

#[test]
fn coordinates_of_a_product_do_not_know_of_each_other() {
    // N(m, diag): each coordinate of the chain is that of the line.
    let device = Device::flex();
    let law = Gaussian::new(vec![1.0, -2.0], vec![vec![0.25, 0.0], vec![0.0, 4.0]]).unwrap();
    let plane = Target { sampler: &law, denoiser: &law, line: None, dtype: DType::F64, device: &device };
    for scheme in [Scheme::Ode, Scheme::Sde] {
        let chain = Chain { steps: 30, eta: 0.03, scheme, ..PAPER };
        let found = run(&chain, &plane, Start::Point(&[0.0, 0.0]));
        for (j, (mean, variance)) in [(1.0, 0.25), (-2.0, 4.0)].into_iter().enumerate() {
            let law = mixture(&[1.0], &[mean], &[variance]);
            let line = Line::of_mixture(&law).unwrap();
            let exact = run(&chain, &target(&law, Some(&line), &device), Start::Point(&[0.0]));
            let end = &found.backward;
            assert!(end.mean_std_error[j] < 0.05 && end.variance_std_error[j] < 0.15, "too noisy: {end:?}");
            close(end.mean[j], exact.backward.mean[0], 5.0 * end.mean_std_error[j]);
            close(end.variance[j], exact.backward.variance[0], 5.0 * end.variance_std_error[j]);
        }
        let covariance = found.backward.covariance.as_ref().unwrap();
        assert!(covariance[0][1].abs() < 0.1 && covariance[0][1] == covariance[1][0], "{covariance:?}");
    }
}

#[test]
fn from_the_target_a_fine_chain_ends_near_the_floor() {
    let device = Device::flex();
    let points = ndarray::array![[0.0, 0.0], [1.0, 1.0], [1.0, -1.0], [1.0, -1.0]];
    let law = Empirical::new(points).unwrap();
    let target = Target { sampler: &law, denoiser: &law, line: None, dtype: DType::F64, device: &device };
    let outcome = run(&PAPER, &target, Start::Target);
    assert!(outcome.backward.w2.value < outcome.backward.w2.floor + 0.15, "{:?}", outcome.backward.w2);
    close(outcome.backward.mean[0], 0.75, 0.05);
    close(outcome.backward.variance[1], 0.6875, 0.05);
}

#[test]
fn a_point_mass_stays_one_and_every_number_is_finite() {
    let device = Device::flex();
    let law = mixture(&[1.0], &[2.0], &[0.0]);
    let line = Line::of_mixture(&law).unwrap();
    for (scheme, last) in [(Scheme::Ode, 0.0), (Scheme::Sde, 0.02)] {
        let chain = Chain { scheme, ..PAPER };
        let exact = run(&chain, &target(&law, Some(&line), &device), Start::Point(&[-1.0]));
        let found = run(&chain, &target(&law, None, &device), Start::Point(&[-1.0]));
        for outcome in [exact, found] {
            close(outcome.backward.mean[0], 2.0, 0.2);
            // The last stochastic step leaves its noise 2η/β behind.
            close(outcome.backward.variance[0], last, 0.01);
            assert!(outcome.forward.w2.value.is_finite() && outcome.backward.w2.value.is_finite());
            close(outcome.expansion.unwrap().w2_start, 3.0, 1e-10);
        }
    }
}

#[test]
fn fans_are_the_paths_of_the_first_particles() {
    let device = Device::flex();
    let law = four_components();
    let target = target(&law, None, &device);
    let settings = Settings { particles: 5, seed: 1 };
    let chain = Chain { steps: 10, ..PAPER };
    let fans = fans(&chain, &target, Start::Point(&[0.0]), &settings, &|| true).unwrap();
    assert_eq!(fans.forward.times.len(), 11);
    assert_eq!((fans.forward.times[10], fans.ode.times[0], *fans.ode.times.last().unwrap()), (0.1, 0.1, 0.0));
    assert!(fans.forward.points[0].iter().all(|&x| x == 0.0));
    assert_eq!(fans.forward.points[10], fans.ode.points[0]);
    let end = chain.forward(Points::zeros((5, 1)), 1, &mut |_, _| true).unwrap();
    let back = chain.backward(&target, &end, 1, &mut |_, _, _| true).unwrap();
    assert_eq!((&fans.forward.points[10], &fans.ode.points[10]), (&end, &back));
    assert_ne!(fans.sde.points[10], back);
    let first = fans.ode.coordinate(0);
    assert_eq!((first.len(), first[2].len(), first[2][10]), (5, 11, back[[2, 0]]));
}

#[test]
fn tiles_do_not_show() {
    let device = Device::flex();
    let law = four_components();
    let target = target(&law, None, &device);
    let chain = Chain { steps: 3, scheme: Scheme::Sde, ..PAPER };
    let start = Points::from_shape_fn((TILE + 7, 1), |(i, _)| (i as f64 * 0.01).sin());
    let all = chain.backward(&target, &start, 5, &mut |_, _, _| true).unwrap();
    let few = chain.backward(&target, &start.slice(s![..9, ..]).to_owned(), 5, &mut |_, _, _| true).unwrap();
    for (all, few) in all.iter().zip(&few) {
        close(*all, *few, 1e-13);
    }
    assert!(all.iter().zip(&start).skip(TILE).all(|(end, start)| end != start));
}

#[test]
fn what_cannot_be_run_is_refused() {
    let device = Device::flex();
    let law = four_components();
    let target = target(&law, None, &device);
    let refused = |chain: Chain, start: Start, settings: Settings| {
        chain.run(&target, start, &settings, &mut |_| true).unwrap_err().to_string()
    };
    let eta = |eta| refused(Chain { eta, ..PAPER }, Start::Target, SETTINGS);
    let expected = "it must be above 0 and at most 1: a step of the chain is a small step in time";
    assert_eq!(eta(0.0), format!("the step size eta is 0; {expected}"));
    assert_eq!(eta(f64::NAN), format!("the step size eta is NaN; {expected}"));
    assert_eq!(eta(1.5), format!("the step size eta is 1.5; {expected}"));
    assert_eq!(
        refused(Chain { steps: 1000, eta: 0.5, ..PAPER }, Start::Target, SETTINGS),
        "1000 steps of size 0.5 go to time 500, where the signal is e^-500; lower the steps or the size so that their \
         product is at most 300"
    );
    assert_eq!(
        refused(Chain { steps: 0, ..PAPER }, Start::Target, SETTINGS),
        "the number of steps is 0; it must be at least 1"
    );
    assert_eq!(
        refused(PAPER, Start::Point(&[0.0, 1.0]), SETTINGS),
        "the start has dimension 2, the target 1; both must live in one space"
    );
    assert_eq!(
        refused(Chain { beta: 1e-300, ..PAPER }, Start::Target, SETTINGS),
        format!("the inverse temperature beta is {}; it must be from 1e-100 to 1e100", 1e-300)
    );
    assert!(
        refused(PAPER, Start::Point(&[1e300]), SETTINGS).ends_with("; it must be from -1e100 to 1e100"),
        "its square is no number"
    );
    assert!(refused(PAPER, Start::Point(&[f64::INFINITY]), SETTINGS).starts_with("the start: row 0, column 0 is inf"));
    assert!(refused(PAPER, Start::Target, Settings { particles: 1, seed: 0 }).contains("1 particles; at least 2"));
    let stopped = PAPER.run(&target, Start::Target, &SETTINGS, &mut |_| false).unwrap_err();
    assert!(matches!(stopped, EvalError::Interrupted));
}

#[test]
fn a_box_is_a_line_too() {
    let device = Device::flex();
    let config = TargetConfig::UniformBox { low: vec![-1.0], high: vec![1.0] };
    let (line, law) = (Line::of(&config).unwrap(), config.build_exact().unwrap().unwrap());
    let denoiser = law.denoiser.unwrap();
    let exact = Target {
        sampler: law.sampler.as_deref().unwrap(),
        denoiser: denoiser.as_ref(),
        line: Some(&line),
        dtype: DType::F64,
        device: &device,
    };
    for scheme in [Scheme::Ode, Scheme::Sde] {
        let chain = Chain { scheme, ..PAPER };
        let outcome = run(&chain, &exact, Start::Target);
        let found = run(&chain, &Target { line: None, ..exact }, Start::Target);
        assert_eq!(outcome.method, Method::Quadrature);
        close(outcome.backward.mean[0], 0.0, 1e-9);
        close(found.backward.variance[0], outcome.backward.variance[0], 5.0 * found.backward.variance_std_error[0]);
        assert!(outcome.backward.w2.value < 0.05, "{:?}", outcome.backward.w2);
        // Shifts of the uniform law: strongly log-concave at every time, so the start is forgotten.
        let expansion = run(&chain, &exact, Start::Point(&[0.3])).expansion.unwrap();
        assert!(expansion.log_factor < 0.0 && expansion.log_backward_factor < 2.0, "{expansion:?}");
    }
}

#[test]
fn between_normals_the_closed_forms_are_those_of_quadrature() {
    let device = Device::flex();
    let law = mixture(&[1.0], &[1.0], &[4.0]);
    // The same law in two halves, which nobody takes for a normal.
    let halves = mixture(&[0.5, 0.5], &[1.0, 1.0], &[4.0, 4.0]);
    let (line, split) = (Line::of_mixture(&law).unwrap(), Line::of_mixture(&halves).unwrap());
    for (scheme, forward) in [(Scheme::Ode, Forward::Exact), (Scheme::Sde, Forward::Euler)] {
        let chain = Chain { scheme, forward, steps: 40, beta: 2.0, ..PAPER };
        for start in [Start::Target, Start::Point(&[-3.0])] {
            let closed = run(&chain, &target(&law, Some(&line), &device), start);
            let summed = run(&chain, &target(&law, Some(&split), &device), start);
            for (closed, summed) in [(&closed.forward, &summed.forward), (&closed.backward, &summed.backward)] {
                close(closed.mean[0], summed.mean[0], 1e-8);
                close(closed.variance[0], summed.variance[0], 1e-7);
                close(closed.w2.value, summed.w2.value, 1e-7);
            }
            assert_eq!(closed.expansion.is_some(), summed.expansion.is_some());
            if let (Some(closed), Some(summed)) = (closed.expansion, summed.expansion) {
                close(closed.w2_start, summed.w2_start, 1e-9);
                close(closed.w2_forward, summed.w2_forward, 1e-9);
                close(closed.w2_backward, summed.w2_backward, 1e-7);
            }
        }
    }
}

#[test]
fn a_start_far_away_keeps_its_variance() {
    let device = Device::flex();
    let law = mixture(&[1.0], &[1.0], &[4.0]);
    let halves = mixture(&[0.5, 0.5], &[1.0, 1.0], &[4.0, 4.0]);
    let (line, split) = (Line::of_mixture(&law).unwrap(), Line::of_mixture(&halves).unwrap());
    let variance =
        |line: &Line, x: f64| run(&PAPER, &target(&law, Some(line), &device), Start::Point(&[x])).backward.variance[0];
    let near = variance(&line, 0.0);
    close(variance(&line, 1e99), near, 1e-12);
    close(variance(&split, 0.0), near, 1e-9);
    close(variance(&split, 1e8), near, 1e-6);
    close(variance(&split, 1e10), near, 1e-4);
}

#[test]
fn rounding_is_not_refined() {
    let device = Device::flex();
    let (law, point) = (four_components(), mixture(&[0.5, 0.5], &[0.0, 0.0], &[0.0, 0.0]));
    for (law, beta) in [(&point, 1.0), (&law, 1e-10), (&law, 1e-100), (&law, 1e100)] {
        let line = Line::of_mixture(law).unwrap();
        let mut calls = 0;
        let chain = Chain { steps: 20, beta, ..PAPER };
        let outcome = chain.run(&target(law, Some(&line), &device), Start::Target, &SETTINGS, &mut |_| {
            calls += 1;
            true
        });
        assert!(outcome.unwrap().backward.mean[0].is_finite());
        assert!(calls < 20_000, "{calls} tiles and steps for {beta}");
    }
}

#[test]
fn transport_chains_agree_with_the_reference_on_their_way() {
    let device = Device::flex();
    let law = four_components();
    let line = Line::of_mixture(&law).unwrap();
    let target = target(&law, Some(&line), &device);
    // (steps that are left, mean, variance, W₂ to the marginal) from the target, then from δ₀.
    let rows = [
        [
            (75, 0.566_202_068_096_916, 2.570_455_086_730_134, 0.001_803_484_154_318),
            (5, 1.137_545_520_510_322, 7.335_105_706_776_674, 0.012_007_720_871_736),
        ],
        [
            (75, 0.072_448_664_271_583, 1.216_941_904_326_272, 0.711_223_989_663_640),
            (5, 0.367_796_133_688_669, 4.372_129_757_458_396, 1.094_867_639_874_388),
        ],
    ];
    let (alpha, s) = PAPER.marginal(100);
    for (start, rows) in [line.clone(), Line::point(0.0)].iter().zip(rows) {
        let forward = start.noised(alpha, s);
        for (left, mean, variance, w2) in rows {
            let (alpha, s) = PAPER.marginal(left);
            let marginal = line.noised(alpha, s);
            let integrands = |zs: &[f64]| {
                let x = Points::from_shape_fn((zs.len(), 1), |(i, _)| forward.quantile(zs[i]));
                let mut then = x.clone();
                PAPER.backward(&target, &x, 0, &mut |first, step, tile| {
                    if step == PAPER.steps - left {
                        then.slice_mut(s![first..first + tile.nrows(), ..]).assign(tile);
                    }
                    true
                })?;
                let row = |(&z, &x): (&f64, &f64)| [x, x * x, (x - marginal.quantile(z)).powi(2)];
                Ok(zs.iter().zip(&then).map(row).collect())
            };
            let [first, second, between] = line::integrate(integrands, [1.0; 3]).unwrap();
            close(first, mean, 1e-8);
            close(second - first * first, variance, 1e-8);
            close(between.sqrt(), w2, 1e-7);
        }
    }
}
