//! Costs between two clouds: from a matrix where one fits in memory and pays, else from the coordinates.

use pulp::Arch;

use crate::Cost;

/// Points of the second cloud that are handled together: a few vectors of any machine.
pub(super) const LANES: usize = 32;

/// The largest matrix of costs that is kept, in bytes.
const LARGEST_MATRIX: usize = 1 << 30;

/// Up to this dimension costs are computed as fast as they are read from memory, and boxes around blocks of points tell
/// which blocks matter.
pub(super) const LOW_DIM: usize = 6;

/// Rows of the matrix that are filled together, so that the second cloud is read from the cache.
const ROW_BLOCK: usize = 64;

/// The costs `c(x_i, y_j)`; a row is padded by infinities to whole blocks of [`LANES`].
pub(super) struct Costs {
    cost: Cost,
    dim: usize,
    columns: usize,
    /// `[n, d]`.
    x: Vec<f64>,
    /// `[blocks, d, LANES]`.
    y: Vec<f64>,
    /// The least and the largest coordinates of each block, `[d, blocks]`; empty in high dimension.
    low: Vec<f64>,
    high: Vec<f64>,
    /// `[n, blocks · LANES]`, or empty.
    matrix: Vec<f64>,
    arch: Arch,
}

impl Costs {
    /// The costs between points `x`, `[n, d]`, and `y`, `[m, d]`.
    pub fn new(x: Vec<f64>, y: &[f64], dim: usize, cost: Cost) -> Self {
        let (rows, columns) = (x.len() / dim, y.len() / dim);
        let blocks = columns.div_ceil(LANES);
        let mut tiled = vec![f64::INFINITY; blocks * dim * LANES];
        for (j, point) in y.chunks_exact(dim).enumerate() {
            for (k, &value) in point.iter().enumerate() {
                tiled[(j / LANES * dim + k) * LANES + j % LANES] = value;
            }
        }
        let (mut low, mut high) = (Vec::new(), Vec::new());
        if dim <= LOW_DIM {
            (low, high) = (vec![f64::INFINITY; dim * blocks], vec![f64::NEG_INFINITY; dim * blocks]);
            for (j, point) in y.chunks_exact(dim).enumerate() {
                for (k, &value) in point.iter().enumerate() {
                    let at = k * blocks + j / LANES;
                    (low[at], high[at]) = (low[at].min(value), high[at].max(value));
                }
            }
        }
        let mut costs = Self { cost, dim, columns, x, y: tiled, low, high, matrix: Vec::new(), arch: Arch::new() };
        if dim > LOW_DIM && rows.saturating_mul(costs.width()) <= LARGEST_MATRIX / size_of::<f64>() {
            costs.matrix = costs.filled();
        }
        costs
    }

    fn filled(&self) -> Vec<f64> {
        let width = self.width();
        let mut matrix = vec![0.0; self.rows() * width];
        for (x, block) in self.x.chunks(ROW_BLOCK * self.dim).zip(matrix.chunks_mut(ROW_BLOCK * width)) {
            self.arch.dispatch(
                #[inline(always)]
                || {
                    for (tile, y) in self.y.chunks_exact(self.dim * LANES).enumerate() {
                        for (x, row) in x.chunks_exact(self.dim).zip(block.chunks_exact_mut(width)) {
                            row[tile * LANES..][..LANES].copy_from_slice(&tile_costs(self.cost, x, y));
                        }
                    }
                },
            );
        }
        matrix
    }

    /// The number of points of the first cloud.
    pub fn rows(&self) -> usize {
        self.x.len() / self.dim
    }

    /// The number of points of the second cloud.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The length of a padded row.
    pub fn width(&self) -> usize {
        self.blocks() * LANES
    }

    /// The number of blocks of points of the second cloud.
    pub fn blocks(&self) -> usize {
        self.columns.div_ceil(LANES)
    }

    /// Whether [`bounds`](Self::bounds) are of use.
    pub fn has_boxes(&self) -> bool {
        !self.low.is_empty()
    }

