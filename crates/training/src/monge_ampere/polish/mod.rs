//! The likelihood polish of a map: descent of a convex potential on the exact negative log-likelihood.
//!
//! ```text
//! -log ρ(x) = g(∇φ(x)) - log det ∇²φ(x)
//! ```
//!
//! # Design
//!
//! The stages of Algorithm 1 end where moments match, which is not where the likelihood is largest, and their loss does not show it. The polish
//! goes on from there, or from semi-discrete transport, and stays within convex potentials: what it reaches is again one
//! Brenier map with an exact density. An update is one batch; its points and their noise are functions of the seed and the update, so that
//! a run goes on from any of them with the same bits.
//!
//! Held-out points choose the moment to stop, and whether there is a map at all: where the reference alone is as likely as the map to it, the
//! law is the reference.

mod config;
mod fisher;
mod likelihood;
mod refit;
mod semi_discrete;
mod smoothing;
mod state;

use std::sync::{Arc, Mutex};

use brenier_measure::expectation_maximization::{ExpectationMaximization, Moments, Stop};
use brenier_measure::{Points, Purpose, Sample, Stream};
use brenier_model::monge_ampere::{LearnablePotential, ParametricPotential};
use ndarray::{Axis, concatenate};
use tracing::{info, warn};

pub use self::config::{Descender, LogSumExpConfig, PolishConfig, PotentialConfig, RefitConfig, Smoothing};
pub use self::likelihood::ReferenceLaw;
pub use self::smoothing::LocalGaussians;
pub use self::state::PolishState;

use self::refit::NoisyParts;
use self::smoothing::LocalNoise;
use self::state::Candidate;
use crate::error::TrainingError;
use crate::learning_rate::LearningRate;
use crate::monge_ampere::descent::Descent;
use crate::source::Source;

/// Points from which inversions of the finished map start.
const STARTS: usize = 1024;

/// The share of the peak at which a learning rate ends.
const LAST_RATE: f64 = 0.01;

/// Updates without a finite loss, one after the other, that end the training as diverged.
const MOST_REFUSED: u64 = 20;

/// The largest dimension: an update forms the Hessian at every point.
const MOST_DIMENSIONS: usize = 256;

/// The fit of the mixtures of all parts before the first update.
const FIRST_FIT: Stop = Stop { iterations: 100, tolerance: 1e-5 };

/// A polish with its points at hand.
pub struct Polish {
    config: PolishConfig,
    /// The pieces of which each fit makes its start; else all start from the one that is given.
    pieces: Option<LogSumExpConfig>,
    source: Source,
    held_out: Points,
    seed: u64,
    /// How the mixture is refitted.
    refit_by: ExpectationMaximization,
    go_on: fn() -> bool,
    /// The fit at hand: a stack or a transport plan takes its time.
    course: Mutex<Option<Course>>,
}

/// What all updates of one fit share.
struct Fit {
    /// The law of the points of every part.
    laws: Vec<Arc<dyn Sample>>,
    /// The points of every part, where they are rows.
    parts: Vec<Points>,
    /// The points that judge it.
    held_out: Points,
    rate: LearningRate,
}

/// What is at hand between the updates of one fit.
struct Course {
    fold: u64,
    fit: Fit,
    paces: Vec<f64>,
    /// The references of all parts.
    laws: Vec<ReferenceLaw>,
}

impl Polish {
    /// A polish for the points of a source.
    ///
    /// # Errors
    ///
    /// Folds, neighbours or a stack of a source without rows.
    pub fn new(
        config: PolishConfig,
        pieces: Option<LogSumExpConfig>,
        source: Source,
        held_out: Points,
        seed: u64,
        refit_by: ExpectationMaximization,
        go_on: fn() -> bool,
    ) -> Result<Self, TrainingError> {
        let takes_rows = config.folds > 1
            || config.refit.is_some()
            || matches!(config.smoothing, Smoothing::LocalCovariance { .. } | Smoothing::Stack(_));
        let d = source.dim();
        if let Smoothing::Stack(stack) = &config.smoothing {
            stack.check(source.points(seed, 0).nrows())?;
        }
        match &source {
            _ if d > MOST_DIMENSIONS => Err(TrainingError::PolishDimension { found: d, most: MOST_DIMENSIONS }),
            _ if config.by == Descender::Fisher && d > fisher::MOST_DIMENSIONS => {
                Err(TrainingError::FisherDimension { found: d, most: fisher::MOST_DIMENSIONS })
            }
            Source::Fresh { .. } if takes_rows => Err(TrainingError::PolishTakesRows),
            Source::Rows { points, .. } if (points.nrows() as u64) < 2 * config.folds => {
                Err(TrainingError::TooFewForFolds { points: points.nrows(), folds: config.folds })
            }
            _ => Ok(Self { config, pieces, source, held_out, seed, refit_by, go_on, course: Mutex::default() }),
        }
    }

