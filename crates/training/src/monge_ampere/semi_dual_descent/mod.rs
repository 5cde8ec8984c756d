//! Descent of a convex network on Kantorovich's semi-dual, from points.
//!
//! ```text
//! J(ψ) = E_ref ψ(y) + E_data ψ*(x),    ψ*(x) = x·y* - ψ(y*)  with  ∇ψ(y*) = x
//! ∂J/∂θ = E_ref ∂ψ/∂θ(y) - E_data ∂ψ/∂θ(y*(x))
//! ```
//!
//! is least at the Brenier map ∇ψ from the reference to the data. It is what the flow of the paper descends, in any family.
//!
//! # Design
//!
//! The conjugate points y* are kept, and follow ψ by Newton's method. What limits the map is the noise of the gradient, a difference of
//! two means, and not the number of points: so a stage starts with the full gradient at its first parameters θ₀, over all points of the data and
//! up to four times as many of the reference, and its updates follow `g_B(θ) - g_B(θ₀) + g(θ₀)`, both on one batch (Johnson and Zhang, 2013). In low
//! dimension a batch is of pairs that lie near each other. Everything happens in Bures coordinates, in which the Gaussian map is
//! the identity, where the network starts.
//!
//! A stage is a function of its first state: points, draws and batches are functions of the seed, the stage and the update.

mod config;
mod conjugates;
mod coordinates;
mod matching;

use brenier_measure::expectation_maximization::Moments;
use brenier_measure::{Estimate, GaussianMixture, Points, Purpose, Sample, Stream, host_tensor, to_tensor};
use brenier_model::TrainedSampler;
use brenier_model::monge_ampere::newton::EXPLICIT;
use brenier_model::monge_ampere::{InputConvexNetwork, Inversion, MapSampler, PlacedNetwork, PrimalMap, conjugate};
use burn::tensor::{DType, Device};
use ndarray::{Axis, concatenate, s};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tracing::{info, warn};

pub use self::config::{InputConvexConfig, SemiDualConfig};

use self::config::Chosen;
use self::conjugates::{Effort, Solved, Solver};
use self::coordinates::BuresCoordinates;
use super::descent::Descent;
use super::iterates::Iterate;
use super::logistic::{FIRST, check_reference, constant_column};
use super::reference::ReferenceConfig;
use crate::error::TrainingError;
use crate::fit::Flow;
use crate::method::{Files, Method, Observe, Scalars};
use crate::source::{InstanceNoise, Source};

/// The files of a checkpoint: all but the conjugates, and these, one f32 (little-endian) a coordinate, those of held-out points last.
const STATE: &str = "semi_dual.json";
const CONJUGATES: &str = "conjugates.f32";

/// Points of the reference in a full gradient, for each of the data; no more than points of the data where these are so many numbers.
const FULL_DRAWS: usize = 4;
const MANY_NUMBERS: usize = 1 << 24;

/// Draws of the reference behind a held-out value.
const HELD_OUT_DRAWS: u64 = 32_768;

/// Points from which inversions of the finished map start.
const STARTS: usize = 1024;

/// Points of the data that the network starts near the identity on, and so many where their Hessians are large.
const FIRST_POINTS: usize = 2048;
const FEW_POINTS: usize = 128;

/// Rows in one pass of a gradient.
const BLOCK: usize = 16_384;

/// What an update and a full pass do for rows with long steps.
const OF_UPDATE: Effort = Effort { tile: 128, of: 16, further: 3 };
const OF_PASS: Effort = Effort { tile: 256, of: 1, further: 12 };

/// Updates in which the learning rate rises at the start.
const WARMUP: f64 = 400.0;

/// Standard errors of a difference that chance may make.
const CHANCE: f64 = 2.0;

/// A held-out value so far above that of the first network, in units of its size, has diverged.
const RISE: f64 = 1.0;

/// The share of lost conjugates that is warned of, the one that ends the training, and a number that never does.
const LOST_TOLD: f64 = 0.002;
const MOST_LOST: f64 = 0.05;
const FEW_LOST: usize = 5;

/// What a descent is made of.
#[derive(Debug, Clone)]
pub struct SemiDualChoices {
    /// The network.
    pub network: InputConvexConfig,
    /// The descent.
    pub descent: SemiDualConfig,
    /// The reference.
    pub reference: ReferenceConfig,
    /// The number of stages.
    pub stages: u64,
    /// So many stages without a lower held-out value end it.
    pub patience: Option<u64>,
    /// Draws of a target that is drawn afresh: they are made once.
    pub fresh: u64,
    /// Which potential the law of the run is, `best` or `last`.
    pub iterate: Iterate,
}

