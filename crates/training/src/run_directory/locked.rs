//! A run directory in the hands of the one process that writes checkpoints in it.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    BEST, Best, CONFIG, Crc32, LATEST, LoadedCheckpoint, RunDirectory, RunDirectoryError, atomic,
    checkpoint::{self, Pointer},
    lock::Lock,
    manifest::{self, Manifest},
    metrics_log::{self, MetricsLog},
    record::RunRecord,
};

/// A run directory that this process alone may write checkpoints and metrics to; it reads as a
/// [`RunDirectory`]. The lock goes with the value, or with the process, however it ends.
#[derive(Debug)]
pub struct LockedRunDirectory {
    directory: RunDirectory,
    _lock: Lock,
    metrics: Option<MetricsLog>,
    best: Option<Best>,
    /// Whether writing would continue what is stored: the run is new, or was resumed.
    continues: bool,
}

impl Deref for LockedRunDirectory {
    type Target = RunDirectory;

    fn deref(&self) -> &RunDirectory {
        &self.directory
    }
}

impl LockedRunDirectory {
    /// Stores the config in an empty directory; the config comes last and makes the run exist.
    pub(super) fn begin(path: &Path, config_json: &str, lock: Lock) -> Result<Self, RunDirectoryError> {
        let record = RunRecord::new(config_json);
        record.write(path)?;
        atomic::write_atomically(&path.join(CONFIG), config_json.as_bytes())?;
        let directory = RunDirectory { path: path.into(), run: record.run };
        Ok(Self { directory, _lock: lock, metrics: None, best: None, continues: true })
    }

    /// Takes over a directory that holds a run.
    pub(super) fn go_on(directory: RunDirectory, lock: Lock) -> Result<Self, RunDirectoryError> {
        checkpoint::sweep(directory.path())?;
        Ok(Self { directory, _lock: lock, metrics: None, best: None, continues: false })
    }

    /// Goes on from the latest sound checkpoint: gives it, and puts the directory in the state in
    /// which it was written. metrics.jsonl is cut there, later checkpoints (damaged, or they would
    /// have been given) get the ending `.aside`, `latest` and `best` are set.
    ///
    /// `None` where no step was ever stored, so that the run starts at its beginning.
    ///
    /// # Errors
    /// [`RunDirectoryError::NoCheckpoint`] where something was stored and nothing is sound; what a
    /// write can meet.
    pub fn resume(&mut self) -> Result<Option<LoadedCheckpoint>, RunDirectoryError> {
        let path = self.path().to_path_buf();
        self.metrics = None;
        if self.is_unstarted()? {
            // The step before the first checkpoint is taken again, with its lines.
            metrics_log::cut(&path, None)?;
            self.best = None;
            self.continues = true;
            return Ok(None);
        }
        let mut loaded = self.load_latest()?;
        for step in self.steps()?.into_iter().filter(|&step| step > loaded.step) {
            checkpoint::set_aside(&path, step)?;
        }
        match metrics_log::cut(&path, Some(loaded.step))? {
            0 => {}
            1 => loaded.warnings.push(format!("`{}` has a damaged line; it stays in it", metrics_log::FILE)),
            damaged => {
                loaded.warnings.push(format!("`{}` has {damaged} damaged lines; they stay in it", metrics_log::FILE))
            }
        }
        if loaded.step > 0 && !path.join(metrics_log::FILE).exists() {
            loaded.warnings.push(format!(
                "`{}` is missing, and begins anew at step {}",
                metrics_log::FILE,
                loaded.step
            ));
        }
        match loaded.best.map(|best| (best.step, self.verify(best.step))) {
            Some((step, Ok(_))) => self.point(BEST, step)?,
            Some((step, Err(damage))) => {
                loaded.warnings.push(format!(
                    "the best, {}, is unusable: {damage}; the latest stands in for it",
                    checkpoint::name(step)
                ));
                // What points at it stays, so that whoever opens the best is told.
                if Pointer::read(&path, BEST).flatten().is_none_or(|pointer| pointer.step != step) {
                    atomic::remove(&path.join(BEST))?;
                }
            }
            None => atomic::remove(&path.join(BEST))?,
        }
        self.point(LATEST, loaded.step)?;
        self.best = loaded.best;
        self.continues = true;
        Ok(Some(loaded))
    }

