use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use claims::RecordBody;
use store::{AfterCommit, AfterCommits, Rows, TableId};
use tokio::time::sleep;

use crate::pipeline::fakes::scene::{Acked, PAUSE_MIN, Scene};
use crate::pipeline::fakes::sink::{BUSY, FakeReply, READONLY, REFUSED};
use crate::pipeline::fakes::{batch, delivery, invalid};

fn committed(sequences: impl IntoIterator<Item = u64>) -> Acked {
    Acked {
        committed: sequences.into_iter().collect(),
        ..Acked::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_lands_with_one_insert_and_no_query() {
    let mut scene = Scene::new();
    scene.insert.land(scene.batch(1..=3).await).await;
    assert_eq!(scene.settled(), committed(1..=3));
    assert_eq!(scene.sink.landed(), [1, 2, 3]);
    assert_eq!(scene.sink.tried().len(), 1);
    assert_eq!(scene.sink.table().counted, 0);
    assert_eq!(scene.log.floor(), 3);
}

#[tokio::test(start_paused = true)]
async fn rows_that_landed_without_an_answer_are_not_sent_again() {
    let mut scene = Scene::new();
    scene
        .sink
        .reply([FakeReply::Timeout { is_committed: true }]);
    scene.insert.land(scene.batch(1..=2).await).await;
    assert_eq!(scene.sink.tried().len(), 1);
    assert_eq!(scene.sink.table().counted, 1);
    assert_eq!(scene.log.floor(), 2);
    // Without a receipt they are acked by the log.
    assert_eq!(scene.settled().logged, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_insert_is_sent_again_under_its_token_and_counted() {
    let mut scene = Scene::new();
    scene.sink.reply([
        FakeReply::Timeout {
            is_committed: false,
        },
        FakeReply::Exception(BUSY),
    ]);
    scene.insert.land(scene.batch(1..=2).await).await;
    let tried = scene.sink.tried();
    assert_eq!(tried.len(), 3);
    assert!(tried.iter().all(|one| one.claim == tried[0].claim));
    assert!(tried[1].at - tried[0].at >= PAUSE_MIN / 2);
    // The OK of a second try proves nothing before a count.
    assert!(scene.sink.table().counted >= 2);
    assert_eq!(scene.settled(), committed(1..=2));
}

#[tokio::test(start_paused = true)]
async fn an_ok_that_counts_other_rows_too_is_held_against_a_count() {
    let mut scene = Scene::new();
    scene.sink.reply([FakeReply::Inexact]);
    scene.insert.land(scene.batch(1..=2).await).await;
    assert_eq!(scene.sink.table().counted, 1);
    assert_eq!(scene.settled(), committed(1..=2));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_too_large_lands_in_halves() {
    let mut scene = Scene::new();
    scene.sink.table().rows_max = 2;
    scene.insert.land(scene.batch(1..=5).await).await;
    assert_eq!(scene.settled(), committed(1..=5));
    assert_eq!(scene.sink.landed(), [1, 2, 3, 4, 5]);
    let splits = scene.log.records().bodies();
    let splits = splits
        .iter()
        .filter(|one| matches!(one, RecordBody::Split { .. }));
    assert_eq!(splits.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_refused_again_after_another_was_taken_becomes_a_dead_letter() {
    let mut scene = Scene::new();
    scene.start_dead_letters();
    scene.sink.table().refused = [3].into();
    scene.insert.land(scene.batch(1..=5).await).await;
    sleep(Duration::from_secs(1)).await;
    let acked = scene.settled();
    assert_eq!(acked.committed, [1, 2, 4, 5]);
    assert_eq!(acked.letters, [3]);
    assert_eq!(scene.sink.landed(), [1, 2, 4, 5]);
    assert_eq!(scene.log.floor(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_lone_row_that_is_refused_waits_for_another_block() {
    let mut scene = Scene::new();
    scene.start_dead_letters();
    scene.sink.table().refused = [1].into();
    scene.insert.land(scene.batch(1..=1).await).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(scene.settled(), Acked::default());
    assert_eq!(scene.sink.tried().len(), 1);
    // It is refused once more, after the other block was taken.
    scene.insert.land(scene.batch(2..=2).await).await;
    sleep(Duration::from_secs(1)).await;
    let acked = scene.settled();
    assert_eq!((acked.committed, acked.letters), (vec![2], vec![1]));
}

#[tokio::test(start_paused = true)]
async fn a_table_that_refuses_every_row_blames_none_and_halts_the_pulls() {
    let mut scene = Scene::new();
    scene.start_dead_letters();
    scene.sink.table().broken = Some(REFUSED);
    let landing = {
        let (insert, batch) = (scene.insert.clone(), scene.batch(1..=20).await);
        tokio::spawn(async move { insert.land(batch).await })
    };
    sleep(Duration::from_secs(30)).await;
    assert!(scene.halt.borrow().is_some());
    assert_eq!(scene.settled(), Acked::default());
    assert_eq!(scene.dead_letters.tries.load(Ordering::Relaxed), 0);
    scene.sink.table().broken = None;
    sleep(Duration::from_secs(60)).await;
    landing.await.unwrap();
    assert_eq!(scene.settled(), committed(1..=20));
    assert!(scene.halt.borrow().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_insert_that_only_the_operator_can_mend_halts_the_pulls_until_it_succeeds() {
    let mut scene = Scene::new();
    scene.sink.table().broken = Some(READONLY);
    let landing = {
        let (insert, batch) = (scene.insert.clone(), scene.batch(1..=2).await);
        tokio::spawn(async move { insert.land(batch).await })
    };
    sleep(Duration::from_secs(30)).await;
    let reason = scene.halt.borrow().clone().unwrap();
    assert!(reason.contains("164 (READONLY)"), "{reason}");
    assert_eq!(scene.settled(), Acked::default());
    scene.sink.table().broken = None;
    landing.await.unwrap();
    assert_eq!(scene.settled(), committed(1..=2));
    assert!(scene.halt.borrow().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_refused_value_is_not_blamed_while_the_table_does_not_fit() {
    let mut scene = Scene::new();
    scene.sink.table().refused = [1].into();
    scene.sink.table().is_unfit = true;
    let landing = {
        let (insert, batch) = (scene.insert.clone(), scene.batch(1..=2).await);
        tokio::spawn(async move { insert.land(batch).await })
    };
    sleep(Duration::from_secs(30)).await;
    let reason = scene.halt.borrow().clone().unwrap();
    assert!(reason.contains("a column is missing"), "{reason}");
    let bodies = scene.log.records().bodies();
    assert!(
        !bodies
            .iter()
            .any(|one| matches!(one, RecordBody::Split { .. }))
    );
    scene.sink.table().refused.clear();
    scene.sink.table().is_unfit = false;
    landing.await.unwrap();
    assert_eq!(scene.settled(), committed(1..=2));
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_has_one_insert_ask_whether_clickhouse_is_back() {
    let scene = Scene::new();
    scene.sink.table().broken = Some(BUSY);
    for seq in 1..=8 {
        let (insert, batch) = (scene.insert.clone(), scene.batch(seq..=seq).await);
        tokio::spawn(async move { insert.land(batch).await });
    }
    sleep(Duration::from_secs(5)).await;
    let before = scene.sink.tried().len();
    sleep(Duration::from_secs(40)).await;
    let asked = scene.sink.tried().len() - before;
    // The longest pause is 10 s, and the shortest of that step 5 s.
    assert!((1..=9).contains(&asked), "{asked}");
    scene.sink.table().broken = None;
    sleep(Duration::from_secs(15)).await;
    assert_eq!(scene.sink.landed(), (1..=8).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_block_is_not_sent_into_another_table_but_settled_after_its_fence() {
    let mut scene = Scene::new();
    scene.sink.reply([FakeReply::Timeout {
        is_committed: false,
    }]);
    scene
        .sink
        .table()
        .replies
        .push_back(FakeReply::Exception(BUSY));
    let landing = {
        let (insert, batch) = (scene.insert.clone(), scene.batch(1..=2).await);
        tokio::spawn(async move { insert.land(batch).await })
    };
    sleep(Duration::from_millis(5)).await;
    scene.sink.table().id = TableId(8);
    landing.await.unwrap();
    let first = scene.sink.tried()[0];
    sleep(Duration::from_secs(30)).await;
    assert_eq!(scene.sink.tried().len(), 1, "nothing before the fence");
    scene.sink.table().replies.clear();
    sleep(Duration::from_secs(60)).await;
    let tried = scene.sink.tried();
    assert_eq!(tried.len(), 2);
    assert_ne!(tried[1].claim, first.claim);
    assert_eq!(scene.settled(), committed(1..=2));
}

#[tokio::test(start_paused = true)]
async fn a_late_block_is_settled_and_lands_once() {
    let mut scene = Scene::new();
    scene.sink.reply([FakeReply::Late]);
    scene.insert.land(scene.batch(1..=2).await).await;
    sleep(Duration::from_secs(68)).await;
    assert_eq!(
        scene.settled(),
        Acked::default(),
        "the late commit may come"
    );
    sleep(Duration::from_secs(20)).await;
    assert_eq!(scene.settled(), committed(1..=2));
    assert_eq!(scene.sink.landed(), [1, 2]);
    let bodies = scene.log.records().bodies();
    assert!(
        bodies
            .iter()
            .any(|one| matches!(one, RecordBody::Settled { .. }))
    );
}

#[tokio::test(start_paused = true)]
async fn dead_letters_without_room_keep_no_row_from_landing() {
    let mut scene = Scene::new();
    scene.start_dead_letters();
    scene.dead_letters.is_full.store(true, Ordering::Relaxed);
    let messages = vec![delivery(1), invalid(2), delivery(3)];
    let messages = scene.lease(messages).await;
    scene.insert.land(batch(messages)).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(scene.settled(), committed([1, 3]));
    assert_eq!(scene.log.floor(), 1);
    scene.dead_letters.is_full.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(15)).await;
    assert_eq!(scene.settled().letters, [2]);
    assert_eq!(scene.log.floor(), 3);
    assert_eq!(scene.dead_letters.stored.lock().unwrap().len(), 1);
}

/// A consumer that keeps the first `bound` batches and loses the others.
#[derive(Default)]
struct Consumer {
    kept: Mutex<Vec<Arc<Rows>>>,
    lost: Mutex<usize>,
    bound: usize,
}

impl Consumer {
    fn of(bound: usize) -> Arc<Self> {
        Arc::new(Self {
            bound,
            ..Self::default()
        })
    }

    fn sequences(&self) -> Vec<u64> {
        let kept = self.kept.lock().unwrap();
        let rows = kept.iter().flat_map(|rows| rows.iter());
        rows.map(|row| row.stream_seq).collect()
    }
}

impl AfterCommit for Consumer {
    fn offer(&self, rows: &Arc<Rows>) {
        let mut kept = self.kept.lock().unwrap();
        if kept.len() < self.bound {
            kept.push(Arc::clone(rows));
        } else {
            *self.lost.lock().unwrap() += rows.len();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn consumers_share_committed_rows_and_a_slow_one_loses_its_own() {
    let mut scene = Scene::new();
    let (fast, slow) = (Consumer::of(100), Consumer::of(1));
    let both: [Arc<dyn AfterCommit>; 2] = [fast.clone(), slow.clone()];
    scene.insert.after_commit = both.into_iter().collect();
    scene.insert.land(scene.batch(1..=2).await).await;
    let first = Arc::clone(&fast.kept.lock().unwrap()[0]);
    assert!(Arc::ptr_eq(&first, &slow.kept.lock().unwrap()[0]));
    scene.insert.land(scene.batch(3..=5).await).await;
    assert_eq!(scene.settled(), committed(1..=5));
    assert_eq!(fast.sequences(), [1, 2, 3, 4, 5]);
    assert_eq!(slow.sequences(), [1, 2]);
    assert_eq!(
        (*fast.lost.lock().unwrap(), *slow.lost.lock().unwrap()),
        (0, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn consumers_get_rows_that_were_counted_and_none_that_failed() {
    let mut scene = Scene::new();
    let consumer = Consumer::of(100);
    let all: [Arc<dyn AfterCommit>; 1] = [consumer.clone()];
    scene.insert.after_commit = all.into_iter().collect::<AfterCommits>();
    scene.start_dead_letters();
    scene
        .sink
        .reply([FakeReply::Timeout { is_committed: true }]);
    scene.insert.land(scene.batch(1..=1).await).await;
    scene.sink.table().refused = [2].into();
    scene.insert.land(scene.batch(2..=3).await).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(consumer.sequences(), [1, 3]);
}
