use proptest::prelude::*;
use validator::ValidateArgs;

use super::*;

const SUBJECT: &str = "signals.transaction";

fn limits() -> Limits {
    Limits {
        max_signal_bytes: 1 << 20,
        source_id_max_chars: 128,
        event_type_max_chars: 128,
        user_id_max_chars: 256,
        wallet_address_max_chars: 256,
        severity_max: 5,
        payload: Default::default(),
        schemas: Default::default(),
    }
}

fn parse(text: &str) -> Result<Signal<'_>, Invalid> {
    Signal::parse(text.as_bytes(), SUBJECT, Box::leak(Box::new(limits())))
}

/// Returns a valid signal with `field` set to the JSON text `value`, or removed if it is `None`.
fn with(field: &str, value: Option<&str>) -> String {
    let fields = [
        ("event_time", r#""2023-05-02T12:19:59.000Z""#),
        ("source_id", r#""ethereum-mainnet""#),
        ("event_type", r#""transaction""#),
        ("payload", r#"{"value": 100000000000000000000000000001}"#),
        ("severity", "1"),
        ("trace_id", r#""3b32aef0-228a-5924-a25d-9362bb7bf65d""#),
    ];
    let mut texts: Vec<String> = Vec::new();
    for (name, default) in fields {
        if name != field {
            texts.push(format!("\"{name}\":{default}"));
        }
    }
    if let Some(value) = value {
        texts.push(format!("\"{field}\":{value}"));
    }
    format!("{{{}}}", texts.join(","))
}

#[test]
fn a_valid_signal_keeps_every_field_and_the_payload_byte_for_byte() {
    let text = r#" {"payload" : {"v":1e400,"a" : 123456789012345678901234567890},
        "event_time":"2023-05-02T14:19:59.1239+02:00","source_id":"s\u00e9","event_type":"t",
        "severity":5,"trace_id":"3B32AEF0-228a-5924-a25d-9362bb7bf65d","user_id":null,
        "wallet_address":"0xab","chain":{"id": 1},"a\"b":[1, 2]} "#;
    let signal = parse(text).unwrap();
    assert_eq!(signal.event_time_ms, 1_683_029_999_123);
    assert_eq!(signal.source_id, "sé");
    assert_eq!(signal.event_type, "t");
    assert_eq!(
        signal.payload,
        r#"{"v":1e400,"a" : 123456789012345678901234567890}"#
    );
    assert_eq!(signal.severity, 5);
    assert_eq!(
        signal.trace_id.to_string(),
        "3b32aef0-228a-5924-a25d-9362bb7bf65d"
    );
    assert_eq!(signal.user_id, "");
    assert_eq!(signal.wallet_address, "0xab");
    assert_eq!(signal.extra, r#"{"chain":{"id": 1},"a\"b":[1, 2]}"#);
}

#[test]
fn texts_without_escapes_borrow_from_the_message() {
    let text = with("", None);
    let signal = parse(&text).unwrap();
    assert!(matches!(signal.source_id, Cow::Borrowed(_)));
    assert_eq!(signal.extra.capacity(), 0);
}

#[test]
fn a_missing_event_type_is_the_second_token_of_the_subject() {
    for value in [None, Some("null")] {
        assert_eq!(
            parse(&with("event_type", value)).unwrap().event_type,
            "transaction"
        );
    }
    let text = with("event_type", None);
    let breach = Signal::parse(text.as_bytes(), "signals", &limits()).unwrap_err();
    assert_eq!(
        breach.to_string(),
        "event_type: is missing, and the subject has no second token"
    );
}

#[test]
fn each_broken_rule_is_named_with_its_field() {
    let long = format!("\"{}\"", "x".repeat(129));
    let longer = format!("\"{}\"", "é".repeat(257));
    for (field, value, message) in [
        ("event_time", None, "event_time: is missing"),
        (
            "event_time",
            Some("1.5"),
            "event_time: must be an RFC 3339 time or integer milliseconds since 1970",
        ),
        (
            "event_time",
            Some("1e400"),
            "event_time: must be an RFC 3339 time or integer milliseconds since 1970",
        ),
        (
            "event_time",
            Some(r#""now""#),
            "event_time: must be an RFC 3339 time or integer milliseconds since 1970",
        ),
        (
            "event_time",
            Some(r#""0001-01-01T00:00:00Z""#),
            "event_time: must lie from 1900 to 2299, is -62135596800000 ms since 1970",
        ),
        (
            "event_time",
            Some(r#""9999-12-31T23:59:59Z""#),
            "event_time: must lie from 1900 to 2299, is 253402300799000 ms since 1970",
        ),
        ("source_id", Some("null"), "source_id: must be a string"),
        (
            "source_id",
            Some(r#""""#),
            "source_id: must have 1 to 128 characters, has 0",
        ),
        (
            "source_id",
            Some(&long),
            "source_id: must have 1 to 128 characters, has 129",
        ),
        (
            "source_id",
            Some(r#""\ud800""#),
            "source_id: holds an escape that is not a character",
        ),
        (
            "event_type",
            Some(r#""""#),
            "event_type: must have 1 to 128 characters, has 0",
        ),
        ("event_type", Some("7"), "event_type: must be a string"),
        ("payload", None, "payload: is missing"),
        ("payload", Some("[]"), "payload: must be a JSON object"),
        ("payload", Some("null"), "payload: must be a JSON object"),
        ("severity", Some("6"), "severity: must be 0 to 5, is 6"),
        ("severity", Some("-1"), "severity: must be 0 to 5, is -1"),
        ("severity", Some("1.0"), "severity: must be an integer"),
        ("severity", Some(r#""1""#), "severity: must be an integer"),
        ("trace_id", Some("{}"), "trace_id: must be a string"),
        (
            "trace_id",
            Some(r#""3b32aef0228a5924a25d9362bb7bf65d""#),
            "trace_id: must be a UUID such as 3b32aef0-228a-5924-a25d-9362bb7bf65d",
        ),
        ("user_id", Some("1"), "user_id: must be a string"),
        (
            "wallet_address",
            Some(&longer),
            "wallet_address: must have 0 to 256 characters, has 257",
        ),
    ] {
        let invalid = parse(&with(field, value)).unwrap_err();
        assert_eq!(invalid.code(), "breaks_rules");
        assert_eq!(invalid.to_string(), message, "{field} {value:?}");
    }
}

#[test]
fn one_message_names_every_breach_in_the_order_of_the_fields() {
    let invalid = parse(r#"{"severity":9,"source_id":"","payload":1,"severity":9}"#).unwrap_err();
    assert_eq!(
        invalid.to_string(),
        "event_time: is missing; source_id: must have 1 to 128 characters, has 0; \
         payload: must be a JSON object; severity: is given more than once; \
         severity: must be 0 to 5, is 9; \
         trace_id: must be a UUID such as 3b32aef0-228a-5924-a25d-9362bb7bf65d"
            .replace(
                "trace_id: must be a UUID such as 3b32aef0-228a-5924-a25d-9362bb7bf65d",
                "trace_id: is missing"
            )
    );
}

#[test]
fn integer_milliseconds_are_a_time() {
    assert_eq!(
        parse(&with("event_time", Some("-5")))
            .unwrap()
            .event_time_ms,
        -5
    );
}

#[test]
fn a_body_that_is_no_json_object_is_rejected() {
    for (body, code, message) in [
        (
            &b""[..],
            "not_json",
            "not JSON: EOF while parsing a value at line 1 column 0",
        ),
        (
            b"\xef\xbb\xbf{}",
            "not_json",
            "not JSON: expected value at line 1 column 1",
        ),
        (
            b"{\"a\":\xff}",
            "not_utf8",
            "not UTF-8: invalid byte at offset 5",
        ),
        (
            b"{\"a\":01}",
            "not_json",
            "not JSON: invalid number at line 1 column 7",
        ),
        (
            b"{} x",
            "not_json",
            "not JSON: trailing characters at line 1 column 4",
        ),
        (b"[1]", "breaks_rules", "signal: must be a JSON object"),
        (
            b"[1",
            "not_json",
            "not JSON: EOF while parsing a list at line 1 column 2",
        ),
        (
            b"true story",
            "not_json",
            "not JSON: trailing characters at line 1 column 6",
        ),
        (
            b"{\"a\":\"\0\"}",
            "not_json",
            "not JSON: control character (\\u0000-\\u001F) found while parsing a string at line 1 column 6",
        ),
    ] {
        let invalid = Signal::parse(body, SUBJECT, &limits()).unwrap_err();
        assert_eq!(
            (invalid.code(), invalid.to_string().as_str()),
            (code, message)
        );
    }
}

#[test]
fn a_message_over_the_limit_is_not_looked_at() {
    let limits = Limits {
        max_signal_bytes: 4,
        ..limits()
    };
    let invalid = Signal::parse(b"\xff\xff\xff\xff\xff", SUBJECT, &limits).unwrap_err();
    assert_eq!(invalid, Invalid::TooLarge { bytes: 5, max: 4 });
}

#[test]
fn ten_thousand_levels_and_a_hundred_thousand_keys_are_just_a_payload() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let keys: Vec<String> = (0..100_000).map(|i| format!("\"{i}\":0")).collect();
    let wide = format!("{{{}}}", keys.join(","));
    for payload in [deep, wide] {
        assert_eq!(
            parse(&with("payload", Some(&payload))).unwrap().payload,
            payload
        );
    }
}

/// A text of about as many characters as a rule allows, or of none.
fn text_near(max: usize) -> impl Strategy<Value = String> {
    let one = prop_oneof![Just('a'), Just('é')];
    let chars = prop_oneof![Just(0), Just(1), max - 2..max + 3];
    (one, chars).prop_map(|(one, chars)| std::iter::repeat_n(one, chars).collect())
}

proptest! {
    #[test]
    fn the_hot_path_judges_as_the_validator_does(
        source in text_near(128), event_type in text_near(128), user in text_near(256), wallet in text_near(256),
        severity in -2i64..9, ms in prop_oneof![Just(0), Just(i64::MIN), Just(i64::MAX), -2_208_988_800_003i64..-2_208_988_799_997],
    ) {
        let signal = Signal {
            event_time_ms: ms,
            source_id: source.into(),
            event_type: event_type.into(),
            payload: "{}",
            severity,
            trace_id: Uuid::nil(),
            user_id: user.into(),
            wallet_address: wallet.into(),
            extra: String::new(),
            payload_faults: Default::default(),
        };
        let limits = limits();
        let validated = signal.validate_with_args(&limits).is_ok();
        prop_assert_eq!(rules::are_kept(&signal, &limits), validated);
    }

    #[test]
    fn any_bytes_give_a_verdict(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Signal::parse(&body, SUBJECT, &limits());
    }

    #[test]
    fn any_text_comes_back_as_it_was(source in "\\PC{1,128}", user in "\\PC{0,256}", ms in -2_208_988_800_000i64..10_413_791_999_999) {
        let body = serde_json::json!({
            "event_time": ms, "source_id": source, "user_id": user, "severity": 0,
            "trace_id": "3b32aef0-228a-5924-a25d-9362bb7bf65d", "payload": {"user": user},
        }).to_string();
        let limits = limits();
        let signal = Signal::parse(body.as_bytes(), SUBJECT, &limits).unwrap();
        prop_assert_eq!(signal.source_id, source);
        prop_assert_eq!(&signal.user_id, &user);
        prop_assert_eq!(signal.event_time_ms, ms);
        let payload: serde_json::Value = serde_json::from_str(signal.payload).unwrap();
        prop_assert_eq!(&payload["user"], &user);
    }
}
