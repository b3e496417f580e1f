//! Costs of migrations on a table with rows.

use serde_json::Value;
use testkit::{Stack, setting};

const ROWS: u64 = 10_000;
const MUTATIONS: &str = "SELECT count() FROM system.mutations WHERE table = 'raw_signals'";

async fn pending(stack: &Stack, settings: &[(&str, &str)]) -> Value {
    let run = stack
        .risksignal_with(&["migrate", "--dry-run", "--json"], settings)
        .await;
    assert!(run.status.success(), "{run:?}");
    serde_json::from_slice(&run.stdout).unwrap()
}

fn statements(step: &Value) -> impl Iterator<Item = &Value> {
    step["statements"].as_array().unwrap().iter()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_statement_costs_what_the_dry_run_says() {
    let stack = Stack::start().await;
    let new = pending(&stack, &[]).await;
    assert_eq!((&new["rows"], &new["bytes"]), (&0.into(), &0.into()));
    // The ledger and the first migration, as the first release made them; then rows.
    for step in &new["steps"].as_array().unwrap()[..2] {
        for statement in statements(step) {
            stack
                .clickhouse
                .execute(statement["sql"].as_str().unwrap())
                .await;
        }
    }
    for statement in [
        "INSERT INTO schema_migrations SELECT 'raw_signals', 1, '', now64(3)",
        &format!(
            "INSERT INTO raw_signals (stream_seq, published_at) SELECT number, now64(3) FROM numbers({ROWS})"
        ),
    ] {
        stack.clickhouse.execute(statement).await;
    }
    let bytes =
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'raw_signals'";
    let bytes = stack.clickhouse.number(bytes).await;
    let retention = [setting!(clickhouse.retention = "90days")];
    let old = pending(&stack, &retention).await;
    assert_eq!((&old["rows"], &old["bytes"]), (&ROWS.into(), &bytes.into()));
    assert!(old["disk_bytes_free"].as_u64().unwrap() > bytes);

    let text = stack
        .risksignal_with(&["migrate", "--dry-run"], &retention)
        .await;
    let text = String::from_utf8(text.stdout).unwrap();
    for words in [
        "-- risksignal.raw_signals has 10,000 rows in 1 parts, ",
        "-- migration 2: reject late inserts\n-- ingest continues\n-- metadata only: rewrites no row, needs no disk space\nALTER TABLE ",
        "-- migration 5: store claims\n-- ingest continues, but ClickHouse refuses the inserts of daemons of older releases",
        "-- set the retention\n-- ingest continues\n-- a mutation that rewrites 10,000 rows, ",
    ] {
        assert!(text.contains(words), "{words} in: {text}");
    }

    let mut effects = Vec::new();
    for step in old["steps"].as_array().unwrap() {
        for statement in statements(step) {
            let before = stack.clickhouse.number(MUTATIONS).await;
            let sql = statement["sql"].as_str().unwrap();
            stack.clickhouse.execute(sql).await;
            let mutations = stack.clickhouse.number(MUTATIONS).await - before;
            let effect = statement["effect"].as_str().unwrap();
            eprintln!(
                "{mutations} mutations ({effect}): {}",
                sql.lines().next().unwrap()
            );
            assert_eq!(mutations > 0, effect != "metadata", "{sql}");
            let rewritten = if effect == "rewrite" {
                (ROWS, bytes)
            } else {
                (0, 0)
            };
            for (name, expected) in [
                ("rows_rewritten", rewritten.0),
                ("bytes_rewritten", rewritten.1),
                ("disk_bytes_needed", rewritten.1),
            ] {
                assert_eq!(statement[name], expected, "{name}: {sql}");
            }
            effects.push(effect);
        }
    }
    for effect in ["metadata", "relink", "rewrite"] {
        assert!(effects.contains(&effect), "{effect}: {effects:?}");
    }
}
