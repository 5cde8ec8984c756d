//! The network simplex on a list of pairs, from a given basic plan.
//!
//! Cunningham, A network simplex method (1976): edges without mass lead towards the root and of all edges that could leave
//! the last one on the cycle does, so that no sequence of pivots repeats. Pairs are priced block by block: Kovács,
//! Minimum-cost flow algorithms: an experimental evaluation (2015).

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::costs::Costs;
use super::forest::Forest;

const NONE: u32 = u32::MAX;

/// A pair that may carry mass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arc {
    pub source: u32,
    pub sink: u32,
    pub cost: f64,
}

/// A spanning tree over sources `0..n` and sinks `n..n + m`, the mass on its edges, and the potentials that make the
/// reduced costs of its edges zero.
pub(super) struct Simplex {
    sources: usize,
    parent: Vec<u32>,
    depth: Vec<u32>,
    first_child: Vec<u32>,
    next: Vec<u32>,
    previous: Vec<u32>,
    /// What the edge to the parent carries, and what it costs.
    units: Vec<i64>,
    cost: Vec<f64>,
    potentials: Vec<f64>,
    /// Where the pricing of pairs goes on.
    cursor: usize,
    pivots: usize,
}

impl Simplex {
    /// The basis of a forest whose trees are joined by pairs of least reduced cost under the potentials `a` and `b`.
    pub fn new(costs: &Costs, mut forest: Forest, arcs: &[Arc], a: &[f64], b: &[f64]) -> Self {
        join(costs, &mut forest, arcs, a, b);
        let nodes = forest.parent.len();
        let mut simplex = Self {
            sources: costs.rows(),
            parent: vec![NONE; nodes],
            depth: vec![0; nodes],
            first_child: vec![NONE; nodes],
            next: vec![NONE; nodes],
            previous: vec![NONE; nodes],
            units: forest.units,
            cost: forest.cost,
            potentials: vec![0.0; nodes],
            cursor: 0,
            pivots: 0,
        };
        for (node, &parent) in forest.parent.iter().enumerate() {
            if parent != NONE {
                simplex.attach(node as u32, parent);
            }
        }
        let root = forest.parent.iter().position(|&parent| parent == NONE).unwrap_or(0);
        let mut child = simplex.first_child[root];
        while child != NONE {
            simplex.update_below(child);
            child = simplex.next[child as usize];
        }
        simplex
    }

    /// The largest potential in absolute value.
    pub fn scale(&self) -> f64 {
        self.potentials.iter().fold(0.0, |scale, value| value.abs().max(scale))
    }

    /// How many pivots there have been.
    pub fn pivots(&self) -> usize {
        self.pivots
    }

    /// The potentials of sources and sinks.
    pub fn potentials(&self) -> (&[f64], &[f64]) {
        self.potentials.split_at(self.sources)
    }

    /// The pairs that carry mass: (source, sink, units).
    pub fn flows(&self) -> impl Iterator<Item = (u32, u32, i64)> + '_ {
        let sources = self.sources as u32;
        (0..self.parent.len() as u32)
            .filter(|&node| self.parent[node as usize] != NONE && self.units[node as usize] > 0)
            .map(move |node| {
                let (parent, units) = (self.parent[node as usize], self.units[node as usize]);
                if node < sources { (node, parent - sources, units) } else { (parent, node - sources, units) }
            })
    }

    /// Pivots until no pair of the list has a reduced cost below `-tolerance`, or `limit` times; true when none is left.
    pub fn optimise(&mut self, arcs: &[Arc], tolerance: f64, limit: usize) -> bool {
        let block = ((arcs.len() as f64).sqrt() as usize).max(64);
        for _ in 0..limit {
            let Some(entering) = self.price(arcs, block, tolerance) else { return true };
            self.pivot(entering);
        }
        false
    }

    /// The pair of most negative reduced cost in the first block that has one.
    fn price(&mut self, arcs: &[Arc], block: usize, tolerance: f64) -> Option<Arc> {
        let (mut least, mut entering) = (-tolerance, None);
        let mut left = arcs.len();
        while left > 0 {
            if self.cursor >= arcs.len() {
                self.cursor = 0;
            }
            let end = (self.cursor + block.min(left)).min(arcs.len());
            for arc in &arcs[self.cursor..end] {
                let sink = self.sources + arc.sink as usize;
                let reduced = arc.cost - self.potentials[arc.source as usize] - self.potentials[sink];
                if reduced < least {
                    (least, entering) = (reduced, Some(*arc));
                }
            }
            left -= end - self.cursor;
            self.cursor = end;
            if entering.is_some() {
                return entering;
            }
        }
        None
    }

    fn pivot(&mut self, entering: Arc) {
        self.pivots += 1;
        let (source, sink) = (entering.source, self.sources as u32 + entering.sink);
        // Up to the apex, and the last edge on the cycle, in the direction of the new one, that limits what can be moved.
        let (mut up_source, mut up_sink) = (source, sink);
        let (mut moved, mut leaving, mut leaves_at_source) = (i64::MAX, NONE, true);
        while up_source != up_sink {
            if self.depth[up_source as usize] > self.depth[up_sink as usize] {
                let units = self.units[up_source as usize];
                if self.is_source(up_source) && units < moved {
                    (moved, leaving, leaves_at_source) = (units, up_source, true);
                }
                up_source = self.parent[up_source as usize];
            } else {
                let units = self.units[up_sink as usize];
                if !self.is_source(up_sink) && units <= moved {
                    (moved, leaving, leaves_at_source) = (units, up_sink, false);
                }
                up_sink = self.parent[up_sink as usize];
            }
        }
        let apex = up_source;
        if moved > 0 {
            self.shift(source, apex, -moved);
            self.shift(sink, apex, moved);
        }
        // Hang the part below the leaving edge on the other end of the entering one.
        let (top, mut parent) = if leaves_at_source { (source, sink) } else { (sink, source) };
        let (mut node, mut units, mut cost) = (top, moved, entering.cost);
        loop {
            let at = node as usize;
            let above = (self.parent[at], self.units[at], self.cost[at]);
            self.detach(node);
            self.attach(node, parent);
            (self.units[at], self.cost[at]) = (units, cost);
            if node == leaving {
                break;
            }
            (parent, node, units, cost) = (node, above.0, above.1, above.2);
        }
        self.update_below(top);
    }

    fn is_source(&self, node: u32) -> bool {
        (node as usize) < self.sources
    }

    fn shift(&mut self, mut node: u32, apex: u32, units: i64) {
        while node != apex {
            self.units[node as usize] += if self.is_source(node) { units } else { -units };
            node = self.parent[node as usize];
        }
    }

    fn attach(&mut self, node: u32, parent: u32) {
        let first = self.first_child[parent as usize];
        self.next[node as usize] = first;
        self.previous[node as usize] = NONE;
        if first != NONE {
            self.previous[first as usize] = node;
        }
        self.first_child[parent as usize] = node;
        self.parent[node as usize] = parent;
    }

    fn detach(&mut self, node: u32) {
        let (next, previous) = (self.next[node as usize], self.previous[node as usize]);
        if next != NONE {
            self.previous[next as usize] = previous;
        }
        if previous == NONE {
            self.first_child[self.parent[node as usize] as usize] = next;
        } else {
            self.next[previous as usize] = next;
        }
    }

    /// Depths and potentials of a node and all below it, from its parent's: a sum along the tree does not drift.
    fn update_below(&mut self, top: u32) {
        let mut node = top;
        loop {
            let (at, parent) = (node as usize, self.parent[node as usize] as usize);
            self.depth[at] = self.depth[parent] + 1;
            self.potentials[at] = self.cost[at] - self.potentials[parent];
            if self.first_child[at] != NONE {
                node = self.first_child[at];
                continue;
            }
            while node != top && self.next[node as usize] == NONE {
                node = self.parent[node as usize];
            }
            if node == top {
                return;
            }
            node = self.next[node as usize];
        }
    }
}

