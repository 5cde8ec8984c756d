//! The diagnostics that are curves: against the signal-to-noise ratio, against time, and their worst place.

use brenier_eval::EvalError;
use brenier_eval::localization::network::Asymmetry;
use brenier_eval::localization::{
    Hardest, Method, Progress, Settings, SnrReport, TimeReport, at_snrs, at_times, hardest, hardest_range,
};
use brenier_measure::{Points, Purpose, Stream};
use serde::Serialize;
use tracing::warn;

use crate::arguments::LocalizeArguments;
use crate::error::Error;
use crate::interruption;
use crate::list::List;
use crate::progress::Watched;
use crate::subject::Examined;
use crate::table::number;

/// A relative asymmetry that is no longer small.
const ASYMMETRIC: f64 = 0.2;

/// Values of `Y_r` at which the asymmetry of a network is looked at.
const ASYMMETRY_DRAWS: u64 = 64;

/// The step of the stream of those values: no draw of the diagnostics has it.
const ASYMMETRY_STEP: u64 = u64::MAX;

/// What is asked of a SPEC.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Signal-to-noise ratios.
    pub snrs: Vec<f64>,
    /// Levels of the survival function.
    pub levels: Vec<f64>,
    /// The δ of the integrated tail.
    pub deltas: Vec<f64>,
    /// Times of the chain.
    pub times: Vec<f64>,
    /// Times between which curves are drawn: without a list not the first, where ζ* = 1/(1 - e^{-2t}) hides all the rest.
    pub drawn_times: Vec<f64>,
    /// Richness of perturbations.
    pub richness: Vec<f64>,
    /// The inverse temperature.
    pub beta: f64,
    /// Draws at one r, where it takes draws.
    pub draws: u32,
}

impl Asked {
    /// The lists of a command line, and the default of each that is not given.
    pub fn new(arguments: &LocalizeArguments) -> Self {
        let or = |list: &Option<List>, default: &[f64]| list.as_ref().map_or(default.to_vec(), |list| list.0.clone());
        let even = |last: f64| (0..=20).map(|i| last * f64::from(i) / 20.0).collect::<Vec<_>>();
        Self {
            snrs: or(&arguments.snr, &[0.1, 0.2, 0.3, 0.5, 0.71, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0]),
            levels: or(&arguments.levels, &even(2.0)),
            deltas: or(&arguments.deltas, &even(1.0)),
            times: or(&arguments.times, &[0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0]),
            drawn_times: or(&arguments.times, &[0.05, 2.0]),
            richness: or(&arguments.richness, &[1.0, 2.0, 3.0, 4.0, 5.0]),
            beta: arguments.beta,
            draws: arguments.draws,
        }
    }
}

/// The curves of one SPEC.
#[derive(Debug, Clone)]
pub struct Curves {
    /// At every r.
    pub per_snr: Vec<SnrReport>,
    /// `P(L_r > 1)` at every r.
    pub above_one: Vec<f64>,
    /// At every t.
    pub per_time: Vec<TimeReport>,
    /// Where m* is largest; nothing where it is 0 everywhere.
    pub hardest: Option<Hardest>,
    /// The range of r in which it was searched.
    pub hardest_range: (f64, f64),
    /// How the law of L_r was found.
    pub method: Method,
    /// Draws at one r, where it took draws.
    pub draws: Option<u32>,
    /// How far a network's Jacobian is from symmetric.
    pub asymmetry: Option<Vec<AsymmetryAt>>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// The asymmetry of a network's Jacobian at draws of `Y_r`.
#[derive(Debug, Clone, Serialize)]
pub struct AsymmetryAt {
    /// The signal-to-noise ratio r.
    pub snr: f64,
    /// Its spread over the draws.
    #[serde(flatten)]
    pub asymmetry: Asymmetry,
}

impl Curves {
    /// Computes all that is asked of a SPEC.
    ///
    /// # Errors
    ///
    /// An interruption, and a law that is not finite.
    pub fn of(examined: &Examined, asked: &Asked, quiet: bool) -> Result<Self, Error> {
        let settings = examined.settings(asked.draws as usize);
        match Self::by(examined, asked, &settings, quiet) {
            // Quadrature has not found all of the mass; draws need not.
            Err(EvalError::Mass { snr, mass }) => {
                let settings = Settings { method: Method::MonteCarlo, ..settings };
                let mut curves = Self::by(examined, asked, &settings, quiet)?;
                let note = format!(
                    "by draws: quadrature at r = {} finds a mass of {mass} instead of 1, for parts too narrow and rare, or too far \
                     out for the digits of y",
                    number(snr)
                );
                warn!("{}: {note}", examined.spec.display());
                curves.notes.push(note);
                Ok(curves)
            }
            found => Ok(found?),
        }
    }

