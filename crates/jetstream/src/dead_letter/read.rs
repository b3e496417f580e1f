//! Reading of dead letters.

use async_nats::HeaderMap;
use bytes::{Bytes, BytesMut};
use time::OffsetDateTime;

use crate::HeaderBlock;

use super::fields::{number, reasons, text};
use super::{name, strip_prefix_ignoring_case};

/// Position of a message among the parts of its dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartNumber {
    /// Number of the part, from 1.
    pub number: u64,
    /// Number of parts.
    pub of: u64,
    /// Sequence of the first part.
    pub first_sequence: u64,
}

/// Headers of a dead letter. For a message that another program wrote to the stream, the texts are
/// empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterHead {
    /// Sequence of the dead letter, or of its first part, in the stream of dead letters.
    pub sequence: u64,
    /// Time at which the stream of dead letters stored it.
    pub time: OffsetDateTime,
    /// Subject of the dead letter itself.
    pub letter_subject: String,
    /// For the record of a started replay, which is no dead letter: sequence of the dead letter.
    pub replay_of: Option<u64>,
    /// Number of this part.
    pub part: PartNumber,
    /// Size of the body in bytes, once known.
    pub bytes: Option<u64>,
    /// Size of the original header block at the beginning of the body.
    header_bytes: usize,
    /// Code of the reason.
    pub reason: String,
    /// Reason in words.
    pub error: String,
    /// Subject that the message was published on.
    pub subject: String,
    /// Stream of the message.
    pub stream: String,
    /// Creation time of that stream: nanoseconds since the epoch.
    pub stream_created: String,
    /// Table that the message did not reach, with its database; empty in dead letters of older
    /// releases.
    pub table: String,
    /// Sequence in that stream.
    pub stream_sequence: u64,
    /// Time at which that stream stored it.
    pub published: String,
    /// Time of the first verdict.
    pub first_seen: String,
    /// Number of deliveries.
    pub attempts: u64,
    /// Number of replays.
    pub replays: u64,
    /// Reasons of its earlier dead letters, oldest first.
    pub earlier_reasons: Vec<String>,
    /// Version of the daemon that rejected the message.
    pub version: String,
}

impl DeadLetterHead {
    /// Reads the headers of a message in the stream of dead letters.
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

    /// Returns the size of the original body, given that of the only message.
    pub fn body_bytes(&self, message_bytes: u64) -> u64 {
        let bytes = self.bytes.unwrap_or(message_bytes);
        bytes.saturating_sub(self.header_bytes as u64)
    }
}

/// Message as the application published it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalBody {
    /// Headers under their own names.
    pub headers: HeaderMap,
    /// Body of the message.
    pub bytes: Bytes,
}

/// Restores the original message from the headers of the first part and the bodies of all parts in
/// order.
pub(super) fn join(head: &DeadLetterHead, headers: &HeaderMap, parts: &[Bytes]) -> OriginalBody {
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
    OriginalBody {
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

/// Reports whether the header belongs to the dead letter, not to the original message.
fn is_of_the_letter(name: &str) -> bool {
    ["Nats-", "Risksignal-"]
        .iter()
        .any(|prefix| strip_prefix_ignoring_case(name, prefix).is_some())
}