/// A pair that could join a tree to the others, the best first.
struct Bridge {
    slack: f64,
    arc: usize,
}

impl PartialEq for Bridge {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Bridge {}

impl PartialOrd for Bridge {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bridge {
    fn cmp(&self, other: &Self) -> Ordering {
        other.slack.total_cmp(&self.slack).then_with(|| other.arc.cmp(&self.arc))
    }
}

/// Joins the trees of a forest into one by edges without mass, each from a source of the tree that is new.
fn join(costs: &Costs, forest: &mut Forest, arcs: &[Arc], a: &[f64], b: &[f64]) {
    let sources = costs.rows();
    let nodes = forest.parent.len();
    // Trees by the number of one of their nodes.
    let mut tree = vec![NONE; nodes];
    let mut trees: Vec<Vec<u32>> = Vec::new();
    let mut path = Vec::new();
    for start in 0..nodes as u32 {
        let mut node = start;
        while node != NONE && tree[node as usize] == NONE {
            path.push(node);
            node = forest.parent[node as usize];
        }
        let label = if node == NONE { trees.len() as u32 } else { tree[node as usize] };
        if node == NONE && !path.is_empty() {
            trees.push(Vec::new());
        }
        for node in path.drain(..) {
            tree[node as usize] = label;
            trees[label as usize].push(node);
        }
    }
    if trees.len() == 1 {
        return;
    }
    let mut into: Vec<Vec<usize>> = vec![Vec::new(); costs.columns()];
    for (at, arc) in arcs.iter().enumerate() {
        into[arc.sink as usize].push(at);
    }
    let mut joined = vec![false; trees.len()];
    let mut bridges = BinaryHeap::new();
    let mut next = 0;
    // Every tree has a sink, for every point has mass.
    let home = trees[0].iter().find(|&&node| node as usize >= sources).map_or(0, |&sink| sink as usize - sources);
    for count in 0..trees.len() {
        let (source, sink, cost) = loop {
            if count == 0 {
                break (NONE, 0, 0.0);
            }
            match bridges.pop() {
                Some(Bridge { arc, .. }) => {
                    let arc: Arc = arcs[arc];
                    if !joined[tree[arc.source as usize] as usize] {
                        break (arc.source, arc.sink as usize, arc.cost);
                    }
                }
                None => {
                    while joined[tree[next] as usize] {
                        next += 1;
                    }
                    break (next as u32, home, costs.at(next, home));
                }
            }
        };
        let label = if source == NONE { 0 } else { tree[source as usize] as usize };
        if source != NONE {
            forest.evert(source);
            forest.parent[source as usize] = (sources + sink) as u32;
            forest.cost[source as usize] = cost;
        }
        joined[label] = true;
        for &node in trees[label].iter().filter(|&&node| node as usize >= sources) {
            let sink = node as usize - sources;
            for &at in into[sink].iter().filter(|&&at| !joined[tree[arcs[at].source as usize] as usize]) {
                let slack = arcs[at].cost - a[arcs[at].source as usize] - b[sink];
                bridges.push(Bridge { slack, arc: at });
            }
        }
    }
}
