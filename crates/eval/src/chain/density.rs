//! The stochastic backward chain on the line by densities.
//!
//! One step takes the density p_k to `p_{k-1}(y) = ∫ p_k(x) N(y; x + η(x + 2β⁻¹S_k(x)), 2η/β) dx`. The integral is the
//! trapezoidal rule on a uniform grid, which for analytic integrands errs by less than any power of the spacing: Trefethen
//! and Weideman, The exponentially convergent trapezoidal rule, SIAM Review 56 (2014). The law at the end is a mixture of
//! normals, one for each node, and is compared with others as a [`Line`].

use brenier_measure::{Points, to_points, to_tensor};
use burn::tensor::Tensor;

use super::quantiles::end;
use super::{Chain, Expansion, Line, Method, Outcome, Target};
use crate::{EvalError, Step};

/// The most terms of all sums of one chain: above this, particles are quicker.
const MOST_TERMS: f64 = 2e8;

/// Where a kernel is cut, in its deviations.
const CUT: f64 = 9.0;

/// The change of a result, relative to the scale of the laws, that halving the spacing may still make.
const TOLERANCE: f64 = 1e-9;

/// The mass that may be lost over the ends of the grid.
const LOST: f64 = 1e-9;

/// Carries start and target, in this order, through both chains; `None` where no affordable grid is fine enough.
///
/// # Errors
///
/// An interruption.
pub(super) fn run(
    chain: &Chain,
    target: &Target,
    [start, target_line]: [&Line; 2],
    watch: &mut dyn FnMut(Step) -> bool,
) -> Result<Option<Outcome>, EvalError> {
    let (alpha, s) = chain.marginal(chain.steps);
    let (forward, forward_target) = (start.noised(alpha, s), target_line.noised(alpha, s));
    let kernel = (2.0 * chain.eta / chain.beta).sqrt();
    let range =
        [target_line, &forward, &forward_target].iter().fold([f64::INFINITY, f64::NEG_INFINITY], |sum, line| {
            let [low, high] = line.range();
            [sum[0].min(low - 4.0 * kernel), sum[1].max(high + 4.0 * kernel)]
        });
    let scale = (target_line.variance() + start.variance() + (start.mean() - target_line.mean()).powi(2)).sqrt();
    let mut before: Option<[Line; 2]> = None;
    for halvings in 1.. {
        let grid = Grid::new(range, kernel / f64::from(1u32 << halvings));
        if grid.terms(kernel) * 2.0 * chain.steps as f64 > MOST_TERMS {
            return Ok(None);
        }
        let mut go_on = |k: usize| watch(Step { done: chain.steps - k, total: chain.steps });
        let Some(ends) = grid.carry(chain, target, [&forward, &forward_target], kernel, &mut go_on)? else {
            return Ok(None);
        };
        if let Some(before) = &before
            && before.iter().zip(&ends).all(|(coarse, fine)| agree(coarse, fine, scale))
        {
            return Ok(Some(outcome(chain, [start, target_line], [&forward, &forward_target], &ends)?));
        }
        before = Some(ends);
    }
    unreachable!("the terms grow at every halving")
}

/// Whether two laws agree in mean, deviation and quantiles.
fn agree(coarse: &Line, fine: &Line, scale: f64) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * scale;
    near(coarse.mean(), fine.mean())
        && near(coarse.variance().sqrt(), fine.variance().sqrt())
        && [-2.0, -0.7, 0.1, 0.8, 2.0].iter().all(|&z| (coarse.quantile(z) - fine.quantile(z)).abs() <= 1e-6 * scale)
}

fn outcome(
    chain: &Chain,
    [start, target]: [&Line; 2],
    [forward, forward_target]: [&Line; 2],
    [from_start, from_target]: &[Line; 2],
) -> Result<Outcome, EvalError> {
    let reference = Line::normal(0.0, chain.reference_deviation());
    let to_target = from_start.w2(target)?;
    let expansion = || -> Result<Expansion, EvalError> {
        let distances = [start.w2(target)?, forward.w2(forward_target)?, from_start.w2(from_target)?];
        Ok(Expansion::new(distances, [0.0; 3], to_target))
    };
    Ok(Outcome {
        method: Method::Quadrature,
        forward: end(forward.mean(), forward.variance(), forward.w2(&reference)?),
        backward: end(from_start.mean(), from_start.variance(), to_target),
        expansion: if start == target { None } else { Some(expansion()?) },
    })
}

