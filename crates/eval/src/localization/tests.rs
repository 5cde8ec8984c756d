//! The reference numbers (an independent implementation in NumPy and mpmath), closed forms, and draws against quadrature.

use std::f64::consts::TAU;

use brenier_measure::{Empirical, GaussianMixture, Points, Posterior, PosteriorCovariance, Sample, UniformBox, Words};
use ndarray::array;
use serde::Deserialize;

use super::*;

/// A mixture on the line, with the closed-form posterior written out once more.
struct Mixture {
    weights: Vec<f64>,
    means: Vec<f64>,
    variances: Vec<f64>,
}

impl Mixture {
    fn new(weights: &[f64], means: &[f64], variances: &[f64]) -> Self {
        Self { weights: weights.to_vec(), means: means.to_vec(), variances: variances.to_vec() }
    }
}

impl Sample for Mixture {
    fn dim(&self) -> usize {
        1
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        let sums: Vec<f64> = self
            .weights
            .iter()
            .scan(0.0, |sum, w| {
                *sum += w;
                Some(*sum)
            })
            .collect();
        let i = words.category(&sums);
        point[0] = self.means[i] + self.variances[i].sqrt() * words.normal();
    }
}

impl PosteriorCovariance for Mixture {
    fn dim(&self) -> usize {
        1
    }

    fn posterior(&self, snr: f64, y: &Points) -> Vec<Posterior> {
        let at = |&y: &f64| {
            let parts: Vec<(f64, f64, f64)> = (0..self.weights.len())
                .map(|i| {
                    let signal = snr * snr * self.variances[i];
                    let off = y - snr * self.means[i];
                    let log = self.weights[i].ln() - 0.5 * (off * off / (signal + 1.0) + (TAU * (signal + 1.0)).ln());
                    (log, snr * self.means[i] + signal / (signal + 1.0) * off, signal / (signal + 1.0))
                })
                .collect();
            let most = parts.iter().fold(f64::NEG_INFINITY, |most: f64, part| most.max(part.0));
            let total: f64 = parts.iter().map(|part| (part.0 - most).exp()).sum();
            let weigh = |f: &dyn Fn(&(f64, f64, f64)) -> f64| -> f64 {
                parts.iter().map(|part| (part.0 - most).exp() / total * f(part)).sum()
            };
            let mean = weigh(&|part| part.1);
            let variance = weigh(&|part| part.2 + (part.1 - mean).powi(2));
            Posterior { log_density: most + total.ln(), mean: vec![mean], covariance: array![[variance]] }
        };
        y.iter().map(at).collect()
    }
}

/// The uniform law on [-1, 1].
struct Uniform;

impl Sample for Uniform {
    fn dim(&self) -> usize {
        1
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        point[0] = 2.0 * words.uniform() - 1.0;
    }
}

impl PosteriorCovariance for Uniform {
    fn dim(&self) -> usize {
        1
    }

    fn posterior(&self, snr: f64, y: &Points) -> Vec<Posterior> {
        // N(y, 1) truncated to [-r, r], by Gauss's rule scaled by the largest integrand: exact enough for |y| < 1e3 and r < 10.
        let rule = brenier_measure::quadrature::gauss_legendre(200);
        let at = |&y: &f64| {
            let nearest = y.clamp(-snr, snr);
            // Beyond 40/(1 + distance) of the nearest point nothing is left.
            let reach = 40.0 / (1.0 + (y - nearest).abs());
            let (low, high) = ((nearest - reach).max(-snr), (nearest + reach).min(snr));
            let half = 0.5 * (high - low);
            let (mut mass, mut mean, mut square) = (0.0, 0.0, 0.0);
            for &(x, w) in &rule {
                let x = half * x + f64::midpoint(low, high);
                let p = w * half * (-0.5 * (x - nearest) * (x + nearest - 2.0 * y)).exp();
                mass += p;
                mean += p * (x - nearest);
                square += p * (x - nearest).powi(2);
            }
            let shift = mean / mass;
            Posterior {
                log_density: mass.ln() - 0.5 * ((y - nearest).powi(2) + TAU.ln()) - (2.0 * snr).ln(),
                mean: vec![nearest + shift],
                covariance: array![[square / mass - shift * shift]],
            }
        };
        y.iter().map(at).collect()
    }
}

/// A product of a line with itself: the isotropic cloud of two dimensions that draws are asked about.
struct Square<'a>(&'a Mixture);

impl Sample for Square<'_> {
    fn dim(&self) -> usize {
        2
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        let (first, second) = point.split_at_mut(1);
        self.0.draw(words, first);
        self.0.draw(words, second);
    }
}

impl PosteriorCovariance for Square<'_> {
    fn dim(&self) -> usize {
        2
    }

    fn posterior(&self, snr: f64, y: &Points) -> Vec<Posterior> {
        let of = |column: usize| self.0.posterior(snr, &y.slice(ndarray::s![.., column..=column]).to_owned());
        let join = |(a, b): (Posterior, Posterior)| Posterior {
            log_density: a.log_density + b.log_density,
            mean: vec![a.mean[0], b.mean[0]],
            covariance: array![[a.covariance[[0, 0]], 0.0], [0.0, b.covariance[[0, 0]]]],
        };
        of(0).into_iter().zip(of(1)).map(join).collect()
    }
}

const QUADRATURE: Settings = Settings { method: Method::Quadrature, draws: 0, seed: 0 };

fn subject<T: Sample + PosteriorCovariance>(measure: &T) -> Subject<'_> {
    Subject { sampler: measure, posterior: measure }
}

fn go() -> impl FnMut(Progress) -> bool {
    |_| true
}

