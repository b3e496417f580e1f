//! Signals, and an opinion of its own on which are valid.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::repository::repository;
use crate::skip::skip;

/// Makes a table of signals each row of which takes a tenth of a second to read.
pub const SLOW_TABLE: &str = "CREATE VIEW risksignal.raw_signals AS SELECT now64(3) AS event_time, 'a' AS source_id, 'b' AS event_type, '{}' AS payload, toUInt8(1) AS severity, toUUID('00000000-0000-4000-8000-000000000001') AS trace_id, '' AS user_id, toString(sleepEachRow(0.1)) AS wallet_address, '' AS extra, '' AS payload_faults, now64(9) AS stream_created_at, number AS stream_seq, now64(3) AS published_at FROM numbers(1000) SETTINGS max_block_size = 1";

/// The signals of real Ethereum transactions and their file, where it is there: it is not shipped.
pub fn real_signals() -> Option<(PathBuf, String)> {
    let file = repository("../shared/data/ethereum_mainnet_signals.ndjson");
    let text = std::fs::read_to_string(&file).ok();
    if text.is_none() {
        skip(&format!("{} is missing", file.display()));
    }
    Some((file, text?))
}

/// A valid signal number `number`.
pub fn signal(number: u64) -> Value {
    json!({
        "event_time": "2026-11-24T12:00:00.123Z",
        "source_id": "test",
        "event_type": "risk_event",
        "payload": {"number": number},
        "severity": number % 6,
        "trace_id": format!("00000000-0000-4000-8000-{number:012x}"),
    })
}

/// Judges if a body is a valid signal, by the shortest reading of the rules.
pub fn is_valid(body: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return false;
    };
    let text = |field: &str, min, max| {
        let length = value[field].as_str().map(|text| text.chars().count());
        length.is_some_and(|length| (min..=max).contains(&length))
    };
    let optional = |field: &str| value[field].is_null() || text(field, 0, 256);
    let time = match &value["event_time"] {
        Value::String(text) => {
            use time::format_description::well_known::Rfc3339;
            time::OffsetDateTime::parse(text, &Rfc3339).is_ok()
        }
        number => number.is_i64(),
    };
    let trace = value["trace_id"].as_str().is_some_and(|text| {
        let shape = [8, 13, 18, 23];
        text.len() == 36
            && text
                .bytes()
                .enumerate()
                .all(|(at, byte)| (shape.contains(&at) && byte == b'-') || byte.is_ascii_hexdigit())
    });
    time && trace
        && text("source_id", 1, 128)
        && text("event_type", 1, 128)
        && value["payload"].is_object()
        && value["severity"]
            .as_u64()
            .is_some_and(|severity| severity <= 5)
        && optional("user_id")
        && optional("wallet_address")
}
