//! Settings of the stream of signals.

use std::time::Duration;

use option_kit::{
    DAY, KIB, Kind, Parsed, Rule, SECOND, YEAR, bytes, duration, duration_or_zero, ms, number,
    one_of, options,
};

use super::kinds::{jetstream_name, subject_prefix};

/// JetStream's limit: it counts bytes in an `i64`.
const BYTES_MAX: u64 = u64::MAX >> 1;
/// nats-server's limit.
const REPLICAS_MAX: usize = 5;

options! {
    /// Settings of the JetStream stream that applications publish to. The bounds apply when the
    /// daemon or the producer creates it; an existing stream keeps its own.
    #[derive(Debug, Clone, PartialEq)]
    pub struct StreamOptions in "stream", rules RULES {
        /// Stream that applications publish to; created if absent.
        name: String = "SIGNALS", jetstream_name();
        /// Prefix of its subjects, <prefix>.>.
        subject_prefix: String = "signals", subject_prefix();
        /// Storage of a newly created stream: file or memory.
        storage: Storage = "file", storage();
        /// Copies of a newly created stream, in a NATS cluster.
        replicas: usize = "1", number(1..=REPLICAS_MAX);
        /// Age at which a newly created stream removes messages; 0s keeps them forever.
        max_age: Duration = "0s", duration_or_zero(SECOND..=100 * YEAR);
        /// Size at which a newly created stream rejects messages; 0B means no bound.
        max_bytes: u64 = "0B", bytes(0..=BYTES_MAX);
        /// Time that a newly created stream remembers a Nats-Msg-Id.
        duplicate_window: Duration = "2m", duration(ms(100)..=DAY);
        /// Committed history kept for replays: an age and a size of the stream, such as 7days,
        /// 8GiB. The daemon purges messages beyond either bound, but none that is uncommitted or
        /// that another durable consumer has not acked. Unset: 7days, 8GiB in a stream created by
        /// this release or a later one, everything in any other; all: everything.
        keep: Keep = "", Kind::text(keep);
    }
}

const RULES: &[Rule<StreamOptions>] = &[Rule {
    keys: &["stream.duplicate_window", "stream.max_age"],
    holds: |s| s.max_age.is_zero() || s.duplicate_window <= s.max_age,
    words: "JetStream does not remember ids for longer than it keeps messages",
}];

/// Storage of a stream's messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In memory; lost when the server stops.
    Memory,
}

fn storage() -> Kind<Storage> {
    one_of(&[("file", Storage::File), ("memory", Storage::Memory)])
}

/// Bounds of the committed history in the stream of signals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// The default bounds in a stream created by this release or a later one; everything in any
    /// other stream.
    #[default]
    Unset,
    /// Everything, in any stream.
    All,
    /// These bounds, in any stream.
    Bounds(KeepBounds),
}

/// Bounds beyond which committed history is purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepBounds {
    /// Age of a message.
    pub age: Duration,
    /// Bytes of the stream, counted by JetStream.
    pub bytes: u64,
}

/// Returns a week, for replays after a weekend, and less than half of the 20 GB that the shipped
/// NATS configurations allow.
impl Default for KeepBounds {
    fn default() -> Self {
        Self {
            age: Duration::from_secs(7 * 24 * 3600),
            bytes: 8 << 30,
        }
    }
}

/// Parses `7days, 8GiB`, `all`, or nothing.
fn keep(text: &str) -> Parsed<Keep> {
    match text.trim() {
        "" => return Ok(Keep::Unset),
        "all" => return Ok(Keep::All),
        _ => {}
    }
    let (age, size) = text.split_once(',').ok_or_else(|| {
        "must be an age and a size such as \"7days, 8GiB\", or all, or empty".to_owned()
    })?;
    Ok(Keep::Bounds(KeepBounds {
        age: duration(SECOND..=100 * YEAR)
            .parse(age.trim())
            .map_err(|rule| format!("its age {rule}"))?,
        bytes: option_kit::bytes(64 * KIB..=BYTES_MAX)
            .parse(size.trim())
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
