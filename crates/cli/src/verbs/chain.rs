//! `train chain`: diffuses a target or another start, denoises it again with the scores of the target, and says what was lost.

use std::path::Path;
use std::sync::Arc;

use brenier_eval::chain::{
    Chain, Distance, End, Expansion, Fans, Forward, Line, Method, Outcome, Scheme, Settings, Start, Target, fans,
};
use brenier_eval::figures::{Fan, Format, Marginal, PathFans, path_fans, write_atomically};
use brenier_eval::localization::curvature::{ChainBound, chain_bound};
use brenier_eval::{EvalError, Step, localization};
use brenier_measure::data::Standardization;
use brenier_measure::{Points, Sample, Words};
use burn::tensor::{DType, Device};
use serde_json::{Value, json};

use super::localize::curves::watched;
use super::localize::facts;
use super::localize::figure::Destination;
use crate::arguments::{ChainArguments, ForwardName, SchemeName, VERSION};
use crate::error::{Error, Exit};
use crate::interruption;
use crate::progress::Watched;
use crate::stdout::say;
use crate::subject::{Examined, FINE_NOISE, Kind, Opening};
use crate::table::{aligned, notes, number, point};
use crate::verbs::Context;

/// Particles whose paths are computed for a picture.
const PATHS: usize = 1000;

/// Points of the outline of a density.
const OUTLINE: usize = 300;

/// Runs both chains, bounds what they do, and draws their paths.
pub fn chain(arguments: &ChainArguments, context: &Context) -> Result<Exit, Error> {
    // Whatever is refused is refused before the first draw.
    let format = match &arguments.figure {
        Some(path) => Some(Destination::new(path, 1)?.format()),
        None => None,
    };
    let chain = Chain {
        steps: arguments.steps as usize,
        eta: arguments.eta,
        beta: arguments.beta,
        forward: match arguments.forward {
            ForwardName::Exact => Forward::Exact,
            ForwardName::Euler => Forward::Euler,
        },
        scheme: match arguments.scheme {
            SchemeName::Ode => Scheme::Ode,
            SchemeName::Sde => Scheme::Sde,
        },
    };
    chain.validate()?;
    arguments.compute.set_threads()?;
    let opening = Opening {
        device: arguments.compute.device,
        checkpoint: arguments.checkpoint,
        seed: arguments.seed,
        text_files: arguments.text_files,
        data: arguments.data.clone(),
    };
    let examined = Examined::open(&arguments.spec, &opening)?;
    let start = Origin::read(&arguments.start, &examined, &opening)?;
    let task = Task {
        settings: Settings { particles: arguments.particles as usize, seed: examined.seed },
        line: match &examined.kind {
            Kind::Target(config) => Line::of(config),
            Kind::Data { .. } | Kind::Run(_) => None,
        },
        examined,
        start,
        chain,
        bound: (!arguments.no_bound).then_some((arguments.richness, arguments.draws as usize)),
        format,
        quiet: context.quiet,
    };
    let task = Arc::new(task);
    let worker = Arc::clone(&task);
    let answer = interruption::abandonable(move || worker.answer())?;
    if let (Some(path), Some(bytes)) = (&arguments.figure, &answer.picture) {
        write_atomically(path, bytes)?;
    }
    let figure = arguments.figure.as_deref();
    if arguments.json {
        say(&format!("{}\n", task.json(&answer, figure)))?;
    } else {
        say(&task.text(&answer, figure))?;
    }
    Ok(Exit::Done)
}

/// Where the forward chain starts, in the coordinates of the chain.
enum Origin {
    /// In the target.
    Target,
    /// In one point.
    Point(Vec<f64>),
    /// In another SPEC.
    Other {
        /// As it was given.
        spec: String,
        /// Its draws.
        sampler: Arc<dyn Sample>,
        /// Its closed form on the line.
        line: Option<Line>,
        /// What a reader must know of it.
        notes: Vec<String>,
    },
}

