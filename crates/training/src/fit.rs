//! The training loop.

use std::ops::Range;
use std::sync::mpsc::sync_channel;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};

use crate::ema::EmaConfig;
use crate::error::TrainingError;
use crate::gradients::{Scale, SquaredNorm, clip_factor, clip_factor_on_device, squared_norm};
use crate::learning_rate::LearningRate;
use crate::optimizer::OptimizerConfig;
use crate::state::TrainingState;

/// How an objective is minimised: by so many updates, at which rate, and what is averaged.
///
/// A method that fits more than once has a configuration and a [`TrainingState`] for each fit.
#[derive(Debug, Clone, PartialEq)]
pub struct FitConfig {
    /// The number of optimiser updates.
    pub steps: u64,
    /// The number of points in one pass of the model, a divisor of the batch; none: the whole batch at once.
    pub micro_batch: Option<usize>,
    /// The update rule.
    pub optimizer: OptimizerConfig,
    /// The learning rate at every step.
    pub learning_rate: LearningRate,
    /// The largest global gradient norm; none: no limit.
    pub clip_norm: Option<f64>,
    /// Moving averages of the parameters.
    pub ema: Vec<EmaConfig>,
    /// After how many steps losses and norms are read back from the device, at most; 1 where it is the CPU.
    ///
    /// Whoever observes is told of the last of the steps that are read together.
    pub read_every: u64,
}

impl FitConfig {
    /// So many updates of AdamW over whole batches, all at one rate.
    pub fn at_a_constant_rate(steps: u64, rate: f64) -> Self {
        Self {
            steps,
            micro_batch: None,
            optimizer: OptimizerConfig::default(),
            learning_rate: LearningRate::Constant { rate, warmup: 0 },
            clip_norm: None,
            ema: Vec::new(),
            read_every: 1,
        }
    }
}

/// What is minimised: batches that depend on the step alone, and a loss on them.
pub trait Objective<M: Module>: Sync {
    /// What one update sees, on the host.
    type Batch: Send + Sync;

    /// A function from the step to its batch; called with rising steps.
    fn batches(&self) -> Box<dyn FnMut(u64) -> Self::Batch + Send + '_>;

    /// The number of points in a batch.
    fn len(&self, batch: &Self::Batch) -> usize;

    /// The mean loss over some rows of a batch, a tensor of one element.
    fn loss_at(&self, model: &M, batch: &Self::Batch, rows: Range<usize>, device: &Device) -> Tensor<1>;
}

/// What one update did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// The loss before the update.
    pub loss: f64,
    /// The global norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// The learning rate.
    pub learning_rate: f64,
}

/// Whether the loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on with the next step.
    Continue,
    /// Leave the loop after this step.
    Stop,
}

/// The number of batches that are made ahead of the step that uses them.
const AHEAD: usize = 2;

/// Minimises `objective` from where `state` stands to `config.steps`, and calls `observe` after every update that is read back.
///
/// # Design
///
/// A device that computes beside the host waits for it where a loss is read, so several updates are sent before their losses
/// are read together. What belongs to a loss that is not finite must not be kept: the updates are then taken back and made one
/// by one, up to the one that fails. Results do not depend on how many are sent at once, but for the rounding of the factor that
/// clips.
///
/// Batches are made ahead on a thread of their own where `prefetch` is set; results do not depend on it.
///
/// # Errors
///
/// A loss or gradient that is not finite (the update is not applied), and what `observe` returns.
pub fn fit<M: Module, O: Objective<M>>(
    objective: &O,
    config: &FitConfig,
    state: &mut TrainingState<M>,
    device: &Device,
    prefetch: bool,
    mut observe: impl FnMut(&mut TrainingState<M>, StepReport) -> Result<Flow, TrainingError>,
) -> Result<(), TrainingError> {
    let start = state.progress.step;
    with_batches(objective, start..config.steps, prefetch, |next_batch| {
        while state.progress.step < config.steps {
            let report = on_a_worker(device, || several(objective, config, state, next_batch, device))?;

            if observe(state, report)? == Flow::Stop {
                break;
            }
        }
        Ok(())
    })
}

/// The updates up to the next multiple of `config.read_every`, or an error and the state before the one that failed.
fn several<M: Module, O: Objective<M>>(
    objective: &O,
    config: &FitConfig,
    state: &mut TrainingState<M>,
    next_batch: &mut NextBatch<O::Batch>,
    device: &Device,
) -> Result<StepReport, TrainingError> {
    let start = state.progress.step;
    let end = (start + 1).next_multiple_of(config.read_every).min(config.steps);
    if end == start + 1 {
        return update(objective, config, state, &next_batch(start), device);
    }
    let before = state.clone();
    let sent: Vec<Tensor<1>> =
        (start..end).map(|step| send(objective, config, state, &next_batch(step), step, device)).collect();
    let read = numbers(Tensor::cat(sent, 0));
    let reports = read.as_chunks().0.iter().zip(start..end).map(|(&[loss, squared_norm], step)| StepReport {
        loss,
        gradient_norm: squared_norm.sqrt(),
        learning_rate: config.learning_rate.at(step, config.steps),
    });
    let reports: Vec<StepReport> = reports.collect();
    if reports.iter().all(|report| check_finite(0, report, None).is_ok()) {
        reports.iter().for_each(|report| state.progress.count(report));
        return Ok(reports[reports.len() - 1]);
    }
    *state = before;
    let mut again = objective.batches();
    let mut last = reports[0];
    for step in start..end {
        last = update(objective, config, state, &again(step), device)?;
    }
    Ok(last)
}