#[derive(Deserialize)]
struct Reference {
    two_point: Example,
    gmm4_var: Example,
    gaussian: Vec<GaussianZeta>,
}

#[derive(Deserialize)]
struct Example {
    weights: Vec<f64>,
    means: Vec<f64>,
    variances: Vec<f64>,
    per_r: Vec<AtSnr>,
    #[serde(rename = "M")]
    richness: Vec<f64>,
    zeta: Vec<AtTime>,
    hardest: HardestSnr,
    chain: Chain,
}

#[derive(Deserialize)]
struct AtSnr {
    r: f64,
    #[serde(rename = "supL")]
    supremum: f64,
    #[serde(rename = "EL")]
    mean: f64,
    #[serde(rename = "L_at")]
    localization: Vec<[f64; 2]>,
    u: Vec<f64>,
    /// Missing where the level is the limit of L in the tails, which no method decides.
    s: Vec<Option<f64>>,
    delta: Vec<f64>,
    h: Vec<f64>,
    mstar: f64,
    delta_star: Option<f64>,
    delta_zero_up_to: f64,
}

#[derive(Deserialize)]
struct AtTime {
    t: f64,
    r: f64,
    #[serde(rename = "EL")]
    mean: f64,
    mstar: f64,
    zeta: Vec<f64>,
    delta: Vec<f64>,
}

#[derive(Deserialize)]
struct HardestSnr {
    r: f64,
    mstar: f64,
    t_beta1: f64,
}

#[derive(Deserialize)]
struct Chain {
    eta: f64,
    steps: usize,
    zeta: Vec<f64>,
    log_backward_bound: f64,
    log_chain_bound: f64,
}

#[derive(Deserialize)]
struct GaussianZeta {
    sigma2: f64,
    t: f64,
    #[serde(rename = "zeta_any_M")]
    zeta: f64,
    #[serde(rename = "L")]
    localization: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../tests/localization.json")).unwrap()
}

impl Example {
    fn mixture(&self) -> Mixture {
        Mixture::new(&self.weights, &self.means, &self.variances)
    }
}

fn examples() -> [(&'static str, Example); 2] {
    let reference = reference();
    [("two points", reference.two_point), ("four components", reference.gmm4_var)]
}

fn close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance, "{what}: {found} against {expected}, {:e} off", found - expected);
}

#[test]
fn quadrature_has_the_reference_values_at_every_snr() {
    for (name, example) in examples() {
        let mixture = example.mixture();
        for point in &example.per_r {
            let what = |quantity: &str| format!("{name}, r = {}: {quantity}", point.r);
            for [y, localization] in &point.localization {
                let found = mixture.localization(point.r, &array![[*y]])[0];
                close(found, *localization, 1e-11, &what("L"));
            }
            let law = law(&subject(&mixture), point.r, &QUADRATURE, &mut go()).unwrap();
            close(law.mean().value, point.mean, 1e-10, &what("E L"));
            for (&u, s) in point.u.iter().zip(&point.s) {
                // At the very top of L a level set is as wide as the root of the rounding in L.
                let tolerance = if (u - point.supremum).abs() < 1e-12 { 1e-6 } else { 1e-9 };
                s.iter().for_each(|&s| close(law.survival(u).value, s, tolerance, &what(&format!("s({u})"))));
            }
            for (&delta, &h) in point.delta.iter().zip(&point.h) {
                close(law.integrated_tail(delta).value, h, 1e-10, &what(&format!("h({delta})")));
            }
            let complexity = law.complexity();
            close(complexity.m_star.value, point.mstar, 1e-9, &what("m*"));
            let delta_star = point.delta_star.unwrap_or(point.delta_zero_up_to);
            close(complexity.delta_star, delta_star, 1e-6, &what("δ*"));
            close(law.supremum().unwrap(), point.supremum, 1e-10, &what("sup L"));
            assert_eq!(complexity.m_star.std_error, 0.0);
        }
    }
}

#[test]
fn average_curvature_has_the_reference_values_at_every_time() {
    for (name, example) in examples() {
        let mixture = example.mixture();
        let times: Vec<f64> = example.zeta.iter().map(|point| point.t).collect();
        let reports = at_times(&subject(&mixture), &times, 1.0, &example.richness, &QUADRATURE, &mut go()).unwrap();
        for (report, point) in reports.iter().zip(&example.zeta) {
            close(report.snr, point.r, 1e-12, name);
            for ((zeta, value), delta) in report.zeta.iter().zip(&point.zeta).zip(&point.delta) {
                let what = format!("{name}, t = {}, M = {}", point.t, zeta.richness);
                close(zeta.value, *value, 1e-8, &what);
                close(zeta.delta, *delta, 1e-6, &what);
            }
            let law = law(&subject(&mixture), point.r, &QUADRATURE, &mut go()).unwrap();
            close(law.mean().value, point.mean, 1e-10, name);
            close(law.complexity().m_star.value, point.mstar, 1e-9, name);
        }
    }
}

#[test]
fn the_hardest_snr_is_that_of_the_reference() {
    for (name, example) in examples() {
        let found = hardest(&subject(&example.mixture()), 1.0, &QUADRATURE, &mut go()).unwrap().unwrap();
        close(found.snr, example.hardest.r, 1e-3, name);
        close(found.m_star, example.hardest.mstar, 1e-8, name);
        close(found.time, example.hardest.t_beta1, 1e-3, name);
        assert!(!found.at_end);
    }
}

