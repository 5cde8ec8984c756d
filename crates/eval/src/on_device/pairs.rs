//! Sums over all pairs of points of two clouds, tile by tile, and the two-sample statistics made of them.
//!
//! Székely and Rizzo, Energy statistics: a class of statistics based on distances (2013); that MMD is one of them:
//! Sejdinovic, Sriperumbudur, Gretton and Fukumizu, Equivalence of distance-based and RKHS-based statistics (2013).

use std::ops::Range;

use burn::tensor::{Bool, Tensor};

use super::{TILE, centred, is_tracked, with_gradients};

/// Up to this dimension distances are formed from differences, which keep every digit; above it by a matrix product.
const LARGEST_DIRECT_DIM: usize = 8;

/// The rows of each tile of a matrix of pairs.
pub(super) fn tiles(rows: usize, columns: usize) -> impl Iterator<Item = Range<usize>> {
    let tile = (TILE / columns.max(1)).max(1);
    (0..rows).step_by(tile).map(move |first| first..(first + tile).min(rows))
}

/// Two clouds between which pairs are formed; `own` where they are the same one.
#[derive(Clone)]
pub(super) struct Pairs {
    /// The points of the rows, `[n, d]`.
    pub x: Tensor<2>,
    /// The points of the columns, `[m, d]`.
    pub y: Tensor<2>,
    /// Whether both are one cloud, so that a point is at distance 0 of itself.
    pub own: bool,
}

impl Pairs {
    /// The pairs of two clouds.
    pub(super) fn between(x: &Tensor<2>, y: &Tensor<2>) -> Self {
        Self { x: x.clone(), y: y.clone(), own: false }
    }

    /// The pairs of a cloud with itself.
    pub(super) fn within(x: &Tensor<2>) -> Self {
        Self { x: x.clone(), y: x.clone(), own: true }
    }

    /// n and m.
    pub(super) fn counts(&self) -> [usize; 2] {
        [self.x.dims()[0], self.y.dims()[0]]
    }

    /// The tiles of rows.
    pub(super) fn tiles(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let [n, m] = self.counts();
        tiles(n, m)
    }

    /// `|x_i - y_j|²` for the rows of a tile, `[tile, m]`.
    pub(super) fn squared_distances(&self, rows: Range<usize>) -> Tensor<2> {
        let x = self.x.clone().slice([rows.clone()]);
        let dim = x.dims()[1];
        if dim <= LARGEST_DIRECT_DIM {
            let difference = |k| x.clone().narrow(1, k, 1) - self.y.clone().narrow(1, k, 1).transpose();
            return (1..dim).fold(difference(0).square(), |sum, k| sum + difference(k).square());
        }
        let norms = |points: &Tensor<2>| points.clone().square().sum_dim(1);
        let product = x.clone().matmul(self.y.clone().transpose());
        let squared = norms(&x) + norms(&self.y).transpose() - product * 2.0;
        let negative = squared.clone().lower_elem(0.0);
        // A fill, since a maximum with 0 would hide a NaN.
        let squared = squared.mask_fill(negative, 0.0);
        // Rounding leaves about 10⁻⁷|x|² where a point meets itself, and the root of that is no longer small.
        if self.own { zero_diagonal(squared, rows) } else { squared }
    }

    /// `Σ_j w_ij (x_i - y_j)` for weights `[tile, m]` of the rows of a tile; `[tile, d]`.
    pub(super) fn pull(&self, rows: Range<usize>, weights: Tensor<2>) -> Tensor<2> {
        let x = self.x.clone().slice([rows]);
        x * weights.clone().sum_dim(1) - weights.matmul(self.y.clone())
    }

