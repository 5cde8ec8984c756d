//! One run from where it stands to its end: training, checkpoints, and the outputs that follow.

use std::time::{Instant, SystemTime};

use brenier_model::ScoreNetwork;
use brenier_training::run_directory::{CheckpointSelector, LockedRunDirectory, RunDirectory};
use brenier_training::tensorboard::TensorBoard;
use brenier_training::{
    DenoisingScoreMatching, Flow, NoisedBatch, StepReport, TrainingError, TrainingState, averaged_model, fit,
};
use burn::module::Module;
use burn::tensor::Device;
use serde_json::json;
use tracing::{info, warn};

use crate::config::MethodConfig;
use crate::error::Error;
use crate::interruption::Deadline;
use crate::localized::Localization;
use crate::outputs;
use crate::problem::Problem;
use crate::progress::Progress;
use crate::record::{RunRecord, load, say_warnings};
use crate::watch::Watch;

/// The least number of noised points in the held-out loss.
const HELD_OUT_COUNT: usize = 4_096;

/// A run with everything it needs at hand, beside its directory.
pub struct TrainingRun {
    /// Its record.
    pub record: RunRecord,
    /// What it learns.
    pub problem: Problem,
    /// Where it computes, without autodiff.
    pub device: Device,
    /// When it stops on its own.
    pub deadline: Deadline,
    /// Whether progress is hidden.
    pub quiet: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All of it is done.
    Finished,
    /// It was asked to stop; a checkpoint of the last step is kept.
    Interrupted,
}

impl TrainingRun {
    /// Trains from the directory's latest checkpoint, or from the beginning, to the end of the config; makes the outputs.
    ///
    /// # Errors
    ///
    /// No checkpoint that verifies, divergence, and files that cannot be written.
    pub fn go_on(&self, directory: &mut LockedRunDirectory) -> Result<Ending, Error> {
        let mut state = match directory.resume()? {
            None => self.initial_state()?,
            Some(loaded) => {
                say_warnings(&loaded);
                info!("going on with {} at step {}", directory.path().display(), loaded.step);
                let network = self.record.network(&self.device.clone().autodiff())?;
                TrainingState::from_files(&self.record.config.training, network, &loaded.files)?
            }
        };
        let trained = match self.train(&mut state, directory) {
            Err(error) if error.is_interruption() => Ending::Interrupted,
            trained => trained?,
        };
        if trained == Ending::Interrupted {
            let (step, path) = (state.progress.step, directory.path().display());
            info!("stopped at step {step}; `train resume {path}` goes on");
            return Ok(Ending::Interrupted);
        }
        directory.retire(state.progress.step, self.record.config.output.keep_last);
        match outputs::complete(self, directory) {
            Err(error) if error.is_interruption() => {
                info!("stopped before the outputs; `train resume {}` makes them", directory.path().display());
                Ok(Ending::Interrupted)
            }
            outputs => outputs.map(|()| Ending::Finished),
        }
    }

    /// The state before the first step: a fresh network, or the averaged one of the run in `start_from`.
    fn initial_state(&self) -> Result<TrainingState<ScoreNetwork>, Error> {
        let training = &self.record.config.training;
        let mut network = self.record.network(&self.device.clone().autodiff())?;
        if let Some(path) = &training.start_from {
            let directory = RunDirectory::open(path)?;
            let loaded = load(&directory, CheckpointSelector::Best)?;
            info!("starting from the averaged weights of {} at step {}", path.display(), loaded.step);
            network = averaged_model(network.valid(), &loaded.files, 0)?.train();
        }
        Ok(TrainingState::new(training, network))
    }

    /// The localization curve of the run's data, which is kept in its directory.
    pub fn localization<'a>(&'a self, directory: &'a RunDirectory, go_on: &'a dyn Fn() -> bool) -> Localization<'a> {
        let (run, problem) = (&self.record, Some(&self.problem));
        Localization { run, directory: Some(directory), problem, go_on, quiet: self.quiet }
    }

    fn objective(&self, localization: &Localization) -> Result<DenoisingScoreMatching, Error> {
        let MethodConfig::DenoisingScoreMatching(method) = &self.record.config.method;
        Ok(DenoisingScoreMatching {
            source: self.problem.source.clone(),
            noise_levels: localization.noise_levels(&method.noise_levels)?,
            loss: method.loss,
            sigma_data: self.record.data.sigma_data,
            batch: self.record.config.training.batch,
            seed: self.record.config.seed,
        })
    }

    fn train(
        &self,
        state: &mut TrainingState<ScoreNetwork>,
        directory: &mut LockedRunDirectory,
    ) -> Result<Ending, Error> {
        let config = &self.record.config;
        if state.progress.step >= config.training.steps {
            return Ok(Ending::Finished);
        }
        let go_on = || !self.deadline.reached();
        let localization = self.localization(directory, &go_on);
        let objective = self.objective(&localization)?;
        let watch = Watch::new(self, &localization)?;
        let first_step = state.progress.step + 1;
        let open = || TensorBoard::open(directory.path(), first_step, SystemTime::now());
        let tensorboard = config.output.tensorboard.then(open).transpose()?;
        outputs::clear(directory)?;
        let mut observer = Observer {
            run: self,
            held_out: objective.held_out(&self.problem.held_out, HELD_OUT_COUNT),
            watch,
            progress: Progress::new(config.training.steps, state.progress.step, "training", self.quiet),
            tensorboard,
            elapsed_before: elapsed_before(directory)?,
            directory,
            started: Instant::now(),
            ending: Ending::Finished,
        };
        if state.progress.step == 0 {
            observer.checkpoint(state, None)?;
        }
        let prefetch = rayon::current_num_threads() > 1;
        let device = self.device.clone().autodiff();
        let trained = fit(&objective, &config.training, state, &device, prefetch, |state, report| {
            observer.after_step(state, report).map_err(|error| TrainingError::Observer(Box::new(error)))
        });
        let ending = observer.ending;
        observer.progress.finish();
        trained?;
        Ok(ending)
    }
}