/// A uniform grid.
struct Grid {
    low: f64,
    spacing: f64,
    count: usize,
}

impl Grid {
    fn new([low, high]: [f64; 2], spacing: f64) -> Self {
        Self { low, spacing, count: ((high - low) / spacing).ceil() as usize + 1 }
    }

    fn node(&self, i: usize) -> f64 {
        self.low + i as f64 * self.spacing
    }

    /// The terms of one step.
    fn terms(&self, kernel: f64) -> f64 {
        self.count as f64 * 2.0 * CUT * kernel / self.spacing
    }

    /// Both laws after all steps, as mixtures of normals; `None` where mass leaves the grid.
    fn carry(
        &self,
        chain: &Chain,
        target: &Target,
        laws: [&Line; 2],
        kernel: f64,
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<[Line; 2]>, EvalError> {
        let mut masses =
            laws.map(|law| (0..self.count).map(|i| self.spacing * law.density(self.node(i))).collect::<Vec<f64>>());
        let whole = |masses: &Vec<f64>| (masses.iter().sum::<f64>() - 1.0).abs() <= LOST;
        for k in (1..=chain.steps).rev() {
            if !go_on(k) {
                return Err(EvalError::Interrupted);
            }
            let means = self.drifted(chain, target, k);
            if !masses.iter().all(whole) || !means.iter().all(|mean| mean.is_finite()) {
                return Ok(None);
            }
            if k == 1 {
                return Ok(Some(masses.map(|masses| {
                    let parts = masses.into_iter().zip(means.iter().copied()).filter(|(mass, _)| *mass > 1e-24);
                    Line::normals(parts, kernel)
                })));
            }
            masses = masses.map(|masses| self.spread(&masses, &means, kernel));
        }
        Ok(None)
    }

    /// `x + η(x + 2β⁻¹S_k(x))` at the nodes.
    fn drifted(&self, chain: &Chain, target: &Target, k: usize) -> Vec<f64> {
        let time = k as f64 * chain.eta;
        let (sigma, growth) = (chain.schedule().noise_level(time), libm::exp(time));
        let x = Points::from_shape_fn((self.count, 1), |(i, _)| self.node(i));
        // With α = e^{-t}, X_t/α has the law of X + σZ.
        let y = to_tensor(&(&x * growth), target.dtype, target.device);
        let sigmas = Tensor::full([self.count], sigma, (target.device, target.dtype));
        let score = to_points(target.denoiser.score(y, sigmas)) * growth;
        x.iter().zip(&score).map(|(x, score)| x + chain.eta * (x + 2.0 / chain.beta * score)).collect()
    }

    /// The mass at the nodes after the kernel has spread that at `means`.
    fn spread(&self, masses: &[f64], means: &[f64], kernel: f64) -> Vec<f64> {
        let mut spread = vec![0.0; self.count];
        let step = self.spacing / kernel;
        let bend = libm::exp(-step * step);
        let factor = self.spacing / kernel / std::f64::consts::TAU.sqrt();
        for (&mass, &mean) in masses.iter().zip(means) {
            if mass < 1e-30 {
                continue;
            }
            let position = |x: f64| ((x - self.low) / self.spacing).clamp(0.0, (self.count - 1) as f64);
            let first = position(mean - CUT * kernel).ceil() as usize;
            let last = position(mean + CUT * kernel).floor() as usize;
            // exp(-(z + h)²/2) = exp(-z²/2) ρ with ρ = exp(-zh - h²/2), which a step of h multiplies by exp(-h²): outwards from the
            // peak, rounding grows where the kernel is small.
            let peak = (position(mean).round() as usize).clamp(first.min(last), last);
            let z = (self.node(peak) - mean) / kernel;
            let height = mass * factor * libm::exp(-z * z / 2.0);
            let ratio = |z: f64| libm::exp(-step * (z + step / 2.0));
            let (mut value, mut up) = (height, ratio(z));
            for spread in &mut spread[peak..=last] {
                *spread += value;
                value *= up;
                up *= bend;
            }
            let (mut value, mut down) = (height, ratio(-z));
            for spread in spread[first.min(peak)..peak].iter_mut().rev() {
                value *= down;
                down *= bend;
                *spread += value;
            }
        }
        spread
    }
}
