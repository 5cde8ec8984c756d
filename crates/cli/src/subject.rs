//! What `train localize` and `train chain` look at: a target, a data file or a run, as draws of X with their exact posterior.
//!
//! # Design
//!
//! A SPEC is a folder (a run), a file that ends in .json (a target, or a config with one), or a data file. Targets and data are
//! taken in their own coordinates, a network in the standardised coordinates it was trained in, together with the points that
//! it was trained on: the diagnostics of a run say what its sampler meets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use brenier_eval::localization::network::{DensityPath, NetworkPosterior};
use brenier_eval::localization::{Method, Settings, Source as KnownFrom, Subject};
use brenier_measure::data::{DataSet, Standardization};
use brenier_measure::{Denoiser, Empirical, PosteriorCovariance, Purpose, Sample, Stream, TargetConfig};
use brenier_model::ScoreNetwork;
use brenier_training::run_directory::{CheckpointSelector, RunDirectory};
use burn::tensor::{DType, Device};
use ndarray::Array2;
use tracing::warn;

use crate::arguments::TextFiles;
use crate::config;
use crate::device::{self, DeviceName};
use crate::error::Error;
use crate::interruption;
use crate::methods::wiring::{Flags, OpenedFor};
use crate::methods::{open, wiring};
use crate::output_file;
use crate::points;
use crate::run::opened::{StoredRun, TrainedRun};

/// The number of draws that stand in for a target whose posterior is not known.
const STAND_IN_DRAWS: u64 = 16_384;

/// The number of samples of a run that stand in for its training data where the file is gone.
const NETWORK_DRAWS: u64 = 4_096;

/// Steps of the ODE of a network's log-density.
const DENSITY_STEPS: usize = 64;

/// How a SPEC is opened.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Where a network computes; the CPU without.
    pub device: Option<DeviceName>,
    /// Which checkpoint of a run.
    pub checkpoint: CheckpointSelector,
    /// The seed of every draw; without, that of a run or 0.
    pub seed: Option<u64>,
    /// How text files are read.
    pub text_files: TextFiles,
    /// Where the data of a run are now, if they have moved.
    pub data: Option<PathBuf>,
}

/// What a SPEC names, ready to be examined.
pub struct Examined {
    /// The name of the file or folder, without its extension.
    pub name: String,
    /// The SPEC as it was given.
    pub spec: PathBuf,
    /// The files behind the SPEC: those of its data.
    files: Vec<PathBuf>,
    /// The dimension d.
    pub dim: usize,
    /// Names of the coordinates, where the data have them.
    pub columns: Option<Vec<String>>,
    /// Draws of X.
    pub sampler: Arc<dyn Sample>,
    /// The posterior of rX given `Y_r`.
    pub posterior: Arc<dyn PosteriorCovariance + Send + Sync>,
    /// `E[X | X + σZ]`, in f64 on the CPU, or on the device of the network.
    pub denoiser: Option<Arc<dyn Denoiser + Send + Sync>>,
    /// What the SPEC turned out to be.
    pub kind: Kind,
    /// What the posterior is known from.
    pub known_from: KnownFrom,
    /// The seed of every draw.
    pub seed: u64,
    /// What a reader of the results must know.
    pub notes: Vec<String>,
}

/// What a SPEC turned out to be.
pub enum Kind {
    /// A target in closed form.
    Target(TargetConfig),
    /// The points of a file, n of them.
    Data {
        /// How many.
        count: usize,
    },
    /// The law of a run.
    Run(Box<RunSubject>),
}

/// The law of a run, and the way into its coordinates.
pub struct RunSubject {
    /// Where it is stored.
    directory: RunDirectory,
    /// From original to standardised coordinates.
    pub standardization: Standardization,
    /// The step of the checkpoint.
    pub step: u64,
    /// The score network, where the law is that of one and not known exactly.
    pub network: Option<NetworkSubject>,
    /// What is examined, in words: `network`, `exact law` or `draws`.
    pub examined: &'static str,
}

/// A score network under examination.
pub struct NetworkSubject {
    /// The averaged network: in f64 on the CPU, in f32 elsewhere.
    pub network: ScoreNetwork,
    /// How its log-density is found.
    pub path: DensityPath,
    /// Where it computes.
    pub device: Device,
    /// The number type it computes in.
    pub dtype: DType,
}

