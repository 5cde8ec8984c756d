//! Coordinates that are bounded, seen as coordinates that are not.

use std::sync::Arc;

use burn::tensor::activation::sigmoid;
use burn::tensor::{Bool, DType, Tensor};

use crate::measure::{Measure, log_sigmoid};

/// Where one coordinate lives, with the function that carries the line there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Interval {
    /// The whole line, by the identity.
    Line,
    /// x > 0, by `x = e^u`.
    Positive,
    /// a < x < b, by `x = a + (b - a)σ(u)`.
    Between {
        /// The lower end a.
        low: f64,
        /// The upper end b, above a.
        high: f64,
    },
}

impl Interval {
    /// The least and the greatest number inside, where there are such.
    fn inside(self, dtype: DType) -> [Option<f64>; 2] {
        let single = dtype == DType::F32;
        let up = |x: f64| if single { f64::from((x as f32).next_up()) } else { x.next_up() };
        let down = |x: f64| if single { f64::from((x as f32).next_down()) } else { x.next_down() };
        match self {
            Self::Line => [None, None],
            Self::Positive if single => [Some(f64::from(f32::MIN_POSITIVE)), None],
            Self::Positive => [Some(f64::MIN_POSITIVE), None],
            Self::Between { low, high } => [Some(up(low)), Some(down(high))],
        }
    }
}

/// More than this share of points next to a bound is mass that is lost.
const MOST_AT_BOUND: f64 = 0.001;

/// A box with sides that may be infinite, and the map `x = T(u)` from Rᵈ onto it, coordinate by coordinate.
///
/// No x is the bound itself: what lies nearer than the next number is moved there. A density with much of its mass so near (a Gamma of
/// shape .001) loses it, and [`Support::at_bound`] counts what sits there.
#[derive(Debug, Clone, PartialEq)]
pub struct Support {
    intervals: Vec<Interval>,
}

/// `T(u)` and its derivatives at some points, `[n, d]` each.
struct Mapped {
    x: Tensor<2>,
    /// `T'`.
    slope: Tensor<2>,
    /// `T''`.
    bend: Tensor<2>,
    /// `log T'`.
    log_slope: Tensor<2>,
    /// `(log T')'`.
    log_slope_slope: Tensor<2>,
    /// `(log T')''`.
    log_slope_bend: Tensor<2>,
}

impl Support {
    /// The product of intervals, one a coordinate.
    pub fn new(intervals: Vec<Interval>) -> Self {
        Self { intervals }
    }

    /// Where each coordinate lives.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// `T(u)`, `[n, d]`.
    pub fn from_line(&self, u: Tensor<2>) -> Tensor<2> {
        self.mapped(u).x
    }

    /// `T⁻¹(x)`, `[n, d]`: no finite number outside.
    pub fn to_line(&self, x: Tensor<2>) -> Tensor<2> {
        let columns = self.intervals.iter().enumerate().map(|(j, interval)| {
            let x = x.clone().narrow(1, j, 1);
            match *interval {
                Interval::Line => x,
                Interval::Positive => x.log(),
                Interval::Between { low, high } => (x.clone() - low).log() - (x.neg() + high).log(),
            }
        });
        Tensor::cat(columns.collect(), 1)
    }

    /// `log |det ∇T(u)|`, `[n, d] -> [n]`.
    pub fn log_det(&self, u: Tensor<2>) -> Tensor<1> {
        self.mapped(u).log_slope.sum_dim(1).squeeze_dim(1)
    }

    /// Whether each row lies inside, `[n, d] -> [n]`: 0 where it does, -∞ elsewhere.
    pub fn log_indicator(&self, x: Tensor<2>) -> Tensor<1> {
        let columns = self.intervals.iter().enumerate().filter_map(|(j, interval)| {
            let x = x.clone().narrow(1, j, 1);
            match *interval {
                Interval::Line => None,
                Interval::Positive => Some(x.lower_equal_elem(0.0)),
                Interval::Between { low, high } => {
                    Some(x.clone().lower_equal_elem(low).bool_or(x.greater_equal_elem(high)))
                }
            }
        });
        let zero = x.clone().narrow(1, 0, 1).zeros_like();
        columns.fold(zero, |sum, outside| sum.mask_fill(outside, f64::NEG_INFINITY)).squeeze_dim(1)
    }