impl Origin {
    fn read(text: &str, target: &Examined, opening: &Opening) -> Result<Self, Error> {
        if text == "target" {
            return Ok(Self::Target);
        }
        let dimension = |found: usize| {
            Error::start(text, format!("has dimension {found}, {} has {}", target.spec.display(), target.dim))
        };
        if let Some(list) = text.strip_prefix("point:") {
            let coordinate = |part: &str| match part.trim().parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(value),
                _ => Err(Error::start(text, format!("has {part:?} where a coordinate is expected"))),
            };
            let x = list.split(',').map(coordinate).collect::<Result<Vec<f64>, Error>>()?;
            return if x.len() == target.dim { Ok(Self::Point(x)) } else { Err(dimension(x.len())) };
        }
        if !Path::new(text).exists() {
            return Err(Error::start(text, "names no file and no folder"));
        }
        let other = Examined::open_beside(Path::new(text), opening, target)?;
        if other.dim != target.dim {
            return Err(dimension(other.dim));
        }
        let coordinates = |examined: &Examined| match &examined.kind {
            Kind::Run(run) => Some(run.standardization.clone()),
            Kind::Target(_) | Kind::Data { .. } => None,
        };
        let (from, to) = (coordinates(&other), coordinates(target));
        let line = match &other.kind {
            Kind::Target(config) if to.is_none() => Line::of(config),
            _ => None,
        };
        let sampler = if from.is_none() && to.is_none() {
            other.sampler
        } else {
            Arc::new(Moved { sampler: other.sampler, from, to })
        };
        Ok(Self::Other { spec: text.to_owned(), sampler, line, notes: other.notes })
    }

    fn start(&self) -> Start<'_> {
        match self {
            Self::Target => Start::Target,
            Self::Point(x) => Start::Point(x),
            Self::Other { sampler, line, .. } => Start::Law(sampler.as_ref(), line.as_ref()),
        }
    }

    /// In words.
    fn name(&self) -> String {
        match self {
            Self::Target => "the target".to_owned(),
            Self::Point(x) => format!("the point {}", point(x)),
            Self::Other { spec, .. } => spec.clone(),
        }
    }
}

/// Draws of one law in the coordinates of another run.
struct Moved {
    sampler: Arc<dyn Sample>,
    /// Out of these standardised coordinates.
    from: Option<Standardization>,
    /// Into these.
    to: Option<Standardization>,
}

impl Sample for Moved {
    fn dim(&self) -> usize {
        self.sampler.dim()
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        self.sampler.draw(words, point);
        let mut moved = Points::from_shape_fn((1, point.len()), |(_, j)| point[j]);
        if let Some(from) = &self.from {
            moved = from.undo(&moved);
        }
        if let Some(to) = &self.to {
            moved = to.apply(&moved);
        }
        point.iter_mut().zip(&moved).for_each(|(x, moved)| *x = *moved);
    }
}

/// What is to be computed.
struct Task {
    chain: Chain,
    examined: Examined,
    /// The closed form of the target on the line.
    line: Option<Line>,
    start: Origin,
    settings: Settings,
    /// Richness and draws, where a bound is wanted.
    bound: Option<(f64, usize)>,
    /// The format of the picture, where one is wanted.
    format: Option<Format>,
    quiet: bool,
}

/// What was computed.
struct Answer {
    outcome: Outcome,
    bound: Option<ChainBound>,
    picture: Option<Vec<u8>>,
}

impl Task {
    fn answer(&self) -> Result<Answer, Error> {
        let host = Device::flex();
        let target = self.target(&host)?;
        let mut progress = Watched::new(format!("{}: chains", self.examined.name), self.quiet);
        let watch = &mut |step: Step| {
            // In hundredths: where a grid turns out too coarse, particles begin anew with other steps.
            progress.update((100 * step.done / step.total.max(1)) as u64, 100);
            !interruption::asked()
        };
        let outcome = self.chain.run(&target, self.start.start(), &self.settings, watch)?;
        drop(progress);
        let bound = match self.bound {
            Some((richness, draws)) => {
                let Chain { steps, eta, beta, .. } = self.chain;
                let (subject, settings) = (self.examined.subject(), self.examined.settings(draws));
                let label = format!("{}: bounds", self.examined.name);
                let by = |settings: &localization::Settings| {
                    watched(label.clone(), self.quiet, |watch| {
                        chain_bound(&subject, steps, eta, beta, richness, settings, watch)
                    })
                };
                let draws = localization::Settings { method: localization::Method::MonteCarlo, ..settings };
                // Where quadrature misses mass, draws give the average case, and no bound is claimed.
                Some(match by(&settings) {
                    Err(EvalError::Mass { .. }) => by(&draws)?,
                    found => found?,
                })
            }
            None => None,
        };
        let picture = self.format.map(|format| self.picture(&target, format)).transpose()?;
        Ok(Answer { outcome, bound, picture })
    }

