//! The pictures of `train localize`: one card a SPEC, in a file or a gallery.

use std::path::{Path, PathBuf};

use brenier_eval::figures::{
    ComplexityCurve, DensityRegions, Difficulty, Format, LocalizationFigure, SurvivalCurve, ZetaCurve,
    localization_card, write_atomically,
};
use brenier_eval::localization::{Law, Method, Settings, Subject, at_snrs, at_times, law};
use brenier_eval::log_grid;
use brenier_measure::{Points, Purpose, Stream};

use super::curves::{Asked, watched};
use crate::error::Error;
use crate::subject::{Examined, Kind};

/// The signal-to-noise ratios whose survival functions are drawn, low and high.
const SURVIVAL: [f64; 10] = [0.1, 0.25, 0.5, 0.75, 1.0, 1.1, 1.5, 2.0, 2.5, 3.0];

/// Those whose densities, or difficulties in the plane, are drawn.
const REGIONS: [f64; 3] = [0.71, 1.5, 3.0];

/// Points of a survival function.
const LEVELS: usize = 400;

/// Points of a density.
const PLACES: usize = 700;

/// Points in the plane.
const POINTS: u64 = 2000;

/// The step of the stream of the points that are drawn: no draw of the diagnostics has it.
const STEP: u64 = u64::MAX - 1;

/// Where pictures go.
#[derive(Debug)]
pub enum Destination {
    /// One picture.
    File(PathBuf, Format),
    /// A folder with a card for each SPEC, and its sample paths where it is a law on the line.
    Gallery(PathBuf),
}

/// A picture that is not written yet.
pub struct Picture {
    /// The name in a gallery, without extension.
    name: String,
    /// The file.
    bytes: Vec<u8>,
}

impl Picture {
    /// A picture with its name in a gallery.
    pub fn new(name: String, bytes: Vec<u8>) -> Self {
        Self { name, bytes }
    }
}

