//! The log `metrics.jsonl`: one JSON object a line, cut where a run goes on.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{atomic, error::RunDirectoryError};

/// The log's file name.
pub(super) const FILE: &str = "metrics.jsonl";

/// The part of a line that decides whether it stays.
#[derive(Deserialize)]
struct Stamp {
    step: u64,
}

/// The open end of the log. A line is one write, so that a reader sees whole lines; the disk is
/// waited for at checkpoints only.
#[derive(Debug)]
pub(super) struct MetricsLog {
    path: PathBuf,
    file: File,
    /// The end of the last whole line.
    length: u64,
}

impl MetricsLog {
    /// Opens the log for writing behind its last whole line.
    pub(super) fn open(run: &Path) -> Result<Self, RunDirectoryError> {
        let path = run.join(FILE);
        let open = || -> io::Result<(File, u64)> {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let mut length = 0;
            for_each_line(&mut BufReader::new(&file), |line| {
                length += if line.ends_with(b"\n") { line.len() as u64 } else { 0 };
            })?;
            if file.metadata()?.len() > length {
                file.set_len(length)?;
            }
            file.seek(SeekFrom::Start(length))?;
            Ok((file, length))
        };
        let (file, length) = open().map_err(|error| RunDirectoryError::write("open", &path, error))?;
        Ok(Self { path, file, length })
    }

    /// Appends one line, or leaves the log as it was.
    pub(super) fn append(&mut self, line: &impl Serialize) -> Result<(), RunDirectoryError> {
        let refuse = |reason: String| RunDirectoryError::Refused { path: self.path.clone(), reason };
        let mut text = serde_json::to_string(line).map_err(|error| refuse(error.to_string()))?;
        if serde_json::from_str::<Stamp>(&text).is_err() {
            return Err(refuse(format!("a line needs a whole number `step`, and this has none: {text}")));
        }
        text.push('\n');
        if let Err(error) = atomic::write_bytes(&mut self.file, text.as_bytes()) {
            // Half a line would join the next one; where even this fails, the next opening cuts it.
            let _ = self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::Start(self.length)));
            return Err(RunDirectoryError::write("append to", &self.path, error));
        }
        self.length += text.len() as u64;
        Ok(())
    }

    /// Waits until every line is on the disk.
    pub(super) fn sync(&self) -> Result<(), RunDirectoryError> {
        // A pipe or a terminal in the file's place has no disk.
        match self.file.sync_all() {
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
            other => other.map_err(|error| RunDirectoryError::write("sync", &self.path, error)),
        }
    }
}

/// Keeps the lines with `step <= last` (none without a `last`), byte for byte, and drops the rest; all at once.
///
/// A damaged line says no step, or a step later than that of a line behind it. It stays unless a line that goes comes before it: nothing
/// is lost but the torn end of a write. Returns how many damaged lines stayed.
pub(super) fn cut(run: &Path, last: Option<u64>) -> Result<usize, RunDirectoryError> {
    let path = run.join(FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(RunDirectoryError::read(path, error)),
    };
    // `later` holds what goes unless a line that stays follows it; `damaged` counts its lines and those of `kept`.
    let (mut kept, mut later) = (Vec::new(), Vec::new());
    let (mut damaged, mut damaged_later, mut changed) = (0, 0, false);
    for_each_line(&mut BufReader::new(file), |line| match serde_json::from_slice::<Stamp>(line) {
        Ok(stamp) if Some(stamp.step) <= last => {
            kept.append(&mut later);
            kept.extend_from_slice(line);
            damaged += std::mem::take(&mut damaged_later);
            if !line.ends_with(b"\n") {
                kept.push(b'\n');
                changed = true;
            }
        }
        Ok(_) => {
            later.extend_from_slice(line);
            damaged_later += 1;
        }
        // A write that was stopped: the line is the beginning of one.
        Err(error) if error.is_eof() && !line.ends_with(b"\n") => changed = true,
        Err(_) => {
            let (lines, count) =
                if later.is_empty() { (&mut kept, &mut damaged) } else { (&mut later, &mut damaged_later) };
            lines.extend_from_slice(line);
            *count += 1;
            if !line.ends_with(b"\n") {
                lines.push(b'\n');
                changed = true;
            }
        }
    })
    .map_err(|error| RunDirectoryError::read(&path, error))?;
    if last.is_none() {
        changed |= !kept.is_empty();
        (kept, damaged) = (Vec::new(), 0);
    }
    if changed || !later.is_empty() {
        atomic::write_atomically(&path, &kept)?;
    }
    Ok(damaged)
}

/// Every whole line of the log, and how many are no JSON objects, which are passed over.
pub(super) fn read(run: &Path) -> Result<(Vec<Map<String, Value>>, usize), RunDirectoryError> {
    let path = run.join(FILE);
    let (mut lines, mut damaged) = (Vec::new(), 0);
    match File::open(&path).and_then(|file| {
        for_each_line(&mut BufReader::new(file), |line| match serde_json::from_slice(line) {
            Ok(object) => lines.push(object),
            // A line in the making is none yet.
            Err(_) => damaged += usize::from(line.ends_with(b"\n")),
        })
    }) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RunDirectoryError::read(path, error)),
        _ => Ok((lines, damaged)),
    }
}

fn for_each_line(reader: &mut impl BufRead, mut visit: impl FnMut(&[u8])) -> io::Result<()> {
    // A line holds a few dozen scalars.
    const LONGEST: u64 = 16 << 20;
    let mut line = Vec::new();
    while reader.take(LONGEST).read_until(b'\n', &mut line)? > 0 {
        if line.len() as u64 == LONGEST {
            return Err(io::Error::other(format!("a line is longer than {LONGEST} bytes")));
        }
        visit(&line);
        line.clear();
    }
    Ok(())
}