    /// Stores a checkpoint, and keeps the last `keep_last` (at least one) and the best.
    ///
    /// `value` is what the checkpoint is judged by, lower is better (a number that is not finite
    /// counts as none): the lowest becomes `best`, of equal ones the earliest. Every line of
    /// metrics.jsonl that belongs to this step or an earlier one must have been appended before; all of
    /// them are on the disk when the checkpoint is. A sound checkpoint of the same step with the same
    /// files stays.
    ///
    /// When this returns an error, the checkpoints that were there still are, and the call may be
    /// repeated.
    ///
    /// # Errors
    /// [`RunDirectoryError::Refused`] before [`LockedRunDirectory::resume`], for a step before the
    /// latest one or a file name that is no plain name; what a write can meet.
    pub fn write_checkpoint(
        &mut self,
        step: u64,
        files: &[(&str, &[u8])],
        value: Option<f64>,
        keep_last: usize,
    ) -> Result<(), RunDirectoryError> {
        self.check_request(step, files)?;
        let path = self.path().to_path_buf();
        // The log is there from the first checkpoint on, so that one which is missing later was lost.
        if self.metrics.is_none() {
            self.metrics = Some(MetricsLog::open(self.path())?);
        }
        if let Some(metrics) = &self.metrics {
            metrics.sync()?;
            // The log's name must last as long as the checkpoint that relies on its lines.
            atomic::sync_directory(&path)?;
        }
        let value = value.filter(|value| value.is_finite());
        let place = path.join(checkpoint::name(step));
        let existing = place.exists().then(|| self.verify(step));
        let known = match &existing {
            Some(Ok(verified)) => verified.manifest.value,
            _ => None,
        };
        let value = value.or(known);
        let best = match (self.best, value) {
            // Of equals the later one: it knows all that the earlier one knows, and how the training ended.
            (Some(best), Some(value)) if value <= best.value => Some(Best { step, value }),
            (None, Some(value)) => Some(Best { step, value }),
            (best, _) => best,
        };
        let manifest = Manifest::new(&self.run, step, value, best, files);
        match existing {
            Some(Ok(verified)) if verified.manifest.says_the_same_as(&manifest) => {}
            Some(Ok(_)) => self.replace(step, files, &manifest)?,
            Some(Err(damage)) => {
                tracing::warn!("{} is set aside: {damage}", checkpoint::name(step));
                self.build(step, files, &manifest)?;
                checkpoint::set_aside(&path, step)?;
                self.put_in_place(step)?;
            }
            None => {
                self.build(step, files, &manifest)?;
                self.put_in_place(step)?;
            }
        }
        if best.is_some_and(|best| best.step == step) {
            self.point(BEST, step)?;
        }
        self.point(LATEST, step)?;
        self.best = best;
        self.retire(step, keep_last);
        Ok(())
    }

    /// Appends one line to metrics.jsonl: an object with a whole number `step`. It is visible to
    /// readers at once and on the disk by the next checkpoint.
    ///
    /// # Errors
    /// [`RunDirectoryError::Refused`] for a line without a step; what a write can meet, and then the
    /// log is as it was.
    pub fn append_metrics(&mut self, line: &impl Serialize) -> Result<(), RunDirectoryError> {
        let log = match self.metrics.take() {
            Some(log) => log,
            None => MetricsLog::open(self.path())?,
        };
        self.metrics.insert(log).append(line)
    }

    /// Replaces config.json; the run stays the same run. A kill leaves the old config or the new one.
    ///
    /// # Errors
    /// What a write can meet.
    pub fn replace_config(&mut self, config_json: &str) -> Result<(), RunDirectoryError> {
        let old = self.config()?;
        if old == config_json {
            return Ok(());
        }
        let path = self.path();
        let new = Crc32::of(config_json.as_bytes());
        let mut record = RunRecord::read(path)?;
        record.config_crc32 = vec![Crc32::of(old.as_bytes()), new];
        record.write(path)?;
        atomic::write_atomically(&path.join(CONFIG), config_json.as_bytes())?;
        record.config_crc32 = vec![new];
        record.write(path)
    }

    /// No checkpoint is there, and nothing says that one ever was.
    fn is_unstarted(&self) -> Result<bool, RunDirectoryError> {
        let traces = checkpoint::entries(self.path())?.iter().any(|entry| {
            let entry = entry.strip_suffix(checkpoint::ASIDE).unwrap_or(entry);
            entry == LATEST || entry == BEST || checkpoint::step_of(entry).is_some()
        });
        let trained = |line: &serde_json::Map<_, serde_json::Value>| line.get("step").is_some_and(|step| step != 0);
        Ok(!traces && !self.metrics()?.iter().any(trained))
    }