    /// In how many rows of points, `[n, d]`, each coordinate is the number next to a bound.
    pub fn at_bound(&self, x: &Tensor<2>) -> Vec<usize> {
        let count = |outside: Tensor<2, Bool>| outside.int().sum().into_scalar::<i64>() as usize;
        let of = |(j, interval): (usize, &Interval)| {
            let x = x.clone().narrow(1, j, 1);
            match interval.inside(x.dtype()) {
                [None, None] => 0,
                [Some(low), None] => count(x.lower_equal_elem(low)),
                [None, Some(high)] => count(x.greater_equal_elem(high)),
                [Some(low), Some(high)] => count(x.clone().lower_equal_elem(low).bool_or(x.greater_equal_elem(high))),
            }
        };
        self.intervals.iter().enumerate().map(of).collect()
    }

    /// What speaks against an integral over points, `[n, d]`, in words: many of them are next to a bound, beyond which numbers cannot tell how much
    /// there is.
    pub fn lost_mass(&self, x: &Tensor<2>, whose: &str) -> Option<String> {
        let n = x.dims()[0];
        let (j, count) = self.at_bound(x).into_iter().enumerate().max_by_key(|(_, count)| *count)?;
        let percent = 100.0 * count as f64 / n as f64;
        (count as f64 > MOST_AT_BOUND * n as f64).then(|| {
            format!(
                "{percent:.1} % of the {whose} lie nearer to the bound of x{j} than numbers can: log Z lacks mass there. Write the density in \
                 the logarithm of the distance from the bound"
            )
        })
    }

    fn mapped(&self, u: Tensor<2>) -> Mapped {
        let mut columns: Vec<[Tensor<2>; 6]> = Vec::with_capacity(self.intervals.len());
        for (j, interval) in self.intervals.iter().enumerate() {
            let u = u.clone().narrow(1, j, 1);
            let (zero, one) = (u.zeros_like(), u.ones_like());
            let inside = |x: Tensor<2>| match interval.inside(x.dtype()) {
                [Some(low), Some(high)] => x.clamp(low, high),
                [Some(low), None] => x.clamp_min(low),
                _ => x,
            };
            columns.push(match *interval {
                Interval::Line => [u, one, zero.clone(), zero.clone(), zero.clone(), zero],
                Interval::Positive => {
                    let x = u.clone().exp();
                    [inside(x.clone()), x.clone(), x, u, one, zero]
                }
                Interval::Between { low, high } => {
                    let (s, t) = (sigmoid(u.clone()), sigmoid(u.clone().neg()));
                    let slope = s.clone() * t.clone() * (high - low);
                    let log_slope = log_sigmoid(u.clone()) + log_sigmoid(u.neg()) + (high - low).ln();
                    let turn = t.clone() - s.clone();
                    let x = inside(s.clone() * (high - low) + low);
                    [x, slope.clone(), slope * turn.clone(), log_slope, turn, s * t * -2.0]
                }
            });
        }
        let mut parts: [Vec<Tensor<2>>; 6] = Default::default();
        for column in columns {
            parts.iter_mut().zip(column).for_each(|(part, column)| part.push(column));
        }
        let [x, slope, bend, log_slope, log_slope_slope, log_slope_bend] = parts.map(|part| Tensor::cat(part, 1));
        Mapped { x, slope, bend, log_slope, log_slope_slope, log_slope_bend }
    }
}

/// A measure on a box in the coordinates of the line: `log p(T(u)) + log |det ∇T(u)|`, with the same normaliser.
pub struct Unbounded {
    inner: Arc<dyn Measure>,
    support: Support,
}

impl Unbounded {
    /// The measure seen through T.
    pub fn new(inner: Arc<dyn Measure>, support: Support) -> Self {
        Self { inner, support }
    }
}

impl Measure for Unbounded {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn log_density(&self, u: Tensor<2>) -> Tensor<1> {
        let mapped = self.support.mapped(u);
        self.inner.log_density(mapped.x) + mapped.log_slope.sum_dim(1).squeeze_dim(1)
    }

    /// `T' s(T) + (log T')'`.
    fn score(&self, u: Tensor<2>) -> Tensor<2> {
        let mapped = self.support.mapped(u);
        self.inner.score(mapped.x) * mapped.slope + mapped.log_slope_slope
    }

    /// `T' H(T)(T' v) + (s(T) T'' + (log T')'') v`.
    fn hessian_product(&self, u: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let mapped = self.support.mapped(u);
        let along = self.inner.hessian_product(mapped.x.clone(), mapped.slope.clone() * v.clone()) * mapped.slope;
        along + (self.inner.score(mapped.x) * mapped.bend + mapped.log_slope_bend) * v
    }

    fn log_normalizer(&self) -> Option<f64> {
        self.inner.log_normalizer()
    }
}
