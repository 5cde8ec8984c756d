//! The law of `L_r(Y_r)` on the line, by quadrature to about 1e-10.
//!
//! `L_r` and `log p_{Y_r}` are interpolated on panels, halved until both are resolved. Three facts tell what the nodes of a
//! panel do not see. `log p + y²/2` is convex, so no mass hides where p is negligible at nodes that are close enough. The mass
//! of all panels is one. And `∂E[rX | Y_r = y]/∂y = L_r(y)`, so the posterior mean rises by the integral of L. What these
//! leave open, a narrow component inside of a wide one, is found by panels that begin at draws of X and at the centres that
//! the posterior knows. The set `{L_r > u}` is then a union of intervals whose ends are roots of polynomials.
//! Liang, Dharmakeerthi, Koriyama (2411.01629).

use brenier_measure::{Estimate, Points, PosteriorCovariance};

use super::law::{AverageCurvature, Complexity};
use super::panel::{Integrals, NODE_COUNT, Panel, Piece, bracket, integral, interpolate, last_coefficients, nodes};
use crate::EvalError;

/// The law of a one-dimensional L.
#[derive(Debug, Clone)]
pub(crate) struct LineLaw {
    panels: Vec<Panel>,
    /// The monotone pieces, each with the index of its panel.
    pieces: Vec<(usize, Piece)>,
    mass: f64,
    /// The largest L where the mass is.
    highest: f64,
    supremum: Option<f64>,
}

/// The log-density, below its peak, at which mass is no longer looked for.
const NEGLIGIBLE: f64 = 80.0;
/// What the density may miss of one.
const MASS: f64 = 1e-8;
/// What rounding of y may make it miss, relative to the largest |y|.
const MASS_ROUNDING: f64 = 1e-14;
/// The relative error of L that a panel is halved for.
const RESOLVED: f64 = 1e-12;
/// The error of log p that a panel is halved for, and the largest one where there is hardly any mass.
const LOG_DENSITY: (f64, f64) = (1e-12, 0.02);
/// The size of the last coefficients of p, relative to p, with which Gauss's rule integrates p to the last digit.
const INTEGRABLE: f64 = 1e-5;
/// An error over the tolerance that rounding can make wherever it may be.
const ROUNDING: f64 = 1e5;
/// What `∫ L` may differ from the rise of the posterior mean, relative to `1 + |mean|`.
const CONSERVED: f64 = 1e-11;
/// The largest L over a level, up to which the two are taken for equal.
const TOUCHES: f64 = 1.0 + 1e-13;
/// sup L up to here is taken for 1, by P(L > 1) as by m*, which jumps from 0 to 1 where a constant L passes 1: rounding must
/// not decide.
pub(super) const ONE: f64 = TOUCHES;
/// More panels than this are not made: what is not resolved then is rounding in the posterior.
const PANELS: usize = 200_000;
/// How often the line is doubled beyond the mass when the supremum of L is looked for.
const DOUBLINGS: i32 = 8;
/// How often it is doubled when mass is missing.
const FAR_DOUBLINGS: i32 = 44;
/// How many draws of X panels begin at, at first.
const CUTS: usize = 256;
/// Panels do not begin closer together than this, in units of the noise.
const APART: f64 = 4.0;
/// More intervals than this are not made to begin with.
const INTERVALS: f64 = 4e4;

/// How an interval was resolved: its error over the tolerance, and how often halving has not reduced that.
#[derive(Clone, Copy)]
struct Interval {
    a: f64,
    b: f64,
    excess: f64,
    stalls: u32,
}

impl Interval {
    fn new(a: f64, b: f64) -> Self {
        Self { a, b, excess: f64::INFINITY, stalls: 0 }
    }
}

/// What must be resolved.
#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    /// p, and L as far as there is mass.
    Law,
    /// L, everywhere.
    Supremum,
}

/// What the nodes of an interval say.
enum Finding {
    /// There is no mass.
    Nothing,
    /// There may be mass between the nodes.
    Unseen,
    /// A panel, its error over the tolerance, whether that may be rounding, and whether L has all its digits.
    Seen { panel: Box<Panel>, excess: f64, may_be_rounding: bool, whole: bool },
}