#[test]
fn the_chain_has_the_curvatures_and_bounds_of_the_reference() {
    for (name, example) in examples() {
        let mixture = example.mixture();
        let Chain { eta, steps, zeta, log_backward_bound, log_chain_bound } = &example.chain;
        let bound = chain_bound(&subject(&mixture), *steps, *eta, 1.0, 2.0, &QUADRATURE, &mut go()).unwrap();
        assert!(!bound.lower_estimate_of_sup);
        for (k, (found, expected)) in bound.per_step_zeta.iter().zip(zeta).enumerate() {
            close(*found, *expected, 1e-8 * expected.abs().max(1.0), &format!("{name}, step {}", k + 1));
        }
        close(bound.log_factor.unwrap(), *log_chain_bound, 1e-8, name);
        close(bound.log_backward_factor.unwrap(), *log_backward_bound, 1e-8, name);
        // On average a chain is never worse than at its worst.
        assert!(bound.average_log_factor < *log_chain_bound);
    }
}

#[test]
fn the_worst_and_the_average_case_agree_for_a_gaussian_at_every_temperature() {
    for GaussianZeta { sigma2, t, zeta, localization } in reference().gaussian {
        let gaussian = Mixture::new(&[1.0], &[0.7], &[sigma2]);
        let report = &at_times(&subject(&gaussian), &[t], 1.0, &[1.0, 2.0, 50.0], &QUADRATURE, &mut go()).unwrap()[0];
        close(report.worst_case.value, zeta, 1e-11, "ζ");
        report.zeta.iter().for_each(|found| close(found.value, zeta, 1e-11, "ζ*"));
        let law = law(&subject(&gaussian), report.snr, &QUADRATURE, &mut go()).unwrap();
        close(law.mean().value, localization, 1e-12, "E L");
        close(law.supremum().unwrap(), localization, 1e-12, "sup L");
        // A step, and L does not exceed its own value.
        assert_eq!(law.survival(law.supremum().unwrap()).value, 0.0);
        close(law.survival(localization - 1e-9).value, 1.0, 1e-14, "s below");
        assert_eq!(law.complexity().m_star.value, 0.0);
        close(law.complexity().delta_star, 1.0 - localization, 1e-12, "δ*");
        // ζ of p_t is β times the ζ* of MATHEMATICS: one carries β⁻¹ and the other does not.
        for beta in [0.5, 3.0] {
            let report = &at_times(&subject(&gaussian), &[t], beta, &[2.0], &QUADRATURE, &mut go()).unwrap()[0];
            let exact = 1.0 / (1.0 + libm::exp(-2.0 * t) * (beta * sigma2 - 1.0));
            close(report.zeta[0].value, exact, 1e-11, "ζ* at β");
            close(report.worst_case.value, beta * exact, 1e-10, "ζ at β");
        }
        assert_eq!(hardest(&subject(&gaussian), 1.0, &QUADRATURE, &mut go()).unwrap(), None);
    }
}

#[test]
fn a_point_mass_is_never_hard() {
    let point = Mixture::new(&[1.0], &[3.0], &[0.0]);
    for r in [1e-3, 1.0, 40.0, 1e4] {
        let law = law(&subject(&point), r, &QUADRATURE, &mut go()).unwrap();
        assert_eq!((law.mean().value, law.supremum(), law.survival(0.0).value), (0.0, Some(0.0), 0.0));
        assert_eq!((law.complexity().m_star.value, law.complexity().delta_star), (0.0, 1.0));
        assert_eq!((law.average_curvature(4.0).value.value, law.average_curvature(4.0).delta), (1.0, 1.0));
    }
    assert_eq!(hardest(&subject(&point), 1.0, &QUADRATURE, &mut go()).unwrap(), None);
}

#[test]
fn a_uniform_law_is_log_concave_with_the_variance_of_its_box_as_r_vanishes() {
    for r in [0.01, 0.3, 1.0, 4.0, 9.0] {
        let law = law(&subject(&Uniform), r, &QUADRATURE, &mut go()).unwrap();
        // E L = 1 - Fisher information, and sup L is the variance of N(0, 1) truncated to [-r, r].
        let rule = brenier_measure::quadrature::gauss_legendre(64);
        let moment =
            |k: i32| rule.iter().map(|(x, w)| w * (r * x).powi(k) * (-0.5 * (r * x).powi(2)).exp()).sum::<f64>();
        close(law.supremum().unwrap(), moment(2) / moment(0), 1e-11, "sup L");
        assert_eq!(law.complexity().m_star.value, 0.0);
        close(law.complexity().delta_star, 1.0 - moment(2) / moment(0), 1e-11, "δ*");
        if r < 0.02 {
            close(law.mean().value / (r * r), 1.0 / 3.0, 1e-4, "E L");
        }
    }
}

#[test]
fn two_points_have_the_level_sets_of_the_hyperbolic_secant() {
    // L = r² sech²(ry) exceeds u where |y| < arcosh(r/√u)/r, and P(|Y| < a) = Φ(a + r) - Φ(r - a).
    let points = Mixture::new(&[0.5, 0.5], &[-1.0, 1.0], &[0.0, 0.0]);
    let phi = |x: f64| 0.5 * libm::erfc(-x / 2f64.sqrt());
    for r in [0.3, 1.0, 2.5, 7.0] {
        let law = law(&subject(&points), r, &QUADRATURE, &mut go()).unwrap();
        for share in [1e-6, 0.1, 0.5, 0.9, 0.999_999] {
            let level = r * r * share;
            let a = libm::acosh(r / level.sqrt()) / r;
            close(law.survival(level).value, phi(a + r) - phi(r - a), 1e-10, &format!("r = {r}, share {share}"));
        }
        close(law.supremum().unwrap(), r * r, 1e-11 * r * r, "sup L");
        // The peak touches its own level, and no mass is above it.
        assert_eq!(law.survival(r * r).value, 0.0, "r = {r}");
        assert_eq!(law.integrated_tail(1.0 - r * r).value, 0.0, "r = {r}");
    }
}