    fn target<'a>(&'a self, host: &'a Device) -> Result<Target<'a>, Error> {
        let Some(denoiser) = self.examined.denoiser() else {
            return Err(Error::bad_input(format!("{} has no scores", self.examined.spec.display())));
        };
        let (dtype, device) = match self.examined.network() {
            Some(network) => (network.dtype, &network.device),
            None => (DType::F64, host),
        };
        let sampler = self.examined.sampler.as_ref();
        Ok(Target { sampler, denoiser, line: self.line.as_ref(), dtype, device })
    }

    /// Forward fans of target and start beside each other, below them the ways back.
    fn picture(&self, target: &Target, format: Format) -> Result<Vec<u8>, Error> {
        let settings = Settings { particles: PATHS, ..self.settings };
        let go_on = || !interruption::asked();
        let all = |start: Start| -> Result<Fans, Error> { Ok(fans(&self.chain, target, start, &settings, &go_on)?) };
        let mut columns = vec![("the target".to_owned(), all(Start::Target)?, self.line.clone())];
        match &self.start {
            Origin::Target => {}
            Origin::Point(x) => {
                let line = matches!(x[..], [_]).then(|| Line::point(x[0]));
                columns.push((self.start.name(), all(self.start.start())?, line));
            }
            Origin::Other { line, .. } => columns.push((self.start.name(), all(self.start.start())?, line.clone())),
        }
        let (alpha, s) = self.chain.marginal(self.chain.steps);
        let marginal = |line: &Option<Line>| match line {
            Some(line) => Marginal { samples: Vec::new(), density: line.outline(OUTLINE) },
            None => Marginal::default(),
        };
        let mut panels = Vec::new();
        for (position, what) in
            ["forward from", "transport maps back, from", "stochastic chain back, from"].into_iter().enumerate()
        {
            for (name, fans, line) in &columns {
                let paths = [&fans.forward, &fans.ode, &fans.sde][position];
                // On the way back the outline on the left is where the chain should end.
                let left = if position == 0 { line } else { &self.line };
                panels.push(Fan {
                    title: format!("{what} {name}"),
                    times: paths.times.clone(),
                    paths: paths.coordinate(0),
                    left: marginal(left),
                    right: marginal(&line.as_ref().map(|line| line.noised(alpha, s))),
                });
            }
        }
        let Chain { steps, eta, beta, .. } = self.chain;
        let standardised = if matches!(self.examined.kind, Kind::Run(_)) { ", standardised" } else { "" };
        let coordinate = if self.examined.dim == 1 { "position x" } else { "first coordinate" };
        let figure = PathFans {
            title: format!("{}: {} of {eta}, β = {beta}", self.examined.name, count(steps)),
            coordinate: format!("{coordinate}{standardised}"),
            fans: panels,
        };
        Ok(path_fans(&figure, format)?)
    }

    fn notes(&self, answer: &Answer) -> Vec<String> {
        let mut notes = self.examined.notes.clone();
        if let Origin::Other { notes: own, .. } = &self.start {
            notes.extend(own.iter().filter(|note| !self.examined.notes.contains(note)).cloned());
        }
        // No L_r is shown here.
        notes.retain(|note| note != FINE_NOISE);
        if answer.outcome.method == Method::MonteCarlo && self.on_the_line() {
            notes.push(
                "particles, because the grid that resolves the densities of the stochastic chain is too large"
                    .to_owned(),
            );
        }
        if self.chain.forward == Forward::Euler {
            notes.push("the scores are those of the exact Ornstein-Uhlenbeck process, not of Euler's steps".to_owned());
        }
        if answer.bound.as_ref().is_some_and(|bound| bound.lower_estimate_of_sup) {
            notes.push(
                "the worst case is not bounded: the largest curvatures found, which make per_step_zeta in --json, may fall short of \
                 the suprema, so they bound nothing"
                    .to_owned(),
            );
        }
        notes
    }