impl Examined {
    /// Opens a SPEC; the number of threads must be set before.
    ///
    /// # Errors
    ///
    /// Nothing there, or nothing that is a target, a config, a data file or a run.
    pub fn open(spec: &Path, opening: &Opening) -> Result<Self, Error> {
        let is_json = spec.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if !spec.exists() {
            return Err(Error::no_spec(spec));
        }
        if spec.is_dir() {
            return Self::run(spec, opening);
        }
        if opening.device.is_some_and(|device| device != DeviceName::Cpu) {
            warn!("{}: computed in f64 on the CPU, whatever the device", spec.display());
        }
        if !is_json {
            let data = points::read(spec, None, opening.text_files)?;
            return Self::data(spec, vec![spec.to_owned()], data, opening);
        }
        match config::load::load_target(spec)? {
            TargetConfig::Dataset(dataset) => {
                if dataset.noise > 0.0 {
                    warn!("the points of {} are taken as they stand, without the noise", dataset.path.display());
                }
                if dataset.weight.is_some() {
                    let message = format!("{} weighs its points, and the diagnostics count them alike", spec.display());
                    return Err(Error::bad_input(message)
                        .hint("leave `weight` out, or resample the data by their weights first"));
                }
                let data = DataSet::load(&dataset)?;
                Self::data(spec, TargetConfig::Dataset(dataset).files(), data, opening)
            }
            target => Self::target(spec, target, opening),
        }
    }

    /// Refuses a file that an answer must not be written to: one that a run is stored in, or one behind the SPEC.
    ///
    /// # Errors
    ///
    /// Those of [`output_file`].
    pub fn check_output(&self, out: &Path) -> Result<(), Error> {
        if let Kind::Run(run) = &self.kind {
            output_file::check_outside_run(out, &run.directory)?;
        }
        output_file::check(out, &self.files)
    }

