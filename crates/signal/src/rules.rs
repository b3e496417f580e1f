//! Rules of a signal, for the validator crate, and every breach by field.

use std::borrow::Cow;
use std::fmt;

use validator::{ValidateArgs, ValidationError};

use super::Limits;
use super::Signal;
use super::event_time::{EVENT_TIME_MS_MAX, EVENT_TIME_MS_MIN};

/// One rule that a signal breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// Field, or `signal` for the whole signal.
    pub field: &'static str,
    /// Rule and actual value.
    pub rule: String,
}

impl Breach {
    pub(super) fn new(field: &'static str, rule: impl Into<String>) -> Self {
        Self {
            field,
            rule: rule.into(),
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.rule)
    }
}

/// Formats the breaches as one message.
pub(super) fn joined(breaches: &[Breach]) -> String {
    let texts: Vec<_> = breaches.iter().map(Breach::to_string).collect();
    texts.join("; ")
}

/// Fields in the order in which breaches are reported.
const FIELDS: [&str; 8] = [
    "event_time",
    "source_id",
    "event_type",
    "payload",
    "severity",
    "trace_id",
    "user_id",
    "wallet_address",
];

/// Reports whether a signal keeps every rule: the rules that the validator applies, without its
/// account of faults.
pub(super) fn are_kept(signal: &Signal<'_>, limits: &Limits) -> bool {
    event_time(signal.event_time_ms).is_ok()
        && source_id(&signal.source_id, limits).is_ok()
        && event_type(&signal.event_type, limits).is_ok()
        && severity(signal.severity, limits).is_ok()
        && user_id(&signal.user_id, limits).is_ok()
        && wallet_address(&signal.wallet_address, limits).is_ok()
}

/// Adds the validator's findings to the breaches of shape, in the order of the fields.
pub(super) fn check(signal: &Signal<'_>, limits: &Limits, breaches: &mut Vec<Breach>) {
    if let Err(errors) = signal.validate_with_args(limits) {
        for (field, errors) in errors.field_errors() {
            let field = match field.as_ref() {
                "event_time_ms" => "event_time",
                other => FIELDS
                    .into_iter()
                    .find(|known| *known == other)
                    .unwrap_or("signal"),
            };
            breaches.extend(errors.iter().map(|error| {
                let rule = error.message.as_deref().unwrap_or(&error.code);
                Breach::new(field, rule)
            }));
        }
    }
    breaches.sort_by_key(|breach| FIELDS.iter().position(|field| *field == breach.field));
}

pub(super) fn event_time(ms: i64) -> Result<(), ValidationError> {
    if (EVENT_TIME_MS_MIN..=EVENT_TIME_MS_MAX).contains(&ms) {
        return Ok(());
    }
    Err(broken(
        "range",
        format!("must lie from 1900 to 2299, is {ms} ms since 1970"),
    ))
}

pub(super) fn severity(severity: i64, limits: &Limits) -> Result<(), ValidationError> {
    let max = i64::from(limits.severity_max);
    if (0..=max).contains(&severity) {
        return Ok(());
    }
    Err(broken(
        "range",
        format!("must be 0 to {max}, is {severity}"),
    ))
}

pub(super) fn source_id(text: &str, limits: &Limits) -> Result<(), ValidationError> {
    chars(text, 1, limits.source_id_max_chars)
}

pub(super) fn event_type(text: &str, limits: &Limits) -> Result<(), ValidationError> {
    chars(text, 1, limits.event_type_max_chars)
}

pub(super) fn user_id(text: &str, limits: &Limits) -> Result<(), ValidationError> {
    chars(text, 0, limits.user_id_max_chars)
}

pub(super) fn wallet_address(text: &str, limits: &Limits) -> Result<(), ValidationError> {
    chars(text, 0, limits.wallet_address_max_chars)
}

fn chars(text: &str, min: usize, max: usize) -> Result<(), ValidationError> {
    // A character has at least one byte, so most texts need no counting.
    if text.len() >= min && text.len() <= max {
        return Ok(());
    }
    let found = text.chars().count();
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(broken(
        "length",
        format!("must have {min} to {max} characters, has {found}"),
    ))
}

fn broken(code: &'static str, message: String) -> ValidationError {
    ValidationError::new(code).with_message(Cow::Owned(message))
}