    /// Whether target and start both have closed forms on the line.
    fn on_the_line(&self) -> bool {
        let start = match &self.start {
            Origin::Target | Origin::Point(_) => true,
            Origin::Other { line, .. } => line.is_some(),
        };
        start && self.line.is_some()
    }

    /// The worst case of the stochastic chain, where that is the one that was run.
    ///
    /// Points that share their noise are carried apart by the eigenvalues of `(1 + η)I + 2ηβ⁻¹∇²log p`, which lie between
    /// `1 + η - 2η/(1 - e^{-2kη})` and `1 + η(1 - 2β⁻¹ζ_k)`; the forward chain has brought them together before.
    fn stochastic_log_factor(&self, bound: &ChainBound) -> Option<f64> {
        if self.chain.scheme != Scheme::Sde || bound.lower_estimate_of_sup {
            return None;
        }
        let Chain { steps, eta, beta, forward, .. } = self.chain;
        let together = match forward {
            Forward::Exact => -eta,
            Forward::Euler => (-eta).ln_1p(),
        };
        let apart = bound.per_step_zeta.iter().enumerate().map(|(i, zeta)| {
            let variance = -(-2.0 * eta * (i + 1) as f64).exp_m1();
            let (most, least) = (1.0 + eta * (1.0 - 2.0 * zeta / beta), 1.0 + eta - 2.0 * eta / variance);
            most.abs().max(least.abs()).ln()
        });
        Some(2.0 * (steps as f64 * together + apart.sum::<f64>()))
    }

    fn json(&self, answer: &Answer, figure: Option<&Path>) -> Value {
        let Answer { outcome, bound, .. } = answer;
        let Chain { steps, eta, beta, forward, scheme } = self.chain;
        let monte_carlo = outcome.method == Method::MonteCarlo;
        let mut object = facts(&self.examined);
        let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
        put("program_version", json!(VERSION));
        put("steps", json!(steps));
        put("eta", json!(eta));
        put("beta", json!(beta));
        put("horizon", json!(self.chain.horizon()));
        put("transition", json!(forward));
        put("scheme", json!(scheme));
        put(
            "start",
            match &self.start {
                Origin::Target => json!("target"),
                Origin::Point(x) => json!({ "point": x }),
                Origin::Other { spec, .. } => json!({ "spec": spec }),
            },
        );
        put("method", json!(outcome.method));
        put("particles", json!(monte_carlo.then_some(self.settings.particles)));
        put("forward", end_json(&outcome.forward, "w2_to_reference_start", monte_carlo));
        put("backward", end_json(&outcome.backward, "w2_to_target", monte_carlo));
        put("measured", json!(outcome.expansion));
        put(
            "bound",
            match (bound, self.bound) {
                (Some(bound), Some((richness, _))) => json!({
                    "log_factor": bound.log_factor,
                    "log_backward_factor": bound.log_backward_factor,
                    "average_log_factor": bound.average_log_factor,
                    "stochastic_log_factor": self.stochastic_log_factor(bound),
                    "richness": richness,
                    "per_step_zeta": bound.per_step_zeta,
                    "lower_estimate_of_sup": bound.lower_estimate_of_sup,
                }),
                _ => Value::Null,
            },
        );
        put("notes", json!(self.notes(answer)));
        if let Some(figure) = figure {
            put("figures", json!([figure.display().to_string()]));
        }
        object.into()
    }

    fn text(&self, answer: &Answer, figure: Option<&Path>) -> String {
        let Answer { outcome, bound, .. } = answer;
        let Chain { steps, eta, beta, forward, scheme } = self.chain;
        let how = match outcome.method {
            Method::Quadrature => "by quadrature".to_owned(),
            Method::MonteCarlo => format!("{} particles, seed {}", self.settings.particles, self.settings.seed),
        };
        let forward = match forward {
            Forward::Exact => "exact",
            Forward::Euler => "Euler",
        };
        let scheme = match scheme {
            Scheme::Ode => "transport maps",
            Scheme::Sde => "the stochastic chain",
        };
        let mut text = format!(
            "{}: {} of {} forward ({forward}) from {}, and back by {scheme}, β = {}, {how}\n",
            self.examined.name,
            count(steps),
            number(eta),
            self.start.name(),
            number(beta)
        );
        text += &ends(outcome);
        if let Some(expansion) = &outcome.expansion {
            text += &measured(expansion, outcome.method);
        }
        if let (Some(bound), Some((richness, _))) = (bound, self.bound) {
            text += &bounds(bound, richness);
            if let Some(log_factor) = self.stochastic_log_factor(bound) {
                text += &format!("for the stochastic chain, worst case: {} in all\n", number(log_factor));
            }
        }
        let said = self.notes(answer);
        text += &notes(&said.iter().map(String::as_str).collect::<Vec<_>>());
        if let Some(figure) = figure {
            text += &format!("figure: {}\n", figure.display());
        }
        text
    }
}