    /// The costs of row i, padded; `buffer` may serve to hold them.
    pub fn row<'a>(&'a self, i: usize, buffer: &'a mut Vec<f64>) -> &'a [f64] {
        if !self.matrix.is_empty() {
            return &self.matrix[i * self.width()..][..self.width()];
        }
        buffer.resize(self.width(), 0.0);
        let x = self.x(i);
        self.arch.dispatch(
            #[inline(always)]
            || {
                for (y, out) in self.y.chunks_exact(self.dim * LANES).zip(buffer.chunks_exact_mut(LANES)) {
                    out.copy_from_slice(&tile_costs(self.cost, x, y));
                }
            },
        );
        buffer
    }

    /// The costs from point i to a block of points.
    #[inline(always)]
    pub fn block(&self, i: usize, block: usize) -> [f64; LANES] {
        tile_costs(self.cost, self.x(i), &self.y[block * self.dim * LANES..][..self.dim * LANES])
    }

    /// Bounds that no cost less dual undercuts, block by block: `c(x_i, box) - largest dual`, in rounded numbers too.
    #[inline(always)]
    pub fn bounds(&self, i: usize, largest_duals: &[f64], bounds: &mut [f64]) {
        let blocks = bounds.len();
        bounds.fill(0.0);
        for (k, &x) in self.x(i).iter().enumerate() {
            let (low, high) = (&self.low[k * blocks..][..blocks], &self.high[k * blocks..][..blocks]);
            for ((bound, low), high) in bounds.iter_mut().zip(low).zip(high) {
                let (below, above) = (low - x, x - high);
                let outside = if below > above { below } else { above };
                let outside = if outside > 0.0 { outside } else { 0.0 };
                *bound += outside * outside;
            }
        }
        if self.cost == Cost::Distance {
            for bound in bounds.iter_mut() {
                *bound = bound.sqrt();
            }
        }
        for (bound, dual) in bounds.iter_mut().zip(largest_duals) {
            *bound -= dual;
        }
    }

    /// The cost of one pair, the same bits as in its row.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        let y = &self.y[j / LANES * self.dim * LANES..][..self.dim * LANES];
        let squared = self.x(i).iter().enumerate().map(|(k, x)| (x - y[k * LANES + j % LANES]).powi(2)).sum();
        self.cost.of_squared(squared)
    }

    fn x(&self, i: usize) -> &[f64] {
        &self.x[i * self.dim..][..self.dim]
    }

    /// The costs between the means of every `count` points in a row, and from these to all points.
    pub fn means(&self, supplies: &[i64], demands: &[i64], count: usize) -> Means {
        let at = |j: usize, k: usize| self.y[(j / LANES * self.dim + k) * LANES + j % LANES];
        let y: Vec<f64> = (0..self.columns).flat_map(|j| (0..self.dim).map(move |k| at(j, k))).collect();
        let x_means = means(&self.x, supplies, self.dim, count);
        let costs = Self::new(x_means.clone(), &means(&y, demands, self.dim, count), self.dim, self.cost);
        Means { costs, from_means: Self::new(x_means, &y, self.dim, self.cost) }
    }

    /// The instructions of this machine.
    pub fn arch(&self) -> Arch {
        self.arch
    }
}

/// What [`Costs::means`] gives.
pub(super) struct Means {
    /// From means to means.
    pub costs: Costs,
    /// From means to points.
    pub from_means: Costs,
}

/// The means of every `count` points in a row under their masses.
fn means(points: &[f64], units: &[i64], dim: usize, count: usize) -> Vec<f64> {
    let mut means = Vec::with_capacity(points.len().div_ceil(count));
    for (points, units) in points.chunks(count * dim).zip(units.chunks(count)) {
        let total = units.iter().sum::<i64>() as f64;
        means.extend((0..dim).map(|k| {
            let weighted = points.iter().skip(k).step_by(dim).zip(units).map(|(x, &units)| x * (units as f64 / total));
            weighted.sum::<f64>()
        }));
    }
    means
}

/// Costs from one point to [`LANES`] points that lie coordinate after coordinate.
#[inline(always)]
fn tile_costs(cost: Cost, x: &[f64], y: &[f64]) -> [f64; LANES] {
    let mut squared = [0.0; LANES];
    for (&x, y) in x.iter().zip(y.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let difference = x - y[lane];
            squared[lane] += difference * difference;
        }
    }
    if cost == Cost::Distance {
        for value in &mut squared {
            *value = value.sqrt();
        }
    }
    squared
}