#[test]
fn a_peak_of_l_hides_neither_in_a_gap_nor_in_the_tails() {
    // At r = 40 the peak of L between the points is 1/3000 of the gap wide, at a density of e⁻⁸⁰⁰.
    let points = Mixture::new(&[0.3, 0.7], &[-1.0, 1.1], &[0.0, 0.0]);
    let worst = worst_case(&subject(&points), 40.0, &QUADRATURE, &mut go()).unwrap();
    assert!(worst.exact);
    close(worst.sup_lambda_max / ((40.0f64 * 1.05).powi(2) - 1.0), 1.0, 1e-9, "sup");
    // A wider component of tiny weight takes over far outside.
    let tails = Mixture::new(&[1.0 - 1e-12, 1e-12], &[0.0, 0.0], &[1.0, 2.0]);
    let worst = worst_case(&subject(&tails), 1.0, &QUADRATURE, &mut go()).unwrap();
    let most = (0..200_000).map(|k| tails.localization(1.0, &array![[f64::from(k) * 1e-3]])[0]).fold(0.0, f64::max);
    assert!(most > 1.5, "{most}");
    close(worst.sup_lambda_max + 1.0, most, 1e-5, "sup");
}

#[test]
fn the_identities_hold_at_the_hardest_scale() {
    // E[L | L > u*] = 1 and m* = P(L > u*) for the spike and the Gaussian, whose L has no atom.
    let spike = Mixture::new(&[0.5, 0.5], &[0.0, 0.0], &[0.0, 1.0]);
    for r in [2.0, 6.7, 20.0] {
        let law = law(&subject(&spike), r, &QUADRATURE, &mut go()).unwrap();
        let Complexity { m_star, delta_star } = law.complexity();
        close(law.survival(1.0 - delta_star).value, m_star.value, 1e-9, "P(L > u*)");
        let above = law.integrated_tail(delta_star).value + (1.0 - delta_star) * m_star.value;
        close(above, m_star.value, 1e-9, "E[L; L > u*]");
        // The worst 1/M of the mass, for M = 1/m*: its mean is 1, so ζ* vanishes.
        close(law.average_curvature(1.0 / m_star.value).value.value, 0.0, 1e-8, "ζ* at the critical M");
    }
    let found = hardest(&subject(&spike), 1.0, &QUADRATURE, &mut go()).unwrap().unwrap();
    close(found.snr, 6.7, 0.05, "hardest r of the spike");
}

#[test]
fn draws_agree_with_quadrature_and_know_their_error() {
    let mixture = reference().gmm4_var.mixture();
    let settings = Settings { method: Method::MonteCarlo, draws: 20_000, seed: 3 };
    let levels = [0.3, 0.7, 1.0, 1.5];
    let deltas = [0.0, 0.2, 0.7, 1.0];
    let snrs = [0.6, 1.8];
    let exact = at_snrs(&subject(&mixture), &snrs, &levels, &deltas, &QUADRATURE, &mut go()).unwrap();
    let found = at_snrs(&subject(&mixture), &snrs, &levels, &deltas, &settings, &mut go()).unwrap();
    let agree = |found: f64, exact: f64, std_error: f64| {
        assert!(std_error < 0.01, "{std_error}");
        assert!((found - exact).abs() <= 5.0 * std_error + 1e-12, "{found} ± {std_error} against {exact}");
    };
    for (found, exact) in found.iter().zip(&exact) {
        for (found, exact) in found.survival.iter().zip(&exact.survival) {
            agree(found.probability, exact.probability, found.std_error);
        }
        for (found, exact) in found.integrated_tail.iter().zip(&exact.integrated_tail) {
            agree(found.value, exact.value, found.std_error);
        }
        agree(found.m_star, exact.m_star, found.m_star_std_error);
        agree(found.mean, exact.mean, found.mean_std_error);
        assert_eq!(found.supremum, None);
    }
    let exact = at_times(&subject(&mixture), &[0.3], 1.0, &[1.0, 3.0], &QUADRATURE, &mut go()).unwrap();
    let found = at_times(&subject(&mixture), &[0.3], 1.0, &[1.0, 3.0], &settings, &mut go()).unwrap();
    for (found, exact) in found[0].zeta.iter().zip(&exact[0].zeta) {
        assert!(found.std_error < 0.05);
        assert!((found.value - exact.value).abs() < 5.0 * found.std_error, "{found:?} against {exact:?}");
    }
    assert!(found[0].worst_case.lower_estimate_of_sup && !exact[0].worst_case.lower_estimate_of_sup);
    // Two points, whose m* has one clear top; that of the four components is level from r = 1.5 to 40.
    let points = reference().two_point;
    let rough = Settings { draws: 4096, ..settings };
    let found = hardest(&subject(&points.mixture()), 1.0, &rough, &mut go()).unwrap().unwrap();
    assert!((found.snr - points.hardest.r).abs() < 0.1, "{found:?}");
    assert!((found.m_star - points.hardest.mstar).abs() < 5.0 * (0.25 / 4096f64).sqrt(), "{found:?}");
}

