//! Reading a letter.

use async_nats::HeaderMap;
use bytes::{Bytes, BytesMut};
use time::OffsetDateTime;

use crate::jetstream::HeaderBlock;

use super::history::{number, reasons, replay_headers, text};
use super::{name, strip_prefix_ignoring_case};

/// Which part of its letter a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartNumber {
    /// From 1.
    pub number: u64,
    /// How many there are.
    pub of: u64,
    /// The sequence of the first part.
    pub first_sequence: u64,
}

/// What a letter's headers say. A message that some other program wrote to the stream has
/// empty texts here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The letter's sequence in the stream of dead letters; of its first part.
    pub sequence: u64,
    /// When the stream of dead letters took it.
    pub time: OffsetDateTime,
    /// The letter's own subject.
    pub letter_subject: String,
    /// Of the record of a replay that has begun, which is no letter: the letter's sequence.
    pub replay_of: Option<u64>,
    /// Which part of the letter this is.
    pub part: PartNumber,
    /// Bytes of the body, once that is known.
    pub bytes: Option<u64>,
    /// Bytes of the body that are the original header block.
    header_bytes: usize,
    /// The reason's code.
    pub reason: String,
    /// The reason in words.
    pub error: String,
    /// The subject the message was published on.
    pub subject: String,
    /// The stream it was in.
    pub stream: String,
    /// When that stream was created: nanoseconds since the epoch.
    pub stream_created: String,
    /// The table that it did not land in, with its database; empty in letters of older releases.
    pub table: String,
    /// Its sequence there.
    pub stream_sequence: u64,
    /// When that stream took it.
    pub published: String,
    /// When it was first judged dead.
    pub first_seen: String,
    /// How often it was delivered.
    pub attempts: u64,
    /// How often it was replayed.
    pub replays: u64,
    /// The reasons of its earlier letters, oldest first.
    pub earlier_reasons: Vec<String>,
    /// The version of the daemon that judged it.
    pub version: String,
}

impl Head {
    /// Reads the headers of a message of the stream of dead letters.
    pub fn read(
        sequence: u64,
        time: OffsetDateTime,
        letter_subject: &str,
        headers: &HeaderMap,
    ) -> Self {
        let text = |name| text(headers, name).unwrap_or_default();
        let part = text(name::PART);
        let (part, of) = part
            .split_once('/')
            .and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)))
            .unwrap_or((1, 1));
        let first_sequence = match number(headers, name::FIRST_PART) {
            0 => sequence,
            first => first,
        };
        Self {
            sequence: first_sequence,
            time,
            letter_subject: letter_subject.to_owned(),
            replay_of: Some(number(headers, name::REPLAY_OF)).filter(|letter| *letter > 0),
            part: PartNumber {
                number: part,
                of,
                first_sequence,
            },
            bytes: Some(number(headers, name::BODY_BYTES)).filter(|bytes| *bytes > 0),
            header_bytes: usize::try_from(number(headers, name::HEADER_BYTES)).unwrap_or(0),
            reason: text(name::REASON),
            error: text(name::ERROR),
            subject: text(name::SUBJECT),
            stream: text(name::STREAM),
            stream_created: text(name::STREAM_CREATED),
            table: text(name::TABLE),
            stream_sequence: number(headers, name::SEQUENCE),
            published: text(name::PUBLISHED),
            first_seen: text(name::FIRST_SEEN),
            attempts: number(headers, name::ATTEMPTS),
            replays: number(headers, name::REPLAYS),
            earlier_reasons: reasons(headers),
            version: text(name::VERSION),
        }
    }

    /// Bytes of the original body, given the bytes of the one message there is.
    pub fn body_bytes(&self, message_bytes: u64) -> u64 {
        let bytes = self.bytes.unwrap_or(message_bytes);
        bytes.saturating_sub(self.header_bytes as u64)
    }

    /// The headers of the message that replays this letter.
    pub fn replay_headers(&self, original: &HeaderMap, message_id: &str) -> HeaderMap {
        replay_headers(original, self, message_id)
    }
}

/// What the application had published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Its headers, under their own names.
    pub headers: HeaderMap,
    /// Its body.
    pub bytes: Bytes,
}

/// The original message of a letter, from the headers of its first part and the bodies of all
/// its parts in order.
pub(super) fn join(head: &Head, headers: &HeaderMap, parts: &[Bytes]) -> Body {
    let mut whole = match parts {
        [only] => only.clone(),
        parts => {
            let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
            parts.iter().for_each(|part| whole.extend_from_slice(part));
            whole.freeze()
        }
    };
    let headers = if head.header_bytes > 0 {
        let block = whole.split_to(head.header_bytes.min(whole.len()));
        HeaderBlock::new(block).readable_headers()
    } else {
        original_headers(headers)
    };
    Body {
        headers,
        bytes: whole,
    }
}

fn original_headers(headers: &HeaderMap) -> HeaderMap {
    let mut original = HeaderMap::new();
    for (name, values) in headers.iter() {
        let name = name.to_string();
        let name = match strip_prefix_ignoring_case(&name, name::ORIGINAL_PREFIX) {
            Some(original) if !original.is_empty() => original,
            _ if is_of_the_letter(&name) => continue,
            _ => &name,
        };
        for value in values {
            original.append(name, value.as_str());
        }
    }
    original
}

/// Whether the letter has the header, and not the message it was made of.
fn is_of_the_letter(name: &str) -> bool {
    ["Nats-", "Risksignal-"]
        .iter()
        .any(|prefix| strip_prefix_ignoring_case(name, prefix).is_some())
}