/// The end of a chain with the promised keys.
fn end_json(end: &End, w2: &str, monte_carlo: bool) -> Value {
    let End {
        mean,
        variance,
        covariance,
        mean_std_error,
        variance_std_error,
        w2: Distance { value, std_error, floor },
    } = end;
    json!({
        "mean": mean,
        "variance": variance,
        "covariance": covariance,
        "mean_std_error": mean_std_error,
        "variance_std_error": variance_std_error,
        w2: value,
        "w2_std_error": std_error,
        "w2_floor": monte_carlo.then_some(floor),
    })
}

/// So many steps, in words.
fn count(steps: usize) -> String {
    format!("{steps} step{}", if steps == 1 { "" } else { "s" })
}

/// The ends of both chains, a line each.
fn ends(outcome: &Outcome) -> String {
    let monte_carlo = outcome.method == Method::MonteCarlo;
    let heads = ["", "mean", "variance", "W₂", "±", "floor", ""];
    let row = |name: &str, end: &End, to: &str| {
        let Distance { value, std_error, floor } = end.w2;
        let mut row = vec![name.to_owned(), coordinates(&shown(end)), coordinates(&end.variance), number(value)];
        if monte_carlo {
            row.extend([number(std_error), number(floor)]);
        }
        row.push(to.to_owned());
        row
    };
    let rows =
        [row("forward end", &outcome.forward, "to N(0, I/β)"), row("backward end", &outcome.backward, "to the target")];
    let heads: Vec<&str> = heads.into_iter().filter(|head| monte_carlo || !["±", "floor"].contains(head)).collect();
    aligned(&heads, rows.into_iter())
}

/// The mean, with 0 where it is nothing but the rounding of a law so wide.
fn shown(end: &End) -> Vec<f64> {
    let pairs = end.mean.iter().zip(&end.variance);
    pairs.map(|(&mean, &variance)| if mean.abs() < 1e-13 * variance.sqrt() { 0.0 } else { mean }).collect()
}

/// A number on the line, else a point.
fn coordinates(values: &[f64]) -> String {
    match values {
        [one] => number(*one),
        several => point(several),
    }
}

/// How far the chains from start and target lie apart.
fn measured(expansion: &Expansion, method: Method) -> String {
    let Expansion { w2_start, w2_forward, w2_backward, log_backward_factor, log_factor, .. } = *expansion;
    let distance = |value: f64, error: f64| match method {
        Method::Quadrature => number(value),
        Method::MonteCarlo => format!("{} ± {}", number(value), number(error)),
    };
    let growth = |log_factor: f64| match log_factor {
        log if log.is_nan() => "-".to_owned(),
        log => format!("{} (log {})", number(log.exp()), number(log)),
    };
    format!(
        "W₂ between the chains from the start and from the target: {} at first, {} after diffusing, {} after denoising\n\
         W₂² changes by a factor of {} while denoising, {} in all\n",
        distance(w2_start, expansion.w2_start_std_error),
        distance(w2_forward, expansion.w2_forward_std_error),
        distance(w2_backward, expansion.w2_backward_std_error),
        growth(log_backward_factor),
        growth(log_factor)
    )
}

/// What the curvatures promise.
fn bounds(bound: &ChainBound, richness: f64) -> String {
    let average = format!(
        "average case of the transport maps, perturbations of richness M = {}: log factor {} in all\n",
        number(richness),
        number(bound.average_log_factor)
    );
    match (bound.log_backward_factor, bound.log_factor) {
        (Some(backward), Some(whole)) => format!(
            "bound on the log factor of the transport maps, worst case: {} while denoising, {} in all\n{average}",
            number(backward),
            number(whole)
        ),
        _ => average,
    }
}