impl Destination {
    /// What `--figure` names, for so many SPECs.
    ///
    /// # Errors
    ///
    /// A folder or an unknown extension for one SPEC, a picture for several, a folder that is not there.
    pub fn new(path: &Path, specs: usize) -> Result<Self, Error> {
        let format = Format::of(path).ok();
        if specs > 1 {
            return match format {
                Some(_) if !path.is_dir() => {
                    let problem = format!("names a picture, and {specs} SPECs make {specs}");
                    Err(Error::figure(path, problem, "name a folder; it is made if need be"))
                }
                _ if path.exists() && !path.is_dir() => Err(Error::figure(
                    path,
                    "is a file",
                    "several SPECs fill a folder: name one; it is made if need be",
                )),
                _ => Ok(Self::Gallery(path.to_owned())),
            };
        }
        if path.is_dir() {
            let hint = "one SPEC makes one picture: name a .png or .svg file in it; several SPECs fill a folder";
            return Err(Error::figure(path, "is a folder", hint));
        }
        let Some(format) = format else {
            let hint = "one SPEC makes one picture: name a .png or .svg file";
            return Err(Error::figure(path, "is no picture that can be written", hint));
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        match parent {
            Some(parent) if !parent.is_dir() => {
                Err(Error::figure(path, "lies in a folder that is not there", "make it first"))
            }
            _ => Ok(Self::File(path.to_owned(), format)),
        }
    }

    /// The kind of file.
    pub fn format(&self) -> Format {
        match self {
            Self::File(_, format) => *format,
            Self::Gallery(_) => Format::Png,
        }
    }

    /// Whether sample paths are drawn too.
    pub fn holds_paths(&self) -> bool {
        matches!(self, Self::Gallery(_))
    }

    /// Writes the pictures, each whole or not at all, and gives their paths.
    ///
    /// # Errors
    ///
    /// A file or folder that cannot be written.
    pub fn write(&self, pictures: &[Picture]) -> Result<Vec<PathBuf>, Error> {
        let paths: Vec<PathBuf> = match self {
            Self::File(path, _) => vec![path.clone()],
            Self::Gallery(folder) => {
                std::fs::create_dir_all(folder).map_err(|error| Error::writing(folder, error))?;
                let name = |picture: &Picture| format!("{}.{}", picture.name, self.format().extension());
                pictures.iter().map(|picture| folder.join(name(picture))).collect()
            }
        };
        for (path, picture) in paths.iter().zip(pictures) {
            write_atomically(path, &picture.bytes)?;
        }
        Ok(paths)
    }
}

/// The card of one SPEC by one method, with the r at which it is hardest, if there is one.
///
/// # Errors
///
/// An interruption, and a law that is not finite.
pub fn draw(
    examined: &Examined,
    asked: &Asked,
    method: Method,
    hardest: Option<f64>,
    format: Format,
    quiet: bool,
) -> Result<Picture, Error> {
    let (subject, settings) = (examined.subject(), Settings { method, ..examined.settings(asked.draws as usize) });
    let label = |what: &str| format!("{}: figure, {what}", examined.name);
    let exact = settings.method == Method::Quadrature;
    let complexity = complexity(&subject, asked, &settings, label("complexity"), quiet)?;
    let figure = LocalizationFigure {
        title: title(examined),
        survival: survival(&subject, &settings, label("survival"), quiet)?,
        complexity: ComplexityCurve { hardest, ..complexity },
        zeta: zeta(&subject, asked, &settings, label("curvature"), quiet)?,
        regions: if exact { regions(examined) } else { Vec::new() },
        difficulty: if examined.dim == 2 { difficulty(examined) } else { Vec::new() },
    };
    Ok(Picture::new(examined.name.clone(), localization_card(&figure, format)?))
}

fn title(examined: &Examined) -> String {
    let Examined { name, dim, .. } = examined;
    match &examined.kind {
        Kind::Target(config) if config.exact().name() != name => {
            format!("{name} ({}), dimension {dim}", config.exact().name())
        }
        Kind::Target(_) => format!("{name}, dimension {dim}"),
        Kind::Data { count } => format!("{name}: {count} points, dimension {dim}"),
        Kind::Run(run) => format!("{name}: the {} at step {}, dimension {dim}, standardised", run.examined, run.step),
    }
}

/// `s_r(u)` on levels from 0 to where the last curve ends.
fn survival(
    subject: &Subject<'_>,
    settings: &Settings,
    label: String,
    quiet: bool,
) -> Result<Vec<SurvivalCurve>, Error> {
    let laws: Vec<Law> =
        watched(label, quiet, |watch| SURVIVAL.iter().map(|&snr| law(subject, snr, settings, watch)).collect())?;
    let curve = |(&snr, law): (&f64, &Law)| {
        let top = end(law);
        let level = |i: usize| top * i as f64 / (LEVELS - 1) as f64;
        SurvivalCurve { snr, points: (0..LEVELS).map(|i| (level(i), law.survival(level(i)).value)).collect() }
    };
    Ok(SURVIVAL.iter().zip(&laws).map(curve).collect())
}

/// A level beyond which hardly anything lies.
fn end(law: &Law) -> f64 {
    const HARDLY: f64 = 1e-3;
    let (mut low, mut high) = (0.0, 1.0);
    while law.survival(high).value > HARDLY && high < 1e12 {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..12 {
        let middle = f64::midpoint(low, high);
        if law.survival(middle).value > HARDLY { low = middle } else { high = middle }
    }
    // A curve that ends before 1.2 still shows where 1 is.
    (1.05 * high).max(1.2)
}

/// m*, δ* and E L between the least and the largest r that is asked for.
fn complexity(
    subject: &Subject<'_>,
    asked: &Asked,
    settings: &Settings,
    label: String,
    quiet: bool,
) -> Result<ComplexityCurve, Error> {
    let (count, sampled) = match settings.method {
        Method::Quadrature => (81, false),
        Method::MonteCarlo => (25, true),
    };
    let [low, high] = widened(&asked.snrs, [0.1, 10.0]);
    let snr = log_grid(low, high, count);
    let reports = watched(label, quiet, |watch| at_snrs(subject, &snr, &[], &[], settings, watch))?;
    let errors = |errors: Vec<f64>| if sampled { errors } else { Vec::new() };
    Ok(ComplexityCurve {
        snr,
        m_star: reports.iter().map(|report| report.m_star).collect(),
        m_star_std_error: errors(reports.iter().map(|report| report.m_star_std_error).collect()),
        delta_star: reports.iter().map(|report| report.delta_star).collect(),
        mean: reports.iter().map(|report| report.mean).collect(),
        mean_std_error: errors(reports.iter().map(|report| report.mean_std_error).collect()),
        hardest: None,
    })
}

/// `ζ*_M(t)` between the least and the largest t that is asked for, a curve a richness.
fn zeta(
    subject: &Subject<'_>,
    asked: &Asked,
    settings: &Settings,
    label: String,
    quiet: bool,
) -> Result<Vec<ZetaCurve>, Error> {
    let (count, sampled) = match settings.method {
        Method::Quadrature => (81, false),
        Method::MonteCarlo => (25, true),
    };
    let [low, high] = widened(&asked.drawn_times, [0.05, 2.0]);
    let times = log_grid(low, high, count);
    let reports =
        watched(label, quiet, |watch| at_times(subject, &times, asked.beta, &asked.richness, settings, watch))?;
    let curve = |(k, &richness): (usize, &f64)| ZetaCurve {
        richness,
        points: reports.iter().map(|report| (report.time, report.zeta[k].value)).collect(),
        std_error: if sampled { reports.iter().map(|report| report.zeta[k].std_error).collect() } else { Vec::new() },
    };
    Ok(asked.richness.iter().enumerate().map(curve).collect())
}

/// The range of a list, or another one where it is a single place.
fn widened(list: &[f64], otherwise: [f64; 2]) -> [f64; 2] {
    let [low, high] = list.iter().fold([f64::INFINITY, 0.0], |[low, high]: [f64; 2], &x| [low.min(x), high.max(x)]);
    if high > 1.5 * low { [low, high] } else { otherwise }
}

/// Draws of X and of Z for the eye.
fn drawn(examined: &Examined) -> (Points, Points) {
    let stream = Stream::new(examined.seed, Purpose::Localization);
    let x = examined.sampler.sample(&stream, STEP, 0..POINTS);
    let mut z = Points::zeros(x.dim());
    for (row, mut z) in z.rows_mut().into_iter().enumerate() {
        stream.at(STEP, POINTS + row as u64).fill_normal(z.as_slice_mut().expect("rows are contiguous"));
    }
    (x, z)
}

/// The density of `Y_r` on the line, and its curvature.
fn regions(examined: &Examined) -> Vec<DensityRegions> {
    let (x, _) = drawn(examined);
    let [low, high] = x.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], &x| [low.min(x), high.max(x)]);
    let of = |snr: f64| {
        let (low, high) = (snr * low - 3.5, snr * high + 3.5);
        let place = |i: usize| low + (high - low) * i as f64 / (PLACES - 1) as f64;
        let y = Points::from_shape_fn((PLACES, 1), |(i, _)| place(i));
        let posteriors = examined.posterior.posterior(snr, &y);
        DensityRegions {
            snr,
            y: y.into_raw_vec_and_offset().0,
            density: posteriors.iter().map(|posterior| posterior.log_density.exp()).collect(),
            curvature: posteriors.iter().map(|posterior| posterior.localization() - 1.0).collect(),
        }
    };
    REGIONS.map(of).into()
}

/// Points of the plane by difficulty.
fn difficulty(examined: &Examined) -> Vec<Difficulty> {
    let (x, z) = drawn(examined);
    let of = |snr: f64| {
        let points = snr * &x + &z;
        let localization = examined.posterior.localization(snr, &points);
        Difficulty { snr, points, localization }
    };
    REGIONS.map(of).into()
}
