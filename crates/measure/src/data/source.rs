//! The bytes of a data file: opened, hashed, decompressed, and read no further than they go.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Component, Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::array::reserve;
use super::error::FileProblem;

/// Bytes taken at a time: what a false header can make us allocate at once.
pub(super) const CHUNK: usize = 1 << 16;

/// The format of a file, from its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub kind: Kind,
    pub gzip: bool,
}

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Npy,
    Npz,
    Csv,
    Tsv,
    Idx,
}

impl Format {
    /// The format that a file name announces; MNIST's `train-images-idx3-ubyte` counts as IDX.
    pub fn of(path: &Path) -> Result<Self, FileProblem> {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let (stem, gzip) = name.strip_suffix(".gz").map_or((name.as_str(), false), |stem| (stem, true));
        let extension = Path::new(stem).extension().map(|extension| extension.to_string_lossy().into_owned());
        let kind = match extension.as_deref() {
            Some("npy") => Kind::Npy,
            Some("npz") => Kind::Npz,
            Some("csv") => Kind::Csv,
            Some("tsv") => Kind::Tsv,
            Some(extension) if extension.starts_with("idx") => Kind::Idx,
            _ if stem.contains("-idx") => Kind::Idx,
            found => return Err(FileProblem::Extension { found: describe_extension(found) }),
        };
        Ok(Self { kind, gzip })
    }
}

/// An extension that no format has, for a message.
pub(super) fn describe_extension(found: Option<&str>) -> String {
    found.map_or_else(|| "the name has no extension".to_owned(), |e| format!("the extension .{e} is unknown"))
}

/// Opens a regular file.
pub(super) fn open(path: &Path) -> Result<File, FileProblem> {
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            FileProblem::NotFound { working_directory: std::env::current_dir().unwrap_or_default() }
        }
        _ => FileProblem::Open(error),
    };
    // Asked before opening: to open a named pipe is to wait for its writer.
    let metadata = std::fs::metadata(path).map_err(refused)?;
    if metadata.is_dir() {
        return Err(FileProblem::Folder);
    }
    if !metadata.is_file() {
        return Err(FileProblem::NotRegular);
    }
    File::open(path).map_err(refused)
}

/// SHA-256 of all of the file's bytes in hexadecimal.
pub(super) fn sha256(file: &mut File) -> Result<String, FileProblem> {
    file.rewind().map_err(FileProblem::Read)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => hash.update(&chunk[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FileProblem::Read(error)),
        }
    }
    Ok(hexadecimal(&hash.finalize()))
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the bytes come out of, which decides what a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    File,
    Gzip,
    Archive,
}

impl Container {
    /// What an error of the reader means: of the system, or of the compressed bytes.
    pub fn problem(self, error: io::Error) -> FileProblem {
        match self {
            Self::Gzip if error.raw_os_error().is_none() => FileProblem::Gzip(error),
            Self::Archive if error.raw_os_error().is_none() => FileProblem::Archive(error.to_string()),
            _ => FileProblem::Read(error),
        }
    }
}

/// A stream of bytes that knows how many are left where the length of the file tells.
pub(super) struct Source<'a> {
    reader: Box<dyn BufRead + 'a>,
    remaining: Option<u64>,
    container: Container,
}

impl<'a> Source<'a> {
    /// The content of a file, decompressed where it is gzipped.
    pub fn file(file: File, gzip: bool) -> Result<Self, FileProblem> {
        let length = file.metadata().map_err(FileProblem::Read)?.len();
        let reader = BufReader::with_capacity(CHUNK, file);
        Ok(if gzip {
            let reader = Box::new(BufReader::with_capacity(CHUNK, MultiGzDecoder::new(reader)));
            Self { reader, remaining: None, container: Container::Gzip }
        } else {
            Self { reader: Box::new(reader), remaining: Some(length), container: Container::File }
        })
    }

    /// An entry of an archive. Its announced length is as little to be trusted as a header.
    pub fn entry(entry: impl Read + 'a) -> Self {
        let reader = Box::new(BufReader::with_capacity(CHUNK, entry));
        Self { reader, remaining: None, container: Container::Archive }
    }

    /// Bytes left; `None` where only reading tells.
    pub fn remaining(&self) -> Option<u64> {
        self.remaining
    }

    /// Reads until the buffer is full or the bytes end; the number of bytes read.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, FileProblem> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.container.problem(error)),
            }
        }
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(filled as u64);
        }
        Ok(filled)
    }

    /// Everything that is left, grown as it is read.
    pub fn rest(mut self) -> Result<Vec<u8>, FileProblem> {
        let mut bytes = Vec::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            let filled = self.fill(&mut chunk)?;
            reserve(&mut bytes, filled)?;
            bytes.extend_from_slice(&chunk[..filled]);
            if filled < CHUNK {
                return Ok(bytes);
            }
        }
    }

    /// The reader itself, and what explains its errors.
    pub fn reader(&mut self) -> (&mut dyn BufRead, Container) {
        (&mut self.reader, self.container)
    }
}

/// The way from a folder to a file, both through links; the path itself where there is none.
pub fn relative_to(path: &Path, folder: &Path) -> PathBuf {
    let (Ok(to), Ok(from)) = (path.canonicalize(), folder.canonicalize()) else { return path.to_owned() };
    let common = to.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    if common == 0 {
        return to;
    }
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    up.chain(to.components().skip(common)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_between_two_places_leads_up_and_down() {
        let folder = tempfile::tempdir().unwrap();
        let [run, data] = ["a/run", "data/x"].map(|name| folder.path().join(name));
        for place in [&run, &data] {
            std::fs::create_dir_all(place).unwrap();
        }
        assert_eq!(relative_to(&data, &run), Path::new("../../data/x"));
        assert_eq!(relative_to(&run, &folder.path().join("a")), Path::new("run"));
        assert_eq!(run.join(relative_to(&data, &run)).canonicalize().unwrap(), data.canonicalize().unwrap());
    }

    fn format(name: &str) -> Option<(Kind, bool)> {
        Format::of(Path::new(name)).ok().map(|format| (format.kind, format.gzip))
    }

    #[test]
    fn the_name_decides_the_format() {
        assert_eq!(format("a/b.npy"), Some((Kind::Npy, false)));
        assert_eq!(format("b.NPZ"), Some((Kind::Npz, false)));
        assert_eq!(format("b.csv.gz"), Some((Kind::Csv, true)));
        assert_eq!(format("b.tsv"), Some((Kind::Tsv, false)));
        assert_eq!(format("b.idx"), Some((Kind::Idx, false)));
        assert_eq!(format("train-images-idx3-ubyte.gz"), Some((Kind::Idx, true)));
        assert_eq!(format("train-images.idx3-ubyte"), Some((Kind::Idx, false)));
        assert_eq!(format("b.json"), None);
        assert_eq!(format("gz"), None);
        assert_eq!(format(".gz"), None);
        assert_eq!(format(".."), None);
    }
}
