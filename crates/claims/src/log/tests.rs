use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::record::{Cause, Fate, Snapshot};

const CREATED: i64 = 7;

fn nonce() -> impl Strategy<Value = Nonce> {
    // Few, so that records meet.
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

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        1 => Just(Body::Nothing),
        6 => (0i64..9, entries()).prop_map(|(fence, entries)| {
            Body::Claim(Block { stream_created_ns: CREATED, fence, entries })
        }),
        2 => nonce().prop_map(Body::Takeover),
        2 => (nonce(), parts()).prop_map(|(claim, parts)| Body::Split { claim, parts }),
        2 => (nonce(), parts(), proptest::collection::vec(1u64..9, 0..3))
            .prop_map(|(claim, parts, lost)| Body::Settled { claim, parts, lost }),
        1 => (0u64..9, 0u64..9).prop_map(|(first, last)| {
            Body::Absent { stream_created_ns: CREATED, first, last }
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
        publisher: Publisher(publisher),
        generation: Nonce(0),
        tip: Place::START,
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

fn standings(log: &Log) -> Vec<Standing> {
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
    fn whatever_is_published_an_open_claim_owns_what_it_names(records in records()) {
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
    fn what_was_done_stays_done_and_what_was_claimed_never_is_free(records in records()) {
        let mut before = standings(&Log::new());
        for end in 1..=records.len() {
            let now = standings(&read(&records[..end]).0);
            for (before, now) in before.iter().zip(&now) {
                match before {
                    Standing::Done => prop_assert_eq!(*now, Standing::Done),
                    Standing::Claimed(_) | Standing::Other => {
                        prop_assert_ne!(*now, Standing::Free);
                    }
                    Standing::Free => {}
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
            publisher: Publisher(9),
            generation: Nonce(0),
            tip: whole.tip(),
            done: Vec::new(),
            body: Body::Snapshot(Box::new(whole.snapshot())),
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
        if !matches!(record.body, Body::Claim(_)) || !record.done.is_empty() {
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
            publisher: Publisher(1),
            generation: Nonce(0),
            tip: log.tip(),
            done: Vec::new(),
            body: Body::Snapshot(Box::new(log.snapshot())),
        });
        for record in stored {
            let bytes = crate::wire::encode(&record).unwrap();
            prop_assert_eq!(&crate::wire::decode(&bytes).unwrap(), &record);
            for cut in 0..bytes.len() {
                prop_assert!(crate::wire::decode(&bytes[..cut]).is_err());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_surprise(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = crate::wire::decode(&bytes);
    }
}

#[test]
fn a_log_that_goes_on_elsewhere_is_noticed() {
    let record = |id, tip| Record {
        id: Nonce(id),
        publisher: Publisher(1),
        generation: Nonce(0),
        tip,
        done: Vec::new(),
        body: Body::Nothing,
    };
    let mut log = Log::new();
    log.read(1, &record(5, Place::START)).unwrap();
    let at = |seq, id| Place { seq, id: Nonce(id) };
    let mut read = |seq, tip| log.read(seq, &record(6, tip));
    assert_eq!(read(1, Place::START), Err(LogError::Lost { seq: 1 }));
    assert_eq!(read(2, at(1, 4)), Err(LogError::Lost { seq: 1 }));
    assert_eq!(read(2, at(2, 5)), Err(LogError::Lost { seq: 2 }));
    assert_eq!(
        read(3, Place::START),
        Err(LogError::Gap { read: 1, found: 3 })
    );
    assert_eq!(read(2, at(1, 5)), Ok(()));
}

/// Reads a snapshot, a claim of a message, and another record.
fn three(ids: [u128; 3]) -> (Log, Vec<Record>) {
    let entry = Entry {
        stream_seq: 3,
        published_ns: 0,
        fate: Fate::Row,
    };
    let block = Block {
        stream_created_ns: CREATED,
        fence: 100,
        entries: vec![entry],
    };
    let first = Snapshot::first(CREATED, 2);
    let bodies = [
        Body::Snapshot(Box::new(first)),
        Body::Claim(block),
        Body::Nothing,
    ];
    let mut log = Log::new();
    let mut records = Vec::new();
    for ((seq, id), body) in (1..).zip(ids).zip(bodies) {
        let record = Record {
            id: Nonce(id),
            publisher: Publisher(1),
            generation: Nonce(ids[0]),
            tip: log.tip(),
            done: Vec::new(),
            body,
        };
        log.read(seq, &record).unwrap();
        records.push(record);
    }
    (log, records)
}

#[test]
fn a_reader_that_a_purge_left_behind_notices_that_its_claim_was_lost() {
    let (ours, _) = three([1, 2, 3]);
    let snapshot = |log: &Log| Record {
        id: Nonce(9),
        publisher: Publisher(1),
        generation: Nonce(1),
        tip: log.tip(),
        done: Vec::new(),
        body: Body::Snapshot(Box::new(log.snapshot())),
    };
    // The log lost the claim, and went on to a snapshot behind it.
    let (other, records) = three([1, 4, 5]);
    let mut behind = Log::new();
    behind.read(1, &records[0]).unwrap();
    behind.read(2, &three([1, 2, 3]).1[1]).unwrap();
    assert_eq!(
        behind.clone().read(4, &snapshot(&other)),
        Err(LogError::Lost { seq: 2 })
    );
    assert_eq!(behind.clone().read(4, &snapshot(&ours)), Ok(()));
    // A claim whose fence is over is in no snapshot, and nothing of it can land.
    let mut later = ours.clone();
    later.forget_tokens(100, 0);
    assert_eq!(behind.read(4, &snapshot(&later)), Ok(()));
}

#[test]
fn a_rebuilt_log_has_what_is_stored_and_nothing_of_its_earlier_generation() {
    let (known, records) = three([1, 2, 3]);
    let mut rebuild = Rebuild::new(known.clone());
    rebuild.read(1, &records[0]).unwrap();
    // The claim's fence is the last one, although the longest from now is over.
    assert!(rebuild.fences_over(0, 50, 105, 5).is_none());
    let over = rebuild.fences_over(0, 50, 106, 5).unwrap();
    let stored = Position {
        stream_created_ns: CREATED,
        stream_seq: 5,
        published_ns: 0,
    };
    let claim = None;
    let position = stored;
    let record = rebuild.record(Nonce(7), Publisher(2), over, [Stored { position, claim }]);
    assert_eq!(
        known.clone().read(4, &record),
        Err(LogError::Misplaced { seq: 4, covers: 1 })
    );
    let mut log = Log::new();
    log.read(2, &record).unwrap();
    assert_eq!(
        standings(&log)[4..10],
        [
            Standing::Free,
            Standing::Free,
            Standing::Free,
            Standing::Free,
            Standing::Done,
            Standing::Done
        ]
    );
    // A record that was on its way meanwhile is void.
    let before = standings(&log);
    log.read(3, &records[1]).unwrap();
    assert_eq!(standings(&log), before);
    let other = Rebuild::new(known).read(2, &record);
    assert_eq!(other, Err(LogError::Renewed { seq: 2 }));
}

#[test]
fn claims_from_before_a_connection_was_made_are_void() {
    let (mut log, records) = three([1, 2, 3]);
    let claim = |id, tip, stream_seq| {
        let Body::Claim(mut block) = records[1].body.clone() else {
            unreachable!()
        };
        block.entries[0].stream_seq = stream_seq;
        Record {
            id: Nonce(id),
            tip,
            body: Body::Claim(block),
            ..records[1].clone()
        }
    };
    let before = log.tip();
    let connected = Record {
        id: Nonce(4),
        tip: before,
        body: Body::Connected,
        ..records[1].clone()
    };
    log.read(4, &connected).unwrap();
    log.read(5, &claim(5, before, 8)).unwrap();
    assert_eq!(standings(&log)[14], Standing::Free);
    let begun = Record {
        id: Nonce(6),
        tip: log.tip(),
        body: Body::Snapshot(Box::new(log.snapshot())),
        ..records[1].clone()
    };
    let mut late = Log::new();
    late.read(6, &begun).unwrap();
    for log in [&mut log, &mut late] {
        if log.tip().seq == 5 {
            log.read(6, &begun).unwrap();
        }
        log.read(7, &claim(7, before, 8)).unwrap();
        assert_eq!(standings(log)[14], Standing::Free);
        log.read(8, &claim(8, connected_place(), 8)).unwrap();
        assert_eq!(standings(log)[14], Standing::Claimed(Nonce(8)));
    }
}

fn connected_place() -> Place {
    Place {
        seq: 4,
        id: Nonce(4),
    }
}
