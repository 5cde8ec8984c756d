//! What samples are compared with, and perfect samples to compare with instead.

use brenier_measure::{Points, Purpose, Sample, Stream};
use ndarray::Axis;

use crate::EvalError;
use crate::error::{check, check_dims};

/// What model samples are compared with.
#[derive(Clone, Copy)]
pub enum Reference<'a> {
    /// A target that can be sampled: fresh draws, as many as there are model samples.
    Target(&'a dyn Sample),
    /// A data set: the test part, with subsets of the training part as perfect samples.
    Data {
        /// The training part, `[N, d]`.
        train: &'a Points,
        /// The test part, `[m, d]`.
        test: &'a Points,
    },
}

/// Below this many reference points a note says that the floor is high.
const SMALL: usize = 500;

impl Reference<'_> {
    /// The dimension d.
    pub(crate) fn dim(&self) -> usize {
        match self {
            Self::Target(target) => target.dim(),
            Self::Data { test, .. } => test.ncols(),
        }
    }

    /// Refuses parts that are too small, not finite or of different dimensions.
    pub(crate) fn check(&self) -> Result<(), EvalError> {
        let Self::Data { train, test } = self else { return Ok(()) };
        check("test points", test, 2)?;
        check("training points", train, 2)?;
        check_dims(("training points", train), ("test points", test))
    }

    /// How many sets of `n` perfect samples make a floor: ten, or as many as the training points give
    /// without overlap, but at least five, so that their standard deviation means something.
    pub(crate) fn repeats(&self, n: usize) -> usize {
        match self {
            Self::Target(_) => 10,
            Self::Data { train, .. } => (train.nrows() / n.max(1)).clamp(5, 10),
        }
    }

    /// The points that `n` model samples are compared with: n fresh draws, or the test part.
    pub(crate) fn points(&self, n: usize, seed: u64) -> Points {
        match self {
            Self::Target(target) => target.sample(&Stream::new(seed, Purpose::Evaluation), 0, 0..n as u64),
            Self::Data { test, .. } => (*test).clone(),
        }
    }

    /// The `repeat`-th set of `n` perfect samples, independent of [`points`](Self::points).
    pub(crate) fn perfect(&self, repeat: usize, n: usize, seed: u64) -> Points {
        match self {
            Self::Target(target) => {
                target.sample(&Stream::new(seed, Purpose::Evaluation), repeat as u64 + 1, 0..n as u64)
            }
            Self::Data { train, .. } => train.select(Axis(0), &subset(train.nrows(), repeat, n, seed)),
        }
    }

    /// What a reader should know before trusting a comparison of `n` samples.
    pub(crate) fn note(&self, n: usize) -> Option<String> {
        let mut notes = Vec::new();
        match self {
            Self::Target(_) if n < SMALL => {
                notes.push(format!("only {n} samples: errors below the floor cannot be seen"));
            }
            Self::Target(_) => {}
            Self::Data { train, test } => {
                if test.nrows() < SMALL {
                    notes.push(format!(
                        "the test part has only {} points: errors below the floor cannot be seen",
                        test.nrows()
                    ));
                }
                if train.nrows() < n {
                    notes.push(format!(
                        "the floor is that of {} training points, too high for {n} samples",
                        train.nrows()
                    ));
                } else if train.nrows() < 5 * n {
                    notes.push("the training subsets of the floor overlap: floor_sd is too small".to_owned());
                }
            }
        }
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

/// The `repeat`-th subset of `size` indices out of `0..total`: a permutation cut into disjoint blocks,
/// then the next permutation.
pub(crate) fn subset(total: usize, repeat: usize, size: usize, seed: u64) -> Vec<usize> {
    let size = size.clamp(1, total);
    let blocks = total / size;
    // Step 0 of the stream belongs to the directions of the sliced distance.
    let order = Stream::new(seed, Purpose::Metric).permutation(1 + (repeat / blocks) as u64, total);
    let first = repeat % blocks * size;
    order[first..first + size].to_vec()
}

#[cfg(test)]
pub(crate) mod tests {
    use brenier_measure::Words;

    use super::*;

    /// Independent centred normals with these standard deviations.
    pub(crate) struct NormalWithScale(pub(crate) Vec<f64>);

    impl Sample for NormalWithScale {
        fn dim(&self) -> usize {
            self.0.len()
        }

        fn draw(&self, words: &mut Words, point: &mut [f64]) {
            words.fill_normal(point);
            point.iter_mut().zip(&self.0).for_each(|(x, scale)| *x *= scale);
        }
    }

    #[test]
    fn subsets_are_disjoint_until_the_data_are_used_up() {
        let mut first_round: Vec<usize> = (0..4).flat_map(|repeat| subset(43, repeat, 10, 1)).collect();
        first_round.sort_unstable();
        first_round.dedup();
        assert_eq!(first_round.len(), 40);
        assert_ne!(subset(43, 0, 10, 1), subset(43, 4, 10, 1));
        assert_eq!(subset(5, 3, 100, 1).len(), 5);
    }
}
