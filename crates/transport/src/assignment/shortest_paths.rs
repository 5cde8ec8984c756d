//! Completes a partial assignment by shortest augmenting paths over arcs that are searched only as far as needed.
//!
//! Jonker and Volgenant, A shortest augmenting path algorithm for dense and sparse linear assignment problems (1987).

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use pulp::NullaryFnOnce;

use super::columns::Columns;

const NONE: u32 = u32::MAX;

/// Pairs at reduced cost zero, and the duals of the rows: `u_i = min_j c(i, j) - v_j`.
pub(super) struct Tight {
    pub columns_of: Vec<u32>,
    pub rows_of: Vec<u32>,
    pub duals: Vec<f64>,
}

impl Tight {
    /// Gives each row its best column where no earlier row has it.
    pub fn new(best: &[(u32, f64)]) -> Self {
        let n = best.len();
        let (mut columns_of, mut rows_of) = (vec![NONE; n], vec![NONE; n]);
        for (row, &(column, _)) in best.iter().enumerate() {
            if rows_of[column as usize] == NONE {
                rows_of[column as usize] = row as u32;
                columns_of[row] = column;
            }
        }
        Self { columns_of, rows_of, duals: best.iter().map(|&(_, reduced)| reduced).collect() }
    }

    /// The rows without a column.
    pub fn free(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.columns_of.len() as u32).filter(|&row| self.columns_of[row as usize] == NONE)
    }
}

/// An event of Dijkstra's algorithm: a column is reached, or (column [`NONE`]) more arcs of a row are due.
#[derive(Debug, PartialEq)]
struct Event {
    distance: f64,
    column: u32,
    row: u32,
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    /// The nearest first; a column before a search of the same distance, and the numbers break ties.
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |event: &Self| (event.column == NONE, event.column, event.row);
        other.distance.total_cmp(&self.distance).then_with(|| key(other).cmp(&key(self)))
    }
}

/// Gives every free row a column, one shortest path after the other.
///
/// A scanned row first answers with its arcs of reduced cost up to `radius`, then up to four times that, and so on, each
/// time only when the search has come so far.
pub(super) struct Completion<'a, C> {
    pub columns: &'a mut C,
    pub tight: &'a mut Tight,
    /// Positive.
    pub radius: f64,
}

impl<C: Columns> NullaryFnOnce for Completion<'_, C> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { columns, tight, radius } = self;
        let n = columns.count();
        let free: Vec<u32> = tight.free().collect();
        let (mut distance, mut from, mut done) = (vec![f64::INFINITY; n], vec![NONE; n], vec![false; n]);
        // Of each scanned row: the distance at which it was reached, and how far its arcs are known.
        let (mut reached_at, mut known) = (vec![0.0; n], vec![-1.0; n]);
        let mut touched: Vec<u32> = Vec::new();
        let mut arcs = Vec::new();
        let mut events = BinaryHeap::new();
        for start in free {
            events.clear();
            let (mut scanned_rows, mut scanned_columns) = (vec![start], Vec::new());
            (reached_at[start as usize], known[start as usize]) = (0.0, -1.0);
            events.push(Event { distance: 0.0, column: NONE, row: start });
            let (end, length) = loop {
                let Event { distance: key, column, row } = events.pop().expect("every column can be reached");
                if column == NONE {
                    let i = row as usize;
                    let inner = known[i];
                    let outer = if inner < 0.0 { radius } else { inner * 4.0 };
                    arcs.clear();
                    columns.within(row, tight.duals[i] + outer, &mut arcs);
                    for &(column, reduced) in &arcs {
                        // Rounding may leave an arc a little below zero.
                        let reduced = (reduced - tight.duals[i]).max(0.0);
                        let reach = reached_at[i] + reduced;
                        let j = column as usize;
                        if reduced > inner && !done[j] && reach < distance[j] {
                            if distance[j] == f64::INFINITY {
                                touched.push(column);
                            }
                            (distance[j], from[j]) = (reach, row);
                            events.push(Event { distance: reach, column, row });
                        }
                    }
                    known[i] = outer;
                    if arcs.len() < n {
                        events.push(Event { distance: reached_at[i] + outer, column: NONE, row });
                    }
                    continue;
                }
                let j = column as usize;
                if done[j] || key > distance[j] {
                    continue;
                }
                done[j] = true;
                let owner = tight.rows_of[j];
                if owner == NONE {
                    break (column, key);
                }
                scanned_columns.push(column);
                scanned_rows.push(owner);
                (reached_at[owner as usize], known[owner as usize]) = (key, -1.0);
                events.push(Event { distance: key, column: NONE, row: owner });
            };
            for &column in &scanned_columns {
                columns.set_dual(column, columns.dual(column) + distance[column as usize] - length);
            }
            for &row in &scanned_rows {
                tight.duals[row as usize] += length - reached_at[row as usize];
            }
            for &column in &touched {
                (distance[column as usize], done[column as usize]) = (f64::INFINITY, false);
            }
            touched.clear();
            let mut column = end;
            loop {
                let row = from[column as usize];
                tight.rows_of[column as usize] = row;
                column = std::mem::replace(&mut tight.columns_of[row as usize], column);
                if row == start {
                    break;
                }
            }
        }
    }
}
