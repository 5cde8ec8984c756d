//! The manifest of a checkpoint: what was written, and how to tell that it is still there.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Component, Path},
};

use serde::{Deserialize, Serialize};

use super::{crc32::Crc32, error::CheckpointDamage, seal};

/// The manifest's file name.
pub(super) const FILE: &str = "manifest.json";

const FORMAT: &str = "brenier-checkpoint";
const VERSION: u64 = 1;

/// Records are small; what is longer is none.
const LONGEST: u64 = 16 << 20;

/// The best checkpoint so far: the lowest value, and of equal ones the earliest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Its step.
    pub step: u64,
    /// Its value, as a rule the held-out loss of the averaged weights.
    pub value: f64,
}

/// The length and the CRC-32 of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRecord {
    length: u64,
    crc32: Crc32,
}

impl FileRecord {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { length: bytes.len() as u64, crc32: Crc32::of(bytes) }
    }
}

/// Everything that a checkpoint says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: String,
    format_version: u64,
    program_version: String,
    pub(super) run: String,
    pub(super) step: u64,
    /// What this checkpoint is judged by; lower is better.
    pub(super) value: Option<f64>,
    /// The best checkpoint as of this step, this one included.
    pub(super) best: Option<Best>,
    pub(super) files: BTreeMap<String, FileRecord>,
}

impl Manifest {
    pub(super) fn new(run: &str, step: u64, value: Option<f64>, best: Option<Best>, files: &[(&str, &[u8])]) -> Self {
        Self {
            format: FORMAT.into(),
            format_version: VERSION,
            program_version: env!("CARGO_PKG_VERSION").into(),
            run: run.into(),
            step,
            value,
            best,
            files: files.iter().map(|&(name, bytes)| (name.into(), FileRecord::of(bytes))).collect(),
        }
    }

    /// Whether nothing but the version of the program differs.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        let Self { value, best, files, .. } = other;
        (&self.value, &self.best, &self.files) == (value, best, files)
    }

    pub(super) fn seal(&self) -> serde_json::Result<Vec<u8>> {
        seal::seal(self)
    }

    /// The manifest in these bytes, if they are one.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, CheckpointDamage> {
        let manifest: Self = seal::unseal(FILE, bytes, FORMAT, VERSION)?;
        match manifest.files.keys().find(|name| !is_plain_name(name)) {
            Some(name) => {
                Err(CheckpointDamage::Record { file: FILE.into(), reason: format!("it lists the file name {name:?}") })
            }
            None => Ok(manifest),
        }
    }
}

/// A checkpoint whose every byte was checked.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) manifest: Manifest,
    /// The CRC-32 of the manifest's file, as `latest` and `best` give it.
    pub(super) crc32: Crc32,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Files that the manifest does not list; nothing reads them.
    pub(super) strangers: Vec<String>,
}

/// Reads a checkpoint of the given run and step, and checks all of it.
pub(super) fn verify(checkpoint: &Path, run: &str, step: u64) -> Result<Verified, CheckpointDamage> {
    let bytes = read_whole(checkpoint, FILE, LONGEST)?;
    let manifest = Manifest::parse(&bytes)?;
    if manifest.run != run {
        return Err(CheckpointDamage::Foreign { found: manifest.run, expected: run.into() });
    }
    if manifest.step != step {
        return Err(CheckpointDamage::WrongStep { found: manifest.step });
    }
    let mut files = BTreeMap::new();
    for (name, &FileRecord { length: expected, crc32 }) in &manifest.files {
        let bytes = read_whole(checkpoint, name, expected)?;
        if bytes.len() as u64 != expected {
            return Err(CheckpointDamage::Length { file: name.clone(), length: bytes.len() as u64, expected });
        }
        let found = Crc32::of(&bytes);
        if found != crc32 {
            return Err(CheckpointDamage::Checksum { file: name.clone(), found, expected: crc32 });
        }
        files.insert(name.clone(), bytes);
    }
    let strangers = fs::read_dir(checkpoint).into_iter().flatten().flatten();
    let strangers = strangers.filter_map(|entry| entry.file_name().into_string().ok());
    // File systems and desktops leave hidden files of their own.
    let strangers = strangers.filter(|name| name != FILE && !name.starts_with('.') && !files.contains_key(name));
    let strangers = strangers.collect();
    Ok(Verified { crc32: Crc32::of(&bytes), manifest, files, strangers })
}

/// Reads one regular file that should not be longer than `expected` bytes.
fn read_whole(checkpoint: &Path, file: &str, expected: u64) -> Result<Vec<u8>, CheckpointDamage> {
    let path = checkpoint.join(file);
    let refuse = |reason: io::Error| match reason.kind() {
        io::ErrorKind::NotFound => CheckpointDamage::Missing { file: file.into() },
        _ => CheckpointDamage::Unreadable { file: file.into(), reason },
    };
    let metadata = fs::metadata(&path).map_err(refuse)?;
    if !metadata.is_file() {
        return Err(refuse(io::Error::other("it is no regular file")));
    }
    if metadata.len() > expected {
        return Err(CheckpointDamage::Length { file: file.into(), length: metadata.len(), expected });
    }
    let mut bytes = Vec::new();
    File::open(&path).and_then(|file| file.take(expected).read_to_end(&mut bytes)).map_err(refuse)?;
    Ok(bytes)
}

/// Whether a name can be a file of a checkpoint: one visible component, and not the manifest's own.
pub(super) fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let single = matches!((components.next(), components.next()), (Some(Component::Normal(one)), None) if one == name);
    single && name != FILE && !name.starts_with('.') && !name.contains(['\\', ':', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_survives_its_own_text() {
        let best = Some(Best { step: 40, value: 0.1 + 0.2 });
        let manifest = Manifest::new("1f", u64::MAX, Some(-1e-300), best, &[("a", b"xyz"), ("b", b"")]);
        assert_eq!(Manifest::parse(&manifest.seal().unwrap()).unwrap(), manifest);
    }

    #[test]
    fn a_file_name_stays_inside_its_checkpoint() {
        for name in ["weights.bpk", "ema 0.bpk"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in ["", ".", "..", "../x", "/x", "a/b", "a/", r"a\b", "c:x", "manifest.json", ".hidden", "a\0"] {
            assert!(!is_plain_name(name), "{name}");
        }
        let text = Manifest::new("1f", 0, None, None, &[("../x", b"")]).seal().unwrap();
        assert!(Manifest::parse(&text).unwrap_err().to_string().contains("../x"));
    }

    #[test]
    fn another_format_version_is_named() {
        let mut manifest = Manifest::new("1f", 0, None, None, &[]);
        manifest.format_version = 2;
        let error = Manifest::parse(&manifest.seal().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "`manifest.json` has format version 2, and this program reads version 1");
    }

    proptest::proptest! {
        #[test]
        fn no_garbage_is_a_manifest(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            proptest::prop_assert!(Manifest::parse(&bytes).is_err());
        }

        /// The seal of a stranger holds, so that the parse behind it is reached.
        #[test]
        fn no_sealed_stranger_is_a_manifest(
            key in "[a-z_]{0,12}",
            text in "\\PC{0,40}",
            number in proptest::num::f64::ANY,
            version in 0u64..3,
        ) {
            let json = serde_json::json!({
                "format": FORMAT, "format_version": version, "step": number, "run": text, (key): {"files": [text]},
            });
            proptest::prop_assert!(Manifest::parse(&seal::seal(&json).unwrap()).is_err());
        }
    }
}
