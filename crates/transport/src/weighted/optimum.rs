//! The optimum of a transport problem: an auction, then the network simplex, until no pair at all improves the plan.

use super::auction::Auction;
use super::costs::Costs;
use super::forest::Forest;
use super::search::{Candidate, Duals, Search};
use super::simplex::{Arc, Simplex};

/// Rows from which the scale of the costs is taken.
const SAMPLED_ROWS: usize = 64;

/// The first ε of the auction, as a part of the scale of the costs, where the duals are nearly right from the start.
const REFINING: f64 = 0.02;
/// The last ε of the auction, divided by the number of points ...
const LAST: f64 = 1.0;
/// ... that of an auction which only gives another one its start ...
const LAST_OF_MEANS: f64 = 2e-3;
/// ... and by how much ε falls from round to round.
const FACTOR: f64 = 5.0;

/// Neighbours that are replaced by their mean, and the fewest points for which this is done.
const NEIGHBOURS: usize = 8;
const COARSEN: usize = 512;

/// Pairs of one source that join the list of the simplex together.
const ENTERING: usize = 8;

/// Pivots, per point, after which differences of potentials are taken for rounding ten times sooner.
const PATIENCE: usize = 100;

/// The plan, in entries (source, sink, units), and the potentials of the sinks; all masses are positive.
pub(super) fn optimum(costs: &Costs, supplies: &[i64], demands: &[i64]) -> (Vec<(u32, u32, i64)>, Vec<f64>) {
    let auction = auctioned(costs, supplies, demands, LAST / (supplies.len() + demands.len()) as f64);
    let mut search = Search::default();
    let a: Vec<f64> = (0..costs.rows()).map(|i| search.least(costs, i, &auction.duals)).collect();
    let arc = |source: usize, known: &Candidate| Arc { source: source as u32, sink: known.column, cost: known.cost };
    let mut arcs: Vec<Arc> = Vec::new();
    for (source, known) in auction.remembered.iter().enumerate() {
        arcs.extend(known.iter().map(|known| arc(source, known)));
    }
    let forest = Forest::new(costs, &auction.flows());
    let mut simplex = Simplex::new(costs, forest, &arcs, &a, &auction.duals.values);
    drop(auction);
    // A potential is a sum along the tree; its rounding must not look like an improvement.
    let mut tolerance = 1e-14 * simplex.scale();
    let patience = PATIENCE * (supplies.len() + demands.len());
    let mut found = Vec::new();
    for pass in 0.. {
        let pivots = simplex.pivots();
        while !simplex.optimise(&arcs, tolerance, patience) {
            tolerance *= 10.0;
        }
        if pass > 0 && simplex.pivots() == pivots {
            break;
        }
        let (a, b) = simplex.potentials();
        let b = Duals::new(costs, b.to_vec());
        let listed = arcs.len();
        for (source, &potential) in a.iter().enumerate() {
            let bound = potential - 2.0 * tolerance;
            if search.least(costs, source, &b) < bound {
                search.nearest(costs, source, &b, ENTERING, &mut found);
                let improves = |known: &&Candidate| known.cost - b.values[known.column as usize] < bound;
                arcs.extend(found.iter().filter(improves).map(|known| arc(source, known)));
            }
        }
        if arcs.len() == listed {
            break;
        }
    }
    (simplex.flows().collect(), simplex.potentials().1.to_vec())
}

/// The auction down to `last`, as a part of the scale of the costs.
///
/// Where neighbours are together, their means with their mass are a smaller problem, whose potentials are nearly right.
fn auctioned<'a>(costs: &'a Costs, supplies: &'a [i64], demands: &'a [i64], last: f64) -> Auction<'a> {
    let (scale, spread) = scales(costs);
    let last = last * scale;
    if last == 0.0 || supplies.len() == 1 || demands.len() == 1 {
        return Auction::new(costs, supplies, demands, Vec::new());
    }
    let (mut start, mut epsilon) = (Vec::new(), spread / 4.0);
    if costs.has_boxes() && supplies.len().min(demands.len()) >= COARSEN {
        let means = costs.means(supplies, demands, NEIGHBOURS);
        let sums = |units: &[i64]| -> Vec<i64> { units.chunks(NEIGHBOURS).map(|units| units.iter().sum()).collect() };
        let (supplies, demands) = (sums(supplies), sums(demands));
        let auction = auctioned(&means.costs, &supplies, &demands, LAST_OF_MEANS);
        let mut search = Search::default();
        let a: Vec<f64> = (0..means.costs.rows()).map(|i| search.least(&means.costs, i, &auction.duals)).collect();
        start = transform(&means.from_means, &a);
        epsilon = REFINING * scale;
    }
    let mut auction = Auction::new(costs, supplies, demands, start);
    epsilon = epsilon.max(last);
    while auction.round(epsilon) && epsilon > last {
        epsilon = (epsilon / FACTOR).max(last);
    }
    auction
}

/// `b_j = min_i c_ij - a_i`.
pub(super) fn transform(costs: &Costs, a: &[f64]) -> Vec<f64> {
    let mut row = Vec::new();
    let mut b = vec![f64::INFINITY; costs.width()];
    for (i, &a) in a.iter().enumerate() {
        let row = costs.row(i, &mut row);
        costs.arch().dispatch(
            #[inline(always)]
            || {
                for (b, c) in b.iter_mut().zip(row) {
                    let bound = c - a;
                    *b = if bound < *b { bound } else { *b };
                }
            },
        );
    }
    b.truncate(costs.columns());
    b
}

/// The root mean square of the costs centred by rows and columns, the size of what no potentials can absorb, and of the
/// costs centred by rows; from some of the rows.
fn scales(costs: &Costs) -> (f64, f64) {
    let (rows, columns) = (costs.rows(), costs.columns());
    let count = rows.min(SAMPLED_ROWS);
    let mut buffer = Vec::new();
    let mut centred = Vec::with_capacity(count * columns);
    for at in 0..count {
        let row = &costs.row(at * rows / count, &mut buffer)[..columns];
        let mean = row.iter().sum::<f64>() / columns as f64;
        centred.extend(row.iter().map(|cost| cost - mean));
    }
    let size = |costs: &[f64]| (costs.iter().map(|cost| cost * cost).sum::<f64>() / costs.len() as f64).sqrt();
    let spread = size(&centred);
    let mut means = vec![0.0; columns];
    for row in centred.chunks_exact(columns) {
        means.iter_mut().zip(row).for_each(|(mean, cost)| *mean += cost / count as f64);
    }
    for row in centred.chunks_exact_mut(columns) {
        row.iter_mut().zip(&means).for_each(|(cost, mean)| *cost -= mean);
    }
    (size(&centred), spread)
}
