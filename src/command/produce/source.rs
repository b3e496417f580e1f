//! Where the signals come from: a thread that generates or reads them, a little ahead of the
//! publisher.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::thread;

use async_nats::header::{HeaderMap, HeaderValue, NATS_MESSAGE_ID};
use async_nats::subject::Subject;
use bytes::{Bytes, BytesMut};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::lines::{self, LineRead};
use crate::synthetic::{Generator, Kind, SyntheticError};

/// Batches that wait for the publisher.
const BATCHES_AHEAD: usize = 4;
/// Messages of a batch, so that the channel does not cost more than they do.
const BATCH_MESSAGES: usize = 64;
/// Bytes after which a batch is full whatever its number of messages.
const BATCH_BYTES: usize = 1024 * 1024;
const READ_BUFFER_BYTES: usize = 256 * 1024;
const ARENA_BYTES: usize = 256 * 1024;

/// Why there are no more signals.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A signal cannot be generated.
    #[error(transparent)]
    Generate(#[from] SyntheticError),
    /// The thread cannot be started.
    #[error("cannot start the thread that makes the signals: {0}")]
    Thread(io::Error),
}

/// Where a message comes from, for its reader.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// A line of the file, from 1.
    Line(u64),
    /// A generated signal, from 1.
    Generated(u64),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Generated(number) => write!(f, "signal {number}"),
        }
    }
}

/// What JetStream recognises a message by.
#[derive(Debug, Clone)]
pub(super) enum MessageId {
    None,
    Uuid(Uuid),
    Text(HeaderValue),
}

impl MessageId {
    pub(super) fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }

    pub(super) fn headers(&self) -> Option<HeaderMap> {
        let value = match self {
            Self::None => return None,
            Self::Uuid(id) => HeaderValue::from(id.to_string()),
            Self::Text(text) => text.clone(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, value);
        Some(headers)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Uuid(id) => id.fmt(f),
            Self::Text(text) => f.write_str(text.as_str()),
        }
    }
}

/// A message to publish; a clone shares the body.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub subject: Subject,
    pub id: MessageId,
    pub body: Bytes,
    pub origin: Origin,
    /// Bad on purpose.
    pub invalid: bool,
}

/// What the thread hands over at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub messages: Vec<Outgoing>,
    /// Lines that are no messages, and why.
    pub rejected: Vec<String>,
    pub blank_lines: u64,
}

/// Fills batches until there is no more.
pub(super) trait Source: Send + 'static {
    /// Adds up to `messages` messages, at least one of anything; `false` at the end.
    fn fill(&mut self, batch: &mut Batch, messages: usize) -> Result<bool, SourceError>;
}

/// Runs a source in a thread of its own, which ends with the source or with the receiver.
///
/// No task of the runtime: a read of standard input cannot be cancelled, and the runtime
/// waits for its own threads when it stops.
pub(super) fn spawn(
    mut source: impl Source,
    per_second: u64,
) -> Result<mpsc::Receiver<Result<Batch, SourceError>>, SourceError> {
    let (batches, receiver) = mpsc::channel(BATCHES_AHEAD);
    // At a low rate, a full batch would hold signals that were timed long ago.
    let messages = match usize::try_from(per_second / 100) {
        Ok(0) if per_second > 0 => 1,
        Ok(ten_ms) if per_second > 0 => ten_ms.min(BATCH_MESSAGES),
        _ => BATCH_MESSAGES,
    };
    thread::Builder::new()
        .name("produce-source".to_owned())
        .spawn(move || {
            loop {
                let mut batch = Batch::default();
                let (batch, more) = match source.fill(&mut batch, messages) {
                    Ok(more) => (Ok(batch), more),
                    Err(error) => (Err(error), false),
                };
                if batches.blocking_send(batch).is_err() || !more {
                    break;
                }
            }
        })
        .map_err(SourceError::Thread)?;
    Ok(receiver)
}

/// Generated signals.
pub(super) struct Synthetic {
    generator: Generator,
    transaction: Subject,
    risk_event: Subject,
    wallet_snapshot: Subject,
    made: u64,
    limit: Option<u64>,
    arena: BytesMut,
}

impl Synthetic {
    pub(super) fn new(generator: Generator, prefix: &str, limit: Option<u64>) -> Self {
        let subject = |kind: Kind| format!("{prefix}.{}", kind.event_type()).into();
        Self {
            generator,
            transaction: subject(Kind::Transaction),
            risk_event: subject(Kind::RiskEvent),
            wallet_snapshot: subject(Kind::WalletSnapshot),
            made: 0,
            limit,
            arena: BytesMut::new(),
        }
    }
}

/// Milliseconds since the epoch.
pub(super) fn now_ms() -> i64 {
    let now = OffsetDateTime::now_utc();
    now.unix_timestamp() * 1000 + i64::from(now.millisecond())
}

/// Copies a body; many share one allocation.
fn keep(arena: &mut BytesMut, body: &[u8]) -> Bytes {
    if arena.capacity() < body.len() {
        arena.reserve(body.len().max(ARENA_BYTES));
    }
    arena.extend_from_slice(body);
    arena.split().freeze()
}

