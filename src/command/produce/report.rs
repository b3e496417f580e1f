//! What came of the signals.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;

/// Rejections that are kept with their reasons; the others are only counted.
const REASONS_MAX: usize = 5;

/// What came of the signals that were published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProduceReport {
    /// Stored by JetStream. What had to be published again and turns out to be stored
    /// already counts here: its first ack was lost.
    pub accepted: u64,
    /// Dropped by JetStream at the first try, since it has their id already.
    pub duplicates: u64,
    /// Refused for good.
    pub rejected: u64,
    /// The first few reasons of rejections.
    pub reasons: Vec<String>,
    /// Published, but not answered when the time to stop was up.
    pub unconfirmed: u64,
    /// Tries beyond a signal's first one.
    pub republished: u64,
    /// Bad on purpose, among those accepted.
    pub invalid: u64,
    /// Blank lines, which are skipped.
    pub blank_lines: u64,
    /// Bytes of the bodies accepted.
    pub bytes: u64,
    /// From the first publish to the last ack.
    pub elapsed: Duration,
    /// Whether it was stopped before all was published.
    pub stopped: bool,
}

impl ProduceReport {
    /// Everything that has its final answer.
    pub fn answered(&self) -> u64 {
        self.accepted + self.duplicates + self.rejected
    }

    /// Signals that JetStream answered, a second.
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

impl fmt::Display for ProduceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &dyn fmt::Display| writeln!(f, "{name:<12} {value}");
        line("accepted", &self.accepted)?;
        if self.invalid > 0 {
            line("  invalid", &format_args!("{} on purpose", self.invalid))?;
        }
        line("duplicates", &self.duplicates)?;
        line("rejected", &self.rejected)?;
        for reason in &self.reasons {
            line("", reason)?;
        }
        let untold = self.rejected.saturating_sub(self.reasons.len() as u64);
        if untold > 0 {
            line("", &format_args!("and {untold} more"))?;
        }
        for (name, count) in [
            ("unconfirmed", self.unconfirmed),
            ("republished", self.republished),
            ("blank lines", self.blank_lines),
        ] {
            if count > 0 {
                line(name, &count)?;
            }
        }
        line("bytes", &ByteSize(self.bytes))?;
        let seconds = self.elapsed.as_secs_f64();
        let stopped = if self.stopped { ", then stopped" } else { "" };
        line("elapsed", &format_args!("{seconds:.2} s{stopped}"))?;
        write!(f, "{:<12} {:.0} a second", "rate", self.rate())
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
        assert!(text.ends_with("rate         50 a second"), "{text}");
        assert!(!text.contains("unconfirmed"), "{text}");
        assert_eq!(report.answered(), 107);
    }
}
