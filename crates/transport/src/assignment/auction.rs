//! The auction: rows bid for columns until all are placed, each within ε of its best. Bertsekas, The auction algorithm (1988).

use pulp::NullaryFnOnce;

use super::columns::{Candidate, Columns};

const NONE: u32 = u32::MAX;

/// The best columns that each row found in its last search.
///
/// Duals only fall during an auction, so reduced costs only rise: as long as two of the remembered columns lie below the
/// last of them as it was then, no other column is better, and the row bids without a search.
struct Memory {
    remembered: usize,
    /// `[n, remembered]`.
    candidates: Vec<(f64, u32)>,
    /// No column that is not remembered has a reduced cost below.
    others: Vec<f64>,
    found: Vec<Candidate>,
}

/// Bids per row in a round that are no price war.
const PATIENCE: u64 = 20;

/// What a row would pay.
struct Bid {
    column: u32,
    /// The reduced cost of that column, and that of the second best.
    least: f64,
    second: f64,
}

impl Memory {
    fn new<C: Columns>(columns: &C) -> Self {
        let n = columns.count();
        let remembered = C::REMEMBERED.min(n);
        Self {
            remembered,
            candidates: vec![(f64::INFINITY, 0); n * remembered],
            others: vec![f64::NEG_INFINITY; n],
            found: vec![Candidate::NONE; remembered],
        }
    }

    #[inline(always)]
    fn bid<C: Columns>(&mut self, columns: &C, row: u32) -> Bid {
        let places = row as usize * self.remembered..(row as usize + 1) * self.remembered;
        let (mut least, mut second, mut column) = (f64::INFINITY, f64::INFINITY, NONE);
        let mut largest = f64::NEG_INFINITY;
        for &(cost, candidate) in &self.candidates[places.clone()] {
            let reduced = cost - columns.dual(candidate);
            largest = largest.max(reduced);
            if reduced < second {
                if reduced < least {
                    (second, least, column) = (least, reduced, candidate);
                } else {
                    second = reduced;
                }
            }
        }
        if second <= self.others[row as usize] {
            return Bid { column, least, second };
        }
        columns.least_about(row, largest, &mut self.found);
        for (place, found) in self.candidates[places].iter_mut().zip(&self.found) {
            *place = (found.cost, found.column);
        }
        let last = self.found[self.remembered - 1].reduced;
        self.others[row as usize] = if self.remembered == columns.count() { f64::INFINITY } else { last };
        let second = self.found.get(1).map_or(self.found[0].reduced, |second| second.reduced);
        Bid { column: self.found[0].column, least: self.found[0].reduced, second }
    }
}

/// One round after the other, ε divided by `factor` from each to the next, until `enough` says so of the columns and ε.
pub(super) struct Auction<'a, C, F> {
    pub columns: &'a mut C,
    pub epsilon: f64,
    pub factor: f64,
    pub enough: F,
}

impl<C: Columns, F: FnMut(&C, f64) -> bool> NullaryFnOnce for Auction<'_, C, F> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { columns, mut epsilon, factor, mut enough } = self;
        let n = columns.count() as u32;
        let mut memory = Memory::new(columns);
        let mut owner = vec![NONE; n as usize];
        let mut unplaced: Vec<u32> = Vec::with_capacity(n as usize);
        let mut patience = PATIENCE * u64::from(n);
        loop {
            owner.fill(NONE);
            unplaced.extend((0..n).rev());
            let mut bids = 0;
            while let Some(row) = unplaced.pop() {
                bids += 1;
                if bids > patience {
                    // A price war: some duals have far to go, and steps of ε are too small.
                    epsilon *= factor;
                    patience += patience / 4;
                    bids = 0;
                }
                let bid = memory.bid(columns, row);
                columns.set_dual(bid.column, columns.dual(bid.column) - (bid.second - bid.least + epsilon));
                let outbid = std::mem::replace(&mut owner[bid.column as usize], row);
                if outbid != NONE {
                    unplaced.push(outbid);
                }
            }
            if enough(columns, epsilon) {
                return;
            }
            epsilon /= factor;
        }
    }
}
