//! The CRC-32 of a file's bytes, written as eight hexadecimal digits, as `crc32` and `rhash` print it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The CRC-32 (IEEE) of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Crc32(u32);

impl Crc32 {
    /// The CRC-32 of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(crc32fast::hash(bytes))
    }
}

impl fmt::Display for Crc32 {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for Crc32 {
    type Err = String;

    /// Reads what `Display` writes, and no other spelling of it.
    fn from_str(text: &str) -> Result<Self, String> {
        let crc32 = u32::from_str_radix(text, 16).map(Self).ok().filter(|crc32| crc32.to_string() == text);
        crc32.ok_or_else(|| format!("{text:?} is no CRC-32 in eight hexadecimal digits"))
    }
}

impl TryFrom<String> for Crc32 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Crc32> for String {
    fn from(crc32: Crc32) -> Self {
        crc32.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_common_one_and_is_read_in_one_spelling() {
        let crc32 = Crc32::of(b"123456789");
        assert_eq!(crc32.to_string(), "cbf43926");
        assert_eq!("cbf43926".parse(), Ok(crc32));
        for other in ["CBF43926", "+bf43926", "bf43926", "", "cbf4392g", "0cbf43926"] {
            assert!(other.parse::<Crc32>().is_err(), "{other}");
        }
    }
}
