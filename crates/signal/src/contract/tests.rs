use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use synthetic::{Generator, GeneratorOptions};

use crate::{Invalid, Limits, Signal};

use super::*;
use crate::scan::Scanner;

const CASES: &str = include_str!("../../../../tests/contracts/cases.ndjson");

/// A line of the table, which the test of the TypeScript client reads too.
#[derive(Deserialize)]
struct Case<'a> {
    about: &'a str,
    /// `good`, `faulty` (the payload breaks its contract) or `invalid` (the signal breaks the rules
    /// of every signal).
    verdict: &'a str,
    #[serde(default)]
    at: BTreeSet<String>,
    subject: &'a str,
    #[serde(borrow)]
    signal: &'a RawValue,
}

fn cases() -> impl Iterator<Item = Case<'static>> {
    CASES
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
}

fn limits() -> Limits {
    Limits::default()
}

/// Returns the paths of faults given as `path: rule; path: rule`.
fn paths(faults: &str) -> BTreeSet<String> {
    let each = faults.split("; ");
    each.map(|fault| fault.split(": ").next().unwrap().to_owned())
        .collect()
}

#[test]
fn each_case_has_its_verdict_and_its_paths() {
    let limits = limits();
    for case in cases() {
        let judged = Signal::parse(case.signal.get().as_bytes(), case.subject, &limits);
        let (verdict, text) = match judged {
            Ok(signal) if signal.payload_faults.is_empty() => ("good", String::new()),
            Ok(signal) => ("faulty", signal.payload_faults.to_string()),
            Err(invalid @ Invalid::BreaksRules(_)) => ("invalid", invalid.to_string()),
            Err(other) => panic!("{}: {other}", case.about),
        };
        assert_eq!(verdict, case.verdict, "{}: {text}", case.about);
        if verdict != "good" {
            assert_eq!(paths(&text), case.at, "{}: {text}", case.about);
        }
    }
}

#[test]
fn generated_signals_satisfy_the_contracts_on_the_fast_path() {
    let options = GeneratorOptions::new(42, 1_764_000_000_000, Default::default());
    let mut generator = Generator::new(&options).unwrap();
    let (schemas, limits) = (Schemas::read("").unwrap(), limits());
    for _ in 0..5_000 {
        let produced = generator.produce().unwrap();
        let text = std::str::from_utf8(produced.body).unwrap();
        let signal = Signal::parse(produced.body, "signals.x", &limits).unwrap();
        assert!(signal.payload_faults.is_empty(), "{text}");
        let at = schemas.find(&signal.event_type).unwrap();
        assert!(
            (schemas.0[at].surely_keeps)(&Members::unread(signal.payload)),
            "{text}"
        );
        assert!(
            schemas.0[at].schema_faults(signal.payload).is_empty(),
            "{text}"
        );
    }
}

/// Ethereum transactions from an indexer.
#[test]
fn real_signals_keep_the_contracts() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = file.join("../../../shared/data/ethereum_mainnet_signals.ndjson");
    // Next to the checkout, not inside.
    let Ok(text) = std::fs::read_to_string(file) else {
        return;
    };
    let limits = limits();
    for line in text.lines() {
        let signal = Signal::parse(line.as_bytes(), "signals.x", &limits);
        assert!(signal.unwrap().payload_faults.is_empty(), "{line}");
    }
}

/// Returns the signals in a text: each JSON object with a type and a payload.
fn signals_in(text: &str) -> impl Iterator<Item = &RawValue> {
    let at = text.match_indices('{').map(|(at, _)| at);
    at.filter_map(|at| {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<&RawValue>();
        let value = values.next()?.ok()?;
        let fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(value.get()).ok()?;
        (fields.contains_key("event_type") && fields.contains_key("payload")).then_some(value)
    })
}

#[test]
fn the_signals_of_documents_and_examples_keep_the_contracts() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path: &str| std::fs::read_to_string(top.join(path)).unwrap();
    let of_docs = std::fs::read_dir(top.join("docs")).unwrap();
    let of_docs = of_docs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let of_docs = of_docs.filter(|name| name.ends_with(".md"));
    let documents = [
        "README.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "infra/README.md",
    ];
    let documents = documents.into_iter().map(str::to_owned);
    let documents = documents.chain(of_docs.map(|name| format!("docs/{name}")));
    let limits = limits();
    let judge = |path: &str| {
        let text = read(path);
        let judged = signals_in(&text).map(|signal| {
            let judged = Signal::parse(signal.get().as_bytes(), "", &limits);
            let faults = judged.unwrap().payload_faults;
            assert!(faults.is_empty(), "{path}: {signal}: {faults}");
        });
        judged.count()
    };
    let judged: usize = documents.map(|path| judge(&path)).sum();
    assert!(judged > 0, "README has a signal");
    assert_eq!(judge("infra/examples/signal.json"), 1);
}

