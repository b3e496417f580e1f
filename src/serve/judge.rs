//! Judges whether a signal may be published, by the rules of the daemon.

use async_nats::header::HeaderValue;
use axum::http::StatusCode;
use bytes::Bytes;
use jetstream::{Message, subject};
use signal::Signal;
use signal::contract::PayloadFaults;

use crate::settings::Settings;

use super::access::Caller;
use super::problem::Problem;

/// A key is a part of a message id, which goes into a header.
const KEY_CHARS_MAX: usize = 255;

/// A signal to publish.
#[derive(Debug)]
pub(crate) struct Judged {
    pub message: Message,
    pub trace_id: String,
    /// Faults of the payload, which lands all the same.
    pub warnings: PayloadFaults,
}

/// Name that a client gives its request, so that a retry is recognised.
#[derive(Debug)]
pub(crate) struct IdempotencyKey(String);

impl IdempotencyKey {
    /// From the text of the header.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let fits = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.is_empty() || text.len() > KEY_CHARS_MAX || !fits {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "idempotency_key",
                format!("Idempotency-Key must have 1 to {KEY_CHARS_MAX} visible ASCII characters"),
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Names a signal of the request, `place` being its place among several.
    fn of(&self, place: Option<usize>) -> String {
        let key = &self.0;
        place.map_or_else(|| key.clone(), |place| format!("{key}:{place}"))
    }
}

/// Parts that all signals of a request are judged by.
pub(crate) struct Judge<'a> {
    pub settings: &'a Settings,
    pub caller: &'a Caller,
    pub key: Option<&'a IdempotencyKey>,
}

impl Judge<'_> {
    /// Judges one signal. What is published are its bytes as they came.
    pub fn judge(&self, body: &Bytes, place: Option<usize>) -> Result<Judged, Problem> {
        // It has no subject yet, so that it has to name its type itself.
        let signal = Signal::parse(body, "", &self.settings.validation)
            .map_err(|invalid| Problem::invalid(&invalid))?;
        if !self.caller.may_send(&signal.event_type) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "event_type",
                format!(
                    "this token may not send signals of the type {:?}",
                    signal.event_type
                ),
            ));
        }
        let trace_id = signal.trace_id.to_string();
        // JetStream drops a message whose id it knows. It begins with the token's name, which has
        // no colon, so that no application can take the id of another one's signal.
        let own = self.key.map(|key| key.of(place));
        let id = format!(
            "{}:{}",
            self.caller.name(),
            own.as_ref().unwrap_or(&trace_id)
        );
        let prefix = &self.settings.stream.subject_prefix;
        Ok(Judged {
            message: Message {
                subject: format!("{prefix}.{}", subject::token_of(&signal.event_type)),
                id: HeaderValue::from(id),
                body: body.clone(),
            },
            trace_id,
            warnings: signal.payload_faults,
        })
    }
}
