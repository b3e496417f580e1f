//! Size of a snapshot at the bound: half of the window that a migration gives the table is taken.

use super::*;
use crate::entry::Fate;
use crate::instance::{Instance, RecordDelayed};
use crate::wire::{decode, encode};

/// Creation time of the stream: nanoseconds since the epoch, with as many digits as in practice.
const CREATED: i64 = 1_790_000_000_000_000_000;
/// Half of the window that a migration gives the table.
const TOKENS: u64 = 50_000;
/// Open claims.
const OPEN: u64 = 100;
/// Default of consumer.max_in_flight_messages: messages of one instance.
const MESSAGES: u64 = 50_000;
/// Default of consumer.max_ack_pending: messages of all instances.
const MESSAGES_OF_ALL: u64 = 200_000;
/// Default of nats-server's max_payload.
const MAX_PAYLOAD: usize = 1024 * 1024;

/// Returns bits that look random, the same in each run.
fn random(number: u64) -> u128 {
    Record::foreign(&number.to_le_bytes()).id.0
}

/// Appends a record of one of a few processes.
fn append(log: &mut Log, number: u64, done: Vec<Done>, body: RecordBody) {
    let record = Record {
        id: Nonce(random(number)),
        publisher: PublisherId(random(number % 4 + 1_000_000_000)),
        generation: log.generation(),
        tip: log.tip(),
        done,
        body,
    };
    log.read(log.tip().seq + 1, &record).unwrap();
}

/// Returns a block of `count` messages after `after`, a few microseconds apart.
fn block(after: u64, count: u64, fence: i64) -> ClaimBlock {
    let entry = |stream_seq| Entry {
        stream_seq,
        published_ns: CREATED + stream_seq as i64 * 10_007,
        fate: Fate::Row,
    };
    ClaimBlock {
        stream_created_ns: CREATED,
        fence,
        table: random(77),
        entries: (after + 1..=after + count).map(entry).collect(),
    }
}

/// Returns a log in which all tokens are taken, with `messages` messages in open claims.
fn full(messages: u64) -> Log {
    let mut log = Log::new();
    let first = crate::record::Snapshot::first(CREATED, 0);
    append(
        &mut log,
        0,
        Vec::new(),
        RecordBody::Snapshot(Box::new(first)),
    );
    let (mut seq, mut number) = (1, 1);
    let mut claim = |log: &mut Log, done, count| {
        let fence = 1_790_000_000 + (number / 333) as i64;
        append(
            log,
            number,
            done,
            RecordBody::Claim(block(seq, count, fence)),
        );
        (seq, number) = (seq + count, number + 1);
    };
    // Nobody claims the first message, so that the floor stays below all.
    let mut before = None;
    for one in 1..=TOKENS - OPEN {
        let done = |claim| Done {
            claim,
            proof: Proof::Counted,
        };
        claim(&mut log, before.map(done).into_iter().collect(), 10);
        before = Some(Nonce(random(one)));
    }
    for _ in 0..OPEN {
        claim(&mut log, Vec::new(), messages / OPEN);
    }
    assert_eq!(log.tokens() as u64, TOKENS);
    let open = log.claims().map(|(_, claim)| claim.block.entries.len());
    assert!(open.sum::<usize>() as u64 >= messages);
    log
}

/// Returns the size of a log's snapshot, from which another reader gets the same state.
fn size(mut log: Log) -> usize {
    let snapshot = Record {
        id: Nonce(random(u64::MAX)),
        publisher: PublisherId(random(7)),
        generation: log.generation(),
        tip: log.tip(),
        done: Vec::new(),
        body: RecordBody::Snapshot(Box::new(log.snapshot())),
    };
    let bytes = encode(&snapshot).unwrap();
    let mut late = Log::new();
    let seq = log.tip().seq + 1;
    late.read(seq, &decode(&bytes).unwrap()).unwrap();
    log.read(seq, &snapshot).unwrap();
    assert_eq!(late, log);
    bytes.len()
}

#[test]
fn a_snapshot_at_the_bound_fits_into_a_message() {
    let (one, all) = (size(full(MESSAGES)), size(full(MESSAGES_OF_ALL)));
    println!("{one} bytes with {MESSAGES} open messages, {all} with {MESSAGES_OF_ALL}");
    assert!(one < MAX_PAYLOAD / 3, "{one}");
    assert!(all < MAX_PAYLOAD, "{all}");
}

#[test]
fn dead_letters_take_no_place_in_the_window_and_each_log_has_its_share() {
    let mut instance = Instance::new(PublisherId(1), 4);
    let first = Record {
        body: RecordBody::Snapshot(Box::new(crate::record::Snapshot::first(CREATED, 0))),
        ..Record::foreign(b"first")
    };
    instance.read(1, &first).unwrap();
    let connected = instance.connect(Nonce(5));
    instance.read(2, &connected).unwrap();
    instance.join([], 2).unwrap();
    let claim = |instance: &mut Instance, seq: u64, fate| {
        let mut block = block(seq, 1, 100);
        block.entries[0].fate = fate;
        let record = instance.claim(Nonce(seq.into()), block)?;
        let place = instance.log().tip().seq + 1;
        instance.read(place, &record).unwrap();
        Ok::<_, RecordDelayed>(instance.log().tokens())
    };
    let letter = Fate::DeadLetter(crate::entry::Cause::Invalid);
    let taken = [(11, letter), (12, Fate::Row), (13, letter), (14, Fate::Row)];
    let taken = taken.map(|(seq, fate)| claim(&mut instance, seq, fate).unwrap());
    assert_eq!(taken, [0, 1, 1, 2]);
    let full = |tokens, limit, logs| {
        Err(RecordDelayed::WindowFull {
            tokens,
            limit,
            window: 4,
            logs,
        })
    };
    assert_eq!(claim(&mut instance, 15, Fate::Row), full(2, 2, 1));
    assert_eq!(claim(&mut instance, 15, letter), Ok(2));
    instance.share_window(2);
    assert_eq!(claim(&mut instance, 16, Fate::Row), full(2, 1, 2));
    instance.share_window(1);
    instance.forget_tokens(101, 0);
    assert_eq!(claim(&mut instance, 16, Fate::Row), Ok(1));
}

#[test]
fn tokens_go_by_the_time_of_a_clock_that_was_ahead_for_a_while() {
    const DAY: i64 = 86_400;
    let mut log = Log::new();
    let first = crate::record::Snapshot::first(CREATED, 0);
    append(
        &mut log,
        0,
        Vec::new(),
        RecordBody::Snapshot(Box::new(first)),
    );
    let forget = |log: &mut Log, now| {
        if log.would_forget_tokens(now, 30) {
            log.forget_tokens(now, 30);
        }
        log.tokens()
    };
    append(&mut log, 1, Vec::new(), RecordBody::Claim(block(0, 1, 100)));
    // ClickHouse's clock steps ahead by a day, and back.
    assert_eq!(forget(&mut log, DAY), 0);
    append(&mut log, 2, Vec::new(), RecordBody::Claim(block(1, 1, 150)));
    append(&mut log, 3, Vec::new(), RecordBody::Claim(block(2, 1, 151)));
    assert_eq!(forget(&mut log, 179), 2);
    assert_eq!(forget(&mut log, 180), 1);
    assert_eq!(forget(&mut log, 181), 0);
}
