use crate::pipeline::fakes::channel;
use crate::pipeline::fakes::watched;
use tokio::sync::watch;
use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::pipeline::fakes::{delivery, heartbeat, invalid, ops};
use telemetry::traces::Traces;

struct Decoding {
    deliveries: Sender<DeliveryChunk>,
    batches: Receiver<(ClosedBatch, InsertPermit)>,
    settings: watch::Sender<Arc<Settings>>,
    insert_time: Arc<InsertTime>,
}

impl Decoding {
    /// A stage with so many permits, and batches of so many rows.
    fn start(permits: usize, max_rows: usize) -> Self {
        let mut settings = Settings::default();
        settings.clickhouse.max_concurrent_inserts = permits;
        settings.batch.max_rows = max_rows;
        let (settings, in_force) = watched(Arc::new(settings));
        let (deliveries, receiver) = channel(100);
        let (sender, batches) = channel(permits);
        let channels = Channels {
            deliveries: receiver,
            batches: sender,
        };
        let trace = Traces::default().collecting();
        let faults = FaultPoints::default();
        let decode = Decode::new(in_force, channels, trace, &ops(), faults, heartbeat());
        let insert_time = Arc::clone(decode.insert_time());
        tokio::spawn(decode.run());
        Self {
            deliveries,
            batches,
            settings,
            insert_time,
        }
    }

    async fn deliver(&self, sequences: std::ops::RangeInclusive<u64>) {
        let chunk = DeliveryChunk::now(sequences.map(delivery).collect());
        self.deliveries.send(chunk).await.unwrap();
    }

    /// The next batch, if there is one within a minute.
    async fn next(&mut self) -> Option<(Vec<u64>, CloseReason, InsertPermit)> {
        let next = timeout(Duration::from_secs(60), self.batches.recv());
        let (batch, permit) = next.await.ok()??;
        let messages = batch.messages().map(|one| one.position.stream_seq);
        Some((messages.collect(), batch.close_reason, permit))
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_in_little_traffic_goes_at_once() {
    let mut decoding = Decoding::start(1, 100);
    sleep(Duration::from_secs(1)).await;
    decoding.deliver(1..=1).await;
    let began = Instant::now();
    let (messages, reason, _permit) = decoding.next().await.unwrap();
    assert_eq!((messages, reason), (vec![1], CloseReason::Wait));
    assert!(began.elapsed() < Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn messages_without_a_row_are_in_the_batch() {
    let mut decoding = Decoding::start(1, 100);
    let chunk = DeliveryChunk::now(vec![delivery(1), invalid(2)]);
    decoding.deliveries.send(chunk).await.unwrap();
    let (batch, _permit) = decoding.batches.recv().await.unwrap();
    assert_eq!((batch.rows.len(), batch.rejects.len()), (1, 1));
    assert_eq!(batch.rejects[0].delivery.position.stream_seq, 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_given_up_is_rejected_unread() {
    let mut decoding = Decoding::start(1, 100);
    let mut given_up = delivery(1);
    let reason = crate::pipeline::crossing::reason::Reason::MaxDeliveries {
        deliveries: 5,
        tries: 3,
    };
    given_up.given_up = Some(Box::new(reason.clone()));
    let chunk = DeliveryChunk::now(vec![given_up]);
    decoding.deliveries.send(chunk).await.unwrap();
    let (batch, _permit) = decoding.batches.recv().await.unwrap();
    assert_eq!(batch.rejects[0].reason, reason);
}

#[tokio::test(start_paused = true)]
async fn without_a_permit_the_batch_grows_until_it_is_full() {
    let mut decoding = Decoding::start(1, 4);
    decoding.deliver(1..=1).await;
    let (_, _, permit) = decoding.next().await.unwrap();
    for seq in 2..=8 {
        decoding.deliver(seq..=seq).await;
        sleep(Duration::from_secs(1)).await;
    }
    assert!(decoding.batches.try_recv().is_err());
    drop(permit);
    let (messages, reason, permit) = decoding.next().await.unwrap();
    assert_eq!((messages, reason), (vec![2, 3, 4, 5], CloseReason::MaxRows));
    drop(permit);
    let (messages, reason, _permit) = decoding.next().await.unwrap();
    assert_eq!((messages, reason), (vec![6, 7, 8], CloseReason::Wait));
}

#[tokio::test(start_paused = true)]
async fn a_slow_clickhouse_gets_fewer_batches() {
    let mut decoding = Decoding::start(8, 100);
    decoding.deliver(1..=1).await;
    let _first = decoding.next().await.unwrap();
    decoding.insert_time.set(Duration::from_millis(200));
    let began = Instant::now();
    decoding.deliver(2..=2).await;
    let _second = decoding.next().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(190));
}

#[tokio::test(start_paused = true)]
async fn changed_settings_hold_from_the_next_chunk_on() {
    let mut decoding = Decoding::start(1, 100);
    decoding.deliver(1..=1).await;
    let (_, _, permit) = decoding.next().await.unwrap();
    decoding.deliver(2..=4).await;
    sleep(Duration::from_secs(1)).await;
    let mut settings = Settings::default();
    settings.batch.max_rows = 3;
    decoding.settings.send_replace(Arc::new(settings));
    decoding.deliver(5..=5).await;
    drop(permit);
    let (messages, reason, permit) = decoding.next().await.unwrap();
    assert_eq!(messages, [2, 3, 4], "none is over the new bound");
    assert!(matches!(reason, CloseReason::MaxRows | CloseReason::Wait));
    drop(permit);
    assert_eq!(decoding.next().await.unwrap().0, [5]);
}

#[tokio::test(start_paused = true)]
async fn the_open_batch_closes_when_nothing_more_comes() {
    let mut decoding = Decoding::start(1, 100);
    decoding.deliver(1..=1).await;
    let (_, _, permit) = decoding.next().await.unwrap();
    decoding.deliver(2..=3).await;
    advance(Duration::from_millis(1)).await;
    drop(decoding.deliveries);
    drop(permit);
    let next = decoding.batches.recv().await;
    let (batch, _permit) = next.unwrap();
    assert_eq!(batch.len(), 2);
    assert!(decoding.batches.recv().await.is_none());
}
