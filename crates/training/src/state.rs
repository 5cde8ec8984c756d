//! All that a training run carries from step to step, and its form on disk.

use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;
use serde::{Deserialize, Serialize};

use crate::ema::Ema;
use crate::error::TrainingError;
use crate::fit::{FitConfig, StepReport};
use crate::method::Files;
use crate::optimizer::Optimizer;

/// A model in training with everything that the next step depends on.
#[derive(Clone)]
pub struct TrainingState<M> {
    /// The model, on an autodiff device.
    pub model: M,
    /// The update rule with its moments.
    pub optimizer: Optimizer,
    /// The moving averages, in the order of the config.
    pub emas: Vec<Ema<M>>,
    /// Step and running sums.
    pub progress: Progress,
}

/// The numbers of a training state.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The number of updates so far; also the cursor into the data, which is read in order.
    pub step: u64,
    /// The sum of the losses since the last line of metrics.
    pub loss_sum: f64,
    /// The sum of the gradient norms since the last line of metrics.
    pub gradient_norm_sum: f64,
    /// The number of updates in these sums.
    pub summed: u64,
    /// The loss of the last update.
    pub last_loss: Option<f64>,
}

impl Progress {
    /// Counts one more update.
    pub(crate) fn count(&mut self, report: &StepReport) {
        self.step += 1;
        self.last_loss = Some(report.loss);
        self.loss_sum += report.loss;
        self.gradient_norm_sum += report.gradient_norm;
        self.summed += 1;
    }

    /// The mean loss and gradient norm since they were last asked for; the sums begin anew.
    pub fn take_means(&mut self) -> (f64, f64) {
        let n = self.summed as f64;
        let means = (self.loss_sum / n, self.gradient_norm_sum / n);
        (self.loss_sum, self.gradient_norm_sum, self.summed) = (0.0, 0.0, 0);
        means
    }
}

const WEIGHTS: &str = "weights.bpk";
const FIRST_MOMENT: &str = "optimizer-first-moment.bpk";
const SECOND_MOMENT: &str = "optimizer-second-moment.bpk";
const PROGRESS: &str = "state.json";

/// The file of average number `index`.
fn ema_file(index: usize) -> String {
    format!("ema-{index}.bpk")
}

impl<M: Module> TrainingState<M> {
    /// The state before the first step. `model` lives on an autodiff device.
    pub fn new(config: &FitConfig, model: M) -> Self {
        Self {
            optimizer: Optimizer::new(config.optimizer),
            emas: config.ema.iter().map(|&ema| Ema::new(ema, &model)).collect(),
            progress: Progress::default(),
            model,
        }
    }

    /// The files of a checkpoint: name and content.
    pub fn to_files(&self) -> Files {
        let (first, second) = self.optimizer.moments(&self.model);
        let mut files = Files::from([
            (WEIGHTS.to_owned(), record(self.model.valid())),
            (FIRST_MOMENT.to_owned(), record(first)),
            (SECOND_MOMENT.to_owned(), record(second)),
            (PROGRESS.to_owned(), serde_json::to_vec_pretty(&self.progress).expect("finite numbers")),
        ]);
        files.extend(self.emas.iter().enumerate().map(|(index, ema)| (ema_file(index), record(ema.model().clone()))));
        files
    }

    /// The state that [`to_files`](Self::to_files) wrote; `template` is a model of the config, on an autodiff device.
    ///
    /// # Errors
    ///
    /// A missing file, and parameters that are not exactly those of the template.
    pub fn from_files(config: &FitConfig, template: M, files: &Files) -> Result<Self, TrainingError> {
        let plain = template.valid();
        let progress: Progress = serde_json::from_slice(content(files, PROGRESS)?)
            .map_err(|error| TrainingError::ForeignWeights { file: PROGRESS.into(), reason: error.to_string() })?;
        let first = load(plain.clone(), files, FIRST_MOMENT)?;
        let second = load(plain.clone(), files, SECOND_MOMENT)?;
        let mut emas = Vec::with_capacity(config.ema.len());
        for (index, &ema) in config.ema.iter().enumerate() {
            emas.push(Ema::resume(ema, load(plain.clone(), files, &ema_file(index))?));
        }
        Ok(Self {
            model: load(plain, files, WEIGHTS)?.train(),
            optimizer: Optimizer::resume(config.optimizer, progress.step, &first, &second),
            emas,
            progress,
        })
    }
}

/// The averaged model of a checkpoint (average number `index`), on the device of `template`.
///
/// # Errors
///
/// A missing file, and parameters that are not exactly those of the template.
pub fn averaged_model<M: Module>(template: M, files: &Files, index: usize) -> Result<M, TrainingError> {
    load(template, files, &ema_file(index))
}

fn record<M: Module>(model: M) -> Vec<u8> {
    model.into_record().into_bytes().expect("a record in memory").to_vec()
}

fn content<'a>(files: &'a Files, file: &str) -> Result<&'a [u8], TrainingError> {
    files.get(file).map(Vec::as_slice).ok_or_else(|| TrainingError::MissingFile { file: file.into() })
}

fn load<M: Module>(template: M, files: &Files, file: &str) -> Result<M, TrainingError> {
    let bytes = Bytes::from_bytes_vec(content(files, file)?.to_vec());
    ModuleRecord::from_bytes(bytes)
        .and_then(|record| template.try_load_record(record))
        .map_err(|error| TrainingError::ForeignWeights { file: file.into(), reason: error.to_string() })
}