#[test]
fn an_ascent_finds_the_peak_between_two_clouds_in_the_plane_and_claims_no_bound() {
    // A product has the larger of the two variances: its supremum is that of the line.
    let line = Mixture::new(&[0.5, 0.5], &[-1.0, 1.0], &[0.1, 0.1]);
    let square = Square(&line);
    let settings = Settings { draws: 512, ..Settings::default() };
    for r in [0.5, 2.0, 6.0] {
        let exact = worst_case(&subject(&line), r, &QUADRATURE, &mut go()).unwrap();
        let found = worst_case(&subject(&square), r, &settings, &mut go()).unwrap();
        assert!(exact.exact && !found.exact);
        assert!(found.sup_lambda_max <= exact.sup_lambda_max + 1e-9, "{found:?} exceeds {exact:?}");
        close((found.sup_lambda_max + 1.0) / (exact.sup_lambda_max + 1.0), 1.0, 1e-3, &format!("r = {r}"));
    }
    let bound = chain_bound(&subject(&square), 5, 0.05, 1.0, 2.0, &settings, &mut go()).unwrap();
    assert!(bound.lower_estimate_of_sup);
    assert_eq!((bound.log_factor, bound.log_backward_factor), (None, None));
    let exact = chain_bound(&subject(&line), 5, 0.05, 1.0, 2.0, &QUADRATURE, &mut go()).unwrap();
    for (found, exact) in bound.per_step_zeta.iter().zip(&exact.per_step_zeta) {
        close(*found / exact, 1.0, 1e-2, "ζ");
    }
}

#[test]
fn the_answer_does_not_depend_on_the_number_of_threads() {
    let mixture = reference().gmm4_var.mixture();
    let settings = Settings { draws: 1100, ..Settings::default() };
    let answer = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| at_snrs(&subject(&mixture), &[0.4, 2.0], &[1.0], &[0.5], &settings, &mut go()).unwrap())
    };
    assert_eq!(answer(1), answer(3));
}

#[test]
fn a_watcher_sees_every_tile_and_can_stop_the_work() {
    let mixture = reference().gmm4_var.mixture();
    let settings = Settings { draws: 1100, ..Settings::default() };
    let mut seen = Vec::new();
    let mut watch = |progress: Progress| {
        seen.push((progress.done, progress.total));
        true
    };
    at_snrs(&subject(&mixture), &[0.4, 2.0], &[], &[], &settings, &mut watch).unwrap();
    assert_eq!(seen, (1..=6).map(|done| (done, 6)).collect::<Vec<_>>());
    let stopped = at_snrs(&subject(&mixture), &[0.4], &[], &[], &settings, &mut |progress| progress.done < 2);
    assert!(matches!(stopped, Err(EvalError::Interrupted)));
}

#[test]
fn what_cannot_be_computed_is_refused() {
    let mixture = reference().gmm4_var.mixture();
    let square = Square(&mixture);
    let refused = |result: Result<Law, EvalError>| result.unwrap_err().to_string();
    for snr in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(refused(law(&subject(&mixture), snr, &QUADRATURE, &mut go())).contains("signal-to-noise ratio"));
    }
    assert!(refused(law(&subject(&square), 1.0, &QUADRATURE, &mut go())).contains("dimension 2"));
    let one = Settings { draws: 1, ..Settings::default() };
    assert!(refused(law(&subject(&mixture), 1.0, &one, &mut go())).contains("at least two"));
    // Draws of one measure and the posterior of another, whose density was scaled.
    struct Doubled(Mixture);
    impl PosteriorCovariance for Doubled {
        fn dim(&self) -> usize {
            1
        }
        fn posterior(&self, snr: f64, y: &Points) -> Vec<Posterior> {
            let mut posteriors = self.0.posterior(snr, y);
            posteriors.iter_mut().for_each(|posterior| posterior.log_density += 2f64.ln());
            posteriors
        }
    }
    let doubled = Doubled(reference().gmm4_var.mixture());
    let both = Subject { sampler: &mixture, posterior: &doubled };
    assert!(refused(law(&both, 1.0, &QUADRATURE, &mut go())).contains("integrates to 2"));
    let times = |times: &[f64], beta, richness: &[f64]| {
        at_times(&subject(&mixture), times, beta, richness, &QUADRATURE, &mut go()).unwrap_err().to_string()
    };
    assert!(times(&[0.0], 1.0, &[2.0]).contains("time"));
    assert!(times(&[1.0], 0.0, &[2.0]).contains("β"));
    assert!(times(&[1.0], 1.0, &[0.5]).contains("M ≥ 1"));
}

#[test]
fn a_rare_component_that_no_draw_shows_is_found_by_its_mass() {
    let rare = Mixture::new(&[1.0 - 1e-6, 1e-6], &[0.0, 60.0], &[1.0, 0.5]);
    let law = law(&subject(&rare), 2.0, &QUADRATURE, &mut go()).unwrap();
    close(law.survival(0.7).value, 1.0 - 1e-6, 2e-8, "s");
    close(law.survival(0.5).value, 1.0, 1e-12, "s");
}

#[test]
fn reports_are_written_in_the_names_that_other_programs_read() {
    let mixture = reference().two_point.mixture();
    let report = at_snrs(&subject(&mixture), &[1.5], &[1.0], &[0.5], &QUADRATURE, &mut go()).unwrap();
    let json = serde_json::to_value(&report[0]).unwrap();
    for key in ["snr", "survival", "integrated_tail", "m_star", "delta_star", "mean", "supremum"] {
        assert!(!json[key].is_null(), "{key}");
    }
    assert!(json["survival"][0]["probability"].is_f64() && json["integrated_tail"][0]["std_error"].is_f64());
    let back: SnrReport = serde_json::from_value(json).unwrap();
    assert_eq!(back, report[0]);
    assert_eq!(serde_json::to_value(Method::MonteCarlo).unwrap(), "monte_carlo");
}

