//! Subject of a delivery's ack, which names its position.

/// Position and counts of a delivery, by the subject for its ack. Both forms of ADR-15:
/// `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<ns>.<pending>` and
/// `$JS.ACK.<domain>.<account>.<the same>[.<token>]`,
/// <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckSubject {
    /// Number of deliveries of the message, this one included.
    pub delivered: u64,
    /// The sequence in the stream.
    pub stream_seq: u64,
    /// Counts the consumer's deliveries, from 1.
    pub consumer_seq: u64,
    /// Time at which JetStream stored it: nanoseconds since the epoch.
    pub published_ns: i64,
}

impl AckSubject {
    /// Reads an ack subject; `None` when it is not one.
    pub fn parse(subject: &[u8]) -> Option<Self> {
        Self::read(numbers(subject)?)
    }

    fn read(mut numbers: &[u8]) -> Option<Self> {
        let ack = Self {
            delivered: next_number(&mut numbers)?,
            stream_seq: next_number(&mut numbers)?,
            consumer_seq: next_number(&mut numbers)?,
            published_ns: next_number(&mut numbers)?.try_into().ok()?,
        };
        // What is pending.
        next_number(&mut numbers)?;
        Some(ack)
    }
}

/// Names of stream and consumer, with which all ack subjects of one consumer begin. Parsing them
/// for each message took a twentieth of the daemon's CPU.
#[derive(Debug, Default)]
pub struct AckNames(Vec<u8>);

impl AckNames {
    /// Reads an ack subject; `None` when it is not one.
    pub fn parse(&mut self, subject: &[u8]) -> Option<AckSubject> {
        let known = subject.strip_prefix(self.0.as_slice());
        if let Some(numbers) = known.filter(|_| !self.0.is_empty())
            && let Some(ack) = AckSubject::read(numbers)
        {
            return Some(ack);
        }
        let numbers = numbers(subject)?;
        self.0 = subject[..subject.len() - numbers.len()].to_vec();
        AckSubject::read(numbers)
    }
}

/// The numbers of an ack subject, behind its names. Names of streams and consumers hold no dot, so
/// the count of tokens gives the form.
fn numbers(bytes: &[u8]) -> Option<&[u8]> {
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
    bytes.get(end + 1..)
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
            assert_eq!(AckSubject::parse(subject.as_bytes()), expected, "{subject}");
            let mut names = AckNames::default();
            for _ in 0..2 {
                assert_eq!(names.parse(subject.as_bytes()), expected, "{subject}");
            }
            // Of another consumer.
            let other = subject.replace("clickhouse", "click");
            assert_eq!(names.parse(other.as_bytes()), expected, "{other}");
        }
        for subject in [
            "",
            "_INBOX.x",
            "$JS.ACK.SIGNALS.c.2.77.5.1",
            "$JS.ACK.SIGNALS.c.x.77.5.1.2",
        ] {
            assert_eq!(AckSubject::parse(subject.as_bytes()), None, "{subject}");
            let mut names = AckNames::default();
            assert!(names.parse(b"$JS.ACK.SIGNALS.c.1.2.3.4.5").is_some());
            assert_eq!(names.parse(subject.as_bytes()), None, "{subject}");
        }
    }
}
