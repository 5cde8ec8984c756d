//! An order of points in which neighbours in space are neighbours in memory.
//!
//! Bentley, Multidimensional binary search trees used for associative searching (1975).

use super::costs::{LANES, LOW_DIM};
use crate::Cloud;

/// The numbers of the points, halved again and again across the longest side of their box, in whole blocks of
/// [`LANES`]; in high dimension, where that is of no use, in their own order.
pub(super) fn spatial(cloud: Cloud) -> Vec<u32> {
    let mut order: Vec<u32> = (0..cloud.count() as u32).collect();
    if cloud.dim() <= LOW_DIM {
        let points: Vec<&[f64]> = cloud.points().collect();
        split(&points, cloud.dim(), &mut order);
    }
    order
}

fn split(points: &[&[f64]], dim: usize, order: &mut [u32]) {
    if order.len() <= LANES {
        return;
    }
    let coordinate = |i: &u32, axis: usize| points[*i as usize][axis];
    let extent = |axis: usize| {
        let (low, high) = order.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), i| {
            (low.min(coordinate(i, axis)), high.max(coordinate(i, axis)))
        });
        high - low
    };
    let widest =
        (0..dim).map(|axis| (extent(axis), axis)).max_by(|a, b| a.0.total_cmp(&b.0)).map_or(0, |widest| widest.1);
    let middle = order.len().div_ceil(2).next_multiple_of(LANES).min(order.len() - 1);
    order.select_nth_unstable_by(middle, |i, j| coordinate(i, widest).total_cmp(&coordinate(j, widest)).then(i.cmp(j)));
    let (left, right) = order.split_at_mut(middle);
    split(points, dim, left);
    split(points, dim, right);
}
