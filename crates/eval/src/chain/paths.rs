//! Sample paths of the chains, for pictures: forward fans, and the way back from their ends.

use brenier_measure::Points;

use super::{Chain, Scheme, Settings, Start, Target};
use crate::EvalError;

/// The paths of some particles: their places at each time.
#[derive(Debug, Clone, PartialEq)]
pub struct Paths {
    /// The times kη, in the order in which they are passed.
    pub times: Vec<f64>,
    /// The places at each of them, `[n, d]`.
    pub points: Vec<Points>,
}

impl Paths {
    fn new(time: f64, points: Points) -> Self {
        Self { times: vec![time], points: vec![points] }
    }

    fn push(&mut self, time: f64, points: Points) {
        self.times.push(time);
        self.points.push(points);
    }

    /// One coordinate of each particle along its path, `[n][times]`.
    pub fn coordinate(&self, j: usize) -> Vec<Vec<f64>> {
        let count = self.points[0].nrows();
        (0..count).map(|i| self.points.iter().map(|points| points[[i, j]]).collect()).collect()
    }
}

/// The paths that start in one law: forward, and back from there by both schemes.
#[derive(Debug, Clone, PartialEq)]
pub struct Fans {
    /// The forward chain.
    pub forward: Paths,
    /// Back by the transport maps.
    pub ode: Paths,
    /// Back by the stochastic chain.
    pub sde: Paths,
}

/// The paths of particles from a start.
///
/// # Errors
///
/// As for [`Chain::run`].
pub fn fans(
    chain: &Chain,
    target: &Target,
    start: Start,
    settings: &Settings,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Fans, EvalError> {
    chain.validate()?;
    start.check(target)?;
    let zero = start.draws(target, settings);
    let mut forward = Paths::new(0.0, zero.clone());
    let end = chain.forward(zero, settings.seed, &mut |k, points| {
        forward.push(k as f64 * chain.eta, points.clone());
        go_on()
    })?;
    let back = |scheme: Scheme| -> Result<Paths, EvalError> {
        let mut paths = Paths::new(chain.horizon(), end.clone());
        // Steps that a tile before has made already are completed by the next tile.
        Chain { scheme, ..*chain }.backward(target, &end, settings.seed, &mut |first, step, tile| {
            if first == 0 {
                paths.push((chain.steps - step) as f64 * chain.eta, tile.clone());
            } else {
                let _ = paths.points[step].append(ndarray::Axis(0), tile.view());
            }
            go_on()
        })?;
        Ok(paths)
    };
    Ok(Fans { ode: back(Scheme::Ode)?, sde: back(Scheme::Sde)?, forward })
}
