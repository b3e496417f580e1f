//! One message as JetStream delivered it.

use std::time::SystemTime;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use claims::Position;

use crate::jetstream::HeaderBlock;
use crate::jetstream::stored::StoredMessage;

use super::dead_letter::Reason;
use super::in_flight::Lease;
use super::source::unix_nanos;

/// Messages that arrived together. The time is theirs and not each one's, since a delivery is
/// moved more often than anything else.
#[derive(Debug)]
pub(super) struct Arrived {
    /// When they arrived.
    pub at: SystemTime,
    /// The last one's number among the deliveries of the consumer, to whichever instance they
    /// go, where they came through it.
    pub consumer_seq: Option<u64>,
    /// The messages.
    pub deliveries: Vec<Delivery>,
}

impl Arrived {
    /// Messages that arrive now.
    pub fn now(deliveries: Vec<Delivery>) -> Self {
        Self {
            at: SystemTime::now(),
            consumer_seq: None,
            deliveries,
        }
    }
}

/// A message taken from the stream, not yet judged.
#[derive(Debug)]
pub(super) struct Delivery {
    /// What it was published on.
    pub subject: Subject,
    /// What it holds.
    pub body: Bytes,
    /// As published. A row has none of them.
    pub headers: Option<HeaderMap>,
    /// The headers, where no client library reads them.
    pub unreadable_headers: Option<Box<HeaderBlock>>,
    /// Where it stands in which stream.
    pub position: Position,
    /// How often it was delivered, this time included.
    pub attempt: u64,
    /// Why it becomes a dead letter unread, where JetStream has given up on it.
    pub given_up: Option<Box<Reason>>,
    /// Its share of the memory bound, and what settles it.
    pub lease: Lease,
}

impl Delivery {
    /// A message that was read from the stream, as if the consumer had delivered it for the
    /// `attempt`th time.
    pub fn of_stored(
        message: StoredMessage,
        stream_created_ns: i64,
        attempt: u64,
        lease: Lease,
    ) -> Self {
        let headers = message.headers.as_ref().map(HeaderBlock::headers);
        let unreadable = matches!(headers, Some(None));
        Self {
            subject: message.subject.into(),
            body: message.body,
            headers: headers.flatten(),
            unreadable_headers: message.headers.filter(|_| unreadable).map(Box::new),
            position: Position {
                stream_created_ns,
                stream_seq: message.sequence,
                published_ns: unix_nanos(message.time),
            },
            attempt,
            given_up: None,
            lease,
        }
    }

    /// When JetStream stored it: milliseconds since the epoch.
    pub fn published_at_ms(&self) -> i64 {
        self.position.published_ns / 1_000_000
    }
}

/// What the subject for the ack says of a delivery. Both forms of ADR-15:
/// `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<ns>.<pending>` and
/// `$JS.ACK.<domain>.<account>.<the same>[.<token>]`,
/// <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AckSubject {
    /// How often the message was delivered, this time included.
    pub delivered: u64,
    /// The sequence in the stream.
    pub stream_seq: u64,
    /// Counts the consumer's deliveries, from 1.
    pub consumer_seq: u64,
    /// When JetStream stored it: nanoseconds since the epoch.
    pub published_ns: i64,
}

impl AckSubject {
    /// Reads an ack subject; `None` when it is not one.
    pub fn parse(subject: &str) -> Option<Self> {
        let (_, numbers) = split(subject)?;
        Self::read(numbers)
    }

    fn read(mut numbers: &[u8]) -> Option<Self> {
        Some(Self {
            delivered: next_number(&mut numbers)?,
            stream_seq: next_number(&mut numbers)?,
            consumer_seq: next_number(&mut numbers)?,
            published_ns: next_number(&mut numbers)?.try_into().ok()?,
        })
    }
}

/// The names of an ack subject, and the numbers behind them. Names of streams and consumers
/// hold no dot, so the count of tokens tells the form.
fn split(subject: &str) -> Option<(&str, &[u8])> {
    let bytes = subject.as_bytes();
    if !bytes.starts_with(b"$JS.ACK.") {
        return None;
    }
    // The dots that end the names, and how many there are in all.
    let (mut short, mut long, mut dots) = (0, 0, 0);
    for dot in memchr::memchr_iter(b'.', bytes) {
        dots += 1;
        match dots {
            4 => short = dot,
            6 => long = dot,
            _ => {}
        }
    }
    let end = match dots {
        8 => short,
        10.. => long,
        _ => return None,
    };
    Some((&subject[..end], &bytes[end + 1..]))
}

/// Takes a decimal number and the dot behind it.
fn next_number(text: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    let mut digits = 0;
    while let Some(digit) = text.get(digits).filter(|byte| byte.is_ascii_digit()) {
        let digit = u64::from(digit - b'0');
        number = number.checked_mul(10)?.checked_add(digit)?;
        digits += 1;
    }
    let is_number = digits > 0 && text.get(digits).is_none_or(|&byte| byte == b'.');
    *text = text.get(digits + 1..).unwrap_or_default();
    is_number.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let expected = Some(AckSubject {
            delivered: 2,
            stream_seq: 77,
            consumer_seq: 5,
            published_ns: 1_683_029_999_000_000_123,
        });
        for subject in [
            "$JS.ACK.SIGNALS.signals-to-clickhouse.2.77.5.1683029999000000123.9",
            "$JS.ACK._.hash.SIGNALS.signals-to-clickhouse.2.77.5.1683029999000000123.9",
            "$JS.ACK.hub.hash.SIGNALS.signals-to-clickhouse.2.77.5.1683029999000000123.9.x",
        ] {
            assert_eq!(AckSubject::parse(subject), expected, "{subject}");
        }
        for subject in [
            "",
            "_INBOX.x",
            "$JS.ACK.SIGNALS.c.2.77.5.1",
            "$JS.ACK.SIGNALS.c.x.77.5.1.2",
        ] {
            assert_eq!(AckSubject::parse(subject), None, "{subject}");
        }
    }
}