#[test]
fn a_top_beyond_the_range_is_reported_at_its_end() {
    // m* of two points ±γ is a function of rγ, largest at 1.373: here beyond 40, while the third point sets the range.
    let points = Mixture::new(&[0.45, 0.45, 0.1], &[-0.03, 0.03, 3.0], &[0.0; 3]);
    assert_eq!(hardest_range(&subject(&points), &QUADRATURE).unwrap(), (0.05, 40.0));
    let found = hardest(&subject(&points), 2.0, &QUADRATURE, &mut go()).unwrap().unwrap();
    assert_eq!((found.snr, found.at_end), (40.0, true));
    // β enters through the time alone: e^{-2t}β/(1 - e^{-2t}) = r².
    close(found.time, 0.5 * libm::log1p(2.0 / 1600.0), 1e-12, "time");
}

#[test]
fn the_hardest_snr_moves_with_the_units() {
    let two = reference().two_point.hardest;
    for gamma in [1e-3, 1.0, 1e3, 4e6] {
        let points = Mixture::new(&[0.5, 0.5], &[-gamma, gamma], &[0.0, 0.0]);
        for settings in [QUADRATURE, Settings { draws: 2048, ..Settings::default() }] {
            let found = hardest(&subject(&points), 1.0, &settings, &mut go()).unwrap().unwrap();
            let tolerance = if settings.method == Method::Quadrature { 1e-3 } else { 0.15 };
            close(found.snr * gamma, two.r, tolerance, &format!("γ = {gamma}"));
            assert!(!found.at_end);
        }
    }
}

/// The largest L on a fine grid.
fn scanned(mixture: &Mixture, r: f64, low: f64, high: f64) -> f64 {
    let places = Points::from_shape_fn((100_001, 1), |(i, _)| low + (high - low) * i as f64 * 1e-5);
    mixture.localization(r, &places).into_iter().fold(0.0, f64::max)
}

#[test]
fn the_supremum_sees_a_narrow_component_inside_of_a_wide_one() {
    // L turns within a few units of the noise about the narrow component; on both sides it is 1 and the mean is y.
    let spike = Mixture::new(&[0.5, 0.5], &[0.0, 0.0], &[0.0, 1.0]);
    let known = law(&subject(&spike), 100.0, &QUADRATURE, &mut go()).unwrap();
    close(known.supremum().unwrap(), 3.0271, 1e-4, "sup L");
    close(known.complexity().m_star.value, 0.52355, 1e-5, "m*");
    close(known.complexity().delta_star, 0.7683, 1e-4, "δ*");
    let inside = [
        spike,
        Mixture::new(&[0.5, 0.5], &[0.0, 0.0], &[1e-6, 1.0]),
        Mixture::new(&[0.01, 0.99], &[0.0, 0.0], &[0.0, 1.0]),
        Mixture::new(&[0.3, 0.7], &[1.5, 0.0], &[0.0, 1.0]),
    ];
    for (index, mixture) in inside.iter().enumerate() {
        for r in [95.0, 100.0, 150.0, 200.0, 300.0, 500.0, 3e3, 1e5] {
            let law = law(&subject(mixture), r, &QUADRATURE, &mut go()).unwrap();
            let centre = r * mixture.means[0];
            let reach = 12.0 * (1.0 + r * mixture.variances[0].sqrt());
            let most = scanned(mixture, r, centre - reach, centre + reach);
            let what = format!("mixture {index}, r = {r}");
            let supremum = law.supremum().unwrap();
            assert!(supremum >= most && supremum < most * (1.0 + 1e-5), "{what}: {supremum} against {most}");
            let m_star = law.complexity().m_star.value;
            assert!(m_star > 0.01 && m_star >= law.survival(1.0).value, "{what}: {m_star}");
        }
    }
}

#[test]
fn a_chain_bound_does_not_pass_over_a_narrow_component() {
    let wide = Mixture::new(&[0.5, 0.5], &[0.0, 0.0], &[0.0, 1e4]);
    let bound = chain_bound(&subject(&wide), 20, 0.01, 1.0, 1.0, &QUADRATURE, &mut go()).unwrap();
    close(bound.log_backward_factor.unwrap(), 10.38, 0.01, "bound");
}

