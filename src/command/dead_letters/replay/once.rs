//! Replays a dead letter once, even if it is interrupted and repeated, however much later, and if
//! several processes do it at the same time.
//!
//! Before anything is published, a record next to the dead letter announces the replay, with the
//! last sequence of the stream of signals. The stream of dead letters accepts one record for each
//! dead letter, so a process that finds it knows that the message may be published, and searches
//! for it from that sequence on. A process publishes only within half of the stream's duplicate
//! window after its search or its record. So two processes that both found nothing publish within
//! the window, under one id. The record is removed after the dead letter, and the dead letter is
//! read after the record is written: a late process finds no dead letter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::header::NATS_EXPECTED_STREAM;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::stream::Info;
use clock::Backoff;
use fault_point::{FaultPoints, Point};
use jetstream::dead_letter::{
    DeadLetterHead, DeadLetterStream, DeadLetterStreamError, Intent, IntentOutcome, NotStored,
    WholeDeadLetter,
};
use jetstream::stored::{self, StoredError};
use jetstream::topology::{self, TopologyError};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::search::{self, SearchTarget};

/// Longest protocol line, after its verb, that nats-server accepts by default.
const CONTROL_LINE_BYTES_MAX: usize = 4096;
/// Lengths of headers and message in such a line, with the separators.
const LENGTHS_BYTES_MAX: usize = 24;
/// Searches for a message that an interrupted replay may have published.
const LOOKS: u32 = 20;
/// Attempts to replay one dead letter.
const TRIES: u32 = 5;

/// Reason for which a dead letter stays in place.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotReplayed {
    #[error(transparent)]
    Letters(#[from] DeadLetterStreamError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error("its headers do not name the original subject, so this program did not write it")]
    NoSubject,
    #[error("stream {0} does not exist, so it cannot be published")]
    NoStream(String),
    #[error(
        "with the headers of a replay it exceeds the server's limit: {0}; raise max_payload for the time of the replay, or export it"
    )]
    TooLarge(PublishError),
    #[error(
        "its subject has {bytes} bytes, and the server's lines (max_control_line, 4 KiB by default) have room for {max} in a publish with a reply; export it"
    )]
    LongSubject {
        /// Size of the subject in bytes.
        bytes: usize,
        /// Available bytes.
        max: usize,
    },
    #[error("JetStream did not store it on {subject}: {source}")]
    Publish {
        subject: String,
        source: PublishError,
    },
    #[error(
        "an earlier replay was interrupted, and stream {stream} cannot be searched for its message: {what}"
    )]
    Search { stream: String, what: String },
    #[error(
        "an earlier replay was interrupted, and stream {stream} no longer has all messages since, so the message may or may not have been published; search for it in ClickHouse, then purge the dead letter, or replay it with --again"
    )]
    Unknown { stream: String },
    #[error(
        "stream {stream} has another message under the id of this replay, sequence {sequence}, and forgets the id after its duplicate window, {} ms; find out who published that message, then replay the dead letter again",
        .window.as_millis()
    )]
    Another {
        stream: String,
        /// Sequence of the other message.
        sequence: u64,
        window: Duration,
    },
    #[error(
        "stream {stream} has a message under the id of this replay, which cannot be read for comparison with the dead letter (the NATS user needs $JS.API.STREAM.MSG.GET.{stream}): {source}"
    )]
    Unread { stream: String, source: StoredError },
    #[error(
        "JetStream is down, or its answer takes longer than half of the duplicate window of stream {stream}, {} ms",
        .window.as_millis()
    )]
    TooSlow { stream: String, window: Duration },
}

/// Replays dead letters.
pub(super) struct Replays<'a> {
    letters: &'a DeadLetterStream,
    context: &'a Context,
    stream: String,
    info: Option<Info>,
    /// A sequence that the stream has reached.
    newest: AtomicU64,
    /// True to also publish a message that an interrupted replay may have published, if that is
    /// unknown.
    again: bool,
    faults: FaultPoints,
}

/// Knowledge about a message before its publish.
enum Known {
    /// Nobody had published it at this time.
    NotPublished(Instant),
    /// The stream has the message.
    Published,
}