/// Values that may replace any other one.
const VALUES: &[&str] = &[
    "null",
    "true",
    "0",
    "-0",
    "1",
    "-1",
    "1.5",
    "5.0",
    "1e0",
    "9007199254740991",
    "9007199254740992",
    "18446744073709551616",
    "1e400",
    "\"\"",
    "\"1\"",
    "\"1.5\"",
    "\"1.\"",
    "\".5\"",
    "\"-1\"",
    "\"\\u0031\"",
    "\"1\\n\"",
    "\"ethereum\"",
    "\"solana\"",
    "\"bitcoin\"",
    "\"Ethereum\"",
    "\"0xae2fc483527b8ef99eb5d9b44875f005ba1fae13\"",
    "\"GHM8PLpMHw7jXFuc2xmGyB6S33wT3qEajFgLq1yJoN5E\"",
    "[]",
    "[1]",
    "[\"a\"]",
    "{}",
    "{\"a\":\"1\"}",
    "{\"a\":1.5}",
];

/// Returns the payload of a case with some values replaced, or with further fields.
fn payload_edited(from: usize, edits: &[(usize, usize, bool)]) -> (String, String) {
    let good: Vec<_> = cases().filter(|case| case.verdict != "invalid").collect();
    let text = good[from % good.len()].signal.get();
    let signal: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    let event_type = signal.get("event_type").and_then(|text| text.as_str());
    let mut fields: Vec<(String, String)> = signal["payload"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.to_string()))
        .collect();
    let names = [
        "chain", "hash", "from", "to", "value", "score", "rule", "balances", "tx_hash",
    ];
    for (at, value, add) in edits {
        let value = VALUES[value % VALUES.len()].to_owned();
        if *add || fields.is_empty() {
            fields.push((names[at % names.len()].to_owned(), value));
        } else {
            let at = at % fields.len();
            fields[at].1 = value;
        }
    }
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}:{value}", serde_json::Value::from(name.as_str())))
        .collect();
    let event_type = event_type.unwrap_or("transaction").to_owned();
    (event_type, format!("{{{}}}", fields.join(",")))
}

#[test]
fn the_fast_way_takes_nothing_that_the_schema_refuses() {
    let schemas = Schemas::read("").unwrap();
    let edit = (any::<usize>(), any::<usize>(), any::<bool>());
    let config = ProptestConfig::with_cases(10_000);
    let taken = Cell::new(0);
    proptest!(config, |(from in any::<usize>(), edits in prop::collection::vec(edit, 0..4))| {
        let (event_type, payload) = payload_edited(from, &edits);
        let contract = schemas.find(&event_type).map(|at| &schemas.0[at]);
        let Some(contract) = contract else { return Ok(()) };
        let is_taken = (contract.surely_keeps)(&Members::unread(&payload));
        // The scan finds the members, or declines the payload.
        let (mut known, mut scanner) = (Members::default(), Scanner::new(&payload));
        if known.scan(&mut scanner).is_some() {
            prop_assert_eq!((contract.surely_keeps)(&known), is_taken, "{}", payload);
        }
        if is_taken {
            let text = contract.schema_faults(&payload).to_string();
            // A double does not hold 1e400, so the schema cannot decide.
            prop_assert!(text.is_empty() || text.contains("number out of range"), "{}: {}", payload, text);
            taken.set(taken.get() + 1);
        }
    });
    assert!(taken.get() > 1_000, "{taken:?}");
}

/// Returns a payload of about 0.8 MB: `members` members, padded to the same length.
fn repeated(members: usize, before: &str, one: impl Fn(usize) -> String, after: &str) -> String {
    let width = 800_000 / members - 1;
    let members: Vec<String> = (0..members)
        .map(|number| format!("{:>width$}", one(number)))
        .collect();
    [before, &members.join(","), after].concat()
}

/// Members of a long payload that are all checked.
const MANY: usize = 16_000;

