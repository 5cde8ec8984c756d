//! The density that a method follows, in the standardised coordinates of the run.

use std::sync::Arc;

use brenier_measure::data::Standardization;
use brenier_measure::{Measure, Rescaled, Support};

use crate::error::Error;
use crate::run::RunView;

/// A density with the box that its coordinates live in.
pub struct Given {
    /// In coordinates that are not bounded.
    pub density: Arc<dyn Measure>,
    /// Where those of the samples live, where some are bounded.
    pub support: Option<Support>,
}

/// The density of the target of a run, for a method of this name.
///
/// # Errors
///
/// A target without a density; where the run has no data at hand, data that are not those that it began with.
pub fn given(method: &'static str, run: &RunView) -> Result<Given, Error> {
    let loaded;
    let problem = match run.problem {
        Some(problem) => problem,
        None => {
            loaded = run.record.problem()?;
            &loaded
        }
    };
    let name = run.record.config.target.name();
    let target = problem.reference.target().ok_or_else(|| Error::no_target_density(method, name))?;
    let unbounded = target.unbounded().ok_or_else(|| Error::no_target_density(method, name))?;
    let density = standardized(unbounded, &run.record.data.standardization);
    Ok(Given { density, support: target.support.clone() })
}

/// A density in standardised coordinates of one scale.
fn standardized(measure: Arc<dyn Measure>, standardization: &Standardization) -> Arc<dyn Measure> {
    let Standardization { shift, scale, .. } = standardization;
    if shift.iter().all(|&x| x == 0.0) && scale[0] == 1.0 {
        return measure;
    }
    Arc::new(Rescaled::new(measure, shift.clone(), scale[0]))
}
