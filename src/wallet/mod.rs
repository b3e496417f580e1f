//! What is known of a wallet: what clients read of it, and what the table has that it is made of.

mod answer;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::store::{Place, StoredSignal};

/// Signals of a wallet that are told in full: the newest.
pub const LAST_SIGNALS: usize = 20;
/// Bytes of a payload beyond which those leave it out.
pub const LONGEST_PAYLOAD: usize = 4 * 1024;
/// The same of the latest snapshot, which has a balance for each token.
pub const LONGEST_SNAPSHOT: usize = 64 * 1024;
/// The event type of a snapshot.
pub const SNAPSHOT: &str = "wallet_snapshot";
/// The sliding windows that signals are counted in, the shortest first.
pub const WINDOWS: [Window; 2] = [
    Window {
        name: "1h",
        length: Duration::from_secs(3600),
    },
    Window {
        name: "24h",
        length: Duration::from_secs(24 * 3600),
    },
];

/// A sliding window: the time up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// What clients call it.
    pub name: &'static str,
    /// How far it goes back.
    pub length: Duration,
}

impl Window {
    /// Where it begins, in milliseconds since the epoch.
    pub fn since_ms(&self, now_ms: i64) -> i64 {
        now_ms - i64::try_from(self.length.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Where the longest window begins, in milliseconds since the epoch.
pub fn horizon_ms(now_ms: i64) -> i64 {
    let [.., longest] = WINDOWS;
    longest.since_ms(now_ms)
}

/// How many signals of a type and a severity there are in each of [`WINDOWS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The event type.
    pub event_type: String,
    /// 0 to 255.
    pub severity: u8,
    /// By window.
    pub signals: [u64; WINDOWS.len()],
}

/// A signal of which no more is told than that it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// When it happened, and where it stands in its stream.
    pub place: Place,
    /// 0 to 255.
    pub severity: u8,
    /// Its event type.
    pub event_type: String,
}

/// What the table has of a wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// When its first signal happened: milliseconds since the epoch.
    pub first_seen_ms: i64,
    /// When its last one did.
    pub last_seen_ms: i64,
    /// Signals within the longest window: all, or as many as were asked for.
    pub counted: Vec<Counted>,
    /// The newest signals, the newest first.
    pub last: Vec<StoredSignal>,
    /// The latest snapshot.
    pub snapshot: Option<StoredSignal>,
}

impl Default for Rows {
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

impl Rows {
    /// A signal happened at this time, in milliseconds since the epoch.
    pub fn saw(&mut self, event_time_ms: i64) {
        self.first_seen_ms = self.first_seen_ms.min(event_time_ms);
        self.last_seen_ms = self.last_seen_ms.max(event_time_ms);
    }

    /// The counts by window, of signals that are all there.
    pub fn counts(&self, now_ms: i64) -> Vec<Count> {
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
            .map(|((event_type, severity), signals)| Count {
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
            place: Place {
                event_time_ms,
                stream_created_ns: 1,
                stream_seq: 1,
            },
            severity,
            event_type: event_type.to_owned(),
        };
        let rows = Rows {
            counted: vec![
                counted(now_ms - 3_600_000, 1, "b"),
                counted(now_ms - 3_600_001, 1, "b"),
                counted(now_ms, 2, "b"),
                counted(now_ms - 24 * 3_600_000, 1, "a"),
                // It stays for a while behind the longest window.
                counted(now_ms - 24 * 3_600_000 - 1, 1, "a"),
            ],
            ..Rows::default()
        };
        let count = |event_type: &str, severity, signals| Count {
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
