//! The k nearest neighbours of every query, exact, by brute force over tiles of distances.
//!
//! In more than a few dimensions no tree beats a scan that runs at the speed of the processor; memory is linear.

use rayon::prelude::*;

use crate::cloud::comparable;
use crate::distances::{BLOCK_ROWS, Panels};
use crate::{Cloud, TransportError};

/// The nearest neighbours of some queries.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    /// Which points, `[n, k]` row after row, the nearest first; of equally near points the one with the lower index.
    pub indices: Vec<u32>,
    /// How far they are, `[n, k]`, ascending; distances, not squares.
    pub distances: Vec<f64>,
}

/// The k points nearest to each query. With `own`, query i is point i and does not count as its own neighbour.
///
/// O(n m d) for n queries and m points, parallel over the queries.
///
/// # Errors
///
/// Clouds of different dimensions, `k` zero or above the number of points that can be neighbours; with `own`, more
/// queries than points.
pub fn nearest(queries: Cloud, points: Cloud, k: usize, own: bool) -> Result<Neighbours, TransportError> {
    let dim = comparable(&queries, &points)?;
    let (n, m) = (queries.count(), points.count());
    if own && n > m {
        return Err(TransportError::OwnPoints { queries: n, points: m });
    }
    let available = m - usize::from(own);
    if k == 0 || k > available {
        return Err(TransportError::NeighbourCount { k, available });
    }
    let columns = Panels::new(points.values(), dim);
    let mut indices = vec![0; n * k];
    let mut distances = vec![0.0; n * k];
    queries
        .values()
        .par_chunks(BLOCK_ROWS * dim)
        .zip(indices.par_chunks_mut(BLOCK_ROWS * k))
        .zip(distances.par_chunks_mut(BLOCK_ROWS * k))
        .enumerate()
        .for_each(|(block, ((rows, indices), distances))| {
            let mut nearest = vec![Nearest { k, found: Vec::with_capacity(k + 1) }; rows.len() / dim];
            columns.visit_tiles(rows, |tile| {
                for (row, squared) in tile.rows() {
                    let itself = if own { block * BLOCK_ROWS + row } else { usize::MAX };
                    nearest[row].scan(squared, tile.columns.start, itself);
                }
            });
            let found = nearest.iter().flat_map(|nearest| &nearest.found);
            for ((index, distance), (squared, j)) in indices.iter_mut().zip(distances).zip(found) {
                (*index, *distance) = (*j, squared.sqrt());
            }
        });
    Ok(Neighbours { indices, distances })
}

/// The k least squared distances so far, ascending, with their indices.
#[derive(Clone)]
struct Nearest {
    k: usize,
    found: Vec<(f64, u32)>,
}

impl Nearest {
    fn scan(&mut self, squared: &[f64], first: usize, itself: usize) {
        const CHUNK: usize = 16;
        for (chunk, values) in squared.chunks(CHUNK).enumerate() {
            // Almost always nothing in a chunk is near enough, which its minimum tells.
            let least = values.iter().fold(f64::INFINITY, |least, value| if *value < least { *value } else { least });
            if self.found.len() == self.k && least >= self.found[self.k - 1].0 {
                continue;
            }
            for (lane, value) in values.iter().enumerate() {
                let j = first + chunk * CHUNK + lane;
                if j == itself || (self.found.len() == self.k && *value >= self.found[self.k - 1].0) {
                    continue;
                }
                let at = self.found.partition_point(|(other, _)| other <= value);
                self.found.insert(at, (*value, j as u32));
                self.found.truncate(self.k);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distances::squared_distance;

    /// n points of Rᵈ on an additive recurrence: spread out, without a generator.
    fn recurrence(n: usize, dim: usize, step: f64) -> Vec<f64> {
        (0..n * dim).map(|k| ((k + 1) as f64 * step).fract() * 2.0 - 1.0).collect()
    }

    #[test]
    fn as_sorting_all_distances_says() {
        for (n, m, dim, k, own) in
            [(70, 600, 2, 5, false), (90, 90, 3, 7, true), (5, 17, 40, 17, false), (2, 2, 1, 1, true)]
        {
            let (x, y) = (recurrence(n, dim, 0.754_877_666_246_692_8), recurrence(m, dim, 0.569_840_290_998_053_2));
            let points = Cloud::new(if own { &x } else { &y }, dim).unwrap();
            let queries = Cloud::new(&x, dim).unwrap();
            let found = nearest(queries, points, k, own).unwrap();
            for (i, query) in queries.points().enumerate() {
                let mut all: Vec<(f64, u32)> =
                    points.points().zip(0..).map(|(p, j)| (squared_distance(query, p), j)).collect();
                all.retain(|(_, j)| !(own && *j as usize == i));
                all.sort_by(|p, q| p.0.total_cmp(&q.0));
                let ours = found.indices[i * k..].iter().zip(&found.distances[i * k..]);
                for ((index, distance), (squared, j)) in ours.zip(&all[..k]) {
                    assert_eq!(index, j, "a neighbour of {i}");
                    assert!((distance - squared.sqrt()).abs() < 1e-15);
                }
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_index_and_far_clouds_keep_their_digits() {
        let grid: Vec<f64> = (0..50).map(|k| 1e6 + f64::from(k / 2 % 5)).collect();
        let cloud = Cloud::new(&grid, 2).unwrap();
        let found = nearest(cloud, cloud, 4, true).unwrap();
        // Each of five places holds five points.
        assert!(found.distances.iter().all(|distance| *distance == 0.0));
        assert_eq!(found.indices[..8], [5, 10, 15, 20, 6, 11, 16, 21]);
    }

    #[test]
    fn impossible_requests_are_explained() {
        let points = Cloud::new(&[0.0, 1.0, 2.0], 1).unwrap();
        let text = |k, own| nearest(points, points, k, own).unwrap_err().to_string();
        assert_eq!(
            text(3, true),
            "3 nearest neighbours were asked for where 2 points can be neighbours; ask for 1 to 2, or pass more points"
        );
        assert!(nearest(points, points, 0, false).is_err());
        let two = Cloud::new(&[0.0, 1.0], 1).unwrap();
        assert_eq!(
            nearest(points, two, 1, true).unwrap_err().to_string(),
            "3 queries cannot be among 2 points; pass own = false, or the points themselves"
        );
    }
}
