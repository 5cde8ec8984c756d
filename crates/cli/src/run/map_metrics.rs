//! What is measured of the map of a run beside its samples: whether it is optimal, and how far it is from the map that is.

use std::collections::BTreeMap;
use std::path::Path;

use brenier_eval::MetricReport;
use brenier_eval::brenier_map::{ExactTransport, displacement_cosine, l2_uvp, optimality_gap};
use brenier_measure::data::{Standardization, read_array};
use brenier_measure::{Component, Points, TargetConfig};
use brenier_model::TransportMap;
use brenier_transport::{Cloud, Cost, exact, gaussian};
use ndarray::{Array1, Array2, s};

use crate::error::Error;
use crate::run::opened::TrainedRun;
use crate::run::problem::Problem;
use crate::selection::Selection;

/// What a map can be asked.
pub const OF_MAP: [&str; 3] = ["optimality_gap", "l2_uvp", "cosine"];

/// The arrays of an archive of pairs.
const OF_PAIRS: [&str; 2] = ["test_x", "test_map"];

/// Points of a reference and their images under the true map, in the coordinates of the data.
pub struct Pairs {
    points: Points,
    images: Points,
}

impl Pairs {
    /// Those of an archive.
    ///
    /// # Errors
    ///
    /// Another file, an array that is not there, arrays of different shapes.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let is_archive = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz"));
        if !is_archive {
            return Err(Error::bad_input(format!("{}: pairs are two arrays of an npz archive", path.display()))
                .hint("store them with numpy.savez(FILE, test_x=..., test_map=...)"));
        }
        let [points, images] = OF_PAIRS.map(|name| read_array(path, name));
        let (points, images) = (points?, images?);
        if points.nrows() < 2 {
            return Err(Error::bad_input(format!(
                "{}: {} pair is no measure of a map",
                path.display(),
                points.nrows()
            ))
            .hint("give two pairs or more, one a row"));
        }
        if points.dim() != images.dim() {
            let shapes = [points.dim(), images.dim()].map(|(n, d)| format!("({n}, {d})"));
            let [x, map] = shapes;
            return Err(Error::bad_input(format!("{}: `test_x` is {x}, and `test_map` {map}", path.display()))
                .hint("give every point its image, one a row"));
        }
        Ok(Self { points, images })
    }
}

/// The most points whose exact transport is computed.
const MOST: usize = 2000;

/// The metrics of a map, in standardised coordinates; samples are in original ones.
///
/// # Errors
///
/// A metric that was asked for by name and that this map does not have; points that the exact transport refuses.
pub fn map_metrics(
    run: &TrainedRun,
    problem: &Problem,
    samples: &Points,
    selection: &Selection,
    pairs: Option<&Pairs>,
) -> Result<BTreeMap<String, MetricReport>, Error> {
    let name = &run.record.config.name;
    let mut reports = BTreeMap::new();
    let Some(map) = run.sampler.map() else {
        let wanted = pairs.is_some() || selection.first_named(&OF_MAP).is_some();
        return if wanted { Err(Error::run_without_map(name)) } else { Ok(reports) };
    };
    if !OF_MAP.iter().any(|metric| selection.wants(metric)) || samples.nrows() < 2 {
        return Ok(reports);
    }
    if let Some(pairs) = pairs {
        reports.extend(of_pairs(map, &problem.data.standardization, pairs, selection)?);
        if !selection.wants("optimality_gap") {
            return Ok(reports);
        }
    }
    let x = problem.data.standardization.apply(samples);
    let y = map.inverse(&x)?.0;
    // A map with coordinates of its own is optimal there.
    let z = map.frame().map_or_else(|| x.clone(), |frame| frame.enter(&x).0);
    if selection.wants("optimality_gap") {
        let first = |points: &Points| points.slice(s![..points.nrows().min(MOST), ..]).as_standard_layout().to_owned();
        let report = gap(&first(&y), &first(&z))?;
        let note = "in standardised coordinates; in those of the data, which are stretched unequally, the map is not the optimal one";
        let is_isotropic = is_isotropic(&problem.data.standardization);
        let report = if is_isotropic { report } else { report.with_note(note) };
        let note = "in the coordinates of the map, where its reference is fitted";
        let report = if map.frame().is_some() { report.with_note(note) } else { report };
        reports.insert("optimality_gap".to_owned(), report);
    }
    if pairs.is_some() {
        return Ok(reports);
    }
    match known_images(map, &run.record.config.target, &problem.data.standardization, &y) {
        Some(known) => reports.extend(of_known(&y, &z, &known, selection)?),
        None => {
            if let Some(metric) = selection.first_named(&OF_KNOWN) {
                return Err(Error::bad_input(format!(
                    "`{metric}` takes a Brenier map that is known, and none is for the run {name}"
                ))
                .hint("it is known where the target is a Gaussian, and the reference too; else give --pairs"));
            }
        }
    }
    Ok(reports)
}

