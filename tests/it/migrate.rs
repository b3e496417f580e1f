//! The schema: made, checked, and refused where it does not fit.

use crate::harness::{Stack, eventually};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_is_versioned_and_safe_to_run_again_and_at_once() {
    let stack = Stack::start().await;
    let dry = stack.risksignal(&["migrate", "--dry-run"]).await;
    assert!(dry.status.success(), "{dry:?}");
    assert!(text(&dry.stdout).contains("CREATE TABLE IF NOT EXISTS risksignal.raw_signals"));
    let tables = "SELECT count() FROM system.tables WHERE database = 'risksignal'";
    assert_eq!(
        stack.clickhouse.number(tables).await,
        0,
        "a dry run changes nothing"
    );

    let (one, two, three) = tokio::join!(
        stack.risksignal(&["migrate"]),
        stack.risksignal(&["migrate"]),
        stack.risksignal(&["migrate"]),
    );
    for run in [one, two, three] {
        assert!(run.status.success(), "{run:?}");
    }
    let versions = "SELECT DISTINCT version FROM schema_migrations ORDER BY version";
    assert_eq!(stack.clickhouse.rows::<u32>(versions).await, [1, 2, 3, 4]);
    let again = stack.risksignal(&["migrate"]).await;
    assert_eq!(
        text(&again.stdout),
        "nothing to apply: the schema is up to date\n"
    );
    let dry = stack.risksignal(&["migrate", "--dry-run"]).await;
    assert_eq!(text(&dry.stdout), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_newer_release_is_named_and_used() {
    let stack = Stack::start().await;
    stack.risksignal(&["migrate"]).await;
    for statement in [
        "ALTER TABLE raw_signals ADD COLUMN newer String",
        "INSERT INTO schema_migrations SELECT 'raw_signals', 900, 'of a newer release', now64(3)",
        // The ledger goes by number: names may differ.
        "INSERT INTO schema_migrations SELECT 'raw_signals', 1, 'another name', now64(3)",
    ] {
        stack.clickhouse.execute(statement).await;
    }
    let run = stack.risksignal(&["migrate"]).await;
    assert!(run.status.success(), "{run:?}");
    let told = text(&run.stdout);
    assert!(told.starts_with("nothing to apply"), "{told}");
    assert!(told.contains("at version 900: a newer release"), "{told}");
    let mut daemon = stack.daemon(&[]).await;
    let newer = "A newer release has migrated the table; this one goes on while the table fits";
    let warning = daemon.logged(newer).await;
    assert_eq!(warning["version"], 900);
    stack.produce(&["--count=20", "--seed=1"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (20, 20));
    let check = stack.risksignal(&["check"]).await;
    assert!(check.status.success(), "{check:?}");
    let told = text(&check.stdout);
    assert!(told.contains("at version 900: a newer release"), "{told}");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_is_a_setting_and_off_without_it() {
    let stack = Stack::start().await;
    let ttl =
        "SELECT count() FROM system.tables WHERE name = 'raw_signals' AND engine_full LIKE '%TTL%'";
    stack.risksignal(&["migrate"]).await;
    assert_eq!(stack.clickhouse.number(ttl).await, 0);
    let environment = stack.environment(&[("RISKSIGNAL__CLICKHOUSE__RETENTION", "90days")]);
    for _ in 0..2 {
        let run = crate::harness::risksignal(&["migrate"], &environment, &stack.work_dir()).await;
        assert!(run.status.success(), "{run:?}");
        assert_eq!(stack.clickhouse.number(ttl).await, 1);
    }
    let dry =
        crate::harness::risksignal(&["migrate", "--dry-run"], &environment, &stack.work_dir())
            .await;
    assert_eq!(text(&dry.stdout), "", "the TTL is recognised");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_column_is_a_clear_error_and_nothing_is_acked() {
    let stack = Stack::start().await;
    stack.risksignal(&["migrate"]).await;
    stack
        .clickhouse
        .execute("ALTER TABLE raw_signals DROP COLUMN severity")
        .await;
    let mut daemon = stack.daemon_not_waited_for(&[("RISKSIGNAL__CLICKHOUSE__RETRY_MAX", "500ms")]);
    let refused = daemon
        .logged("ClickHouse is not as it should be; no signal is pulled until it is")
        .await;
    let error = refused["error"].as_str().unwrap();
    assert!(
        error.contains("column severity UInt8 is missing"),
        "{error}"
    );
    stack.produce(&["--count=50", "--seed=1"]).await;
    daemon.assert_running();
    assert!(stack.nats.consumer().await.is_none(), "nothing was pulled");

    stack
        .clickhouse
        .execute("ALTER TABLE raw_signals ADD COLUMN severity UInt8")
        .await;
    daemon.logged("Starting signals consumer").await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (50, 50));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_lost_under_the_daemon_stops_the_pulling_and_acks_nothing() {
    let stack = Stack::start().await;
    let daemon = stack
        .daemon(&[("RISKSIGNAL__CLICKHOUSE__RETRY_MAX", "500ms")])
        .await;
    stack
        .clickhouse
        .execute("ALTER TABLE raw_signals DROP COLUMN severity")
        .await;
    stack.produce(&["--count=50", "--seed=1"]).await;
    let refused = daemon
        .logged("Insert refused; pulling stops until this is mended, nothing is acked")
        .await;
    assert!(
        refused["error"].as_str().unwrap().contains("severity"),
        "{refused}"
    );
    let consumer = stack.nats.consumer().await.unwrap();
    assert_eq!(consumer.num_pending + consumer.num_ack_pending as u64, 50);

    stack
        .clickhouse
        .execute("ALTER TABLE raw_signals ADD COLUMN severity UInt8")
        .await;
    stack.settled().await;
    eventually("all have landed", async || {
        (stack.clickhouse.counts().await == (50, 50)).then_some(())
    })
    .await;
}
