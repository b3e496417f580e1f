use proptest::prelude::*;
use signal::Limits as SignalLimits;

use super::*;
use crate::pipeline::fakes;
use crate::pipeline::stage::encode::encode;

const MAX_ROWS: usize = 5;
const MAX_WAIT: Duration = Duration::from_millis(250);
const INTERVAL: Duration = Duration::from_millis(100);
const NO_INSERT: Duration = Duration::ZERO;

fn limits(max_bytes: usize) -> BatchLimits {
    BatchLimits {
        bounds: BatchBounds {
            max_rows: MAX_ROWS,
            max_bytes,
        },
        max_wait: MAX_WAIT,
        interval: INTERVAL,
    }
}

/// A batcher on a clock of its own.
struct Scene {
    batcher: Batcher,
    now: Instant,
    next_seq: u64,
    /// Parsed once, which takes longer than a signal.
    validation: SignalLimits,
}

impl Scene {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            batcher: Batcher::new(limits(1 << 20), now),
            now,
            next_seq: 1,
            validation: SignalLimits::default(),
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
    }

    /// Adds a message with a payload of some bytes, as the stage does.
    fn push(&mut self, payload_bytes: usize) {
        if self.batcher.is_empty() {
            self.batcher.begin(self.now);
        }
        let delivery = fakes::delivery_of_bytes(self.next_seq, payload_bytes);
        self.next_seq += 1;
        let limits = &self.validation;
        let has_row = self.batcher.push(delivery, |delivery, rows| {
            encode(delivery, limits, rows, |_| ())
        });
        assert!(has_row);
    }

    /// Counts so much traffic that a batch collects for as long as it may.
    fn rush(&mut self) {
        self.batcher.count(1_000_000, None, self.now);
    }

    /// The reason of the next close, and the time until it is due.
    fn next_close(&self, insert_time: Duration) -> Option<(CloseReason, Duration)> {
        let close = self.batcher.next_close(insert_time)?;
        let until = close.not_before.saturating_duration_since(self.now);
        Some((close.reason, until))
    }

    fn close(&mut self) -> ClosedBatch {
        let close = self.batcher.next_close(NO_INSERT).unwrap();
        self.now = self.now.max(close.not_before);
        self.batcher.close(close.reason, self.now).unwrap()
    }
}

#[test]
fn an_empty_batch_never_closes() {
    let mut scene = Scene::new();
    scene.wait(MAX_WAIT * 10);
    assert_eq!(scene.next_close(NO_INSERT), None);
    scene.batcher.drain();
    assert_eq!(scene.next_close(NO_INSERT), None);
    assert!(scene.batcher.close(CloseReason::Drain, scene.now).is_none());
}

#[test]
fn a_signal_in_little_traffic_is_due_at_once() {
    let mut scene = Scene::new();
    scene.wait(INTERVAL);
    scene.push(2);
    assert_eq!(
        scene.next_close(NO_INSERT),
        Some((CloseReason::Wait, Duration::ZERO))
    );
}

#[test]
fn a_batch_in_much_traffic_collects_from_its_first_message_on() {
    let mut scene = Scene::new();
    scene.wait(INTERVAL);
    scene.rush();
    scene.push(2);
    scene.wait(Duration::from_millis(100));
    scene.push(2);
    let left = MAX_WAIT - Duration::from_millis(100);
    assert_eq!(scene.next_close(NO_INSERT), Some((CloseReason::Wait, left)));
}

#[test]
fn a_full_batch_is_due_without_the_wait() {
    let mut scene = Scene::new();
    scene.wait(INTERVAL);
    scene.rush();
    for _ in 0..MAX_ROWS {
        assert!(!scene.batcher.is_full());
        scene.push(2);
    }
    assert!(scene.batcher.is_full());
    // An insert takes for longer than the interval; a full batch does not wait for that.
    assert_eq!(
        scene.next_close(MAX_WAIT),
        Some((CloseReason::MaxRows, Duration::ZERO))
    );
    let closed = scene.close();
    assert_eq!(closed.close_reason, CloseReason::MaxRows);
    assert_eq!(closed.len(), MAX_ROWS);
}

#[test]
fn a_batch_closes_with_the_row_that_reaches_its_bytes() {
    let mut scene = Scene::new();
    scene.batcher.set_limits(limits(2_000));
    scene.wait(INTERVAL);
    scene.rush();
    scene.push(1_500);
    assert!(!scene.batcher.is_full());
    scene.push(1_500);
    assert_eq!(
        scene.next_close(NO_INSERT),
        Some((CloseReason::MaxBytes, Duration::ZERO))
    );
    assert_eq!(scene.close().len(), 2);
}

