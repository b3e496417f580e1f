//! Parses text into the fields of a signal. One serde pass reads the top level, then each field is
//! parsed by itself, so that a field of the wrong shape hides no other fault.
//!
//! This is the reference: it decides whatever `scan` declines, and `scan` must agree with it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::event_time::from_rfc3339;
use super::{Breach, Invalid, Signal};

/// A value, or the shape that it should have.
type Shape<T> = Result<T, &'static str>;

/// Characters of a UUID in its hyphenated form, the only one accepted.
const UUID_CHARS: usize = 36;

/// Returns the signal and its breaches of shape. A field of the wrong shape holds a value that
/// satisfies the rules, so that no field is reported twice.
pub(super) fn signal<'a>(
    text: &'a str,
    subject: &'a str,
) -> Result<(Signal<'a>, Vec<Breach>), Invalid> {
    let fields: Fields<'a> =
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => not_an_object(text),
            _ => Invalid::NotJson(error.to_string()),
        })?;
    let mut breaches = Vec::new();
    for field in &fields.repeated {
        breaches.push(Breach::new(field, "is given more than once"));
    }
    let mut found = Found(&mut breaches);
    let signal = Signal {
        event_time_ms: found.or(0, "event_time", required(fields.event_time, event_time)),
        source_id: found.or(
            PLACEHOLDER,
            "source_id",
            required(fields.source_id, text_of),
        ),
        event_type: found.or(
            PLACEHOLDER,
            "event_type",
            event_type(fields.event_type, subject),
        ),
        payload: found.or("{}", "payload", required(fields.payload, payload)),
        severity: found.or(0, "severity", required(fields.severity, severity)),
        trace_id: found.or(Uuid::nil(), "trace_id", required(fields.trace_id, trace_id)),
        user_id: found.or(PLACEHOLDER, "user_id", optional_text(fields.user_id)),
        wallet_address: found.or(
            PLACEHOLDER,
            "wallet_address",
            optional_text(fields.wallet_address),
        ),
        extra: extra(&fields.extra),
        payload_faults: Default::default(),
    };
    Ok((signal, breaches))
}

/// Explains why a text that does not begin an object is no signal. The parser stopped at the first
/// character, so the rest may be anything.
fn not_an_object(text: &str) -> Invalid {
    match serde_json::from_str::<IgnoredAny>(text) {
        // serde's own words would quote the message.
        Ok(_) => Invalid::BreaksRules(vec![Breach::new("signal", "must be a JSON object")]),
        Err(error) => Invalid::NotJson(error.to_string()),
    }
}

/// Placeholder for a text of the wrong shape.
const PLACEHOLDER: Cow<'static, str> = Cow::Borrowed("-");

/// Collects breaches.
struct Found<'b>(&'b mut Vec<Breach>);

impl Found<'_> {
    fn or<T>(&mut self, placeholder: T, field: &'static str, shape: Shape<T>) -> T {
        shape.unwrap_or_else(|rule| {
            self.0.push(Breach::new(field, rule));
            placeholder
        })
    }
}

fn required<'a, T>(
    value: Option<&'a RawValue>,
    shape: impl FnOnce(&'a str) -> Shape<T>,
) -> Shape<T> {
    value.map_or(Err("is missing"), |value| shape(value.get()))
}

fn event_time(raw: &str) -> Shape<i64> {
    const SHAPE: &str = "must be an RFC 3339 time or integer milliseconds since 1970";
    if raw.starts_with('"') {
        from_rfc3339(&text_of(raw)?).ok_or(SHAPE)
    } else {
        raw.parse().map_err(|_| SHAPE)
    }
}

fn text_of(raw: &str) -> Shape<Cow<'_, str>> {
    // Most texts hold no escape; then the characters between the quotes are the text.
    if let Some(inner) = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'))
        && !inner.contains('\\')
    {
        return Ok(Cow::Borrowed(inner));
    }
    if !raw.starts_with('"') {
        return Err("must be a string");
    }
    serde_json::from_str(raw)
        .map(Cow::Owned)
        .map_err(|_| "holds an escape that is not a character")
}

fn optional_text(value: Option<&RawValue>) -> Shape<Cow<'_, str>> {
    match value.map(RawValue::get) {
        None | Some("null") => Ok(Cow::Borrowed("")),
        Some(raw) => text_of(raw),
    }
}

/// Returns the given field, or else the second token of the subject.
fn event_type<'a>(value: Option<&'a RawValue>, subject: &'a str) -> Shape<Cow<'a, str>> {
    match value.map(RawValue::get) {
        None | Some("null") => subject_type(subject)
            .map(Cow::Borrowed)
            .ok_or("is missing, and the subject has no second token"),
        Some(raw) => text_of(raw),
    }
}

/// Returns the second token of the subject.
pub(super) fn subject_type(subject: &str) -> Option<&str> {
    subject.split('.').nth(1)
}

fn payload(raw: &str) -> Shape<&str> {
    if raw.starts_with('{') {
        Ok(raw)
    } else {
        Err("must be a JSON object")
    }
}

fn severity(raw: &str) -> Shape<i64> {
    raw.parse().map_err(|_| "must be an integer")
}

fn trace_id(raw: &str) -> Shape<Uuid> {
    const SHAPE: &str = "must be a UUID such as 3b32aef0-228a-5924-a25d-9362bb7bf65d";
    uuid(&text_of(raw)?).ok_or(SHAPE)
}

/// Parses a UUID in its hyphenated form.
pub(super) fn uuid(text: &str) -> Option<Uuid> {
    if text.len() != UUID_CHARS {
        return None;
    }
    Uuid::try_parse(text).ok()
}

/// Returns the unknown fields as a JSON object, or an empty text if there are none.
fn extra(fields: &[(Text<'_>, &RawValue)]) -> String {
    let mut object = String::new();
    for (name, value) in fields {
        object.push(if object.is_empty() { '{' } else { ',' });
        // A JSON string is displayed in its escaped form.
        object.push_str(&serde_json::Value::from(name.0.as_ref()).to_string());
        object.push(':');
        object.push_str(value.get());
    }
    if !object.is_empty() {
        object.push('}');
    }
    object
}

/// A text that borrows unless it holds an escape.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Top level of a signal, with unparsed values.
#[derive(Default)]
struct Fields<'a> {
    event_time: Option<&'a RawValue>,
    source_id: Option<&'a RawValue>,
    event_type: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
    severity: Option<&'a RawValue>,
    trace_id: Option<&'a RawValue>,
    user_id: Option<&'a RawValue>,
    wallet_address: Option<&'a RawValue>,
    extra: Vec<(Text<'a>, &'a RawValue)>,
    repeated: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: Text<'a>, value: &'a RawValue) {
        let (field, slot) = match name.0.as_ref() {
            "event_time" => ("event_time", &mut self.event_time),
            "source_id" => ("source_id", &mut self.source_id),
            "event_type" => ("event_type", &mut self.event_type),
            "payload" => ("payload", &mut self.payload),
            "severity" => ("severity", &mut self.severity),
            "trace_id" => ("trace_id", &mut self.trace_id),
            "user_id" => ("user_id", &mut self.user_id),
            "wallet_address" => ("wallet_address", &mut self.wallet_address),
            _ => return self.extra.push((name, value)),
        };
        // Parsers differ in which of two they take, so neither is taken.
        if slot.replace(value).is_some() && !self.repeated.contains(&field) {
            self.repeated.push(field);
        }
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key()? {
                    fields.take(name, map.next_value()?);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}