    /// Opens a SPEC whose coordinates are those of another one: columns are matched by name where both have names.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and other names.
    pub fn open_beside(spec: &Path, opening: &Opening, other: &Self) -> Result<Self, Error> {
        let is_data =
            !spec.is_dir() && spec.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("json"));
        if !(is_data && spec.exists()) {
            return Self::open(spec, opening);
        }
        let mut data = points::read(spec, None, opening.text_files)?;
        if data.points.ncols() == other.dim {
            let (names, own) = (other.columns.as_deref(), data.columns.clone());
            data.points = points::in_order_of(names, &other.spec, data.points, own.as_deref(), spec)?;
        }
        Self::data(spec, vec![spec.to_owned()], data, opening)
    }

    /// What the diagnostics take.
    pub fn subject(&self) -> Subject<'_> {
        Subject { sampler: self.sampler.as_ref(), posterior: self.posterior.as_ref() }
    }

    /// What the law of L_r is computed with: quadrature where it can be, else so many draws.
    pub fn settings(&self, draws: usize) -> Settings {
        Settings { method: Method::of(&self.subject(), self.known_from), draws, seed: self.seed }
    }

    /// The posterior, for a network with log-densities where they are wanted: they cost far more than the rest.
    pub fn posterior_with_density(&self, wanted: bool) -> Arc<dyn PosteriorCovariance + Send + Sync> {
        match self.network() {
            Some(network) if wanted => Arc::new(network.posterior().with_log_density(network.path)),
            _ => self.posterior.clone(),
        }
    }

    /// The score network, where the SPEC is a run that is known through one.
    pub fn network(&self) -> Option<&NetworkSubject> {
        match &self.kind {
            Kind::Run(run) => run.network.as_ref(),
            Kind::Target(_) | Kind::Data { .. } => None,
        }
    }

    /// The posterior mean at every noise level, where the SPEC has one.
    pub fn denoiser(&self) -> Option<&dyn Denoiser> {
        self.denoiser.as_deref().map(|denoiser| denoiser as &dyn Denoiser)
    }

    /// A target in closed form; one without a posterior is stood in for by its draws.
    fn target(spec: &Path, config: TargetConfig, opening: &Opening) -> Result<Self, Error> {
        let target = config.build_exact()?.expect("only a data set has no exact form");
        let sampler = target.sampler.ok_or_else(|| Error::no_draws("the diagnostics", target.name))?;
        let seed = opening.seed.unwrap_or(0);
        let (posterior, denoiser, sampler, known_from, notes) = match (target.posterior, target.denoiser) {
            (Some(posterior), denoiser) => (posterior, denoiser, sampler, KnownFrom::Measure, Vec::new()),
            (None, _) => {
                let draws = sampler.sample(&Stream::new(seed, Purpose::Evaluation), 0, 0..STAND_IN_DRAWS);
                let note = format!(
                    "the posterior of `{}` has no closed form: the empirical measure of {STAND_IN_DRAWS} draws stands in for it",
                    target.name
                );
                warn!("{}: {note}", spec.display());
                let empirical = Arc::new(Empirical::new(draws)?);
                let notes = vec![note, FINE_NOISE.to_owned()];
                let known_from = KnownFrom::Points(STAND_IN_DRAWS as usize);
                (empirical.clone() as _, Some(empirical.clone() as _), empirical as Arc<dyn Sample>, known_from, notes)
            }
        };
        Ok(Self {
            name: stem(spec),
            spec: spec.to_owned(),
            files: config.files(),
            dim: sampler.dim(),
            columns: None,
            sampler,
            posterior,
            denoiser,
            kind: Kind::Target(config),
            known_from,
            seed,
            notes,
        })
    }

    /// The empirical measure of points.
    fn data(spec: &Path, files: Vec<PathBuf>, data: DataSet, opening: &Opening) -> Result<Self, Error> {
        let DataSet { points, columns, .. } = data;
        let count = points.nrows();
        if let Some(x) = points.iter().find(|x| x.abs() > LARGEST) {
            return Err(Error::bad_input(format!("{} holds {x:e}, whose powers overflow", spec.display()))
                .hint("rescale the data: the signal-to-noise ratio r of rescaled data is r over the factor"));
        }
        let empirical = Arc::new(Empirical::new(points)?);
        Ok(Self {
            name: stem(spec),
            spec: spec.to_owned(),
            files,
            dim: empirical.dim(),
            columns,
            sampler: empirical.clone(),
            posterior: empirical.clone(),
            denoiser: Some(empirical),
            kind: Kind::Data { count },
            known_from: KnownFrom::Points(count),
            seed: opening.seed.unwrap_or(0),
            notes: vec![FINE_NOISE.to_owned()],
        })
    }

    /// The law of a run: exactly where it is known so, else through its score network, else through draws of it.
    fn run(spec: &Path, opening: &Opening) -> Result<Self, Error> {
        let device = device::open(&opening.device.unwrap_or_default())?;
        let stored = StoredRun::open(spec, opening.checkpoint, opening.data.as_deref())?;
        let seed = opening.seed.unwrap_or(stored.record.config.seed);
        // Only a network is examined at the data that it was trained on: it knows nothing of where they are.
        let problem = match stored.record.problem() {
            Err(error) if opening.data.is_some() || !data_file_is_gone(&stored) => return Err(error),
            problem => problem,
        };
        let go_on = || !interruption::asked();
        // A network without data is drawn from, as is a law that knows nothing else of itself.
        let opened_for = if problem.is_ok() && wiring(&stored.record.config.method).has_score_network() {
            OpenedFor::Knowledge
        } else {
            OpenedFor::Samples
        };
        let flags = Flags { opened_for, ..Flags::default() };
        let run = open(stored, &flags, problem.as_ref().ok(), &device, &go_on, true)?;
        let (files, columns) = (run.record.config.target.files(), run.record.data.columns.clone());
        let subject = |network, examined| RunSubject {
            directory: run.directory.clone(),
            standardization: run.record.data.standardization.clone(),
            step: run.step,
            network,
            examined,
        };
        let examined = |sampler: Arc<dyn Sample>, posterior, denoiser, run, known_from, notes| Self {
            name: stem(spec),
            spec: spec.to_owned(),
            files: files.clone(),
            dim: sampler.dim(),
            columns: columns.clone(),
            sampler,
            posterior,
            denoiser: Some(denoiser),
            kind: Kind::Run(Box::new(run)),
            known_from,
            seed,
            notes,
        };
        if run.sampler.score_network().is_none() && device != Device::flex() {
            warn!("{}: computed in f64 on the CPU, whatever the device", spec.display());
        }
        if let Some(law) = run.sampler.closed_form() {
            let law = Arc::new(law.clone());
            let run = subject(None, "exact law");
            return Ok(examined(law.clone(), law.clone() as _, law as _, run, KnownFrom::Measure, Vec::new()));
        }
        let Some(network) = run.sampler.score_network() else {
            let empirical = Arc::new(draws(&run, STAND_IN_DRAWS, seed, &go_on)?);
            let note = format!(
                "the run has neither an exact law nor a score network: the empirical measure of {STAND_IN_DRAWS} draws stands in for it"
            );
            warn!("{}: {note}", spec.display());
            let (run, known_from) = (subject(None, "draws"), KnownFrom::Points(STAND_IN_DRAWS as usize));
            let notes = vec![note, FINE_NOISE.to_owned()];
            return Ok(examined(empirical.clone(), empirical.clone() as _, empirical as _, run, known_from, notes));
        };
        let mut notes = Vec::new();
        let sampler = match problem {
            Ok(problem) => Arc::new(problem.samples("the points of a network")?.source.clone()) as Arc<dyn Sample>,
            Err(error) => {
                let note = format!(
                    "the run's data file is gone, so X is drawn from the network itself: {NETWORK_DRAWS} samples"
                );
                warn!("{}: {note} ({error})", spec.display());
                notes.push(note);
                Arc::new(draws(&run, NETWORK_DRAWS, seed, &go_on)?)
            }
        };
        // In f64 where the device can: eigenvalues close to zero are differences.
        let dtype = if device == Device::flex() { DType::F64 } else { DType::F32 };
        let network = network.clone().cast(dtype);
        let posterior = Arc::new(NetworkPosterior::of(&network, dtype, &device));
        let sigma_max =
            run.record.config.evaluation.sigma_max.expect("a run with a score network has a range of noise levels");
        let path = DensityPath { sigma_max, steps: DENSITY_STEPS, seed };
        let denoiser = Arc::new(network.clone());
        let run = subject(Some(NetworkSubject { network, path, device: device.clone(), dtype }), "network");
        Ok(examined(sampler, posterior as _, denoiser as _, run, KnownFrom::Network, notes))
    }
}