/// A measure on the line at one signal-to-noise ratio.
pub(crate) struct Line<'a> {
    posterior: &'a dyn PosteriorCovariance,
    snr: f64,
    /// r times draws of X, ascending.
    draws: Vec<f64>,
    /// r times the centres that the posterior knows.
    centres: Vec<f64>,
    /// Where the mass lies.
    low: f64,
    high: f64,
    /// The largest log-density seen.
    peak: f64,
    /// Whether mass is missing, so that smooth tails are searched too.
    thorough: bool,
    /// Where the law has found L largest, among the panels on which L has all its digits.
    top: (f64, f64),
    /// What the law has passed over: intervals on which L is not known with all its digits.
    rest: Vec<Interval>,
}

/// Log-density, posterior mean and L at one place.
#[derive(Clone, Copy, Default)]
struct Value {
    log_density: f64,
    mean: f64,
    localization: f64,
}

/// How closely panels begin.
#[derive(Clone, Copy)]
enum Effort {
    /// At some of the draws, between the outermost.
    Usual,
    /// At every draw, and far beyond them.
    Beyond,
    /// Everywhere.
    Everywhere,
}

impl<'a> Line<'a> {
    /// The line at r, where the mass lies about draws of X, `[n, 1]`.
    ///
    /// # Errors
    ///
    /// A posterior that is not finite at a draw.
    pub(crate) fn new(posterior: &'a dyn PosteriorCovariance, snr: f64, draws: &Points) -> Result<Self, EvalError> {
        let sorted = |points: &Points| -> Vec<f64> {
            let mut sorted: Vec<f64> = points.iter().map(|x| snr * x).collect();
            sorted.sort_unstable_by(f64::total_cmp);
            sorted
        };
        let (draws, centres) = (sorted(draws), sorted(&posterior.centres()));
        let all = || draws.iter().chain(&centres);
        let low = all().fold(f64::INFINITY, |low: f64, y| low.min(*y)) - 13.0;
        let high = all().fold(f64::NEG_INFINITY, |high: f64, y| high.max(*y)) + 13.0;
        let quantiles = thinned(&draws, 32);
        let (peak, top) = (f64::NEG_INFINITY, (low, f64::NEG_INFINITY));
        let mut line = Self { posterior, snr, draws, centres, low, high, peak, thorough: false, top, rest: Vec::new() };
        line.values(&quantiles)?;
        for _ in 0..64 {
            let ends = line.values(&[line.low, line.high])?;
            let width = line.high - line.low;
            let outside = |end: usize| ends[end].log_density < line.peak - NEGLIGIBLE;
            match (outside(0), outside(1)) {
                (true, true) => break,
                (false, true) => line.low -= 0.3 * width,
                (true, false) => line.high += 0.3 * width,
                (false, false) => (line.low, line.high) = (line.low - 0.3 * width, line.high + 0.3 * width),
            }
        }
        Ok(line)
    }

    fn values(&mut self, places: &[f64]) -> Result<Vec<Value>, EvalError> {
        let y = Points::from_shape_vec((places.len(), 1), places.to_vec()).expect("one column");
        let mut values = Vec::with_capacity(places.len());
        for (posterior, &y) in self.posterior.posterior(self.snr, &y).into_iter().zip(places) {
            let value = Value {
                log_density: posterior.log_density,
                mean: posterior.mean[0],
                localization: posterior.covariance[[0, 0]],
            };
            // A log-density of -∞ is a density that underflows.
            let density = value.log_density.is_finite() || value.log_density == f64::NEG_INFINITY;
            if !(density && value.mean.is_finite() && value.localization.is_finite()) {
                return Err(EvalError::Posterior { snr: self.snr, y });
            }
            self.peak = self.peak.max(value.log_density);
            values.push(value);
        }
        Ok(values)
    }

    /// Panels that resolve what the purpose asks for, in an order that depends on the intervals alone.
    fn resolve(&mut self, intervals: Vec<Interval>, purpose: Purpose) -> Result<Vec<Panel>, EvalError> {
        let mut open = intervals;
        let mut panels = Vec::new();
        while !open.is_empty() {
            let places: Vec<f64> = open.iter().flat_map(|interval| nodes(interval.a, interval.b)).collect();
            let values = self.values(&places)?;
            let full = panels.len() + 2 * open.len() > PANELS;
            let mut halves = Vec::new();
            for (interval, values) in open.iter().zip(values.chunks_exact(NODE_COUNT)) {
                let Interval { a, b, .. } = *interval;
                let middle = f64::midpoint(a, b);
                let divisible = a < middle && middle < b && !full;
                let (panel, excess, may_be_rounding, whole) = match self.examine(*interval, values, purpose) {
                    Finding::Seen { panel, excess, may_be_rounding, whole } => (panel, excess, may_be_rounding, whole),
                    Finding::Unseen if divisible => {
                        halves.extend([Interval::new(a, middle), Interval::new(middle, b)]);
                        continue;
                    }
                    Finding::Unseen | Finding::Nothing => {
                        self.rest.push(Interval::new(a, b));
                        continue;
                    }
                };
                // Halving no longer helps where the rest of the error is rounding in the posterior itself.
                let stalls = if may_be_rounding && excess > 0.3 * interval.excess { interval.stalls + 1 } else { 0 };
                if excess <= 1.0 || stalls >= 2 || !divisible {
                    if whole || purpose == Purpose::Supremum {
                        let peaks = panel.pieces().into_iter().map(|piece| panel.peak(&piece));
                        self.top = peaks.fold(self.top, higher);
                    } else {
                        self.rest.push(Interval::new(a, b));
                    }
                    panels.push(*panel);
                } else {
                    let half = |a, b| Interval { a, b, excess, stalls };
                    halves.extend([half(a, middle), half(middle, b)]);
                }
            }
            open = halves;
        }
        Ok(panels)
    }

