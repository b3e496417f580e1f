//! One message as JetStream delivered it.

use async_nats::Message;

use crate::jetstream::HeaderBlock;

use super::in_flight::Lease;

/// A message taken from the stream, not yet judged.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Subject, headers and body, as published.
    pub message: Message,
    /// Its headers, where no client library reads them. A row has none of them.
    pub unreadable_headers: Option<Box<HeaderBlock>>,
    /// Where it stands in which stream.
    pub position: Position,
    /// When JetStream stored it: milliseconds since the epoch.
    pub published_at_ms: i64,
    /// How often it was delivered, this time included.
    pub attempt: u64,
    /// Whether its row may be in ClickHouse already: it was delivered before.
    pub may_be_stored: bool,
    /// Its share of the memory bound, and what settles it.
    pub lease: Lease,
}

/// What tells one message from every other, also when a stream is made anew under the same
/// name and counts from one again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Position {
    /// When the stream was created: nanoseconds since the epoch.
    pub stream_created_ns: i64,
    /// The sequence in the stream, from 1.
    pub stream_seq: u64,
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
        let names = names(subject)?;
        let mut numbers = subject.split('.').skip(names);
        let delivered = numbers.next()?.parse().ok()?;
        let stream_seq = numbers.next()?.parse().ok()?;
        let consumer_seq = numbers.next()?.parse().ok()?;
        let published_ns = numbers.next()?.parse().ok()?;
        Some(Self {
            delivered,
            stream_seq,
            consumer_seq,
            published_ns,
        })
    }

    /// The part of an ack subject that all messages of one consumer have in common.
    pub fn consumer(subject: &str) -> &str {
        let mut dots = subject.match_indices('.').map(|(at, _)| at);
        let end = names(subject).and_then(|names| dots.nth(names - 1));
        &subject[..end.unwrap_or(subject.len())]
    }

    /// The stream and the consumer of an ack subject.
    pub fn stream_and_consumer(subject: &str) -> Option<(&str, &str)> {
        let (rest, consumer) = Self::consumer(subject).rsplit_once('.')?;
        let (_, stream) = rest.rsplit_once('.')?;
        Some((stream, consumer))
    }
}

/// How many tokens of an ack subject stand before its numbers. Names of streams and consumers
/// hold no dot, so the count tells the form.
fn names(subject: &str) -> Option<usize> {
    match subject.strip_prefix("$JS.ACK.")?.split('.').count() {
        7 => Some(4),
        9.. => Some(6),
        _ => None,
    }
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
            let names = AckSubject::stream_and_consumer(subject);
            assert_eq!(names, Some(("SIGNALS", "signals-to-clickhouse")));
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