#[test]
fn worst_average_and_share_are_ordered_for_every_measure_at_every_ratio() {
    let zoo = [
        Mixture::new(&[1.0], &[0.4], &[2.0]),
        Mixture::new(&[1.0], &[0.4], &[0.0]),
        Mixture::new(&[0.5, 0.5], &[0.0, 0.0], &[0.0, 1.0]),
        Mixture::new(&[0.01, 0.99], &[0.0, 0.0], &[0.0, 1.0]),
        Mixture::new(&[0.5, 0.5], &[-1.0, 1.0], &[0.0, 0.0]),
        Mixture::new(&[0.5, 0.5], &[-1000.0, 1000.0], &[0.0, 1.0]),
        Mixture::new(&[0.5, 0.5], &[0.0, 0.0], &[1e-6, 1.0]),
        reference().gmm4_var.mixture(),
        // Without order: weights, means and variances from a linear congruence.
        {
            let some = |k: u32, i: u32| f64::from((7919 * (i + 11 * k) + 104) % 1009) / 1009.0;
            let of = |f: &dyn Fn(u32) -> f64| (0..8).map(f).collect::<Vec<f64>>();
            let total: f64 = (0..8).map(|i| some(1, i) + 0.05).sum();
            Mixture::new(
                &of(&|i| (some(1, i) + 0.05) / total),
                &of(&|i| 6.0 * some(2, i)),
                &of(&|i| (4.0 * some(3, i) - 3.0).exp()),
            )
        },
    ];
    let cube = UniformBox::new(vec![-1.0], vec![1.0]).unwrap();
    let places: Vec<f64> = (0..40u32).map(|i| f64::from((i * 7919 + 17) % 1009) * 0.3).collect();
    let empirical = Empirical::new(Points::from_shape_vec((40, 1), places).unwrap()).unwrap();
    let mut subjects: Vec<Subject<'_>> = zoo.iter().map(subject).collect();
    // No draw shows the second component.
    let covariances = vec![vec![vec![1.0]], vec![vec![0.01]]];
    let rare = GaussianMixture::new(vec![1.0 - 1e-6, 1e-6], vec![vec![0.0], vec![1e4]], covariances).unwrap();
    subjects.extend([subject(&cube), subject(&empirical), subject(&rare)]);
    for (index, subject) in subjects.iter().enumerate() {
        for r in [1e-3, 0.03, 0.3, 1.0, 3.0, 10.0, 50.0, 300.0, 3e3, 3e4, 3e5, 1e6] {
            let what = format!("measure {index}, r = {r}");
            let law = law(subject, r, &QUADRATURE, &mut go()).unwrap_or_else(|error| panic!("{what}: {error}"));
            let (supremum, share) = (law.supremum().unwrap(), law.survival(1.0).value);
            let Complexity { m_star, delta_star } = law.complexity();
            assert!(m_star.value >= share, "{what}: m* = {m_star:?}, P(L>1) = {share}");
            assert!((supremum > 1.0 + 1e-10) || m_star.value < 1.0, "{what}");
            assert!(
                (0.0..=1.0).contains(&delta_star) && m_star.value <= 1.0 + 1e-9,
                "{what}: {m_star:?}, {delta_star}"
            );
            close(law.mean().value.min(1.0), law.mean().value, 1e-9, &what);
            for richness in [1.0, 2.0, 5.0] {
                let AverageCurvature { value, delta } = law.average_curvature(richness);
                // The mean of the worst 1/M of the mass; where δ = 0, what lies below 1 is left out of that mean.
                if richness == 1.0 || delta > 0.0 {
                    assert!(
                        1.0 - supremum <= value.value + 1e-9 * supremum.max(1.0),
                        "{what}, M = {richness}: {value:?}"
                    );
                }
            }
            if index < 2 {
                assert_eq!((m_star.value, share), (0.0, 0.0), "{what}");
            }
        }
    }
}

#[test]
fn points_far_apart_are_found_and_so_is_what_lies_between_them() {
    let normal = |i: u32| {
        let u = |k: u32| (f64::from((7919 * i + 104_729 * k + 13) % 10_007) + 0.5) / 10_007.0;
        (-2.0 * u(1).ln()).sqrt() * (TAU * u(2)).cos()
    };
    let clouds: [Vec<f64>; 4] = [
        (0..20).map(|i| 1e4 * normal(i)).collect(),
        (0..200).map(|i| 100.0 * normal(i)).collect(),
        (0..60).map(|i| if i % 2 == 0 { 0.0 } else { 1000.0 * normal(i) }).collect(),
        vec![0.0, 1e6],
    ];
    for (index, cloud) in clouds.into_iter().enumerate() {
        let mut sorted = cloud.clone();
        sorted.sort_by(f64::total_cmp);
        let gap = sorted.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
        let empirical = Empirical::new(Points::from_shape_vec((cloud.len(), 1), cloud).unwrap()).unwrap();
        for r in [0.1, 1.0, 10.0] {
            let law = law(&subject(&empirical), r, &QUADRATURE, &mut go()).unwrap();
            // Half way between neighbours far apart the posterior is split in two.
            let half = 0.25 * (r * gap).powi(2);
            if r * gap > 50.0 {
                close(law.supremum().unwrap() / half, 1.0, 0.02, &format!("cloud {index}, r = {r}"));
            }
            assert!(law.mean().value <= 1.0 && law.complexity().m_star.value >= law.survival(1.0).value);
        }
    }
}

#[test]
fn what_the_noise_no_longer_blurs_keeps_its_complexity() {
    // L - 1 = (log p_X)''/r² + …: m* tends to a limit, which rounding must not take for nothing.
    let mixture = reference().gmm4_var.mixture();
    let m_star = |r: f64| law(&subject(&mixture), r, &QUADRATURE, &mut go()).unwrap().complexity().m_star.value;
    let limit = m_star(1e4);
    close(m_star(1e5), limit, 1e-4, "m*");
    close(m_star(3e5), limit, 1e-3, "m*");
    close(m_star(1e6), limit, 0.02, "m*");
    let gaussian = Mixture::new(&[1.0], &[0.4], &[2.0]);
    for r in [1e5, 1e6, 1e8] {
        assert_eq!(law(&subject(&gaussian), r, &QUADRATURE, &mut go()).unwrap().complexity().m_star.value, 0.0);
    }
}

#[test]
fn the_worst_half_of_a_box_is_flat_at_the_earliest_times() {
    // In the interior L = 1, the same for every y: no curvature is left of the worst half.
    let cube = UniformBox::new(vec![-1.0], vec![1.0]).unwrap();
    for time in [1e-11, 1e-8, 1e-5] {
        let report = &at_times(&subject(&cube), &[time], 1.0, &[2.0], &QUADRATURE, &mut go()).unwrap()[0];
        close(report.zeta[0].value, 0.0, 2e-3, &format!("t = {time}"));
    }
}

