use std::sync::atomic::Ordering;

use crate::pipeline::fakes::watched;
use tokio::time::sleep;

use super::*;
use crate::pipeline::fakes::scene::Scene;
use crate::pipeline::fakes::streams::FakeSignals;
use crate::pipeline::fakes::{CREATED, batch, signal};
use crate::pipeline::port::claims_log::ClaimsLog;

struct Watched {
    scene: Scene,
    signals: Arc<FakeSignals>,
}

impl Watched {
    fn of(scene: Scene) -> Self {
        Self {
            scene,
            signals: Arc::default(),
        }
    }

    fn start(&self) {
        let settings = Arc::clone(&self.scene.settings);
        let absent = Absent {
            insert: self.scene.insert.clone(),
            signals: self.signals.clone(),
            settings: Arc::clone(&settings),
            in_force: watched(settings).1,
            in_flight: self.scene.in_flight,
        };
        tokio::spawn(absent.run());
    }

    /// Publishes messages, which are delivered and land.
    async fn land(&self, sequences: &[u64]) {
        for seq in sequences {
            self.signals.publish(*seq, signal("{}"));
            self.scene
                .insert
                .land(self.scene.batch(*seq..=*seq).await)
                .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_floor_passes_sequences_without_a_message() {
    let watched = Watched::of(Scene::new());
    watched.start();
    watched.land(&[1, 4]).await;
    assert_eq!(watched.scene.log.floor(), 1);
    sleep(LOOK_INTERVAL * 3).await;
    assert_eq!(watched.scene.log.floor(), 4);
}

#[tokio::test(start_paused = true)]
async fn messages_that_left_the_stream_unclaimed_are_counted_and_shown_for_a_while() {
    let watched = Watched::of(Scene::new());
    let ops = watched.scene.insert.ops.clone();
    watched.start();
    watched.land(&[1, 4, 6]).await;
    sleep(LOOK_INTERVAL * 5).await;
    assert_eq!(ops.metrics.claims.messages_lost_total.get(), 3);
    let [warning] = ops.board.newest().warnings.try_into().unwrap();
    assert_eq!(warning.code, "messages_lost");
    let words =
        "3 messages left stream SIGNALS before they were committed, the newest at sequences 5 to 5";
    assert!(warning.text.starts_with(words), "{warning:?}");
    sleep(Duration::from_secs(3602)).await;
    assert!(ops.board.newest().warnings.is_empty());
    assert_eq!(ops.metrics.claims.messages_lost_total.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn messages_in_doubt_that_are_gone_do_not_count_as_lost() {
    let watched = Watched::of(Scene::in_doubt(3));
    let ops = watched.scene.insert.ops.clone();
    watched.start();
    watched.land(&[5]).await;
    sleep(LOOK_INTERVAL * 5).await;
    assert_eq!(watched.scene.log.floor(), 5);
    assert_eq!(ops.metrics.claims.messages_lost_total.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_floor_does_not_pass_a_message_that_is_held_and_gone_from_the_stream() {
    let watched = Watched::of(Scene::new());
    watched.start();
    let held = watched.scene.deliver(3..=3).await;
    watched.land(&[1, 4]).await;
    sleep(LOOK_INTERVAL * 10).await;
    assert_eq!(watched.scene.log.floor(), 2);
    watched.scene.insert.land(batch(held)).await;
    sleep(LOOK_INTERVAL * 3).await;
    assert_eq!(watched.scene.log.floor(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_acked_is_left_to_its_delivery() {
    let watched = Watched::of(Scene::new());
    watched.start();
    watched.signals.publish(1, signal("{}"));
    watched.land(&[2]).await;
    sleep(LOOK_INTERVAL * 10).await;
    assert_eq!(watched.scene.log.floor(), 0);
    assert_eq!(watched.scene.sink.landed(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_acked_and_is_stored_nowhere_lands() {
    let watched = Watched::of(Scene::in_doubt(3));
    watched.start();
    for seq in 1..=3 {
        watched.signals.publish(seq, signal("{}"));
    }
    watched.signals.ack_floor.store(3, Ordering::Relaxed);
    watched.scene.sink.table().rows.insert(0, [1, 3].into());
    sleep(LOOK_INTERVAL * 4).await;
    let mut landed = watched.scene.sink.landed();
    landed.sort_unstable();
    assert_eq!(landed, [1, 2, 3]);
    assert_eq!(watched.scene.sink.tried().len(), 1);
    assert_eq!(watched.scene.log.floor(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_went_back_is_rewound_before_anything_of_it_is_claimed() {
    let watched = Watched::of(Scene::new());
    watched.land(&[1, 2, 3]).await;
    watched.scene.log.rules().note_stream_went_back(CREATED);
    watched.start();
    sleep(LOOK_INTERVAL * 2).await;
    assert!(!watched.scene.log.rules().has_gone_back(CREATED));
    let bodies = watched.scene.log.records().bodies();
    assert!(
        bodies
            .iter()
            .any(|one| matches!(one, claims::RecordBody::Rewound(_)))
    );
}