#[test]
fn a_long_payload_has_its_verdict_and_a_bounded_account_of_its_faults() {
    let schemas = Schemas::read("").unwrap();
    let list_faults = |event_type: &str, payload: &str| {
        let at = schemas.find(event_type).unwrap();
        schemas.0[at].faults(&Members::unread(payload)).0
    };
    let snapshot = "{\"chain\":\"\\u0065thereum\",\"balances\":{";
    // The fast check declines the payload, since its chain has an escape; the schema accepts it.
    let good = repeated(MANY, snapshot, |number| format!("\"t{number}\":1"), "}}");
    assert_eq!(list_faults("wallet_snapshot", &good), []);
    // All members are faulty; the report names sixteen.
    let bad = repeated(MANY, snapshot, |number| format!("\"t{number}\":-1"), "}}");
    let faults = list_faults("wallet_snapshot", &bad);
    assert_eq!(faults.len(), FAULTS + 1);
    assert!(
        faults[0].path.starts_with("payload/balances/t"),
        "{faults:?}"
    );
    assert_eq!(faults[FAULTS].rule, "has more");
    // Only the last member is faulty, and is found all the same.
    let last = repeated(
        MANY,
        snapshot,
        |number| format!("\"t{number}\":1"),
        ",\"z\":-1}}",
    );
    let faults = list_faults("wallet_snapshot", &last);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].rule.contains("first 64 members"), "{faults:?}");
    // A field that the contract names is checked after any number of others.
    let late = repeated(
        MANY,
        "{\"chain\":\"base\",",
        |number| format!("\"a{number}\":0"),
        ",\"value\":\"x\"}",
    );
    let faults = list_faults("transaction", &late);
    let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
    assert!(paths.contains(&"payload/value"), "{paths:?}");
    let reasons = repeated(
        MANY,
        "{\"rule\":\"r\",\"score\":1,\"reasons\":[",
        |_| "1".to_owned(),
        "]}",
    );
    assert_eq!(list_faults("risk_event", &reasons).len(), FAULTS + 1);
}

/// Most faults reported of one payload.
const FAULTS: usize = 16;

#[test]
fn a_payload_of_too_many_values_is_not_looked_through() {
    let schemas = Schemas::read("").unwrap();
    let list_faults = |event_type: &str, payload: &str| {
        let at = schemas.find(event_type).unwrap();
        schemas.0[at].faults(&Members::unread(payload)).to_string()
    };
    const TOO_MANY: &str = "payload: has more than 16384 values, and is not searched";
    let snapshot = |chain: &str, members| {
        let before = format!("{{\"chain\":\"{chain}\",\"balances\":{{");
        repeated(members, &before, |number| format!("\"t{number}\":1"), "}}")
    };
    // Besides the balances, the payload, the chain and the balances object count.
    assert_eq!(
        list_faults("wallet_snapshot", &snapshot("\\u0065", 16_381)),
        ""
    );
    assert_eq!(
        list_faults("wallet_snapshot", &snapshot("\\u0065", 16_382)),
        TOO_MANY
    );
    // The fast check needs no budget, since it keeps nothing.
    assert_eq!(list_faults("wallet_snapshot", &snapshot("e", 50_000)), "");
    let reasons = "{\"rule\":\"r\",\"score\":1,\"reasons\":[";
    let reasons = repeated(400_000, reasons, |_| "1".to_owned(), "]}");
    assert_eq!(list_faults("risk_event", &reasons), TOO_MANY);
}

#[test]
fn logs_and_pages_quote_no_name_that_a_sender_made_up() {
    const SECRET: &str = "4929-1234";
    let schemas = Schemas::read("").unwrap();
    let faults = |event_type: &str, payload: &str| {
        let at = schemas.find(event_type).unwrap();
        schemas.0[at].schema_faults(payload)
    };
    let digits = SECRET.replace('-', "");
    let payload = format!(
        r#"{{"chain":"base","balances":{{"{SECRET}":-1,"{digits}":-1,"a/b":-1}},"block":-1}}"#
    );
    let found = faults("wallet_snapshot", &payload);
    let text = found.to_string();
    assert!(
        text.contains(&format!("payload/balances/{SECRET}: ")),
        "{text}"
    );
    assert!(text.contains("payload/balances/a~1b: "), "{text}");
    let public = found.public();
    assert!(
        !public.contains("4929") && !public.contains("a~1b"),
        "{public}"
    );
    assert!(
        public.contains("payload/balances/*: it is less than the minimum of 0 (3 times)"),
        "{public}"
    );
    assert!(public.contains("payload/block: "), "{public}");
    // A list index is no name.
    let found = faults("risk_event", r#"{"score":1,"reasons":["a",1]}"#);
    assert_eq!(found.public(), found.to_string());
    assert!(found.public().contains("payload/reasons/1: "), "{found}");

    let schema = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("own.json"), text).unwrap();
        Schemas::read(folder.path().to_str().unwrap()).unwrap()
    };
    for text in [
        r#"{"properties":{"a":{}},"additionalProperties":false}"#,
        r#"{"properties":{"a":{}},"unevaluatedProperties":false}"#,
        r#"{"propertyNames":{"maxLength":2}}"#,
    ] {
        let schemas = schema(text);
        let at = schemas.find("own").unwrap();
        let found = schemas.0[at].faults(&Members::unread(&format!(r#"{{"a":1,"{SECRET}":2}}"#)));
        assert!(found.to_string().contains(SECRET), "{found}");
        let public = found.public();
        assert!(!public.is_empty() && !public.contains(SECRET), "{public}");
    }
}
