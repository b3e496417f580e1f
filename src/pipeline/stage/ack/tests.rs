use std::sync::atomic::Ordering;

use crate::pipeline::fakes::watched;
use claims::RecordBody;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::pipeline::fakes::scene::Scene;
use crate::pipeline::fakes::{batch, invalid, ops, source};
use crate::pipeline::liveness::keep_alive::NAK;

const TICK: Duration = Duration::from_millis(50);

struct Acking {
    scene: Scene,
    running: JoinHandle<Totals>,
}

impl Acking {
    fn start(ack_policy: AckPolicy) -> Self {
        let mut scene = Scene::new();
        scene.insert.source.set(source(ack_policy));
        let settled: Receiver<Settled> = scene.take_settled();
        let (settings, ops) = (Arc::clone(&scene.settings), ops());
        let ack = Ack {
            replies: Arc::clone(&scene.connection),
            in_force: watched(Arc::clone(&settings)).1,
            in_flight: scene.in_flight,
            source: scene.insert.source.clone(),
            process: scene.log.clone(),
            held: HeldAcks::default(),
            settled,
            log: EventLog::new(&settings.log, ops.metrics.events.clone(), ops.recent),
            faults: FaultPoints::default(),
            heartbeat: crate::pipeline::fakes::heartbeat(),
        };
        let running = tokio::spawn(ack.run());
        Self { scene, running }
    }

    async fn land(&self, ack_policy: AckPolicy, sequences: std::ops::RangeInclusive<u64>) {
        let messages = sequences.map(crate::pipeline::fakes::delivery).collect();
        let leased = crate::pipeline::fakes::leased;
        let source = source(ack_policy);
        let messages = leased(self.scene.in_flight, source, messages).await;
        self.scene.insert.land(batch(messages)).await;
        sleep(TICK).await;
    }

    fn acks(&self) -> Vec<u64> {
        self.scene.connection.take(ACK)
    }

    fn naks(&self) -> Vec<u64> {
        self.scene.connection.take(NAK)
    }
}

#[tokio::test(start_paused = true)]
async fn each_message_is_acked_after_the_log_says_that_it_is_done() {
    let acking = Acking::start(AckPolicy::Explicit);
    acking.land(AckPolicy::Explicit, 1..=3).await;
    assert_eq!(acking.acks(), [1, 2, 3]);
    assert_eq!(acking.scene.in_flight.messages(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reply_of_an_earlier_connection_is_given_back_and_not_acked() {
    let acking = Acking::start(AckPolicy::Explicit);
    let messages = acking.scene.batch(1..=2).await;
    // The insert is under way when the connection breaks.
    let insert = acking.scene.insert.clone();
    let landing = tokio::spawn(async move { insert.land(messages).await });
    tokio::task::yield_now().await;
    acking.scene.connection.reconnect();
    landing.await.unwrap();
    sleep(TICK).await;
    assert_eq!(acking.scene.sink.landed(), [1, 2]);
    assert_eq!(acking.acks(), Vec::<u64>::new());
    assert_eq!(acking.naks(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_ack_for_all_never_goes_above_the_floor() {
    let acking = Acking::start(AckPolicy::All);
    acking.land(AckPolicy::All, 3..=4).await;
    assert_eq!(acking.acks(), Vec::<u64>::new(), "1 and 2 are not done");
    acking.land(AckPolicy::All, 1..=1).await;
    assert_eq!(acking.acks(), [1]);
    acking.land(AckPolicy::All, 2..=2).await;
    assert_eq!(acking.acks().into_iter().max(), Some(4));
    assert_eq!(acking.naks(), Vec::<u64>::new());
}

#[tokio::test(start_paused = true)]
async fn the_floor_rises_by_records_of_others_too() {
    let acking = Acking::start(AckPolicy::All);
    acking.land(AckPolicy::All, 2..=2).await;
    assert_eq!(acking.acks(), Vec::<u64>::new());
    let other = acking.scene.beside(2);
    other.insert.land(other.batch(1..=1).await).await;
    sleep(TICK).await;
    assert_eq!(acking.acks(), [2]);
}

#[tokio::test(start_paused = true)]
async fn replies_that_wait_for_the_floor_are_given_back_after_a_reconnect() {
    let acking = Acking::start(AckPolicy::All);
    acking.land(AckPolicy::All, 2..=3).await;
    acking.scene.connection.reconnect();
    let other = acking.scene.beside(2);
    other.insert.land(other.batch(1..=1).await).await;
    sleep(TICK).await;
    assert_eq!(acking.acks(), Vec::<u64>::new());
    // The last of the run covers it.
    assert_eq!(acking.naks(), [3]);
}

#[tokio::test(start_paused = true)]
async fn the_stage_counts_what_it_acked_and_ends_when_the_server_has_the_acks() {
    let mut acking = Acking::start(AckPolicy::Explicit);
    acking.scene.start_dead_letters();
    acking.land(AckPolicy::Explicit, 1..=2).await;
    let messages = acking.scene.lease(vec![invalid(3)]).await;
    acking.scene.insert.land(batch(messages)).await;
    sleep(TICK).await;
    let again = acking.scene.batch(1..=1).await;
    acking.scene.insert.land(again).await;
    let (connection, running) = (Arc::clone(&acking.scene.connection), acking.running);
    let done = acking.scene.log.records().bodies();
    assert!(done.iter().any(|one| matches!(one, RecordBody::Claim(_))));
    drop(acking.scene);
    let expected = Totals {
        inserted: 2,
        already_stored: 1,
        dead_lettered: 1,
    };
    assert_eq!(running.await.unwrap(), expected);
    assert_eq!(connection.confirmed.load(Ordering::Relaxed), 1);
}
