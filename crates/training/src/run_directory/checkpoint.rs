//! Checkpoints by name: `checkpoint-00005000/`, and the one-line files `latest` and `best`.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{atomic, crc32::Crc32, error::RunDirectoryError, manifest::Best, manifest::Verified};

const PREFIX: &str = "checkpoint-";

/// How the name of a checkpoint ends that was set aside: damaged, or newer than where a run went on.
pub(super) const ASIDE: &str = ".aside";

/// Which checkpoint of a run: `best`, `latest` or a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckpointSelector {
    /// The one of the lowest value (held-out loss).
    #[default]
    Best,
    /// The newest.
    Latest,
    /// The one at this step.
    Step(u64),
}

impl FromStr for CheckpointSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "best" => Ok(Self::Best),
            "latest" => Ok(Self::Latest),
            _ => text.parse().map(Self::Step).map_err(|_| format!("{text:?} is not `best`, `latest` or a step")),
        }
    }
}

impl fmt::Display for CheckpointSelector {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Best => f.write_str("best"),
            Self::Latest => f.write_str("latest"),
            Self::Step(step) => write!(f, "{step}"),
        }
    }
}

/// A checkpoint whose every byte was checked against its manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedCheckpoint {
    /// The step it was written at.
    pub step: u64,
    /// The value it was judged by.
    pub value: Option<f64>,
    /// The best checkpoint as of its step.
    pub best: Option<Best>,
    /// Its files by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What a person should hear: damage that was passed over, and what was used instead.
    pub warnings: Vec<String>,
}

impl LoadedCheckpoint {
    /// Logs what it was given with.
    pub fn say_warnings(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }

    pub(super) fn new(verified: Verified, mut warnings: Vec<String>) -> Self {
        let step = verified.manifest.step;
        if !verified.strangers.is_empty() {
            warnings.push(format!(
                "{} holds files that its manifest does not list; they are ignored: {}",
                name(step),
                verified.strangers.join(", ")
            ));
        }
        Self { step, value: verified.manifest.value, best: verified.manifest.best, files: verified.files, warnings }
    }
}

/// The directory name of a step.
pub(super) fn name(step: u64) -> String {
    format!("{PREFIX}{step:08}")
}

/// The step of a directory name, if it is one that [`name`] gives.
pub(super) fn step_of(entry: &str) -> Option<u64> {
    let step = entry.strip_prefix(PREFIX)?.parse().ok()?;
    (name(step) == entry).then_some(step)
}

/// The names in a run directory, sorted.
pub(super) fn entries(run: &Path) -> Result<Vec<String>, RunDirectoryError> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(run)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    };
    list().map_err(|error| RunDirectoryError::read(run, error))
}

/// The steps that have a checkpoint, ascending, whether it is sound or not.
pub(super) fn steps(run: &Path) -> Result<Vec<u64>, RunDirectoryError> {
    let mut steps: Vec<u64> = entries(run)?.iter().filter_map(|entry| step_of(entry)).collect();
    steps.sort_unstable();
    Ok(steps)
}

/// The content of `latest` or `best`: `STEP CRC32`, of that step's manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) step: u64,
    pub(super) crc32: Crc32,
}

impl Pointer {
    /// `None` where the file is not there, `Some(None)` where it is not readable as a pointer.
    pub(super) fn read(run: &Path, file: &str) -> Option<Option<Self>> {
        match atomic::read(&run.join(file)) {
            Ok(bytes) => Some(Self::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => Some(None),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(bytes).ok()?;
        let (step, crc32) = line.strip_suffix('\n')?.split_once(' ')?;
        let pointer = Self { step: step.parse().ok()?, crc32: crc32.parse().ok()? };
        (pointer.to_string() == line).then_some(pointer)
    }

    /// Writes the pointer unless it is there already.
    pub(super) fn write(self, run: &Path, file: &str) -> Result<(), RunDirectoryError> {
        if Self::read(run, file) == Some(Some(self)) {
            return Ok(());
        }
        atomic::write_atomically(&run.join(file), self.to_string().as_bytes())
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{} {}", self.step, self.crc32)
    }
}

/// Where a checkpoint of this step is built.
pub(super) fn scratch(run: &Path, step: u64) -> PathBuf {
    run.join(format!("{}{}", atomic::TEMPORARY, name(step)))
}

/// Where a sound checkpoint waits while another of its step takes its place.
pub(super) fn replaced(run: &Path, step: u64) -> PathBuf {
    run.join(format!("{}replaced-{}", atomic::TEMPORARY, name(step)))
}

/// Takes back what a writer left in the middle: a replacement is undone, the rest removed.
pub(super) fn sweep(run: &Path) -> Result<(), RunDirectoryError> {
    for entry in entries(run)?.iter().filter(|entry| entry.starts_with(atomic::TEMPORARY)) {
        let path = run.join(entry);
        let step = entry.strip_prefix(atomic::TEMPORARY).and_then(|entry| step_of(entry.strip_prefix("replaced-")?));
        match step.map(|step| run.join(name(step))) {
            Some(place) if !place.exists() => atomic::rename(&path, &place)?,
            _ => atomic::remove(&path)?,
        }
    }
    Ok(())
}

/// Takes a checkpoint out of the sequence without losing it.
pub(super) fn set_aside(run: &Path, step: u64) -> Result<(), RunDirectoryError> {
    let aside = run.join(name(step) + ASIDE);
    atomic::remove(&aside)?;
    atomic::rename(&run.join(name(step)), &aside)?;
    atomic::sync_directory(run)
}

/// Removes a checkpoint: its name goes first, so that half of one is never found under it.
pub(super) fn remove(run: &Path, step: u64) -> Result<(), RunDirectoryError> {
    let doomed = run.join(format!("{}removed-{}", atomic::TEMPORARY, name(step)));
    atomic::rename(&run.join(name(step)), &doomed)?;
    atomic::remove(&doomed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_steps_are_each_others_inverse() {
        for step in [0, 5000, 99_999_999, 100_000_000, u64::MAX] {
            assert_eq!(step_of(&name(step)), Some(step));
        }
        assert_eq!(name(5000), "checkpoint-00005000");
        for other in ["checkpoint-5000", "checkpoint-00005000.aside", "checkpoint-+0005000", "checkpoint-", "best"] {
            assert_eq!(step_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_selector_is_read_as_it_is_written() {
        for selector in [CheckpointSelector::Best, CheckpointSelector::Latest, CheckpointSelector::Step(7)] {
            assert_eq!(selector.to_string().parse(), Ok(selector));
        }
        assert_eq!("bets".parse::<CheckpointSelector>().unwrap_err(), r#""bets" is not `best`, `latest` or a step"#);
    }

    proptest::proptest! {
        #[test]
        fn a_pointer_is_read_as_it_is_written_and_only_so(step: u64, manifest: [u8; 4], place in 0usize..8, byte: u8) {
            let pointer = Pointer { step, crc32: Crc32::of(&manifest) };
            let mut text = pointer.to_string().into_bytes();
            proptest::prop_assert_eq!(Pointer::parse(&text), Some(pointer));
            let place = place.min(text.len() - 1);
            proptest::prop_assume!(text[place] != byte);
            text[place] = byte;
            proptest::prop_assert_ne!(Pointer::parse(&text), Some(pointer));
        }
    }
}
