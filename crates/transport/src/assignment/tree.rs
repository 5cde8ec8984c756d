//! Columns in a tree of boxes: a search of reduced costs by branch and bound, for points of few dimensions.
//!
//! Every box keeps the largest dual of its points, so `c(x, box) - max v` bounds every reduced cost inside. The tree is
//! a k-d tree with three levels of splits in a node, whose eight boxes are bounded together in vector registers. Bentley,
//! Multidimensional binary search trees used for associative searching (1975).

#![allow(clippy::needless_range_loop, reason = "a lane or an axis indexes several arrays at once")]

use super::columns::{Candidate, Columns, insert};

/// Boxes of a node, and points of a leaf: one vector of eight.
const LANES: usize = 8;

/// More than a search ever puts off: seven boxes on each of the levels of 2³² points.
const PUT_OFF: usize = 80;

/// Marks the number of a leaf among the children of a node.
const LEAF: u32 = 1 << 31;

const NONE: u32 = u32::MAX;

/// Eight boxes; the empty ones are infinitely far away.
#[derive(Debug, Clone)]
struct Node<const D: usize> {
    low: [[f64; LANES]; D],
    high: [[f64; LANES]; D],
    /// The largest dual in each box.
    duals: [f64; LANES],
    /// Nodes, or leaves with the mark [`LEAF`].
    children: [u32; LANES],
    /// Where this node is a child.
    parent: Place,
}

/// A box: its node, and which of the eight it is.
#[derive(Debug, Clone, Copy)]
struct Place {
    node: u32,
    lane: u32,
}

/// Rows and columns in Rᴰ, both in the order of a tree; the cost is `|x - y|ᴾ`, P = 1 or 2.
#[derive(Debug)]
pub(super) struct Tree<const D: usize, const P: u32> {
    nodes: Vec<Node<D>>,
    /// Where each leaf is a child.
    leaves: Vec<Place>,
    rows: Vec<[f64; D]>,
    count: usize,
    /// Coordinate by coordinate, so that a leaf is read in vectors; padded at infinity.
    columns: [Vec<f64>; D],
    /// Padded with zeros.
    duals: Vec<f64>,
}

/// A tree, and which points its rows and columns were.
pub(super) struct Ordered<const D: usize, const P: u32> {
    pub tree: Tree<D, P>,
    pub rows: Vec<u32>,
    pub columns: Vec<u32>,
}

impl<const D: usize, const P: u32> Tree<D, P> {
    /// The tree over the columns; neighbouring rows get neighbouring numbers too, which keeps a search in the cache.
    pub fn over(rows: &[[f64; D]], columns: &[[f64; D]]) -> Ordered<D, P> {
        let row_order = Boxes::new(rows).order;
        let Boxes { nodes, leaves, order: column_order, .. } = Boxes::new(columns);
        let padding = leaves.len() * LANES - columns.len();
        let tree = Self {
            nodes,
            leaves,
            rows: row_order.iter().map(|&i| rows[i as usize]).collect(),
            count: columns.len(),
            columns: std::array::from_fn(|axis| {
                let values = column_order.iter().map(|&j| columns[j as usize][axis]);
                values.chain(std::iter::repeat_n(f64::INFINITY, padding)).collect()
            }),
            duals: vec![0.0; columns.len() + padding],
        };
        Ordered { tree, rows: row_order, columns: column_order }
    }

    /// Bounds from below of the reduced costs in the boxes of a node.
    #[inline(always)]
    fn bounds(&self, node: &Node<D>, x: &[f64; D]) -> [f64; LANES] {
        let mut squared = [0.0; LANES];
        for axis in 0..D {
            for lane in 0..LANES {
                let outside = (node.low[axis][lane] - x[axis]).max(x[axis] - node.high[axis][lane]).max(0.0);
                squared[lane] += outside * outside;
            }
        }
        let mut bounds = squared.map(power::<P>);
        for lane in 0..LANES {
            bounds[lane] -= node.duals[lane];
        }
        bounds
    }

    /// The costs of the points of a leaf.
    #[inline(always)]
    fn leaf_costs(&self, first: usize, x: &[f64; D]) -> [f64; LANES] {
        let mut squared = [0.0; LANES];
        for axis in 0..D {
            let values: &[f64; LANES] = self.columns[axis][first..first + LANES].try_into().expect("padded");
            for lane in 0..LANES {
                let difference = x[axis] - values[lane];
                squared[lane] += difference * difference;
            }
        }
        squared.map(power::<P>)
    }

    #[inline(always)]
    fn leaf_duals(&self, first: usize) -> &[f64; LANES] {
        self.duals[first..first + LANES].try_into().expect("padded")
    }

