//! Any bytes on any subject: the decoder does not panic, its fast path answers as the reference
//! does, what it accepts keeps the rules, and it refuses nothing as "not JSON" that a stricter
//! parser takes.
//!
//! The first line of the input is the subject, the rest is the message, so that the corpus
//! can be read and written by hand.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use serde_json::value::RawValue;
use signal::{Invalid, Limits, Signal};

/// The defaults, with the contracts of payloads, but for the size: small enough for the fuzzer
/// to exceed.
static LIMITS: LazyLock<Limits> = LazyLock::new(|| Limits {
    max_signal_bytes: 48 * 1024,
    ..Limits::default()
});

const KNOWN: [&str; 8] = [
    "event_time",
    "source_id",
    "event_type",
    "payload",
    "severity",
    "trace_id",
    "user_id",
    "wallet_address",
];

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n');
    let (subject, body) = match end {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (&b"signals.x"[..], input),
    };
    let subject = String::from_utf8_lossy(subject);
    let parsed = Signal::parse(body, &subject, &LIMITS);
    assert_eq!(parsed, Signal::parse_reference(body, &subject, &LIMITS));
    match parsed {
        Ok(signal) => assert_keeps_the_rules(&signal, body),
        Err(invalid) => assert_is_rightly_refused(&invalid, body),
    }
});

fn assert_keeps_the_rules(signal: &Signal<'_>, body: &[u8]) {
    let chars = |text: &str, min: usize, max: usize| {
        let count = text.chars().count();
        assert!((min..=max).contains(&count), "{count} characters");
    };
    assert!(body.len() <= LIMITS.max_signal_bytes);
    chars(&signal.source_id, 1, LIMITS.source_id_max_chars);
    chars(&signal.event_type, 1, LIMITS.event_type_max_chars);
    chars(&signal.user_id, 0, LIMITS.user_id_max_chars);
    chars(&signal.wallet_address, 0, LIMITS.wallet_address_max_chars);
    assert!((0..=i64::from(LIMITS.severity_max)).contains(&signal.severity));
    // The first and the last millisecond that DateTime64 holds: the years 1900 to 2299.
    assert!((-2_208_988_800_000..=10_413_791_999_999).contains(&signal.event_time_ms));

    // Byte for byte means: a part of the message itself.
    let range = body.as_ptr_range();
    let payload = signal.payload.as_bytes().as_ptr_range();
    assert!(range.start <= payload.start && payload.end <= range.end);
    assert_is_object(signal.payload);
    if !signal.extra.is_empty() {
        assert_is_object(&signal.extra);
        let extra: BTreeMap<String, &RawValue> =
            serde_json::from_str(&signal.extra).expect("keys that are texts");
        assert!(!extra.is_empty());
        assert!(KNOWN.iter().all(|name| !extra.contains_key(*name)));
    }
}

/// Only scanned, so that no nesting is too deep and no key too odd.
fn assert_is_object(text: &str) {
    let raw: &RawValue = serde_json::from_str(text).expect("JSON");
    // Nothing around it: what does not belong to a raw value is cut off.
    assert!(raw.get().len() == text.len() && text.starts_with('{') && text.ends_with('}'));
}

fn assert_is_rightly_refused(invalid: &Invalid, body: &[u8]) {
    assert!(!invalid.to_string().is_empty());
    match invalid {
        Invalid::TooLarge { bytes, max } => assert!(*bytes == body.len() && bytes > max),
        Invalid::NotUtf8 { offset } => {
            assert!(std::str::from_utf8(&body[..*offset]).is_ok());
            assert!(std::str::from_utf8(body).is_err());
        }
        // The reading into a `Value` refuses more than the daemon does: deep nesting, numbers
        // that no double holds, lone surrogates.
        Invalid::NotJson(_) => assert!(serde_json::from_slice::<Value>(body).is_err()),
        Invalid::BreaksContract(faults) => panic!("no contract is enforced: {faults}"),
        Invalid::BreaksRules(breaches) => {
            assert!(!breaches.is_empty());
            let known = |field| field == "signal" || KNOWN.contains(&field);
            assert!(breaches.iter().all(|breach| known(breach.field)));
            let text = std::str::from_utf8(body).expect("text");
            serde_json::from_str::<&RawValue>(text).expect("JSON, if no signal");
        }
    }
}
