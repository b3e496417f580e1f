//! Making a letter.

use async_nats::HeaderMap;
use bytes::{Bytes, BytesMut};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::jetstream::HeaderBlock;

use super::history::{History, of_application};
use super::subject::{self, Prefixes};
use super::{name, strip_prefix_ignoring_case};

/// Longest value of a header that the daemon words, in bytes; what is longer is cut.
const HEADER_BYTES_MAX: usize = 1024;
/// Room for the values of [`CHANGING`] headers.
const VERDICT_BYTES_MAX: usize = HEADER_BYTES_MAX + 256;
/// Headers whose values may differ the next time that the message is judged. Parts are cut
/// without regard to them, so that those of two times are the same.
const CHANGING: [&str; 5] = [
    name::REASON,
    name::ERROR,
    name::FIRST_SEEN,
    name::ATTEMPTS,
    name::VERSION,
];
/// Room for the header lines of the protocol, the message id and the number of a part.
const HEADER_OVERHEAD_BYTES: usize = 512;
/// Bytes of original headers that are kept as headers. JetStream stores 64 KiB of them, and
/// the letter's own need room.
const ORIGINAL_HEADERS_MAX: usize = 32 * 1024;
/// The message that a letter is made of.
#[derive(Debug, Clone)]
pub struct Original<'a> {
    /// The subject it was published on.
    pub subject: &'a str,
    /// Its headers.
    pub headers: Result<&'a HeaderMap, &'a HeaderBlock>,
    /// Its body.
    pub body: &'a Bytes,
    /// The stream it is in.
    pub stream: &'a str,
    /// The table that it does not land in, with its database.
    pub table: &'a str,
    /// When that stream was created: nanoseconds since the epoch.
    pub stream_created_ns: i64,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// When the stream took it: milliseconds since the epoch.
    pub published_at_ms: i64,
    /// How often it was delivered since it is in the stream.
    pub attempts: u64,
}

/// Why a message is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub error: String,
    /// When it was judged.
    pub at: OffsetDateTime,
}

/// A dead letter as it is published: one message, or several where the headers and the body
/// together are larger than the server takes.
#[derive(Debug)]
pub struct Letter {
    pub(super) subject: String,
    pub(super) message_id: String,
    pub(super) headers: HeaderMap,
    pub(super) parts: Vec<Bytes>,
}

impl Letter {
    /// The letter for a message, in messages of at most `max_payload` bytes.
    pub fn new(
        original: &Original<'_>,
        verdict: &Verdict,
        prefixes: Prefixes<'_>,
        max_payload: usize,
    ) -> Self {
        let readable = match original.headers {
            Ok(headers) => headers.clone(),
            Err(block) => block.readable_headers(),
        };
        let history = History::of_message(&readable);
        let mut headers = HeaderMap::new();
        let mut body = original.body.clone();
        match unfit_headers(original, &readable, max_payload) {
            None => rename(&of_application(&readable), &mut headers),
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
            subject: subject::of_letter(prefixes, original),
            message_id: format!(
                "{}-{}-{}",
                original.stream, original.stream_created_ns, original.sequence
            ),
            headers,
            parts: parts(body, room.max(1)),
        }
    }

    /// The subject of its only message, or of its first part.
    pub fn first_subject(&self) -> String {
        match self.parts.len() {
            0 | 1 => self.subject.clone(),
            of => subject::of_part(&self.subject, 1, of as u64),
        }
    }

    /// The letter's own subject.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

/// The original header block where it cannot be headers again: not readable in full, or so
/// large that the letter's own headers would find no room.
fn unfit_headers(
    original: &Original<'_>,
    readable: &HeaderMap,
    max_payload: usize,
) -> Option<HeaderBlock> {
    match original.headers {
        Err(block) => Some(block.clone()),
        Ok(_) if wire_bytes(readable) > ORIGINAL_HEADERS_MAX.min(max_payload / 4) => {
            Some(HeaderBlock::of(&of_application(readable)))
        }
        Ok(_) => None,
    }
}

/// The headers that the message came with. Those of NATS would steer the dead letter's own
/// publish, and those of a dead letter would be taken for this one's, so both are renamed; as
/// is what looks renamed already.
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
    history: &History,
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

/// RFC 3339 in UTC, to the millisecond.
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

/// Bytes of the headers on the wire.
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

/// As [`wire_bytes`], without the values that may differ the next time.
fn lasting_bytes(headers: &HeaderMap) -> usize {
    let changing = CHANGING.iter().filter_map(|name| headers.get(*name));
    let changing: usize = changing.map(|value| value.as_str().len()).sum();
    wire_bytes(headers).saturating_sub(changing)
}

/// A text on one line, of bounded length.
fn header_text(text: &str) -> String {
    let mut end = text.len().min(HEADER_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace(['\r', '\n'], " ")
}