    /// Nothing visited yet.
    #[inline(always)]
    fn search(&self) -> Search {
        // The root is a node, or the only leaf.
        let root = if self.nodes.is_empty() { LEAF } else { 0 };
        let mut put_off = [(f64::NEG_INFINITY, 0); PUT_OFF];
        put_off[0].1 = root;
        Search { put_off, count: 1 }
    }

    /// The first point of the next leaf, near ones first, that may hold a reduced cost of at most `limit`.
    #[inline(always)]
    fn next_leaf(&self, search: &mut Search, x: &[f64; D], limit: f64) -> Option<usize> {
        while search.count > 0 {
            search.count -= 1;
            let (bound, child) = search.put_off[search.count];
            if bound > limit {
                continue;
            }
            if child & LEAF != 0 {
                return Some((child & !LEAF) as usize * LANES);
            }
            let node = &self.nodes[child as usize];
            let bounds = self.bounds(node, x);
            let base = search.count;
            let mut near = at_most(&bounds, limit);
            while near != 0 {
                let lane = near.trailing_zeros() as usize;
                near &= near - 1;
                // The nearest lies on top.
                let mut at = search.count;
                while at > base && search.put_off[at - 1].0 < bounds[lane] {
                    search.put_off[at] = search.put_off[at - 1];
                    at -= 1;
                }
                search.put_off[at] = (bounds[lane], node.children[lane]);
                search.count += 1;
            }
        }
        None
    }
}

/// Boxes and leaves that a search has put off, each with its bound; the nearest last.
struct Search {
    put_off: [(f64, u32); PUT_OFF],
    count: usize,
}

/// One bit for every lane that is at most `limit`.
#[inline(always)]
fn at_most(values: &[f64; LANES], limit: f64) -> u32 {
    let mut bits = 0;
    for (lane, &value) in values.iter().enumerate() {
        bits |= u32::from(value <= limit) << lane;
    }
    bits
}

/// `|x - y|ᴾ` of a squared distance, P = 1 or 2.
#[inline(always)]
fn power<const P: u32>(squared: f64) -> f64 {
    if P == 1 { squared.sqrt() } else { squared }
}

/// The means of the leaves of a tree over the points: about n/8 points, one for every eight neighbours.
///
/// Clouds of the same size have the same leaf sizes.
pub(super) fn leaf_means<const D: usize>(points: &[[f64; D]]) -> Vec<[f64; D]> {
    let order = Boxes::new(points).order;
    let mean = |members: &[u32], axis| {
        members.iter().map(|&point| points[point as usize][axis]).sum::<f64>() / members.len() as f64
    };
    order.chunks(LANES).map(|members| std::array::from_fn(|axis| mean(members, axis))).collect()
}

/// The means of values at the points of each leaf.
pub(super) fn leaf_values<const D: usize>(points: &[[f64; D]], values: &[f64]) -> Vec<f64> {
    let order = Boxes::new(points).order;
    let mean =
        |members: &[u32]| members.iter().map(|&point| values[point as usize]).sum::<f64>() / members.len() as f64;
    order.chunks(LANES).map(mean).collect()
}

/// The boxes of a tree in the making.
struct Boxes<'a, const D: usize> {
    points: &'a [[f64; D]],
    nodes: Vec<Node<D>>,
    leaves: Vec<Place>,
    order: Vec<u32>,
}

impl<'a, const D: usize> Boxes<'a, D> {
    fn new(points: &'a [[f64; D]]) -> Self {
        let nowhere = Place { node: NONE, lane: 0 };
        let leaves = vec![nowhere; points.len().div_ceil(LANES)];
        let mut boxes = Self { points, nodes: Vec::new(), leaves, order: (0..points.len() as u32).collect() };
        boxes.build(0, points.len(), nowhere);
        boxes
    }

    /// The child that holds the points of a range of the order.
    fn build(&mut self, first: usize, end: usize, parent: Place) -> u32 {
        if end - first <= LANES {
            self.leaves[first / LANES] = parent;
            return LEAF | (first / LANES) as u32;
        }
        let mut parts = vec![(first, end)];
        for _ in 0..LANES.ilog2() {
            parts = parts.into_iter().flat_map(|(first, end)| self.halves(first, end)).collect();
        }
        let id = self.nodes.len() as u32;
        self.nodes.push(Node {
            low: [[f64::INFINITY; LANES]; D],
            high: [[f64::NEG_INFINITY; LANES]; D],
            duals: [0.0; LANES],
            children: [NONE; LANES],
            parent,
        });
        for (lane, &(first, end)) in parts.iter().enumerate() {
            let child = self.build(first, end, Place { node: id, lane: lane as u32 });
            let (low, high) = self.box_of(first, end);
            let node = &mut self.nodes[id as usize];
            node.children[lane] = child;
            for axis in 0..D {
                (node.low[axis][lane], node.high[axis][lane]) = (low[axis], high[axis]);
            }
        }
        id
    }

