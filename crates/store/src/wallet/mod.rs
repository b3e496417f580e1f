//! State of a wallet: the answer for clients, and the rows that it is computed from.

mod answer;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{PageCursor, StoredSignal};

/// Number of newest signals of a wallet that are returned in full.
pub const LAST_SIGNALS: usize = 20;
/// Longest payload of those, in bytes; a longer one is left out.
pub const LONGEST_PAYLOAD: usize = 4 * 1024;
/// Longest payload of the latest snapshot, in bytes, which has a balance for each token.
pub const LONGEST_SNAPSHOT: usize = 64 * 1024;
/// Event type of a snapshot.
pub const SNAPSHOT: &str = "wallet_snapshot";
/// Sliding windows for the counts of signals, the shortest first.
pub const WINDOWS: [TimeWindow; 2] = [
    TimeWindow {
        name: "1h",
        length: Duration::from_secs(3600),
    },
    TimeWindow {
        name: "24h",
        length: Duration::from_secs(24 * 3600),
    },
];

/// A sliding window up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWindow {
    /// Name of the window for clients.
    pub name: &'static str,
    /// Length of the window.
    pub length: Duration,
}

impl TimeWindow {
    /// Returns the start of the window, in milliseconds since the epoch.
    pub fn since_ms(&self, now_ms: i64) -> i64 {
        now_ms - i64::try_from(self.length.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Returns the start of the longest window, in milliseconds since the epoch.
pub fn horizon_ms(now_ms: i64) -> i64 {
    let [.., longest] = WINDOWS;
    longest.since_ms(now_ms)
}

/// Number of signals of a type and a severity in each of [`WINDOWS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalCount {
    /// Event type.
    pub event_type: String,
    /// Severity, 0 to 255.
    pub severity: u8,
    /// Signals by window.
    pub signals: [u64; WINDOWS.len()],
}

/// A signal that only counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Event time and position in its stream.
    pub place: PageCursor,
    /// Severity, 0 to 255.
    pub severity: u8,
    /// Event type.
    pub event_type: String,
}

/// Rows of a wallet in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletRows {
    /// Event time of its first signal: milliseconds since the epoch.
    pub first_seen_ms: i64,
    /// Event time of its last signal.
    pub last_seen_ms: i64,
    /// Signals within the longest window: all, or as many as requested.
    pub counted: Vec<Counted>,
    /// Newest signals, the newest first.
    pub last: Vec<StoredSignal>,
    /// Latest snapshot.
    pub snapshot: Option<StoredSignal>,
}

impl Default for WalletRows {
    fn default() -> Self {
        Self {
            first_seen_ms: i64::MAX,
            last_seen_ms: i64::MIN,
            counted: Vec::new(),
            last: Vec::new(),
            snapshot: None,
        }
    }
}

impl WalletRows {
    /// Widens the time of the first and last signal by this event time, in milliseconds since the
    /// epoch.
    pub fn include(&mut self, event_time_ms: i64) {
        self.first_seen_ms = self.first_seen_ms.min(event_time_ms);
        self.last_seen_ms = self.last_seen_ms.max(event_time_ms);
    }

    /// Returns the counts by window, if all signals are present.
    pub fn counts(&self, now_ms: i64) -> Vec<SignalCount> {
        let since = WINDOWS.map(|window| window.since_ms(now_ms));
        let mut counts: BTreeMap<(&str, u8), [u64; WINDOWS.len()]> = BTreeMap::new();
        for signal in &self.counted {
            let key = (signal.event_type.as_str(), signal.severity);
            let signals = counts.entry(key).or_default();
            for (count, since) in signals.iter_mut().zip(since) {
                *count += u64::from(signal.place.event_time_ms >= since);
            }
        }
        let counts = counts.into_iter();
        counts
            .map(|((event_type, severity), signals)| SignalCount {
                event_type: event_type.to_owned(),
                severity,
                signals,
            })
            .collect()
    }
}

pub use answer::Wallet;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_counts_what_happened_within_it() {
        let now_ms = 100 * 3_600_000;
        let counted = |event_time_ms, severity, event_type: &str| Counted {
            place: PageCursor {
                event_time_ms,
                stream_created_ns: 1,
                stream_seq: 1,
            },
            severity,
            event_type: event_type.to_owned(),
        };
        let rows = WalletRows {
            counted: vec![
                counted(now_ms - 3_600_000, 1, "b"),
                counted(now_ms - 3_600_001, 1, "b"),
                counted(now_ms, 2, "b"),
                counted(now_ms - 24 * 3_600_000, 1, "a"),
                // It stays for a while after the longest window.
                counted(now_ms - 24 * 3_600_000 - 1, 1, "a"),
            ],
            ..WalletRows::default()
        };
        let count = |event_type: &str, severity, signals| SignalCount {
            event_type: event_type.to_owned(),
            severity,
            signals,
        };
        let expected = [
            count("a", 1, [0, 1]),
            count("b", 1, [1, 2]),
            count("b", 2, [1, 1]),
        ];
        assert_eq!(rows.counts(now_ms), expected);
        assert_eq!(horizon_ms(now_ms), now_ms - 24 * 3_600_000);
    }
}
