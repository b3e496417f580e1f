//! One message as JetStream delivered it.

use std::borrow::Cow;
use std::time::SystemTime;

use bytes::Bytes;
use claims::Position;
use jetstream::stored::StoredMessage;
use jetstream::{HeaderBlock, PulledMessage};

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
    /// Its parts as published, not read yet.
    pub message: PulledMessage,
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
        let headers = message.headers.as_ref().map(|one| one.bytes().as_ref());
        Self {
            message: PulledMessage::of_parts(message.subject.as_bytes(), headers, &message.body),
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

    /// Subject that it was published on. JetStream's own API shows one that is no UTF-8 in the same
    /// way.
    pub fn subject(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.message.subject())
    }

    /// Its body.
    pub fn body(&self) -> &[u8] {
        self.message.body()
    }

    /// Its body, shared.
    pub fn shared_body(&self) -> Bytes {
        self.message.block().slice_ref(self.body())
    }

    /// Its headers. A row has none.
    pub fn headers(&self) -> Option<HeaderBlock> {
        self.message.shared_headers().map(HeaderBlock::new)
    }

    /// Copies it out of the block that it was read into, since it is held for longer than its
    /// neighbors there. One of a quarter of the block or more stays.
    pub fn detach(&mut self) {
        self.lease.detach();
        if self.message.length() < DETACHED_MAX {
            self.message = self.message.detached();
        }
    }

    /// Time at which JetStream stored it: milliseconds since the epoch.
    pub fn published_at_ms(&self) -> i64 {
        self.position.published_ns / 1_000_000
    }
}
