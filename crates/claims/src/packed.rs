//! Encoding of entries in a record: differences of sequences and times, which are small, and dead
//! letters by index, since most entries are rows.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::entry::{Cause, Entry, Fate};

#[derive(Serialize, Deserialize)]
struct Packed {
    /// Distance of each entry from the sequence and the time before.
    steps: Vec<(u64, i64)>,
    /// Indices of the dead letters.
    dead_letters: Vec<(u32, Cause)>,
}

/// Writes entries.
pub fn serialize<S: Serializer>(entries: &[Entry], serializer: S) -> Result<S::Ok, S::Error> {
    let (mut seq, mut time) = (0u64, 0i64);
    let mut packed = Packed {
        steps: Vec::with_capacity(entries.len()),
        dead_letters: Vec::new(),
    };
    for (place, entry) in (0u32..).zip(entries) {
        let step = (
            entry.stream_seq.wrapping_sub(seq),
            entry.published_ns.wrapping_sub(time),
        );
        packed.steps.push(step);
        (seq, time) = (entry.stream_seq, entry.published_ns);
        if let Fate::DeadLetter(cause) = entry.fate {
            packed.dead_letters.push((place, cause));
        }
    }
    packed.serialize(serializer)
}

/// Reads entries.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
    let packed = Packed::deserialize(deserializer)?;
    let (mut seq, mut time) = (0u64, 0i64);
    let mut entries: Vec<Entry> = Vec::with_capacity(packed.steps.len());
    for (seq_step, time_step) in packed.steps {
        seq = seq.wrapping_add(seq_step);
        time = time.wrapping_add(time_step);
        entries.push(Entry {
            stream_seq: seq,
            published_ns: time,
            fate: Fate::Row,
        });
    }
    for (place, cause) in packed.dead_letters {
        let entry = entries.get_mut(place as usize);
        let entry = entry.ok_or_else(|| serde::de::Error::custom("a dead letter without entry"))?;
        entry.fate = Fate::DeadLetter(cause);
    }
    Ok(entries)
}
