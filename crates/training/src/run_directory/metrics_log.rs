//! The log `metrics.jsonl`: one JSON object a line, cut where a run goes on.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom},
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
/// Lines that say no step stay where a line that stays follows them, so that nothing is lost but
/// the torn end of a write. Returns how many such lines stayed.
pub(super) fn cut(run: &Path, last: Option<u64>) -> Result<usize, RunDirectoryError> {
    let path = run.join(FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(RunDirectoryError::read(path, error)),
    };
    let (mut kept, mut unclear) = (Vec::new(), Vec::new());
    let (mut unclear_lines, mut unclear_kept, mut dropped) = (0, 0, false);
    for_each_line(&mut BufReader::new(file), |line| match serde_json::from_slice::<Stamp>(line) {
        Ok(stamp) if line.ends_with(b"\n") && Some(stamp.step) <= last => {
            kept.append(&mut unclear);
            kept.extend_from_slice(line);
            unclear_kept += std::mem::take(&mut unclear_lines);
        }
        Ok(_) => dropped = true,
        Err(_) => {
            unclear.extend_from_slice(line);
            unclear_lines += 1;
        }
    })
    .map_err(|error| RunDirectoryError::read(&path, error))?;
    if dropped || !unclear.is_empty() {
        atomic::write_atomically(&path, &kept)?;
    }
    Ok(unclear_kept)
}

/// Every whole line of the log; lines that are no JSON objects are passed over.
pub(super) fn read(run: &Path) -> Result<Vec<Map<String, Value>>, RunDirectoryError> {
    let path = run.join(FILE);
    let mut lines = Vec::new();
    match File::open(&path).and_then(|file| {
        for_each_line(&mut BufReader::new(file), |line| {
            lines.extend(serde_json::from_slice::<Map<String, Value>>(line).ok());
        })
    }) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RunDirectoryError::read(path, error)),
        _ => Ok(lines),
    }
}

fn for_each_line(reader: &mut impl BufRead, mut visit: impl FnMut(&[u8])) -> io::Result<()> {
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        visit(&line);
        line.clear();
    }
    Ok(())
}
