//! The sample paths of a gallery: diffused from the target and from the origin, and denoised again.
//!
//! Liang, Dharmakeerthi, Koriyama (2411.01629): K = 100 steps of size η = 0.01.

use brenier_eval::chain::{Chain, Fans, Forward, Paths, Scheme, Settings, Start, Target, fans};
use brenier_eval::figures::{Fan, Format, Marginal, PathFans, path_fans};
use burn::tensor::{DType, Device};

use super::figure::Picture;
use crate::error::Error;
use crate::interruption;
use crate::subject::{Examined, Kind};

/// Particles: all make the laws at both ends, the first of them are drawn as paths.
const PARTICLES: usize = 1000;

/// The paths of a law on the line; nothing for a network, or in the plane.
///
/// # Errors
///
/// An interruption, and particles that leave the numbers.
pub fn draw(examined: &Examined, beta: f64, format: Format) -> Result<Option<Picture>, Error> {
    let (Some(denoiser), 1, false) = (examined.denoiser(), examined.dim, matches!(examined.kind, Kind::Run(_))) else {
        return Ok(None);
    };
    let chain = Chain { steps: 100, eta: 0.01, beta, forward: Forward::Exact, scheme: Scheme::Ode };
    let device = Device::flex();
    let target =
        Target { sampler: examined.sampler.as_ref(), denoiser, line: None, dtype: DType::F64, device: &device };
    let settings = Settings { particles: PARTICLES, seed: examined.seed };
    let of = |start: Start| fans(&chain, &target, start, &settings, &|| !interruption::asked());
    let (from_target, from_origin) = (of(Start::Target)?, of(Start::Point(&[0.0]))?);
    let pair = |what: &str, paths: fn(&Fans) -> &Paths| {
        [("target", paths(&from_target)), ("origin", paths(&from_origin))]
            .map(|(start, paths)| fan(format!("{start}: {what}"), paths))
    };
    let fans = [
        pair("diffused", |fans| &fans.forward),
        pair("back by transport maps", |fans| &fans.ode),
        pair("back by the stochastic chain", |fans| &fans.sde),
    ];
    let figure = PathFans {
        title: format!("{}: diffuse, then denoise", examined.name),
        fans: fans.into_iter().flatten().collect(),
        ..PathFans::default()
    };
    Ok(Some(Picture::new(format!("{}_paths", examined.name), path_fans(&figure, format)?)))
}

fn fan(title: String, paths: &Paths) -> Fan {
    let places = |k: usize| Marginal { samples: paths.points[k].iter().copied().collect(), ..Marginal::default() };
    let (first, last) = (places(0), places(paths.times.len() - 1));
    // The law at the least time stands on the left, which a backward chain reaches last.
    let (left, right) = if paths.times.first() < paths.times.last() { (first, last) } else { (last, first) };
    Fan { title, times: paths.times.clone(), paths: paths.coordinate(0), left, right }
}
