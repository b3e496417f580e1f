//! The span of a message that becomes a dead letter.

use std::fmt::Display;
use std::time::SystemTime;

use jetstream::HeaderBlock;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, Status};
use opentelemetry_sdk::trace::Span;

use super::{Traces, exception, publisher};

/// The span, from the verdict until the stream of dead letters has the message.
#[derive(Debug)]
pub struct LetterTrace(Option<Box<Span>>);

impl Traces {
    /// Starts the span of a message that cannot land: its headers, its subject, the reason's
    /// code and its words.
    pub fn dead_letter(
        &self,
        headers: Option<&HeaderBlock>,
        subject: &str,
        code: &'static str,
        error: &str,
    ) -> LetterTrace {
        LetterTrace(self.0.as_ref().and_then(|tracer| {
            let mut span = tracer.root(SystemTime::now());
            if !span.is_recording() {
                return None;
            }
            if let Some(publisher) = publisher::span(headers) {
                span.add_link(publisher, Vec::new());
            }
            span.set_attributes([
                KeyValue::new("risksignal.subject", subject.to_owned()),
                KeyValue::new("error.type", code),
            ]);
            span.set_status(Status::error(error.to_owned()));
            Some(Box::new(span))
        }))
    }
}

impl LetterTrace {
    /// Records a failed try to publish the letter.
    pub fn failed(&mut self, error: &impl Display) {
        if let Some(span) = &mut self.0 {
            let event = exception("publish".to_owned(), error.to_string());
            span.add_event("exception", event);
        }
    }

    /// Ends the span: the letter is stored under this sequence.
    pub fn stored(self, sequence: u64) {
        if let Some(mut span) = self.0 {
            let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
            span.set_attribute(KeyValue::new("risksignal.dead_letter.sequence", sequence));
        }
    }
}
