use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::entry::{Cause, Fate};

pub const CREATED: i64 = 7;

fn nonce() -> impl Strategy<Value = Nonce> {
    // A few values, so that records meet.
    (1u128..12).prop_map(Nonce)
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    proptest::collection::btree_map(1u64..9, (0i64..2, any::<bool>()), 0..5).prop_map(|entries| {
        let entry = |(stream_seq, (published_ns, is_row))| Entry {
            stream_seq,
            published_ns,
            fate: if is_row {
                Fate::Row
            } else {
                Fate::DeadLetter(Cause::Invalid)
            },
        };
        entries.into_iter().map(entry).collect()
    })
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let part =
        (nonce(), 0i64..9, entries()).prop_map(|(id, fence, entries)| Part { id, fence, entries });
    proptest::collection::vec(part, 0..3)
}

fn body() -> impl Strategy<Value = RecordBody> {
    prop_oneof![
        1 => Just(RecordBody::Nothing),
        6 => (0i64..9, entries()).prop_map(|(fence, entries)| {
            RecordBody::Claim(ClaimBlock { stream_created_ns: CREATED, fence, table: 0, entries })
        }),
        2 => nonce().prop_map(RecordBody::Takeover),
        2 => (nonce(), parts()).prop_map(|(claim, parts)| RecordBody::Split { claim, parts }),
        2 => (nonce(), parts(), proptest::collection::vec(1u64..9, 0..3))
            .prop_map(|(claim, parts, lost)| RecordBody::Settled { claim, parts, lost }),
        1 => (0u64..9, 0u64..9).prop_map(|(first, last)| {
            RecordBody::Absent { stream_created_ns: CREATED, first, last }
        }),
        1 => (0u64..9, 0u64..9, 0i64..9).prop_map(|(first, last, over)| {
            RecordBody::Reopened { stream_created_ns: CREATED, first, last, over }
        }),
    ]
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let done = (nonce(), any::<bool>()).prop_map(|(claim, only)| Done {
        claim,
        proof: if only { Proof::OnlyTry } else { Proof::Counted },
    });
    let done = proptest::collection::vec(done, 0..2);
    let record = (nonce(), 1u128..4, done, body()).prop_map(|(id, publisher, done, body)| Record {
        id,
        publisher: PublisherId(publisher),
        generation: Nonce(0),
        tip: LogPosition::START,
        done,
        body,
    });
    proptest::collection::vec(record, 0..24)
}

/// Reads records whose publishers had read all before them.
fn read(records: &[Record]) -> (Log, Vec<Record>) {
    let mut log = Log::new();
    let mut stored = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let record = Record {
            tip: log.tip(),
            ..record.clone()
        };
        log.read(index as u64 + 1, &record).unwrap();
        stored.push(record);
    }
    (log, stored)
}