/// Coordinates beyond this one are refused.
const LARGEST: f64 = 1e75;

/// What every reader of results on points must know.
pub const FINE_NOISE: &str = "X is one of finitely many points: where the noise is finer than their spacing, the posterior sits on one of \
                          them and L_r falls to 0";

impl NetworkSubject {
    /// The posterior of the network.
    pub fn posterior(&self) -> NetworkPosterior<ScoreNetwork> {
        NetworkPosterior::of(&self.network, self.dtype, &self.device)
    }
}

impl RunSubject {
    /// `W` of `y = W((x - shift)/scale)`, row by row; `None` where it is the identity.
    pub fn whitening(&self) -> Option<Vec<Vec<f64>>> {
        self.standardization.whitening.as_ref()?;
        // W is symmetric: the images of the unit vectors, one a row, are its rows.
        let matrix = self.standardization.whiten(Array2::eye(self.standardization.dim()));
        Some(matrix.rows().into_iter().map(|row| row.to_vec()).collect())
    }
}

/// Whether the file that a run was trained on is not there any more.
fn data_file_is_gone(run: &StoredRun) -> bool {
    matches!(&run.record.config.target, TargetConfig::Dataset(dataset) if !dataset.path.exists())
}

/// The empirical measure of samples of a run, in standardised coordinates.
fn draws(run: &TrainedRun, count: u64, seed: u64, go_on: &(dyn Fn() -> bool + Sync)) -> Result<Empirical, Error> {
    let samples = run.law().draw_all(seed, 0..count, go_on)?;
    Ok(Empirical::new(run.record.data.standardization.apply(&samples))?)
}

/// The name of a file without folder and extension (`points` of `data/points.csv.gz`), or that of a folder.
pub fn stem(path: &Path) -> String {
    let whole = path.canonicalize();
    let path = whole.as_deref().unwrap_or(path);
    let name = path.file_name().map_or_else(|| "subject".into(), |name| name.to_string_lossy());
    if path.is_dir() {
        return name.into_owned();
    }
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    Path::new(name).file_stem().map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_loses_its_folder_and_its_extensions() {
        let names = ["a/two_points.json", "points.csv.gz", "train-images-idx3-ubyte", "v1.5.npy"];
        assert_eq!(
            names.map(|name| stem(Path::new(name))),
            ["two_points", "points", "train-images-idx3-ubyte", "v1.5"]
        );
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("ring.v2");
        std::fs::create_dir(&run).unwrap();
        assert_eq!(stem(&run), "ring.v2");
    }
}
