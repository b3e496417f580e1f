//! Heads of letters in order, a page at a time, without their bodies.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, pull};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::stream::{Letters, LettersError, Range};
use super::{Head, history};

/// Heads held at once; each has at most 64 KiB of headers.
const PAGE: usize = 256;
/// The server forgets a reader that has not asked for so long; a new one is made then.
const INACTIVE: Duration = Duration::from_secs(300);
/// How long the next message of a page may take.
const SILENCE: Duration = Duration::from_secs(5);
/// Failures in a row that reading outlives.
const TRIES: u32 = 5;

type Reader = consumer::Consumer<pull::Config>;

/// A message of the stream of dead letters.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// Its own sequence; not that of the letter when it is a later part.
    pub sequence: u64,
    /// What its headers say.
    pub head: Head,
}

/// Reads a range of the stream of dead letters.
#[derive(Debug)]
pub struct Scan<'a> {
    letters: &'a Letters,
    range: Range,
    /// The first sequence that was not read yet.
    next: u64,
    last: u64,
    reader: Option<Reader>,
    /// The reader's own count of what it was sent: a gap tells that something was lost.
    delivered: u64,
    page: VecDeque<Scanned>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(letters: &'a Letters, range: Range) -> Self {
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

    /// The next message; `None` after the last.
    ///
    /// # Errors
    /// When JetStream fails again and again.
    pub async fn next(&mut self) -> Result<Option<Scanned>, LettersError> {
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
                    debug!(%what, "Reading dead letters failed; it goes on with a new reader");
                    failures += 1;
                    self.reader = None;
                    sleep(Duration::from_millis(100) * (1 << failures)).await;
                }
                Err(what) => {
                    return Err(LettersError::Scan {
                        stream: self.letters.stream().to_owned(),
                        from: self.next,
                        what,
                    });
                }
            }
        }
        Ok(self.page.pop_front())
    }

    /// Takes the reader off the server, which would otherwise forget it later.
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

    /// Reads the next page and returns how many messages came, those past the end included.
    async fn read_page(&mut self) -> Result<usize, String> {
        let reader = self.reader().await?;
        let page = reader.fetch().max_messages(PAGE).messages().await;
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
        let mut head = Head::read(sequence, info.published, &message.subject, &headers);
        head.bytes = Some(head.body_bytes(history::number(&headers, "Nats-Msg-Size")));
        let subject = self.range.subject.as_deref();
        if subject.is_none_or(|pattern| self.letters.matches(&head, pattern)) {
            self.page.push_back(Scanned { sequence, head });
        }
        Ok(())
    }

    /// The reader on the server.
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
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: INACTIVE,
            ..pull::Config::default()
        }
    }
}