/// A descent on the semi-dual with its points at hand.
pub struct SemiDualDescent {
    choices: SemiDualChoices,
    chosen: Chosen,
    source: Source,
    held_out: Points,
    seed: u64,
    device: Device,
    go_on: fn() -> bool,
}

/// The network that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Best {
    value: f64,
    stage: u64,
    parameters: Vec<f64>,
}

/// The least held-out value, and the stage that it is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Least {
    judged: Judged,
    stage: u64,
}

/// What held-out points say of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Judged {
    /// E_ref ψ.
    reference: f64,
    /// ψ* at every point; none where its conjugate point was not found, which would make it too small.
    conjugates: Vec<Option<f64>>,
}

impl Judged {
    fn lost(&self) -> usize {
        self.conjugates.iter().filter(|value| value.is_none()).count()
    }

    /// J, over the points that were found; NaN where none was.
    fn value(&self) -> f64 {
        if self.lost() == self.conjugates.len() {
            return f64::NAN;
        }
        self.reference + Estimate::mean(self.conjugates.iter().flatten().copied()).value
    }

    /// Whether J is no further above that of another than chance may have it, over the points that were found under both.
    ///
    /// A descent ends at rate 0: its last networks are its best, and differ by less than a few thousand points can tell. To take the least
    /// value would be to choose by chance among them and among earlier ones.
    fn is_no_worse_than(&self, other: &Self) -> bool {
        let both = self.conjugates.iter().zip(&other.conjugates);
        let difference = Estimate::mean(both.filter_map(|(own, other)| Some((*own)? - (*other)?)));
        let error = if difference.std_error.is_finite() { difference.std_error } else { 0.0 };
        let is_told = self.lost() as f64 <= MOST_LOST * self.conjugates.len() as f64;
        is_told && difference.value + (self.reference - other.reference) <= CHANCE * error
    }
}

/// How far a descent has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SemiDualState {
    /// The stages that are done.
    stage: u64,
    reference: Moments,
    coordinates: BuresCoordinates,
    /// The network before the first update.
    first: InputConvexNetwork,
    descent: Descent,
    /// The held-out value of the first network, which is near the Gaussian map.
    first_value: Option<f64>,
    /// That after the last stage.
    value: Option<f64>,
    /// The last network that held-out points find no worse than the one of the least value.
    best: Option<Best>,
    least: Option<Least>,
    /// The largest share of lost conjugates that was told of.
    lost: f64,
    /// The largest number of held-out points without a conjugate that was told of.
    lost_held_out: usize,
    /// y of every point of the data, then of every held-out point, `[n, d]`.
    #[serde(skip)]
    conjugates: Points,
    /// What the last stage said.
    #[serde(skip)]
    said: Scalars,
}

impl SemiDualState {
    /// The state that a checkpoint holds.
    ///
    /// # Errors
    ///
    /// A missing file, or one of another method.
    pub fn from_files(files: &Files) -> Result<Self, TrainingError> {
        let file = |name: &str| files.get(name).ok_or_else(|| TrainingError::MissingFile { file: name.into() });
        let foreign =
            |file: &str, reason: &str| TrainingError::ForeignWeights { file: file.into(), reason: reason.to_owned() };
        let mut state: Self =
            serde_json::from_slice(file(STATE)?).map_err(|error| foreign(STATE, &error.to_string()))?;
        let d = state.coordinates.dim();
        let count = state.first.parameters().len();
        let is_list = |list: &[f64]| list.len() == count && list.iter().all(|x| x.is_finite());
        let is_whole = d > 0
            && state.coordinates.is_consistent()
            && state.first.is_consistent()
            && state.descent.is_consistent()
            && is_list(&state.descent.parameters)
            && state.best.iter().all(|best| is_list(&best.parameters) && best.value.is_finite())
            && brenier_model::monge_ampere::ConvexPotential::dim(&state.first) == d
            && state.reference.mixture().is_ok_and(|mixture| mixture.dim() == d && mixture.has_density());
        if !is_whole {
            return Err(foreign(STATE, "its parts have different sizes, or numbers that make no map"));
        }
        let bytes = file(CONJUGATES)?;
        let numbers: Vec<f64> = bytes
            .chunks_exact(4)
            .map(|four| f64::from(f32::from_le_bytes(four.try_into().expect("four bytes"))))
            .collect();
        if bytes.is_empty() || !bytes.len().is_multiple_of(4 * d) || numbers.iter().any(|y| !y.is_finite()) {
            return Err(foreign(CONJUGATES, "it does not hold whole points, or numbers that are none"));
        }
        state.conjugates = Points::from_shape_vec((numbers.len() / d, d), numbers).expect("whole points");
        Ok(state)
    }

