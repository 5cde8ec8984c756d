//! Both chains on the line by quantiles: exact but for rounding, because the backward maps keep the order.
//!
//! With Q_ν, Q_μ the quantile functions of ν_T and μ_T and b the composition of the K backward maps, all that is asked is an
//! integral over the mass u: `E b(X_T) = ∫ b(Q_ν(u)) du`, and because b is increasing
//! `W₂²(b_#ν_T, μ₀) = ∫ |b(Q_ν(u)) - Q_{μ₀}(u)|² du`, `W₂²(b_#ν_T, b_#μ_T) = ∫ |b(Q_ν(u)) - b(Q_μ(u))|² du`.
//!
//! It is: `∇² log p_t ⪰ -β/(1 - e^{-2t})`, so that a step has slope `1 + η(1 + β⁻¹∇² log p_{kη}) ≥ 1 + η - η/(1 - e^{-2η}) > ½`.

use brenier_measure::Points;
use rayon::prelude::*;

use super::line::{MOST_ROUNDS, integrate};
use super::{Chain, Distance, End, Expansion, Line, Method, Outcome, Target};
use crate::{EvalError, Step};

/// The integrands at one node.
const INTEGRANDS: usize = 5;

/// Carries the target, and a start where it is another law, through both chains.
///
/// # Errors
///
/// Points that leave the numbers, an interruption.
pub(super) fn run(
    chain: &Chain,
    target: &Target,
    [start, target_line]: [&Line; 2],
    watch: &mut dyn FnMut(Step) -> bool,
) -> Result<Outcome, EvalError> {
    let (alpha, s) = chain.marginal(chain.steps);
    let (forward, forward_target) = (start.noised(alpha, s), target_line.noised(alpha, s));
    let same = start == target_line;
    let scale = target_line.variance() + start.variance() + (start.mean() - target_line.mean()).powi(2);
    // Moments about a point of the end: those about any other lose digits where it is far from there.
    let middle = Points::from_elem((1, 1), forward.quantile(0.0));
    let origin = chain.backward(target, &middle, 0, &mut |_, _, _| true)?[[0, 0]];
    let mut rounds = 0;
    let integrands = |zs: &[f64]| -> Result<Vec<[f64; INTEGRANDS]>, EvalError> {
        rounds += 1;
        let at = |line: &Line| zs.par_iter().map(|&z| line.quantile(z)).collect::<Vec<f64>>();
        let (x, goal) = (at(&forward), at(target_line));
        let y = if same { Vec::new() } else { at(&forward_target) };
        let both = Points::from_shape_vec((x.len() + y.len(), 1), [&x[..], &y].concat()).expect("one column");
        let mut go_on = |_: usize, _: usize, _: &Points| watch(Step { done: rounds, total: MOST_ROUNDS });
        let moved = chain.backward(target, &both, 0, &mut go_on)?;
        let moved = moved.column(0);
        let square = |a: f64, b: f64| (a - b) * (a - b);
        Ok((0..x.len())
            .map(|i| {
                let bx = moved[i];
                let (y, by) = if same { (x[i], bx) } else { (y[i], moved[x.len() + i]) };
                [bx - origin, square(bx, origin), square(bx, goal[i]), square(bx, by), square(x[i], y)]
            })
            .collect())
    };
    let [first, second, to_target, between, between_forward] =
        integrate(integrands, [target_line.variance().sqrt(), target_line.variance(), scale, scale, scale])?;
    let reference = Line::normal(0.0, chain.reference_deviation());
    let expansion = || -> Result<Expansion, EvalError> {
        let distances = [start.w2(target_line)?, between_forward.sqrt(), between.sqrt()];
        Ok(Expansion::new(distances, [0.0; 3], to_target.sqrt()))
    };
    Ok(Outcome {
        method: Method::Quadrature,
        backward: end(origin + first, second - first * first, to_target.sqrt()),
        expansion: if same { None } else { Some(expansion()?) },
        forward: end(forward.mean(), forward.variance(), forward.w2(&reference)?),
    })
}

/// What is known of a law on the line from its moments.
pub(super) fn end(mean: f64, variance: f64, w2: f64) -> End {
    End {
        mean: vec![mean],
        variance: vec![variance],
        covariance: Some(vec![vec![variance]]),
        mean_std_error: vec![0.0],
        variance_std_error: vec![0.0],
        w2: Distance { value: w2, std_error: 0.0, floor: 0.0 },
    }
}
