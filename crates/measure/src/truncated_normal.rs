//! The normal law truncated to an interval, without cancellation anywhere: what is known of a uniform variable after
//! Gaussian noise.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};
use std::sync::LazyLock;

use crate::quadrature::gauss_legendre;

/// `N(y, σ²)` restricted to `[low, high]`: mass, mean, variance and the derivative of the log-mass.
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
    /// Its variance over σ²: `1 + σ² ∂² log mass/∂y²`.
    pub spread: f64,
    /// A point a of the interval, and `log mass + (y - a)²/2σ²`: far away two masses are compared by these.
    pub anchor: f64,
    /// See `anchor`.
    pub log_mass_at_anchor: f64,
}

/// The answer of a branch, in units of σ.
struct Branch {
    /// The distance from |y - c| of the point that dominates the mass, and the log-mass without `e^{-distance²/2}`.
    distance: f64,
    log_rest: f64,
    /// The mean's distance from the middle, towards y.
    pull: f64,
    /// `w - pull`.
    slope: f64,
    /// The variance.
    spread: f64,
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
        // Each number has a form of its own in each branch.
        let (branch, anchor) = if k <= 1.0 && 2.0 * w * k < 1.0 {
            (small_interval(w, k), middle)
        } else if v <= 0.0 {
            (inside(w, k, u, v), y)
        } else {
            (outside(w, k, u, v), if offset > 0.0 { high } else { low })
        };
        let Branch { distance, log_rest, pull, slope, spread } = branch;
        Self {
            log_mass: log_rest - distance * distance / 2.0,
            mean: middle + offset.signum() * (sigma * pull),
            score: -offset.signum() * (slope / sigma),
            spread,
            anchor,
            log_mass_at_anchor: log_rest,
        }
    }
}

/// `∫_{-k}^{k} φ(w - t) dt` by quadrature, where the distribution functions at the two ends nearly agree.
fn small_interval(w: f64, k: f64) -> Branch {
    static RULE: LazyLock<Vec<(f64, f64)>> = LazyLock::new(|| gauss_legendre(16));
    let density = |x: f64| (w * (k * x) - (k * x) * (k * x) / 2.0).exp();
    let (mut mass, mut moment) = (0.0, 0.0);
    for &(x, weight) in RULE.iter() {
        mass += weight * density(x);
        moment += weight * density(x) * (k * x);
    }
    let pull = moment / mass;
    let second: f64 = RULE.iter().map(|&(x, weight)| weight * density(x) * (k * x - pull) * (k * x - pull)).sum();
    Branch { distance: w, log_rest: (k * mass).ln() - LOG_SQRT_TAU, pull, slope: w - pull, spread: second / mass }
}

/// y inside the interval: the mass is one minus two tails.
fn inside(w: f64, k: f64, u: f64, v: f64) -> Branch {
    let tails = upper_tail(u) + upper_tail(-v);
    let mass = 1.0 - tails;
    let slope = -(-2.0 * w * k).exp_m1() * normal_density(v) / mass;
    let spread = 1.0 - (u * normal_density(u) - v * normal_density(v)) / mass - slope * slope;
    Branch { distance: 0.0, log_rest: (-tails).ln_1p(), pull: w - slope, slope, spread }
}

/// y outside: with `M = (1 - Φ)/φ` and `q = φ(u)/φ(v) = e^{-2wk}`, the mass is `φ(v)(M(v) - qM(u))`.
fn outside(w: f64, k: f64, u: f64, v: f64) -> Branch {
    let near = mills_ratio(v);
    let ratio = mills_ratio(u) / near;
    let q = (-2.0 * w * k).exp();
    let rest = 1.0 - q * ratio;
    let slope = -(-2.0 * w * k).exp_m1() / (near * rest);
    let pull = k - inverse_mills_excess(v) + q * (1.0 - ratio) / (near * rest);
    Branch {
        distance: v,
        log_rest: near.ln() + rest.ln() - LOG_SQRT_TAU,
        pull,
        slope,
        spread: decaying_variance(v, 2.0 * k),
    }
}

