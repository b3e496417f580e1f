//! Rules of a signal as a JSON Schema, for senders.

use serde_json::{Value, json};

use super::Limits;
use super::event_time::{EVENT_TIME_MS_MAX, EVENT_TIME_MS_MIN};

/// Returns the JSON Schema of a signal, with the contracts of payloads. JSON Schema cannot express
/// two rules: a time given as text lies from 1900 to 2299, and no field is repeated. The schema
/// requires the event type, although the daemon also takes it from the subject.
pub fn json_schema(limits: &Limits) -> Value {
    let text = |about: &str, min: usize, max: usize, null: bool| {
        let kind = if null {
            json!(["string", "null"])
        } else {
            json!("string")
        };
        json!({"description": about, "type": kind, "minLength": min, "maxLength": max})
    };
    let contracts: Vec<Value> = limits
        .contracts()
        .iter()
        .map(|(contract, _)| {
            json!({
                "if": {
                    "properties": {"event_type": {"enum": [contract.event_type]}},
                    "required": ["event_type"],
                },
                "then": {"properties": {"payload": contract.document}},
            })
        })
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Signal",
        "description": "A signal, published on signals.<event_type>.",
        "type": "object",
        "properties": {
            "event_time": {
                "description": "Time of the event: RFC 3339, or integer milliseconds since 1970; from 1900 to 2299.",
                "type": ["string", "integer"],
                "format": "date-time",
                "minimum": EVENT_TIME_MS_MIN,
                "maximum": EVENT_TIME_MS_MAX,
            },
            "source_id": text("Name of the sender.", 1, limits.source_id_max_chars, false),
            "event_type": text("Event type, which selects the payload's contract.", 1, limits.event_type_max_chars, false),
            "payload": {"description": "Content of the event.", "type": "object"},
            "severity": {
                "description": "Severity; 0 is lowest.",
                "type": "integer",
                "minimum": 0,
                "maximum": limits.severity_max,
            },
            "trace_id": {
                "description": "Identifier of the signal throughout: a UUID with hyphens.",
                "type": "string",
                "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
            },
            "user_id": text("User, if the signal concerns one.", 0, limits.user_id_max_chars, true),
            "wallet_address": text("Wallet, if the signal concerns one.", 0, limits.wallet_address_max_chars, true),
        },
        "required": ["event_time", "source_id", "event_type", "payload", "severity", "trace_id"],
        "allOf": contracts,
    })
}