    fn check_request(&self, step: u64, files: &[(&str, &[u8])]) -> Result<(), RunDirectoryError> {
        let refuse = |path: PathBuf, reason: String| Err(RunDirectoryError::Refused { path, reason });
        if !self.continues {
            let reason = "the run was opened but not resumed: what is stored would be overwritten. Resume it first";
            return refuse(self.path().into(), reason.into());
        }
        if let Some(&latest) = self.steps()?.last().filter(|&&latest| latest > step) {
            let reason = format!("step {latest} has a checkpoint, so one at the earlier step {step} cannot be written");
            return refuse(self.path().into(), reason);
        }
        let place = self.path().join(checkpoint::name(step));
        for (index, (name, _)) in files.iter().enumerate() {
            if !manifest::is_plain_name(name) {
                return refuse(place, format!("{name:?} cannot be the name of a checkpoint's file"));
            }
            if files[..index].iter().any(|(other, _)| other == name) {
                return refuse(place, format!("the file {name:?} is given twice"));
            }
        }
        Ok(())
    }

    /// Writes the whole checkpoint under its temporary name, down to the disk.
    fn build(&self, step: u64, files: &[(&str, &[u8])], manifest: &Manifest) -> Result<(), RunDirectoryError> {
        let scratch = checkpoint::scratch(self.path(), step);
        let write = || -> Result<(), RunDirectoryError> {
            atomic::remove(&scratch)?;
            atomic::create_directory(&scratch)?;
            for (name, bytes) in files {
                atomic::write_synced(&scratch.join(name), bytes)?;
            }
            let path = scratch.join(manifest::FILE);
            let text = manifest.seal().map_err(|error| RunDirectoryError::write("write", &path, error.into()))?;
            atomic::write_synced(&path, &text)?;
            atomic::sync_directory(&scratch)
        };
        let written = write();
        if written.is_err() {
            // Gives a full disk its space back; what cannot be removed now is swept later.
            let _ = atomic::remove(&scratch);
        }
        written
    }

    fn put_in_place(&self, step: u64) -> Result<(), RunDirectoryError> {
        let path = self.path();
        atomic::rename(&checkpoint::scratch(path, step), &path.join(checkpoint::name(step)))?;
        atomic::sync_directory(path)
    }

    /// Puts a checkpoint in the place of a sound one, which waits under another name until then.
    fn replace(&self, step: u64, files: &[(&str, &[u8])], manifest: &Manifest) -> Result<(), RunDirectoryError> {
        let place = self.path().join(checkpoint::name(step));
        let waiting = checkpoint::replaced(self.path(), step);
        self.build(step, files, manifest)?;
        atomic::remove(&waiting)?;
        atomic::rename(&place, &waiting)?;
        if let Err(error) = self.put_in_place(step) {
            if !place.exists() {
                // Where even this fails, the next process that takes the lock does it.
                let _ = atomic::rename(&waiting, &place);
            }
            return Err(error);
        }
        atomic::remove(&waiting)
    }

    /// Points at a checkpoint that was just verified or written.
    fn point(&self, file: &str, step: u64) -> Result<(), RunDirectoryError> {
        let manifest = self.path().join(checkpoint::name(step)).join(manifest::FILE);
        let bytes = atomic::read(&manifest).map_err(|error| RunDirectoryError::read(&manifest, error))?;
        Pointer { step, crc32: Crc32::of(&bytes) }.write(self.path(), file)
    }

    /// Removes the checkpoints that are neither among the last, this step's, nor the best: every new checkpoint does it, and a
    /// process that was killed between the two leaves it to the next one.
    ///
    /// One that cannot be removed (a reader may hold it open) is tried again at the next checkpoint.
    pub fn retire(&self, step: u64, keep_last: usize) {
        let Ok(steps) = self.steps() else { return };
        let old = steps.iter().rev().skip(keep_last.max(1)).copied();
        for old in old.filter(|&old| old != step && self.best.is_none_or(|best| best.step != old)) {
            if let Err(error) = checkpoint::remove(self.path(), old) {
                tracing::warn!("{} could not be removed: {error}", checkpoint::name(old));
            }
        }
    }
}