    /// How the likelihood is descended.
    pub fn by(&self) -> Descender {
        self.config.by
    }

    /// The number of updates, if no fit ends before its last.
    pub fn steps(&self) -> u64 {
        self.config.most_steps()
    }

    /// Whether no update is left.
    pub fn is_done(&self, state: &PolishState) -> bool {
        state.fold >= self.config.folds
    }

    /// Before the first update, from a potential that is given where the polish makes none of its own.
    ///
    /// One that nothing was learnt of yet is no candidate: few held-out points may by chance find it more likely than the reference.
    ///
    /// # Errors
    ///
    /// What a stack or exact transport refuses; an interruption.
    pub fn start(
        &self,
        given: Option<LearnablePotential>,
        is_learnt: bool,
        reference: Moments,
    ) -> Result<PolishState, TrainingError> {
        let law = self.law(&reference)?;
        let without_map = self.judgement(law.log_density(&self.held_out).into_iter().map(|value| -value).collect());
        let fit = self.fit(0)?;
        let potential = match given {
            Some(given) => given,
            None => self.first_pieces(0, &fit, &reference)?,
        };
        let draws = fit.laws[0].sample(&Stream::new(self.seed, Purpose::Pool), u64::MAX, 0..STARTS as u64);
        let far = outward(&draws);
        let mut state = PolishState {
            step: 0,
            fold: 0,
            update: 0,
            descent: Descent::new(potential.parameters()),
            potential,
            refused: 0,
            first_reference: reference,
            refitted: None,
            parts: Vec::new(),
            best: None,
            since_best: 0,
            members: Vec::new(),
            without_map,
            with_map: None,
            starts: concatenate![Axis(0), draws, far],
            losses: (0.0, 0),
            mean_loss: None,
            last: None,
        };
        self.fit_parts(&mut state, &fit)?;
        if is_learnt {
            self.judge(&mut state, &fit)?;
        }
        let course = self.course_of(&state, fit)?;
        *self.course.lock().expect("no panic while it is held") = Some(course);
        Ok(state)
    }

    /// One update of the fit at hand, or the first of the next.
    ///
    /// # Errors
    ///
    /// Losses that are no numbers; what a refit or a stack refuses.
    pub fn advance(&self, state: &mut PolishState) -> Result<(), TrainingError> {
        let mut course = self.course.lock().expect("no panic while it is held");
        let course = match &mut *course {
            Some(course) if course.fold == state.fold => course,
            course => course.insert(self.begin(state)?),
        };
        // As one task of the pool: to hand it every tile from outside costs more than a small batch.
        rayon::scope(|_| self.update(state, course))?;
        if self.ends_fit(state) {
            self.finish(state)?;
        }
        Ok(())
    }

    /// A fit from its first update, or from where the state is.
    fn begin(&self, state: &mut PolishState) -> Result<Course, TrainingError> {
        let fit = self.fit(state.fold)?;
        if state.update == 0 && state.fold > 0 {
            if self.pieces.is_some() {
                state.potential = self.first_pieces(state.fold, &fit, &state.first_reference)?;
            }
            state.descent = Descent::new(state.potential.parameters());
            state.refitted = None;
            self.fit_parts(state, &fit)?;
            self.judge(state, &fit)?;
        }
        self.course_of(state, fit)
    }

    fn course_of(&self, state: &PolishState, fit: Fit) -> Result<Course, TrainingError> {
        let laws = self.laws(state)?;
        if laws.len() != fit.laws.len() {
            let reason = format!("it has {} mixtures, and the config {} parts", laws.len(), fit.laws.len());
            return Err(TrainingError::ForeignWeights { file: "polish.json".to_owned(), reason });
        }
        Ok(Course { fold: state.fold, paces: state.potential.paces(), laws, fit })
    }

