//! The least reduced costs of a row: by one pass over it, or in low dimension over the blocks whose boxes are near.

use super::costs::{Costs, LANES};

/// Blocks of a row that share their minima.
const GROUP: usize = 16;

/// The cost of a pair, by the number of its second point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub column: u32,
    pub cost: f64,
}

/// The duals of the second cloud, padded as rows of costs are.
pub(super) struct Duals {
    pub values: Vec<f64>,
    /// The largest of each block.
    largest: Vec<f64>,
}

impl Duals {
    /// Duals of which the first are given and those of the padding are zero.
    pub fn new(costs: &Costs, mut values: Vec<f64>) -> Self {
        values.resize(costs.width(), 0.0);
        let largest = values.as_chunks::<LANES>().0.iter().map(largest).collect();
        Self { values, largest }
    }

    /// Changes one dual.
    pub fn set(&mut self, column: usize, dual: f64) {
        self.values[column] = dual;
        let block = column / LANES;
        self.largest[block] = largest(&self.values.as_chunks::<LANES>().0[block]);
    }
}

#[inline(always)]
fn largest(values: &[f64; LANES]) -> f64 {
    let mut lanes = [f64::NEG_INFINITY; 8];
    for values in values.as_chunks::<8>().0 {
        for lane in 0..8 {
            lanes[lane] = if values[lane] > lanes[lane] { values[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().fold(f64::NEG_INFINITY, |largest, &value| if value > largest { value } else { largest })
}

/// What a search needs to remember.
#[derive(Default)]
pub(super) struct Search {
    row: Vec<f64>,
    minima: Vec<f64>,
    ranked: Vec<f64>,
    ties: Vec<Candidate>,
    near: Vec<(f64, u32)>,
    least: Vec<(f64, Candidate)>,
}

impl Search {
    /// `min_j c(i, j) - b_j`.
    pub fn least(&mut self, costs: &Costs, i: usize, duals: &Duals) -> f64 {
        let minimum = |lanes: &[f64; LANES]| lanes.iter().fold(f64::INFINITY, |a, &b| if b < a { b } else { a });
        let b = duals.values.as_chunks::<LANES>().0;
        if costs.has_boxes() {
            self.minima.resize(costs.blocks(), 0.0);
            return costs.arch().dispatch(
                #[inline(always)]
                || {
                    costs.bounds(i, &duals.largest, &mut self.minima);
                    let mut nearest = 0;
                    for (block, bound) in self.minima.iter().enumerate() {
                        if *bound < self.minima[nearest] {
                            nearest = block;
                        }
                    }
                    let mut least = [f64::INFINITY; LANES];
                    lower(&mut least, &costs.block(i, nearest), &b[nearest]);
                    let mut answer = minimum(&least);
                    for (block, b) in b.iter().enumerate() {
                        if self.minima[block] < answer && block != nearest {
                            lower(&mut least, &costs.block(i, block), b);
                            answer = minimum(&least);
                        }
                    }
                    answer
                },
            );
        }
        let row = costs.row(i, &mut self.row).as_chunks::<LANES>().0;
        costs.arch().dispatch(
            #[inline(always)]
            || {
                let mut least = [f64::INFINITY; LANES];
                for (c, b) in row.iter().zip(b) {
                    lower(&mut least, c, b);
                }
                minimum(&least)
            },
        )
    }

    /// Fills `found` with the columns of the `count` least reduced costs, and perhaps some more; the answer is a bound that
    /// no reduced cost of another column undercuts.
    pub fn nearest(&mut self, costs: &Costs, i: usize, duals: &Duals, count: usize, found: &mut Vec<Candidate>) -> f64 {
        found.clear();
        if costs.columns() <= count {
            found.extend((0..costs.columns()).map(|j| Candidate { column: j as u32, cost: costs.at(i, j) }));
            return f64::INFINITY;
        }
        if costs.has_boxes() {
            self.nearest_in_boxes(costs, i, duals, count, found)
        } else {
            self.nearest_in_row(costs, i, duals, count, found)
        }
    }

    fn nearest_in_row(
        &mut self,
        costs: &Costs,
        i: usize,
        duals: &Duals,
        count: usize,
        found: &mut Vec<Candidate>,
    ) -> f64 {
        let row = costs.row(i, &mut self.row);
        let b = &duals.values;
        let (row_blocks, b_blocks) = (row.as_chunks::<LANES>().0, b.as_chunks::<LANES>().0);
        // Lane by lane the minima of a group of blocks: as many numbers as a sixteenth of the row, found without a branch.
        self.minima.clear();
        self.minima.resize(row_blocks.len().div_ceil(GROUP) * LANES, f64::INFINITY);
        let minima = self.minima.as_chunks_mut::<LANES>().0;
        costs.arch().dispatch(
            #[inline(always)]
            || {
                for ((c, b), least) in row_blocks.chunks(GROUP).zip(b_blocks.chunks(GROUP)).zip(&mut *minima) {
                    for (c, b) in c.iter().zip(b) {
                        lower(least, c, b);
                    }
                }
            },
        );
        self.ranked.clone_from(&self.minima);
        let rank = count.min(self.ranked.len()) - 1;
        let bound = *self.ranked.select_nth_unstable_by(rank, f64::total_cmp).1;
        self.ties.clear();
        for (at, _) in self.minima.iter().enumerate().filter(|&(_, &least)| least <= bound) {
            let first = at / LANES * GROUP * LANES + at % LANES;
            for column in (first..costs.columns()).step_by(LANES).take(GROUP) {
                let reduced = row[column] - b[column];
                let candidate = Candidate { column: column as u32, cost: row[column] };
                if reduced < bound {
                    found.push(candidate);
                } else if reduced == bound {
                    self.ties.push(candidate);
                }
            }
        }
        // All points at one place would otherwise remember each other.
        let wanted = count.saturating_sub(found.len()).min(self.ties.len());
        found.extend(&self.ties[..wanted]);
        bound
    }

    fn nearest_in_boxes(
        &mut self,
        costs: &Costs,
        i: usize,
        duals: &Duals,
        count: usize,
        found: &mut Vec<Candidate>,
    ) -> f64 {
        self.minima.resize(costs.blocks(), 0.0);
        let Self { minima, near, least, .. } = self;
        least.clear();
        least.resize(count, (f64::INFINITY, Candidate { column: 0, cost: 0.0 }));
        near.clear();
        let b = duals.values.as_chunks::<LANES>().0;
        costs.arch().dispatch(
            #[inline(always)]
            || {
                costs.bounds(i, &duals.largest, minima);
                let mut nearest = 0;
                for (block, bound) in minima.iter().enumerate() {
                    if *bound < minima[nearest] {
                        nearest = block;
                    }
                }
                insert_block(costs, i, nearest, &b[nearest], least);
                let radius = least[count - 1].0;
                for (block, &bound) in minima.iter().enumerate() {
                    if bound < radius && block != nearest {
                        near.push((bound, block as u32));
                    }
                }
                // The near before the far, as long as they can hold anything.
                near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                for &(bound, block) in &*near {
                    if bound >= least[count - 1].0 {
                        break;
                    }
                    insert_block(costs, i, block as usize, &b[block as usize], least);
                }
            },
        );
        found.extend(least.iter().map(|(_, candidate)| *candidate));
        least[count - 1].0
    }
}

/// Puts what is less than the last of an ascending list into it.
#[inline(always)]
fn insert_block(costs: &Costs, i: usize, block: usize, b: &[f64; LANES], least: &mut [(f64, Candidate)]) {
    let block_costs = costs.block(i, block);
    let mut reduced = [0.0; LANES];
    for lane in 0..LANES {
        reduced[lane] = block_costs[lane] - b[lane];
    }
    for lane in 0..LANES {
        let mut at = least.len() - 1;
        if reduced[lane] < least[at].0 {
            while at > 0 && least[at - 1].0 > reduced[lane] {
                least[at] = least[at - 1];
                at -= 1;
            }
            least[at] = (reduced[lane], Candidate { column: (block * LANES + lane) as u32, cost: block_costs[lane] });
        }
    }
}

#[inline(always)]
fn lower(least: &mut [f64; LANES], c: &[f64; LANES], b: &[f64; LANES]) {
    for lane in 0..LANES {
        let reduced = c[lane] - b[lane];
        least[lane] = if reduced < least[lane] { reduced } else { least[lane] };
    }
}
