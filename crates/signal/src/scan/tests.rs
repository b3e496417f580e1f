use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use synthetic::{Generator, GeneratorOptions};

use super::super::{Limits, Signal};
use super::Members;
use super::scanner::special;

const VALID: &str = r#" {"event_time":"2026-11-25T16:09:31.123Z","source_id":"risk-é","event_type":"risk_event",
    "payload":{"chain":"ethereum","score":-0.5e-3,"n":[1,[],{},{"a":null},true,false,"\u00e9\"\\"],"r":["x"]},
    "severity":0,"trace_id":"9dbf5016-0805-4ded-97e9-2241a28ce584","user_id":null,
    "wallet_address":"0xf0a9f7a792731279bcf099c5b19e71ec4e9c9dd2"} "#;

/// Complete and broken values for any field.
const VALUES: [&str; 52] = [
    "null",
    "true",
    "false",
    "nul",
    "tru",
    "truee",
    "0",
    "-0",
    "-",
    "01",
    "1.",
    ".5",
    "1.5",
    "1e400",
    "1E+2",
    "1e",
    "1e+",
    "-1",
    "+1",
    "9223372036854775808",
    "-9223372036854775808",
    "\"\"",
    "\"a\"",
    "\"a",
    "\"\\ud800\"",
    "\"\\u12g4\"",
    "\"\\x\"",
    "\"\\/\\b\\f\\n\\r\\t\"",
    "\"\u{0}\"",
    "\"\u{1f}\"",
    "\"\u{7f}\"",
    "\"\t\"",
    "{}",
    "[]",
    "{ }",
    "[ ]",
    "{]",
    "[}",
    "[1,]",
    "[,1]",
    "[1 2]",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{a:1}",
    "{1:1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":{\"a\":[{}]},\"a\":1}",
    "\"2023-05-02T12:19:60Z\"",
    "\"2023-05-02t12:19:59z\"",
    "\"3b32aef0228a5924a25d9362bb7bf65d\"",
    "",
];

/// Bytes with a meaning in JSON, and some without.
const BYTES: &[u8] =
    b"{}[]\",:\\u/bfnrtael019-+.eE \n\r\t\0\x1f\x7f\x80\xbf\xc3\xed\xef\xf4\xff\x0b\x0c";

const KEYS: [&str; 12] = [
    "event_time",
    "source_id",
    "event_type",
    "payload",
    "severity",
    "trace_id",
    "user_id",
    "wallet_address",
    "chain",
    "",
    "payloa\\u0064",
    "severity ",
];

fn assert_same(body: &[u8]) {
    let limits = Limits {
        max_signal_bytes: 1 << 26,
        source_id_max_chars: 128,
        event_type_max_chars: 128,
        user_id_max_chars: 256,
        wallet_address_max_chars: 256,
        severity_max: 5,
        payload: Default::default(),
        schemas: Default::default(),
    };
    for subject in ["signals.transaction", "signals"] {
        let (fast, slow) = (
            Signal::parse(body, subject, &limits),
            Signal::parse_reference(body, subject, &limits),
        );
        assert!(
            fast == slow,
            "{fast:?}\n{slow:?}\n{:?}",
            body.escape_ascii().to_string()
        );
    }
}

fn taken(text: &str) -> bool {
    super::signal(text, "signals.transaction", &mut Members::default()).is_some()
}

#[test]
fn the_usual_form_is_taken_and_the_unusual_is_declined() {
    assert!(taken(VALID));
    for (from, to) in [
        ("\"source_id\"", "\"sourc\\u0065_id\""),
        ("\"risk-é\"", "\"risk\\u002d\""),
        ("\"user_id\"", "\"unknown\""),
        ("\"user_id\"", "\"severity\""),
        ("\"risk-é\"", "null"),
        ("\"severity\":0", "\"severity\":1.0"),
        ("31.123Z", "60.123Z"),
        ("} ", "} x"),
    ] {
        assert!(!taken(&VALID.replacen(from, to, 1)), "{to}");
    }
}

/// Holds the speed: a declined signal of the usual form would only be slower.
#[test]
fn nearly_every_signal_is_taken() {
    let options = GeneratorOptions::new(42, 1_764_000_000_000, Default::default());
    let mut generator = Generator::new(&options).unwrap();
    let produced: Vec<String> = (0..10_000)
        .map(|_| String::from_utf8(generator.produce().unwrap().body.to_vec()).unwrap())
        .collect();
    assert_nearly_all_taken(produced.iter().map(String::as_str));

    // Signals of Ethereum's main network, if they are next to the checkout.
    let real = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/ethereum_mainnet_signals.ndjson");
    if real.exists() {
        assert_nearly_all_taken(fs::read_to_string(real).unwrap().lines());
    }
}

fn assert_nearly_all_taken<'a>(signals: impl Iterator<Item = &'a str>) {
    let (taken, declined): (Vec<_>, Vec<_>) = signals.partition(|text| taken(text));
    assert!(
        taken.len() >= 99 * declined.len() && !taken.is_empty(),
        "{} taken, {} declined, one of them {:?}",
        taken.len(),
        declined.len(),
        declined.first()
    );
}