    fn network(&self, iterate: Iterate) -> InputConvexNetwork {
        match &self.best {
            Some(best) if iterate != Iterate::Last => self.first.with_parameters(&best.parameters),
            _ => self.first.with_parameters(&self.descent.parameters),
        }
    }

    /// The law of the potential that is asked for.
    pub fn sampler(&self, iterate: Iterate) -> MapSampler {
        let potential = self.coordinates.leave(self.network(iterate).placed(DType::F64, &Device::flex()));
        let reference = Arc::new(self.reference.mixture().expect("checked at the start"));
        let rows = self.conjugates.nrows().min(STARTS);
        let starts = self.coordinates.to_reference(&self.conjugates.slice(s![..rows, ..]).to_owned());
        let map = PrimalMap::new(Arc::new(potential), reference.clone(), Inversion::default()).with_starts(starts);
        MapSampler::new(map, reference)
    }
}

/// What all stages of a run share.
struct Setting {
    /// The reference in Bures coordinates.
    law: GaussianMixture,
    held_out: Points,
    /// Draws of the reference behind a held-out value.
    held_out_draws: Points,
}

/// What the updates of a stage start from.
struct Anchor {
    network: PlacedNetwork,
    conjugates: Points,
    /// The full gradient there, `[p]`.
    gradient: Vec<f64>,
}

impl SemiDualDescent {
    /// A descent for the points of a source, computed on a device.
    ///
    /// # Errors
    ///
    /// A column that does not vary, and a reference that is none in this dimension or has no density.
    pub fn new(
        choices: SemiDualChoices,
        source: Source,
        held_out: Points,
        seed: u64,
        device: Device,
        go_on: fn() -> bool,
    ) -> Result<Self, TrainingError> {
        let (points, noise) = (source.points(seed, FIRST), source.noise());
        if let Some(column) = constant_column(&points, &noise) {
            return Err(TrainingError::ConstantColumn { column });
        }
        check_reference(&choices.reference, &points, &noise, &held_out, seed)?;
        let chosen = choices.descent.chosen(points.ncols(), choices.stages);
        Ok(Self { choices, chosen, source, held_out, seed, device, go_on })
    }

    fn stream(&self) -> Stream {
        Stream::new(self.seed, Purpose::SemiDual)
    }

    /// The points of the data in a stage: the same rows in all, each with the noise of its stage.
    fn rows(&self, stage: u64, coordinates: &BuresCoordinates) -> Points {
        let stage = if matches!(self.source, Source::Rows { .. }) { stage } else { 0 };
        coordinates.of_data(&self.source.of_stage(stage, self.seed, self.choices.fresh))
    }

    fn has_noise(&self) -> bool {
        matches!(&self.source, Source::Rows { noise: InstanceNoise { sd, .. }, .. } if *sd > 0.0)
    }

    fn setting(&self, state: &SemiDualState) -> Result<Setting, TrainingError> {
        let law = state.coordinates.of_reference(&state.reference.mixture()?)?;
        let held_out_draws = law.sample(&Stream::new(self.seed, Purpose::HeldOut), 0, 0..HELD_OUT_DRAWS);
        Ok(Setting { law, held_out: state.coordinates.of_data(&self.held_out), held_out_draws })
    }

    fn placed(&self, network: &InputConvexNetwork) -> PlacedNetwork {
        network.placed(DType::F32, &self.device)
    }

    /// `E_ref ∂ψ/∂θ(y) - E_data ∂ψ/∂θ(y*)`, `[p]`; the same bits on any number of threads.
    fn gradient(&self, network: &PlacedNetwork, reference: &Points, conjugates: &Points) -> Vec<f64> {
        let mut sum: Vec<f64> = Vec::new();
        for (points, sign) in [(reference, 1.0), (conjugates, -1.0)] {
            let weight = sign / points.nrows() as f64;
            for block in points.axis_chunks_iter(Axis(0), BLOCK) {
                let n = block.nrows();
                let weights = host_tensor(vec![weight; n], [n], DType::F32, &self.device);
                let part = network.pull(to_tensor(&block.to_owned(), DType::F32, &self.device), weights);
                if sum.is_empty() {
                    sum = part;
                } else {
                    sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
                }
            }
        }
        sum
    }

