//! JSON answer about a wallet.

use std::collections::BTreeMap;

use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{SignalCount, WINDOWS};
use crate::rfc3339;

/// Current state of a wallet.
#[derive(Debug, Clone)]
pub struct Wallet {
    /// Address, as in signals.
    pub address: String,
    /// Event time of its first signal: milliseconds since the epoch.
    pub first_seen_ms: i64,
    /// Event time of its last signal.
    pub last_seen_ms: i64,
    /// Numbers of signals by type and severity within each window.
    pub counts: Vec<SignalCount>,
    /// Latest snapshot, a signal as JSON.
    pub snapshot: Option<Box<RawValue>>,
    /// Newest signals as JSON, the newest first.
    pub last: Vec<Box<RawValue>>,
}

/// Figures of one window.
#[derive(Debug, Serialize)]
struct InWindow<'a> {
    signals: u64,
    by_severity: BTreeMap<u8, u64>,
    by_type: BTreeMap<&'a str, u64>,
}

/// Counts, window by window.
struct Windows<'a>(&'a [SignalCount]);

impl Serialize for Wallet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut state = serializer.serialize_struct("Wallet", 6)?;
        state.serialize_field("wallet_address", &self.address)?;
        state.serialize_field("first_seen", &rfc3339(self.first_seen_ms))?;
        state.serialize_field("last_seen", &rfc3339(self.last_seen_ms))?;
        state.serialize_field("windows", &Windows(&self.counts))?;
        state.serialize_field("snapshot", &self.snapshot)?;
        state.serialize_field("last_signals", &self.last)?;
        state.end()
    }
}

impl Serialize for Windows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut windows = serializer.serialize_map(Some(WINDOWS.len()))?;
        for (index, window) in WINDOWS.iter().enumerate() {
            let mut figures = InWindow {
                signals: 0,
                by_severity: BTreeMap::new(),
                by_type: BTreeMap::new(),
            };
            let counts = self.0.iter().map(|count| (count, count.signals[index]));
            for (count, signals) in counts.filter(|(_, signals)| *signals > 0) {
                figures.signals += signals;
                *figures.by_severity.entry(count.severity).or_default() += signals;
                *figures.by_type.entry(&count.event_type).or_default() += signals;
            }
            windows.serialize_entry(window.name, &figures)?;
        }
        windows.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_reads_as_json() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        let count = |event_type: &str, severity, signals| SignalCount {
            event_type: event_type.to_owned(),
            severity,
            signals,
        };
        let wallet = Wallet {
            address: "0x\"ab".to_owned(),
            first_seen_ms: 0,
            last_seen_ms: 1_764_140_645_007,
            counts: vec![
                count("transaction", 1, [1, 5]),
                count("transaction", 4, [2, 2]),
                count("risk_event", 4, [0, 3]),
            ],
            snapshot: None,
            last: vec![raw(r#"{ "wei":1157920892373161954235709 }"#)],
        };
        assert_eq!(
            serde_json::to_string(&wallet).unwrap(),
            concat!(
                r#"{"wallet_address":"0x\"ab","first_seen":"1970-01-01T00:00:00.000Z","last_seen":"2025-11-26T07:04:05.007Z","#,
                r#""windows":{"1h":{"signals":3,"by_severity":{"1":1,"4":2},"by_type":{"transaction":3}},"#,
                r#""24h":{"signals":10,"by_severity":{"1":5,"4":5},"by_type":{"risk_event":3,"transaction":7}}},"#,
                r#""snapshot":null,"last_signals":[{ "wei":1157920892373161954235709 }]}"#
            )
        );
    }
}
