//! Both chains between normal laws on the line, point masses among them, in closed form: every step is affine.
//!
//! The score of `N(αm, V)` is `-(x - αm)/V`, so a step back is `x + η(x - c(x - αm)/(βV))` with c = 1 for the transport maps and
//! c = 2 for the stochastic chain, which adds the variance 2η/β. Its slope is `1 + η - cη/(βV)`; no law is ever far from its
//! mean, so nothing is lost where the start is far from the target.

use super::quantiles::end;
use super::{Chain, Expansion, Method, Outcome, Scheme};
use crate::{EvalError, Step};

/// A normal law by its mean and its deviation.
pub(super) type Normal = (f64, f64);

/// Carries the target, and a start where it is another law, through both chains.
///
/// # Errors
///
/// An interruption.
pub(super) fn run(
    chain: &Chain,
    [start, target]: [Normal; 2],
    watch: &mut dyn FnMut(Step) -> bool,
) -> Result<Outcome, EvalError> {
    if !watch(Step { done: 0, total: 1 }) {
        return Err(EvalError::Interrupted);
    }
    let (alpha, s) = chain.marginal(chain.steps);
    let noised = |(mean, deviation): Normal| (alpha * mean, (alpha * deviation).hypot(s));
    let (forward, forward_target) = (noised(start), noised(target));
    let (from_start, slope) = backward(chain, target, forward);
    let reference = (0.0, chain.reference_deviation());
    let expansion = || {
        let (from_target, _) = backward(chain, target, forward_target);
        // Differences are carried themselves: those of the ends may be lost in rounding.
        let apart = start.0 - target.0;
        let variances = (start.1 - target.1) * (start.1 + target.1);
        let between = |factor: f64, a: Normal, b: Normal| {
            let sum = a.1 + b.1;
            let deviations = if sum > 0.0 { factor * (factor * variances / sum) } else { 0.0 };
            (factor * apart).hypot(deviations)
        };
        let [at_start, after_forward, after_backward] = [
            between(1.0, start, target),
            between(alpha, forward, forward_target),
            between(alpha * slope, from_start, from_target),
        ];
        Expansion::new([at_start, after_forward, after_backward], [0.0; 3], w2(from_start, target))
    };
    let known = |law: Normal, goal: Normal| end(law.0, law.1 * law.1, w2(law, goal));
    Ok(Outcome {
        method: Method::Quadrature,
        forward: known(forward, reference),
        backward: known(from_start, target),
        expansion: if start == target { None } else { Some(expansion()) },
    })
}

/// The law after all steps back from `law`, and the product of their slopes.
fn backward(chain: &Chain, (mean, deviation): Normal, law: Normal) -> (Normal, f64) {
    let Chain { steps, eta, beta, .. } = *chain;
    let schedule = chain.schedule();
    let (strength, noise) = match chain.scheme {
        Scheme::Ode => (1.0, 0.0),
        Scheme::Sde => (2.0, (2.0 * eta / beta).sqrt()),
    };
    // The distance from the mean of the target's law at each time, which moves by α_k(1 + η - e^η) relative to the drift.
    let mut offset = law.0 - schedule.alpha(steps as f64 * eta) * mean;
    let (mut spread, mut product) = (law.1, 1.0);
    let lag = eta - libm::expm1(eta);
    for k in (1..=steps).rev() {
        let time = k as f64 * eta;
        let alpha = schedule.alpha(time);
        // βV, without the noise 1/β that may be larger than any square.
        let variance = beta * (alpha * deviation).powi(2) - libm::expm1(-2.0 * time);
        let slope = 1.0 + eta - strength * eta / variance;
        offset = slope * offset + alpha * lag * mean;
        spread = (slope * spread).hypot(noise);
        product *= slope;
    }
    ((mean + offset, spread), product)
}

fn w2(a: Normal, b: Normal) -> f64 {
    (a.0 - b.0).hypot(a.1 - b.1)
}
