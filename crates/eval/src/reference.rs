//! What samples are compared with, and perfect samples to compare with instead.

use std::borrow::Cow;

use brenier_measure::{Points, Purpose, Sample, Stream};
use ndarray::Axis;

use crate::EvalError;
use crate::error::{check, check_dims};

/// What model samples are compared with.
#[derive(Clone, Copy)]
pub enum Reference<'a> {
    /// A target that can be sampled: fresh draws.
    Target {
        /// The target.
        sampler: &'a dyn Sample,
        /// How many draws; as many as there are model samples where it is `None`.
        count: Option<usize>,
    },
    /// Points of which nothing else is known.
    Points(&'a Points),
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
    /// How many sets of `n` perfect samples make a floor: ten, or as many as the training points give
    /// without overlap, but at least five, so that their standard deviation means something; as many as were `asked` for.
    /// Points of which nothing else is known must suffice for two sets.
    pub(crate) fn repeats(&self, n: usize, asked: Option<usize>) -> usize {
        match self {
            Self::Points(points) if points.nrows() < 2 * n => 0,
            Self::Target { .. } | Self::Points(_) => asked.unwrap_or(10),
            Self::Data { train, .. } => asked.unwrap_or((train.nrows() / n.max(1)).clamp(5, 10)),
        }
    }

    /// The points that `n` model samples are compared with: fresh draws, the test part, or the points given.
    pub(crate) fn points(&self, n: usize, seed: u64) -> Result<Cow<'_, Points>, EvalError> {
        match *self {
            Self::Target { sampler, count } => {
                let count = count.unwrap_or(n) as u64;
                Ok(Cow::Owned(sampler.sample(&Stream::new(seed, Purpose::Evaluation), 0, 0..count)))
            }
            Self::Points(points) => {
                check("reference points", points, 1)?;
                Ok(Cow::Borrowed(points))
            }
            Self::Data { train, test } => {
                check("test points", test, 1)?;
                check("training points", train, 2)?;
                check_dims(("training points", train), ("test points", test))?;
                Ok(Cow::Borrowed(test))
            }
        }
    }

    /// The `repeat`-th set of `n` perfect samples, and what to compare it with instead of [`points`](Self::points) where they
    /// are not independent of it.
    pub(crate) fn perfect(&self, repeat: usize, n: usize, seed: u64) -> (Points, Option<Points>) {
        match *self {
            Self::Target { sampler, .. } => {
                (sampler.sample(&Stream::new(seed, Purpose::Evaluation), repeat as u64 + 1, 0..n as u64), None)
            }
            Self::Data { train, .. } => (train.select(Axis(0), &subset(train.nrows(), repeat, n, seed)), None),
            Self::Points(points) => {
                let order = Stream::new(seed, Purpose::Metric).permutation(1 + repeat as u64, points.nrows());
                let (first, others) = order.split_at(n);
                (points.select(Axis(0), first), Some(points.select(Axis(0), others)))
            }
        }
    }

    /// What a reader should know before trusting a comparison of `n` samples with `m` points.
    pub(crate) fn note(&self, n: usize, m: usize) -> Option<String> {
        let mut notes = Vec::new();
        match self {
            Self::Target { .. } if n.min(m) < SMALL => {
                notes.push(format!("only {} samples: errors below the floor cannot be seen", n.min(m)));
            }
            Self::Target { .. } => {}
            Self::Points(_) if m < 2 * n => {
                notes.push(format!("no floor: it takes {} reference points, there are {m}", 2 * n));
            }
            Self::Points(_) => {
                notes.push(format!("the floor is that of {n} reference points against the other {}", m - n));
            }
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
