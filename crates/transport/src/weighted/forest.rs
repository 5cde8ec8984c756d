//! From any plan to a basic one: cycles are cancelled until the pairs in use form a forest, at no greater cost.

use super::costs::Costs;

const NONE: u32 = u32::MAX;

/// A forest over sources `0..n` and sinks `n..n + m`; every edge carries mass from a source to a sink.
pub(super) struct Forest {
    sources: usize,
    pub parent: Vec<u32>,
    /// What the edge to the parent carries, and what it costs.
    pub units: Vec<i64>,
    pub cost: Vec<f64>,
    mark: Vec<u32>,
}

impl Forest {
    /// The forest of a plan of entries (source, sink, units).
    pub fn new(costs: &Costs, flows: &[(u32, u32, i64)]) -> Self {
        let nodes = costs.rows() + costs.columns();
        let mut forest = Self {
            sources: costs.rows(),
            parent: vec![NONE; nodes],
            units: vec![0; nodes],
            cost: vec![0.0; nodes],
            mark: vec![NONE; nodes],
        };
        for (at, &(source, sink, units)) in flows.iter().enumerate() {
            forest.add(
                source,
                forest.sources as u32 + sink,
                units,
                costs.at(source as usize, sink as usize),
                at as u32,
            );
        }
        forest
    }

    fn add(&mut self, source: u32, sink: u32, mut units: i64, cost: f64, mark: u32) {
        if let Some(apex) = self.apex(source, sink, mark) {
            // Around the cycle an edge gains where a pair is used as the new one is, and loses where it is opposed: going
            // up from the source those to sinks lose, going up from the sink those from sources do.
            let change = cost + self.climb(source, apex) - self.climb(sink, apex);
            let rotates = change <= 0.0;
            let moved = if rotates {
                self.least_units(source, apex, true).min(self.least_units(sink, apex, false))
            } else {
                units.min(self.least_units(source, apex, false)).min(self.least_units(sink, apex, true))
            };
            let signed = if rotates { moved } else { -moved };
            units += signed;
            self.shift(source, apex, -signed);
            self.shift(sink, apex, signed);
            if units == 0 {
                return;
            }
        }
        self.evert(source);
        (self.parent[source as usize], self.units[source as usize], self.cost[source as usize]) = (sink, units, cost);
    }

    /// The lowest node that two nodes descend from, if they share a tree.
    fn apex(&mut self, a: u32, b: u32, mark: u32) -> Option<u32> {
        let mut node = a;
        while node != NONE {
            self.mark[node as usize] = mark;
            node = self.parent[node as usize];
        }
        let mut node = b;
        while node != NONE && self.mark[node as usize] != mark {
            node = self.parent[node as usize];
        }
        (node != NONE).then_some(node)
    }

    /// Whether the edge above a node is left at the node's side by its source.
    fn is_source(&self, node: u32) -> bool {
        (node as usize) < self.sources
    }

    /// The alternating sum of costs on the way up, negative for the edges above sources.
    fn climb(&self, mut node: u32, apex: u32) -> f64 {
        let mut sum = 0.0;
        while node != apex {
            let cost = self.cost[node as usize];
            sum += if self.is_source(node) { -cost } else { cost };
            node = self.parent[node as usize];
        }
        sum
    }

    /// The least mass on the way up, on the edges above sources or above sinks.
    fn least_units(&self, mut node: u32, apex: u32, above_sources: bool) -> i64 {
        let mut least = i64::MAX;
        while node != apex {
            if self.is_source(node) == above_sources {
                least = least.min(self.units[node as usize]);
            }
            node = self.parent[node as usize];
        }
        least
    }

    /// Adds units on the way up on edges above sources and takes them from those above sinks; what is empty is cut.
    fn shift(&mut self, mut node: u32, apex: u32, units: i64) {
        while node != apex {
            let parent = self.parent[node as usize];
            self.units[node as usize] += if self.is_source(node) { units } else { -units };
            if self.units[node as usize] == 0 {
                self.parent[node as usize] = NONE;
            }
            node = parent;
        }
    }

    /// Makes a node the root of its tree.
    pub fn evert(&mut self, root: u32) {
        let (mut node, mut parent, mut units, mut cost) = (root, NONE, 0, 0.0);
        while node != NONE {
            let at = node as usize;
            let above = (self.parent[at], self.units[at], self.cost[at]);
            (self.parent[at], self.units[at], self.cost[at]) = (parent, units, cost);
            (parent, node, units, cost) = (node, above.0, above.1, above.2);
        }
    }
}
