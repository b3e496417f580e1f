//! Sources of signals: a thread that generates or reads them, a little ahead of the publisher.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::thread;

use async_nats::header::{HeaderMap, HeaderValue, NATS_MESSAGE_ID};
use async_nats::subject::Subject;
use bytes::{Bytes, BytesMut};
use synthetic::SyntheticError;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Batches that may wait for the publisher.
const BATCHES_AHEAD: usize = 4;
/// Messages of a batch, enough to keep the channel's cost below theirs.
const BATCH_MESSAGES: usize = 64;
const ARENA_BYTES: usize = 256 * 1024;

/// Reason for which there are no more signals.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// A signal cannot be generated.
    #[error(transparent)]
    Generate(#[from] SyntheticError),
    /// The thread cannot be started.
    #[error("cannot start the thread that generates the signals: {0}")]
    Thread(io::Error),
}

/// Origin of a message, for people.
#[derive(Debug, Clone, Copy)]
pub(super) enum MessageOrigin {
    /// Line of the file, from 1.
    Line(u64),
    /// Number of a generated signal, from 1.
    Generated(u64),
}

impl fmt::Display for MessageOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Generated(number) => write!(f, "signal {number}"),
        }
    }
}

/// Id by which JetStream detects duplicates.
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

/// A message to publish; clones share the body.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub subject: Subject,
    pub id: MessageId,
    pub body: Bytes,
    pub origin: MessageOrigin,
    /// True if the message is deliberately bad.
    pub invalid: bool,
}

/// Messages that the thread passes on at once.
#[derive(Debug, Default)]
pub(super) struct OutgoingBatch {
    pub messages: Vec<Outgoing>,
    /// Lines that are no messages, with reasons.
    pub rejected: Vec<String>,
    pub blank_lines: u64,
}

/// Fills batches until the source ends.
pub(super) trait MessageSource: Send + 'static {
    /// Adds up to `messages` messages, and at least one item; returns `false` at the end.
    fn fill(&mut self, batch: &mut OutgoingBatch, messages: usize) -> Result<bool, SourceError>;
}

/// Runs a source in its own thread, which ends with the source or with the receiver.
///
/// A task of the runtime would not do: a read of standard input cannot be cancelled, and the
/// runtime waits for its own threads when it stops.
/// waits for its own threads when it stops.
#[expect(
    clippy::disallowed_methods,
    reason = "bounded; the source runs in a thread of its own"
)]
pub(super) fn spawn(
    mut source: impl MessageSource,
    per_second: u64,
) -> Result<mpsc::Receiver<Result<OutgoingBatch, SourceError>>, SourceError> {
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
                let mut batch = OutgoingBatch::default();
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

/// Copies a body; many bodies share one allocation.
pub(super) fn keep(arena: &mut BytesMut, body: &[u8]) -> Bytes {
    if arena.capacity() < body.len() {
        arena.reserve(body.len().max(ARENA_BYTES));
    }
    arena.extend_from_slice(body);
    arena.split().freeze()
}
