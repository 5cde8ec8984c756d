//! The normal law truncated to an interval, without cancellation anywhere: what is known of a uniform variable after
//! Gaussian noise.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};
use std::sync::LazyLock;

use crate::quadrature::gauss_legendre;

/// `N(y, σ²)` restricted to `[low, high]`: mass, mean and the derivative of the log-mass.
///
/// With c the middle and b the half-length of the interval, `w = |y - c|/σ`, `k = b/σ`, `u = w + k`, `v = w - k`:
/// mass `Φ(u) - Φ(v)`, `∂ log mass/∂|y| = -(φ(v) - φ(u))/(σ mass)`, mean `y + σ² ∂ log mass/∂y`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TruncatedNormal {
    /// `log(Φ(u) - Φ(v))`.
    pub log_mass: f64,
    /// `E[x | low ≤ x ≤ high]`.
    pub mean: f64,
    /// `∂ log mass/∂y`.
    pub score: f64,
}

const LOG_SQRT_TAU: f64 = 0.918_938_533_204_672_8;

impl TruncatedNormal {
    pub fn new(y: f64, sigma: f64, low: f64, high: f64) -> Self {
        let half = (high - low) / 2.0;
        let middle = low + half;
        let offset = y - middle;
        let (w, k) = (offset.abs() / sigma, half / sigma);
        let v = (offset.abs() - half) / sigma;
        let u = (offset.abs() + half) / sigma;
        // `pull` is the mean's distance from the middle over σ, `slope` = w - pull; each has a form of its own.
        let (log_mass, pull, slope) = if k <= 1.0 && 2.0 * w * k < 1.0 {
            small_interval(w, k)
        } else if v <= 0.0 {
            inside(w, k, u, v)
        } else {
            outside(w, k, u, v)
        };
        Self { log_mass, mean: middle + offset.signum() * (sigma * pull), score: -offset.signum() * (slope / sigma) }
    }
}

/// `∫_{-k}^{k} φ(w - t) dt` by quadrature, where the distribution functions at the two ends nearly agree.
fn small_interval(w: f64, k: f64) -> (f64, f64, f64) {
    static RULE: LazyLock<Vec<(f64, f64)>> = LazyLock::new(|| gauss_legendre(16));
    let (mut mass, mut moment) = (0.0, 0.0);
    for &(x, weight) in RULE.iter() {
        let t = k * x;
        let density = weight * (w * t - t * t / 2.0).exp();
        mass += density;
        moment += density * t;
    }
    let pull = moment / mass;
    ((k * mass).ln() - w * w / 2.0 - LOG_SQRT_TAU, pull, w - pull)
}

/// y inside the interval: the mass is one minus two tails.
fn inside(w: f64, k: f64, u: f64, v: f64) -> (f64, f64, f64) {
    let tails = upper_tail(u) + upper_tail(-v);
    let slope = -(-2.0 * w * k).exp_m1() * normal_density(v) / (1.0 - tails);
    ((-tails).ln_1p(), w - slope, slope)
}

/// y outside: with `M = (1 - Φ)/φ` and `q = φ(u)/φ(v) = e^{-2wk}`, the mass is `φ(v)(M(v) - qM(u))`.
fn outside(w: f64, k: f64, u: f64, v: f64) -> (f64, f64, f64) {
    let near = mills_ratio(v);
    let ratio = mills_ratio(u) / near;
    let q = (-2.0 * w * k).exp();
    let rest = 1.0 - q * ratio;
    let slope = -(-2.0 * w * k).exp_m1() / (near * rest);
    let pull = k - inverse_mills_excess(v) + q * (1.0 - ratio) / (near * rest);
    (near.ln() + rest.ln() - v * v / 2.0 - LOG_SQRT_TAU, pull, slope)
}

fn normal_density(x: f64) -> f64 {
    (-x * x / 2.0).exp() / TAU.sqrt()
}

/// `1 - Φ(x)`.
fn upper_tail(x: f64) -> f64 {
    0.5 * libm::erfc(x * FRAC_1_SQRT_2)
}

/// `(1 - Φ(x))/φ(x)` for x ≥ 0.
fn mills_ratio(x: f64) -> f64 {
    if x < CONTINUED_FRACTION_FROM { upper_tail(x) / normal_density(x) } else { 1.0 / (x + inverse_mills_excess(x)) }
}