impl Source for Synthetic {
    fn fill(&mut self, batch: &mut Batch, messages: usize) -> Result<bool, SourceError> {
        self.generator.advance_to(now_ms());
        for _ in 0..messages {
            if self.limit.is_some_and(|limit| self.made >= limit) {
                return Ok(false);
            }
            let produced = self.generator.produce()?;
            self.made += 1;
            let subject = match produced.kind {
                Kind::Transaction => &self.transaction,
                Kind::RiskEvent => &self.risk_event,
                Kind::WalletSnapshot => &self.wallet_snapshot,
            };
            batch.messages.push(Outgoing {
                subject: subject.clone(),
                id: MessageId::Uuid(produced.trace_id),
                body: keep(&mut self.arena, produced.body),
                origin: Origin::Generated(self.made),
                invalid: produced.defect.is_some(),
            });
        }
        Ok(true)
    }
}

/// The lines of a file.
pub(super) struct Lines {
    reader: Box<dyn BufReadAhead>,
    path: PathBuf,
    prefix: String,
    line_bytes_max: usize,
    number: u64,
    left: Option<u64>,
    line: Vec<u8>,
    arena: BytesMut,
}

/// A reader that knows whether the next read may block.
pub(super) trait BufReadAhead: BufRead + Send {
    /// Whether something is read already.
    fn has_buffered(&self) -> bool;
}

impl<R: io::Read + Send> BufReadAhead for BufReader<R> {
    fn has_buffered(&self) -> bool {
        !self.buffer().is_empty()
    }
}

impl Lines {
    /// Opens `path`, or standard input for `-`.
    pub(super) fn open(
        path: &Path,
        prefix: &str,
        line_bytes_max: usize,
        limit: Option<u64>,
    ) -> Result<Self, SourceError> {
        let reader: Box<dyn BufReadAhead> = if path == Path::new("-") {
            Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, io::stdin()))
        } else {
            let file = File::open(path).map_err(|source| SourceError::Read {
                path: path.to_owned(),
                source,
            })?;
            Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, file))
        };
        Ok(Self {
            reader,
            path: path.to_owned(),
            prefix: prefix.to_owned(),
            line_bytes_max,
            number: 0,
            left: limit,
            line: Vec::new(),
            arena: BytesMut::new(),
        })
    }

    fn outgoing(&mut self) -> Outgoing {
        let glance = lines::glance(&self.line);
        let id = glance.trace_id.and_then(|id| id.parse().ok());
        Outgoing {
            subject: format!("{}.{}", self.prefix, glance.token).into(),
            id: id.map_or(MessageId::None, MessageId::Text),
            body: keep(&mut self.arena, &self.line),
            origin: Origin::Line(self.number),
            invalid: false,
        }
    }
}

impl Source for Lines {
    fn fill(&mut self, batch: &mut Batch, messages: usize) -> Result<bool, SourceError> {
        let mut bytes = 0;
        for _ in 0..messages {
            if self.left == Some(0) {
                return Ok(false);
            }
            let read = lines::next_line(&mut self.reader, self.line_bytes_max, &mut self.line)
                .map_err(|source| SourceError::Read {
                    path: self.path.clone(),
                    source,
                })?;
            self.number += 1;
            match read {
                LineRead::End => return Ok(false),
                LineRead::TooLong { bytes } => batch.rejected.push(format!(
                    "{}: {bytes} bytes are more than the server's max_payload of {}",
                    Origin::Line(self.number),
                    self.line_bytes_max
                )),
                LineRead::Line if self.line.trim_ascii().is_empty() => {
                    batch.blank_lines += 1;
                    continue;
                }
                LineRead::Line => {
                    bytes += self.line.len();
                    let outgoing = self.outgoing();
                    batch.messages.push(outgoing);
                }
            }
            self.left = self.left.map(|left| left - 1);
            // What is read must not wait for input that may come much later.
            if bytes >= BATCH_BYTES || !self.reader.has_buffered() {
                break;
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines_of(text: &str, limit: Option<u64>) -> Batch {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut lines = Lines::open(file.path(), "signals", 60, limit).unwrap();
        let mut batch = Batch::default();
        while lines.fill(&mut batch, 2).unwrap() {}
        batch
    }

    const TEXT: &str = concat!(
        "{\"event_type\":\"a\",\"trace_id\":\"one\"}\n",
        "\n",
        "not json at all \n",
        "{\"long\":\"......................................................\"}\n",
        "  \n",
        "{\"event_type\":\"b\",\"trace_id\":\"a\\nb\"}",
    );

    #[test]
    fn each_line_is_a_message_with_its_number() {
        let batch = lines_of(TEXT, None);
        let found: Vec<_> = batch
            .messages
            .iter()
            .map(|message| {
                let id = message.id.to_string();
                (message.origin.to_string(), message.subject.as_str(), id)
            })
            .collect();
        let none = || "none".to_owned();
        assert_eq!(
            found,
            [
                ("line 1".to_owned(), "signals.a", "one".to_owned()),
                ("line 3".to_owned(), "signals.unknown", none()),
                // An id that no header can hold.
                ("line 6".to_owned(), "signals.b", none()),
            ]
        );
        assert_eq!(batch.messages[1].body, "not json at all ");
        assert_eq!(batch.blank_lines, 2);
        assert_eq!(batch.rejected.len(), 1);
        assert!(
            batch.rejected[0].starts_with("line 4: 65 bytes"),
            "{:?}",
            batch.rejected
        );
    }

    #[test]
    fn the_count_bounds_the_lines() {
        let batch = lines_of(TEXT, Some(2));
        assert_eq!(batch.messages.len(), 2);
        assert!(Lines::open(Path::new("/nonexistent"), "signals", 60, None).is_err());
    }
}
