//! JSON records that carry the CRC-32 of their own text.
//!
//! A sealed record is a JSON object whose last key is `"crc32"`, the CRC-32 of every byte before
//! the comma that precedes it. The text after that comma is fixed, so that no byte of the file is
//! unguarded: CRC-32 detects every change of one byte.

use serde::{Serialize, de::DeserializeOwned};

use super::{crc32::Crc32, error::CheckpointDamage};

/// How the body of a pretty-printed object ends.
const END: &str = "\n}";

fn tail(head: &[u8]) -> String {
    format!(",\n  \"crc32\": \"{}\"\n}}\n", Crc32::of(head))
}

/// The sealed text of a record with at least one field.
pub(super) fn seal(record: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let body = serde_json::to_string_pretty(record)?;
    let head = body.strip_suffix(END).unwrap_or(&body);
    Ok([head, &tail(head.as_bytes())].concat().into_bytes())
}

/// The record of a sealed text, if the seal holds and the record is of this format and version.
pub(super) fn unseal<T: DeserializeOwned>(
    file: &str,
    bytes: &[u8],
    format: &str,
    version: u64,
) -> Result<T, CheckpointDamage> {
    let damage = |reason: &str| CheckpointDamage::Record { file: file.into(), reason: reason.into() };
    let cut = bytes.len().checked_sub(tail(b"").len()).ok_or_else(|| damage("too short"))?;
    let (head, end) = bytes.split_at(cut);
    if end != tail(head).as_bytes() {
        return Err(damage("its CRC-32 does not fit its text"));
    }
    let body = [head, END.as_bytes()].concat();
    let record: serde_json::Value = serde_json::from_slice(&body).map_err(|error| damage(&error.to_string()))?;
    if record["format"] != format {
        return Err(damage("another kind of record"));
    }
    match record["format_version"].as_u64() {
        Some(found) if found == version => {}
        Some(found) => return Err(CheckpointDamage::Version { file: file.into(), found, supported: version }),
        None => return Err(damage("no format version")),
    }
    serde_json::from_value(record).map_err(|error| damage(&error.to_string()))
}
