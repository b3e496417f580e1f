use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex as StdMutex;

use crate::pipeline::fakes::channel;
use bytes::Bytes;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::*;
use crate::pipeline::fakes::scene::Scene;
use crate::pipeline::fakes::streams::stored_message;
use crate::pipeline::fakes::{heartbeat, signal, source};
use crate::pipeline::port::advisories::Created;
use crate::pipeline::stage::max_deliveries::Advisories;

const MINUTE: Duration = Duration::from_secs(60);

/// Advisories that wait, each with the number of its deliveries, and the stream of signals.
#[derive(Default)]
struct FakeAdvisories {
    waiting: StdMutex<VecDeque<(u64, u64)>>,
    messages: StdMutex<BTreeMap<u64, Bytes>>,
    /// Seconds between the advisories and the creation of the consumer; later ones are positive.
    consumer_age: i64,
    is_stream_gone: bool,
}

fn at() -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap()
}

impl Advisories for FakeAdvisories {
    type Consumer = ();

    async fn ensure(&self) -> Result<(), TopologyError> {
        Ok(())
    }

    async fn left(&self) -> Result<Option<u64>, TopologyError> {
        Ok(Some(self.waiting.lock().unwrap().len() as u64))
    }

    async fn next(
        &self,
        (): &(),
        _expires: Duration,
    ) -> Result<Option<Message>, async_nats::Error> {
        let Some((seq, delivered)) = self.waiting.lock().unwrap().pop_front() else {
            return Ok(None);
        };
        let stamp = at().format(&time::format_description::well_known::Rfc3339);
        let payload = format!(
            r#"{{"stream_seq":{seq},"deliveries":5,"timestamp":"{}"}}"#,
            stamp.unwrap()
        );
        Ok(Some(Message {
            subject: "advisory".into(),
            reply: Some(format!("$JS.ACK.A.c.{delivered}.{seq}.1.0.0").into()),
            payload: payload.into(),
            headers: None,
            status: None,
            description: None,
            length: 100,
        }))
    }

    async fn lost(&self) -> Result<u64, TopologyError> {
        Ok(0)
    }

    async fn created(&self) -> Result<Option<Created>, TopologyError> {
        let consumer = at() + time::Duration::seconds(self.consumer_age);
        Ok((!self.is_stream_gone).then_some(Created {
            stream: time::OffsetDateTime::from_unix_timestamp_nanos(1).unwrap(),
            consumer: Some(consumer),
        }))
    }

    async fn message(&self, stream_seq: u64) -> Result<Option<StoredMessage>, StoredError> {
        let body = self.messages.lock().unwrap().get(&stream_seq).cloned();
        Ok(body.map(|body| stored_message(stream_seq, body)))
    }

    fn max_payload(&self) -> usize {
        1000
    }
}

struct Watched {
    scene: Scene,
    deliveries: Receiver<DeliveryChunk>,
    settled: Receiver<Settled>,
}

impl Watched {
    /// Starts the stage with advisories on messages, each with its number of deliveries.
    fn start(advisories: FakeAdvisories, waiting: &[(u64, u64)]) -> Self {
        advisories.waiting.lock().unwrap().extend(waiting);
        let scene = Scene::new();
        let (deliveries, deliveries_receiver) = channel(10);
        let (settled, settled_receiver) = channel(10);
        let stage = MaxDeliveries {
            advisories,
            process: scene.log.clone(),
            settings: Arc::clone(&scene.settings),
            source: CurrentSource::new(scene.connection.clone(), source(AckPolicy::Explicit)),
            in_flight: scene.in_flight,
            deliveries,
            settled,
            backoff: Backoff::new(Duration::from_secs(1), MINUTE),
            shutdown: scene.insert.shutdown.clone(),
            heartbeat: heartbeat(),
        };
        tokio::spawn(stage.run());
        Self {
            scene,
            deliveries: deliveries_receiver,
            settled: settled_receiver,
        }
    }

    async fn next(&mut self) -> Option<Delivery> {
        let chunk = timeout(MINUTE, self.deliveries.recv()).await.ok()??;
        let mut deliveries = chunk.deliveries;
        assert_eq!(deliveries.len(), 1);
        deliveries.pop()
    }

