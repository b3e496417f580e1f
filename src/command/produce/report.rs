//! Results of publishing.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use indicatif::HumanCount;
use serde::{Serialize, Serializer};

/// Rejections that are kept with their reasons; further ones are only counted.
const REASONS_MAX: usize = 5;

/// Results of the published signals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProduceReport {
    /// Stored by JetStream. A republished signal that turns out to be stored counts here: its first
    /// ack was lost.
    pub accepted: u64,
    /// Dropped by JetStream at the first attempt, since it has their id already.
    pub duplicates: u64,
    /// Finally rejected.
    pub rejected: u64,
    /// Reasons of the first rejections.
    pub reasons: Vec<String>,
    /// Published, but unanswered at the end of the grace time.
    pub unconfirmed: u64,
    /// Attempts after a signal's first one.
    pub republished: u64,
    /// Accepted signals that are deliberately bad.
    pub invalid: u64,
    /// Blank lines, which are skipped.
    pub blank_lines: u64,
    /// Bytes of the accepted bodies.
    pub bytes: u64,
    /// Time from the first publish to the last ack.
    #[serde(rename = "elapsed_ms", serialize_with = "in_ms")]
    pub elapsed: Duration,
    /// True if a shutdown came before all were published.
    pub stopped: bool,
}

impl ProduceReport {
    /// Returns the number of signals with a final answer.
    pub fn answered(&self) -> u64 {
        self.accepted + self.duplicates + self.rejected
    }

    /// Returns the answered signals per second.
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            (self.accepted + self.duplicates) as f64 / seconds
        } else {
            0.0
        }
    }

    pub(super) fn reject(&mut self, reason: String) {
        self.rejected += 1;
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(reason);
        }
    }
}

fn in_ms<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_millis() as u64)
}

impl fmt::Display for ProduceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &dyn fmt::Display| writeln!(f, "{name:<12} {value}");
        line("accepted", &HumanCount(self.accepted))?;
        if self.invalid > 0 {
            let invalid = HumanCount(self.invalid);
            line("  invalid", &format_args!("{invalid} deliberately"))?;
        }
        line("duplicates", &HumanCount(self.duplicates))?;
        line("rejected", &HumanCount(self.rejected))?;
        for reason in &self.reasons {
            line("", reason)?;
        }
        let untold = self.rejected.saturating_sub(self.reasons.len() as u64);
        if untold > 0 {
            line("", &format_args!("and {} more", HumanCount(untold)))?;
        }
        for (name, count) in [
            ("unconfirmed", self.unconfirmed),
            ("republished", self.republished),
            ("blank lines", self.blank_lines),
        ] {
            if count > 0 {
                line(name, &HumanCount(count))?;
            }
        }
        line("bytes", &ByteSize(self.bytes))?;
        let seconds = self.elapsed.as_secs_f64();
        let stopped = if self.stopped { ", then stopped" } else { "" };
        line("elapsed", &format_args!("{seconds:.2} s{stopped}"))?;
        let rate = HumanCount(self.rate().round() as u64);
        write!(f, "{:<12} {rate} signals/s", "rate")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_happened_and_only_that() {
        let mut report = ProduceReport {
            accepted: 90,
            duplicates: 10,
            bytes: 1024,
            elapsed: Duration::from_secs(2),
            ..ProduceReport::default()
        };
        for line in 1..=7 {
            report.reject(format!("line {line}: too large"));
        }
        let text = report.to_string();
        assert!(text.contains("rejected     7\n"), "{text}");
        assert!(text.contains("line 5: too large\n"), "{text}");
        assert!(text.contains("and 2 more\n"), "{text}");
        assert!(text.ends_with("rate         50 signals/s"), "{text}");
        assert!(!text.contains("unconfirmed"), "{text}");
        assert_eq!(report.answered(), 107);
    }
}
