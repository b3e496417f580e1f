//! Reads the stream of signals as it grows.
//!
//! The reader is an ephemeral pull consumer. It acknowledges nothing, so the server keeps a
//! position for it and no message. It asks for a batch when there is room for one: what it has not
//! asked for waits in the stream, which keeps it anyway.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::{Batch, Config};
use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use async_nats::jetstream::stream::Info;
use async_nats::jetstream::{Context, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use jetstream::subject::token_of;
use jetstream::topology;
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::settings::Settings;

use super::args::TapArgs;
use super::error::TapError;

/// Messages of a batch.
const BATCH: usize = 1_000;
/// Bytes of a batch, unless one message may be larger.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a message besides its body, which JetStream counts too.
const OVERHEAD_BYTES: usize = 16 * 1024;
/// Words of the server at the end of a batch that has as many bytes as it may.
const BATCH_FULL: &str = "Message Size Exceeds MaxBytes";
/// Time that the server keeps a request for a batch.
const EXPIRES: Duration = Duration::from_secs(5);
/// Time after [`EXPIRES`] without an answer from which on the request is lost.
const SILENCE: Duration = Duration::from_secs(2);
/// Time without a request after which the server removes the consumer. The tap does not do so: the
/// right to remove consumers would include those of others.
const INACTIVE: Duration = Duration::from_secs(10);
/// Messages that may wait for a tap before it skips to the newest: more than anyone reads live.
const BEHIND_MAX: u64 = 10_000;
/// Pause before another consumer.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause after a failure of JetStream.
const RETRY: Duration = Duration::from_secs(1);

/// A message of the stream.
#[derive(Debug, Clone)]
pub(super) struct TapMessage {
    pub sequence: u64,
    /// Time at which the stream stored it.
    pub time: OffsetDateTime,
    pub subject: String,
    pub body: Bytes,
}

#[cfg(test)]
impl TapMessage {
    pub fn new(subject: &str, body: &str) -> Self {
        Self {
            sequence: 1,
            time: OffsetDateTime::UNIX_EPOCH,
            subject: subject.to_owned(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }
}

/// Result of a read.
#[derive(Debug)]
pub(super) enum Arrival {
    /// The next message.
    Message(TapMessage),
    /// Number of messages that were skipped, since the tap was too far behind.
    Skipped(u64),
}

/// Position at which a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    At(OffsetDateTime),
    After(u64),
}

/// Reads the stream of signals.
pub(super) struct TapReader {
    context: Context,
    stream: String,
    /// Subjects that the server filters by; empty for all.
    subjects: Vec<String>,
    batch_bytes: usize,
    /// `None` until the first consumer, which begins at the end of the stream.
    start: Option<Start>,
    /// True if it skips messages when it is far behind.
    skips: bool,
    /// Messages that waited after the last one, if it is too far behind.
    behind: Option<u64>,
    /// Creation of the stream that `start` belongs to.
    created: Option<OffsetDateTime>,
    consumer: Option<Consumer<Config>>,
    batch: Option<Batch>,
    /// Messages that the consumer has delivered. A gap shows a lost one.
    delivered: u64,
}

impl TapReader {
    /// Creates a reader, and its consumer on the server.
    ///
    /// # Errors
    /// Fails when there is no stream, or JetStream fails.
    pub async fn open(
        context: Context,
        max_payload: usize,
        settings: &Settings,
        args: &TapArgs,
    ) -> Result<Self, TapError> {
        let mut reader = Self {
            context,
            stream: settings.stream.name.clone(),
            subjects: subjects(&settings.stream.subject_prefix, &args.types),
            batch_bytes: BATCH_BYTES.max(max_payload + OVERHEAD_BYTES),
            start: args.since.map(Start::At),
            skips: args.since.is_none(),
            behind: None,
            created: None,
            consumer: None,
            batch: None,
            delivered: 0,
        };
        reader.create().await?;
        Ok(reader)
    }

    /// Waits for the next message. After an outage it continues where it was.
    pub async fn next(&mut self) -> Arrival {
        loop {
            let read = match self.behind.take() {
                Some(waiting) => self.skip(waiting).await.map(Some),
                None => self.read().await,
            };
            match read {
                Ok(Some(arrival)) => return arrival,
                Ok(None) => {}
                Err(error) => {
                    warn!(%error, "Reading the stream failed; trying again");
                    self.forget();
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Reads a message; `None` where a request has ended, or a consumer has to be created.
    async fn read(&mut self) -> Result<Option<Arrival>, TapError> {
        let Some(batch) = &mut self.batch else {
            self.request().await?;
            return Ok(None);
        };
        match timeout(EXPIRES + SILENCE, batch.next()).await {
            Ok(Some(Ok(message))) => Ok(self.take(message)),
            Ok(None) => {
                self.batch = None;
                Ok(None)
            }
            Ok(Some(Err(error))) if error.to_string().contains(BATCH_FULL) => {
                self.batch = None;
                Ok(None)
            }
            // The connection was lost, or the server has removed the consumer: the output has
            // been stuck for long, or the server was restarted.
            Ok(Some(Err(_))) | Err(_) => {
                self.forget();
                sleep(PAUSE).await;
                Ok(None)
            }
        }
    }

    /// Takes a message; `None` if another one was lost before it.
    fn take(&mut self, message: Message) -> Option<Arrival> {
        self.delivered += 1;
        let (sequence, time, pending) = match message.info() {
            Ok(info) if info.consumer_sequence == self.delivered => {
                (info.stream_sequence, info.published, info.pending)
            }
            _ => {
                self.forget();
                return None;
            }
        };
        self.start = Some(Start::After(sequence));
        self.behind = Some(pending).filter(|pending| self.skips && *pending > BEHIND_MAX);
        Some(Arrival::Message(TapMessage {
            sequence,
            time,
            subject: message.subject.to_string(),
            body: message.payload.clone(),
        }))
    }

    /// Skips to the end of the stream.
    async fn skip(&mut self, waiting: u64) -> Result<Arrival, TapError> {
        let last = self.find().await?.state.last_sequence;
        // Without a filter, the sequences also count those that came meanwhile.
        let skipped = match self.start {
            Some(Start::After(seen)) if self.subjects.is_empty() => last.saturating_sub(seen),
            _ => waiting,
        };
        self.forget();
        self.start = Some(Start::After(last));
        Ok(Arrival::Skipped(skipped))
    }

    /// Requests a batch, and creates the consumer if there is none.
    async fn request(&mut self) -> Result<(), TapError> {
        if self.consumer.is_none() {
            self.create().await?;
        }
        let Some(consumer) = &self.consumer else {
            return Ok(());
        };
        let batch = consumer
            .batch()
            .max_messages(BATCH)
            .max_bytes(self.batch_bytes)
            .expires(EXPIRES);
        let batch = batch.messages().await;
        self.batch = Some(batch.map_err(|error| self.failed(error.into()))?);
        Ok(())
    }

    async fn create(&mut self) -> Result<(), TapError> {
        let stream = self.find().await?;
        let known = self.created.replace(stream.created);
        if known.is_some_and(|known| known != stream.created) {
            // A recreated stream counts from one again.
            self.start = Some(Start::After(0));
        }
        // A sequence, so that nothing is missed when the consumer is lost before a message came.
        let start = self
            .start
            .get_or_insert(Start::After(stream.state.last_sequence));
        let config = Config {
            deliver_policy: match *start {
                Start::At(start_time) => DeliverPolicy::ByStartTime { start_time },
                Start::After(seen) => DeliverPolicy::ByStartSequence {
                    start_sequence: seen + 1,
                },
            },
            ack_policy: AckPolicy::None,
            filter_subjects: self.subjects.clone(),
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: INACTIVE,
            ..Config::default()
        };
        let created = self.context.create_consumer_on_stream(config, &self.stream);
        let created = created.await.map_err(|error| self.failed(error.into()))?;
        self.consumer = Some(created);
        self.delivered = 0;
        Ok(())
    }

    async fn find(&self) -> Result<Info, TapError> {
        let found = topology::find_stream(&self.context, &self.stream).await?;
        found.ok_or_else(|| TapError::NoStream(self.stream.clone()))
    }

    /// Forgets a consumer that may be gone.
    fn forget(&mut self) {
        (self.batch, self.consumer) = (None, None);
    }

    fn failed(&self, answer: async_nats::Error) -> TapError {
        debug!(words = %answer, "JetStream's own words");
        TapError::Read {
            stream: self.stream.clone(),
            answer,
        }
    }
}

/// Returns the subjects of these types; none for all types.
fn subjects(prefix: &str, types: &[String]) -> Vec<String> {
    let subject = |name: &String| format!("{prefix}.{}", token_of(name));
    let mut subjects: Vec<_> = types.iter().map(subject).collect();
    subjects.sort_unstable();
    subjects.dedup();
    subjects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_one_token_of_the_subject() {
        assert!(subjects("signals", &[]).is_empty());
        let types = ["a.b", "a.b", "t"].map(str::to_owned);
        assert_eq!(subjects("signals", &types), ["signals.a_b", "signals.t"]);
    }
}