    /// One stage: the conjugates of all points, the full gradient, and the updates.
    fn stage(&self, state: &mut SemiDualState, setting: &Setting, x: &Points) -> Result<(), TrainingError> {
        let (stage, n, chosen) = (state.stage, x.nrows(), &self.chosen);
        let is_plain = stage < chosen.plain;
        let first = self.placed(&state.first.with_parameters(&state.descent.parameters));
        let kept = state.conjugates.slice(s![..n, ..]).to_owned();
        let solved = Solver { network: &first, device: &self.device }.solve(&kept, x, OF_PASS);
        self.while_told()?;
        let (lost, retried) = (self.tell_lost(state, &solved, n)?, solved.retried as f64 / n as f64);
        let mut conjugates = solved.points;
        // Pairs of a stage without a full gradient see one draw a point.
        let most = if is_plain && chosen.matched { n } else { FULL_DRAWS * n };
        let all = most.min(n.max(MANY_NUMBERS / x.ncols()));
        let draws = setting.law.sample(&self.stream(), 2 * stage, 0..all as u64);
        self.while_told()?;
        let anchor = if is_plain {
            None
        } else {
            let gradient = self.gradient(&first, &draws, &conjugates);
            self.while_told()?;
            Some(Anchor { network: first, conjugates: conjugates.clone(), gradient })
        };
        let norm = anchor.as_ref().map(|anchor| anchor.gradient.iter().map(|g| g * g).sum::<f64>().sqrt());
        let pairs = chosen.matched.then(|| matching::matched(&conjugates, &draws.slice(s![..n, ..]).to_owned()));
        let paces = vec![1.0; state.descent.parameters.len()];
        let mut rate = 0.0;
        for update in 0..chosen.updates {
            self.while_told()?;
            let number = stage * chosen.updates + update;
            rate = self.rate(number);
            let (rows, of_reference) = self.batch(number, [n, all], pairs.as_ref());
            let network = self.placed(&state.first.with_parameters(&state.descent.parameters));
            let solver = Solver { network: &network, device: &self.device };
            let choose = |points: &Points, rows: &[usize]| points.select(Axis(0), rows);
            let (found, _) = solver.advance(&choose(&conjugates, &rows), &choose(x, &rows), OF_UPDATE);
            for (row, &i) in found.rows().into_iter().zip(&rows) {
                conjugates.row_mut(i).assign(&row);
            }
            let y = choose(&draws, &of_reference);
            let mut gradient = self.gradient(&network, &y, &found);
            if let Some(anchor) = &anchor {
                let before = self.gradient(&anchor.network, &y, &choose(&anchor.conjugates, &rows));
                let full = anchor.gradient.iter().zip(before);
                gradient.iter_mut().zip(full).for_each(|(g, (full, before))| *g += full - before);
            }
            if let Some(&value) = gradient.iter().find(|g| !g.is_finite()) {
                let what = "gradient of the semi-dual";
                return Err(TrainingError::Diverged { what, value, step: stage, last_finite: state.value });
            }
            state.descent.update(gradient, rate, &paces, <[f64]>::to_vec);
        }
        let judged = self.judge(state, setting, conjugates);
        let (value, lost_held_out) = (judged.value(), judged.lost());
        let (what, last_finite) = ("held-out value of the semi-dual", state.value);
        let most = state.first_value.map_or(f64::INFINITY, |first| first + RISE * (1.0 + first.abs()));
        if value.is_nan() || value > most {
            return Err(TrainingError::Diverged { what, value, step: stage, last_finite });
        }
        if lost_held_out > state.lost_held_out {
            state.lost_held_out = lost_held_out;
            warn!(
                "at stage {stage} no y with ∇ψ(y) = x was found for {lost_held_out} held-out points, which then do not judge"
            );
        }
        (state.stage, state.value) = (stage + 1, Some(value));
        if state.least.as_ref().is_none_or(|least| judged.is_no_worse_than(&least.judged)) {
            state.best = Some(Best { value, stage: stage + 1, parameters: state.descent.parameters.clone() });
        }
        if state.least.as_ref().is_none_or(|least| value < least.judged.value()) {
            state.least = Some(Least { judged, stage: stage + 1 });
        }
        state.said = vec![("held_out_semi_dual_last", value)];
        state.said.extend(norm.map(|norm| ("semi_dual_gradient", norm)));
        state.said.extend([
            ("lost_conjugates", lost),
            ("lost_held_out_conjugates", lost_held_out as f64),
            ("retried_conjugates", retried),
            ("rate", rate),
        ]);
        Ok(())
    }

