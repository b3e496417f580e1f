use std::sync::atomic::Ordering;

use crate::pipeline::fakes::channel;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::pipeline::crossing::reason::Reason;
use crate::pipeline::fakes::scene::{MAX_PAYLOAD, Scene};
use crate::pipeline::fakes::streams::FakeDeadLetters;
use crate::pipeline::fakes::{batch, heartbeat, invalid};
use crate::pipeline::stage::claimed::entries;

const MAX_PENDING: usize = 4;
const PAUSE: Duration = Duration::from_millis(100);

struct Storing {
    scene: Scene,
    stream: Arc<FakeDeadLetters>,
    rejects: Sender<(Rejected, ClaimDeadLetters)>,
    running: JoinHandle<()>,
}

impl Storing {
    fn start() -> Self {
        let scene = Scene::new();
        let stream = Arc::<FakeDeadLetters>::default();
        let (rejects, receiver) = channel(100);
        let mut settings = Settings::default();
        settings.dead_letters.max_pending = MAX_PENDING;
        let stage = DeadLetterStage {
            dead_letters: stream.clone(),
            settings: Arc::new(settings),
            refusals: scene.insert.ops.refusals.clone(),
            max_payload: MAX_PAYLOAD,
            rejects: receiver,
            backoff: Backoff::new(PAUSE, PAUSE * 64),
            traces: Traces::default(),
            faults: FaultPoints::default(),
            heartbeat: heartbeat(),
        };
        Self {
            scene,
            stream,
            rejects,
            running: tokio::spawn(stage.run()),
        }
    }

    /// Claims messages as dead letters, and sends them to the stage.
    async fn reject(&self, sequences: std::ops::RangeInclusive<u64>) -> ClaimDeadLetters {
        let batch = batch(sequences.map(invalid).collect());
        let id = self.scene.log.open_claim(entries(&batch));
        let letters = ClaimDeadLetters::new(&self.scene.insert.process, id, batch.rejects.len());
        for rejected in batch.rejects {
            let rejected = (rejected, letters.clone());
            self.rejects.send(rejected).await.unwrap();
        }
        letters
    }

    fn stored(&self) -> usize {
        self.stream.stored.lock().unwrap().len()
    }

    fn tries(&self) -> u64 {
        self.stream.tries.load(Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn all_letters_of_a_claim_are_stored_once() {
    let storing = Storing::start();
    let letters = storing.reject(1..=10).await;
    let stored = letters.all().await;
    assert_eq!((stored.len(), storing.stored()), (10, 10));
    let of: Vec<u64> = stored.iter().map(|one| one.event().stream_seq).collect();
    assert_eq!(of, (1..=10).collect::<Vec<_>>());
    assert_eq!(storing.tries(), 10);
}

#[tokio::test(start_paused = true)]
async fn letters_without_room_are_tried_again_after_growing_pauses() {
    let storing = Storing::start();
    storing.stream.is_full.store(true, Ordering::Relaxed);
    let letters = storing.reject(1..=1).await;
    sleep(Duration::from_secs(10)).await;
    // Pauses of at least half of 100, 200, 400 … 6400 ms.
    let tries = storing.tries();
    assert!((4..=9).contains(&tries), "{tries}");
    let stream = &Settings::default().dead_letters.name;
    assert!(storing.scene.insert.ops.refusals.get(stream).is_some());
    storing.stream.is_full.store(false, Ordering::Relaxed);
    assert_eq!(letters.all().await.len(), 1);
    assert_eq!(storing.scene.insert.ops.refusals.get(stream), None);
}

#[tokio::test(start_paused = true)]
async fn the_stream_is_looked_after_once_a_second_however_many_letters_fail() {
    let storing = Storing::start();
    storing.stream.is_full.store(true, Ordering::Relaxed);
    storing.reject(1..=50).await;
    sleep(Duration::from_millis(10_500)).await;
    let looks = storing.stream.looks.load(Ordering::Relaxed);
    assert!((2..=11).contains(&looks), "{looks}");
    assert!(storing.tries() > 100);
}

#[tokio::test(start_paused = true)]
async fn a_new_letter_is_not_held_up_by_those_that_failed() {
    let storing = Storing::start();
    storing.stream.is_full.store(true, Ordering::Relaxed);
    let failing = storing.reject(1..=50).await;
    // By now the pauses are some seconds long.
    sleep(Duration::from_secs(10)).await;
    storing.stream.is_full.store(false, Ordering::Relaxed);
    let new = storing.reject(51..=51).await;
    let new = timeout(Duration::from_millis(100), new.all()).await;
    assert_eq!(new.unwrap().len(), 1);
    assert_eq!(failing.all().await.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn no_more_letters_are_published_at_once_than_the_setting_says() {
    let storing = Storing::start();
    let letters = storing.reject(1..=20).await;
    // A publish takes 1 ms.
    let began = Instant::now();
    letters.all().await;
    let rounds = began.elapsed().as_millis();
    assert!(rounds >= 20 / MAX_PENDING as u128, "{rounds}");
}

#[tokio::test(start_paused = true)]
async fn a_letter_whose_claim_another_process_has_ended_is_tried_no_more() {
    let storing = Storing::start();
    storing.stream.is_full.store(true, Ordering::Relaxed);
    let letters = storing.reject(1..=1).await;
    sleep(Duration::from_secs(1)).await;
    storing.scene.log.end_claims();
    assert!(letters.all().await.is_empty());
    storing.stream.is_full.store(false, Ordering::Relaxed);
    let before = storing.tries();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(storing.tries(), before);
}

#[tokio::test(start_paused = true)]
async fn the_stage_ends_after_the_last_letter_is_stored() {
    let storing = Storing::start();
    storing.stream.is_full.store(true, Ordering::Relaxed);
    let letters = storing.reject(1..=2).await;
    drop(storing.rejects);
    sleep(Duration::from_secs(5)).await;
    assert!(!storing.running.is_finished());
    storing.stream.is_full.store(false, Ordering::Relaxed);
    storing.running.await.unwrap();
    assert_eq!(letters.all().await.len(), 2);
}

#[test]
fn the_reason_is_in_the_event() {
    let reason = Reason::Claimed(claims::Cause::Refused);
    let rejected = Rejected {
        delivery: invalid(7),
        reason,
    };
    let letter = DeadLettered::new(rejected, &StoredDeadLetter::for_tests(3));
    let event = letter.event();
    assert_eq!(event.reason, "refused_by_clickhouse");
    assert_eq!((event.stream_seq, event.dead_letter_seq), (7, 3));
}
