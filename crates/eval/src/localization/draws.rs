//! Draws of `Y_r = rX + Z` that are common to every r, and the values of `L_r` at them.
//!
//! Common random numbers: X and Z of an index do not depend on r, so curves in r are smooth and their maxima are found.

use brenier_measure::{Points, Purpose, Sample, Stream};
use ndarray::{Array2, s};
use rayon::prelude::*;

use super::{Progress, Subject};
use crate::EvalError;

/// Draws whose L is computed between two looks at the watcher.
const TILE: usize = 512;

/// Draws of X and of the noise, `[n, d]` each.
#[derive(Debug, Clone)]
pub(super) struct Draws {
    pub(super) x: Points,
    z: Points,
}

impl Draws {
    /// The first n draws of a seed.
    pub(super) fn new(sampler: &dyn Sample, seed: u64, n: usize) -> Self {
        let d = sampler.dim();
        let stream = Stream::new(seed, Purpose::Localization);
        let mut pairs = vec![0.0; 2 * d * n];
        pairs.par_chunks_mut(2 * d).enumerate().for_each(|(i, pair)| {
            let mut words = stream.at(0, i as u64);
            let (x, z) = pair.split_at_mut(d);
            sampler.draw(&mut words, x);
            words.fill_normal(z);
        });
        let pairs = Array2::from_shape_vec((n, 2 * d), pairs).expect("2·d·n values");
        Self { x: pairs.slice(s![.., ..d]).to_owned(), z: pairs.slice(s![.., d..]).to_owned() }
    }

    /// `rX + Z` of some rows.
    pub(super) fn noisy(&self, snr: f64, rows: std::ops::Range<usize>) -> Points {
        let rows = s![rows, ..];
        &self.x.slice(rows) * snr + self.z.slice(rows)
    }

    /// How many tiles the work at one r has.
    pub(super) fn tiles(&self) -> usize {
        self.x.nrows().div_ceil(TILE)
    }

    /// `L_r(Y_r)` at every draw; `watch` is told of each tile.
    ///
    /// # Errors
    ///
    /// An L that is no number, a watcher that asks for a stop.
    pub(super) fn localization(
        &self,
        subject: &Subject<'_>,
        snr: f64,
        progress: &mut Progress,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Vec<f64>, EvalError> {
        let n = self.x.nrows();
        let mut values = Vec::with_capacity(n);
        for start in (0..n).step_by(TILE) {
            let rows = start..(start + TILE).min(n);
            let tile = subject.posterior.localization(snr, &self.noisy(snr, rows));
            if let Some(row) = tile.iter().position(|value| !value.is_finite()) {
                return Err(EvalError::Localization { snr, row: start + row, value: tile[row] });
            }
            values.extend(tile);
            progress.step(watch)?;
        }
        Ok(values)
    }
}
