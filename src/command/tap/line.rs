//! Lines of `risksignal tap`. Anyone may have published what they quote.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use console::Style;
use indicatif::HumanCount;
use serde::Serialize;
use serde_json::value::RawValue;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::command::dead_letters::output::{self, harmless};

use super::seen::{Fields, Seen, Verdict};

/// Bytes of an invalid message that a line has at most.
const BODY_BYTES_MAX: usize = 4096;

/// Form of the lines.
#[derive(Debug, Clone, Copy)]
pub(super) enum Format {
    /// For people: colored or not, at most `columns` wide.
    Text {
        is_colored: bool,
        columns: Option<usize>,
    },
    /// For programs.
    Json,
}

impl Format {
    /// Formats a message.
    pub fn line(self, seen: &Seen<'_>) -> String {
        match self {
            Self::Json => json(seen),
            Self::Text {
                is_colored,
                columns,
            } => {
                let line = text(seen, is_colored);
                match columns {
                    Some(columns) => console::truncate_str(&line, columns, "…").into_owned(),
                    None => line,
                }
            }
        }
    }

    /// Formats the number of messages that were not shown.
    pub fn skipped(self, count: u64) -> String {
        match self {
            Self::Json => format!(r#"{{"skipped":{count}}}"#),
            Self::Text { is_colored, .. } => {
                let text = format!(
                    "… {} skipped: they came faster than they were shown",
                    HumanCount(count)
                );
                let style = Style::new().yellow().bold();
                style.force_styling(is_colored).apply_to(text).to_string()
            }
        }
    }
}

fn text(seen: &Seen<'_>, is_colored: bool) -> String {
    const CLOCK: &[BorrowedFormatItem<'_>] =
        format_description!("[hour]:[minute]:[second].[subsecond digits:3]");
    let styled = |style: Style, text: String| style.force_styling(is_colored).apply_to(text);
    let time = seen.message.time.to_offset(time::UtcOffset::UTC);
    let time = styled(Style::new().dim(), time.format(CLOCK).unwrap_or_default());
    let red = Style::new().red().bold();
    match &seen.verdict {
        Verdict::Signal(signal) => {
            let style = match signal.severity {
                4.. => red,
                3 => Style::new().yellow(),
                _ => Style::new(),
            };
            let kind = harmless(&signal.event_type);
            let kind = styled(style, format!("{}  {kind:<18}", signal.severity));
            let mut line = format!("{time}  {kind}  {}", harmless(&signal.source_id));
            for (name, value) in [
                ("wallet", &signal.wallet_address),
                ("user", &signal.user_id),
            ] {
                if !value.is_empty() {
                    line += &format!("  {name} {}", harmless(value));
                }
            }
            let faults = signal.payload_faults.to_string();
            if !faults.is_empty() {
                let faults = format!("  [payload: {}]", harmless(&faults));
                line += &styled(Style::new().yellow(), faults).to_string();
            }
            line + "  " + &harmless(signal.payload)
        }
        Verdict::Invalid(invalid, _) => {
            let body = &seen.message.body;
            let error = harmless(&invalid.to_string());
            let error = styled(
                red,
                format!("!  will not land: {}: {error}", invalid.code()),
            );
            let subject = harmless(&seen.message.subject);
            let body = String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES_MAX)]);
            format!("{time}  {error}  {subject}  {}", harmless(&body))
        }
    }
}

/// A message, for programs. Fields that cannot be read are absent.
#[derive(Serialize)]
struct JsonLine<'a> {
    seq: u64,
    time: String,
    subject: &'a str,
    lands: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wallet_address: Option<&'a str>,
    #[serde(flatten)]
    signal: Option<JsonSignal<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    bytes: usize,
}

#[derive(Serialize)]
struct JsonSignal<'a> {
    event_time_ms: i64,
    trace_id: String,
    user_id: &'a str,
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "String::is_empty")]
    payload_faults: String,
}