/// Seconds that earlier processes spent on the steps that are kept.
fn elapsed_before(directory: &RunDirectory) -> Result<f64, Error> {
    let lines = directory.metrics()?;
    Ok(lines.last().and_then(|line| line.get("elapsed_seconds")?.as_f64()).unwrap_or(0.0))
}

/// What happens beside the updates: metrics, checkpoints, figures, and the decision to stop.
struct Observer<'a> {
    run: &'a TrainingRun,
    directory: &'a mut LockedRunDirectory,
    held_out: NoisedBatch,
    watch: Option<Watch>,
    progress: Progress,
    tensorboard: Option<TensorBoard>,
    started: Instant,
    elapsed_before: f64,
    ending: Ending,
}

impl Observer<'_> {
    fn after_step(&mut self, state: &mut TrainingState<ScoreNetwork>, report: StepReport) -> Result<Flow, Error> {
        let config = &self.run.record.config;
        let step = state.progress.step;
        let last = step == config.training.steps;
        let stop = self.run.deadline.reached() && !last;
        self.progress.update(step, &[("loss", report.loss)]);
        if step.is_multiple_of(config.output.log_every) || last {
            self.log(state, report)?;
        }
        self.watch(state, last)?;
        if step.is_multiple_of(config.output.checkpoint_every) || last {
            let held_out = self.judge(state)?;
            self.figure(state);
            self.checkpoint(state, Some(held_out))?;
        } else if stop {
            self.checkpoint(state, None)?;
        }
        if stop {
            self.ending = Ending::Interrupted;
            return Ok(Flow::Stop);
        }
        Ok(Flow::Continue)
    }

    /// One line of metrics: means since the line before.
    fn log(&mut self, state: &mut TrainingState<ScoreNetwork>, report: StepReport) -> Result<(), Error> {
        let progress = &mut state.progress;
        let n = progress.summed as f64;
        let scalars = [
            ("surrogate_loss", progress.loss_sum / n),
            ("gradient_norm", progress.gradient_norm_sum / n),
            ("learning_rate", report.learning_rate),
        ];
        (progress.loss_sum, progress.gradient_norm_sum, progress.summed) = (0.0, 0.0, 0);
        self.write_scalars(progress.step, &scalars)
    }

    /// The held-out loss of the first average, which decides the best checkpoint.
    fn judge(&mut self, state: &TrainingState<ScoreNetwork>) -> Result<f64, Error> {
        let network = state.emas[0].model();
        let loss = DenoisingScoreMatching::held_out_loss(network, &self.held_out, &self.run.device);
        self.write_scalars(state.progress.step, &[("held_out_surrogate_loss", loss)])?;
        Ok(loss)
    }

    /// The distances that the config asks for, of the first average.
    fn watch(&mut self, state: &TrainingState<ScoreNetwork>, last: bool) -> Result<(), Error> {
        let step = state.progress.step;
        let Some(watch) = self.watch.as_ref().filter(|watch| last || watch.looks(step)) else { return Ok(()) };
        let scalars = watch.look(state.emas[0].model(), self.run, step);
        if scalars.is_empty() { Ok(()) } else { self.write_scalars(step, &scalars) }
    }

    fn write_scalars(&mut self, step: u64, scalars: &[(&str, f64)]) -> Result<(), Error> {
        let elapsed = self.elapsed_before + self.started.elapsed().as_secs_f64();
        let mut line = json!({"step": step, "elapsed_seconds": (elapsed * 1e3).round() / 1e3});
        for (name, value) in scalars {
            line[*name] = json!(value);
        }
        if let Some(board) = &mut self.tensorboard {
            board.scalars(step, scalars, SystemTime::now())?;
        }
        Ok(self.directory.append_metrics(&line)?)
    }

    /// A picture of samples; one that fails must not cost a checkpoint.
    fn figure(&self, state: &TrainingState<ScoreNetwork>) {
        if !self.run.record.config.output.figures {
            return;
        }
        let step = state.progress.step;
        if let Err(error) = outputs::progress_figure(self.run, self.directory, state.emas[0].model(), step) {
            warn!("no figure at step {step}: {error}");
        }
    }

    fn checkpoint(&mut self, state: &TrainingState<ScoreNetwork>, held_out: Option<f64>) -> Result<(), Error> {
        let files = state.to_files();
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        let keep_last = self.run.record.config.output.keep_last;
        Ok(self.directory.write_checkpoint(state.progress.step, &files, held_out, keep_last)?)
    }
}