    /// What an interval holds.
    fn examine(&self, interval: Interval, values: &[Value], purpose: Purpose) -> Finding {
        let Interval { a, b, .. } = interval;
        let width = b - a;
        let mut log_density = [0.0; NODE_COUNT];
        let mut localization = [0.0; NODE_COUNT];
        for ((log_density, localization), value) in log_density.iter_mut().zip(&mut localization).zip(values) {
            (*log_density, *localization) = (value.log_density, value.localization);
        }
        let l = interpolate(&localization);
        let size = localization.iter().fold(1.0, |most: f64, l| most.max(l.abs()));
        let (right, left) = (values[0].mean, values[NODE_COUNT - 1].mean);
        let risen = 0.5 * width * integral(&l) - (right - left);
        let unresolved = last_coefficients(&l) / (RESOLVED * size);
        let unconserved = risen.abs() / (CONSERVED * (1.0 + right.abs().max(left.abs())));
        let error = unresolved.max(unconserved);
        // Places are rounded, and so are differences of places: log p has the slope mean - y, and L/L' is no less than the
        // inverse of about that.
        // Where the density underflows its slope does not matter, and may be as large as the line is long.
        let floor = self.peak - 10.0 * NEGLIGIBLE;
        let counts = |value: &Value| purpose == Purpose::Supremum || value.log_density >= floor;
        let slopes = values.iter().zip(nodes(a, b)).filter(|(value, _)| counts(value));
        let steep = 10.0 + slopes.map(|(value, y)| (value.mean - y).abs()).fold(0.0, f64::max);
        let far = a.abs().max(b.abs());
        let rounding = f64::EPSILON * steep * (far + steep);
        let may_be_rounding = |error: f64| error < ROUNDING.max(1e3 * rounding / RESOLVED);
        if purpose == Purpose::Supremum {
            let panel = Box::new(Panel::new(a, b, l, [0.0; NODE_COUNT]));
            return Finding::Seen { panel, excess: error, may_be_rounding: may_be_rounding(error), whole: true };
        }
        let most = log_density.iter().fold(f64::NEG_INFINITY, |most: f64, l| most.max(*l));
        // log p + y²/2 is convex, so log p rises by at most (gap)²/8 between two nodes; the widest gap is .0976 of the panel.
        let bound = most + (0.0976 * width).powi(2) / 8.0;
        if bound < self.peak - NEGLIGIBLE {
            return Finding::Nothing;
        }
        // -∞ only where the density underflows far below the peak: any value as small serves.
        let floored = interpolate(&log_density.map(|l| l.max(floor)));
        let last = last_coefficients(&floored);
        if most < self.peak - NEGLIGIBLE {
            // The far tails of a wide component are smooth, and too long to be searched where no mass is missing.
            let smooth = last < LOG_DENSITY.1 + 1e3 * rounding;
            return if smooth && !self.thorough { Finding::Nothing } else { Finding::Unseen };
        }
        let density = log_density.map(|l| libm::exp(l - self.peak));
        let largest = libm::exp(most - self.peak);
        let wanted = (LOG_DENSITY.0 + rounding + 1e-16 / largest).min(LOG_DENSITY.1);
        let rough = last / wanted;
        let bent = last_coefficients(&interpolate(&density)) / ((INTEGRABLE + rounding) * largest + 1e-12);
        // Where little mass lies L needs fewer digits: what counts is their product.
        let weight = (libm::exp(bound) * width).max(1e-9);
        let relaxed = error * (weight * 1e3).min(1.0);
        let may_be_rounding =
            may_be_rounding(relaxed) && last < ROUNDING * LOG_DENSITY.0 + 1e3 * rounding && bent <= 1.0;
        let excess = relaxed.max(rough).max(bent);
        let panel = Box::new(Panel::new(a, b, l, floored));
        Finding::Seen { panel, excess, may_be_rounding, whole: error <= 1.0 }
    }

