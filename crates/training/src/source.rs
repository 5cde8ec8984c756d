//! Where training points come from: the rows of a data set in shuffled order, or fresh draws of a target.

use std::sync::Arc;

use brenier_measure::data::Standardization;
use brenier_measure::{Points, Purpose, Sample, Stream, Words};

/// Noise `W(sd·z)` that belongs to the data: isotropic before whitening, whitened as the points are.
#[derive(Debug, Clone)]
pub struct InstanceNoise {
    /// The sd in standardised coordinates; 0 for none.
    pub sd: f64,
    /// The coordinates of the points, with the whitening W.
    pub coordinates: Standardization,
}

impl InstanceNoise {
    /// The step of the draws for points that are not trained on: no epoch reaches it.
    const FIXED: u64 = u64::MAX;

    /// Adds the noise of one row in one epoch.
    fn add(&self, seed: u64, epoch: u64, row: u64, point: &mut [f64]) {
        if self.sd == 0.0 {
            return;
        }
        let mut words = Stream::new(seed, Purpose::InstanceNoise).at(epoch, row);
        let noise = Points::from_shape_fn((1, point.len()), |_| self.sd * words.normal());
        point.iter_mut().zip(&self.coordinates.whiten(noise)).for_each(|(p, z)| *p += z);
    }

    /// The points with the draws that their rows have in one epoch; unchanged without noise.
    pub fn added_in(&self, epoch: u64, seed: u64, mut points: Points) -> Points {
        for (row, mut point) in points.rows_mut().into_iter().enumerate() {
            self.add(seed, epoch, row as u64, point.as_slice_mut().expect("rows are contiguous"));
        }
        points
    }

    /// The covariance of the noise, `sd² W Wᵀ`; `None` without noise.
    pub fn covariance(&self) -> Option<Points> {
        (self.sd > 0.0).then(|| {
            // The images of the unit vectors are the rows of Wᵀ.
            let images = self.coordinates.whiten(Points::eye(self.coordinates.dim()));
            images.t().dot(&images) * (self.sd * self.sd)
        })
    }

    /// The points with one fixed draw each, the draws of rows `first`, `first + 1`, …; unchanged without noise.
    pub fn added_once(&self, seed: u64, first: usize, mut points: Points) -> Points {
        for (row, mut point) in points.rows_mut().into_iter().enumerate() {
            self.add(seed, Self::FIXED, (first + row) as u64, point.as_slice_mut().expect("rows are contiguous"));
        }
        points
    }
}

/// Training points in standardised coordinates.
#[derive(Clone)]
pub enum Source {
    /// The rows of a data set, each once an epoch in a seeded order; with independent noise on every visit.
    Rows {
        /// The points `[n, d]`, n ≥ 1.
        points: Arc<Points>,
        /// The instance noise.
        noise: InstanceNoise,
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
    /// The points without their noise, or so many fresh draws.
    pub fn points(&self, seed: u64, count: usize) -> Arc<Points> {
        match self {
            Self::Rows { points, .. } => points.clone(),
            Self::Fresh { .. } => Arc::new(self.sample(&Stream::new(seed, Purpose::Ridges), 1, 0..count as u64)),
        }
    }

    /// At most so many of them, with their noise.
    pub fn first_points(&self, seed: u64, count: usize) -> Points {
        let points = self.points(seed, count);
        let first = points.slice(ndarray::s![..points.nrows().min(count), ..]).to_owned();
        self.noise().added_in(0, seed, first)
    }

    /// The points of one stage: all rows, with noise of that stage, or so many other draws at every stage.
    pub fn of_stage(&self, stage: u64, seed: u64, count: u64) -> Points {
        match self {
            Self::Rows { points, noise } => noise.added_in(stage, seed, points.as_ref().clone()),
            Self::Fresh { .. } => self.sample(&Stream::new(seed, Purpose::Batch), stage, 0..count),
        }
    }

    /// The noise that belongs to the points.
    pub fn noise(&self) -> InstanceNoise {
        let d = self.dim();
        match self {
            Self::Rows { noise, .. } => noise.clone(),
            Self::Fresh { .. } => InstanceNoise {
                sd: 0.0,
                coordinates: Standardization { shift: vec![0.0; d], scale: vec![1.0; d], whitening: None },
            },
        }
    }

    /// Reads points by their place in the run: `first` is the number of points read before this batch.
    pub(crate) fn reader(&self, seed: u64) -> Reader {
        Reader { source: self.clone(), seed, epoch: None }
    }
}

/// The law of training points: a row with its instance noise, or a fresh draw.
impl Sample for Source {
    fn dim(&self) -> usize {
        match self {
            Self::Rows { points, .. } => points.ncols(),
            Self::Fresh { target, .. } => target.dim(),
        }
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        match self {
            Self::Rows { points, noise: InstanceNoise { sd, coordinates } } => {
                let row = words.below(points.nrows() as u64) as usize;
                point.iter_mut().zip(points.row(row)).for_each(|(p, &x)| *p = x);
                if *sd > 0.0 {
                    let noise = Points::from_shape_fn((1, point.len()), |_| sd * words.normal());
                    point.iter_mut().zip(&coordinates.whiten(noise)).for_each(|(p, z)| *p += z);
                }
            }
            Self::Fresh { target, shift, scale } => {
                target.draw(words, point);
                for ((p, shift), scale) in point.iter_mut().zip(shift).zip(scale) {
                    *p = (*p - shift) / scale;
                }
            }
        }
    }
}

/// A reader with the order of the present epoch at hand; what it reads depends on the place alone.
pub(crate) struct Reader {
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
                noise.add(self.seed, epoch, place % n, point);
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

#[cfg(test)]
mod tests {
    use brenier_measure::data::Standardize;

