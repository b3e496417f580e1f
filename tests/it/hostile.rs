//! Messages that nobody means well: each lands or becomes a dead letter with the right reason,
//! byte for byte, and the valid signals between them land.

use std::collections::BTreeMap;

use jetstream::log_lines::DISCONNECTED;
use testkit::nats::{DEAD_LETTERS, header};
use testkit::raw_nats::RawNats;
use testkit::signals::signal;
use testkit::stored::{Stored, stored};
use testkit::{Stack, setting};

/// Room for a million keys.
const MAX_PAYLOAD_BYTES: usize = 16 * 1024 * 1024;
const LEVELS: usize = 10_000;
const KEYS: usize = 1_000_000;

/// Fate of a message.
#[derive(Debug, Clone, PartialEq)]
enum Fate {
    /// It lands with this payload and these further fields.
    Lands { payload: String, extra: String },
    /// It becomes a dead letter for this reason.
    Dead(&'static str),
}

struct Case {
    name: &'static str,
    subject: String,
    headers: Option<&'static [u8]>,
    body: Vec<u8>,
    fate: Fate,
}

impl Case {
    fn new(name: &'static str, body: impl Into<Vec<u8>>, fate: Fate) -> Self {
        Self {
            name,
            subject: "signals.hostile".to_owned(),
            headers: None,
            body: body.into(),
            fate,
        }
    }

    fn dead(name: &'static str, body: impl Into<Vec<u8>>, reason: &'static str) -> Self {
        Self::new(name, body, Fate::Dead(reason))
    }

    /// A valid signal with this payload.
    fn payload(name: &'static str, payload: impl Into<String>) -> Self {
        let payload = payload.into();
        let body = with("payload", &payload);
        let extra = String::new();
        Self::new(name, body, Fate::Lands { payload, extra })
    }

    /// A valid signal with these further fields, which are the inner part of an object.
    fn extra(name: &'static str, fields: &str) -> Self {
        let valid = signal(0).to_string();
        let body = format!("{},{fields}}}", valid.strip_suffix('}').unwrap());
        let extra = format!("{{{fields}}}");
        Self::new(
            name,
            body,
            Fate::Lands {
                payload: signal(0)["payload"].to_string(),
                extra,
            },
        )
    }

