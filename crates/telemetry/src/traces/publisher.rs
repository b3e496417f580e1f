//! The span that a message was published in, by its `traceparent` header.

use jetstream::HeaderBlock;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;

const TRACEPARENT: &str = "traceparent";
/// Version, trace, span and flags with the dashes between them. The specification lets later
/// versions go on behind a further dash: <https://www.w3.org/TR/trace-context/>.
const FIELDS_BYTES: usize = 55;
/// A longer one is not read.
const TRACEPARENT_BYTES_MAX: usize = 256;

/// The part of a message that the propagator may see. That is not `tracestate`, which a link does
/// not need and a publisher may make as long as a message.
struct Carrier<'h>(&'h str);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

/// Returns the publisher's span, where there is one well-formed header and the span was sampled: no
/// other can be looked at.
///
/// The names of headers have no case, and clients in Go write `Traceparent`.
pub(super) fn span(headers: Option<&HeaderBlock>) -> Option<SpanContext> {
    let mut values = headers?.values(TRACEPARENT);
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    if !is_well_formed(value) || !is_sampled(value) {
        return None;
    }
    let value = std::str::from_utf8(value).ok()?;
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Carrier(value));
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// Checks the length and the digits of each field, which the propagator does not.
fn is_well_formed(value: &[u8]) -> bool {
    let Some((fields, rest)) = value.split_at_checked(FIELDS_BYTES) else {
        return false;
    };
    let has_place = |(at, byte): (usize, &u8)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    fields.iter().enumerate().all(has_place)
        && rest.first().is_none_or(|byte| *byte == b'-')
        && value.len() <= TRACEPARENT_BYTES_MAX
}

/// By the lowest bit of the flags of a header that is well-formed. The propagator would take
/// another 200 ns to say so.
fn is_sampled(value: &[u8]) -> bool {
    let digit = value.get(FIELDS_BYTES - 1).map(|digit| char::from(*digit));
    let flags = digit.and_then(|digit| digit.to_digit(16));
    flags.is_some_and(|flags| flags & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn span_of(headers: &[(&str, &str)]) -> Option<String> {
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let block = format!("NATS/1.0\r\n{}\r\n", lines.collect::<String>());
        span(Some(&HeaderBlock::new(block)))
            .map(|span| format!("{}-{}", span.trace_id(), span.span_id()))
    }

    #[test]
    fn a_well_formed_header_is_read_whatever_its_case() {
        let expected = Some("4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7".to_owned());
        for name in ["traceparent", "Traceparent", "TRACEPARENT"] {
            assert_eq!(span_of(&[("other", "x"), (name, SAMPLED)]), expected);
        }
        let other_flags = SAMPLED.replace("-01", "-0b");
        assert_eq!(span_of(&[(TRACEPARENT, &other_flags)]), expected);
        // Of a version to come.
        let later = format!("cc-{}-more", &SAMPLED[3..]);
        assert_eq!(span_of(&[(TRACEPARENT, &later)]), expected);
    }

    #[test]
    fn no_other_is() {
        let long = format!("cc-{}-{}", &SAMPLED[3..], "-".repeat(1 << 20));
        for value in [
            "",
            "00-abc-def-01",
            "nonsense",
            &SAMPLED[..50],
            &SAMPLED.to_ascii_uppercase(),
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe",
            // Not sampled, no version, no trace, no span, and too long.
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            &long,
        ] {
            let shown = &value[..value.len().min(80)];
            assert_eq!(span_of(&[(TRACEPARENT, value)]), None, "{shown}");
        }
        // Two of them are ambiguous.
        assert_eq!(
            span_of(&[(TRACEPARENT, SAMPLED), (TRACEPARENT, SAMPLED)]),
            None
        );
        assert_eq!(
            span_of(&[(TRACEPARENT, SAMPLED), ("Traceparent", SAMPLED)]),
            None
        );
        assert_eq!(span(None), None);
    }
}
