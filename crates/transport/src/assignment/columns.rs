//! What the solver asks of the columns of an assignment problem.

/// The columns of an assignment problem with their duals v, asked by row: a tree or a matrix.
///
/// The reduced cost of row i at column j is `c(i, j) - v_j`. Costs are never listed; they are searched.
pub(super) trait Columns: Sync {
    /// How many candidates of a row the auction remembers between two searches.
    const REMEMBERED: usize;

    /// The number of rows.
    fn rows(&self) -> usize;

    /// The number of columns.
    fn count(&self) -> usize;

    /// The dual of a column.
    fn dual(&self, column: u32) -> f64;

    /// Changes the dual of a column.
    fn set_dual(&mut self, column: u32, dual: f64);

    /// About the columns of least reduced cost, ascending; `found` is as long as the list that is wanted.
    ///
    /// At least as many columns as are wanted have a reduced cost of at most `limit`. The auction asks this, and it may be
    /// wrong by rounding.
    fn least_about(&self, row: u32, limit: f64, found: &mut [Candidate]);

    /// The column of least reduced cost and that cost, exact in f64.
    fn least(&self, row: u32) -> (u32, f64);

    /// Adds every column whose reduced cost is at most `limit`, with that cost, exact in f64.
    fn within(&self, row: u32, limit: f64, found: &mut Vec<(u32, f64)>);
}

/// A column and what it costs a row, without the dual.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// The cost.
    pub cost: f64,
    /// The cost less the dual of the column when it was found.
    pub reduced: f64,
    /// The column.
    pub column: u32,
}

impl Candidate {
    /// Worse than every column.
    pub const NONE: Self = Self { cost: f64::INFINITY, reduced: f64::INFINITY, column: u32::MAX };
}

/// Puts a candidate into an ascending list in place of its last.
#[inline(always)]
pub(super) fn insert(list: &mut [Candidate], candidate: Candidate) {
    let mut at = list.len() - 1;
    while at > 0 && list[at - 1].reduced > candidate.reduced {
        list[at] = list[at - 1];
        at -= 1;
    }
    list[at] = candidate;
}