    /// `Σ_j φ(|x_i - y_j|)` of every row, `[n, 1]`, and with `gradient` also `Σ_j φ'(r_ij) (x_i - y_j)/r_ij`, `[n, d]`.
    pub(super) fn sums(&self, kernel: Kernel, gradient: bool) -> (Tensor<2>, Option<Tensor<2>>) {
        let (mut sums, mut pulls) = (Vec::new(), Vec::new());
        for rows in self.tiles() {
            let squared = self.squared_distances(rows.clone());
            if gradient {
                pulls.push(self.pull(rows, kernel.slope_over_distance(squared.clone())));
            }
            sums.push(kernel.at(squared).sum_dim(1));
        }
        (Tensor::cat(sums, 0), gradient.then(|| Tensor::cat(pulls, 0)))
    }
}

/// Zeros where row i of a tile of rows meets column i.
fn zero_diagonal(tile: Tensor<2>, rows: Range<usize>) -> Tensor<2> {
    let block = [0..rows.len(), rows];
    let size = block[0].len();
    let off_diagonal = Tensor::<2, Bool>::diag_mask([size, size], 0, &tile.device());
    let square = tile.clone().slice(block.clone()).mask_fill(!off_diagonal, 0.0);
    tile.slice_assign(block, square)
}

/// `1/r` from `r²`, and 0 at 0: the direction from a point to itself counts for nothing.
pub(super) fn reciprocal_root(squared: Tensor<2>) -> Tensor<2> {
    let zero = squared.clone().equal_elem(0.0);
    squared.sqrt().recip().mask_fill(zero, 0.0)
}

/// A function φ of the distance that is conditionally negative definite.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kernel {
    /// `φ(r) = r`.
    Distance,
    /// `φ(r) = -exp(-r²/2h²)`.
    Gaussian {
        /// The bandwidth h.
        bandwidth: f64,
    },
}

impl Kernel {
    /// φ from `r²`.
    fn at(self, squared: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Distance => squared.sqrt(),
            Self::Gaussian { bandwidth } => (squared * (-0.5 / (bandwidth * bandwidth))).exp() * -1.0,
        }
    }

    /// `φ'(r)/r` from `r²`.
    fn slope_over_distance(self, squared: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Distance => reciprocal_root(squared),
            Self::Gaussian { bandwidth } => {
                let precision = 1.0 / (bandwidth * bandwidth);
                (squared * (-0.5 * precision)).exp() * precision
            }
        }
    }

    fn at_zero(self) -> f64 {
        match self {
            Self::Distance => 0.0,
            Self::Gaussian { .. } => -1.0,
        }
    }
}

/// How the pairs of a cloud with itself are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statistic {
    /// Over all n² pairs: the statistic of the empirical measures themselves.
    V,
    /// Over the n(n - 1) pairs of different points: without bias.
    U,
}

/// `2E φ(X, Y) - E φ(X, X') - E φ(Y, Y')`, differentiable in both clouds.
///
/// The three means are subtracted point by point before they are averaged: between close clouds they agree in most of
/// their digits.
pub(super) fn two_sample(a: &Tensor<2>, b: &Tensor<2>, kernel: Kernel, statistic: Statistic) -> Tensor<1> {
    let [x, y] = centred(a, b);
    let gradient = is_tracked(a, b);
    let side = |x: &Tensor<2>, y: &Tensor<2>| {
        let [n, m] = [x.dims()[0] as f64, y.dims()[0] as f64];
        let (across, pull_across) = Pairs::between(x, y).sums(kernel, gradient);
        let (within, pull_within) = Pairs::within(x).sums(kernel, gradient);
        let (others, own) = match statistic {
            Statistic::V => (n, 0.0),
            Statistic::U => (n - 1.0, kernel.at_zero()),
        };
        let value = (across / m - (within - own) / others).mean();
        let pulls = pull_across.zip(pull_within);
        (value, pulls.map(|(across, within)| (across / m - within / others) * (2.0 / n)))
    };
    let ((of_x, gradient_x), (of_y, gradient_y)) = (side(&x, &y), side(&y, &x));
    match gradient_x.zip(gradient_y) {
        Some((gradient_x, gradient_y)) => with_gradients(of_x + of_y, [a, b], [gradient_x, gradient_y]),
        None => of_x + of_y,
    }
}