    /// Intervals that cover the mass.
    fn intervals(&self, effort: Effort) -> Vec<Interval> {
        let mut wanted = match effort {
            Effort::Usual => thinned(&self.draws, CUTS),
            Effort::Beyond | Effort::Everywhere => self.draws.clone(),
        };
        wanted.extend(&self.centres);
        wanted.extend([self.low, self.high]);
        wanted.sort_unstable_by(f64::total_cmp);
        // Of a crowd of places its ends remain, and some between.
        let mut cuts = vec![self.low];
        for (i, &place) in wanted.iter().enumerate() {
            let last = cuts[cuts.len() - 1];
            let before_gap = wanted.get(i + 1).is_none_or(|next| next - place >= APART);
            if place - last >= APART || (before_gap && place > last) {
                cuts.push(place);
            }
        }
        let mut intervals: Vec<Interval> = cuts.windows(2).map(|ends| Interval::new(ends[0], ends[1])).collect();
        if matches!(effort, Effort::Usual) {
            return intervals;
        }
        if matches!(effort, Effort::Everywhere) {
            let width = APART.max((self.high - self.low) / INTERVALS);
            let parts = |interval: &Interval| {
                let Interval { a, b, .. } = *interval;
                let count = ((b - a) / width).ceil().max(1.0);
                let at = move |k: f64| if k == count { b } else { a + (b - a) * (k / count) };
                (0..count as usize).map(move |k| Interval::new(at(k as f64), at(k as f64 + 1.0)))
            };
            intervals = intervals.iter().flat_map(parts).collect();
        }
        intervals.extend(self.beyond(FAR_DOUBLINGS));
        intervals
    }

    /// Intervals on both sides of the mass, each twice as wide as the one before.
    fn beyond(&self, doublings: i32) -> Vec<Interval> {
        let width = self.high - self.low;
        let (mut low, mut high) = (self.low, self.high);
        let mut intervals = Vec::new();
        for k in 0..doublings {
            let step = width * libm::ldexp(1.0, k);
            intervals.extend([Interval::new(low - step, low), Interval::new(high, high + step)]);
            (low, high) = (low - step, high + step);
        }
        intervals
    }

    /// The law of L.
    ///
    /// # Errors
    ///
    /// A posterior that is not finite, a density whose integral is not one.
    pub(crate) fn law(&mut self) -> Result<LineLaw, EvalError> {
        let mut found = f64::NAN;
        for effort in [Effort::Usual, Effort::Beyond, Effort::Everywhere] {
            (self.top.1, self.rest) = (f64::NEG_INFINITY, Vec::new());
            self.thorough = !matches!(effort, Effort::Usual);
            let panels = self.resolve(self.intervals(effort), Purpose::Law)?;
            let law = LineLaw::new(panels);
            if (law.mass - 1.0).abs() <= MASS + MASS_ROUNDING * self.low.abs().max(self.high.abs()) {
                return Ok(law);
            }
            found = law.mass;
        }
        Err(EvalError::Mass { snr: self.snr, mass: found })
    }

    /// The law of L with `sup L` over the whole line: over the mass, and beyond it on intervals that double, out to 256 times
    /// its width.
    ///
    /// # Errors
    ///
    /// A posterior that is not finite, a density whose integral is not one.
    pub(crate) fn whole_law(&mut self) -> Result<LineLaw, EvalError> {
        let law = self.law()?;
        let mut intervals = std::mem::take(&mut self.rest);
        intervals.extend(self.beyond(DOUBLINGS));
        self.resolve(intervals, Purpose::Supremum)?;
        let supremum = self.values(&[self.top.0])?[0].localization;
        Ok(LineLaw { supremum: Some(supremum), ..law })
    }
}

/// About so many of the ascending places, the first and the last among them.
fn thinned(places: &[f64], count: usize) -> Vec<f64> {
    (0..=count).map(|k| places[k * (places.len() - 1) / count]).collect()
}

fn higher(best: (f64, f64), other: (f64, f64)) -> (f64, f64) {
    if other.1 > best.1 { other } else { best }
}

