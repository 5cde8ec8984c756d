//! The seeded split of a data set into training, validation and test parts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::DataError;
use crate::{Purpose, Stream};

/// The sizes of the three parts: all fractions (with a sum of at most 1) or all counts. What is left over is not used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitConfig {
    /// The part that is learnt from.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub train: f64,
    /// The part that chooses the best checkpoint (0: none).
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub validation: f64,
    /// The part that the final numbers are computed from (0: none).
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub test: f64,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self { train: 0.8, validation: 0.1, test: 0.1 }
    }
}

/// The rows of each part, disjoint, in the order of the permutation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Rows to learn from; never empty.
    pub train: Vec<usize>,
    /// Rows that choose the best checkpoint.
    pub validation: Vec<usize>,
    /// Rows of the final numbers.
    pub test: Vec<usize>,
}

impl SplitConfig {
    /// Splits the rows `0..n` by the permutation of (`seed`, [`Purpose::Split`]).
    ///
    /// Fractions a, b, c end the parts at `round(an)`, `round((a+b)n)` and `round((a+b+c)n)`.
    ///
    /// # Errors
    /// A size that is negative or not finite, fractions beside counts, fractions with a sum over 1, counts with a sum
    /// over n, and a part that was asked for and is empty.
    pub fn split(&self, n: usize, seed: u64) -> Result<Split, DataError> {
        let ends = self.ends(n)?;
        let order = Stream::new(seed, Purpose::Split).permutation(0, n);
        Ok(Split {
            train: order[..ends[0]].to_vec(),
            validation: order[ends[0]..ends[1]].to_vec(),
            test: order[ends[1]..ends[2]].to_vec(),
        })
    }

    /// Where the parts end in the permutation; increasing, at most n.
    fn ends(&self, n: usize) -> Result<[usize; 3], DataError> {
        let parts = [("train", self.train), ("validation", self.validation), ("test", self.test)];
        if let Some(&(part, value)) = parts.iter().find(|(_, value)| !(*value >= 0.0 && value.is_finite())) {
            return Err(DataError::SplitSize { part, value });
        }
        let sums = [self.train, self.train + self.validation, self.train + self.validation + self.test];
        let counts = sums[2] > 1.0 && parts.iter().all(|(_, value)| value.fract() == 0.0);
        let ends = if counts {
            if sums[2] > n as f64 {
                return Err(DataError::SplitCounts { asked: sums[2], rows: n });
            }
            sums.map(|sum| sum as usize)
        } else {
            if parts.iter().any(|(_, value)| *value > 1.0) {
                let &Self { train, validation, test } = self;
                return Err(DataError::SplitMixed { train, validation, test });
            }
            // 0.7 + 0.2 + 0.1 exceeds 1 by a rounding error.
            if sums[2] > 1.0 + 1e-9 {
                return Err(DataError::SplitFractions { sum: sums[2] });
            }
            sums.map(|sum| ((sum * n as f64).round() as usize).min(n))
        };
        let starts = [0, ends[0], ends[1]];
        for (i, (part, value)) in parts.into_iter().enumerate() {
            if starts[i] == ends[i] && (i == 0 || value > 0.0) {
                let or_none = if i == 0 { "" } else { ", or set it to 0" };
                return Err(DataError::SplitEmpty { part, value, rows: n, or_none });
            }
        }
        Ok(ends)
    }
}

impl Split {
    /// Every part with its rows as often as their weights say, `times` as many in all, in random order: by systematic resampling no row
    /// comes more than one time more or less often than its share of them, and a row without weight not at all.
    ///
    /// The error of a mean over the rows is below `1/times` of what sampling itself leaves.
    pub fn repeated(&self, weights: &[f64], times: usize, seed: u64) -> Self {
        self.weighed(weights, seed, 1, |rows, _| rows.len() * times)
    }

    /// Every part as so many rows as its weights are worth, `(Σw)²/Σw²` (Kish), drawn by systematic resampling: what a standard error may
    /// take for independent points.
    pub fn drawn(&self, weights: &[f64], seed: u64) -> Self {
        self.weighed(weights, seed, 4, |_, worth| worth)
    }

