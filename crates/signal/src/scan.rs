//! Fast path from text to a signal: one pass without allocation, for the form of nearly every
//! signal.
//!
//! It never rejects a signal. For a text that it accepts, `parse` returns the same result. It
//! declines anything unusual with `None`; then `parse` decides and words every error.

mod members;
mod scanner;

pub(crate) use members::Members;
pub(crate) use scanner::Scanner;

use std::borrow::Cow;

use uuid::Uuid;

use super::Signal;
use super::event_time::from_plain_rfc3339;
use super::parse::{subject_type, uuid};

/// Returns the signal, its rules not yet checked, or `None` to leave it to `parse`: text that is no
/// JSON, a field of the wrong shape, unknown or repeated, an escape in a key or in a text field, a
/// time in a rarer form, or nesting beyond [`scanner::DEPTH_MAX`]. The members of the payload go
/// into `members`.
pub(super) fn signal<'a>(
    text: &'a str,
    subject: &'a str,
    members: &mut Members<'a>,
) -> Option<Signal<'a>> {
    let mut scanner = Scanner::new(text);
    let mut fields = Fields::default();
    scanner.space();
    scanner.take(b'{')?;
    loop {
        scanner.space();
        scanner.take(b'"')?;
        let name = scanner.plain_text()?;
        scanner.colon()?;
        fields.read(name, &mut scanner, members)?;
        scanner.space();
        match scanner.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    scanner.end()?;
    fields.signal(subject)
}

/// Fields found so far. A `null` text counts as absent, which is valid for the optional ones only.
#[derive(Default)]
struct Fields<'a> {
    event_time_ms: Option<i64>,
    source_id: Option<&'a str>,
    event_type: Option<Option<&'a str>>,
    payload: Option<&'a str>,
    severity: Option<i64>,
    trace_id: Option<Uuid>,
    user_id: Option<Option<&'a str>>,
    wallet_address: Option<Option<&'a str>>,
}

impl<'a> Fields<'a> {
    fn read(
        &mut self,
        name: &str,
        scanner: &mut Scanner<'a>,
        members: &mut Members<'a>,
    ) -> Option<()> {
        match name {
            "event_time" => once(&mut self.event_time_ms, event_time(scanner)?),
            "source_id" => once(&mut self.source_id, scanner.nullable_text()??),
            "event_type" => once(&mut self.event_type, scanner.nullable_text()?),
            "payload" => once(&mut self.payload, members.scan(scanner)?),
            "severity" => once(&mut self.severity, scanner.integer()?),
            "trace_id" => once(&mut self.trace_id, uuid(scanner.nullable_text()??)?),
            "user_id" => once(&mut self.user_id, scanner.nullable_text()?),
            "wallet_address" => once(&mut self.wallet_address, scanner.nullable_text()?),
            _ => None,
        }
    }

    fn signal(self, subject: &'a str) -> Option<Signal<'a>> {
        let event_type = match self.event_type.flatten() {
            Some(text) => text,
            None => subject_type(subject)?,
        };
        Some(Signal {
            event_time_ms: self.event_time_ms?,
            source_id: Cow::Borrowed(self.source_id?),
            event_type: Cow::Borrowed(event_type),
            payload: self.payload?,
            severity: self.severity?,
            trace_id: self.trace_id?,
            user_id: Cow::Borrowed(self.user_id.flatten().unwrap_or("")),
            wallet_address: Cow::Borrowed(self.wallet_address.flatten().unwrap_or("")),
            extra: String::new(),
            payload_faults: Default::default(),
        })
    }
}

fn event_time(scanner: &mut Scanner<'_>) -> Option<i64> {
    match scanner.peek()? {
        b'"' => from_plain_rfc3339(scanner.nullable_text()??),
        _ => scanner.integer(),
    }
}

/// Fills the slot, which must be empty.
fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

#[cfg(test)]
mod tests;