    /// A valid signal on a subject, with a header block.
    fn wrapped(name: &'static str, subject: &str, headers: Option<&'static [u8]>) -> Self {
        Self {
            subject: subject.to_owned(),
            headers,
            ..Self::payload(name, r#"{"number":0}"#)
        }
    }
}

/// A signal whose `field` is this JSON text, which need not be valid.
fn with(field: &str, value: &str) -> String {
    let mut parts = Vec::new();
    for (name, known) in signal(0).as_object().unwrap() {
        let known = known.to_string();
        let value = if name == field { value } else { &known };
        parts.push(format!("\"{name}\":{value}"));
    }
    format!("{{{}}}", parts.join(","))
}

/// A text of exactly so many bytes that begins like `start` and ends like `end`.
fn filled(start: &str, end: &str, bytes: usize) -> String {
    let fill = "x".repeat(bytes - start.len() - end.len());
    format!("{start}{fill}{end}")
}

fn keys() -> String {
    let mut keys = String::with_capacity(KEYS * 12);
    for key in 0..KEYS {
        keys.push_str(if key == 0 { "" } else { "," });
        keys.push_str(&format!("\"k{key}\":0"));
    }
    keys
}

/// Largest, deepest and most numerous values.
fn large() -> Vec<Case> {
    let nested = format!("{}{}", "[".repeat(LEVELS), "]".repeat(LEVELS));
    let objects = format!("{}1{}", "{\"a\":".repeat(LEVELS), "}".repeat(LEVELS));
    let keys = keys();
    let whole = with("payload", r#"{"a":""}"#);
    let (start, end) = whole.split_at(whole.find("\"\"").unwrap() + 1);
    let full = filled(start, end, MAX_PAYLOAD_BYTES);
    let payload = filled("{\"a\":\"", "\"}", MAX_PAYLOAD_BYTES - whole.len() + 8);
    let extra = String::new();
    vec![
        Case::new(
            "as large as a message may be",
            full,
            Fate::Lands { payload, extra },
        ),
        Case::dead(
            "as large and no JSON",
            vec![b'x'; MAX_PAYLOAD_BYTES],
            "not_json",
        ),
        Case::payload("10,000 levels of arrays", format!("{{\"a\":{nested}}}")),
        Case::payload("10,000 levels of objects", objects.clone()),
        Case::extra(
            "10,000 levels beside the payload",
            &format!("\"x\":{objects}"),
        ),
        Case::dead("10,000 levels instead of a signal", nested, "breaks_rules"),
        Case::dead(
            "10,000 levels that do not end",
            "[".repeat(LEVELS),
            "not_json",
        ),
        Case::payload("a million keys", format!("{{{keys}}}")),
        Case::extra("a million keys beside the payload", &keys),
    ]
}

/// JSON that parsers disagree on.
fn odd_json() -> Vec<Case> {
    let digits = "7".repeat(400);
    let twice = r#""severity":1,"severity":2,"#;
    vec![
        Case::payload("the same key twice in the payload", r#"{"a":1,"a":2}"#),
        Case::extra("the same unknown field twice", r#""x":1,"x":2"#),
        Case::dead(
            "the same field twice",
            with("payload", "{}").replacen('{', &format!("{{{twice}"), 1),
            "breaks_rules",
        ),
        Case::payload(
            "lone surrogates in the payload",
            r#"{"\ud800":"\udfff\ud800x"}"#,
        ),
        Case::dead(
            "a lone surrogate in source_id",
            with("source_id", r#""\ud800""#),
            "breaks_rules",
        ),
        Case::dead(
            "a lone surrogate in a field's name",
            with("payload", r#"{},"\udc00":1"#),
            "not_json",
        ),
        Case::payload("escaped NUL", r#"{"a\u0000":"\u0000"}"#),
        Case::dead(
            "raw NUL in a text",
            with("source_id", "\"a\0b\""),
            "not_json",
        ),
        Case::dead(
            "raw NUL in the payload",
            with("payload", "{\"a\":\"\0\"}"),
            "not_json",
        ),
        Case::dead("nothing but NUL", vec![0; 1000], "not_json"),
        Case::payload(
            "numbers beyond a double",
            r#"{"a":1e400,"b":-1e400,"c":1E-999}"#,
        ),
        Case::payload("400 digits", format!("{{\"a\":{digits},\"b\":0.{digits}}}")),
        Case::dead(
            "a severity beyond a double",
            with("severity", "1e400"),
            "breaks_rules",
        ),
        Case::dead(
            "a severity of 400 digits",
            with("severity", &digits),
            "breaks_rules",
        ),
        Case::dead(
            "an event time of 400 digits",
            with("event_time", &digits),
            "breaks_rules",
        ),
        Case::dead(
            "year 1",
            with("event_time", r#""0001-01-01T00:00:00Z""#),
            "breaks_rules",
        ),
        Case::dead(
            "year 9999",
            with("event_time", r#""9999-12-31T23:59:59Z""#),
            "breaks_rules",
        ),
        Case::dead(
            "before year 0",
            with("event_time", r#""0000-01-01T00:00:00+23:59""#),
            "breaks_rules",
        ),
    ]
}

/// Bodies that are no text, or nothing at all.
fn no_text() -> Vec<Case> {
    let valid = signal(0).to_string();
    let fine: &[u8] = b"NATS/1.0\r\na: b\r\n\r\n";
    let mut headers_only = Case::dead("headers only", "", "not_json");
    headers_only.headers = Some(fine);
    let cut = &valid.as_bytes()[..valid.len() / 2];
    vec![
        Case::dead("empty", "", "not_json"),
        headers_only,
        Case::dead("a byte order mark", format!("\u{feff}{valid}"), "not_json"),
        Case::dead(
            "UTF-16",
            valid
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect::<Vec<_>>(),
            "not_json",
        ),
        Case::dead(
            "a byte that no UTF-8 has",
            [cut, b"\xff"].concat(),
            "not_utf8",
        ),
        Case::dead("overlong UTF-8", [cut, b"\xc0\x80"].concat(), "not_utf8"),
        Case::dead(
            "a surrogate in UTF-8",
            [cut, b"\xed\xa0\x80"].concat(),
            "not_utf8",
        ),
        Case::dead("cut off", cut, "not_json"),
        Case::dead("an array that is cut off", "[1", "not_json"),
        Case::dead("two signals", format!("{valid}{valid}"), "not_json"),
        Case::dead("no object", "null", "breaks_rules"),
    ]
}

/// Subjects and header blocks that no client library sends.
fn odd_envelopes() -> Vec<Case> {
    let many = format!("signals{}", ".t".repeat(500));
    let long = format!("signals.{}", "t".repeat(3_900));
    vec![
        Case::wrapped("500 tokens", &many, None),
        Case::wrapped("a token of 3,900 characters", &long, None),
        Case::wrapped("a wildcard", "signals.*", None),
        Case::wrapped("a full wildcard", "signals.>", None),
        Case::wrapped("no ASCII", "signals.é猫", None),
        Case::wrapped("control characters", "signals.\u{1}\u{7f}", None),
        Case::wrapped("a system subject's token", "signals.$JS.ACK", None),
        Case::wrapped("an empty header block", "signals.x", Some(b"")),
        Case::wrapped(
            "no headers in the block",
            "signals.x",
            Some(b"NATS/1.0\r\n\r\n"),
        ),
        Case::wrapped(
            "a block that does not end",
            "signals.x",
            Some(b"NATS/1.0\r\na: b"),
        ),
        Case::wrapped(
            "lines without a carriage return",
            "signals.x",
            Some(b"NATS/1.0\na: b\n\n"),
        ),
        Case::wrapped(
            "a folded line",
            "signals.x",
            Some(b"NATS/1.0\r\na: b\r\n  c\r\n\r\n"),
        ),
        Case::wrapped(
            "headers on which client libraries panic or close the connection",
            "signals.x",
            Some(b"NATS/1.0\r\na: b\rc\r\nno colon\r\n\xff: \xfe\r\n\r\n"),
        ),
        Case::wrapped(
            "the status of a pull that is over",
            "signals.x",
            Some(b"NATS/1.0 408 Request Timeout\r\n\r\n"),
        ),
        Case::wrapped(
            "the status of a consumer that is gone",
            "signals.x",
            Some(b"NATS/1.0 409 Consumer Deleted\r\n\r\n"),
        ),
        Case::wrapped(
            "a forged letter",
            "signals.x",
            Some(b"NATS/1.0\r\nRisksignal-Reason: x\r\n\r\n"),
        ),
    ]
}

/// Fate of every message, by its sequence: the letters' bodies with their reasons.
async fn fates(stack: &Stack) -> (BTreeMap<u64, Stored>, BTreeMap<u64, (String, Vec<u8>)>) {
    let mut letters: BTreeMap<u64, (String, Vec<u8>)> = BTreeMap::new();
    for letter in stack.nats.messages(DEAD_LETTERS).await {
        let sequence = header(&letter, "Risksignal-Sequence").parse().unwrap();
        let reason = header(&letter, "Risksignal-Reason");
        let part = letter
            .headers
            .as_ref()
            .unwrap()
            .get("Risksignal-First-Part");
        let known = letters.entry(sequence).or_insert((reason, Vec::new()));
        assert_eq!(
            part.is_some(),
            !known.1.is_empty(),
            "{sequence} has two letters"
        );
        known.1.extend_from_slice(&letter.payload);
    }
    let rows = stored(&stack.clickhouse).await;
    let count = rows.len();
    let rows: BTreeMap<_, _> = rows.into_iter().map(|row| (row.stream_seq, row)).collect();
    assert_eq!(rows.len(), count, "a row is there twice");
    (rows, letters)
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_messages_panic_nothing_lose_nothing_and_stop_no_other() {
    let stack = Stack::with_nats_options(&["--max-payload=16MB"]).await;
    let mut daemon = stack
        .daemon(&[
            setting!(validation.max_signal_bytes = "16MiB"),
            setting!(consumer.fetch_bytes = "17MiB"),
        ])
        .await;
    let mut cases = no_text();
    cases.extend(odd_json());
    cases.extend(odd_envelopes());
    cases.extend(large());
    let mut raw = RawNats::connect(&stack.nats.url());
    let mut sequences = Vec::new();
    let mut valid = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let sequence = raw.publish(&case.subject, case.headers, &case.body);
        sequences.push(sequence.unwrap_or_else(|error| panic!("{}: {error}", case.name)));
        let body = signal(number as u64).to_string();
        valid.push(raw.publish("signals.valid", None, body.as_bytes()).unwrap());
    }
    stack.settled().await;

    let (mut rows, mut letters) = fates(&stack).await;
    for sequence in valid {
        assert_eq!(rows.remove(&sequence).unwrap().subject, "signals.valid");
    }
    for (case, sequence) in cases.iter().zip(sequences) {
        match (
            &case.fate,
            rows.remove(&sequence),
            letters.remove(&sequence),
        ) {
            (Fate::Lands { payload, extra }, Some(row), None) => {
                assert!(row.payload == *payload, "{}", case.name);
                assert!(row.extra == *extra, "{}", case.name);
                assert!(row.subject == case.subject, "{}", case.name);
            }
            (Fate::Dead(reason), None, Some((found, body))) => {
                assert_eq!(found, *reason, "{}", case.name);
                assert!(body == case.body, "{}", case.name);
            }
            (_, row, letter) => panic!(
                "{}: row: {}, letter: {:?}",
                case.name,
                row.is_some(),
                letter.map(|(reason, _)| reason)
            ),
        }
    }
    assert!(rows.is_empty() && letters.is_empty());
    let lines = daemon.lines();
    let lost = |line: &&serde_json::Value| line["message"] == DISCONNECTED;
    assert_eq!(lines.iter().filter(lost).count(), 0);
    assert!(daemon.stop().await.success());
}