/// `φ(x)/(1 - Φ(x)) - x` for x ≥ 0: how far beyond x the normal lies on average, given that it lies beyond.
///
/// Laplace's continued fraction `1/(x + 2/(x + 3/(x + …)))` where the difference would cancel.
fn inverse_mills_excess(x: f64) -> f64 {
    if x < CONTINUED_FRACTION_FROM {
        normal_density(x) / upper_tail(x) - x
    } else {
        (1..=CONTINUED_FRACTION_TERMS).rev().fold(0.0, |rest, n| f64::from(n) / (x + rest))
    }
}

/// Where the fraction takes over, and its length: at 4 sixty terms leave less than 10⁻¹⁶.
const CONTINUED_FRACTION_FROM: f64 = 4.0;
const CONTINUED_FRACTION_TERMS: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    /// Log-mass, mean and score by brute quadrature of `e^{-(x-y)²/2σ²}` about its peak in the interval.
    fn by_quadrature(y: f64, sigma: f64, low: f64, high: f64) -> (f64, f64, f64) {
        let peak = y.clamp(low, high);
        // Outside the interval the density falls like e^{-gap·x/σ²} from the peak.
        let gap = (y - peak).abs();
        let reach = if gap > 0.0 { (40.0 * sigma * sigma / gap).min(9.0 * sigma) } else { 9.0 * sigma };
        let (a, b) = (low.max(peak - reach), high.min(peak + reach));
        let (mut mass, mut shift, mut pull) = (0.0, 0.0, 0.0);
        let panels = 200;
        let width = (b - a) / f64::from(panels);
        for panel in 0..panels {
            for (x, weight) in gauss_legendre(16) {
                let x = a + width * (f64::from(panel) + 0.5 + x / 2.0);
                let density = weight * width / 2.0 * (-(x - peak) * (x + peak - 2.0 * y) / 2.0 / sigma / sigma).exp();
                mass += density;
                shift += density * (x - peak);
                pull += density * (x - y) / sigma / sigma;
            }
        }
        let log_mass = mass.ln() - gap * gap / 2.0 / sigma / sigma - sigma.ln() - LOG_SQRT_TAU;
        (log_mass, peak + shift / mass, pull / mass)
    }

    #[test]
    fn every_branch_agrees_with_quadrature() {
        for sigma in [1e-3, 0.05, 0.3, 1.0, 1.5, 4.0, 1e3] {
            for y in [0.1, 0.3, 0.999, 1.0, 1.001, 1.2, -1.7, 3.0, -8.0, 50.0] {
                let (low, high) = (-0.8, 1.2);
                let got = TruncatedNormal::new(y, sigma, low, high);
                let (log_mass, mean, score) = by_quadrature(y, sigma, low, high);
                let at = format!("y = {y}, σ = {sigma}: {got:?} against {log_mass}, {mean}, {score}");
                assert!((got.log_mass - log_mass).abs() < 1e-12 * log_mass.abs().max(1.0), "{at}");
                assert!((got.mean - mean).abs() < 1e-12, "{at}");
                assert!((got.score - score).abs() < 1e-11 * score.abs().max(1.0 / sigma), "{at}");
                assert!((low..=high).contains(&got.mean), "{at}");
            }
        }
    }

    #[test]
    fn the_extremes_are_finite_and_right() {
        // Far away X sits at the near end, within σ²/|y - end|.
        let far = TruncatedNormal::new(1e12, 1e-3, 0.0, 1.0);
        assert!(far.mean == 1.0 && (far.score / -1e18 - 1.0).abs() < 1e-9 && far.log_mass.is_finite(), "{far:?}");
        // Noise that swamps the interval leaves the uniform law: mean ½, curvature of the log-mass -1/σ².
        let loud = TruncatedNormal::new(7.5, 1e9, 0.0, 1.0);
        assert!((loud.mean - 0.5).abs() < 1e-15 && (loud.score / -7e-18 - 1.0).abs() < 1e-12, "{loud:?}");
        // No noise: X = y.
        let quiet = TruncatedNormal::new(0.3, 1e-200, 0.0, 1.0);
        assert!((quiet.mean - 0.3).abs() < 1e-16 && quiet.score == 0.0 && quiet.log_mass == 0.0, "{quiet:?}");
    }
}
