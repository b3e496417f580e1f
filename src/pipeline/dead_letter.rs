//! The side exit: what cannot land goes to the stream of dead letters, with the reason.

use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::publish::PublishAck;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use time::OffsetDateTime;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::sleep;
use tracing::warn;

use crate::backoff::Backoff;
use crate::dead_letter::{Letter, Original, Verdict};
use crate::fault_point::{FaultPoints, Point};
use crate::jetstream::consumer::PIN_ID;
use crate::jetstream::topology::ensure_dead_letter_stream;
use crate::settings::Settings;
use crate::signal::Invalid;
use crate::telemetry::events;
use crate::telemetry::traces::Traces;

use super::ack::Settled;
use super::delivery::Delivery;
use super::in_flight::Lease;
use super::pulse::Pulse;

/// A message that cannot land, and why.
#[derive(Debug)]
pub(super) struct Rejected {
    /// The message.
    pub delivery: Delivery,
    /// Why it cannot land.
    pub reason: Reason,
}

/// Why a message cannot land.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reason {
    /// It is no valid signal.
    #[error(transparent)]
    Invalid(Invalid),
    /// ClickHouse refuses one of its values; with ClickHouse's words.
    #[error("{0}")]
    Refused(String),
    /// JetStream delivered it as often as it may, and nobody acked it.
    #[error(
        "it was delivered {deliveries} times (consumer.max_deliver), then tried alone {tries} times, and never acked; it may be what ends the process"
    )]
    MaxDeliveries {
        /// How often it was delivered.
        deliveries: u64,
        /// How often its advisory was delivered before this time.
        tries: u64,
    },
}

impl Reason {
    fn code(&self) -> &'static str {
        match self {
            Self::Invalid(invalid) => invalid.code(),
            Self::Refused(_) => "refused_by_clickhouse",
            Self::MaxDeliveries { .. } => "max_deliveries",
        }
    }
}

/// A dead letter that its stream has acknowledged. Made only where that answer arrives, so
/// that nothing else can be acked.
#[derive(Debug)]
pub(super) struct DeadLettered {
    lease: Lease,
    event: events::DeadLettered,
}

impl DeadLettered {
    fn new(rejected: Rejected, publish_ack: &PublishAck) -> Self {
        let Rejected { delivery, reason } = rejected;
        Self {
            event: events::DeadLettered {
                reason: reason.code(),
                error: reason.to_string(),
                subject: delivery.subject.to_string(),
                stream_seq: delivery.position.stream_seq,
                dead_letter_seq: publish_ack.sequence,
            },
            lease: delivery.lease,
        }
    }

    /// What to tell of it.
    pub fn event(&self) -> &events::DeadLettered {
        &self.event
    }

    /// The lease, to be settled.
    pub fn into_lease(self) -> Lease {
        self.lease
    }
}

/// What the stage goes on with.
enum Next {
    Rejected(Option<Rejected>),
    Published(DeadLettered),
}

/// The stage that publishes dead letters.
pub(super) struct DeadLetter {
    pub context: Context,
    pub settings: Arc<Settings>,
    pub max_payload: usize,
    pub rejects: Receiver<Rejected>,
    pub settled: Sender<Settled>,
    pub backoff: Backoff,
    pub traces: Traces,
    pub faults: FaultPoints,
    pub pulse: Pulse,
}

/// What each letter is published with.
#[derive(Clone)]
struct Publisher {
    context: Context,
    settings: Arc<Settings>,
    backoff: Backoff,
    traces: Traces,
    faults: FaultPoints,
    pulse: Pulse,
}

impl DeadLetter {
    /// Publishes until the stages before it have ended and every letter is acknowledged.
    pub async fn run(mut self) {
        let publisher = Publisher {
            context: self.context,
            settings: Arc::clone(&self.settings),
            backoff: self.backoff,
            traces: self.traces,
            faults: self.faults,
            pulse: self.pulse.clone(),
        };
        let mut pending = FuturesUnordered::new();
        let mut more = true;
        while more || !pending.is_empty() {
            self.pulse.step();
            let is_idle = pending.is_empty();
            let next = async {
                tokio::select! {
                    rejected = self.rejects.recv(), if more && pending.len() < self.settings.dead_letters.max_pending => Next::Rejected(rejected),
                    Some(letter) = pending.next(), if !pending.is_empty() => Next::Published(letter),
                }
            };
            let next = if is_idle {
                self.pulse.waiting(next).await
            } else {
                next.await
            };
            match next {
                Next::Rejected(Some(rejected)) => {
                    let letter = letter(&rejected, &self.settings, self.max_payload);
                    pending.push(publisher.clone().publish(letter, rejected));
                }
                Next::Rejected(None) => more = false,
                Next::Published(letter) => {
                    // The ack stage ends last; without it the message is delivered again and
                    // its letter is a duplicate, which the stream drops.
                    let _ = self.settled.send(Settled::DeadLettered(letter)).await;
                }
            }
        }
    }
}

impl Publisher {
    /// Publishes one letter until its stream has it, and makes the stream where it is gone.
    async fn publish(mut self, letter: Letter, rejected: Rejected) -> DeadLettered {
        let Rejected { delivery, reason } = &rejected;
        let headers = delivery.headers.as_ref();
        let (code, error) = (reason.code(), reason.to_string());
        let mut trace = self
            .traces
            .dead_letter(headers, &delivery.subject, code, &error);
        loop {
            self.pulse.step();
            match letter.publish(&self.context).await {
                Ok(publish_ack) => {
                    trace.stored(publish_ack.sequence);
                    self.faults.reached(Point::LetterPublished).await;
                    return DeadLettered::new(rejected, &publish_ack);
                }
                Err(error) => {
                    trace.failed(&error);
                    let pause = self.backoff.pause();
                    warn!(subject = %letter.subject(), %error, retry_in_ms = pause.as_millis() as u64, "Dead letter not published; it is tried again");
                    sleep(pause).await;
                    let stream = ensure_dead_letter_stream(&self.context, &self.settings).await;
                    if let Err(error) = stream {
                        warn!(%error, "The stream of dead letters is not available");
                    }
                }
            }
        }
    }
}

/// Headers as they were published: the server adds to them which instance has the consumer.
fn published(delivered: Option<&HeaderMap>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let delivered = delivered.into_iter().flat_map(HeaderMap::iter);
    for (name, values) in delivered.filter(|(name, _)| name.to_string() != PIN_ID) {
        for value in values {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// The letter for a message.
fn letter(rejected: &Rejected, settings: &Settings, max_payload: usize) -> Letter {
    let Rejected { delivery, reason } = rejected;
    let headers = published(delivery.headers.as_ref());
    let original = Original {
        subject: &delivery.subject,
        headers: delivery
            .unreadable_headers
            .as_deref()
            .map_or_else(|| Ok(&headers), Err),
        body: &delivery.body,
        stream: &settings.stream.name,
        stream_created_ns: delivery.position.stream_created_ns,
        sequence: delivery.position.stream_seq,
        published_at_ms: delivery.published_at_ms,
        attempts: delivery.attempt,
    };
    let verdict = Verdict {
        code: reason.code(),
        error: reason.to_string(),
        at: OffsetDateTime::now_utc(),
    };
    let prefix = &settings.dead_letters.subject_prefix;
    Letter::new(&original, &verdict, prefix, max_payload)
}
