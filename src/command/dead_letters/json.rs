//! Dead letters as JSON, for programs.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jetstream::dead_letter::{DeadLetterHead, OriginalBody, WholeDeadLetter};
use serde::Serialize;

use super::output::time;

/// Headers of a dead letter.
#[derive(Debug, Serialize)]
pub(super) struct HeadJson<'a> {
    seq: u64,
    time: String,
    reason: &'a str,
    error: &'a str,
    subject: &'a str,
    stream: &'a str,
    stream_created_ns: Option<i64>,
    stream_seq: u64,
    published: &'a str,
    first_seen: &'a str,
    attempts: u64,
    replays: u64,
    earlier_reasons: &'a [String],
    version: &'a str,
    bytes: u64,
    parts: u64,
}

impl<'a> From<&'a DeadLetterHead> for HeadJson<'a> {
    fn from(head: &'a DeadLetterHead) -> Self {
        Self {
            seq: head.sequence,
            time: time(head.time),
            reason: &head.reason,
            error: &head.error,
            subject: &head.subject,
            stream: &head.stream,
            stream_created_ns: head.stream_created.parse().ok(),
            stream_seq: head.stream_sequence,
            published: &head.published,
            first_seen: &head.first_seen,
            attempts: head.attempts,
            replays: head.replays,
            earlier_reasons: &head.earlier_reasons,
            version: &head.version,
            bytes: head.bytes.unwrap_or_default(),
            parts: head.part.of,
        }
    }
}

/// A dead letter with its original message.
#[derive(Debug, Serialize)]
pub(super) struct WholeJson<'a> {
    #[serde(flatten)]
    head: HeadJson<'a>,
    headers: BTreeMap<String, Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl<'a> From<&'a WholeDeadLetter> for WholeJson<'a> {
    fn from(letter: &'a WholeDeadLetter) -> Self {
        let OriginalBody { headers, bytes } = &letter.body;
        let body = std::str::from_utf8(bytes).ok();
        Self {
            head: HeadJson::from(&letter.head),
            headers: sorted(headers),
            body,
            body_base64: body.is_none().then(|| STANDARD.encode(bytes)),
        }
    }
}

/// Returns headers by name.
pub(super) fn sorted(headers: &HeaderMap) -> BTreeMap<String, Vec<&str>> {
    headers
        .iter()
        .map(|(name, values)| {
            let values = values.iter().map(|value| value.as_str()).collect();
            (name.to_string(), values)
        })
        .collect()
}
