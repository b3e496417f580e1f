use super::tests::{CREATED, standings};
use super::*;
use crate::entry::Fate;
use crate::record::Snapshot;

/// Reads a snapshot, a claim of a message, and another record.
fn three(ids: [u128; 3]) -> (Log, Vec<Record>) {
    let entry = Entry {
        stream_seq: 3,
        published_ns: 0,
        fate: Fate::Row,
    };
    let block = ClaimBlock {
        stream_created_ns: CREATED,
        fence: 100,
        table: 0,
        entries: vec![entry],
    };
    let first = Snapshot::first(CREATED, 2);
    let bodies = [
        RecordBody::Snapshot(Box::new(first)),
        RecordBody::Claim(block),
        RecordBody::Nothing,
    ];
    let mut log = Log::new();
    let mut records = Vec::new();
    for ((seq, id), body) in (1..).zip(ids).zip(bodies) {
        let record = Record {
            id: Nonce(id),
            publisher: PublisherId(1),
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
        publisher: PublisherId(1),
        generation: Nonce(1),
        tip: log.tip(),
        done: Vec::new(),
        body: RecordBody::Snapshot(Box::new(log.snapshot())),
    };
    // The log lost the claim, and continued up to a later snapshot.
    let (other, records) = three([1, 4, 5]);
    let mut behind = Log::new();
    behind.read(1, &records[0]).unwrap();
    behind.read(2, &three([1, 2, 3]).1[1]).unwrap();
    assert_eq!(
        behind.clone().read(4, &snapshot(&other)),
        Err(LogReadError::Lost { seq: 2 })
    );
    assert_eq!(behind.clone().read(4, &snapshot(&ours)), Ok(()));
    // A claim whose fence is over is in no snapshot, and cannot land any more.
    let mut later = ours.clone();
    later.forget_tokens(100, 0);
    assert_eq!(behind.read(4, &snapshot(&later)), Ok(()));
}

#[test]
fn a_rebuilt_log_has_what_is_stored_and_nothing_of_its_earlier_generation() {
    let (known, records) = three([1, 2, 3]);
    let mut rebuild = Rebuild::new(known.clone());
    rebuild.read(1, &records[0]).unwrap();
    // The claim's fence is the last one, although the longest fence from now is over.
    assert!(rebuild.fences_over(0, 50, 105, 5).is_none());
    let over = rebuild.fences_over(0, 50, 106, 5).unwrap();
    let stored = Position {
        stream_created_ns: CREATED,
        stream_seq: 5,
        published_ns: 0,
    };
    let record = rebuild.record(Nonce(7), PublisherId(2), over, [stored]);
    assert_eq!(
        known.clone().read(4, &record),
        Err(LogReadError::Misplaced { seq: 4, covers: 1 })
    );
    let mut log = Log::new();
    log.read(2, &record).unwrap();
    // Claimed or stored messages are looked up before they are claimed again.
    let (free, doubtful) = (Standing::Free, Standing::Doubtful);
    assert_eq!(standings(&log)[2..4], [Standing::Done; 2]);
    assert_eq!(standings(&log)[4..10], [doubtful; 6]);
    assert_eq!(standings(&log)[10..12], [free; 2]);
    // A record that was on its way meanwhile is void.
    let before = standings(&log);
    log.read(3, &records[1]).unwrap();
    assert_eq!(standings(&log), before);
    let other = Rebuild::new(known).read(2, &record);
    assert_eq!(other, Err(LogReadError::Renewed { seq: 2 }));
}

#[test]
fn claims_from_before_a_connection_was_made_are_void() {
    let (mut log, records) = three([1, 2, 3]);
    let claim = |id, tip, stream_seq| {
        let RecordBody::Claim(mut block) = records[1].body.clone() else {
            unreachable!()
        };
        block.entries[0].stream_seq = stream_seq;
        Record {
            id: Nonce(id),
            tip,
            body: RecordBody::Claim(block),
            ..records[1].clone()
        }
    };
    let before = log.tip();
    let connected = Record {
        id: Nonce(4),
        tip: before,
        body: RecordBody::Connected,
        ..records[1].clone()
    };
    log.read(4, &connected).unwrap();
    log.read(5, &claim(5, before, 8)).unwrap();
    assert_eq!(standings(&log)[14], Standing::Free);
    let begun = Record {
        id: Nonce(6),
        tip: log.tip(),
        body: RecordBody::Snapshot(Box::new(log.snapshot())),
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

fn connected_place() -> LogPosition {
    LogPosition {
        seq: 4,
        id: Nonce(4),
    }
}

#[test]
fn rows_of_messages_that_a_stream_lost_are_no_sign_of_a_lost_log() {
    let (mut log, records) = three([1, 2, 3]);
    let position = |stream_seq, published_ns| Position {
        stream_created_ns: CREATED,
        stream_seq,
        published_ns,
    };
    let row = |stream_seq| StoredEntry {
        position: position(stream_seq, 0),
        claim: Some(Nonce(2)),
    };
    assert!(log.explains(&row(3)) && !log.explains(&row(4)));
    let record = |id, tip, done, body| Record {
        id: Nonce(id),
        tip,
        done,
        body,
        ..records[1].clone()
    };
    let (claim, proof) = (Nonce(2), Proof::Counted);
    let done = vec![Done { claim, proof }];
    let to = RecordBody::Rewound(position(2, 0));
    log.read(4, &record(4, log.tip(), done, to)).unwrap();
    assert_eq!(log.floor(CREATED), Some(2));
    assert!(log.explains(&row(3)) && !log.explains(&row(4)));
    let RecordBody::Claim(mut block) = records[1].body.clone() else {
        unreachable!()
    };
    block.entries[0].published_ns = 1;
    log.read(
        5,
        &record(5, log.tip(), Vec::new(), RecordBody::Claim(block)),
    )
    .unwrap();
    assert_eq!(log.standing(position(3, 1)), Standing::Claimed(Nonce(5)));
    assert!(log.explains(&row(3)));
}

#[test]
fn messages_free_before_a_reopening_are_looked_up_first() {
    let (mut log, records) = three([1, 2, 3]);
    let before = log.tip();
    let record = |id, tip, done, body| Record {
        id: Nonce(id),
        tip,
        done,
        body,
        ..records[1].clone()
    };
    let (claim, proof) = (Nonce(2), Proof::Counted);
    let done = vec![Done { claim, proof }];
    let reopened = RecordBody::Reopened {
        stream_created_ns: CREATED,
        first: 1,
        last: 3,
        over: 99,
    };
    log.read(4, &record(4, before, done, reopened)).unwrap();
    let doubtful = [Standing::Doubtful; 2];
    assert_eq!(standings(&log)[4..6], doubtful);
    // Their publishers had queried the table before that.
    let found = RecordBody::Absent {
        stream_created_ns: CREATED,
        first: 3,
        last: 3,
    };
    log.read(5, &record(5, before, Vec::new(), found)).unwrap();
    assert_eq!(standings(&log)[4..6], doubtful);
    let claim = records[1].body.clone();
    log.read(6, &record(6, before, Vec::new(), claim)).unwrap();
    assert_eq!(standings(&log)[4..6], doubtful);
}

#[test]
fn answers_from_before_a_reopening_are_no_proof() {
    let record = |log: &Log, id, done, body| Record {
        id: Nonce(id),
        tip: log.tip(),
        done,
        body,
        ..three([1, 2, 3]).1[1].clone()
    };
    let proof = Proof::OnlyTry;
    let claim = Nonce(2);
    // The claim's fence is 100. A claim with a later fence was made since, and stays open.
    for (over, standing) in [(100, Standing::Doubtful), (99, Standing::Done)] {
        let (mut log, _) = three([1, 2, 3]);
        let reopened = RecordBody::Reopened {
            stream_created_ns: CREATED,
            first: 1,
            last: 9,
            over,
        };
        log.read(4, &record(&log, 4, Vec::new(), reopened)).unwrap();
        let done = vec![Done { claim, proof }];
        log.read(5, &record(&log, 5, done, RecordBody::Nothing))
            .unwrap();
        assert_eq!(standings(&log)[4..6], [standing; 2], "{over}");
    }
}

#[test]
fn a_log_whose_snapshot_was_purged_is_rebuilt_out_of_what_was_read() {
    let (known, records) = three([1, 2, 3]);
    let mut rebuild = Rebuild::new(known);
    let record = Record {
        id: Nonce(4),
        ..records[2].clone()
    };
    rebuild.read(4, &record).unwrap();
    rebuild.read(5, &record).unwrap();
    let over = rebuild.fences_over(0, 50, 106, 5).unwrap();
    let record = rebuild.record(Nonce(7), PublisherId(2), over, []);
    let mut log = Log::new();
    log.read(6, &record).unwrap();
    assert_eq!(standings(&log)[2..4], [Standing::Done; 2]);
    assert_eq!(standings(&log)[4..6], [Standing::Doubtful; 2]);
}