    /// What held-out points say of the law as it stands: lower is better. Endless draws are not memorised, and few points know less of the moment to stop:
    /// there they say it at the end only.
    pub fn held_out_nll(&self, state: &PolishState) -> f64 {
        if self.is_endless() && !self.is_done(state) { f64::NAN } else { state.nll() }
    }

    fn is_endless(&self) -> bool {
        matches!(self.config.smoothing, Smoothing::Stack(_))
    }

    fn ends_fit(&self, state: &PolishState) -> bool {
        let is_stuck = self.config.patience.is_some_and(|patience| state.since_best >= patience);
        state.update >= self.config.steps || is_stuck
    }

    /// Puts the most likely potential of a fit to those of the others, and says at the end what became of the map.
    fn finish(&self, state: &mut PolishState) -> Result<(), TrainingError> {
        if self.config.folds > 1 {
            let parameters = state.best.take().map_or_else(|| state.descent.average.clone(), |best| best.parameters);
            state.members.push(state.potential.with_parameters(&parameters));
        }
        (state.fold, state.update, state.since_best) = (state.fold + 1, 0, 0);
        if !self.is_done(state) {
            return Ok(());
        }
        self.judge_law(state)?;
        let nll = |nll: Option<f64>| nll.unwrap_or(f64::NAN);
        let (with, without) = (nll(state.with_map), nll(state.without_map));
        let points = match (self.config.trimmed * self.held_out.nrows() as f64) as usize {
            0 => "held-out points".to_owned(),
            left_out => format!("held-out points without the {left_out} least likely"),
        };
        if state.keeps_map() {
            info!(
                "the negative log-likelihood of {points} is {without:.4} under the reference alone and {with:.4} with the map"
            );
        } else {
            warn!(
                "no map is kept: the negative log-likelihood of {points} is {without:.4} under the reference alone and {with:.4} with a \
                 map; the law of this run is its reference"
            );
        }
        Ok(())
    }

    /// One batch.
    fn update(&self, state: &mut PolishState, course: &mut Course) -> Result<(), TrainingError> {
        let Course { fit, laws, paces, .. } = course;
        let part = (state.update % fit.laws.len() as u64) as usize;
        let x = fit.laws[part].sample(
            &Stream::new(self.seed, Purpose::Polish),
            state.fold * self.config.steps + state.update,
            0..self.config.batch as u64,
        );
        let potential = state.potential.with_parameters(&state.descent.parameters);
        let rate = fit.rate.at(state.update, self.config.steps);
        let (loss, gradient) = match &potential {
            LearnablePotential::LinearRidges(ridges) if self.config.by == Descender::Fisher => {
                let (loss, theta) = fisher::step(ridges, &laws[part], &x);
                // A batch that no step of any length makes more likely leaves θ where it is.
                state.descent.take(theta.unwrap_or_else(|| potential.parameters()));
                state.descent.follow(self.config.ema);
                (loss, None)
            }
            _ => {
                let (loss, gradient) = laws[part].descend(&potential, &x);
                (loss, Some(gradient))
            }
        };
        let gradient_has_rate = gradient.is_some();
        if loss.is_finite() && gradient.iter().flatten().all(|g| g.is_finite()) {
            state.refused = 0;
            state.losses = (state.losses.0 + loss, state.losses.1 + 1);
            if let Some(gradient) = gradient {
                let settle = |parameters: &[f64]| potential.with_parameters(parameters).parameters();
                state.descent.update(gradient, rate, paces, settle);
                state.descent.follow(self.config.ema);
            }
        } else {
            state.refused += 1;
            if state.refused >= MOST_REFUSED {
                let last_finite = state.mean_loss;
                return Err(TrainingError::Diverged {
                    what: "negative log-likelihood",
                    value: loss,
                    step: state.step,
                    last_finite,
                });
            }
        }
        (state.step, state.update) = (state.step + 1, state.update + 1);
        // Fisher scoring has no rate.
        let rate = gradient_has_rate.then_some(rate);
        state.last = loss.is_finite().then_some((loss, rate));
        if let Some(refit) = &self.config.refit
            && state.update.is_multiple_of(refit.every)
        {
            self.refit(state, fit, refit)?;
            *laws = self.laws(state)?;
        }
        if state.update.is_multiple_of(self.config.judge_every) || state.update == self.config.steps {
            self.judge(state, fit)?;
        }
        Ok(())
    }

