//! The views of each kind of event.

use std::collections::BTreeMap;

use clickhouse::Row;
use serde::Deserialize;
use testkit::{Stack, setting};

const WALLET: &str = "0xae2fc483527b8ef99eb5d9b44875f005ba1fae13";
const HASH: &str = "0xeb107a40ba73a50c79a9f2026e902d758d1c5e5e211f7a7db1b294f88f118dd0";

/// Publishes a signal of the wallet; `at` is its second, `payload` JSON.
async fn publish(stack: &Stack, number: u64, event_type: &str, at: u64, payload: &str) {
    let body = format!(
        r#"{{"event_time": "2026-11-24T12:00:{at:02}Z", "source_id": "test", "event_type": "{event_type}",
        "payload": {payload}, "severity": 1, "trace_id": "00000000-0000-4000-8000-{number:012x}",
        "wallet_address": "{WALLET}"}}"#
    );
    let subject = format!("signals.{event_type}");
    let jetstream = stack.nats.jetstream().await;
    let sent = jetstream.publish(subject, body.into()).await;
    sent.unwrap().await.unwrap();
}

/// The wallet's latest balances by chain and token.
async fn balances(stack: &Stack) -> BTreeMap<String, String> {
    let sql = "SELECT concat(chain, ' ', token), balance FROM wallet_snapshots";
    let rows: Vec<(String, String)> = stack.clickhouse.rows(sql).await;
    let count = rows.len();
    let balances: BTreeMap<_, _> = rows.into_iter().collect();
    assert_eq!(balances.len(), count, "each is there once");
    balances
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_balance_is_that_of_the_latest_snapshot_however_they_arrive() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[setting!(batch.max_rows = "1")]).await;
    let huge = u128::MAX.to_string() + &u128::MAX.to_string()[..20];
    let snapshots = [
        (
            10,
            r#"{"chain": "base", "balances": {"ETH": "1.5", "USDC": "10"}}"#.to_owned(),
        ),
        // Later, with an integer beyond 64 bits.
        (
            30,
            format!(r#"{{"chain": "base", "balances": {{"ETH": {huge}, "DAI" : 7}}}}"#),
        ),
        // Late: older than the one before.
        (
            20,
            r#"{"chain": "base", "balances": {"ETH": "2.5", "USDC": "20"}}"#.to_owned(),
        ),
        (
            20,
            r#"{"chain": "ethereum", "balances": {"ETH": "0.000000000000000001"}}"#.to_owned(),
        ),
        // No amount, which the row reports; and nothing at all.
        (
            40,
            r#"{"chain": "base", "balances": {"USDC": "lots"}}"#.to_owned(),
        ),
        (50, r#"{"chain": "base", "balances": {}}"#.to_owned()),
    ];
    for (number, (at, payload)) in (0..).zip(&snapshots) {
        publish(&stack, number, "wallet_snapshot", *at, payload).await;
    }
    stack.settled().await;
    let expected: BTreeMap<String, String> = [
        ("base DAI", "7"),
        ("base ETH", huge.as_str()),
        ("base USDC", "20"),
        ("ethereum ETH", "0.000000000000000001"),
    ]
    .map(|(token, balance)| (token.to_owned(), balance.to_owned()))
    .into();
    assert_eq!(balances(&stack).await, expected);

    // Repeated, in another order: the same signals published once more.
    for (number, (at, payload)) in (100..).zip(snapshots.iter().rev()) {
        publish(&stack, number, "wallet_snapshot", *at, payload).await;
    }
    stack.settled().await;
    assert_eq!(balances(&stack).await, expected);
    // Of the same moment, the one that was published last.
    let payload = r#"{"chain": "base", "balances": {"ETH": "3"}}"#;
    publish(&stack, 200, "wallet_snapshot", 30, payload).await;
    stack.settled().await;
    assert_eq!(balances(&stack).await["base ETH"], "3");
    let sum = "SELECT assumeNotNull(toString(sum(balance_decimal))) FROM wallet_snapshots WHERE token = 'ETH'";
    let sum: Vec<String> = stack.clickhouse.rows(sum).await;
    assert_eq!(sum, ["3.000000000000000001"]);
    assert!(daemon.stop().await.success());
}

#[derive(Debug, PartialEq, Row, Deserialize)]
struct Transaction {
    hash: String,
    from_address: String,
    amount: String,
    units: String,
    block: Option<u64>,
    fee: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_are_exact_whatever_their_size_and_form() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    // 2^256 - 1.
    let max = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    let odd = r#""memo": "x\": 123456789012345678901, \\", "list": [123456789012345678901,123456789012345678902]"#;
    let start = format!(r#""chain": "ethereum", "from": "{WALLET}""#);
    for (number, payload) in [
        (
            1,
            format!(r#"{{{start}, "hash": "{HASH}", "amount": {max}, "fee": 84, "block": 7}}"#),
        ),
        (
            2,
            format!(r#"{{{start}, "hash": "{HASH}", "amount": "{max}", {odd}}}"#),
        ),
        (
            3,
            format!(r#"{{{start}, "transaction_hash":"{HASH}","value":18446744073709551616}}"#),
        ),
        (
            4,
            format!(
                r#"{{{start}, {odd}, "hash": "{HASH}", "amount": "1.5", "fee": "21000000000000000000"}}"#
            ),
        ),
    ] {
        publish(&stack, number, "transaction", number, &payload).await;
    }
    let score =
        r#"{"rule": "r", "score": 0.25, "reasons": ["a", "b"], "n": 123456789012345678901}"#;
    publish(&stack, 5, "risk_event", 5, score).await;
    stack.settled().await;
    let sql = "SELECT hash, from_address, amount, ifNull(toString(amount_units), 'none') AS units, \
               block, ifNull(toString(fee), 'none') AS fee FROM transactions ORDER BY event_time";
    let rows: Vec<Transaction> = stack.clickhouse.rows(sql).await;
    let row = |amount: &str, units: &str, block, fee: &str| Transaction {
        hash: HASH.to_owned(),
        from_address: WALLET.to_owned(),
        amount: amount.to_owned(),
        units: units.to_owned(),
        block,
        fee: fee.to_owned(),
    };
    let expected = [
        row(max, max, Some(7), "84"),
        row(max, max, None, "none"),
        row("18446744073709551616", "18446744073709551616", None, "none"),
        row("1.5", "none", None, "21000000000000000000"),
    ];
    assert_eq!(rows, expected);
    let sql = "SELECT toJSONString((rule, score, reasons)) FROM risk_events";
    let rows: Vec<String> = stack.clickhouse.rows(sql).await;
    assert_eq!(rows, [r#"["r",0.25,["a","b"]]"#]);
    let faults = "SELECT count() FROM raw_signals WHERE payload_faults != ''";
    assert_eq!(stack.clickhouse.number(faults).await, 0);
    assert!(daemon.stop().await.success());
}

/// Another table's views have its name before theirs.
#[tokio::test(flavor = "multi_thread")]
async fn each_table_has_views_of_its_own() {
    let stack = Stack::start().await;
    let other = [setting!(clickhouse.table = "staging")];
    for run in [
        stack.risksignal(&["migrate"]).await,
        stack.risksignal_with(&["migrate"], &other).await,
    ] {
        assert!(run.status.success(), "{run:?}");
    }
    let sql = "SELECT name FROM system.tables WHERE database = 'risksignal' AND engine = 'View' ORDER BY name";
    let names: Vec<String> = stack.clickhouse.rows(sql).await;
    let kinds = ["risk_events", "transactions", "wallet_snapshots"];
    let staging = kinds.map(|kind| format!("staging_{kind}"));
    let mut expected: Vec<String> = kinds
        .map(str::to_owned)
        .into_iter()
        .chain(staging)
        .collect();
    expected.sort();
    assert_eq!(names, expected);
}
