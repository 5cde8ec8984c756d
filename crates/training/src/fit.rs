//! The training loop.

use std::ops::Range;
use std::sync::mpsc::sync_channel;

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};

use crate::ema::EmaConfig;
use crate::error::TrainingError;
use crate::gradients::{SquaredNorm, clip_factor, squared_norm};
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

/// Minimises `objective` from where `state` stands to `config.steps`, and calls `observe` after every update.
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
    let steps = state.progress.step..config.steps;
    with_batches(objective, steps.clone(), prefetch, |next_batch| {
        for step in steps {
            let batch = next_batch(step);
            let report = on_a_worker(device, || update(objective, config, state, &batch, step, device))?;

            if observe(state, report)? == Flow::Stop {
                break;
            }
        }
        Ok(())
    })
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
    step: u64,
    device: &Device,
) -> Result<StepReport, TrainingError> {
    let (loss, gradients) = loss_and_gradients(objective, config, &state.model, batch, device);
    let (loss, gradient_norm) = read_back(loss, squared_norm(&state.model, &gradients));
    check_finite(step, loss, gradient_norm, state.progress.last_loss)?;

    let learning_rate = config.learning_rate.at(step, config.steps);
    let scale = clip_factor(gradient_norm, config.clip_norm);
    state.model = state.optimizer.step(learning_rate, state.model.clone(), gradients, scale);
    for ema in &mut state.emas {
        ema.update(&state.model, step + 1);
    }

    state.progress.step = step + 1;
    state.progress.last_loss = Some(loss);
    state.progress.loss_sum += loss;
    state.progress.gradient_norm_sum += gradient_norm;
    state.progress.summed += 1;
    Ok(StepReport { loss, gradient_norm, learning_rate })
}

/// Gives `body` a source of batches: a thread that works ahead, or the calling thread itself.
fn with_batches<M: Module, O: Objective<M>, R>(
    objective: &O,
    steps: Range<u64>,
    prefetch: bool,
    body: impl FnOnce(&mut dyn FnMut(u64) -> O::Batch) -> R,
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
    let both = match squared_norm.device {
        Some(norm) => Tensor::cat(vec![loss, norm], 0),
        None => loss,
    };
    let values: Vec<f64> = both.into_data().convert::<f64>().try_to_vec().expect("f64 after conversion");
    (values[0], (squared_norm.host + values.get(1).copied().unwrap_or(0.0)).sqrt())
}

fn check_finite(step: u64, loss: f64, norm: f64, last_finite: Option<f64>) -> Result<(), TrainingError> {
    for (what, value) in [("loss", loss), ("gradient norm", norm)] {
        if !value.is_finite() {
            return Err(TrainingError::Diverged { what, value, step, last_finite });
        }
    }
    Ok(())
}
