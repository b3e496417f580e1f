//! Heads of dead letters in order, a page at a time; with their bodies if a scan asks for them.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, pull};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::stream::{DeadLetterStream, DeadLetterStreamError, SequenceRange};
use super::{DeadLetterHead, fields};

/// Number of heads held at once; each has at most 64 KiB of headers.
const PAGE: usize = 256;
/// Number of heads held at once with their bodies; each is a message of the server's `max_payload`
/// at most, 1 MiB by default.
const PAGE_WITH_BODIES: usize = 32;
/// Idle time after which the server removes a reader; the scan then creates another one.
const INACTIVE: Duration = Duration::from_secs(300);
/// Time limit for the next message of a page.
const SILENCE: Duration = Duration::from_secs(5);
/// Consecutive failures before the scan gives up.
const TRIES: u32 = 5;

type Reader = consumer::Consumer<pull::Config>;

/// A message in the stream of dead letters.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// Sequence of the message; for a later part, not that of the dead letter.
    pub sequence: u64,
    /// Headers of the message.
    pub head: DeadLetterHead,
    /// Body of the message, if the scan reads bodies.
    pub body: Bytes,
}

/// Reads a range of the stream of dead letters.
#[derive(Debug)]
pub struct Scan<'a> {
    letters: &'a DeadLetterStream,
    range: SequenceRange,
    /// First unread sequence.
    next: u64,
    last: u64,
    reader: Option<Reader>,
    /// Number of messages that the reader was sent. A gap shows a lost message.
    delivered: u64,
    page: VecDeque<Scanned>,
}

impl DeadLetterStream {
    /// Reads the heads of all messages in a range, in order.
    pub fn scan(&self, range: SequenceRange) -> Scan<'_> {
        Scan::new(self, range)
    }
}

impl<'a> Scan<'a> {
    fn new(letters: &'a DeadLetterStream, range: SequenceRange) -> Self {
        let at_open = letters.last_sequence();
        Self {
            letters,
            next: range.first.max(1),
            last: range.last.unwrap_or(at_open).min(at_open),
            range,
            reader: None,
            delivered: 0,
            page: VecDeque::new(),
        }
    }

    /// Returns the next message; `None` after the last.
    ///
    /// # Errors
    /// Fails when JetStream fails several times in a row.
    pub async fn next(&mut self) -> Result<Option<Scanned>, DeadLetterStreamError> {
        let mut failures = 0;
        while self.page.is_empty() {
            if self.next > self.last {
                self.close().await;
                return Ok(None);
            }
            match self.read_page().await {
                Ok(0) => self.next = self.last + 1,
                Ok(_) => {}
                Err(what) if failures + 1 < TRIES => {
                    debug!(%what, "Reading dead letters failed; continuing with a new reader");
                    failures += 1;
                    self.reader = None;
                    sleep(Duration::from_millis(100) * (1 << failures)).await;
                }
                Err(what) => {
                    return Err(DeadLetterStreamError::Scan {
                        stream: self.letters.stream().to_owned(),
                        from: self.next,
                        what,
                    });
                }
            }
        }
        Ok(self.page.pop_front())
    }

    /// Removes the reader from the server, which would otherwise do so later.
    pub async fn close(&mut self) {
        let Some(reader) = self.reader.take() else {
            return;
        };
        let name = reader.cached_info().name.clone();
        let stream = self.letters.stream();
        let context = &self.letters.context;
        if let Err(error) = context.delete_consumer_from_stream(name, stream).await {
            debug!(%error, "Reader not removed; the server forgets it");
        }
    }

    /// Reads the next page and returns the number of received messages, including those past the
    /// end.
    async fn read_page(&mut self) -> Result<usize, String> {
        let size = match self.range.with_bodies {
            true => PAGE_WITH_BODIES,
            false => PAGE,
        };
        let reader = self.reader().await?;
        let page = reader.fetch().max_messages(size).messages().await;
        let mut page = page.map_err(|error| error.to_string())?;
        let mut count = 0;
        loop {
            let message = timeout(SILENCE, page.next()).await;
            let message = message.map_err(|_| "the server went silent".to_owned())?;
            let Some(message) = message else {
                return Ok(count);
            };
            self.take(&message.map_err(|error| error.to_string())?)?;
            count += 1;
        }
    }

    fn take(&mut self, message: &Message) -> Result<(), String> {
        let info = message.info().map_err(|error| error.to_string())?;
        self.delivered += 1;
        if info.consumer_sequence != self.delivered {
            return Err("messages were lost on the way".to_owned());
        }
        let sequence = info.stream_sequence;
        self.next = sequence + 1;
        if sequence > self.last {
            return Ok(());
        }
        let headers = message.headers.clone().unwrap_or_default();
        let mut head = DeadLetterHead::read(sequence, info.published, &message.subject, &headers);
        let bytes = match self.range.with_bodies {
            true => message.payload.len() as u64,
            false => fields::number(&headers, "Nats-Msg-Size"),
        };
        head.bytes = Some(head.body_bytes(bytes));
        let subject = self.range.subject.as_deref();
        if subject.is_none_or(|pattern| self.letters.matches(&head, pattern)) {
            let body = message.payload.clone();
            self.page.push_back(Scanned {
                sequence,
                head,
                body,
            });
        }
        Ok(())
    }

    /// Returns the reader on the server.
    async fn reader(&mut self) -> Result<&Reader, String> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                let (context, stream) = (&self.letters.context, self.letters.stream());
                let created = context.create_consumer_on_stream(self.config(), stream);
                let reader = created.await.map_err(|error| error.to_string())?;
                self.delivered = 0;
                reader
            }
        };
        Ok(self.reader.insert(reader))
    }

    fn config(&self) -> pull::Config {
        let begun = self.next > self.range.first.max(1);
        let deliver_policy = match self.range.since {
            Some(start_time) if !begun => DeliverPolicy::ByStartTime { start_time },
            _ => DeliverPolicy::ByStartSequence {
                start_sequence: self.next,
            },
        };
        let subject = self.range.subject.as_deref();
        pull::Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subjects: subject
                .map(|pattern| self.letters.filters(pattern))
                .unwrap_or_default(),
            headers_only: !self.range.with_bodies,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: INACTIVE,
            ..pull::Config::default()
        }
    }
}
