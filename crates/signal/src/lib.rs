//! A signal from an application: parsed from bytes, checked against the rules.
//!
//! Pure: no clock, no I/O, no server. The result borrows from the message.

pub mod contract;
pub mod event_time;
mod options;
mod parse;
mod rules;
mod scan;
mod schema;

pub use options::Limits;
pub use rules::Breach;
pub use schema::json_schema;

use std::borrow::Cow;

use uuid::Uuid;
use validator::Validate;

use crate::contract::PayloadFaults;
use crate::scan::Members;

/// One valid signal, borrowing from its message.
///
/// Only [`Signal::parse`] creates it, so every value satisfies the rules.
#[derive(Debug, Clone, PartialEq, Validate)]
#[validate(context = Limits)]
pub struct Signal<'a> {
    /// Time of the event: milliseconds since the epoch, UTC.
    #[validate(custom(function = "rules::event_time"))]
    pub event_time_ms: i64,
    /// Name of the sender.
    #[validate(custom(function = "rules::source_id", use_context))]
    pub source_id: Cow<'a, str>,
    /// Event type; from the subject if the signal has none.
    #[validate(custom(function = "rules::event_type", use_context))]
    pub event_type: Cow<'a, str>,
    /// JSON object, byte for byte as received.
    pub payload: &'a str,
    /// Severity from 0 to the limit, 5 by default.
    #[validate(custom(function = "rules::severity", use_context))]
    pub severity: i64,
    /// Identifier of the signal throughout.
    pub trace_id: Uuid,
    /// User; empty if none is given.
    #[validate(custom(function = "rules::user_id", use_context))]
    pub user_id: Cow<'a, str>,
    /// Wallet; empty if none is given.
    #[validate(custom(function = "rules::wallet_address", use_context))]
    pub wallet_address: Cow<'a, str>,
    /// Unknown top-level fields as a JSON object, each value byte for byte as received; empty if
    /// there are none.
    pub extra: String,
    /// Faults of the payload under its type's contract, if that is not enforced.
    pub payload_faults: PayloadFaults,
}

/// Reason for rejecting a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The message exceeds the limit and was not parsed.
    #[error("the message has {bytes} bytes; validation.max_signal_bytes is {max}")]
    TooLarge {
        /// Size of the message in bytes.
        bytes: usize,
        /// Limit in bytes.
        max: usize,
    },
    /// The message is not text.
    #[error("not UTF-8: invalid byte at offset {offset}")]
    NotUtf8 {
        /// Position of the first invalid byte.
        offset: usize,
    },
    /// The message is not JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// The signal breaks one or more rules.
    #[error("{}", rules::joined(.0))]
    BreaksRules(Vec<Breach>),
    /// The payload breaks its type's contract, which is enforced; holds each fault with its path.
    #[error("{0}")]
    BreaksContract(PayloadFaults),
}

impl Invalid {
    /// Returns the reason's code for a dead letter's headers.
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
    /// Parses and checks the body of a message published on `subject`.
    ///
    /// # Errors
    /// Returns [`Invalid`], which names every rule that the signal breaks.
    pub fn parse(body: &'a [u8], subject: &'a str, limits: &Limits) -> Result<Self, Invalid> {
        let text = text(body, limits)?;
        let mut members = Members::default();
        match scan::signal(text, subject, &mut members) {
            Some(mut signal) => {
                judge(&mut signal, Vec::new(), &members, limits)?;
                Ok(signal)
            }
            None => Self::parse_text(text, subject, limits),
        }
    }

    /// Returns the expected result of [`Signal::parse`], without its fast path, for comparison in
    /// tests.
    ///
    /// # Errors
    /// Fails as [`Signal::parse`] does.
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
        let (mut signal, breaches) = parse::signal(text, subject)?;
        let members = Members::unread(signal.payload);
        judge(&mut signal, breaches, &members, limits)?;
        Ok(signal)
    }
}

fn text<'a>(body: &'a [u8], limits: &Limits) -> Result<&'a str, Invalid> {
    if body.len() > limits.max_signal_bytes {
        return Err(Invalid::TooLarge {
            bytes: body.len(),
            max: limits.max_signal_bytes,
        });
    }
    // The fast check does not report the first fault's position.
    simdutf8::basic::from_utf8(body)
        .or_else(|_| str::from_utf8(body))
        .map_err(|error| Invalid::NotUtf8 {
            offset: error.valid_up_to(),
        })
}

/// Judges a signal with these breaches of shape by the rules and its contract. In place, since
/// moving a signal of some 200 bytes costs a hundredth of the daemon's CPU.
fn judge<'a>(
    signal: &mut Signal<'a>,
    mut breaches: Vec<Breach>,
    members: &Members<'a>,
    limits: &Limits,
) -> Result<(), Invalid> {
    if !breaches.is_empty() || !rules::are_kept(signal, limits) {
        rules::check(signal, limits, &mut breaches);
        return Err(Invalid::BreaksRules(breaches));
    }
    signal.payload_faults = limits
        .contracts()
        .check(&signal.event_type, members)
        .map_err(Invalid::BreaksContract)?;
    Ok(())
}

#[cfg(test)]
mod tests;
