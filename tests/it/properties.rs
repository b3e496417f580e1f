//! Whatever is decoded reads back from ClickHouse equal. What a row should be is written down
//! while the signal is made up, so that the model shares no code with the daemon.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use testkit::Stack;
use testkit::nats::DEAD_LETTERS;
use testkit::stored::{Stored, stored};

/// Signals in a run.
const SIGNALS: usize = 600;
/// The same signals in every run, so that a failure can be looked at again.
const SEED: &[u8; 32] = b"whatever is decoded reads back =";

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

/// A value, and its form in the message.
#[derive(Debug, Clone)]
struct Written<T> {
    value: T,
    json: String,
}

/// A message, and its expected row, but for the `stream_seq`.
#[derive(Debug)]
struct Sent {
    body: String,
    row: Stored,
}

/// Form in which one character is written.
fn character(c: char, escaped: bool) -> String {
    match c {
        '"' | '\\' => format!("\\{c}"),
        '/' if escaped => "\\/".to_owned(),
        '\n' if escaped => "\\n".to_owned(),
        _ if escaped || c < ' ' => {
            let mut units = [0; 2];
            let units = c.encode_utf16(&mut units).iter();
            units.map(|unit| format!("\\u{unit:04x}")).collect()
        }
        _ => c.to_string(),
    }
}

/// A text of so many characters.
fn text(chars: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Written<String>> {
    let letter = prop_oneof![
        6 => any::<char>(),
        2 => proptest::char::range(' ', '~'),
        1 => proptest::sample::select(vec!['\0', '"', '\\', '/', '\n', '\u{7f}', '\u{feff}', '\u{ffff}', '😀']),
    ];
    vec((letter, proptest::bool::weighted(0.2)), chars).prop_map(|letters| {
        let inner: String = letters
            .iter()
            .map(|(c, escaped)| character(*c, *escaped))
            .collect();
        Written {
            value: letters.into_iter().map(|(c, _)| c).collect(),
            json: format!("\"{inner}\""),
        }
    })
}

/// A text that is kept as it is written, so that it may hold what is no character.
fn raw_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => text(0..=12).prop_map(|text| text.json[1..text.json.len() - 1].to_owned()),
        1 => "\\\\u[dD][89abAB][0-9a-f]{2}",
        1 => "\\\\u[dD][c-fC-F][0-9a-f]{2}",
    ];
    vec(piece, 0..3).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn space() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["", "", "", " ", "\n", "\t\r\n "])
}

/// Any JSON.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        proptest::sample::select(vec![
            "null", "true", "false", "1e400", "-1E+400", "0.1e-999", "-0", "{}", "[]"
        ])
        .prop_map(str::to_owned),
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?",
        raw_text(),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            (vec(inner.clone(), 0..6), space()).prop_map(|(items, space)| format!(
                "[{space}{}]",
                items.join(&format!(",{space}"))
            )),
            object(inner),
        ]
    })
}

/// A JSON object; a key may be there more than once.
fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let key = prop_oneof![3 => raw_text(), 1 => Just("\"a\"".to_owned())];
    vec((key, space(), value), 0..6).prop_map(|fields| {
        let fields = fields.into_iter();
        let fields: Vec<_> = fields
            .map(|(key, space, value)| format!("{space}{key}{space}:{value}{space}"))
            .collect();
        format!("{{{}}}", fields.join(","))
    })
}