    fn box_of(&self, first: usize, end: usize) -> ([f64; D], [f64; D]) {
        let (mut low, mut high) = ([f64::INFINITY; D], [f64::NEG_INFINITY; D]);
        for &point in &self.order[first..end] {
            for axis in 0..D {
                low[axis] = low[axis].min(self.points[point as usize][axis]);
                high[axis] = high[axis].max(self.points[point as usize][axis]);
            }
        }
        (low, high)
    }

    /// Splits a range about the median of its longest side, whole leaves on the left: only the last leaf is not full.
    fn halves(&mut self, first: usize, end: usize) -> impl Iterator<Item = (usize, usize)> + use<D> {
        let mut parts = [Some((first, end)), None];
        if end - first > LANES {
            let (low, high) = self.box_of(first, end);
            let side = |axis: &usize| high[*axis] - low[*axis];
            let axis = (0..D).max_by(|p, q| side(p).total_cmp(&side(q))).expect("at least one axis");
            let middle = ((end - first) / 2).next_multiple_of(LANES);
            let value = |point: u32| self.points[point as usize][axis];
            let by_value = |p: &u32, q: &u32| value(*p).total_cmp(&value(*q)).then(p.cmp(q));
            self.order[first..end].select_nth_unstable_by(middle, by_value);
            parts = [Some((first, first + middle)), Some((first + middle, end))];
        }
        parts.into_iter().flatten()
    }
}

impl<const D: usize, const P: u32> Columns for Tree<D, P> {
    const REMEMBERED: usize = 8;

    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn count(&self) -> usize {
        self.count
    }

    #[inline(always)]
    fn dual(&self, column: u32) -> f64 {
        self.duals[column as usize]
    }

    #[inline(always)]
    fn set_dual(&mut self, column: u32, dual: f64) {
        self.duals[column as usize] = dual;
        // Restore the largest duals on the path to the root, as far as they change.
        let leaf = column as usize / LANES;
        let members = &self.duals[leaf * LANES..self.count.min((leaf + 1) * LANES)];
        let mut largest = members.iter().fold(f64::NEG_INFINITY, |largest, &dual| largest.max(dual));
        let mut place = self.leaves[leaf];
        while place.node != NONE {
            let node = &mut self.nodes[place.node as usize];
            if node.duals[place.lane as usize] == largest {
                return;
            }
            node.duals[place.lane as usize] = largest;
            largest = (0..LANES)
                .filter(|&lane| node.children[lane] != NONE)
                .fold(f64::NEG_INFINITY, |largest, lane| largest.max(node.duals[lane]));
            place = node.parent;
        }
    }

    #[inline(always)]
    fn least_about(&self, row: u32, limit: f64, found: &mut [Candidate]) {
        let x = &self.rows[row as usize];
        found.fill(Candidate::NONE);
        let last = found.len() - 1;
        let (mut search, mut worst) = (self.search(), limit);
        while let Some(first) = self.next_leaf(&mut search, x, worst) {
            let costs = self.leaf_costs(first, x);
            let duals = self.leaf_duals(first);
            let mut reduced = costs;
            for lane in 0..LANES {
                reduced[lane] -= duals[lane];
            }
            let mut near = at_most(&reduced, worst);
            while near != 0 {
                let lane = near.trailing_zeros() as usize;
                near &= near - 1;
                if reduced[lane] < found[last].reduced {
                    let candidate =
                        Candidate { cost: costs[lane], reduced: reduced[lane], column: (first + lane) as u32 };
                    insert(found, candidate);
                    worst = worst.min(found[last].reduced);
                }
            }
        }
    }

    #[inline(always)]
    fn least(&self, row: u32) -> (u32, f64) {
        let mut found = [Candidate::NONE];
        self.least_about(row, f64::INFINITY, &mut found);
        (found[0].column, found[0].reduced)
    }

    #[inline(always)]
    fn within(&self, row: u32, limit: f64, found: &mut Vec<(u32, f64)>) {
        let x = &self.rows[row as usize];
        let mut search = self.search();
        while let Some(first) = self.next_leaf(&mut search, x, limit) {
            let costs = self.leaf_costs(first, x);
            let duals = self.leaf_duals(first);
            for lane in 0..LANES.min(self.count - first) {
                let reduced = costs[lane] - duals[lane];
                if reduced <= limit {
                    found.push(((first + lane) as u32, reduced));
                }
            }
        }
    }
}
