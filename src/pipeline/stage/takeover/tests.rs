use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use crate::pipeline::fakes::watched;
use bytes::Bytes;
use claims::RecordBody;

use super::*;
use crate::pipeline::fakes::scene::Scene;
use crate::pipeline::fakes::sink::{BUSY, FakeReply, REFUSED};
use crate::pipeline::fakes::streams::FakeSignals;
use crate::pipeline::fakes::{batch, delivery, invalid, signal};
use crate::pipeline::stage::claimed::entries;

/// A process that takes over, and one that was killed.
struct Pair {
    ours: Scene,
    killed: Scene,
    signals: Arc<FakeSignals>,
}

impl Pair {
    fn new() -> Self {
        let ours = Scene::new();
        Self {
            killed: ours.beside(2),
            ours,
            signals: Arc::default(),
        }
    }

    /// Has the killed process claim messages, which the stream has.
    fn claim(&self, messages: Vec<crate::pipeline::crossing::delivery::Delivery>) -> Nonce {
        for one in &messages {
            self.signals
                .publish(one.position.stream_seq, one.shared_body());
        }
        self.killed.log.open_claim(entries(&batch(messages)))
    }

    fn start(&self) {
        let settings = Arc::clone(&self.ours.settings);
        let takeover = Takeover {
            insert: self.ours.insert.clone(),
            signals: self.signals.clone(),
            settings: Arc::clone(&settings),
            in_force: watched(settings).1,
            in_flight: self.ours.in_flight,
            reading: Arc::default(),
        };
        tokio::spawn(takeover.run());
    }

