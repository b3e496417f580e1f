//! From a body to its signals, each byte for byte as it came. Pure.

use std::fmt;

use axum::http::StatusCode;
use bytes::Bytes;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::problem::Problem;

/// Form of the signals in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One signal, or an array of them.
    Json,
    /// One a line.
    Ndjson,
}

impl Form {
    /// By a `Content-Type`.
    pub fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next()?.trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => Some(Self::Json),
            "application/x-ndjson" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

/// The signals of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SignalBodies {
    /// The body is one.
    One(Bytes),
    /// It has some.
    Many(Vec<Bytes>),
}

impl SignalBodies {
    /// Returns true when they came in a form for several.
    pub fn are_many(&self) -> bool {
        matches!(self, Self::Many(_))
    }

    pub fn as_slice(&self) -> &[Bytes] {
        match self {
            Self::One(signal) => std::slice::from_ref(signal),
            Self::Many(signals) => signals,
        }
    }
}

/// Finds at most `max` signals, which share the body's memory.
///
/// # Errors
/// When there are more or none, or an array has no end.
pub(crate) fn split(body: &Bytes, form: Form, max: usize) -> Result<SignalBodies, Problem> {
    let signals = match form {
        Form::Json if !body.trim_ascii_start().starts_with(b"[") => {
            return Ok(SignalBodies::One(body.slice_ref(body.trim_ascii())));
        }
        Form::Json => elements(body, max)?,
        Form::Ndjson => lines(body, max)?,
    };
    if signals.is_empty() {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "no_signals",
            "the body holds no signal",
        ));
    }
    Ok(SignalBodies::Many(signals))
}

fn too_many(max: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_many_signals",
        format!("the body holds more than {max} signals"),
    )
}

/// The lines that are not blank.
fn lines(body: &Bytes, max: usize) -> Result<Vec<Bytes>, Problem> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut found = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if found.len() == max {
            return Err(too_many(max));
        }
        found.push(body.slice_ref(line));
    }
    Ok(found)
}

/// The elements of an array, none of which is looked into: a number stays as it is written.
fn elements(body: &Bytes, max: usize) -> Result<Vec<Bytes>, Problem> {
    struct Elements<'b> {
        body: &'b Bytes,
        max: usize,
    }
    impl<'b> Visitor<'b> for Elements<'b> {
        type Value = Vec<Bytes>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of signals")
        }

        fn visit_seq<A: SeqAccess<'b>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(element) = seq.next_element::<&'b RawValue>()? {
                if found.len() == self.max {
                    return Err(A::Error::custom("too many"));
                }
                found.push(self.body.slice_ref(element.get().as_bytes()));
            }
            Ok(found)
        }
    }
    let mut parser = serde_json::Deserializer::from_slice(body);
    let found = parser.deserialize_seq(Elements { body, max });
    found
        .and_then(|found| parser.end().map(|()| found))
        .map_err(|error| match error.classify() {
            // The visitor's own; no element is looked into.
            Category::Data => too_many(max),
            _ => Problem::new(
                StatusCode::BAD_REQUEST,
                "not_json",
                format!("not JSON: {error}"),
            ),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(body: &str, form: Form) -> Vec<String> {
        let signals = split(&Bytes::from(body.to_owned()), form, 3).unwrap();
        let text = |signal: &Bytes| String::from_utf8(signal.to_vec()).unwrap();
        signals.as_slice().iter().map(text).collect()
    }

    fn refused(body: &str, form: Form) -> &'static str {
        let split = split(&Bytes::from(body.to_owned()), form, 3);
        split.unwrap_err().code
    }

    #[test]
    fn signals_come_byte_for_byte() {
        let signal = r#"{"n": 123456789012345678901234567890.10, "n": 1e400}"#;
        assert_eq!(many(&format!(" {signal}\n"), Form::Json), [signal]);
        let array = format!(" [{signal}, 7 ,\n\"x\"] ");
        assert_eq!(many(&array, Form::Json), [signal, "7", "\"x\""]);
        let lines = format!("{signal}\r\n\n \n not json \n{signal}");
        assert_eq!(many(&lines, Form::Ndjson), [signal, "not json", signal]);
    }

    #[test]
    fn what_holds_no_signals_is_refused() {
        assert_eq!(refused("[1, 2, 3, 4", Form::Json), "too_many_signals");
        assert_eq!(refused("1\n2\n3\n4", Form::Ndjson), "too_many_signals");
        for (body, code) in [
            ("[]", "no_signals"),
            ("[1, 2", "not_json"),
            ("[1,]", "not_json"),
            ("[1] 2", "not_json"),
            ("[{\"a\":}]", "not_json"),
        ] {
            assert_eq!(refused(body, Form::Json), code, "{body}");
        }
        assert_eq!(refused("\n\n", Form::Ndjson), "no_signals");
    }

    #[test]
    fn a_form_is_told_by_its_content_type() {
        for (text, form) in [
            ("application/json", Some(Form::Json)),
            ("Application/JSON; charset=utf-8", Some(Form::Json)),
            ("application/x-ndjson", Some(Form::Ndjson)),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(Form::of(text), form, "{text}");
        }
    }
}