fn json(seen: &Seen<'_>) -> String {
    let message = seen.message;
    let mut line = JsonLine {
        seq: message.sequence,
        time: output::time(message.time),
        subject: &message.subject,
        lands: true,
        reason: None,
        error: None,
        event_type: None,
        severity: None,
        source_id: None,
        wallet_address: None,
        signal: None,
        body: None,
        body_base64: None,
        bytes: message.body.len(),
    };
    match &seen.verdict {
        Verdict::Signal(signal) => {
            line.event_type = Some(&signal.event_type);
            line.severity = Some(signal.severity);
            line.source_id = Some(&signal.source_id);
            line.wallet_address = Some(&signal.wallet_address);
            line.signal = Some(JsonSignal {
                event_time_ms: signal.event_time_ms,
                trace_id: signal.trace_id.to_string(),
                user_id: &signal.user_id,
                payload: serde_json::from_str(signal.payload).ok(),
                extra: serde_json::from_str(&signal.extra).ok(),
                payload_faults: signal.payload_faults.to_string(),
            });
        }
        Verdict::Invalid(invalid, fields) => {
            let Fields {
                event_type,
                severity,
                wallet_address,
                source_id,
            } = fields.as_ref();
            line.lands = false;
            line.reason = Some(invalid.code());
            line.error = Some(invalid.to_string());
            line.event_type = event_type.as_deref();
            line.severity = *severity;
            line.source_id = source_id.as_deref();
            line.wallet_address = wallet_address.as_deref();
            let excerpt = excerpt(&message.body);
            line.body = std::str::from_utf8(excerpt).ok();
            line.body_base64 = line.body.is_none().then(|| STANDARD.encode(excerpt));
        }
    }
    on_one_line(&serde_json::to_string(&line).unwrap_or_default())
}

/// Returns the start of a body, whole characters if it is text.
fn excerpt(body: &[u8]) -> &[u8] {
    let Some(start) = body.get(..BODY_BYTES_MAX) else {
        return body;
    };
    match std::str::from_utf8(start) {
        Err(error) if error.error_len().is_none() => &start[..error.valid_up_to()],
        _ => start,
    }
}

/// Returns the same JSON on one line that cannot control the terminal. Outside of its texts, JSON
/// has no control characters but white space; within them, it may escape any.
fn on_one_line(json: &str) -> String {
    json.chars()
        .fold(String::with_capacity(json.len()), |mut line, c| {
            match c {
                '\n' | '\r' | '\t' => line.push(' '),
                c if c.is_control() => line += &format!("\\u{:04x}", u32::from(c)),
                c => line.push(c),
            }
            line
        })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use signal::Limits;

    use super::super::reader::TapMessage;
    use super::*;

    const HOSTILE: &str = "{\"event_time\":1,\"source_id\":\"a\\u001b[2J\u{9b}2J\",\"payload\":{\n\"n\":12345678901234567890123},\"severity\":4,\"trace_id\":\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"}";

    fn lines(format: Format, body: &str) -> String {
        let message = TapMessage::new("signals.t", body);
        format.line(&Seen::judge(&message, &Limits::default()))
    }

    #[test]
    fn nothing_in_a_line_controls_the_terminal_or_breaks_it() {
        let text = Format::Text {
            is_colored: false,
            columns: None,
        };
        for body in [HOSTILE, "\u{1b}[2J\n\u{9b}2J"] {
            for format in [text, Format::Json] {
                let line = lines(format, body);
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
        let json = lines(Format::Json, HOSTILE);
        assert!(json.contains(r#""n":12345678901234567890123"#), "{json}");
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["source_id"], "a\u{1b}[2J\u{9b}2J");
        assert_eq!(
            (&value["lands"], &value["severity"]),
            (&true.into(), &4.into())
        );
    }

    #[test]
    fn a_message_that_is_no_signal_says_so() {
        let text = Format::Text {
            is_colored: false,
            columns: Some(60),
        };
        let line = lines(text, "no JSON");
        assert!(line.contains("!  will not land: not_json: "), "{line}");
        assert!(console::measure_text_width(&line) <= 60, "{line}");
        let value: Value = serde_json::from_str(&lines(Format::Json, "no JSON")).unwrap();
        assert_eq!(value["reason"], "not_json");
        assert_eq!(
            (&value["lands"], &value["body"]),
            (&false.into(), &"no JSON".into())
        );
    }

    #[test]
    fn skipped_messages_are_counted_for_people_and_programs() {
        assert_eq!(Format::Json.skipped(12_345), r#"{"skipped":12345}"#);
        let text = Format::Text {
            is_colored: false,
            columns: None,
        };
        assert!(text.skipped(12_345).starts_with("… 12,345 skipped"));
    }
}
