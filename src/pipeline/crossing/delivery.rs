//! One message as JetStream delivered it.

use std::time::SystemTime;

use async_nats::Subject;
use bytes::Bytes;
use claims::Position;
use jetstream::HeaderBlock;
use jetstream::stored::StoredMessage;

use crate::pipeline::crossing::in_flight::Lease;
use crate::pipeline::crossing::reason::Reason;
use clock::unix_nanos;

/// Largest message that is copied when it is held for long, in bytes.
const DETACHED_MAX: usize = jetstream::BLOCK_BYTES / 4;

/// Messages that arrived together. The time is theirs and not each one's, since a delivery is
/// moved more often than anything else.
#[derive(Debug)]
pub struct DeliveryChunk {
    /// Time of their arrival.
    pub at: SystemTime,
    /// The last one's number among the deliveries of the consumer, to whichever instance they
    /// go, where they came through it.
    pub consumer_seq: Option<u64>,
    /// The messages.
    pub deliveries: Vec<Delivery>,
}

impl DeliveryChunk {
    /// Messages that arrive now.
    pub fn now(deliveries: Vec<Delivery>) -> Self {
        Self {
            at: SystemTime::now(),
            consumer_seq: None,
            deliveries,
        }
    }
}

/// A message taken from the stream, not yet judged.
#[derive(Debug)]
pub struct Delivery {
    /// Subject that it was published on.
    pub subject: Subject,
    /// Its body.
    pub body: Bytes,
    /// Its headers as published, not read yet. A row has none.
    pub headers: Option<HeaderBlock>,
    /// Its place in its stream.
    pub position: Position,
    /// Number of its deliveries, this one included.
    pub attempt: u64,
    /// Reason for which it becomes a dead letter unread, where JetStream has given up on it.
    pub given_up: Option<Box<Reason>>,
    /// Its share of the memory bound, and what settles it.
    pub lease: Lease,
}

impl Delivery {
    /// A message that was read from the stream, as if the consumer had delivered it for the
    /// `attempt`th time.
    pub fn of_stored(
        message: StoredMessage,
        stream_created_ns: i64,
        attempt: u64,
        lease: Lease,
    ) -> Self {
        Self {
            subject: message.subject.into(),
            body: message.body,
            headers: message.headers,
            position: Position {
                stream_created_ns,
                stream_seq: message.sequence,
                published_ns: unix_nanos(message.time),
            },
            attempt,
            given_up: None,
            lease,
        }
    }

    /// Copies its parts out of the block that it was read into, since it is held for longer than
    /// its neighbors there: a small message would keep the room of a hundred. One of a quarter of
    /// the block or more stays.
    pub fn detach(&mut self) {
        self.lease.detach();
        let headers = self.headers.as_ref().map_or(0, |one| one.bytes().len());
        if self.body.len() + headers < DETACHED_MAX {
            self.body = Bytes::copy_from_slice(&self.body);
            self.subject = self.subject.as_str().into();
            let headers = self.headers.take();
            self.headers = headers.map(|one| HeaderBlock::new(Bytes::copy_from_slice(one.bytes())));
        }
    }

    /// Time at which JetStream stored it: milliseconds since the epoch.
    pub fn published_at_ms(&self) -> i64 {
        self.position.published_ns / 1_000_000
    }
}
