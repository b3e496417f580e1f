//! Message number n of a run, from the seed alone: the publisher and the oracle each
//! work it out for themselves, so nothing has to be written down between them.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::row::Row;

/// The daemons' `validation.max_signal_bytes`.
pub const SIGNAL_BYTES_MAX: usize = 4096;

/// One message in so many is no valid signal.
const INVALID_ONE_IN: u64 = 50;

/// A published message, and its expected fate.
pub struct Message {
    pub subject: &'static str,
    pub body: Vec<u8>,
    pub fate: Fate,
}

/// Fate that a message must have.
pub enum Fate {
    /// One row, this one.
    Lands(Box<Row>),
    /// One dead letter with this reason.
    IsRejected(&'static str),
}

const SUBJECTS: [&str; 4] = [
    "signals.transaction",
    "signals.risk_event",
    "signals.wallet_snapshot.eu",
    "signals.transaction.eu.1",
];

/// Ways of being no valid signal, each with the reason that the dead letter has to give.
const DEFECTS: [(&str, Defect); 18] = [
    ("not_json", Defect::Body(|_| Vec::new())),
    (
        "not_json",
        Defect::Body(|body| body[..body.len() - 1].to_vec()),
    ),
    (
        "not_json",
        Defect::Body(|body| [b"\xef\xbb\xbf", body].concat()),
    ),
    ("not_json", Defect::Body(|body| [body, b"{}"].concat())),
    ("not_utf8", Defect::Body(|body| [body, b"\xff"].concat())),
    (
        "breaks_rules",
        Defect::Body(|body| [b"[", body, b"]"].concat()),
    ),
    (
        "too_large",
        Defect::Body(|body| [body, &[b' '; SIGNAL_BYTES_MAX]].concat()),
    ),
    ("breaks_rules", Defect::Without("event_time")),
    ("breaks_rules", Defect::Without("source_id")),
    ("breaks_rules", Defect::With("source_id", r#""""#)),
    ("breaks_rules", Defect::With("source_id", "7")),
    ("breaks_rules", Defect::With("severity", "6")),
    ("breaks_rules", Defect::With("severity", "-1")),
    ("breaks_rules", Defect::With("severity", r#""high""#)),
    ("breaks_rules", Defect::With("trace_id", r#""no-uuid""#)),
    ("breaks_rules", Defect::With("payload", r#""text""#)),
    ("breaks_rules", Defect::With("event_time", r#""yesterday""#)),
    ("breaks_rules", Defect::Twice("severity")),
];

enum Defect {
    /// The whole body is another one.
    Body(fn(&[u8]) -> Vec<u8>),
    /// A field is missing.
    Without(&'static str),
    /// A field has this value.
    With(&'static str, &'static str),
    /// A field is there a second time.
    Twice(&'static str),
}

/// The trace id of number `number`, in a run with this seed.
pub fn trace_id(seed: u64, number: u64) -> Uuid {
    Uuid::from_u64_pair(seed, number)
}

/// The number that a trace id belongs to; `None` when it is of no run with this seed.
pub fn number_of(seed: u64, trace_id: Uuid) -> Option<u64> {
    let (high, number) = trace_id.as_u64_pair();
    (high == seed).then_some(number)
}

/// Message number `number` of the run with this seed.
pub fn message(seed: u64, number: u64) -> Message {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    let subject = SUBJECTS[rng.random_range(0..SUBJECTS.len())];
    let (mut fields, row) = valid(&mut rng, seed, number, subject);
    if rng.random_range(0..INVALID_ONE_IN) > 0 {
        return Message {
            subject,
            body: object(&fields),
            fate: Fate::Lands(Box::new(row)),
        };
    }
    let (reason, defect) = &DEFECTS[rng.random_range(0..DEFECTS.len())];
    let body = match defect {
        Defect::Body(change) => change(&object(&fields)),
        Defect::Without(name) => {
            fields.retain(|(field, _)| field != name);
            object(&fields)
        }
        Defect::With(name, value) => {
            fields.retain(|(field, _)| field != name);
            fields.push((name, value.to_string()));
            object(&fields)
        }
        Defect::Twice(name) => {
            let again = fields.iter().find(|(field, _)| field == name).cloned();
            fields.extend(again);
            object(&fields)
        }
    };
    Message {
        subject,
        body,
        fate: Fate::IsRejected(reason),
    }
}

/// Names and JSON values of a signal's top level.
type Fields = Vec<(&'static str, String)>;

fn object(fields: &Fields) -> Vec<u8> {
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{{}}}", fields.join(",")).into_bytes()
}

/// A valid signal, and the row that it has to become.
fn valid(rng: &mut ChaCha8Rng, seed: u64, number: u64, subject: &'static str) -> (Fields, Row) {
    let event_time_ms = rng.random_range(0..4_000_000_000_000_i64);
    let noise: String = (0..rng.random_range(0..300_u32))
        .map(|_| char::from(rng.random_range(b' '..=b'~')))
        .collect();
    let text = json!({"text": format!("é\0\n\"{noise}\"")});
    let mut row = Row {
        event_time_ms,
        source_id: format!("chaos-{}", rng.random_range(0..20_u32)),
        // The second token of the subject replaces a type that is not given.
        event_type: subject.split('.').nth(1).unwrap_or_default().to_owned(),
        payload: format!(r#"{{ "number" : {number}, "big": 1e400, "more":{text}}}"#),
        severity: rng.random_range(0..=5),
        user_id: String::new(),
        wallet_address: format!("0x{:040x}", rng.random::<u128>()),
        extra: String::new(),
        subject,
    };
    let mut fields = vec![
        ("event_time", event_time(event_time_ms, rng.random())),
        ("source_id", json!(row.source_id).to_string()),
        ("payload", row.payload.clone()),
        ("severity", row.severity.to_string()),
        (
            "trace_id",
            json!(trace_id(seed, number).to_string()).to_string(),
        ),
        ("wallet_address", json!(row.wallet_address).to_string()),
    ];
    if rng.random() {
        row.event_type = format!("type-{}", rng.random_range(0..5_u32));
        fields.push(("event_type", json!(row.event_type).to_string()));
    }
    if rng.random() {
        row.user_id = format!("user ü {}", rng.random_range(0..5000_u32));
        fields.push(("user_id", json!(row.user_id).to_string()));
    }
    if rng.random_range(0..4_u8) == 0 {
        let retries = rng.random_range(0..9_u8);
        row.extra = format!(r#"{{"region":"eu","retries":[1, {retries}]}}"#);
        fields.push(("region", r#""eu""#.to_owned()));
        fields.push(("retries", format!("[1, {retries}]")));
    }
    (fields, row)
}

/// A time as JSON: as a text or as a number.
fn event_time(ms: i64, as_text: bool) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let text = time.ok().and_then(|time| time.format(&Rfc3339).ok());
    match text.filter(|_| as_text) {
        Some(text) => json!(text).to_string(),
        None => ms.to_string(),
    }
}