#[test]
fn the_cap_on_the_rate_of_inserts_holds_for_full_batches_too() {
    let mut scene = Scene::new();
    scene.wait(INTERVAL);
    scene.push(2);
    scene.close();
    for _ in 0..MAX_ROWS {
        scene.push(2);
    }
    assert_eq!(
        scene.next_close(NO_INSERT),
        Some((CloseReason::MaxRows, INTERVAL))
    );
    scene.close();
    scene.push(2);
    assert_eq!(
        scene.next_close(NO_INSERT),
        Some((CloseReason::Wait, INTERVAL))
    );
}

#[test]
fn batches_are_apart_by_the_time_of_an_insert_but_by_no_more_than_max_wait() {
    let mut scene = Scene::new();
    scene.wait(INTERVAL);
    scene.push(2);
    scene.close();
    scene.push(2);
    let insert_time = INTERVAL * 2;
    assert_eq!(
        scene.next_close(insert_time),
        Some((CloseReason::Wait, insert_time))
    );
    assert_eq!(
        scene.next_close(MAX_WAIT * 4),
        Some((CloseReason::Wait, MAX_WAIT))
    );
}

#[test]
fn the_last_batch_waits_for_nothing() {
    let mut scene = Scene::new();
    scene.wait(INTERVAL);
    scene.push(2);
    scene.close();
    scene.rush();
    scene.push(2);
    scene.batcher.drain();
    assert_eq!(
        scene.next_close(MAX_WAIT),
        Some((CloseReason::Drain, Duration::ZERO))
    );
    assert_eq!(scene.close().close_reason, CloseReason::Drain);
}

#[test]
fn changed_limits_hold_for_the_open_batch() {
    let mut scene = Scene::new();
    scene.wait(INTERVAL);
    scene.rush();
    scene.push(2);
    scene.push(2);
    let mut limits = limits(1 << 20);
    limits.bounds.max_rows = 2;
    scene.batcher.set_limits(limits);
    assert!(scene.batcher.is_full());
    assert_eq!(
        scene.next_close(NO_INSERT),
        Some((CloseReason::MaxRows, Duration::ZERO))
    );
}

/// One event in the life of a batcher.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A message with a payload of so many bytes.
    Message(usize),
    /// Some milliseconds pass.
    Wait(u64),
    /// A permit for an insert is there, for a batch that is due.
    Permit,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (2_usize..900).prop_map(Event::Message),
        2 => (0_u64..400).prop_map(Event::Wait),
        2 => Just(Event::Permit),
    ];
    prop::collection::vec(event, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever comes and whenever: each message is in one batch, in order; no batch exceeds its
    /// bounds by more than its last row; closes are apart by the cap and, unless the batch is
    /// full, by the time of an insert; and a batch is due at last `max_wait` after its first
    /// message, or that long after the close before.
    #[test]
    fn batches_keep_their_bounds_and_their_distance(
        events in events(), insert_ms in 0_u64..500, rush in any::<bool>()
    ) {
        const MAX_BYTES: usize = 2_000;
        let insert_time = Duration::from_millis(insert_ms);
        let mut scene = Scene::new();
        scene.batcher.set_limits(limits(MAX_BYTES));
        let (mut closed_at, mut began_at) = (scene.now, scene.now);
        let mut landed: Vec<u64> = Vec::new();
        for event in events.into_iter().chain([Event::Permit]) {
            if let Event::Wait(ms) = event {
                scene.wait(Duration::from_millis(ms));
            }
            // A full batch waits for its permit before it takes another message.
            if let (Event::Message(bytes), false) = (event, scene.batcher.is_full()) {
                if scene.batcher.is_empty() {
                    began_at = scene.now;
                }
                if rush {
                    scene.rush();
                }
                scene.push(bytes);
            }
            let Some(close) = scene.batcher.next_close(insert_time) else { continue };
            let latest = (began_at + MAX_WAIT).max(closed_at + MAX_WAIT.max(INTERVAL));
            prop_assert!(close.not_before <= latest);
            if !matches!(event, Event::Permit) || close.not_before > scene.now {
                continue;
            }
            let apart = match close.reason {
                CloseReason::Wait => INTERVAL.max(insert_time.min(MAX_WAIT)),
                _ => INTERVAL,
            };
            prop_assert!(scene.now >= closed_at + apart);
            let batch = scene.batcher.close(close.reason, scene.now).unwrap();
            closed_at = scene.now;
            prop_assert!(batch.len() <= MAX_ROWS);
            let last = batch.rows.len() - 1;
            let mut but_last = Rows::default();
            (0..last).for_each(|index| but_last.push_from(&batch.rows, index));
            prop_assert!(but_last.bytes() < MAX_BYTES);
            landed.extend(batch.messages().map(|one| one.position.stream_seq));
        }
        scene.batcher.drain();
        if let Some(close) = scene.batcher.next_close(insert_time) {
            let batch = scene.batcher.close(close.reason, scene.now).unwrap();
            landed.extend(batch.messages().map(|one| one.position.stream_seq));
        }
        prop_assert_eq!(landed, (1..scene.next_seq).collect::<Vec<_>>());
    }
}