/// Does the work of one step within the thread pool where the device is the CPU: its many small parallel loops then
/// find a worker that calls them, and need not wake one each.
fn on_a_worker<T: Send>(device: &Device, work: impl FnOnce() -> T + Send) -> T {
    if device.clone().inner() == Device::flex() { rayon::scope(|_| work()) } else { work() }
}

/// One update, or an error and the state as it was.
fn update<M: Module, O: Objective<M>>(
    objective: &O,
    config: &FitConfig,
    state: &mut TrainingState<M>,
    batch: &O::Batch,
    device: &Device,
) -> Result<StepReport, TrainingError> {
    let step = state.progress.step;
    let (loss, gradients) = loss_and_gradients(objective, config, &state.model, batch, device);
    let (loss, gradient_norm) = read_back(loss, squared_norm(&state.model, &gradients));
    let report = StepReport { loss, gradient_norm, learning_rate: config.learning_rate.at(step, config.steps) };
    check_finite(step, &report, state.progress.last_loss)?;

    apply(state, gradients, report.learning_rate, Scale::Number(clip_factor(gradient_norm, config.clip_norm)), step);
    state.progress.count(&report);
    Ok(report)
}

/// One update of which nothing is read back: its loss and the square of its gradient norm, a tensor of two elements on the device.
fn send<M: Module, O: Objective<M>>(
    objective: &O,
    config: &FitConfig,
    state: &mut TrainingState<M>,
    batch: &O::Batch,
    step: u64,
    device: &Device,
) -> Tensor<1> {
    let (loss, gradients) = loss_and_gradients(objective, config, &state.model, batch, device);
    let norm = squared_norm(&state.model, &gradients).on_the_device_of(&loss);
    let scale = match config.clip_norm {
        Some(limit) => Scale::Tensor(Box::new(clip_factor_on_device(norm.clone(), limit))),
        None => Scale::Number(1.0),
    };
    apply(state, gradients, config.learning_rate.at(step, config.steps), scale, step);
    Tensor::cat(vec![loss, norm], 0)
}

/// Moves the model and its averages.
fn apply<M: Module>(
    state: &mut TrainingState<M>,
    gradients: GradientsParams,
    learning_rate: f64,
    scale: Scale,
    step: u64,
) {
    state.model = state.optimizer.step(learning_rate, state.model.clone(), gradients, scale);
    for ema in &mut state.emas {
        ema.update(&state.model, step + 1);
    }
}

/// The batch of a step.
type NextBatch<'a, B> = dyn FnMut(u64) -> B + Send + 'a;

/// Gives `body` a source of batches: a thread that works ahead, or the calling thread itself.
fn with_batches<M: Module, O: Objective<M>, R>(
    objective: &O,
    steps: Range<u64>,
    prefetch: bool,
    body: impl FnOnce(&mut NextBatch<O::Batch>) -> R,
) -> R {
    let mut make = objective.batches();
    if !prefetch {
        return body(&mut make);
    }
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(AHEAD);
        scope.spawn(move || {
            for step in steps {
                if sender.send(make(step)).is_err() {
                    break;
                }
            }
        });
        body(&mut move |_| receiver.recv().expect("the producer makes one batch a step"))
    })
}

/// The mean loss of a batch and its gradient, accumulated over micro-batches of equal size.
fn loss_and_gradients<M: Module, O: Objective<M>>(
    objective: &O,
    config: &FitConfig,
    model: &M,
    batch: &O::Batch,
    device: &Device,
) -> (Tensor<1>, GradientsParams) {
    let n = objective.len(batch);
    let micro = config.micro_batch.unwrap_or(n).min(n);
    let mut accumulator = GradientsAccumulator::new();
    let mut total: Option<Tensor<1>> = None;
    for start in (0..n).step_by(micro) {
        let rows = start..(start + micro).min(n);
        let share = rows.len() as f64 / n as f64;
        let loss = objective.loss_at(model, batch, rows, device);
        let loss = if share == 1.0 { loss } else { loss * share };
        total = Some(match total {
            Some(sum) => sum + loss.clone().inner(),
            None => loss.clone().inner(),
        });
        accumulator.accumulate(model, GradientsParams::from_grads(loss.backward(), model));
    }
    (total.expect("a batch holds at least one point"), accumulator.grads())
}

/// Loss and gradient norm, in one transfer from the device.
fn read_back(loss: Tensor<1>, squared_norm: SquaredNorm) -> (f64, f64) {
    let values = numbers(match squared_norm.device {
        Some(norm) => Tensor::cat(vec![loss, norm], 0),
        None => loss,
    });
    (values[0], (squared_norm.host + values.get(1).copied().unwrap_or(0.0)).sqrt())
}

fn numbers(tensor: Tensor<1>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_to_vec().expect("f64 after conversion")
}

fn check_finite(step: u64, report: &StepReport, last_finite: Option<f64>) -> Result<(), TrainingError> {
    for (what, value) in [("loss", report.loss), ("gradient norm", report.gradient_norm)] {
        if !value.is_finite() {
            return Err(TrainingError::Diverged { what, value, step, last_finite });
        }
    }
    Ok(())
}