    /// Replies of the next advisory that needs no letter.
    async fn next_settled(&mut self) -> Option<Vec<String>> {
        let settled = timeout(MINUTE, self.settled.recv()).await.ok()??;
        let Settled::NoLetterNeeded(one) = settled else {
            panic!("{settled:?}");
        };
        let replies = self.scene.in_flight.settle(vec![one.into_lease()]);
        let subjects = replies.iter().flat_map(|one| one.subjects.iter());
        let texts = subjects.map(|one| String::from_utf8(one.to_vec()).unwrap());
        Some(texts.collect())
    }
}

fn with_messages(sequences: &[u64]) -> FakeAdvisories {
    let advisories = FakeAdvisories {
        consumer_age: -10,
        ..FakeAdvisories::default()
    };
    for seq in sequences {
        let mut messages = advisories.messages.lock().unwrap();
        messages.insert(*seq, signal("{}"));
    }
    advisories
}

#[tokio::test(start_paused = true)]
async fn messages_are_tried_alone_one_after_the_other() {
    let mut watched = Watched::start(with_messages(&[1, 2]), &[(1, 1), (2, 1)]);
    let first = watched.next().await.unwrap();
    assert_eq!((first.position.stream_seq, first.attempt), (1, 5));
    assert!(first.given_up.is_none());
    assert!(watched.next().await.is_none(), "the first is not settled");
    // Its lease acks the message with the advisory.
    let replies = watched.scene.in_flight.settle(vec![first.lease]);
    let subjects: Vec<_> = replies.iter().flat_map(|one| one.subjects.iter()).collect();
    assert_eq!(subjects.len(), 2);
    assert!(subjects[0].ends_with(b".1.1.0.0.0"), "{replies:?}");
    assert_eq!(watched.next().await.unwrap().position.stream_seq, 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_tried_three_times_becomes_a_dead_letter_unread() {
    let mut watched = Watched::start(with_messages(&[1]), &[(1, 4)]);
    let one = watched.next().await.unwrap();
    let reason = one.given_up.unwrap();
    assert_eq!(reason.code(), "max_deliveries");
    let mut watched = Watched::start(with_messages(&[1]), &[(1, 3)]);
    assert!(watched.next().await.unwrap().given_up.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_has_landed_is_not_tried() {
    let mut watched = Watched::start(with_messages(&[]), &[]);
    watched
        .scene
        .insert
        .land(watched.scene.batch(1..=1).await)
        .await;
    let advisories = with_messages(&[1]);
    advisories.waiting.lock().unwrap().push_back((1, 1));
    let (settled, receiver) = channel(10);
    watched.settled = receiver;
    let stage = MaxDeliveries {
        advisories,
        process: watched.scene.log.clone(),
        settings: Arc::clone(&watched.scene.settings),
        source: CurrentSource::new(
            watched.scene.connection.clone(),
            source(AckPolicy::Explicit),
        ),
        in_flight: watched.scene.in_flight,
        deliveries: channel(1).0,
        settled,
        backoff: Backoff::new(Duration::from_secs(1), MINUTE),
        shutdown: watched.scene.insert.shutdown.clone(),
        heartbeat: heartbeat(),
    };
    tokio::spawn(stage.run());
    assert_eq!(watched.next_settled().await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_gone_needs_no_letter() {
    let mut watched = Watched::start(with_messages(&[]), &[(1, 1)]);
    assert!(watched.next_settled().await.is_some());
    let gone = FakeAdvisories {
        is_stream_gone: true,
        ..with_messages(&[1])
    };
    let mut watched = Watched::start(gone, &[(1, 1)]);
    assert!(watched.next_settled().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_message_is_left_to_a_newer_consumer() {
    let newer = FakeAdvisories {
        consumer_age: 10,
        ..with_messages(&[1])
    };
    let mut watched = Watched::start(newer, &[(1, 1)]);
    assert!(watched.next_settled().await.is_some());
    assert!(watched.deliveries.try_recv().is_err());
}