    fn announced(&self) -> usize {
        let bodies = self.ours.log.records().bodies();
        bodies
            .iter()
            .filter(|one| matches!(one, RecordBody::Takeover(_)))
            .count()
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_stays_open_is_announced_and_completed_under_its_token() {
    let pair = Pair::new();
    pair.start();
    let id = pair.claim(vec![delivery(1), delivery(2)]);
    sleep(TAKE_OVER_AFTER - Duration::from_millis(100)).await;
    assert!(
        pair.ours.sink.tried().is_empty(),
        "its publisher may be at work"
    );
    sleep(Duration::from_secs(3)).await;
    let tried = pair.ours.sink.tried();
    assert_eq!((tried.len(), tried[0].claim), (1, id));
    assert_eq!(pair.announced(), 1);
    // After an announcement a count proves the rows, and not the answer.
    assert!(pair.ours.sink.table().counted >= 1);
    assert_eq!(pair.ours.log.floor(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_its_own_is_not_taken_over() {
    let pair = Pair::new();
    pair.start();
    pair.ours.sink.table().broken = Some(BUSY);
    let (insert, batch) = (pair.ours.insert.clone(), pair.ours.batch(1..=1).await);
    tokio::spawn(async move { insert.land(batch).await });
    sleep(Duration::from_secs(30)).await;
    assert_eq!(pair.announced(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_claims_are_worked_on_at_once_and_dead_letters_besides() {
    let mut pair = Pair::new();
    pair.ours.start_dead_letters();
    pair.ours
        .dead_letters
        .is_full
        .store(true, Ordering::Relaxed);
    pair.ours.sink.table().broken = Some(BUSY);
    for seq in 1..=5 {
        pair.claim(vec![delivery(seq)]);
    }
    for seq in 6..=9 {
        pair.claim(vec![invalid(seq)]);
    }
    pair.start();
    sleep(Duration::from_secs(20)).await;
    let tried = pair.ours.sink.tried();
    let claims: BTreeSet<Nonce> = tried.iter().map(|one| one.claim).collect();
    assert_eq!(claims.len(), AT_ONCE);
    assert_eq!(pair.announced(), 2 * AT_ONCE);
    pair.ours.sink.table().broken = None;
    pair.ours
        .dead_letters
        .is_full
        .store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(pair.ours.sink.landed(), [1, 2, 3, 4, 5]);
    assert_eq!(pair.ours.log.floor(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_message_is_gone_lands_without_it_after_the_fence() {
    let pair = Pair::new();
    pair.start();
    pair.claim(vec![delivery(1), delivery(2)]);
    pair.signals.bodies.lock().unwrap().remove(&1);
    sleep(Duration::from_secs(60)).await;
    assert!(
        pair.ours.sink.tried().is_empty(),
        "nothing but the whole block"
    );
    sleep(Duration::from_secs(30)).await;
    assert_eq!(pair.ours.sink.landed(), [2]);
    let lost = &pair.ours.insert.ops.metrics.claims.messages_lost_total;
    assert_eq!(lost.get(), 1);
    assert_eq!(pair.ours.log.floor(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_claimed_row_that_this_version_takes_for_invalid_becomes_a_letter_after_the_fence() {
    let mut pair = Pair::new();
    pair.ours.start_dead_letters();
    pair.start();
    pair.claim(vec![delivery(1), delivery(2)]);
    // As if this version had other rules than the one that claimed it.
    pair.signals.publish(2, Bytes::from_static(b"{}"));
    sleep(Duration::from_secs(60)).await;
    assert!(pair.ours.sink.tried().is_empty());
    sleep(Duration::from_secs(30)).await;
    assert_eq!(pair.ours.sink.landed(), [1]);
    assert_eq!(pair.ours.dead_letters.stored.lock().unwrap().len(), 1);
    assert_eq!(pair.ours.log.floor(), 2);
}

#[tokio::test(start_paused = true)]
async fn rows_that_the_killed_process_has_inserted_are_not_inserted_again() {
    let pair = Pair::new();
    pair.start();
    let id = pair.claim(vec![delivery(1)]);
    pair.ours.sink.table().rows.insert(id.0, [1].into());
    sleep(Duration::from_secs(10)).await;
    assert_eq!(pair.ours.sink.landed(), [1]);
    assert_eq!(pair.ours.log.floor(), 1);
}

#[tokio::test(start_paused = true)]
async fn letters_that_the_killed_process_has_stored_are_not_stored_again() {
    let mut pair = Pair::new();
    pair.ours.start_dead_letters();
    pair.start();
    pair.claim(vec![invalid(1), invalid(2)]);
    pair.ours.dead_letters.of_others.lock().unwrap().insert(1);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(pair.ours.dead_letters.stored.lock().unwrap().len(), 1);
    assert_eq!(pair.ours.log.floor(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_row_of_another_process_is_not_split_before_the_fence() {
    let mut pair = Pair::new();
    pair.ours.start_dead_letters();
    pair.start();
    pair.claim(vec![delivery(1), delivery(2)]);
    pair.ours.sink.reply([FakeReply::Exception(REFUSED)]);
    pair.ours.sink.table().refused = [1].into();
    sleep(Duration::from_secs(50)).await;
    let bodies = pair.ours.log.records().bodies();
    assert!(
        !bodies
            .iter()
            .any(|one| matches!(one, RecordBody::Split { .. }))
    );
    assert_eq!(pair.ours.sink.landed(), Vec::<u64>::new());
    pair.ours.sink.table().refused.clear();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(pair.ours.sink.landed(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn messages_take_room_within_the_bound_and_give_it_back() {
    let mut pair = Pair::new();
    let mut settings = crate::settings::Settings::default();
    settings.consumer.max_in_flight_bytes = 1 << 20;
    pair.ours.settings = Arc::new(settings);
    pair.ours.in_flight = InFlight::new(1_000, 1 << 20);
    pair.start();
    let large = signal(&format!("{{{}}}", " ".repeat(300 * 1024)));
    let large = |seq| crate::pipeline::fakes::delivery_of(seq, large.clone());
    pair.claim(vec![large(1), large(2)]);
    // What is held leaves no room; the claim goes without, after a while.
    let held = pair.ours.in_flight.reserve(0, 1 << 20).await;
    sleep(Duration::from_secs(10)).await;
    assert!(pair.ours.sink.tried().is_empty());
    sleep(ROOM_WAIT_AND_MORE).await;
    assert_eq!(pair.ours.sink.landed(), [1, 2]);
    drop(held);
    let all = pair.ours.in_flight.reserve(0, 1 << 20);
    let all = tokio::time::timeout(Duration::from_secs(1), all);
    assert!(all.await.is_ok());
}

const ROOM_WAIT_AND_MORE: Duration = Duration::from_secs(10);
