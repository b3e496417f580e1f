//! The side exit: what cannot land goes to the stream of dead letters, with the reason.

use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::sleep;
use tracing::warn;

use crate::backoff::Backoff;
use crate::fault_point::{FaultPoints, Point};
use crate::settings::Settings;
use crate::signal::Invalid;
use crate::telemetry::events;

use super::ack::Settled;
use super::delivery::Delivery;
use super::in_flight::Lease;

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
}

impl Reason {
    fn code(&self) -> &'static str {
        match self {
            Self::Invalid(invalid) => invalid.code(),
            Self::Refused(_) => "refused_by_clickhouse",
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
                subject: delivery.message.subject.to_string(),
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

/// The stage that publishes dead letters.
pub(super) struct DeadLetter {
    pub context: Context,
    pub settings: Arc<Settings>,
    pub max_payload: usize,
    pub rejects: Receiver<Rejected>,
    pub settled: Sender<Settled>,
    pub backoff: Backoff,
    pub faults: FaultPoints,
}

impl DeadLetter {
    /// Publishes until the stages before it have ended and every letter is acknowledged.
    pub async fn run(mut self) {
        let mut pending = FuturesUnordered::new();
        let mut more = true;
        while more || !pending.is_empty() {
            tokio::select! {
                rejected = self.rejects.recv(), if more && pending.len() < self.settings.dead_letters.max_pending => {
                    match rejected {
                        Some(rejected) => pending.push(publish(
                            Letter::new(&rejected, &self.settings, self.max_payload),
                            rejected,
                            self.context.clone(),
                            self.backoff.clone(),
                            self.faults.clone(),
                        )),
                        None => more = false,
                    }
                }
                Some(letter) = pending.next(), if !pending.is_empty() => {
                    // The ack stage ends last; without it the message is delivered again and
                    // its letter is a duplicate, which the stream drops.
                    let _ = self.settled.send(Settled::DeadLettered(letter)).await;
                }
            }
        }
    }
}

/// Publishes one letter until its stream has it.
async fn publish(
    letter: Letter,
    rejected: Rejected,
    context: Context,
    mut backoff: Backoff,
    faults: FaultPoints,
) -> DeadLettered {
    loop {
        match letter.publish(&context).await {
            Ok(publish_ack) => {
                faults.reached(Point::LetterPublished);
                return DeadLettered::new(rejected, &publish_ack);
            }
            Err(error) => {
                let pause = backoff.pause();
                warn!(subject = %letter.subject, %error, retry_in_ms = pause.as_millis() as u64, "Dead letter not published; it is tried again");
                sleep(pause).await;
            }
        }
    }
}

/// Longest value of a header in bytes; what is longer is cut.
const HEADER_BYTES_MAX: usize = 1024;
/// Room for the header lines of the protocol and the number of a part.
const HEADER_OVERHEAD_BYTES: usize = 256;

/// A dead letter as it is published: one message, or several where the headers and the body
/// together are larger than the server takes.
struct Letter {
    subject: String,
    message_id: String,
    headers: HeaderMap,
    parts: Vec<Bytes>,
}

impl Letter {
    fn new(rejected: &Rejected, settings: &Settings, max_payload: usize) -> Self {
        let Rejected { delivery, reason } = rejected;
        let message = &delivery.message;
        let mut headers = message.headers.as_ref().map(kept).unwrap_or_default();
        let published = OffsetDateTime::from_unix_timestamp(delivery.published_at_ms / 1000)
            .ok()
            .and_then(|time| {
                let ms = u16::try_from(delivery.published_at_ms % 1000).ok()?;
                time.replace_millisecond(ms).ok()?.format(&Rfc3339).ok()
            })
            .unwrap_or_default();
        for (name, value) in [
            ("Risksignal-Reason", reason.code().to_owned()),
            ("Risksignal-Error", header_text(&reason.to_string())),
            ("Risksignal-Subject", message.subject.to_string()),
            ("Risksignal-Stream", settings.stream.name.clone()),
            (
                "Risksignal-Sequence",
                delivery.position.stream_seq.to_string(),
            ),
            ("Risksignal-Published", published),
            ("Risksignal-Attempts", delivery.attempt.to_string()),
            ("Risksignal-Version", env!("CARGO_PKG_VERSION").to_owned()),
        ] {
            headers.insert(name, value.as_str());
        }
        let room = max_payload.saturating_sub(header_bytes(&headers) + HEADER_OVERHEAD_BYTES);
        Self {
            subject: format!(
                "{}.{}",
                settings.dead_letters.subject_prefix, message.subject
            ),
            message_id: format!(
                "{}-{}-{}",
                settings.stream.name,
                delivery.position.stream_created_ns,
                delivery.position.stream_seq
            ),
            headers,
            parts: parts(&message.payload, room.max(1)),
        }
    }

    /// Publishes every part and returns the ack of the first. A try that follows another
    /// publishes no part twice: the stream knows their ids.
    async fn publish(&self, context: &Context) -> Result<PublishAck, PublishError> {
        let mut first = None;
        for (index, part) in self.parts.iter().enumerate() {
            let mut headers = self.headers.clone();
            let mut id = self.message_id.clone();
            if self.parts.len() > 1 {
                let number = format!("{}/{}", index + 1, self.parts.len());
                id = format!("{id}-{}", index + 1);
                headers.insert("Risksignal-Part", number.as_str());
            }
            headers.insert(NATS_MESSAGE_ID, id.as_str());
            let ack = context
                .publish_with_headers(self.subject.clone(), headers, part.clone())
                .await?
                .await?;
            first.get_or_insert(ack);
        }
        // There is always a first part, if an empty one.
        Ok(first.unwrap_or_default())
    }
}

fn parts(payload: &Bytes, room: usize) -> Vec<Bytes> {
    let mut rest = payload.clone();
    let mut parts = vec![rest.split_to(rest.len().min(room))];
    while !rest.is_empty() {
        parts.push(rest.split_to(rest.len().min(room)));
    }
    parts
}

/// The headers that the message came with. Those of NATS would steer the dead letter's own
/// publish, and those of a dead letter would be taken for this one's, so both are renamed.
fn kept(original: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in original.iter() {
        let lower = name.to_string().to_ascii_lowercase();
        let name = if lower.starts_with("nats-") || lower.starts_with("risksignal-") {
            format!("Original-{name}")
        } else {
            name.to_string()
        };
        for value in values {
            headers.append(name.as_str(), value.as_str());
        }
    }
    headers
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .flat_map(|(name, values)| {
            let name_bytes = name.to_string().len();
            values
                .iter()
                .map(move |value| name_bytes + value.as_str().len() + 4)
        })
        .sum()
}

/// A text on one line, of bounded length.
fn header_text(text: &str) -> String {
    let mut end = text.len().min(HEADER_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace(['\r', '\n'], " ")
}