    fn by(examined: &Examined, asked: &Asked, settings: &Settings, quiet: bool) -> Result<Self, EvalError> {
        let subject = examined.subject();
        let label = |what: &str| format!("{}: {what}", examined.name);
        // P(L > 1) is where log p is not concave; it is computed with the levels, asked for or not.
        let asked_for_one = asked.levels.contains(&1.0);
        let levels: Vec<f64> = asked.levels.iter().copied().chain((!asked_for_one).then_some(1.0)).collect();
        let mut per_snr = watched(label("noise levels"), quiet, |watch| {
            at_snrs(&subject, &asked.snrs, &levels, &asked.deltas, settings, watch)
        })?;
        let of_one =
            |report: &SnrReport| report.survival.iter().find(|point| point.level == 1.0).map(|p| p.probability);
        let above_one = per_snr.iter().map(|report| of_one(report).unwrap_or(f64::NAN)).collect();
        per_snr.iter_mut().for_each(|report| report.survival.truncate(asked.levels.len()));
        let per_time = watched(label("times"), quiet, |watch| {
            at_times(&subject, &asked.times, asked.beta, &asked.richness, settings, watch)
        })?;
        let hardest =
            watched(label("the hardest noise level"), quiet, |watch| hardest(&subject, asked.beta, settings, watch))?;
        let hardest_range = hardest_range(&subject, settings)?;
        let method = settings.method;
        let draws = (method == Method::MonteCarlo).then_some(asked.draws);
        let asymmetry = asymmetry(examined, &asked.snrs);
        let mut notes = Vec::new();
        let medians = asymmetry.iter().flatten().map(|at| (at.snr, at.asymmetry.median));
        if let Some((snr, worst)) = medians.max_by(|a, b| a.1.total_cmp(&b.1)) {
            let mut note = format!(
                "L_r of a network is that of the symmetric part of its Jacobian J; ‖J - Jᵀ‖/‖J‖ has a median of up to {worst:.2}, \
                 at r = {}",
                number(snr)
            );
            if worst > ASYMMETRIC {
                note += ", where J is far from the posterior covariance of any measure: the numbers describe the network, \
                         not its data";
            }
            notes.push(note);
        }
        Ok(Self { per_snr, above_one, per_time, hardest, hardest_range, method, draws, asymmetry, notes })
    }
}

/// Does work that tells how far it is, and stops at an interrupt.
pub fn watched<T>(
    label: String,
    quiet: bool,
    work: impl FnOnce(&mut dyn FnMut(Progress) -> bool) -> Result<T, EvalError>,
) -> Result<T, EvalError> {
    let mut watched = Watched::new(label, quiet);
    work(&mut |progress: Progress| {
        watched.update(progress.done as u64, progress.total as u64);
        !interruption::asked()
    })
}

/// `‖J - Jᵀ‖/‖J‖` of a network at draws of `Y_r = rX + Z` for every r.
fn asymmetry(examined: &Examined, snrs: &[f64]) -> Option<Vec<AsymmetryAt>> {
    let posterior = examined.network()?.posterior();
    let stream = Stream::new(examined.seed, Purpose::Localization);
    let x = examined.sampler.sample(&stream, ASYMMETRY_STEP, 0..ASYMMETRY_DRAWS);
    let mut z = Points::zeros(x.dim());
    for (row, mut z) in z.rows_mut().into_iter().enumerate() {
        let mut words = stream.at(ASYMMETRY_STEP, ASYMMETRY_DRAWS + row as u64);
        words.fill_normal(z.as_slice_mut().expect("rows are contiguous"));
    }
    let at = |&snr: &f64| AsymmetryAt { snr, asymmetry: posterior.asymmetry(snr, &(snr * &x + &z)) };
    Some(snrs.iter().map(at).collect())
}