/// The variance of the density `e^{-vs - s²/2}` on `[0, length]`, v > 0, by quadrature as far as it matters.
///
/// As `1 - λ(λ - v)` with the hazard λ it would cancel: far out it is `1/v²`.
fn decaying_variance(v: f64, length: f64) -> f64 {
    static RULE: LazyLock<Vec<(f64, f64)>> = LazyLock::new(|| gauss_legendre(48));
    // vs + s²/2 = 45: beyond lies less than e⁻⁴⁵ of the mass.
    let reach = length.min(90.0 / (v + (v * v + 90.0).sqrt()));
    let scaled = |x: f64| {
        let s = (1.0 + x) / 2.0;
        (s, (-s * reach * (v + s * reach / 2.0)).exp())
    };
    let sum = |f: &dyn Fn(f64) -> f64| -> f64 {
        let term = |&(x, weight): &(f64, f64)| {
            let (s, density) = scaled(x);
            weight * density * f(s)
        };
        RULE.iter().map(term).sum()
    };
    let mass = sum(&|_| 1.0);
    let mean = sum(&|s| s) / mass;
    reach * reach * (sum(&|s| (s - mean) * (s - mean)) / mass)
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

    /// Log-mass, mean, score and variance over σ² by brute quadrature of `e^{-(x-y)²/2σ²}` about its peak in the interval.
    fn by_quadrature(y: f64, sigma: f64, low: f64, high: f64) -> [f64; 4] {
        let peak = y.clamp(low, high);
        // Outside the interval the density falls like e^{-gap·x/σ²} from the peak.
        let gap = (y - peak).abs();
        let reach = if gap > 0.0 { (40.0 * sigma * sigma / gap).min(9.0 * sigma) } else { 9.0 * sigma };
        let (a, b) = ((low - peak).max(-reach), (high - peak).min(reach));
        let (mut mass, mut shift, mut pull, mut square) = (0.0, 0.0, 0.0, 0.0);
        let panels = 200;
        let width = (b - a) / f64::from(panels);
        for panel in 0..panels {
            for (x, weight) in gauss_legendre(16) {
                let s = a + width * (f64::from(panel) + 0.5 + x / 2.0);
                let density = weight * width / 2.0 * (-s * (s + 2.0 * (peak - y)) / 2.0 / sigma / sigma).exp();
                mass += density;
                shift += density * s;
                square += density * s * s;
                pull += density * (s + (peak - y)) / sigma / sigma;
            }
        }
        let log_mass = mass.ln() - gap * gap / 2.0 / sigma / sigma - sigma.ln() - LOG_SQRT_TAU;
        let variance = square / mass - (shift / mass) * (shift / mass);
        [log_mass, peak + shift / mass, pull / mass, variance / sigma / sigma]
    }

    #[test]
    fn every_branch_agrees_with_quadrature() {
        for sigma in [1e-3, 0.05, 0.3, 1.0, 1.5, 4.0, 1e3] {
            for y in [0.1, 0.3, 0.999, 1.0, 1.001, 1.2, -1.7, 3.0, -8.0, 50.0] {
                let (low, high) = (-0.8, 1.2);
                let got = TruncatedNormal::new(y, sigma, low, high);
                let [log_mass, mean, score, spread] = by_quadrature(y, sigma, low, high);
                let at = format!("y = {y}, σ = {sigma}: {got:?} against {log_mass}, {mean}, {score}, {spread}");
                assert!((got.log_mass - log_mass).abs() < 1e-12 * log_mass.abs().max(1.0), "{at}");
                assert!((got.mean - mean).abs() < 1e-12, "{at}");
                assert!((got.score - score).abs() < 1e-11 * score.abs().max(1.0 / sigma), "{at}");
                assert!((low..=high).contains(&got.mean), "{at}");
                assert!((got.spread - spread).abs() < 1e-11 * spread, "{at}");
                let gap = (y - got.anchor) / sigma;
                assert!((got.log_mass_at_anchor - gap * gap / 2.0 - got.log_mass).abs() <= 1e-14 * got.log_mass.abs());
            }
        }
    }

    #[test]
    fn the_extremes_are_finite_and_right() {
        // Far away X sits at the near end, within σ²/|y - end|.
        let far = TruncatedNormal::new(1e12, 1e-3, 0.0, 1.0);
        assert!(far.mean == 1.0 && (far.score / -1e18 - 1.0).abs() < 1e-9 && far.log_mass.is_finite(), "{far:?}");
        // There it is an exponential law of rate |y - end|/σ².
        assert!((far.spread * 1e30 - 1.0).abs() < 1e-10, "{far:?}");
        // Noise that swamps the interval leaves the uniform law: mean ½, curvature of the log-mass -1/σ².
        let loud = TruncatedNormal::new(7.5, 1e9, 0.0, 1.0);
        assert!((loud.mean - 0.5).abs() < 1e-15 && (loud.score / -7e-18 - 1.0).abs() < 1e-12, "{loud:?}");
        assert!((loud.spread * 12e18 - 1.0).abs() < 1e-13, "{loud:?}");
        // No noise: X = y.
        let quiet = TruncatedNormal::new(0.3, 1e-200, 0.0, 1.0);
        assert!((quiet.mean - 0.3).abs() < 1e-16 && quiet.score == 0.0 && quiet.log_mass == 0.0, "{quiet:?}");
        assert_eq!(quiet.spread, 1.0);
    }
}