/// What is measured against a known map.
pub const OF_KNOWN: [&str; 2] = ["l2_uvp", "cosine"];

/// Images of points beside those under the known map.
fn of_known(
    points: &Points,
    images: &Points,
    known: &Points,
    selection: &Selection,
) -> Result<BTreeMap<String, MetricReport>, Error> {
    let mut reports = BTreeMap::new();
    if selection.wants("l2_uvp") {
        reports.insert("l2_uvp".to_owned(), l2_uvp(images, known)?);
    }
    if selection.wants("cosine") {
        reports.insert("cosine".to_owned(), displacement_cosine(points, images, known)?);
    }
    Ok(reports)
}

/// The map beside given pairs, in the coordinates of the data.
fn of_pairs(
    map: &dyn TransportMap,
    standardization: &Standardization,
    pairs: &Pairs,
    selection: &Selection,
) -> Result<BTreeMap<String, MetricReport>, Error> {
    let (found, expected) = (pairs.points.ncols(), standardization.shift.len());
    if found != expected {
        return Err(Error::bad_input(format!("the pairs have dimension {found}, and the run has {expected}"))
            .hint("give the pairs of the problem that the run learnt"));
    }
    let images = standardization.undo(&map.transport(&pairs.points)?.0);
    let reports = of_known(&pairs.points, &images, &pairs.images, selection)?;
    if is_isotropic(standardization) && map.frame().is_none() {
        return Ok(reports);
    }
    let note = "the map is optimal in coordinates that are stretched unequally, and the pairs are in those of the data";
    Ok(reports.into_iter().map(|(name, report)| (name, report.with_note(note))).collect())
}

/// Whether distances in standardised coordinates are those of the data but for one factor.
fn is_isotropic(standardization: &Standardization) -> bool {
    standardization.whitening.is_none() && standardization.scale.iter().all(|&scale| scale == standardization.scale[0])
}

/// The optimality gap of y ↦ x against the exact transport of the same points.
fn gap(y: &Points, x: &Points) -> Result<MetricReport, Error> {
    let bad = |error| Error::bad_input("the points of the map have no exact transport").caused_by(error);
    let [from, to] = [y, x].map(|points| Cloud::new(points.as_slice().expect("in standard layout"), points.ncols()));
    let optimum = exact::optimal_transport(from.map_err(bad)?, to.map_err(bad)?, Cost::SquaredDistance);
    let optimum = optimum.map_err(bad)?;
    let transport = ExactTransport {
        w2_squared: optimum.cost,
        gap: optimum.gap,
        std_error: optimum.std_error(),
        potentials: Some((&optimum.potentials.a, &optimum.potentials.b)),
    };
    Ok(optimality_gap(y, x, transport)?)
}

/// The images of y under the Brenier map from the reference to the law that is learnt (of drawn points, the law that they are drawn from), where
/// both are Gaussians; else `None`.
fn known_images(
    map: &dyn TransportMap,
    target: &TargetConfig,
    standardization: &Standardization,
    y: &Points,
) -> Option<Points> {
    let law = standardization.apply_to_law(&target.closed_form().ok()??).ok()?;
    let law = map.frame().map_or_else(|| Ok(law.clone()), |frame| frame.coordinates.apply_to_law(&law)).ok()?;
    let ([from], [to]) = (map.reference()?.components(), law.components()) else { return None };
    let d = law.dim();
    let entries = |matrix: &Array2<f64>| matrix.iter().copied().collect::<Vec<f64>>();
    let matrix = gaussian::brenier_matrix(&entries(from.covariance()), &entries(to.covariance()), d).ok()?;
    let matrix = Array2::from_shape_vec((d, d), matrix).expect("d·d entries");
    let mean = |component: &Component| Array1::from(component.mean().to_vec());
    Some((y - &mean(from)).dot(&matrix) + mean(to))
}
