//! Where training points come from: the rows of a data set in shuffled order, or fresh draws of a target.

use std::sync::Arc;

use brenier_measure::{Points, Purpose, Sample, Stream};

/// Training points in standardised coordinates.
#[derive(Clone)]
pub enum Source {
    /// The rows of a data set, each once an epoch in a seeded order; with independent noise of this sd on every visit.
    Rows {
        /// The points `[n, d]`, n ≥ 1.
        points: Arc<Points>,
        /// The sd of the instance noise; 0 for none.
        noise: f64,
    },
    /// Fresh draws `(x - shift)/scale` of a target.
    Fresh {
        /// The target.
        target: Arc<dyn Sample>,
        /// What is subtracted, `[d]`.
        shift: Vec<f64>,
        /// What the difference is divided by, `[d]`.
        scale: Vec<f64>,
    },
}

impl Source {
    /// The dimension d.
    pub fn dim(&self) -> usize {
        match self {
            Self::Rows { points, .. } => points.ncols(),
            Self::Fresh { target, .. } => target.dim(),
        }
    }

    /// Reads points by their place in the run: `first` is the number of points read before this batch.
    pub(super) fn reader(&self, seed: u64) -> Reader {
        Reader { source: self.clone(), seed, epoch: None }
    }
}

/// A reader with the order of the present epoch at hand; what it reads depends on the place alone.
pub(super) struct Reader {
    source: Source,
    seed: u64,
    epoch: Option<(u64, Vec<usize>)>,
}

impl Reader {
    /// The point at `place` (counted over the whole run), written to `point`.
    pub fn read(&mut self, place: u64, point: &mut [f64]) {
        match &self.source {
            Source::Rows { points, noise } => {
                let n = points.nrows() as u64;
                let epoch = place / n;
                if self.epoch.as_ref().is_none_or(|(current, _)| *current != epoch) {
                    let order = Stream::new(self.seed, Purpose::Batch).permutation(epoch, n as usize);
                    self.epoch = Some((epoch, order));
                }
                let (_, order) = self.epoch.as_ref().expect("the order was just made");
                let row = points.row(order[(place % n) as usize]);
                point.iter_mut().zip(row).for_each(|(p, &x)| *p = x);
                if *noise > 0.0 {
                    let mut words = Stream::new(self.seed, Purpose::InstanceNoise).at(epoch, place % n);
                    point.iter_mut().for_each(|p| *p += noise * words.normal());
                }
            }
            Source::Fresh { target, shift, scale } => {
                target.draw(&mut Stream::new(self.seed, Purpose::Batch).at(0, place), point);
                for ((p, shift), scale) in point.iter_mut().zip(shift).zip(scale) {
                    *p = (*p - shift) / scale;
                }
            }
        }
    }
}
