//! Messages and fakes of the ports, for unit tests of the stages.

pub mod log;
pub mod scene;
pub mod sink;
pub mod streams;

use std::sync::Arc;

use bytes::Bytes;
use claims::Position;
use jetstream::{AckPolicy, PulledMessage};
use signal::Limits;
use tokio::sync::{mpsc, watch};

use crate::metrics::Metrics;
use crate::ops::Ops;
use crate::ops::health::Health;
use crate::pipeline::batching::open_batch::{BatchBounds, OpenBatch};
use crate::pipeline::crossing::ack_subject::AckSubject;
use crate::pipeline::crossing::batch::{CloseReason, ClosedBatch};
use crate::pipeline::crossing::delivery::Delivery;
use crate::pipeline::crossing::in_flight::{InFlight, Lease};
use crate::pipeline::crossing::source::SignalSource;
use crate::pipeline::liveness::heartbeat::{Heartbeat, Heartbeats};
use crate::pipeline::stage::encode::encode;

/// A queue of the stage under test.
#[expect(clippy::disallowed_methods, reason = "tests stand in for the wiring")]
pub fn channel<T>(bound: usize) -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
    mpsc::channel(bound)
}

/// A value that the stage under test watches.
#[expect(clippy::disallowed_methods, reason = "tests stand in for the wiring")]
pub fn watched<T>(value: T) -> (watch::Sender<T>, watch::Receiver<T>) {
    watch::channel(value)
}

/// Creation of the stream that all messages are in.
pub const CREATED: i64 = 1;

/// The stream and the consumer as they are found over the first connection.
pub fn source(ack_policy: AckPolicy) -> SignalSource {
    SignalSource::test(1, ack_policy)
}

/// A message with a valid signal, and no lease.
pub fn delivery(stream_seq: u64) -> Delivery {
    delivery_of_bytes(stream_seq, 2)
}

/// A message with a valid signal, whose payload has so many bytes.
pub fn delivery_of_bytes(stream_seq: u64, payload_bytes: usize) -> Delivery {
    let payload = format!("{{{}}}", " ".repeat(payload_bytes.saturating_sub(2)));
    delivery_of(stream_seq, signal(&payload))
}

/// A message that is no signal.
pub fn invalid(stream_seq: u64) -> Delivery {
    delivery_of(stream_seq, Bytes::from_static(b"no JSON"))
}

/// A message with some body, and no lease.
pub fn delivery_of(stream_seq: u64, body: Bytes) -> Delivery {
    Delivery {
        message: PulledMessage::of_parts(b"signals.t", None, &body),
        position: position(stream_seq),
        attempt: 1,
        given_up: None,
        lease: Lease::none(),
    }
}

/// Position of the message at a sequence.
pub fn position(stream_seq: u64) -> Position {
    Position {
        stream_created_ns: CREATED,
        stream_seq,
        published_ns: i64::try_from(stream_seq).unwrap() * 1_000_000,
    }
}

/// A signal with a payload.
pub fn signal(payload: &str) -> Bytes {
    Bytes::from(format!(
        r#"{{"event_time":0,"source_id":"s","payload":{payload},"severity":1,"trace_id":"3b32aef0-228a-5924-a25d-9362bb7bf65d","wallet_address":"0x1"}}"#
    ))
}

/// Reply subject of a message.
pub fn reply(stream_seq: u64) -> String {
    format!("$JS.ACK.S.c.1.{stream_seq}.{stream_seq}.0.0")
}

/// Sequence of the message that a reply is to.
pub fn sequence_of(reply: &[u8]) -> u64 {
    AckSubject::parse(reply).unwrap().stream_seq
}

/// Gives messages leases.
pub async fn leased(
    in_flight: &'static InFlight,
    source: SignalSource,
    messages: Vec<Delivery>,
) -> Vec<Delivery> {
    let mut room = in_flight
        .reserve(messages.len(), messages.len() * 100)
        .await;
    let mut holding = room.holding(Some(source), messages.len());
    let leased = messages.into_iter().map(|one| Delivery {
        lease: holding.lease(reply(one.position.stream_seq).as_bytes(), 100),
        ..one
    });
    leased.collect()
}

/// The closed batch of messages, as the stage before makes it.
pub fn batch(messages: Vec<Delivery>) -> ClosedBatch {
    let mut open = OpenBatch::new(BatchBounds {
        max_rows: usize::MAX,
        max_bytes: usize::MAX,
    });
    let limits = Limits::default();
    for message in messages {
        open.push(message, |delivery, rows| {
            encode(delivery, &limits, rows, |_| ())
        });
    }
    open.close(CloseReason::Drain).unwrap()
}

/// Reports of one pipeline.
pub fn ops() -> Ops {
    Ops {
        metrics: Metrics::new().unwrap(),
        recent: Arc::default(),
        health: Health::new(),
        board: Arc::default(),
        refusals: Default::default(),
    }
}

/// The heartbeat of a stage that nothing looks at.
pub fn heartbeat() -> Heartbeat {
    Heartbeats::new().add("test")
}
