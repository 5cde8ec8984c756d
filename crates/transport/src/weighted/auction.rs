//! A first plan and first potentials by auction: sources bid for the capacity of sinks, which sell it in slices.
//!
//! Bertsekas and Castañon, The auction algorithm for the transportation problem (1989): all units of a sink are alike, so
//! each has a price of its own and the cheapest are sold first; all units of a source bid together.

use std::cmp::Ordering;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};

use super::costs::Costs;
use super::search::{Candidate, Duals, Search};

const NONE: u32 = u32::MAX;

/// Columns that a row remembers between two searches.
const REMEMBERED: usize = 24;

/// Bids of one round, per point, after which the auction gives up and leaves the rest to the simplex.
const PATIENCE: usize = 100;

/// Capacity of a sink that one source holds at one dual.
#[derive(Debug, Clone, Copy)]
struct Slice {
    dual: f64,
    owner: u32,
    units: i64,
}

impl PartialEq for Slice {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Slice {}

impl PartialOrd for Slice {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Slice {
    fn cmp(&self, other: &Self) -> Ordering {
        self.dual.total_cmp(&other.dual).then_with(|| other.owner.cmp(&self.owner))
    }
}

/// The state of the auction; the dual of a sink is minus its price and only falls.
pub(super) struct Auction<'a> {
    costs: &'a Costs,
    supplies: &'a [i64],
    demands: &'a [i64],
    pub duals: Duals,
    sold: Vec<BinaryHeap<Slice>>,
    /// What each source knows: some columns, and a bound below which no other column lies.
    pub remembered: Vec<Vec<Candidate>>,
    pub others: Vec<f64>,
    unplaced: Vec<i64>,
    waiting: VecDeque<u32>,
    search: Search,
}

impl<'a> Auction<'a> {
    pub fn new(costs: &'a Costs, supplies: &'a [i64], demands: &'a [i64], duals: Vec<f64>) -> Self {
        let n = supplies.len();
        Self {
            costs,
            supplies,
            demands,
            duals: Duals::new(costs, duals),
            sold: demands.iter().map(|&units| [Slice { dual: 0.0, owner: NONE, units }].into()).collect(),
            remembered: vec![Vec::new(); n],
            others: vec![f64::NEG_INFINITY; n],
            unplaced: supplies.to_vec(),
            waiting: VecDeque::with_capacity(n),
            search: Search::default(),
        }
    }

    /// Sells everything anew, each source within `epsilon` of its best; false where it took too long.
    pub fn round(&mut self, epsilon: f64) -> bool {
        for (j, sold) in self.sold.iter_mut().enumerate() {
            sold.clear();
            sold.push(Slice { dual: self.duals.values[j], owner: NONE, units: self.demands[j] });
        }
        self.unplaced.copy_from_slice(self.supplies);
        self.waiting.clear();
        self.waiting.extend((0..self.supplies.len() as u32).rev());
        let mut patience = PATIENCE * (self.supplies.len() + self.demands.len());
        while let Some(source) = self.waiting.pop_front() {
            if patience == 0 {
                self.waiting.push_back(source);
                return false;
            }
            patience -= 1;
            self.bid(source, epsilon);
        }
        true
    }

    fn bid(&mut self, source: u32, epsilon: f64) {
        let (column, advantage) = self.two_best(source as usize);
        let sink = column as usize;
        let dual = self.duals.values[sink] - advantage - epsilon;
        let sold = &mut self.sold[sink];
        let (mut left, mut bought) = (self.unplaced[source as usize], 0);
        while let Some(mut slice) = sold.peek_mut() {
            if slice.dual <= dual {
                break;
            }
            if slice.owner == source {
                bought += PeekMut::pop(slice).units;
                continue;
            }
            if left == 0 {
                break;
            }
            let units = left.min(slice.units);
            left -= units;
            bought += units;
            if slice.owner != NONE {
                let outbid = &mut self.unplaced[slice.owner as usize];
                if *outbid == 0 {
                    self.waiting.push_back(slice.owner);
                }
                *outbid += units;
            }
            if units == slice.units {
                PeekMut::pop(slice);
            } else {
                slice.units -= units;
            }
        }
        sold.push(Slice { dual, owner: source, units: bought });
        self.duals.set(sink, sold.peek().map_or(dual, |slice| slice.dual));
        self.unplaced[source as usize] = left;
        if left > 0 {
            self.waiting.push_back(source);
        }
    }

    /// The sink of least reduced cost, and by how much the second exceeds it.
    fn two_best(&mut self, source: usize) -> (u32, f64) {
        loop {
            let (mut least, mut second, mut best) = (f64::INFINITY, f64::INFINITY, NONE);
            for candidate in &self.remembered[source] {
                let reduced = candidate.cost - self.duals.values[candidate.column as usize];
                if reduced < second {
                    if reduced < least {
                        (second, least, best) = (least, reduced, candidate.column);
                    } else {
                        second = reduced;
                    }
                }
            }
            if second <= self.others[source] && best != NONE {
                return (best, second - least);
            }
            let found = &mut self.remembered[source];
            self.others[source] = self.search.nearest(self.costs, source, &self.duals, REMEMBERED, found);
        }
    }

    /// What was sold, `(source, sink, units)`, and what neither source nor sink could place.
    pub fn flows(&self) -> Vec<(u32, u32, i64)> {
        let mut flows = Vec::new();
        let mut unsold = Vec::new();
        for (sink, sold) in self.sold.iter().enumerate() {
            for slice in sold {
                if slice.owner == NONE {
                    unsold.push((sink as u32, slice.units));
                } else if slice.units > 0 {
                    flows.push((slice.owner, sink as u32, slice.units));
                }
            }
        }
        // An auction that was broken off: any place will do, the simplex mends it.
        let unplaced = self.unplaced.iter().enumerate().filter(|&(_, &units)| units > 0);
        for (source, &units) in unplaced {
            let mut left = units;
            while left > 0 {
                let Some((sink, free)) = unsold.last_mut() else { break };
                let moved = left.min(*free);
                flows.push((source as u32, *sink, moved));
                left -= moved;
                *free -= moved;
                if *free == 0 {
                    unsold.pop();
                }
            }
        }
        // One entry for each pair; the order does not depend on that of the heaps.
        flows.sort_unstable();
        flows.dedup_by(|next, kept| {
            let same = (next.0, next.1) == (kept.0, kept.1);
            if same {
                kept.2 += next.2;
            }
            same
        });
        flows
    }
}
