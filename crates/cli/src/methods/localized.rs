//! The localization curve of a run: where its training data ask a solver to step. Computed once, kept in localization.json.
//!
//! # Design
//!
//! A localized grid is a function of the training data in the network's coordinates, of the solver and of the number of steps. The first
//! is the curve, which every run keeps: samples are drawn where the data are not. The curve is a function of the run's config, so a
//! file that is missing, damaged or of another run is made again wherever the data are at hand, with the same bits.

use brenier_eval::EvalError;
use brenier_eval::localization::{CurveSettings, OptimizationSettings, SamplingCurve, Solver, optimized_levels};
use brenier_measure::Points;
use brenier_model::{GridConfig, SamplerConfig};
use brenier_training::NoiseLevels;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::error::Error;
use crate::methods::score_matching::config::NoiseLevelsConfig;
use crate::progress::Progress;
use crate::run::RunView;

/// The file of a run directory that holds the curve.
pub const LOCALIZATION: &str = "localization.json";

/// What the file says of itself.
const FORMAT: &str = "brenier-localization";
const VERSION: u64 = 2;

/// The most training points that the curve is chosen from.
const POINTS: usize = 4096;

/// Quantiles in the table of a localized distribution of noise levels.
const QUANTILES: usize = 1024;

/// The file [`LOCALIZATION`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: String,
    format_version: u64,
    /// The program that computed it.
    program_version: String,
    /// What it was computed from ([`RunRecord::fingerprint`](crate::run::record::RunRecord::fingerprint)).
    fingerprint: String,
    /// The curve, in standardised coordinates.
    curve: SamplingCurve,
    /// Refined grids that were asked for, each once.
    optimized: Vec<OptimizedGrid>,
}

/// The levels of a refined grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OptimizedGrid {
    solver: Solver,
    steps: usize,
    levels: Vec<f64>,
}

/// The curve of one run, read or computed when it is asked for.
#[derive(Clone, Copy)]
pub struct Localization<'a>(pub RunView<'a>);

