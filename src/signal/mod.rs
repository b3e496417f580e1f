//! A signal as applications send it: parsed from bytes, checked against the rules.
//!
//! Pure: no clock, no I/O, no server. What comes out borrows from the message.

pub mod event_time;
mod parse;
mod rules;
mod scan;
mod schema;

pub use rules::{Breach, Limits};
pub use schema::json_schema;

use std::borrow::Cow;

use uuid::Uuid;
use validator::Validate;

use crate::contract::Faults;

/// One valid signal, borrowing from the message that it came in.
///
/// Made only by [`Signal::parse`], so every value keeps the rules.
#[derive(Debug, Clone, PartialEq, Validate)]
#[validate(context = Limits)]
pub struct Signal<'a> {
    /// When it happened: milliseconds since the epoch, UTC.
    #[validate(custom(function = "rules::event_time"))]
    pub event_time_ms: i64,
    /// What sent it.
    #[validate(custom(function = "rules::source_id", use_context))]
    pub source_id: Cow<'a, str>,
    /// Its type; from the subject where the signal has none.
    #[validate(custom(function = "rules::event_type", use_context))]
    pub event_type: Cow<'a, str>,
    /// A JSON object, byte for byte as it came.
    pub payload: &'a str,
    /// From 0 to the limit, 5 by default.
    #[validate(custom(function = "rules::severity", use_context))]
    pub severity: i64,
    /// Identifies the signal throughout.
    pub trace_id: Uuid,
    /// Empty when there is none.
    #[validate(custom(function = "rules::user_id", use_context))]
    pub user_id: Cow<'a, str>,
    /// Empty when there is none.
    #[validate(custom(function = "rules::wallet_address", use_context))]
    pub wallet_address: Cow<'a, str>,
    /// The unknown top-level fields as a JSON object, each value byte for byte as it came;
    /// empty when there are none.
    pub extra: String,
    /// What of the payload breaks its type's contract, where that is not enforced.
    pub payload_faults: Faults,
}

/// Why a message is no valid signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The message is larger than the limit, so it was not looked at.
    #[error("the message has {bytes} bytes; validation.max_signal_bytes is {max}")]
    TooLarge {
        /// The message's size in bytes.
        bytes: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The message is not text.
    #[error("not UTF-8: invalid byte at offset {offset}")]
    NotUtf8 {
        /// Where the first invalid byte stands.
        offset: usize,
    },
    /// The message is not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// The signal breaks one or more rules.
    #[error("{}", rules::joined(.0))]
    BreaksRules(Vec<Breach>),
    /// The payload breaks its type's contract, which is enforced; with the path of each fault.
    #[error("{0}")]
    BreaksContract(Faults),
}

impl Invalid {
    /// The reason's code, as it stands in a dead letter's headers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::NotJson(_) => "not_json",
            Self::BreaksRules(_) => "breaks_rules",
            Self::BreaksContract(_) => "breaks_contract",
        }
    }
}

impl<'a> Signal<'a> {
    /// Parses and checks the body of a message that was published on `subject`.
    ///
    /// # Errors
    /// [`Invalid`], which names every rule that the signal breaks.
    pub fn parse(body: &'a [u8], subject: &'a str, limits: &Limits) -> Result<Self, Invalid> {
        let text = text(body, limits)?;
        match scan::signal(text, subject) {
            Some(signal) => checked(signal, Vec::new(), limits),
            None => Self::parse_text(text, subject, limits),
        }
    }

    /// What [`Signal::parse`] has to answer, without its fast path: tests compare the two.
    ///
    /// # Errors
    /// As [`Signal::parse`].
    #[doc(hidden)]
    pub fn parse_reference(
        body: &'a [u8],
        subject: &'a str,
        limits: &Limits,
    ) -> Result<Self, Invalid> {
        Self::parse_text(text(body, limits)?, subject, limits)
    }

    #[cold]
    fn parse_text(text: &'a str, subject: &'a str, limits: &Limits) -> Result<Self, Invalid> {
        let (signal, breaches) = parse::signal(text, subject)?;
        checked(signal, breaches, limits)
    }
}

fn text<'a>(body: &'a [u8], limits: &Limits) -> Result<&'a str, Invalid> {
    if body.len() > limits.max_signal_bytes {
        return Err(Invalid::TooLarge {
            bytes: body.len(),
            max: limits.max_signal_bytes,
        });
    }
    // The fast way does not tell where the first fault is.
    simdutf8::basic::from_utf8(body)
        .or_else(|_| str::from_utf8(body))
        .map_err(|error| Invalid::NotUtf8 {
            offset: error.valid_up_to(),
        })
}

fn checked<'a>(
    mut signal: Signal<'a>,
    mut breaches: Vec<Breach>,
    limits: &Limits,
) -> Result<Signal<'a>, Invalid> {
    rules::check(&signal, limits, &mut breaches);
    if !breaches.is_empty() {
        return Err(Invalid::BreaksRules(breaches));
    }
    let contracts = &limits.contracts;
    signal.payload_faults = contracts
        .check(&signal.event_type, signal.payload)
        .map_err(Invalid::BreaksContract)?;
    Ok(signal)
}

#[cfg(test)]
mod tests;