impl<'a> Replays<'a> {
    /// Looks up the stream that messages are published to, for `replays` concurrent replays.
    pub async fn new(
        letters: &'a DeadLetterStream,
        context: &'a Context,
        stream: &str,
        again: bool,
        at_once: usize,
        faults: FaultPoints,
    ) -> Result<Self, DeadLetterStreamError> {
        letters.check_room(at_once as u64)?;
        let info = topology::find_stream(context, stream).await?;
        let last = info.as_ref().map_or(0, |info| info.state.last_sequence);
        Ok(Self {
            letters,
            context,
            stream: stream.to_owned(),
            info,
            newest: AtomicU64::new(last),
            again,
            faults,
        })
    }

    /// Replays one dead letter: publishes it unless that was done, and removes it once the stream
    /// has it.
    pub async fn one(&self, head: DeadLetterHead) -> (u64, Result<(), NotReplayed>) {
        (head.sequence, self.replay(&head).await)
    }

    async fn replay(&self, head: &DeadLetterHead) -> Result<(), NotReplayed> {
        if head.subject.is_empty() {
            return Err(NotReplayed::NoSubject);
        }
        self.check_subject(&head.subject)?;
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut tries = 1;
        loop {
            match self.attempt(head).await {
                Err(error) if tries < TRIES && error.may_pass() => {
                    warn!(letter = head.sequence, %error, "Dead letter not replayed; trying again");
                    sleep(backoff.pause()).await;
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    async fn attempt(&self, head: &DeadLetterHead) -> Result<(), NotReplayed> {
        let Some(info) = &self.info else {
            return Err(NotReplayed::NoStream(self.stream.clone()));
        };
        let begun = Instant::now();
        let created = info.created.unix_timestamp_nanos();
        let after = self.newest.load(Ordering::Relaxed);
        let intended = self
            .letters
            .record_intent(head.sequence, &self.stream, created, after);
        let (intent, is_first) = match intended.await? {
            IntentOutcome::First(intent) => (intent, true),
            IntentOutcome::Before(intent) => (intent, false),
        };
        self.faults.reached(Point::ReplayIntended).await;
        // After the record: a process that has replayed the dead letter meanwhile has removed it.
        let letter = match self.letters.whole(head.sequence).await {
            Err(error @ DeadLetterStreamError::NoLetter { .. }) => {
                self.letters.remove_sequences(&[intent.sequence]).await?;
                return Err(error.into());
            }
            letter => letter?,
        };
        let id = format!(
            "replay-{}-{}-{}",
            self.letters.stream(),
            self.letters.created_ns(),
            head.sequence
        );
        let window = info.config.duplicate_window;
        let known = match is_first {
            true => Known::NotPublished(begun),
            false => self.look(&letter, &id, &intent, window).await?,
        };
        if let Known::NotPublished(since) = known {
            self.publish(&letter, &id, since, window).await?;
        }
        self.faults.reached(Point::ReplayPublished).await;
        self.letters.remove_sequences(&letter.sequences).await?;
        self.letters.remove_sequences(&[intent.sequence]).await?;
        Ok(())
    }

    /// Searches for a message that an earlier replay may have published.
    async fn look(
        &self,
        letter: &WholeDeadLetter,
        id: &str,
        intent: &Intent,
        window: Duration,
    ) -> Result<Known, NotReplayed> {
        let mut first = intent.after + 1;
        // The first search may take long; each further one begins where the last one ended.
        for _ in 0..LOOKS {
            let since = Instant::now();
            let info = topology::find_stream(self.context, &intent.stream).await?;
            let created = |info: &Info| info.created.unix_timestamp_nanos();
            let info = info.filter(|info| created(info) == intent.stream_created_ns);
            let Some(info) = info.filter(|_| intent.stream == self.stream) else {
                return self.unknown(intent, since);
            };
            let wanted = SearchTarget {
                stream: &intent.stream,
                subject: &letter.head.subject,
                id,
                first,
                last: info.state.last_sequence,
            };
            let found = search::with_id(self.context, &wanted).await;
            let found = found.map_err(|what| NotReplayed::Search {
                stream: intent.stream.clone(),
                what,
            })?;
            for sequence in found {
                if self.is_message_of(letter, sequence).await? {
                    return Ok(Known::Published);
                }
            }
            // A message that was removed by its age or by an operator may have been the one.
            let has_gaps = info.state.deleted_count.is_some_and(|count| count > 0);
            if has_gaps || info.state.first_sequence > intent.after + 1 {
                return self.unknown(intent, since);
            }
            if since.elapsed() < window / 4 {
                return Ok(Known::NotPublished(since));
            }
            first = wanted.last + 1;
        }
        Err(self.too_slow(window))
    }

    fn unknown(&self, intent: &Intent, since: Instant) -> Result<Known, NotReplayed> {
        if self.again {
            return Ok(Known::NotPublished(since));
        }
        Err(NotReplayed::Unknown {
            stream: intent.stream.clone(),
        })
    }

    /// Publishes the message of a dead letter that nobody had published at `since`.
    async fn publish(
        &self,
        letter: &WholeDeadLetter,
        id: &str,
        since: Instant,
        window: Duration,
    ) -> Result<(), NotReplayed> {
        let WholeDeadLetter { head, body, .. } = letter;
        let mut headers = head.replay_headers(&body.headers, id);
        headers.insert(NATS_EXPECTED_STREAM, self.stream.as_str());
        // Without a connection, the client would send it at the next connect, however late.
        let is_connected = self.context.client().connection_state() == State::Connected;
        if !is_connected || since.elapsed() >= window / 2 {
            return Err(self.too_slow(window));
        }
        let publish = async {
            let subject = head.subject.clone();
            let publish = self
                .context
                .publish_with_headers(subject, headers, body.bytes.clone());
            publish.await?.await
        };
        match publish.await {
            Ok(ack) => {
                self.newest.fetch_max(ack.sequence, Ordering::Relaxed);
                if ack.duplicate && !self.is_message_of(letter, ack.sequence).await? {
                    return Err(NotReplayed::Another {
                        stream: self.stream.clone(),
                        sequence: ack.sequence,
                        window,
                    });
                }
                Ok(())
            }
            Err(source) if source.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Err(NotReplayed::TooLarge(source))
            }
            Err(source) => Err(NotReplayed::Publish {
                subject: head.subject.clone(),
                source,
            }),
        }
    }

    /// Reports whether a message of the stream is the dead letter's. The id does not prove it,
    /// since any publisher may choose it.
    async fn is_message_of(
        &self,
        letter: &WholeDeadLetter,
        sequence: u64,
    ) -> Result<bool, NotReplayed> {
        let found = stored::message(self.context, &self.stream, sequence).await;
        let found = found.map_err(|source| NotReplayed::Unread {
            stream: self.stream.clone(),
            source,
        })?;
        Ok(found.is_some_and(|found| {
            found.subject == letter.head.subject && found.body == letter.body.bytes
        }))
    }

    fn too_slow(&self, window: Duration) -> NotReplayed {
        NotReplayed::TooSlow {
            stream: self.stream.clone(),
            window,
        }
    }

    /// Rejects a subject for which the server would close the connection, and so fail every other
    /// replay.
    fn check_subject(&self, subject: &str) -> Result<(), NotReplayed> {
        // The reply subject is an inbox with one more token of the same length.
        let inbox = self.context.client().new_inbox();
        let token = inbox.rsplit('.').next().map_or(0, str::len) + 1;
        let max = CONTROL_LINE_BYTES_MAX.saturating_sub(inbox.len() + token + LENGTHS_BYTES_MAX);
        if subject.len() <= max {
            return Ok(());
        }
        Err(NotReplayed::LongSubject {
            bytes: subject.len(),
            max,
        })
    }
}

impl NotReplayed {
    /// Reports whether another attempt, which searches first, may succeed.
    fn may_pass(&self) -> bool {
        let unanswered = |error: &PublishError| {
            let kind = error.kind();
            kind == PublishErrorKind::TimedOut || kind == PublishErrorKind::BrokenPipe
        };
        match self {
            Self::Search { .. } | Self::TooSlow { .. } => true,
            Self::Publish { source, .. } => unanswered(source),
            Self::Letters(DeadLetterStreamError::Intent { source, .. }) => {
                matches!(source, NotStored::Publish(error) if unanswered(error))
            }
            _ => false,
        }
    }
}