#[test]
fn each_byte_of_a_signal_may_be_any_other_be_missing_or_be_doubled() {
    for at in 0..VALID.len() {
        let body = VALID.as_bytes();
        assert_same(&body[..at]);
        assert_same(&body[at..]);
        assert_same(&[&body[..at], &body[at + 1..]].concat());
        for &byte in BYTES {
            assert_same(&[&body[..at], &[byte], &body[at + 1..]].concat());
            assert_same(&[&body[..at], &[byte], &body[at..]].concat());
        }
    }
}

#[test]
fn each_value_in_each_field_is_judged_alike() {
    for field in KEYS {
        for value in VALUES {
            for key in [
                "user_id",
                "severity",
                "payload",
                "event_time",
                "trace_id",
                "event_type",
            ] {
                let text = VALID.replacen(
                    &format!("\"{key}\":"),
                    &format!("\"{field}\":{value},\"{key}\":"),
                    1,
                );
                assert_same(text.as_bytes());
                let start = VALID.find(&format!("\"{key}\":")).unwrap();
                assert_same(format!("{}\"{field}\":{value}}}", &VALID[..start]).as_bytes());
            }
            assert_same(VALID.replace("true", value).as_bytes());
            assert_same(VALID.replace("{\"a\":null}", value).as_bytes());
            assert_same(
                VALID
                    .replace("{\"chain\"", &format!("{{\"x\":{value},\"chain\""))
                    .as_bytes(),
            );
        }
    }
}

#[test]
fn very_deep_and_very_wide_signals_are_judged_alike() {
    for depth in [62, 63, 64, 65, 66, 127, 128, 129, 10_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
            let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert_same(VALID.replace("true", &nested).as_bytes());
            assert_same(
                VALID
                    .replace("true", &nested[..nested.len() - 1])
                    .as_bytes(),
            );
            assert_same(
                VALID
                    .replace("true", &nested.replacen('}', "]", 1))
                    .as_bytes(),
            );
        }
    }
    let keys: Vec<String> = (0..1_000_000).map(|i| format!("\"{i}\":0")).collect();
    assert_same(
        VALID
            .replace("true", &format!("{{{}}}", keys.join(",")))
            .as_bytes(),
    );
    assert_same(format!("{{{}}}", keys[..100_000].join(",")).as_bytes());
}

#[test]
fn the_fuzz_corpus_is_judged_alike() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/decode");
    let mut seen = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let input = fs::read(entry.unwrap().path()).unwrap();
        let body = input
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        assert_same(&input[body..]);
        seen += 1;
    }
    assert!(seen > 10);
}

#[test]
fn the_lowest_special_byte_is_found_whatever_surrounds_it() {
    for byte in 0..=255_u8 {
        let expected = byte < b' ' || byte == b'"' || byte == b'\\';
        for at in 0..8 {
            let mut bytes = [b'x'; 8];
            bytes[at] = byte;
            let found = special(u64::from_le_bytes(bytes));
            assert_eq!(found != 0, expected, "{byte}");
            assert!(
                !expected || found.trailing_zeros() as usize / 8 == at,
                "{byte}"
            );
        }
    }
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        select(&VALUES[..]).prop_map(str::to_owned),
        any::<f64>().prop_map(|n| n.to_string()),
        any::<String>().prop_map(|text| serde_json::Value::from(text).to_string())
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5)
                .prop_map(|v| format!("[{}]", v.join(","))),
            proptest::collection::vec((select(&KEYS[..]), inner), 0..5).prop_map(|fields| {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(k, v)| format!("\"{k}\" : {v}"))
                    .collect();
                format!("{{{}}}", fields.join(" ,\n"))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn any_bytes_are_judged_alike(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        assert_same(&body);
    }

    #[test]
    fn any_json_is_judged_alike_alone_and_as_a_payload(text in json()) {
        assert_same(text.as_bytes());
        assert_same(VALID.replace("{\"a\":null}", &text).as_bytes());
        assert_same(VALID.replace("\"risk_event\"", &text).as_bytes());
    }

    #[test]
    fn a_signal_with_several_faults_is_judged_alike(
        edits in proptest::collection::vec((any::<Index>(), 0..3_u8, select(BYTES), 0..6_usize), 1..5),
    ) {
        let mut body = VALID.as_bytes().to_vec();
        for (place, edit, byte, length) in edits {
            let at = place.index(body.len());
            match edit {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => drop(body.drain(at..(at + length).min(body.len() - 1).max(at))),
            }
        }
        assert_same(&body);
    }
}