/// Year, month and day of a day since the epoch, after Howard Hinnant's `civil_from_days`.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// A time from 1900 to 2299, in milliseconds or as RFC 3339 with any offset and fraction.
fn event_time() -> impl Strategy<Value = Written<i64>> {
    let seconds = -2_208_988_800_i64..=10_413_791_999;
    let in_ms = (seconds.clone(), 0..1000_i64).prop_map(|(seconds, ms)| Written {
        value: seconds * 1000 + ms,
        json: (seconds * 1000 + ms).to_string(),
    });
    let offset = prop_oneof![Just(None), (-1_439..=1_439_i64).prop_map(Some)];
    let in_words = (seconds, offset, "[0-9]{0,9}").prop_map(|(seconds, offset, fraction)| {
        let local = seconds + offset.unwrap_or(0) * 60;
        let (year, month, day) = civil(local.div_euclid(86_400));
        let time = local.rem_euclid(86_400);
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        let ms: i64 = format!("{fraction}000")[..3].parse().unwrap();
        let dot = if fraction.is_empty() { "" } else { "." };
        let zone = offset.map_or("Z".to_owned(), |offset: i64| {
            let sign = if offset < 0 { '-' } else { '+' };
            format!("{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60)
        });
        Written {
            value: seconds * 1000 + ms,
            json: format!("\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{dot}{fraction}{zone}\""),
        }
    });
    prop_oneof![in_ms, in_words]
}

fn trace_id() -> impl Strategy<Value = Written<u128>> {
    (any::<u128>(), any::<bool>()).prop_map(|(value, upper)| {
        let hex = format!("{value:032x}");
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        let json = format!("\"{}\"", parts.join("-"));
        let json = if upper { json.to_uppercase() } else { json };
        Written { value, json }
    })
}

/// A field that may be absent or null; the JSON is empty where it is absent.
fn optional(
    text: impl Strategy<Value = Written<String>>,
) -> impl Strategy<Value = Written<String>> {
    let none = |json: &str| Written {
        value: String::new(),
        json: json.to_owned(),
    };
    prop_oneof![3 => text, 1 => Just(none("null")), 1 => Just(none(""))]
}

/// Further fields as they are written, and the column that keeps them.
fn extra() -> impl Strategy<Value = (Vec<String>, String)> {
    let field = (text(0..=8), json())
        .prop_filter("unknown", |(name, _)| !KNOWN.contains(&name.value.as_str()));
    vec(field, 0..4).prop_map(|fields| {
        let written = fields.iter();
        let written = written.map(|(name, value)| format!("{}:{value}", name.json));
        let kept = fields.iter();
        let kept: Vec<_> = kept
            .map(|(name, value)| format!("{}:{value}", canonical(&name.value)))
            .collect();
        let column = match kept.as_slice() {
            [] => String::new(),
            kept => format!("{{{}}}", kept.join(",")),
        };
        (written.collect(), column)
    })
}

/// A field's name with as few escapes as JSON allows, and the short ones where there are any.
fn canonical(name: &str) -> String {
    let inner: String = name
        .chars()
        .map(|c| match c {
            '\u{8}' => "\\b".to_owned(),
            '\u{c}' => "\\f".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            c => character(c, false),
        })
        .collect();
    format!("\"{inner}\"")
}

fn sent() -> impl Strategy<Value = Sent> {
    let token = "[!-)+\\-/-=?-~éÄ猫]{1,12}";
    let texts = (
        text(1..=128),
        optional(text(1..=128)),
        optional(text(0..=256)),
        optional(text(0..=256)),
    );
    let rest = (event_time(), object(json()), 0..=5_u8, trace_id());
    let known = (texts, rest, (token, token)).prop_map(|(texts, rest, (first, second))| {
        let (source_id, event_type, user_id, wallet_address) = texts;
        let (event_time, payload, severity, trace_id) = rest;
        let fields = [
            event_time.json,
            source_id.json,
            event_type.json,
            payload.clone(),
            severity.to_string(),
            trace_id.json,
            user_id.json,
            wallet_address.json,
        ];
        let row = Stored {
            event_time: event_time.value,
            source_id: source_id.value,
            event_type: match event_type.value {
                none if none.is_empty() => first.clone(),
                some => some,
            },
            payload,
            severity,
            trace_id: uuid::Uuid::from_u128(trace_id.value),
            user_id: user_id.value,
            wallet_address: wallet_address.value,
            extra: String::new(),
            subject: format!("signals.{first}.{second}"),
            stream_seq: 0,
        };
        let fields = KNOWN.into_iter().zip(fields);
        let fields: Vec<_> = fields.filter(|(_, json)| !json.is_empty()).collect();
        (row, fields)
    });
    let known = known.prop_flat_map(|(row, fields)| (Just(row), Just(fields).prop_shuffle()));
    (known, extra(), 0..8_usize, space()).prop_map(
        |((mut row, fields), (extra, column), at, space)| {
            row.extra = column;
            let fields = fields.into_iter();
            let mut fields: Vec<_> = fields
                .map(|(name, json)| format!("\"{name}\"{space}:{space}{json}"))
                .collect();
            let at = at.min(fields.len());
            fields.splice(at..at, extra);
            let body = format!(
                "{space}{{{}{space}}}{space}",
                fields.join(&format!("{space},"))
            );
            Sent { body, row }
        },
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_decoded_reads_back_equal() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, SEED);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = sent();
    let sent = std::iter::repeat_with(|| strategy.new_tree(&mut runner).unwrap().current());
    let sent: Vec<Sent> = sent.take(SIGNALS).collect();
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    let nats = stack.nats.jetstream().await;
    let mut acks = Vec::new();
    for Sent { body, row } in &sent {
        let publish = nats.publish(row.subject.clone(), body.clone().into());
        acks.push(publish.await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
    stack.settled().await;
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    let refused = letters
        .first()
        .map(|letter| (&letter.headers, &letter.payload));
    assert_eq!(refused, None);
    let rows = stored(&stack.clickhouse).await;
    assert_eq!(rows.len(), SIGNALS);
    for (number, (found, Sent { body, row })) in rows.into_iter().zip(sent).enumerate() {
        let stream_seq = number as u64 + 1;
        assert_eq!(found, Stored { stream_seq, ..row }, "{body}");
    }
    assert!(daemon.stop().await.success());
}
