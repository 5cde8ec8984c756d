//! A checked view of points that lie row after row in a slice.

use std::cmp::Ordering;

use crate::TransportError;

/// n equally weighted points of Rᵈ: at least one, all coordinates finite.
#[derive(Debug, Clone, Copy)]
pub struct Cloud<'a> {
    values: &'a [f64],
    dim: usize,
}

impl<'a> Cloud<'a> {
    /// The points in `values`, `[n, d]` row after row.
    ///
    /// # Errors
    ///
    /// An empty slice, a length that is no multiple of `dim`, a coordinate that is not finite.
    pub fn new(values: &'a [f64], dim: usize) -> Result<Self, TransportError> {
        if dim == 0 || !values.len().is_multiple_of(dim) {
            return Err(TransportError::Ragged { values: values.len(), dim });
        }
        if values.is_empty() {
            return Err(TransportError::Empty);
        }
        match values.iter().position(|x| !x.is_finite()) {
            Some(at) => Err(TransportError::NotFinite { point: at / dim, column: at % dim, value: values[at] }),
            None => Ok(Self { values, dim }),
        }
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The number of points n.
    pub fn count(&self) -> usize {
        self.values.len() / self.dim
    }

    /// The points as one slice, `[n, d]` row after row.
    pub(crate) fn values(&self) -> &'a [f64] {
        self.values
    }

    /// The points, each a slice of length d.
    pub fn points(&self) -> std::slice::ChunksExact<'a, f64> {
        self.values.chunks_exact(self.dim)
    }
}

/// The power of two just below a length; 1 for 0. To divide by it rounds nothing.
pub(crate) fn unit(length: f64) -> f64 {
    if length > 0.0 { length.log2().floor().exp2().max(f64::MIN_POSITIVE) } else { 1.0 }
}

/// The dimension that both clouds share.
pub(crate) fn common_dim(a: &Cloud, b: &Cloud) -> Result<usize, TransportError> {
    if a.dim == b.dim { Ok(a.dim) } else { Err(TransportError::DimensionMismatch { a: a.dim, b: b.dim }) }
}

/// The dimension that both clouds share, where no squared distance between their points overflows.
pub(crate) fn comparable(a: &Cloud, b: &Cloud) -> Result<usize, TransportError> {
    let dim = common_dim(a, b)?;
    let largest = a.values.iter().chain(b.values).fold(0.0, |largest: f64, x| largest.max(x.abs()));
    if (16.0 * dim as f64 * largest * largest).is_finite() {
        Ok(dim)
    } else {
        Err(TransportError::TooLarge { largest })
    }
}

/// The points of either cloud that are not in the other, as often as they are, `[n, d]` and `[m, d]` in lexicographic order.
pub fn without_shared(a: &Cloud, b: &Cloud) -> [Vec<f64>; 2] {
    let compare = |x: &&[f64], y: &&[f64]| x.partial_cmp(y).unwrap_or(Ordering::Equal);
    let sorted = |cloud: &Cloud<'_>| -> Vec<Vec<f64>> {
        let mut points: Vec<&[f64]> = cloud.points().collect();
        points.sort_unstable_by(compare);
        points.into_iter().map(<[f64]>::to_vec).collect()
    };
    let (x, y) = (sorted(a), sorted(b));
    let (mut i, mut j, mut rest) = (0, 0, [Vec::new(), Vec::new()]);
    while i < x.len() || j < y.len() {
        let order = match (x.get(i), y.get(j)) {
            (Some(x), Some(y)) => x.partial_cmp(y).unwrap_or(Ordering::Equal),
            (Some(_), None) => Ordering::Less,
            _ => Ordering::Greater,
        };
        if order == Ordering::Less {
            rest[0].extend_from_slice(&x[i]);
        }
        if order == Ordering::Greater {
            rest[1].extend_from_slice(&y[j]);
        }
        i += usize::from(order != Ordering::Greater);
        j += usize::from(order != Ordering::Less);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloud_says_what_is_wrong_with_it() {
        let text = |values: &[f64], dim| Cloud::new(values, dim).unwrap_err().to_string();
        assert_eq!(
            text(&[1.0, 2.0, 3.0], 2),
            "3 numbers are no whole number of points of dimension 2; pass n·2 of them, point after point"
        );
        assert_eq!(
            text(&[1.0, 2.0, 3.0, f64::NAN], 2),
            "coordinate 1 of point 1 is NaN; remove that point, or mend what produced it"
        );
        assert_eq!(Cloud::new(&[], 2).unwrap_err(), TransportError::Empty);
        assert!(Cloud::new(&[], 0).is_err());
    }
}
