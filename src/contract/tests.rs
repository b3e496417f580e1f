use std::cell::Cell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::*;
use crate::settings::Settings;
use crate::signal::{Invalid, Limits, Signal};
use crate::synthetic::{Generator, Options};

const CASES: &str = include_str!("../../tests/contracts/cases.ndjson");

/// A line of the table that the test of the TypeScript client reads too.
#[derive(Deserialize)]
struct Case<'a> {
    about: &'a str,
    /// `good`, `faulty` (the payload breaks its contract) or `invalid` (it breaks the rules that
    /// every signal has to keep).
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
    Settings::default().validation
}

/// The paths of faults that are told as `path: rule; path: rule`.
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
        let (verdict, told) = match judged {
            Ok(signal) if signal.payload_faults.is_empty() => ("good", String::new()),
            Ok(signal) => ("faulty", signal.payload_faults.to_string()),
            Err(invalid @ Invalid::BreaksRules(_)) => ("invalid", invalid.to_string()),
            Err(other) => panic!("{}: {other}", case.about),
        };
        assert_eq!(verdict, case.verdict, "{}: {told}", case.about);
        if verdict != "good" {
            assert_eq!(paths(&told), case.at, "{}: {told}", case.about);
        }
    }
}

#[test]
fn what_is_produced_keeps_the_contracts_and_takes_the_fast_way() {
    let options = Options::new(42, 1_764_000_000_000, limits());
    let mut generator = Generator::new(&options).unwrap();
    let (schemas, limits) = (Schemas::read("").unwrap(), limits());
    for _ in 0..5_000 {
        let produced = generator.produce().unwrap();
        let text = std::str::from_utf8(produced.body).unwrap();
        let signal = Signal::parse(produced.body, "signals.x", &limits).unwrap();
        assert!(signal.payload_faults.is_empty(), "{text}");
        let at = schemas.find(&signal.event_type).unwrap();
        assert!((schemas.0[at].surely_keeps)(signal.payload), "{text}");
        assert!(schemas.0[at].told(signal.payload).is_empty(), "{text}");
    }
}

/// Transactions as an indexer of Ethereum has them.
#[test]
fn real_signals_keep_the_contracts() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = file.join("../shared/data/ethereum_mainnet_signals.ndjson");
    // Beside the checkout, not part of it.
    let Ok(text) = std::fs::read_to_string(file) else {
        return;
    };
    let limits = limits();
    for line in text.lines() {
        let signal = Signal::parse(line.as_bytes(), "signals.x", &limits);
        assert!(signal.unwrap().payload_faults.is_empty(), "{line}");
    }
}

/// Values that may stand where another one is.
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

/// The payload of a case with some values in the place of others, or of further fields.
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
        if let Some(contract) = contract && (contract.surely_keeps)(&payload) {
            let told = contract.told(&payload).to_string();
            // A double does not keep 1e400, so that the schema cannot be asked.
            prop_assert!(told.is_empty() || told.contains("number out of range"), "{}: {}", payload, told);
            taken.set(taken.get() + 1);
        }
    });
    assert!(taken.get() > 1_000, "{taken:?}");
}

/// A payload of about 0.8 MB.
fn repeated(before: &str, one: impl Fn(usize) -> String, after: &str) -> String {
    let mut text = before.to_owned();
    for number in 0.. {
        if text.len() > 800_000 {
            break;
        }
        text += if number == 0 { "" } else { "," };
        text += &one(number);
    }
    text + after
}

#[test]
fn a_long_payload_has_its_verdict_and_a_bounded_account_of_its_faults() {
    let schemas = Schemas::read("").unwrap();
    let told = |event_type: &str, payload: &str| {
        let at = schemas.find(event_type).unwrap();
        schemas.0[at].faults(payload).0
    };
    let snapshot = "{\"chain\":\"\\u0065thereum\",\"balances\":{";
    // The fast way declines it, since its chain has an escape; the schema takes it.
    let good = repeated(snapshot, |number| format!("\"t{number}\":1"), "}}");
    assert_eq!(told("wallet_snapshot", &good), []);
    // All members are faulty: sixteen are named.
    let bad = repeated(snapshot, |number| format!("\"t{number}\":-1"), "}}");
    let faults = told("wallet_snapshot", &bad);
    assert_eq!(faults.len(), FAULTS + 1);
    assert!(
        faults[0].path.starts_with("payload/balances/t"),
        "{faults:?}"
    );
    assert_eq!(faults[FAULTS].rule, "has more");
    // Only the last one is: it is faulty all the same.
    let last = repeated(snapshot, |number| format!("\"t{number}\":1"), ",\"z\":-1}}");
    let faults = told("wallet_snapshot", &last);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].rule.contains("first 64 members"), "{faults:?}");
    // A field that the contract names is looked at behind any number of others.
    let late = repeated(
        "{\"chain\":\"base\",",
        |number| format!("\"a{number}\":0"),
        ",\"value\":\"x\"}",
    );
    let faults = told("transaction", &late);
    let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
    assert!(paths.contains(&"payload/value"), "{paths:?}");
    let reasons = repeated(
        "{\"rule\":\"r\",\"score\":1,\"reasons\":[",
        |_| "1".to_owned(),
        "]}",
    );
    assert_eq!(told("risk_event", &reasons).len(), FAULTS + 1);
}

/// Faults of one payload that are named.
const FAULTS: usize = 16;
