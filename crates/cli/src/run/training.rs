//! One run from where it stands to its end: training, checkpoints, and the outputs that follow.

use std::time::{Duration, Instant, SystemTime};

use brenier_training::run_directory::{LockedRunDirectory, RunDirectory};
use brenier_training::tensorboard::TensorBoard;
use brenier_training::{Flow, Method, TrainingError};
use cpu_time::ProcessTime;
use serde_json::json;
use tracing::{info, warn};

use crate::error::{Error, Exit};
use crate::interruption;
use crate::methods::wiring::Wiring;
use crate::progress::Progress;
use crate::run::law::Law;
use crate::run::watch::Watch;
use crate::run::{Ending, RunContext, RunView, outputs};

/// Trains from the directory's latest checkpoint, or from the beginning, to the end of the config; makes the outputs.
///
/// `method` makes the method of the run, which may take time and can be interrupted.
///
/// # Errors
///
/// No checkpoint that verifies, divergence, and files that cannot be written.
pub fn go_on<M: Method>(
    run: &RunContext,
    wiring: &dyn Wiring,
    directory: &mut LockedRunDirectory,
    method: impl FnOnce(&RunView) -> Result<M, Error>,
) -> Result<Ending, Error> {
    let latest = directory.resume()?;
    if let Some(loaded) = &latest {
        loaded.say_warnings();
        info!("going on with {} at step {}", directory.path().display(), loaded.step);
    }
    let mut step = latest.as_ref().map_or(0, |loaded| loaded.step);
    let clock = CpuClock::start(spent_before(directory, "cpu_seconds")?);
    // Not even a time limit stops what comes before the first step: a run of short sittings would never get past it.
    let (whole, go_on): (&RunDirectory, _) = (directory, || !interruption::asked());
    let trained = method(&run.view(Some(whole), &go_on)).and_then(|method| {
        let mut state = match &latest {
            Some(loaded) => method.resume(&loaded.files)?,
            None => method.start()?,
        };
        drop(latest);
        let trained = if method.is_done(&state) {
            Ok(Ending::Finished)
        } else {
            train(run, wiring, &method, &mut state, directory, clock)
        };
        step = method.step(&state);
        trained
    });
    let trained = match trained {
        Err(error) if error.is_interruption() => Ending::Interrupted,
        trained => trained?,
    };
    let path = directory.path().display();
    if trained == Ending::Interrupted {
        info!("stopped at step {step}; `train resume {path}` goes on");
        return Ok(Ending::Interrupted);
    }
    directory.retire(step, run.record.config.output.keep_last);
    match outputs::complete(run, wiring, directory) {
        Err(error) if error.is_interruption() => {
            info!("stopped before the outputs; `train resume {path}` makes them");
            Ok(Ending::Interrupted)
        }
        outputs => outputs.map(|()| Ending::Finished),
    }
}

fn train<M: Method>(
    run: &RunContext,
    wiring: &dyn Wiring,
    method: &M,
    state: &mut M::State,
    directory: &mut LockedRunDirectory,
    clock: CpuClock,
) -> Result<Ending, Error> {
    let config = &run.record.config;
    let watch = Watch::of(run)?;
    let first_step = method.step(state);
    let open = || TensorBoard::open(directory.path(), first_step + 1, SystemTime::now());
    let tensorboard = config.output.tensorboard.then(open).transpose()?;
    outputs::clear(directory)?;
    let mut observer = Observer {
        run,
        method,
        watch,
        progress: Progress::new(method.steps(), first_step, "training", run.quiet),
        tensorboard,
        elapsed_before: spent_before(directory, "elapsed_seconds")?,
        clock,
        directory,
        first_step,
        told: first_step,
        started: Instant::now(),
        ending: Ending::Finished,
    };
    if first_step == 0 {
        observer.checkpoint(state, None)?;
    }
    let trained = method.train(state, &mut |state, scalars| {
        observer.after_step(state, scalars).map_err(|error| TrainingError::Observer(Box::new(error)))
    });
    let ending = observer.ending;
    observer.progress.finish();
    trained.map_err(|error| Error::diverged(error, wiring.cure()))?;
    if ending == Ending::Finished && !method.is_done(state) {
        let (step, steps) = (method.step(state), method.steps());
        return Err(Error::new(Exit::Failed, format!("`{}` ended at step {step} of {steps}", wiring.name())));
    }
    Ok(ending)
}

/// Seconds that earlier processes spent on the steps that are kept, by the name under which they are logged.
fn spent_before(directory: &RunDirectory, name: &str) -> Result<f64, Error> {
    let lines = directory.metrics()?;
    Ok(lines.last().and_then(|line| line.get(name)?.as_f64()).unwrap_or(0.0))
}

/// The CPU-seconds of all threads on training alone: what is told, drawn and stored between two steps does not count.
struct CpuClock {
    before: f64,
    started: ProcessTime,
    aside: Duration,
}

