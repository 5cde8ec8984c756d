//! Figures of a map of the plane: what it does to a grid, and its density beside that of the target.

use brenier_eval::DenseTarget;
use brenier_eval::figures::{
    Field, FigureError, Format, TransportFigure, Window, densities, density_size, grid_lines, transport_map,
};
use brenier_measure::Points;
use brenier_model::TransportMap;

use crate::error::Error;
use crate::run::importance_metrics::log_densities;
use crate::run::law::{DensityError, Law};
use crate::run::problem::{Problem, Reference};

/// Lines of the grid in each direction, and points of a line.
const LINES: usize = 21;
const LINE_POINTS: usize = 121;

/// The size of the picture of a map, in pixels.
const MAP_SIZE: [usize; 2] = [2100, 800];

/// Cells of a density, and of a histogram, in each direction.
const CELLS: usize = 160;
const HISTOGRAM_CELLS: usize = 32;

/// The map from the reference to the data as a deformed grid and as arrows, at samples in standardised coordinates; of a map with coordinates of
/// its own, in those.
///
/// # Errors
///
/// A point of the grid that is not found.
pub fn map_figure(map: &dyn TransportMap, x: &Points) -> Result<Vec<u8>, Error> {
    let title = match map.frame() {
        None => "The map from the reference to the data, in standardised coordinates",
        Some(_) => "The map from the reference to the target, in coordinates of its own",
    };
    let y = map.inverse(x)?.0;
    let own = |x: Points| map.frame().map_or_else(|| x.clone(), |frame| frame.enter(&x).0);
    let window = Window::around(&y).ok_or_else(|| FigureError::Empty { title: title.to_owned() })?;
    let lines = grid_lines(window, LINES, LINE_POINTS);
    let images = lines.iter().map(|line| Ok(own(map.transport(line)?.0))).collect::<Result<Vec<_>, Error>>()?;
    let figure = TransportFigure { title, lines: &lines, images: &images, from: &y, to: &own(x.clone()) };
    Ok(transport_map(&figure, MAP_SIZE, Format::Png)?)
}

/// The density of a law beside that of its target, or a histogram of the target's points; log Z is for a target that does not know its own.
///
/// # Errors
///
/// Points of the target that are not planar, an interruption.
pub fn density_figure(law: &Law, problem: &Problem, target: &Points, log_z: Option<f64>) -> Result<Vec<u8>, Error> {
    let title = "The density of the target and that of the map";
    let window = Window::around(target).ok_or_else(|| FigureError::Empty { title: title.to_owned() })?;
    let mut found = Ok(Vec::new());
    let learnt = Field::evaluate(window, CELLS, |at| {
        found = law.log_densities(at, 0, &|| true, &mut |_, _| Ok(())).map(|log_q| log_q.values);
        found.iter().flatten().map(|log_q| log_q.exp()).collect()
    });
    found.map_err(|error| match error {
        DensityError::Undefined(error) => error.into(),
        DensityError::Stopped(error) => error,
    })?;
    let mut known = Ok(Vec::new());
    let (name, exact) = match &problem.reference {
        Reference::Exact { target, sampler, .. } if target.density.is_some() => {
            let density = target.density.as_deref().expect("just asked");
            let dense = DenseTarget { sampler: sampler.as_ref(), density };
            let field = Field::evaluate(window, CELLS, |at| {
                known = dense.log_densities(at);
                known.iter().flatten().map(|log_p| log_p.exp()).collect()
            });
            ("target", field)
        }
        Reference::Density(target) if target.density.is_some() => {
            let density = target.density.as_deref().expect("just asked");
            let log_z = density.log_normalizer().or(log_z).unwrap_or(0.0);
            let field = Field::evaluate(window, CELLS, |at| {
                log_densities(density, at).into_iter().map(|log_p| (log_p - log_z).exp()).collect()
            });
            ("target", field)
        }
        _ => ("target: a histogram", Field::histogram("target", target, window, HISTOGRAM_CELLS)?),
    };
    known?;
    let panels = [(name, &exact), ("map", &learnt)];
    Ok(densities(title, ["x₀", "x₁"], &panels, density_size(panels.len()), Format::Png)?)
}