#[test]
fn the_edges_of_a_wide_box_are_found_without_a_search_of_all_of_it() {
    /// Counts the places at which the posterior is asked for.
    struct Counted(UniformBox, std::sync::atomic::AtomicUsize);
    impl PosteriorCovariance for Counted {
        fn dim(&self) -> usize {
            1
        }
        fn posterior(&self, snr: f64, y: &Points) -> Vec<Posterior> {
            let _ = self.1.fetch_add(y.nrows(), std::sync::atomic::Ordering::Relaxed);
            self.0.posterior(snr, y)
        }
    }
    let lost = |half_width: f64| {
        let cube = UniformBox::new(vec![-half_width], vec![half_width]).unwrap();
        let counted = Counted(cube.clone(), Default::default());
        let subject = Subject { sampler: &cube, posterior: &counted };
        let lost = 1.0 - law(&subject, 1.0, &QUADRATURE, &mut go()).unwrap().mean().value;
        (lost * half_width, counted.1.into_inner())
    };
    // L falls below 1 about the edges alone, whose share of the mass is the inverse of the width.
    let (expected, _) = lost(1e3);
    for half_width in [1e6, 1e8, 1e9] {
        let (found, places) = lost(half_width);
        close(found, expected, 1e-6 * half_width.max(1e6) / 1e6, &format!("half width {half_width:e}"));
        assert!(places < 100_000, "{places} places");
    }
}

#[test]
fn of_several_hills_the_highest_is_the_hardest() {
    // A pair of near points and a far one: m* has a hill at r·gap of order one for each of the two gaps.
    for (weights, near) in [([0.49, 0.49, 0.02], true), ([0.25, 0.25, 0.5], false)] {
        let points = Mixture::new(&weights, &[-0.1, 0.1, 8.0], &[0.0; 3]);
        let found = hardest(&subject(&points), 1.0, &QUADRATURE, &mut go()).unwrap().unwrap();
        let fine = crate::log_grid(0.05, 40.0, 400)
            .into_iter()
            .map(|r| (r, law(&subject(&points), r, &QUADRATURE, &mut go()).unwrap().complexity().m_star.value));
        let (r, most) = fine.fold((0.0, 0.0), |best, other| if other.1 > best.1 { other } else { best });
        assert!(found.m_star >= most && found.m_star < most + 1e-3, "{found:?} against {most} at {r}");
        assert_eq!(found.snr > 3.0, near, "{found:?}");
    }
}

#[test]
fn tiny_and_huge_ratios_have_finite_laws() {
    let mixture = reference().gmm4_var.mixture();
    let mean: f64 = mixture.weights.iter().zip(&mixture.means).map(|(w, m)| w * m).sum();
    let square = |i: usize| mixture.variances[i] + (mixture.means[i] - mean).powi(2);
    let variance: f64 = mixture.weights.iter().enumerate().map(|(i, w)| w * square(i)).sum();
    let small = law(&subject(&mixture), 1e-4, &QUADRATURE, &mut go()).unwrap();
    close(small.mean().value / 1e-8, variance, 1e-5, "E L/r²");
    let large = law(&subject(&mixture), 1e4, &QUADRATURE, &mut go()).unwrap();
    // E L = 1 - Fisher information of Y_r = 1 - I(X)/r² + …, and m* tends to the mass where log p_X is convex.
    close(large.mean().value, 1.0, 1e-7, "E L");
    assert!((0.4..0.5).contains(&large.complexity().m_star.value));
    let points = reference().two_point.mixture();
    let large = law(&subject(&points), 1e4, &QUADRATURE, &mut go()).unwrap();
    assert_eq!((large.mean().value, large.complexity().m_star.value), (0.0, 0.0));
    close(large.supremum().unwrap() / 1e8, 1.0, 1e-9, "sup L");
}

#[test]
fn the_measures_of_the_library_have_the_laws_of_these_closed_forms() {
    let own = reference().gmm4_var.mixture();
    let column = |values: &[f64]| values.iter().map(|&value| vec![value]).collect::<Vec<_>>();
    let covariances: Vec<Vec<Vec<f64>>> = own.variances.iter().map(|&variance| vec![vec![variance]]).collect();
    let mixture = GaussianMixture::new(own.weights.clone(), column(&own.means), covariances).unwrap();
    let places = [-1.3, -0.2, 0.0, 0.4, 0.41, 2.0];
    let atoms = Mixture::new(&[1.0 / 6.0; 6], &places, &[0.0; 6]);
    let empirical = Empirical::new(Points::from_shape_vec((6, 1), places.to_vec()).unwrap()).unwrap();
    let cube = UniformBox::new(vec![-1.0], vec![1.0]).unwrap();
    let pairs = [
        (subject(&mixture), subject(&own)),
        (subject(&empirical), subject(&atoms)),
        (subject(&cube), subject(&Uniform)),
    ];
    for (index, (library, own)) in pairs.iter().enumerate() {
        for r in [0.2, 1.1, 4.0] {
            let report = |subject: &Subject<'_>| {
                let levels = [0.05, 0.3, 0.77, 1.2];
                at_snrs(subject, &[r], &levels, &[0.1, 0.6, 1.0], &QUADRATURE, &mut go()).unwrap().remove(0)
            };
            let (library, own) = (report(library), report(own));
            let what = |quantity: &str| format!("measure {index}, r = {r}: {quantity}");
            for (a, b) in library.survival.iter().zip(&own.survival) {
                close(a.probability, b.probability, 1e-9, &what("s"));
            }
            for (a, b) in library.integrated_tail.iter().zip(&own.integrated_tail) {
                close(a.value, b.value, 1e-10, &what("h"));
            }
            close(library.m_star, own.m_star, 1e-9, &what("m*"));
            close(library.delta_star, own.delta_star, 1e-7, &what("δ*"));
            close(library.supremum.unwrap(), own.supremum.unwrap(), 1e-10, &what("sup L"));
        }
    }
}
