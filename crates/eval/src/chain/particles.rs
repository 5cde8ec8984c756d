//! Both chains by particles, with the distances of their ends.

use std::cmp::Ordering;

use brenier_measure::{Estimate, Points, Purpose, Stream};
use brenier_transport::exact::{Optimum, optimal_transport};
use brenier_transport::weighted::transport;
use brenier_transport::{Cost, Potentials};
use ndarray::Axis;

use super::{Chain, Distance, End, Expansion, Method, Outcome, Settings, Start, Target};
use crate::clouds::between;
use crate::{EvalError, Step};

/// Fresh draws of a law on the line for each particle that is compared with it: sorting is cheap.
const FINER_ON_THE_LINE: usize = 16;

/// Sample sets that make a floor.
const FLOOR_REPEATS: u64 = 4;

/// The largest dimension whose covariance is reported.
const MOST_DIMENSIONS: usize = 64;

/// Carries particles from the start, and where it is another law, from the target too.
///
/// # Errors
///
/// Fewer than 2 particles, points that leave the numbers, an interruption.
pub(super) fn run(
    chain: &Chain,
    target: &Target,
    start: Start,
    settings: &Settings,
    watch: &mut dyn FnMut(Step) -> bool,
) -> Result<Outcome, EvalError> {
    let Settings { particles, seed } = *settings;
    if particles < 2 {
        return Err(EvalError::TooFew { name: "particles", count: particles, least: 2 });
    }
    let chains = if matches!(start, Start::Target) { 1 } else { 2 };
    let mut tally =
        Tally { done: 0, total: chains * 2 * chain.steps * particles + distances(chains) * particles, watch };
    let carry = |start: &Start, tally: &mut Tally| -> Result<[Points; 3], EvalError> {
        let zero = start.draws(target, settings);
        let forward = chain.forward(zero.clone(), seed, &mut |_, _| tally.add(particles))?;
        let backward = chain.backward(target, &forward, seed, &mut |_, _, tile| tally.add(tile.nrows()))?;
        Ok([zero, forward, backward])
    };
    let [zero, forward, backward] = carry(&start, &mut tally)?;
    let expansion = match start {
        Start::Target => None,
        _ => {
            let [zero_target, forward_target, backward_target] = carry(&Start::Target, &mut tally)?;
            let pairs = [(&zero, &zero_target), (&forward, &forward_target), (&backward, &backward_target)];
            let (mut values, mut errors) = ([0.0; 3], [0.0; 3]);
            for (i, (a, b)) in pairs.into_iter().enumerate() {
                let optimum = tally.distance(a, b)?;
                (values[i], errors[i]) = (optimum.distance(), optimum.std_error());
            }
            Some((values, errors))
        }
    };
    let finer = if zero.ncols() == 1 { FINER_ON_THE_LINE } else { 1 };
    let fresh = |repeat: u64, count: usize| {
        target.sampler.sample(&Stream::new(seed, Purpose::Evaluation), repeat, 0..count as u64)
    };
    let deviation = chain.reference_deviation();
    let normals = |repeat: u64, count: usize| {
        let stream = Stream::new(seed, Purpose::Reference);
        let mut points = Points::zeros((count, zero.ncols()));
        for (i, mut row) in points.rows_mut().into_iter().enumerate() {
            let mut words = stream.at(repeat, i as u64);
            row.iter_mut().for_each(|x| *x = deviation * words.normal());
        }
        points
    };
    let forward = end(&forward, &normals, finer, &mut tally)?;
    let backward = end(&backward, &fresh, finer, &mut tally)?;
    let expansion = expansion.map(|(values, errors)| Expansion::new(values, errors, backward.w2.value));
    Ok(Outcome { method: Method::MonteCarlo, forward, backward, expansion })
}

/// How many distances are computed for so many chains.
fn distances(chains: usize) -> usize {
    2 * (1 + FLOOR_REPEATS as usize) + 3 * (chains - 1)
}