    /// Asks held-out points for the likelihood of the average at hand, and of the law.
    fn judge(&self, state: &mut PolishState, fit: &Fit) -> Result<(), TrainingError> {
        let average = state.potential.with_parameters(&state.descent.average);
        let found = self.judgement(self.law(state.reference())?.negative_log_likelihood(&average, &fit.held_out));
        let is_better = |found: &f64| self.is_endless() || state.best.as_ref().is_none_or(|best| *found < best.nll);
        if let Some(nll) = found.filter(is_better) {
            let (parameters, refitted) = (state.descent.average.clone(), state.refitted.clone());
            state.best = Some(Candidate { nll, parameters, refitted });
            state.since_best = 0;
        } else {
            state.since_best += 1;
        }
        if state.losses.1 > 0 {
            state.mean_loss = Some(state.losses.0 / state.losses.1 as f64);
            state.losses = (0.0, 0);
        }
        self.judge_law(state)
    }

    fn judge_law(&self, state: &mut PolishState) -> Result<(), TrainingError> {
        state.with_map = match &state.best {
            Some(best) if self.config.folds == 1 => Some(best.nll),
            _ => {
                let (potential, reference) = state.candidate();
                self.judgement(self.law(reference)?.negative_log_likelihood(&potential, &self.held_out))
            }
        };
        Ok(())
    }

    /// The mean without the largest, of negative log-likelihoods of single points; `None` where it is not finite.
    fn judgement(&self, mut values: Vec<f64>) -> Option<f64> {
        values.sort_by(f64::total_cmp);
        let kept = values.len() - (self.config.trimmed * values.len() as f64) as usize;
        let is_nan = values.iter().any(|value| value.is_nan());
        let mean = values[..kept].iter().sum::<f64>() / kept as f64;
        (mean.is_finite() && !is_nan).then_some(mean)
    }

    fn law(&self, reference: &Moments) -> Result<ReferenceLaw, TrainingError> {
        ReferenceLaw::new(&reference.mixture()?).ok_or(TrainingError::NoReferenceDensity)
    }

    /// The references of all parts: their own, or the one of all points.
    fn laws(&self, state: &PolishState) -> Result<Vec<ReferenceLaw>, TrainingError> {
        if state.parts.is_empty() {
            return Ok(vec![self.law(state.reference())?]);
        }
        state.parts.iter().map(|moments| self.law(moments)).collect()
    }

    /// One fit of a fold.
    fn fit(&self, fold: u64) -> Result<Fit, TrainingError> {
        let (rows, held_out) = match &self.source {
            Source::Rows { points, .. } if self.config.folds > 1 => {
                let places = self.places(points.nrows(), 0);
                let in_fold = |i: &usize| places[*i] as u64 % self.config.folds == fold;
                let (out, kept): (Vec<usize>, Vec<usize>) = (0..points.nrows()).partition(in_fold);
                let held_out = self.source.noise().added_once(self.seed, 0, points.select(Axis(0), &out));
                (Some(points.select(Axis(0), &kept)), held_out)
            }
            Source::Rows { points, .. } => (Some(points.as_ref().clone()), self.held_out.clone()),
            Source::Fresh { .. } => (None, self.held_out.clone()),
        };
        let count = self.config.refit.map_or(1, |refit| refit.folds) as usize;
        let parts: Vec<Points> = match &rows {
            None => Vec::new(),
            Some(rows) if count == 1 => vec![rows.clone()],
            Some(rows) => {
                let places = self.places(rows.nrows(), 1);
                let of_part = |part: usize| {
                    let own: Vec<usize> = (0..rows.nrows()).filter(|&i| places[i] % count == part).collect();
                    rows.select(Axis(0), &own)
                };
                (0..count).map(of_part).filter(|part| part.nrows() > 0).collect()
            }
        };
        let laws = if parts.is_empty() {
            vec![Arc::new(self.source.clone()) as Arc<dyn Sample>]
        } else {
            parts.iter().map(|part| self.smoothed(part)).collect::<Result<_, _>>()?
        };
        let warmup = (self.config.warmup * self.config.steps as f64) as u64;
        let rate = LearningRate::Cosine { peak: self.config.rate, warmup, last: LAST_RATE * self.config.rate };
        Ok(Fit { laws, parts, held_out, rate })
    }

