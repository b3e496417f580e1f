//! Tables whose engine loses or repeats rows.

use risksignal::command::log_lines::CLICKHOUSE_WRONG;
use risksignal::pipeline::log_lines::INSERT_REFUSED;
use testkit::ops::{ANY_PORT, Ops};
use testkit::{Stack, eventually, setting};

/// Object in the table's place, and the words on it.
const UNFIT: [(&str, &str, &[&str]); 9] = [
    (
        "null",
        "CREATE TABLE raw_signals AS kept ENGINE = Null",
        &["its engine is Null", "ENGINE = MergeTree"],
    ),
    (
        "memory",
        "CREATE TABLE raw_signals AS kept ENGINE = Memory",
        &["its engine is Memory"],
    ),
    (
        "buffer",
        "CREATE TABLE raw_signals AS kept ENGINE = Buffer(risksignal, kept, 1, 10, 100, 100, 1000, 10000, 100000)",
        &["its engine is Buffer", "clickhouse.table"],
    ),
    (
        "view",
        "CREATE VIEW raw_signals AS SELECT * FROM kept",
        &["its engine is View"],
    ),
    (
        "materialized view",
        "CREATE MATERIALIZED VIEW raw_signals TO kept AS SELECT * FROM kept",
        &["its engine is MaterializedView"],
    ),
    (
        "replacing",
        "CREATE TABLE raw_signals AS kept ENGINE = ReplacingMergeTree ORDER BY wallet_address SETTINGS non_replicated_deduplication_window = 1000",
        &["its engine is ReplacingMergeTree", "merges"],
    ),
    (
        "summing",
        "CREATE TABLE raw_signals AS kept ENGINE = SummingMergeTree ORDER BY wallet_address SETTINGS non_replicated_deduplication_window = 1000",
        &["its engine is SummingMergeTree", "merges"],
    ),
    (
        "no window",
        "CREATE TABLE raw_signals AS kept ENGINE = MergeTree ORDER BY wallet_address",
        &[
            "non_replicated_deduplication_window is 0",
            "ALTER TABLE risksignal.raw_signals MODIFY SETTING non_replicated_deduplication_window = ",
        ],
    ),
    (
        "window of zero",
        "CREATE TABLE raw_signals AS kept ENGINE = MergeTree ORDER BY wallet_address SETTINGS non_replicated_deduplication_window = 0",
        &["non_replicated_deduplication_window is 0"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_keep_the_promise_is_refused_by_check_and_run() {
    let stack = Stack::start().await;
    assert!(stack.risksignal(&["migrate"]).await.status.success());
    let clickhouse = &stack.clickhouse;
    clickhouse.execute("RENAME TABLE raw_signals TO kept").await;
    let quick = [setting!(clickhouse.retry_max = "500ms")];
    let mut accepted = Vec::new();
    for (name, create, words) in UNFIT {
        clickhouse.execute(create).await;
        let check = stack.risksignal(&["check"]).await;
        let output = String::from_utf8(check.stdout).unwrap();
        let schema = output.lines().find(|line| line.starts_with("schema"));
        let schema = schema.unwrap_or_default();
        let is_refused = schema.contains("WRONG") && words.iter().all(|word| schema.contains(word));
        if !is_refused || check.status.code() != Some(1) {
            accepted.push(format!("{name}: {schema}"));
        }
        clickhouse.execute("DROP TABLE raw_signals SYNC").await;
    }
    assert_eq!(accepted, [""; 0], "not refused, or not by these words");

    // The daemon waits for a table that fits.
    clickhouse.execute(UNFIT[0].1).await;
    stack.produce(&["--count=20", "--seed=1"]).await;
    let mut daemon = stack.daemon_not_waited_for(&quick);
    let refused = daemon.logged(CLICKHOUSE_WRONG).await;
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("its engine is Null"), "{error}");
    assert!(stack.nats.consumer().await.is_none(), "nothing was pulled");
    clickhouse.execute("DROP TABLE raw_signals SYNC").await;
    clickhouse.execute("RENAME TABLE kept TO raw_signals").await;
    stack_lands(&stack, 20).await;
    assert!(daemon.stop().await.success());
}

async fn stack_lands(stack: &Stack, rows: u64) {
    eventually("all have landed", async || {
        (stack.clickhouse.counts().await == (rows, rows)).then_some(())
    })
    .await;
    stack.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_loses_its_engine_under_the_daemon_takes_no_insert() {
    let stack = Stack::start().await;
    let clickhouse = &stack.clickhouse;
    let quick = [ANY_PORT, setting!(clickhouse.retry_max = "500ms")];
    let mut daemon = stack.daemon(&quick).await;
    let ops = Ops::of(&daemon).await;
    stack.produce(&["--count=20", "--seed=1"]).await;
    stack_lands(&stack, 20).await;
    clickhouse.execute("RENAME TABLE raw_signals TO kept").await;
    clickhouse
        .execute("CREATE TABLE raw_signals AS kept ENGINE = Null")
        .await;
    eventually("the daemon sees it, or is known not to look", async || {
        let ready = ops.get("/readyz").await;
        let looked = "SELECT count() FROM system.tables WHERE name = 'raw_signals' AND dateDiff('second', metadata_modification_time, now()) > 8";
        (ready.body.contains("its engine is Null") || clickhouse.number(looked).await == 1).then_some(())
    })
    .await;
    stack.produce(&["--count=20", "--seed=2"]).await;
    eventually("the insert is refused, or acked into nothing", async || {
        let refused = INSERT_REFUSED;
        let is_refused = daemon.lines().iter().any(|line| line["message"] == refused);
        let consumer = stack.nats.consumer().await?;
        (is_refused || consumer.ack_floor.stream_sequence == 40).then_some(())
    })
    .await;
    clickhouse.execute("DROP TABLE raw_signals SYNC").await;
    clickhouse.execute("RENAME TABLE kept TO raw_signals").await;
    stack.settled().await;
    assert_eq!(clickhouse.counts().await, (40, 40));
    assert!(daemon.stop().await.success());
}