/// What is known of points, against draws of the law that a perfect chain would give; set 0 is compared with, the others make
/// the floor.
fn end(
    points: &Points,
    draws: &dyn Fn(u64, usize) -> Points,
    finer: usize,
    tally: &mut Tally,
) -> Result<End, EvalError> {
    let n = points.nrows();
    let reference = draws(0, n * finer);
    let optimum = tally.distance(points, &reference)?;
    let mut floor = 0.0;
    for repeat in 1..=FLOOR_REPEATS {
        floor += tally.distance(&draws(repeat, n), &reference)?.distance() / FLOOR_REPEATS as f64;
    }
    let means: Vec<Estimate> = points.columns().into_iter().map(|column| Estimate::mean(column.to_vec())).collect();
    let variance = |(j, mean): (usize, &Estimate)| {
        let squares = points.column(j).into_iter().map(|x| (x - mean.value).powi(2)).collect::<Vec<f64>>();
        let biased = Estimate::mean(squares);
        Estimate { value: biased.value * n as f64 / (n as f64 - 1.0), ..biased }
    };
    let variances: Vec<Estimate> = means.iter().enumerate().map(variance).collect();
    let covariance = (points.ncols() <= MOST_DIMENSIONS).then(|| {
        let centred = points - &points.mean_axis(Axis(0)).expect("at least two points");
        let covariance = centred.t().dot(&centred) / (n as f64 - 1.0);
        covariance.rows().into_iter().map(|row| row.to_vec()).collect()
    });
    let values = |estimates: &[Estimate]| estimates.iter().map(|estimate| estimate.value).collect();
    let errors = |estimates: &[Estimate]| estimates.iter().map(|estimate| estimate.std_error).collect();
    Ok(End {
        mean: values(&means),
        variance: values(&variances),
        covariance,
        mean_std_error: errors(&means),
        variance_std_error: errors(&variances),
        w2: Distance { value: optimum.distance(), std_error: optimum.std_error(), floor },
    })
}

/// How much is done, in steps of particles.
struct Tally<'a> {
    done: usize,
    total: usize,
    watch: &'a mut dyn FnMut(Step) -> bool,
}

impl Tally<'_> {
    fn add(&mut self, done: usize) -> bool {
        self.done += done;
        (self.watch)(Step { done: self.done.min(self.total), total: self.total })
    }

    fn distance(&mut self, a: &Points, b: &Points) -> Result<Optimum, EvalError> {
        let optimum = w2(a, b)?;
        if self.add(a.nrows()) { Ok(optimum) } else { Err(EvalError::Interrupted) }
    }
}

/// Exact W₂² between equally weighted points. Many equal points, as a point mass or a small data set gives, make the assignment
/// degenerate and slow: then each place is taken once, with its weight.
fn w2(a: &Points, b: &Points) -> Result<Optimum, EvalError> {
    let ground = Cost::SquaredDistance;
    let (places_a, places_b) = (Places::of(a), Places::of(b));
    if a.ncols() == 1 || (2 * places_a.weights.len() > a.nrows() && 2 * places_b.weights.len() > b.nrows()) {
        return between(a, b, |a, b| Ok(optimal_transport(a, b, ground)?));
    }
    let plan = between(&places_a.points, &places_b.points, |x, y| {
        Ok(transport(x, &places_a.weights, y, &places_b.weights, ground)?)
    })?;
    let potentials = Potentials { a: places_a.spread(&plan.potentials.a), b: places_b.spread(&plan.potentials.b) };
    Ok(Optimum::new(plan.cost, plan.gap, plan.rounding, potentials, ground))
}

/// The distinct points of a cloud.
struct Places {
    points: Points,
    /// How many points of the cloud lie there.
    weights: Vec<f64>,
    /// The place of each point of the cloud.
    of: Vec<usize>,
}

impl Places {
    fn of(points: &Points) -> Self {
        let mut order: Vec<usize> = (0..points.nrows()).collect();
        let compare = |&i: &usize, &j: &usize| {
            let pairs = points.row(i).into_iter().zip(points.row(j)).map(|(x, y)| x.total_cmp(y));
            pairs.fold(Ordering::Equal, Ordering::then)
        };
        order.sort_by(compare);
        let (mut of, mut first, mut weights) = (vec![0; points.nrows()], Vec::new(), Vec::new());
        for (rank, &i) in order.iter().enumerate() {
            if rank == 0 || compare(&order[rank - 1], &i) != Ordering::Equal {
                first.push(i);
                weights.push(0.0);
            }
            of[i] = first.len() - 1;
            *weights.last_mut().expect("a place was pushed") += 1.0;
        }
        Self { points: points.select(Axis(0), &first), weights, of }
    }

    /// A value of each place as a value of each point.
    fn spread(&self, values: &[f64]) -> Vec<f64> {
        self.of.iter().map(|&place| values[place]).collect()
    }
}