impl CpuClock {
    /// Goes on from so many seconds.
    fn start(before: f64) -> Self {
        Self { before, started: ProcessTime::now(), aside: Duration::ZERO }
    }

    /// The seconds up to a moment of training.
    fn seconds(&self, at: ProcessTime) -> f64 {
        self.before + at.duration_since(self.started).saturating_sub(self.aside).as_secs_f64()
    }
}

/// What happens beside the steps: metrics, checkpoints, figures, and the decision to stop.
struct Observer<'a, M> {
    run: &'a RunContext,
    method: &'a M,
    directory: &'a mut LockedRunDirectory,
    watch: Option<Watch>,
    progress: Progress,
    tensorboard: Option<TensorBoard>,
    /// The step at which this process began.
    first_step: u64,
    /// The last step that was told of.
    told: u64,
    started: Instant,
    elapsed_before: f64,
    clock: CpuClock,
    ending: Ending,
}

impl<M: Method> Observer<'_, M> {
    fn after_step(&mut self, state: &mut M::State, scalars: &[(&'static str, f64)]) -> Result<Flow, Error> {
        let now = ProcessTime::now();
        let flow = self.tell(state, scalars, self.clock.seconds(now));
        self.clock.aside += now.elapsed();
        flow
    }

    fn tell(&mut self, state: &mut M::State, scalars: &[(&'static str, f64)], cpu: f64) -> Result<Flow, Error> {
        let (step, last) = (self.method.step(state), self.method.is_done(state));
        let stop = self.run.limits.reached_after(step - self.first_step) && !last;
        self.progress.update(step, scalars);
        // A method that was stopped between two steps tells of the last one once more.
        let is_new = std::mem::replace(&mut self.told, step) != step;
        let is_kept = is_new && self.tell_of(state, step, last, cpu)?;
        if !stop {
            return Ok(Flow::Continue);
        }
        if !is_kept {
            self.checkpoint(state, None)?;
        }
        self.ending = Ending::Interrupted;
        Ok(Flow::Stop)
    }

    /// Metrics, distances and figures of a step, and its checkpoint where one is due.
    fn tell_of(&mut self, state: &mut M::State, step: u64, last: bool, cpu: f64) -> Result<bool, Error> {
        let config = &self.run.record.config;
        if step.is_multiple_of(config.output.log_every) || last {
            let means = self.method.means(state);
            self.write_scalars(step, &means, cpu)?;
        }
        self.watch(state, step, last, cpu)?;
        let is_due = step.is_multiple_of(config.output.checkpoint_every) || last;
        if is_due {
            let (name, value) = self.method.held_out(state);
            let excess = self.method.optimum().map(|(name, optimum)| (name, value - optimum));
            self.write_scalars(step, &[Some((name, value)), excess].into_iter().flatten().collect::<Vec<_>>(), cpu)?;
            self.figure(state, step);
            self.checkpoint(state, Some(value))?;
        }
        Ok(is_due)
    }

    /// The distances that the config asks for.
    fn watch(&mut self, state: &M::State, step: u64, last: bool, cpu: f64) -> Result<(), Error> {
        let Some(watch) = self.watch.as_ref().filter(|watch| last || watch.looks(step)) else { return Ok(()) };
        let scalars = watch.look(self.method.sampler(state).as_ref(), step);
        if scalars.is_empty() { Ok(()) } else { self.write_scalars(step, &scalars, cpu) }
    }

    fn write_scalars(&mut self, step: u64, scalars: &[(&'static str, f64)], cpu: f64) -> Result<(), Error> {
        let elapsed = self.elapsed_before + self.started.elapsed().as_secs_f64();
        let [elapsed, cpu] = [elapsed, cpu].map(|seconds| (seconds * 1e3).round() / 1e3);
        let mut line = json!({"step": step, "elapsed_seconds": elapsed, "cpu_seconds": cpu});
        for (name, value) in scalars {
            line[*name] = json!(value);
        }
        if let Some(board) = &mut self.tensorboard {
            board.scalars(step, scalars, SystemTime::now())?;
        }
        Ok(self.directory.append_metrics(&line)?)
    }

    /// A picture of samples; one that fails must not cost a checkpoint.
    fn figure(&self, state: &M::State, step: u64) {
        let RunContext { record, problem, .. } = self.run;
        if !record.config.output.figures || !outputs::has_picture(&record.data) {
            return;
        }
        let sampler = self.method.sampler(state);
        let law = Law { sampler: sampler.as_ref(), data: &record.data };
        if let Err(error) = outputs::progress_figure(&law, problem, record.config.seed, self.directory, step) {
            warn!("no figure at step {step}: {error}");
        }
    }

    fn checkpoint(&mut self, state: &M::State, held_out: Option<f64>) -> Result<(), Error> {
        let files = self.method.files(state);
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        let keep_last = self.run.record.config.output.keep_last;
        Ok(self.directory.write_checkpoint(self.method.step(state), &files, held_out, keep_last)?)
    }
}