impl Localization<'_> {
    /// Sees to it that the curve is kept.
    ///
    /// # Errors
    ///
    /// Data that cannot be read or have no curve, an interruption.
    pub fn keep(&self) -> Result<(), Error> {
        self.record().map(drop)
    }

    /// The curve, where it is kept.
    ///
    /// # Errors
    ///
    /// In words, why what is kept cannot be used.
    pub fn kept_curve(&self) -> Result<Option<SamplingCurve>, String> {
        Ok(self.read()?.map(|record| record.curve))
    }

    /// The levels of a localized grid for a sampler.
    ///
    /// # Errors
    ///
    /// A sampler that steps elsewhere; no curve, and no data to compute it from; an interruption.
    pub fn levels(&self, grid: GridConfig, sampler: &SamplerConfig, steps: usize) -> Result<Vec<f64>, Error> {
        grid.fits(sampler).map_err(|reason| {
            Error::bad_input(reason).hint("choose another grid with `--grid`, or another sampler with `--sampler`")
        })?;
        let solver = Solver::of(sampler).expect("a sampler that a localized grid fits is a solver");
        let mut record = self.record()?;
        if grid == GridConfig::Localized {
            return Ok(record.curve.levels(solver, steps)?);
        }
        if let Some(known) = record.optimized.iter().find(|known| known.solver == solver && known.steps == steps) {
            return Ok(known.levels.clone());
        }
        let points = self.points()?;
        let levels = self.watched("refining the grid", |watch| {
            let settings = OptimizationSettings { curve: self.settings(), ..OptimizationSettings::default() };
            optimized_levels(&points, &record.curve, solver, steps, &settings, watch)
        })?;
        record.optimized.push(OptimizedGrid { solver, steps, levels: levels.clone() });
        record.optimized.sort_by_key(|known| (known.solver as usize, known.steps));
        self.write(&record);
        Ok(levels)
    }

    /// The distribution of noise levels that a config asks for.
    ///
    /// # Errors
    ///
    /// No curve, and no data to compute it from; an interruption.
    pub fn noise_levels(&self, config: &NoiseLevelsConfig) -> Result<NoiseLevels, Error> {
        let (share, floor) = match config {
            NoiseLevelsConfig::Given(levels) => return Ok(levels.clone()),
            NoiseLevelsConfig::FromData(from_data) => from_data.parts(),
        };
        let table =
            NoiseLevels::Tabulated { sigma: self.record()?.curve.noise_level_quantiles(Solver::Heun, QUANTILES) };
        let parts: [(f64, &dyn Fn(f64) -> f64); 2] =
            [(share, &|u| table.quantile(u)), (1.0 - share, &|u| floor.quantile(u))];
        Ok(NoiseLevels::mixture(QUANTILES, &parts))
    }

    /// The kept record, or a new one that is kept from now on.
    fn record(&self) -> Result<Record, Error> {
        match self.read() {
            Ok(Some(record)) => return Ok(record),
            Ok(None) => {}
            Err(damage) => warn!("{damage}; it is computed anew"),
        }
        let points = self.points()?;
        let curve =
            self.watched("localization curve", |watch| SamplingCurve::of_points(&points, &self.settings(), watch))?;
        let record = Record {
            format: FORMAT.to_owned(),
            format_version: VERSION,
            program_version: crate::arguments::VERSION.to_owned(),
            fingerprint: self.0.record.fingerprint(),
            curve,
            optimized: Vec::new(),
        };
        self.write(&record);
        Ok(record)
    }

    /// The record of this run, if it is kept and sound.
    fn read(&self) -> Result<Option<Record>, String> {
        let Some(directory) = self.0.directory else { return Ok(None) };
        match directory.read_record::<Record>(LOCALIZATION, FORMAT, VERSION) {
            Ok(Some(record)) if record.fingerprint != self.0.record.fingerprint() => {
                Err(format!("{LOCALIZATION} is that of another run"))
            }
            Ok(record) => Ok(record),
            Err(damage) => Err(format!("{LOCALIZATION} cannot be used: {damage}")),
        }
    }

    /// Keeps the record; a folder that cannot be written costs the time to compute it again, and no samples.
    fn write(&self, record: &Record) {
        let Some(directory) = self.0.directory else { return };
        match directory.write_record(LOCALIZATION, record) {
            Ok(()) => info!("{} is kept in the run", directory.path().join(LOCALIZATION).display()),
            Err(error) => warn!("{LOCALIZATION} could not be kept: {error}"),
        }
    }

    fn settings(&self) -> CurveSettings {
        CurveSettings { seed: self.0.record.config.seed, ..CurveSettings::default() }
    }

    /// Training points in standardised coordinates.
    fn points(&self) -> Result<Points, Error> {
        let (config, count) = (&self.0.record.config, POINTS);
        match self.0.problem {
            Some(problem) => problem.training_points(count, config.seed),
            None => {
                let problem = self.0.record.problem().map_err(|error| without_curve(error, &config.name))?;
                problem.training_points(count, config.seed)
            }
        }
    }

    fn watched<T>(
        &self,
        label: &'static str,
        work: impl FnOnce(&mut dyn FnMut(f64) -> bool) -> Result<T, EvalError>,
    ) -> Result<T, Error> {
        let mut progress = Progress::new(100, 0, label, self.0.quiet);
        let made = work(&mut |fraction| {
            progress.update((100.0 * fraction) as u64, &[]);
            (self.0.go_on)()
        });
        Ok(made?)
    }
}

/// The curve of a localized grid that is neither kept in the run nor to be computed: its data cannot be loaded.
fn without_curve(error: Error, run: &str) -> Error {
    error
        .behind(format!(
            "the run {run} does not hold what this localized grid takes, and its data are not there to compute it from"
        ))
        .hint("put the data back where config.json names them and run the command once more, or choose another grid, such as `--grid karras`")
}
