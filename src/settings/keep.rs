//! Bounds of the committed history that the stream of signals keeps.

use std::time::Duration;

use super::values::{self as to, Parsed};

const SECOND: Duration = Duration::from_secs(1);
const YEARS: Duration = Duration::from_secs(100 * 31_557_600);
const KIB: u64 = 1 << 10;

/// Bounds of the committed history that the stream of signals keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// The default bounds, in a stream that this release or a later one created; everything in any
    /// other stream.
    #[default]
    Unset,
    /// Everything, in any stream.
    All,
    /// These bounds, in any stream.
    Bounds(KeepBounds),
}

/// Committed history beyond either bound is purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepBounds {
    /// Age of a message.
    pub age: Duration,
    /// Bytes of the stream, as JetStream counts them.
    pub bytes: u64,
}

/// A week, for replays after a weekend, and less than half of the 20 GB that the shipped NATS
/// configurations allow.
impl Default for KeepBounds {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(7 * 24 * 3600),
            bytes: 8 << 30,
        }
    }
}

/// Reads `7days, 8GiB`, `all`, or nothing.
pub(super) fn keep(text: &str) -> Parsed<Keep> {
    match text.trim() {
        "" => return Ok(Keep::Unset),
        "all" => return Ok(Keep::All),
        _ => {}
    }
    let (age, bytes) = text.split_once(',').ok_or_else(|| {
        "must be an age and a size such as \"7days, 8GiB\", or all, or empty".to_owned()
    })?;
    Ok(Keep::Bounds(KeepBounds {
        age: to::duration(SECOND..=YEARS)(age.trim()).map_err(|rule| format!("its age {rule}"))?,
        bytes: to::bytes(64 * KIB..=u64::MAX >> 1)(bytes.trim())
            .map_err(|rule| format!("its size {rule}"))?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_an_age_and_a_size() {
        let bounds = |age, bytes| {
            let age = Duration::from_secs(age);
            Ok(Keep::Bounds(KeepBounds { age, bytes }))
        };
        assert_eq!(keep(""), Ok(Keep::Unset));
        assert_eq!(keep("all"), Ok(Keep::All));
        assert_eq!(keep("2days, 1GiB"), bounds(172_800, 1 << 30));
        assert_eq!(keep("90s,64KiB"), bounds(90, 65_536));
        for (text, words) in [
            ("7days", "an age and a size"),
            ("7days, lots", "its size must be a size"),
            ("soon, 1GiB", "its age must be a duration"),
            ("0s, 1GiB", "its age must be a duration"),
            ("1h, 1B", "its size must be a size"),
        ] {
            let fault = keep(text).unwrap_err();
            assert!(fault.contains(words), "{text}: {fault}");
        }
    }
}