    /// The rows of an update, of so many points of the data and draws of the reference.
    fn batch(
        &self,
        number: u64,
        counts: [usize; 2],
        pairs: Option<&(Vec<usize>, Vec<usize>)>,
    ) -> (Vec<usize>, Vec<usize>) {
        let mut words = self.stream().at(2 * number + 1, 0);
        let mut places =
            |of: usize, most: usize| -> Vec<usize> { (0..of).map(|_| words.below(most as u64) as usize).collect() };
        let of_data = places(self.chosen.batch, counts[0]);
        match pairs {
            Some((data, reference)) => {
                let at = |rows: &[usize]| of_data.iter().map(|&place| rows[place]).collect();
                (at(data), at(reference))
            }
            None => (of_data, places(self.chosen.reference, counts[1])),
        }
    }

    /// An interruption, where there is one.
    fn while_told(&self) -> Result<(), TrainingError> {
        if (self.go_on)() { Ok(()) } else { Err(TrainingError::Interrupted) }
    }

    /// The learning rate of an update: a rise and a constant, then a cosine to 0.
    fn rate(&self, number: u64) -> f64 {
        let Chosen { updates, plain, plain_rate, rate, .. } = self.chosen;
        let first = plain * updates;
        let rise = (number as f64 / WARMUP + 0.02).min(1.0);
        if number < first {
            return plain_rate * rise;
        }
        let all = self.choices.stages.saturating_sub(plain) * updates;
        let share = (number - first) as f64 / all.max(1) as f64;
        rate * rise * (0.5 + 0.5 * (std::f64::consts::PI * share).cos())
    }

    /// Warns of lost conjugates as their share grows, and ends where too many are.
    fn tell_lost(&self, state: &mut SemiDualState, solved: &Solved, n: usize) -> Result<f64, TrainingError> {
        let count = solved.lost.len();
        let share = count as f64 / n as f64;
        if count > FEW_LOST && share > MOST_LOST {
            return Err(TrainingError::LostConjugates { count, of: n, step: state.stage });
        }
        if share > LOST_TOLD && share > 1.5 * state.lost {
            state.lost = share;
            let first: Vec<String> = solved.lost.iter().take(FEW_LOST).map(|row| (row + 1).to_string()).collect();
            let more = if count > FEW_LOST { ", …" } else { "" };
            warn!(
                "at stage {} no y with ∇ψ(y) = x was found for {count} of {n} points of the training part ({:.2} %; {}{more} of it); above {:.0} % \
                 the run ends",
                state.stage,
                100.0 * share,
                first.join(", "),
                100.0 * MOST_LOST
            );
        }
        Ok(share)
    }

    /// Keeps the conjugates of the points of the data, finds those of held-out points, and asks these for the semi-dual.
    fn judge(&self, state: &mut SemiDualState, setting: &Setting, conjugates: Points) -> Judged {
        let network = state.first.with_parameters(&state.descent.parameters);
        let placed = self.placed(&network);
        let kept = state.conjugates.slice(s![conjugates.nrows().., ..]).to_owned();
        let held_out = Solver { network: &placed, device: &self.device }.solve(&kept, &setting.held_out, OF_PASS);
        let exact = network.placed(DType::F64, &Device::flex());
        let draws = conjugate::value(&exact, &setting.held_out_draws);
        let products = (&held_out.points * &setting.held_out).sum_axis(Axis(1));
        let values = conjugate::value(&exact, &held_out.points);
        let mut found: Vec<Option<f64>> = products
            .iter()
            .zip(values)
            .map(|(product, value)| Some(product - value).filter(|v| v.is_finite()))
            .collect();
        held_out.lost.iter().for_each(|&row| found[row] = None);
        state.conjugates = concatenate![Axis(0), conjugates, held_out.points];
        Judged { reference: draws.iter().sum::<f64>() / draws.len() as f64, conjugates: found }
    }
}

impl Method for SemiDualDescent {
    type State = SemiDualState;

    fn steps(&self) -> u64 {
        self.choices.stages
    }