    /// The pieces of a fit by semi-discrete transport of its points.
    fn first_pieces(&self, fold: u64, fit: &Fit, reference: &Moments) -> Result<LearnablePotential, TrainingError> {
        let config = self.pieces.unwrap_or_default();
        let points = match fit.parts.as_slice() {
            [rows] if self.config.smoothing == Smoothing::None => {
                let chosen: Vec<usize> = self.places(rows.nrows(), 2).into_iter().take(config.points).collect();
                self.source.noise().added_once(self.seed, 0, rows.select(Axis(0), &chosen))
            }
            _ => {
                let stream = Stream::new(self.seed, Purpose::Pool);
                fit.laws[0].sample(&stream, u64::MAX - 1 - fold, 0..config.points as u64)
            }
        };
        let start = semi_discrete::start(&config, &points, &reference.mixture()?, self.seed)?;
        Ok(LearnablePotential::LogSumExp(start))
    }

    /// A permutation of rows.
    fn places(&self, count: usize, which: u64) -> Vec<usize> {
        Stream::new(self.seed, Purpose::Polish).permutation(u64::MAX - which, count)
    }

    /// What stands for the law of rows.
    fn smoothed(&self, rows: &Points) -> Result<Arc<dyn Sample>, TrainingError> {
        let noise = self.source.noise();
        Ok(match &self.config.smoothing {
            Smoothing::None => Arc::new(Source::Rows { points: Arc::new(rows.clone()), noise }),
            Smoothing::Isotropic { sd } => {
                let inner = Source::Rows { points: Arc::new(rows.clone()), noise };
                Arc::new(Blurred { inner, sd: *sd })
            }
            Smoothing::LocalCovariance { neighbours, share } => {
                let rows = noise.added_once(self.seed, 0, rows.clone());
                Arc::new(LocalNoise::from(LocalGaussians::new(&rows, *neighbours, *share)?))
            }
            Smoothing::Stack(config) => {
                let rows = noise.added_once(self.seed, 0, rows.clone());
                let stack = config.fit(&rows, self.seed, self.go_on)?;
                info!("the points are smoothed by a stack: {stack}");
                Arc::new(stack.moments.mixture()?)
            }
        })
    }

    /// The mixtures of all parts before the first update: each fitted to the points of the others.
    fn fit_parts(&self, state: &mut PolishState, fit: &Fit) -> Result<(), TrainingError> {
        state.parts.clear();
        if fit.parts.len() < 2 {
            return Ok(());
        }
        let points = NoisyParts::new(&fit.parts, &self.source.noise(), self.seed, 0);
        for part in 0..fit.parts.len() {
            if !(self.go_on)() {
                return Err(TrainingError::Interrupted);
            }
            let observed = points.observed(Some(part))?;
            state.parts.push(self.refit_by.fit(&observed, state.reference().clone(), FIRST_FIT)?.0);
        }
        Ok(())
    }

    /// All mixtures, from where they are, to the images of the points.
    fn refit(&self, state: &mut PolishState, fit: &Fit, refit: &RefitConfig) -> Result<(), TrainingError> {
        let potential = state.potential.with_parameters(&state.descent.average);
        let points = NoisyParts::new(&fit.parts, &self.source.noise(), self.seed, state.step);
        let images = points.images(&potential);
        let stop = Stop { iterations: refit.iterations, tolerance: 0.0 };
        state.refitted = Some(self.refit_by.fit(&images.observed(None)?, state.reference().clone(), stop)?.0);
        for (part, moments) in state.parts.iter_mut().enumerate() {
            *moments = self.refit_by.fit(&images.observed(Some(part))?, moments.clone(), stop)?.0;
        }
        Ok(())
    }
}

/// The points of a law with isotropic noise.
struct Blurred {
    inner: Source,
    sd: f64,
}

impl Sample for Blurred {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn draw(&self, words: &mut brenier_measure::Words, point: &mut [f64]) {
        self.inner.draw(words, point);
        point.iter_mut().for_each(|p| *p += self.sd * words.normal());
    }
}

/// Every fourth point, three times as far from the mean.
fn outward(points: &Points) -> Points {
    let mean = points.mean_axis(Axis(0)).expect("at least one point");
    let every: Vec<usize> = (0..points.nrows()).step_by(4).collect();
    (points.select(Axis(0), &every) - &mean) * 3.0 + &mean
}

#[cfg(test)]
mod tests;