/// Returns the log's standing of each of a few messages.
pub fn standings(log: &Log) -> Vec<Standing> {
    let position = |stream_seq, published_ns| Position {
        stream_created_ns: CREATED,
        stream_seq,
        published_ns,
    };
    let positions = (1..10).flat_map(|seq| [position(seq, 0), position(seq, 1)]);
    positions.map(|position| log.standing(position)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn with_any_records_an_open_claim_owns_its_messages(records in records()) {
        let (log, _) = read(&records);
        for (id, claim) in log.claims() {
            prop_assert!(!claim.block.entries.is_empty());
            for entry in &claim.block.entries {
                let position = Position {
                    stream_created_ns: CREATED,
                    stream_seq: entry.stream_seq,
                    published_ns: entry.published_ns,
                };
                prop_assert_eq!(log.standing(position), Standing::Claimed(id));
            }
        }
    }

    #[test]
    fn with_any_records_no_sequence_is_claimed_forever(records in records()) {
        let (log, _) = read(&records);
        for stream in log.streams.values() {
            for (id, sequences) in stream.open.iter() {
                let block = log.claim(id).map(|claim| &claim.block);
                for seq in sequences.ranges().into_iter().flatten() {
                    prop_assert!(block.is_some_and(|block| block.entry(seq).is_some()));
                }
            }
        }
    }

    #[test]
    fn done_stays_done_and_claimed_never_becomes_free(records in records()) {
        let mut before = standings(&Log::new());
        for end in 1..=records.len() {
            let now = standings(&read(&records[..end]).0);
            let is_reopened = matches!(records[end - 1].body, RecordBody::Reopened { .. });
            for (before, now) in before.iter().zip(&now) {
                match before {
                    Standing::Done if is_reopened => {
                        prop_assert!([Standing::Done, Standing::Doubtful].contains(now));
                    }
                    Standing::Done => prop_assert_eq!(*now, Standing::Done),
                    Standing::Claimed(_) | Standing::Other => {
                        prop_assert_ne!(*now, Standing::Free);
                    }
                    Standing::Free | Standing::Doubtful => {}
                }
            }
            before = now;
        }
    }

    #[test]
    fn a_reader_that_begins_at_a_snapshot_knows_the_same(records in records(), at in 0usize..24) {
        let at = at.min(records.len());
        let (mut whole, _) = read(&records[..at]);
        let snapshot = Record {
            id: Nonce(99),
            publisher: PublisherId(9),
            generation: Nonce(0),
            tip: whole.tip(),
            done: Vec::new(),
            body: RecordBody::Snapshot(Box::new(whole.snapshot())),
        };
        let mut late = Log::new();
        let mut seq = at as u64 + 1;
        whole.read(seq, &snapshot).unwrap();
        late.read(seq, &snapshot).unwrap();
        for record in &records[at..] {
            seq += 1;
            let record = Record { tip: whole.tip(), ..record.clone() };
            whole.read(seq, &record).unwrap();
            late.read(seq, &record).unwrap();
            prop_assert_eq!(standings(&whole), standings(&late));
            prop_assert_eq!(whole.snapshot(), late.snapshot());
        }
    }

    #[test]
    fn a_second_copy_of_a_claim_owns_nothing(records in records(), again in 0usize..24) {
        let (before, stored) = read(&records);
        let Some(record) = stored.get(again) else { return Ok(()) };
        if !matches!(record.body, RecordBody::Claim(_)) || !record.done.is_empty() {
            return Ok(());
        }
        // A nonce is random: no other record has it, and no part.
        let is_part = |record: &Record, id| match &record.body {
            RecordBody::Split { parts, .. } | RecordBody::Settled { parts, .. } => {
                parts.iter().any(|part| part.id == id)
            }
            _ => false,
        };
        let has = |other: &&Record| other.id == record.id || is_part(other, record.id);
        if stored.iter().filter(has).count() > 1 {
            return Ok(());
        }
        let mut after = before.clone();
        after.read(stored.len() as u64 + 1, record).unwrap();
        prop_assert_eq!(standings(&before), standings(&after));
        let ids = |log: &Log| log.claims().map(|(id, _)| id).collect::<BTreeSet<_>>();
        prop_assert_eq!(ids(&before), ids(&after));
    }

    #[test]
    fn records_are_read_as_they_were_written(records in records()) {
        let (log, mut stored) = read(&records);
        stored.push(Record {
            id: Nonce(u128::MAX),
            publisher: PublisherId(1),
            generation: Nonce(0),
            tip: log.tip(),
            done: Vec::new(),
            body: RecordBody::Snapshot(Box::new(log.snapshot())),
        });
        for record in stored {
            let bytes = crate::wire::encode(&record).unwrap();
            prop_assert_eq!(&crate::wire::decode(&bytes).unwrap(), &record);
            for cut in 0..bytes.len() {
                match crate::wire::decode(&bytes[..cut]) {
                    // Within the mark and the version.
                    Ok(record) => prop_assert!(cut < 5 && record.body == RecordBody::Foreign),
                    Err(_) => prop_assert!(cut >= 5),
                }
            }
        }
    }

    #[test]
    fn bytes_without_the_mark_are_a_void_record(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let is_marked = bytes.starts_with(b"RSCL") && bytes.len() > 4;
        match crate::wire::decode(&bytes) {
            Ok(record) if !is_marked => prop_assert_eq!(record, Record::foreign(&bytes)),
            result => prop_assert!(is_marked || result.is_err()),
        }
        let mut marked = b"RSCL".to_vec();
        marked.extend(&bytes);
        let _ = crate::wire::decode(&marked);
    }

    #[test]
    fn a_foreign_message_changes_nothing_but_the_tip(
        records in records(), at in 0usize..24, bytes in proptest::collection::vec(any::<u8>(), 0..9)
    ) {
        let at = at.min(records.len());
        let mut with = read(&records[..at]).0;
        with.read(at as u64 + 1, &crate::wire::decode(&bytes).unwrap()).unwrap();
        for record in &records[at..] {
            let record = Record { tip: with.tip(), ..record.clone() };
            with.read(with.tip().seq + 1, &record).unwrap();
        }
        let without = read(&records).0;
        prop_assert_eq!(standings(&with), standings(&without));
        let open = |log: &Log| log.claims().map(|(id, claim)| (id, claim.clone())).collect::<Vec<_>>();
        prop_assert_eq!(open(&with), open(&without));
        prop_assert_eq!(with.tokens(), without.tokens());
    }
}

#[test]
fn a_record_of_a_later_version_or_a_damaged_one_is_never_skipped() {
    use crate::wire::{WireError, decode, encode};
    let bytes = encode(&Record {
        body: RecordBody::Nothing,
        ..Record::foreign(b"")
    });
    let mut bytes = bytes.unwrap();
    bytes.push(0);
    assert!(matches!(decode(&bytes), Err(WireError::Trailing(1))));
    bytes[4] = 200;
    let later = decode(&bytes);
    assert!(matches!(later, Err(WireError::Version { version: 200 })));
    assert!(encode(&Record::foreign(b"garbage")).is_err());
}

#[test]
fn a_log_that_goes_on_elsewhere_is_noticed() {
    let record = |id, tip| Record {
        id: Nonce(id),
        publisher: PublisherId(1),
        generation: Nonce(0),
        tip,
        done: Vec::new(),
        body: RecordBody::Nothing,
    };
    let mut log = Log::new();
    log.read(1, &record(5, LogPosition::START)).unwrap();
    assert_eq!(log.read(1, &record(5, LogPosition::START)), Ok(()));
    let at = |seq, id| LogPosition { seq, id: Nonce(id) };
    let mut read = |seq, tip| log.read(seq, &record(6, tip));
    assert_eq!(
        read(1, LogPosition::START),
        Err(LogReadError::Lost { seq: 1 })
    );
    assert_eq!(read(2, at(1, 4)), Err(LogReadError::Lost { seq: 1 }));
    assert_eq!(read(2, at(2, 5)), Err(LogReadError::Lost { seq: 2 }));
    assert_eq!(
        read(3, LogPosition::START),
        Err(LogReadError::Gap { read: 1, found: 3 })
    );
    assert_eq!(read(2, at(1, 5)), Ok(()));
}
