//! Construction of dead letters.

use async_nats::HeaderMap;
use bytes::{Bytes, BytesMut};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::HeaderBlock;

use super::history::{DeadLetterHistory, application_headers};
use super::original::Original;
use super::subject::{self, Prefixes};
use super::{name, strip_prefix_ignoring_case};

/// Longest header value that the daemon writes, in bytes; longer values are cut.
const HEADER_BYTES_MAX: usize = 1024;
/// Bytes reserved for the values of [`CHANGING`] headers.
const VERDICT_BYTES_MAX: usize = HEADER_BYTES_MAX + 256;
/// Headers whose values may differ at the next verdict on the message. Parts are cut without regard
/// to them, so that two verdicts give the same parts.
const CHANGING: [&str; 5] = [
    name::REASON,
    name::ERROR,
    name::FIRST_SEEN,
    name::ATTEMPTS,
    name::VERSION,
];
/// Bytes reserved for the protocol's header lines, the message id and the number of a part.
const HEADER_OVERHEAD_BYTES: usize = 512;
/// Bytes of original headers that are kept as headers. JetStream stores 64 KiB of them, and
/// the letter's own need room.
const ORIGINAL_HEADERS_MAX: usize = 32 * 1024;

/// Verdict on a rejected message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Reason for programs.
    pub code: &'static str,
    /// Reason for people.
    pub error: String,
    /// Time of the verdict.
    pub at: OffsetDateTime,
}

/// A dead letter to publish: one message, or several if headers and body together exceed the
/// server's limit.
#[derive(Debug)]
pub struct DeadLetter {
    pub(super) subject: String,
    pub(super) message_id: String,
    pub(super) headers: HeaderMap,
    pub(super) parts: Vec<Bytes>,
}

impl DeadLetter {
    /// Creates the dead letter of a message, in messages of at most `max_payload` bytes.
    pub fn new(
        original: &Original<'_>,
        verdict: &Verdict,
        prefixes: Prefixes<'_>,
        max_payload: usize,
    ) -> Self {
        let headers = original.headers.map(HeaderBlock::headers);
        let is_readable = !matches!(headers, Some(None));
        let readable = headers.flatten().unwrap_or_else(|| {
            let readable = original.headers.map(HeaderBlock::readable_headers);
            readable.unwrap_or_default()
        });
        let unread = original.headers.filter(|_| !is_readable);
        let history = DeadLetterHistory::from_headers(&readable);
        let mut headers = HeaderMap::new();
        let mut body = original.body.clone();
        match unfit_headers(unread, &readable, max_payload) {
            None => rename(&application_headers(&readable), &mut headers),
            Some(block) => {
                let bytes = block.bytes().len().to_string();
                headers.insert(name::HEADER_BYTES, bytes.as_str());
                let mut both = BytesMut::from(block.bytes().as_ref());
                both.extend_from_slice(&body);
                body = both.freeze();
            }
        }
        describe(original, verdict, &history, &mut headers);
        let taken = lasting_bytes(&headers) + VERDICT_BYTES_MAX + HEADER_OVERHEAD_BYTES;
        let room = max_payload.saturating_sub(taken);
        Self {
            subject: subject::dead_letter_subject(prefixes, original),
            message_id: format!(
                "{}-{}-{}",
                original.stream, original.stream_created_ns, original.sequence
            ),
            headers,
            parts: parts(body, room.max(1)),
        }
    }

    /// Returns the subject of its only message, or of its first part.
    pub fn first_subject(&self) -> String {
        match self.parts.len() {
            0 | 1 => self.subject.clone(),
            of => subject::part_subject(&self.subject, 1, of as u64),
        }
    }

    /// Returns the dead letter's own subject.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

/// Returns the original header block if it cannot be stored as headers: it is not fully readable,
/// or leaves no room for the dead letter's own headers.
fn unfit_headers(
    unread: Option<&HeaderBlock>,
    readable: &HeaderMap,
    max_payload: usize,
) -> Option<HeaderBlock> {
    match unread {
        Some(block) => Some(block.clone()),
        None if wire_bytes(readable) > ORIGINAL_HEADERS_MAX.min(max_payload / 4) => {
            Some(HeaderBlock::encode(&application_headers(readable)))
        }
        None => None,
    }
}

/// Renames original headers that NATS would apply to the dead letter's publish, headers of an
/// earlier dead letter, and headers that look renamed already; copies the others.
fn rename(original: &HeaderMap, headers: &mut HeaderMap) {
    for (name, values) in original.iter() {
        let name = name.to_string();
        let acted_on = ["Nats-", "Risksignal-", name::ORIGINAL_PREFIX];
        let renamed = acted_on
            .iter()
            .any(|prefix| strip_prefix_ignoring_case(&name, prefix).is_some());
        let name = if renamed {
            format!("{}{name}", name::ORIGINAL_PREFIX)
        } else {
            name
        };
        for value in values {
            headers.append(name.as_str(), value.as_str());
        }
    }
}

fn describe(
    original: &Original<'_>,
    verdict: &Verdict,
    history: &DeadLetterHistory,
    headers: &mut HeaderMap,
) {
    let published =
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(original.published_at_ms) * 1_000_000);
    let first_seen = history.first_seen.clone();
    let attempts = history.attempts.saturating_add(original.attempts);
    for (name, value) in [
        (name::REASON, verdict.code.to_owned()),
        (name::ERROR, header_text(&verdict.error)),
        (name::SUBJECT, original.subject.to_owned()),
        (name::STREAM, original.stream.to_owned()),
        (name::STREAM_CREATED, original.stream_created_ns.to_string()),
        (name::TABLE, original.table.to_owned()),
        (name::SEQUENCE, original.sequence.to_string()),
        (
            name::PUBLISHED,
            published.map(rfc3339_ms).unwrap_or_default(),
        ),
        (
            name::FIRST_SEEN,
            first_seen.unwrap_or_else(|| rfc3339_ms(verdict.at)),
        ),
        (name::ATTEMPTS, attempts.to_string()),
        (name::VERSION, env!("CARGO_PKG_VERSION").to_owned()),
    ] {
        headers.insert(name, value.as_str());
    }
    history.write_replays(headers);
}

/// Formats a time as RFC 3339 in UTC, to the millisecond.
pub(super) fn rfc3339_ms(time: OffsetDateTime) -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    time.to_offset(time::UtcOffset::UTC)
        .format(FORMAT)
        .unwrap_or_default()
}

fn parts(mut rest: Bytes, room: usize) -> Vec<Bytes> {
    let mut parts = vec![rest.split_to(rest.len().min(room))];
    while !rest.is_empty() {
        parts.push(rest.split_to(rest.len().min(room)));
    }
    parts
}

/// Returns the bytes of the headers on the wire.
fn wire_bytes(headers: &HeaderMap) -> usize {
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

/// Like [`wire_bytes`], without the values that may differ the next time.
fn lasting_bytes(headers: &HeaderMap) -> usize {
    let changing = CHANGING.iter().filter_map(|name| headers.get(*name));
    let changing: usize = changing.map(|value| value.as_str().len()).sum();
    wire_bytes(headers).saturating_sub(changing)
}

/// Formats a text on one line, of bounded length.
fn header_text(text: &str) -> String {
    let mut end = text.len().min(HEADER_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace(['\r', '\n'], " ")
}