impl LineLaw {
    fn new(panels: Vec<Panel>) -> Self {
        let pieces: Vec<(usize, Piece)> =
            panels.iter().enumerate().flat_map(|(i, panel)| panel.pieces().into_iter().map(move |p| (i, p))).collect();
        let mass = pieces.iter().map(|(_, piece)| piece.integrals.mass).sum();
        let highest = pieces.iter().map(|(_, piece)| piece.at_from.max(piece.at_to)).fold(0.0, f64::max);
        Self { panels, pieces, mass, highest, supremum: None }
    }

    /// The integrals over where L exceeds u.
    fn above(&self, level: f64) -> Integrals {
        // A peak that touches the level would, by rounding, rise above it on a width of the root of the rounding.
        if self.highest <= level * TOUCHES {
            return Integrals::default();
        }
        // On a plateau that equals the level but for rounding, L does not exceed it.
        self.summed(|panel, piece| if piece.touches(level) { Integrals::default() } else { panel.above(piece, level) })
    }

    fn summed(&self, over: impl Fn(&Panel, &Piece) -> Integrals) -> Integrals {
        let sum = |sum: Integrals, (panel, piece): &(usize, Piece)| sum.plus(over(&self.panels[*panel], piece));
        self.pieces.iter().fold(Integrals::default(), sum).times(1.0 / self.mass)
    }

    /// `P(L > u)`.
    pub(crate) fn survival(&self, level: f64) -> f64 {
        self.above(level).mass
    }

    /// `E(L - u)₊`.
    pub(crate) fn tail(&self, level: f64) -> f64 {
        tail(self.above(level), level)
    }

    /// `E L`.
    pub(crate) fn mean(&self) -> f64 {
        self.pieces.iter().map(|(_, piece)| piece.integrals.moment).sum::<f64>() / self.mass
    }

    /// `ess sup L`, where it was asked for.
    pub(crate) fn supremum(&self) -> Option<f64> {
        self.supremum
    }

    /// m* and δ*: `(h/δ)' = -E[L - 1; L > 1 - δ]/δ²`, whose numerator does not decrease, and `h/δ = P(L > 1 - δ)` where it
    /// vanishes.
    pub(crate) fn complexity(&self) -> Complexity {
        let estimate = |value: f64| Estimate { value, std_error: 0.0 };
        // Where L exceeds 1 only where no mass can be seen, what is seen decides.
        let supremum = self.supremum.filter(|&supremum| supremum <= ONE).map_or(self.highest, |s| s.max(self.highest));
        if supremum <= ONE {
            return Complexity { m_star: estimate(0.0), delta_star: (1.0 - supremum).clamp(0.0, 1.0) };
        }
        let delta_star = last_nonpositive(|delta| -self.above(1.0 - delta).excess);
        let Integrals { mass, excess, .. } = self.above(1.0 - delta_star);
        let value = if delta_star > 0.0 { mass + excess / delta_star } else { mass };
        // h(δ) ≥ δ P(L > 1) for every δ.
        Complexity { m_star: estimate(value.max(self.survival(1.0))), delta_star }
    }

    /// `sup [δ - M h(δ)]`, whose slope `1 - M s(1-δ)` does not increase.
    pub(crate) fn average_curvature(&self, richness: f64) -> AverageCurvature {
        // Where M s = 1 but for rounding the supremum is flat, and its largest δ is wanted.
        // Near t = 0 the value is divided by 2t: a plateau of L is compared with 1 - δ to the last digit.
        let above = |delta: f64| self.summed(|panel, piece| panel.above(piece, 1.0 - delta));
        let slope = |delta: f64| richness * above(delta).mass - 1.0 - 1e-12;
        let delta = if slope(0.0) > 0.0 { 0.0 } else { last_nonpositive(slope) };
        let value = delta - richness * tail(above(delta), 1.0 - delta);
        AverageCurvature { value: Estimate { value, std_error: 0.0 }, delta }
    }
}

/// `E(L - u)₊` of the integrals above u.
fn tail(above: Integrals, level: f64) -> f64 {
    let Integrals { mass, moment, excess } = above;
    // L close to 1 keeps its digits in L - 1, and L close to 0 in L.
    let tail = if level < 0.5 { moment - level * mass } else { excess + (1.0 - level) * mass };
    tail.max(0.0)
}

/// The last place in [0, 1] where a nondecreasing f, not positive at 0, is not positive.
fn last_nonpositive(f: impl Fn(f64) -> f64) -> f64 {
    let at_one = f(1.0);
    if at_one <= 0.0 {
        return 1.0;
    }
    bracket(&f, (0.0, f(0.0).min(0.0)), (1.0, at_one), 1e-15).0
}