    fn weighed(&self, weights: &[f64], seed: u64, step: u64, count: impl Fn(&[usize], usize) -> usize) -> Self {
        let stream = Stream::new(seed, Purpose::Split);
        let part = |rows: &Vec<usize>, step: u64| -> Vec<usize> {
            let [sum, squares] = [1, 2].map(|power| rows.iter().map(|&row| weights[row].powi(power)).sum::<f64>());
            if sum <= 0.0 {
                return Vec::new();
            }
            let count = count(rows, ((sum * sum / squares) as usize).max(1));
            let first = stream.at(step, 1).uniform();
            let (mut above, mut left) = (0.0, rows.iter());
            let mut row = None;
            let drawn: Vec<usize> = (0..count)
                .map(|k| {
                    let place = (first + k as f64) / count as f64 * sum;
                    while above <= place
                        && let Some(&next) = left.next()
                    {
                        above += weights[next];
                        row = Some(next);
                    }
                    row.expect("a part with weight has a row")
                })
                .collect();
            stream.permutation(step, count).into_iter().map(|place| drawn[place]).collect()
        };
        Self {
            train: part(&self.train, step),
            validation: part(&self.validation, step + 1),
            test: part(&self.test, step + 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(train: f64, validation: f64, test: f64) -> SplitConfig {
        SplitConfig { train, validation, test }
    }

    fn sizes(split: &Split) -> [usize; 3] {
        [split.train.len(), split.validation.len(), split.test.len()]
    }

    #[test]
    fn fractions_and_counts_give_the_sizes_they_say() {
        let split = SplitConfig::default().split(1797, 0).unwrap();
        assert_eq!(sizes(&split), [1438, 179, 180]);
        assert_eq!(sizes(&config(1300.0, 200.0, 297.0).split(1797, 0).unwrap()), [1300, 200, 297]);
        assert_eq!(sizes(&config(0.7, 0.2, 0.1).split(10, 0).unwrap()), [7, 2, 1]);
        assert_eq!(sizes(&config(1.0, 0.0, 0.0).split(5, 0).unwrap()), [5, 0, 0]);
        assert_eq!(sizes(&config(1.0, 1.0, 0.0).split(5, 0).unwrap()), [1, 1, 0]);
    }

    #[test]
    fn the_seed_alone_decides_the_split() {
        let of = |seed| SplitConfig::default().split(100, seed).unwrap();
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }

    #[test]
    fn a_split_that_cannot_be_made_says_why() {
        let message = |config: SplitConfig, n| config.split(n, 0).unwrap_err().to_string();
        assert_eq!(message(config(-1.0, 0.0, 0.0), 9), "split.train is -1; give a fraction or a count, 0 or more");
        assert_eq!(
            message(config(0.5, f64::NAN, 0.0), 9),
            "split.validation is NaN; give a fraction or a count, 0 or more"
        );
        assert_eq!(
            message(config(0.8, 100.0, 100.0), 999),
            "the split mixes fractions and counts (train 0.8, validation 100, test 100); give three fractions with a \
             sum of at most 1, or three counts"
        );
        assert_eq!(
            message(config(0.75, 0.5, 0.25), 9),
            "the fractions of the split sum to 1.5; lower them to a sum of at most 1"
        );
        assert_eq!(
            message(config(1500.0, 300.0, 200.0), 1797),
            "the split asks for 2000 rows, and there are 1797; lower the counts, or give fractions"
        );
        assert_eq!(
            message(config(0.0, 0.5, 0.5), 9),
            "the train part of the split is empty (split.train is 0, of 9 rows); raise split.train"
        );
        assert_eq!(
            message(SplitConfig::default(), 5),
            "the test part of the split is empty (split.test is 0.1, of 5 rows); raise split.test, or set \
             it to 0"
        );
        assert!(config(1.0, 0.0, 0.0).split(0, 0).is_err());
    }

    proptest! {
        #[test]
        fn the_parts_are_disjoint_and_in_range(a in 0f64..1.0, b in 0f64..1.0, c in 0f64..1.0, n in 1usize..300) {
            let total = a + b + c + 1e-3;
            if let Ok(split) = config(a / total, b / total, c / total).split(n, 1) {
                let mut rows = [split.train, split.validation, split.test].concat();
                prop_assert!(rows.iter().all(|&row| row < n));
                rows.sort_unstable();
                let all = rows.len();
                rows.dedup();
                prop_assert_eq!(rows.len(), all);
            }
        }

        #[test]
        fn no_sizes_panic(a in any::<f64>(), b in any::<f64>(), c in any::<f64>(), n in 0usize..50) {
            let _ = config(a, b, c).split(n, 1);
        }
    }

    #[test]
    fn rows_come_as_often_as_their_weights_say() {
        let split = Split { train: vec![5, 0, 3, 1], validation: vec![2], test: vec![4, 6] };
        let weights = [1.0, 0.0, 2.5, 4.0, 0.0, 2.0, 3.0];
        let repeated = split.repeated(&weights, 100, 3);
        let times = |rows: &[usize], row: usize| rows.iter().filter(|&&other| other == row).count() as f64;
        assert_eq!(sizes(&repeated), [400, 100, 200]);
        for (row, share) in [(5, 2.0 / 7.0), (0, 1.0 / 7.0), (3, 4.0 / 7.0), (1, 0.0)] {
            assert!((times(&repeated.train, row) - 400.0 * share).abs() <= 1.0, "{row}");
        }
        assert_eq!((times(&repeated.validation, 2), times(&repeated.test, 6)), (100.0, 200.0));
        assert!(repeated.train.windows(2).filter(|pair| pair[0] != pair[1]).count() > 100, "in random order");
        // 49/21 and 1 rows are worth two and one.
        assert_eq!(sizes(&split.drawn(&weights, 3)), [2, 1, 1]);
        let equal = Split { train: (0..7).collect(), validation: Vec::new(), test: Vec::new() }.drawn(&[0.3; 7], 0);
        let mut rows = equal.train.clone();
        rows.sort_unstable();
        assert_eq!(rows, [0, 1, 2, 3, 4, 5, 6]);
    }
}
