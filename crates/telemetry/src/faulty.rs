//! Signals that land although their payloads break their contracts, by type and source.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use signal::Signal;
use time::OffsetDateTime;
use time::serde::rfc3339;
use tracing::warn;

use super::excerpt::{beginning, cut};

/// Pairs of a type and a source that are listed: the first ones since the start.
const PAIRS_MAX: usize = 32;

/// Signals of one type from one source whose payloads break the contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultyPayloads {
    /// Their type.
    pub event_type: String,
    /// The beginning of the source's name.
    pub source_id: String,
    /// Their number since the start.
    pub count: u64,
    /// The beginning of the faults of the first one: paths and rules, no values, and no names of
    /// fields that its contract does not have.
    pub faults: String,
    /// Sequence of the newest one in the stream of signals.
    pub stream_seq: u64,
    /// Time of the first one.
    #[serde(with = "rfc3339")]
    pub since: OffsetDateTime,
}

/// Counts faulty payloads and logs the first one of each type and source.
#[derive(Debug, Default)]
pub struct Faulty(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    pairs: Vec<FaultyPayloads>,
    /// The log says that no further pair is listed.
    is_full: bool,
}

/// Place of a signal in the list.
#[derive(Debug)]
enum Place {
    Known,
    New(FaultyPayloads),
    /// The first one for which there is no place.
    Full,
    None,
}

impl Faulty {
    /// Counts a signal whose payload breaks its contract.
    pub fn count(&self, signal: &Signal<'_>, stream_seq: u64) {
        match self.add(signal, stream_seq) {
            Place::Known | Place::None => {}
            Place::New(pair) => warn!(
                event_type = pair.event_type,
                source_id = pair.source_id,
                faults = pair.faults,
                stream_seq,
                "Payload breaks its contract; the signal lands, and later ones of this type and source are counted without a line"
            ),
            Place::Full => warn!(
                pairs = PAIRS_MAX,
                "Payloads of further types and sources break their contracts; only risksignal_signals_payload_faulty_total counts them"
            ),
        }
    }

    /// The pairs, in the order in which they came.
    pub fn snapshot(&self) -> Vec<FaultyPayloads> {
        self.lock().pairs.clone()
    }

    fn add(&self, signal: &Signal<'_>, stream_seq: u64) -> Place {
        let source_id = beginning(&signal.source_id);
        let mut state = self.lock();
        let known = state
            .pairs
            .iter_mut()
            .find(|pair| pair.event_type == signal.event_type && pair.source_id == source_id);
        if let Some(pair) = known {
            pair.count += 1;
            pair.stream_seq = stream_seq;
            return Place::Known;
        }
        if state.pairs.len() >= PAIRS_MAX {
            return match std::mem::replace(&mut state.is_full, true) {
                true => Place::None,
                false => Place::Full,
            };
        }
        let pair = FaultyPayloads {
            event_type: signal.event_type.to_string(),
            source_id: source_id.to_owned(),
            count: 1,
            faults: cut(&signal.payload_faults.public()),
            stream_seq,
            since: OffsetDateTime::now_utc(),
        };
        state.pairs.push(pair.clone());
        Place::New(pair)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; the state is whole in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal::Limits;

    fn add(faulty: &Faulty, source: &str, seq: u64) -> Place {
        let text = format!(
            r#"{{"event_time":"2026-01-01T00:00:00Z","source_id":"{source}","event_type":"risk_event","payload":{{"score":2}},"severity":1,"trace_id":"7b0f1e9c-8a43-4e5e-9f6c-3d2a1b0c9d8e"}}"#
        );
        let signal = Signal::parse(text.as_bytes(), "", &Limits::default()).unwrap();
        assert!(!signal.payload_faults.is_empty());
        faulty.add(&signal, seq)
    }

    #[test]
    fn each_type_and_source_has_one_line_and_the_list_is_bounded() {
        let faulty = Faulty::default();
        assert!(matches!(add(&faulty, "a", 1), Place::New(_)));
        assert!(matches!(add(&faulty, "a", 2), Place::Known));
        let first = faulty.snapshot().remove(0);
        assert_eq!((first.count, first.stream_seq), (2, 2));
        assert!(first.faults.contains("payload/score"), "{}", first.faults);
        for number in 1..PAIRS_MAX {
            let place = add(&faulty, &format!("b{number}"), 3);
            assert!(matches!(place, Place::New(_)));
        }
        assert!(matches!(add(&faulty, "c", 4), Place::Full));
        assert!(matches!(add(&faulty, "d", 5), Place::None));
        assert_eq!(faulty.snapshot().len(), PAIRS_MAX);
    }
}