    fn start(&self) -> Result<SemiDualState, TrainingError> {
        let (points, noise) = (self.source.points(self.seed, FIRST), self.source.noise());
        let reference = self.choices.reference.build(&points, &noise, &self.held_out, self.seed, self.go_on)?;
        let rows = self.source.of_stage(0, self.seed, self.choices.fresh);
        let coordinates = BuresCoordinates::new(&reference.mixture()?, &rows)?;
        let x = coordinates.of_data(&rows);
        let first = if x.ncols() <= EXPLICIT { FIRST_POINTS } else { FEW_POINTS };
        let some = x.slice(s![..x.nrows().min(first), ..]).to_owned();
        let first = InputConvexNetwork::near_identity(&self.choices.network.shape(x.ncols()), &some, self.seed);
        let all = concatenate![Axis(0), x, coordinates.of_data(&self.held_out)];
        Ok(SemiDualState {
            stage: 0,
            descent: Descent::new(first.parameters()),
            reference,
            coordinates,
            first,
            first_value: None,
            value: None,
            best: None,
            least: None,
            lost: 0.0,
            lost_held_out: 0,
            conjugates: all.mapv(|y| f64::from(y as f32)),
            said: Scalars::new(),
        })
    }

    fn resume(&self, files: &Files) -> Result<SemiDualState, TrainingError> {
        let state = SemiDualState::from_files(files)?;
        let rows = match &self.source {
            Source::Rows { points, .. } => points.nrows(),
            Source::Fresh { .. } => self.choices.fresh as usize,
        };
        let (found, expected) = (state.conjugates.nrows(), rows + self.held_out.nrows());
        if found != expected {
            let reason = format!("it holds {found} points, and the data {expected}");
            return Err(TrainingError::ForeignWeights { file: CONJUGATES.to_owned(), reason });
        }
        Ok(state)
    }

    fn files(&self, state: &SemiDualState) -> Files {
        let numbers = state.conjugates.iter().flat_map(|&y| (y as f32).to_le_bytes()).collect();
        let rest = serde_json::to_vec(state).expect("finite numbers");
        Files::from([(STATE.to_owned(), rest), (CONJUGATES.to_owned(), numbers)])
    }

    fn step(&self, state: &SemiDualState) -> u64 {
        state.stage
    }

    fn is_done(&self, state: &SemiDualState) -> bool {
        let is_stuck = |least: &Least| self.choices.patience.is_some_and(|most| state.stage >= least.stage + most);
        state.stage >= self.choices.stages || state.least.as_ref().is_some_and(is_stuck)
    }

    fn train(&self, state: &mut SemiDualState, observe: &mut Observe<SemiDualState>) -> Result<(), TrainingError> {
        let setting = self.setting(state)?;
        let mut x = self.rows(state.stage, &state.coordinates);
        if state.first_value.is_none() {
            let conjugates = state.conjugates.slice(s![..x.nrows(), ..]).to_owned();
            let value = self.judge(state, &setting, conjugates).value();
            state.first_value = Some(value).filter(|value| value.is_finite());
        }
        while !self.is_done(state) {
            if self.has_noise() {
                x = self.rows(state.stage, &state.coordinates);
            }
            let before = state.clone();
            match self.stage(state, &setting, &x) {
                // Half a stage is none: the run goes on from its beginning.
                Err(TrainingError::Interrupted) => {
                    *state = before;
                    observe(state, &[])?;
                    return Ok(());
                }
                done => done?,
            }
            let scalars = state.said.clone();
            if observe(state, &scalars)? == Flow::Stop {
                break;
            }
        }
        if let Some(best) = state.best.as_ref().filter(|_| self.is_done(state)) {
            info!("the held-out value of the semi-dual is {:.6} at stage {}", best.value, best.stage);
        }
        Ok(())
    }

    fn means(&self, state: &mut SemiDualState) -> Scalars {
        state.said.clone()
    }

    /// At the end alone: before it the rate is high, and the network that a checkpoint keeps has still to come.
    fn held_out(&self, state: &SemiDualState) -> (&'static str, f64) {
        let best = state.best.as_ref().filter(|_| self.choices.iterate != Iterate::Last);
        let value = best.map_or(state.value, |best| Some(best.value));
        ("held_out_semi_dual", value.filter(|_| self.is_done(state)).unwrap_or(f64::NAN))
    }

    fn sampler(&self, state: &SemiDualState) -> Box<dyn TrainedSampler> {
        Box::new(state.sampler(self.choices.iterate))
    }
}

#[cfg(test)]
mod tests;
