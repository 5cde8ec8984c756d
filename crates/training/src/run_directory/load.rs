//! Which checkpoint is used when the one that was asked for is damaged.

use super::{
    BEST, CheckpointDamage, CheckpointSelector, Crc32, LATEST, LoadedCheckpoint, RunDirectory, RunDirectoryError,
    atomic,
    checkpoint::{Pointer, name},
    manifest::{self, Verified},
};

impl RunDirectory {
    /// A checkpoint, every byte of it checked.
    ///
    /// Where the latest is damaged, the one before it is given, and so on; where the best is
    /// damaged or there is none yet, the latest sound one. The warnings say so.
    ///
    /// # Errors
    /// [`RunDirectoryError::NoCheckpoint`] where nothing is sound, [`RunDirectoryError::Step`]
    /// where a step was asked for that is missing or damaged.
    pub fn load(&self, selector: CheckpointSelector) -> Result<LoadedCheckpoint, RunDirectoryError> {
        let look = || {
            let pointers = [LATEST, BEST].map(|file| Pointer::read(&self.path, file));
            Ok::<_, RunDirectoryError>((self.steps()?, pointers))
        };
        let mut seen = look()?;
        loop {
            let loaded = match selector {
                CheckpointSelector::Best => self.load_best(),
                CheckpointSelector::Latest => self.load_latest(),
                CheckpointSelector::Step(step) => self.load_step(step),
            };
            if matches!(&loaded, Ok(checkpoint) if checkpoint.warnings.is_empty()) {
                return loaded;
            }
            // What looks damaged may have been removed by a run that goes on: look again if it moved.
            let now = look()?;
            if now == seen {
                return loaded;
            }
            seen = now;
        }
    }

    pub(super) fn verify(&self, step: u64) -> Result<Verified, CheckpointDamage> {
        let path = self.path.join(name(step));
        if !path.is_dir() {
            return Err(CheckpointDamage::Missing { file: name(step) });
        }
        manifest::verify(&path, &self.run, step)
    }

    fn manifest_crc32(&self, step: u64) -> Option<Crc32> {
        let path = self.path.join(name(step)).join(manifest::FILE);
        atomic::read(&path).ok().map(|bytes| Crc32::of(&bytes))
    }

    fn load_step(&self, step: u64) -> Result<LoadedCheckpoint, RunDirectoryError> {
        match self.verify(step) {
            Ok(verified) => Ok(LoadedCheckpoint::new(verified, Vec::new())),
            Err(damage) => {
                let available = self.steps()?.into_iter().filter(|&other| other != step).collect();
                Err(RunDirectoryError::Step { path: self.path.clone(), step, damage, available })
            }
        }
    }

    pub(super) fn load_latest(&self) -> Result<LoadedCheckpoint, RunDirectoryError> {
        let steps = self.steps()?;
        let pointer = Pointer::read(&self.path, LATEST);
        let mut reasons = Vec::new();
        match pointer {
            Some(Some(Pointer { step, .. })) if !steps.contains(&step) => {
                reasons.push(format!("{} is missing, and `{LATEST}` names it", name(step)));
            }
            Some(None) => reasons.push(format!("`{LATEST}` is damaged")),
            None if !steps.is_empty() => reasons.push(format!("`{LATEST}` is missing")),
            _ => {}
        }
        for &step in steps.iter().rev() {
            match self.verify(step) {
                Ok(verified) => {
                    if matches!(pointer, Some(Some(p)) if p.step <= step && self.manifest_crc32(p.step) != Some(p.crc32))
                    {
                        reasons.push(format!("`{LATEST}` does not fit the manifest it names"));
                    }
                    let fallback =
                        (!reasons.is_empty()).then(|| format!("{}: {} is used", reasons.join("; "), name(step)));
                    return Ok(LoadedCheckpoint::new(verified, fallback.into_iter().collect()));
                }
                Err(damage) => reasons.push(format!("{} is unusable: {damage}", name(step))),
            }
        }
        if reasons.is_empty() {
            reasons.push("there is none".into());
        }
        Err(RunDirectoryError::NoCheckpoint { path: self.path.clone(), reasons })
    }

    fn load_best(&self) -> Result<LoadedCheckpoint, RunDirectoryError> {
        let mut reasons = Vec::new();
        match Pointer::read(&self.path, BEST) {
            Some(Some(pointer)) => match self.verify(pointer.step) {
                Ok(verified) if verified.crc32 == pointer.crc32 => {
                    return Ok(LoadedCheckpoint::new(verified, Vec::new()));
                }
                Ok(_) => reasons.push(format!("`{BEST}` does not fit the manifest it names")),
                Err(damage) => {
                    reasons.push(format!("the best, {}, is unusable: {damage}", name(pointer.step)));
                }
            },
            Some(None) => reasons.push(format!("`{BEST}` is damaged")),
            None => {}
        }
        // The manifests know it too.
        let mut latest = self.load_latest()?;
        let recorded = latest.best.map(|best| (best.step, self.verify(best.step)));
        let chosen = match recorded {
            Some((_, Ok(verified))) => {
                if reasons.is_empty() {
                    reasons.push(format!("`{BEST}` is missing"));
                }
                LoadedCheckpoint::new(verified, Vec::new())
            }
            Some((step, Err(damage))) => {
                if reasons.is_empty() {
                    reasons.push(format!("the best, {}, is unusable: {damage}", name(step)));
                }
                reasons.append(&mut latest.warnings);
                latest
            }
            None => {
                if reasons.is_empty() {
                    reasons.push("no checkpoint has been judged yet, so none is the best".into());
                }
                reasons.append(&mut latest.warnings);
                latest
            }
        };
        let warning = format!("{}: {} is used", reasons.join("; "), name(chosen.step));
        Ok(LoadedCheckpoint { warnings: [vec![warning], chosen.warnings].concat(), ..chosen })
    }
}
