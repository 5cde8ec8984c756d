//! The scalars of a run as TensorBoard event files.
//!
//! An event file is a sequence of TFRecords: length (u64, little-endian), its masked CRC-32C, the
//! bytes, their masked CRC-32C. The bytes are an `Event` of TensorFlow's protocol buffers
//! (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto), of which scalars
//! need few fields; they are encoded here by hand.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use thiserror::Error;

/// An event file could not be made or written.
#[derive(Debug, Error)]
#[error("cannot write the TensorBoard file `{path}`: {reason}. Free the place, or set `output.tensorboard` to false")]
pub struct TensorBoardError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub reason: io::Error,
}

/// An open event file.
#[derive(Debug)]
pub struct TensorBoard {
    path: PathBuf,
    file: File,
}

impl TensorBoard {
    /// Opens a new event file in a directory, which is made where it is missing.
    ///
    /// A run that goes on opens another file and gives the first step that it will write: TensorBoard
    /// then drops what earlier files say of this step and later ones.
    ///
    /// # Errors
    /// Where the directory or the file cannot be made.
    pub fn open(directory: &Path, first_step: u64, now: SystemTime) -> Result<Self, TensorBoardError> {
        let refuse = |path: &Path, reason| TensorBoardError { path: path.into(), reason };
        fs::create_dir_all(directory).map_err(|error| refuse(directory, error))?;
        // TensorBoard knows the files by "tfevents" and reads them in the order of their names.
        let started = seconds(now);
        let mut count = 0u32;
        let mut board = loop {
            let path = directory.join(format!("events.out.tfevents.{:010}.{count:04}.brenier", started as u64));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => break Self { path, file },
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && count < 9999 => count += 1,
                Err(error) => return Err(refuse(&path, error)),
            }
        };
        let version = event(started, 0, |event| bytes_field(event, 3, b"brain.Event:2"));
        // SessionLog { status: START }
        let start = event(started, first_step, |event| bytes_field(event, 7, &[1 << 3, 1]));
        board.write(&[record(&version), record(&start)].concat())?;
        Ok(board)
    }

    /// Writes the scalars of one step; readers see them at once.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn scalars(&mut self, step: u64, scalars: &[(&str, f64)], now: SystemTime) -> Result<(), TensorBoardError> {
        let mut summary = Vec::new();
        for (tag, scalar) in scalars {
            let mut value = Vec::new();
            bytes_field(&mut value, 1, tag.as_bytes());
            value.push(2 << 3 | FIXED_32);
            value.extend_from_slice(&(*scalar as f32).to_le_bytes());
            bytes_field(&mut summary, 1, &value);
        }
        self.write(&record(&event(seconds(now), step, |event| bytes_field(event, 5, &summary))))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TensorBoardError> {
        self.file.write_all(bytes).map_err(|reason| TensorBoardError { path: self.path.clone(), reason })
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

// The wire types of protocol buffers that occur here.
const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED_32: u8 = 5;

/// `Event { wall_time, step, what }`.
fn event(wall_time: f64, step: u64, what: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut event = vec![1 << 3 | FIXED_64];
    event.extend_from_slice(&wall_time.to_le_bytes());
    if step > 0 {
        event.push(2 << 3 | VARINT);
        varint(&mut event, step);
    }
    what(&mut event);
    event
}

fn bytes_field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | LENGTH_DELIMITED);
    varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length, &masked_crc32c(&length).to_le_bytes()[..], bytes, &masked_crc32c(bytes).to_le_bytes()].concat()
}

/// A CRC of bytes that hold their own CRC is weak, hence the mask (tensorflow/core/lib/hash/crc32c.h).
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The CRC with Castagnoli's polynomial (RFC 3720, appendix B.4).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn crc32c_has_its_published_values() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    /// Splits event files into records, checking both sums of each.
    fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(12);
            assert_eq!(head[8..], masked_crc32c(&head[..8]).to_le_bytes());
            let (body, rest) = rest.split_at(u64::from_le_bytes(head[..8].try_into().unwrap()) as usize);
            let (sum, rest) = rest.split_at(4);
            assert_eq!(sum, masked_crc32c(body).to_le_bytes());
            records.push(body.to_vec());
            bytes = rest;
        }
        records
    }

    /// The fields of a message as (number, wire type, value or bytes).
    fn fields(mut bytes: &[u8]) -> Vec<(u8, u8, Vec<u8>)> {
        let mut fields = Vec::new();
        while let [key, rest @ ..] = bytes {
            let read_varint = |bytes: &[u8]| {
                let length = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
                let value = bytes[..length].iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
                (value, length)
            };
            let (start, length) = match key & 7 {
                VARINT => (0, read_varint(rest).1),
                FIXED_64 => (0, 8),
                FIXED_32 => (0, 4),
                LENGTH_DELIMITED => {
                    let (length, start) = read_varint(rest);
                    (start, length as usize)
                }
                other => panic!("wire type {other}"),
            };
            let value = match key & 7 {
                VARINT => read_varint(rest).0.to_le_bytes().to_vec(),
                _ => rest[start..start + length].to_vec(),
            };
            fields.push((key >> 3, key & 7, value));
            bytes = &rest[start + length..];
        }
        fields
    }

    #[test]
    fn a_file_begins_as_every_event_file_does() {
        let folder = tempfile::tempdir().unwrap();
        let board = TensorBoard::open(folder.path(), 0, UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        let bytes = fs::read(&board.path).unwrap();
        // The length 24 and its masked sum, as TensorFlow writes them.
        assert_eq!(bytes[..12], *b"\x18\0\0\0\0\0\0\0\xa3\x7fK\x22");
        assert_eq!(bytes[12..21], [&[9][..], &1f64.to_le_bytes()].concat());
        assert_eq!(bytes[21..36], *b"\x1a\x0dbrain.Event:2");
    }

    #[test]
    fn scalars_are_read_back_and_a_second_file_says_where_it_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("tensorboard");
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        let mut first = TensorBoard::open(&directory, 0, now).unwrap();
        first.scalars(300, &[("loss", 0.1), ("held_out/loss", -2.5e10)], now).unwrap();
        let second = TensorBoard::open(&directory, 301, now).unwrap();
        assert!(first.path < second.path);

        let events = records(&fs::read(&first.path).unwrap());
        assert_eq!(events.len(), 3);
        let event = fields(&events[2]);
        assert_eq!(event[0], (1, FIXED_64, 1_700_000_000.25f64.to_le_bytes().to_vec()));
        assert_eq!(event[1], (2, VARINT, 300u64.to_le_bytes().to_vec()));
        let values: Vec<_> = fields(&event[2].2).into_iter().map(|(_, _, value)| fields(&value)).collect();
        assert_eq!(values[0], [(1, LENGTH_DELIMITED, b"loss".to_vec()), (2, FIXED_32, 0.1f32.to_le_bytes().to_vec())]);
        assert_eq!(values[1][1].2, (-2.5e10f32).to_le_bytes());

        let start = fields(&records(&fs::read(&second.path).unwrap())[1]);
        assert_eq!(start[1], (2, VARINT, 301u64.to_le_bytes().to_vec()));
        assert_eq!((start[2].0, fields(&start[2].2)), (7, vec![(1, VARINT, 1u64.to_le_bytes().to_vec())]));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = TensorBoard::open(&file.path().join("tensorboard"), 0, UNIX_EPOCH).unwrap_err();
        assert!(error.to_string().contains("tensorboard`"), "{error}");
    }
}