    use super::*;

    fn correlated(n: usize) -> Points {
        let stream = Stream::new(1, Purpose::Batch);
        Points::from_shape_fn((n, 2), |(row, column)| {
            let mut words = stream.at(0, row as u64);
            let (a, b) = (words.normal(), words.normal());
            if column == 0 { a } else { 0.8 * a + 0.6 * b }
        })
    }

    #[test]
    fn instance_noise_is_whitened_as_the_points_are() {
        let n = 40_000;
        let points = correlated(n);
        let coordinates = Standardization::fit(&points, Standardize::Global, true).unwrap();
        let noise = InstanceNoise { sd: 0.5, coordinates: coordinates.clone() };
        let drawn = noise.added_once(7, 0, Points::zeros((n, 2)));
        let covariance = drawn.t().dot(&drawn) / n as f64;
        let exact = noise.covariance().unwrap();
        for (value, exact_value) in covariance.iter().zip(&exact) {
            // The variance of a product of two centred normals is at most twice the product of their variances.
            let std_error = (2.0 * exact[[0, 0]] * exact[[1, 1]] / n as f64).sqrt();
            assert!(std_error < 0.02 * exact[[0, 0]]);
            assert!((value - exact_value).abs() < 5.0 * std_error, "{covariance} against {exact}");
        }
        assert!(exact[[0, 1]].abs() > 0.1 * exact[[0, 0]], "the whitening is no multiple of the identity");
    }

    #[test]
    fn the_training_law_is_that_of_the_rows_with_their_noise() {
        let coordinates = Standardization { shift: vec![0.0; 2], scale: vec![1.0; 2], whitening: None };
        let points = Arc::new(Points::from_shape_vec((2, 2), vec![1.0, -2.0, 3.0, 4.0]).unwrap());
        let law =
            |sd| Source::Rows { points: points.clone(), noise: InstanceNoise { sd, coordinates: coordinates.clone() } };
        let draws = |sd| law(sd).sample(&Stream::new(1, Purpose::Evaluation), 0, 0..4000);
        assert!(draws(0.0).rows().into_iter().all(|row| points.rows().into_iter().any(|point| point == row)));
        // Var = 1 + 0.25 and 9 + 0.25; five standard errors of a variance of 4000 draws are below a tenth of it.
        for (column, exact) in draws(0.5).columns().into_iter().zip([1.25, 9.25]) {
            let found = column.var(0.0);
            assert!((found / exact - 1.0).abs() < 0.1, "{found} against {exact}");
        }
    }

    #[test]
    fn an_epoch_reads_every_row_once_and_noise_is_fresh_in_each() {
        let points = Arc::new(correlated(10));
        let coordinates = Standardization::fit(&points, Standardize::None, false).unwrap();
        let rows = |sd| {
            let noise = InstanceNoise { sd, coordinates: coordinates.clone() };
            let mut reader = Source::Rows { points: points.clone(), noise }.reader(3);
            let mut read = vec![[0.0; 2]; 20];
            read.iter_mut().enumerate().for_each(|(place, point)| reader.read(place as u64, point));
            read
        };
        let mut clean = rows(0.0);
        assert_ne!(clean[..10], clean[10..]);
        let mut all: Vec<Vec<f64>> = points.rows().into_iter().map(|row| row.to_vec()).collect();
        clean.truncate(10);
        clean.sort_by(|a, b| a[0].total_cmp(&b[0]));
        all.sort_by(|a, b| a[0].total_cmp(&b[0]));
        assert!(clean.iter().zip(&all).all(|(a, b)| a[..] == b[..]));
        let noisy = rows(0.1);
        assert!(noisy[..10].iter().all(|point| !noisy[10..].contains(point)));
    }
}
