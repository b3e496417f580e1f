//! The schema: made, checked, and refused where it does not fit.

use risksignal::command::log_lines::{CLICKHOUSE_WRONG, NEWER_TABLE, STARTING};
use risksignal::pipeline::log_lines::INSERT_REFUSED;
use store::log_lines::MERGES_NARROW;
use testkit::ops::{ANY_PORT, Ops};
use testkit::users::{User, login, stack_with};
use testkit::{Stack, eventually, setting};

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
    assert_eq!(
        stack.clickhouse.rows::<u32>(versions).await,
        [1, 2, 3, 4, 5, 6]
    );
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
    let output = text(&run.stdout);
    assert!(output.starts_with("nothing to apply"), "{output}");
    assert!(
        output.contains("at version 900: a newer release"),
        "{output}"
    );
    let mut daemon = stack.daemon(&[]).await;
    let newer = NEWER_TABLE;
    let warning = daemon.logged(newer).await;
    assert_eq!(warning["version"], 900);
    stack.produce(&["--count=20", "--seed=1"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (20, 20));
    let check = stack.risksignal(&["check"]).await;
    assert!(check.status.success(), "{check:?}");
    let output = text(&check.stdout);
    assert!(
        output.contains("at version 900: a newer release"),
        "{output}"
    );
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_is_a_setting_and_off_without_it() {
    let stack = Stack::start().await;
    let ttl =
        "SELECT count() FROM system.tables WHERE name = 'raw_signals' AND engine_full LIKE '%TTL%'";
    stack.risksignal(&["migrate"]).await;
    assert_eq!(stack.clickhouse.number(ttl).await, 0);
    let environment = stack.environment(&[setting!(clickhouse.retention = "90days")]);
    for _ in 0..2 {
        let run = testkit::risksignal(&["migrate"], &environment, &stack.work_dir()).await;
        assert!(run.status.success(), "{run:?}");
        assert_eq!(stack.clickhouse.number(ttl).await, 1);
    }
    let dry = testkit::risksignal(&["migrate", "--dry-run"], &environment, &stack.work_dir()).await;
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
    let mut daemon = stack.daemon_not_waited_for(&[setting!(clickhouse.retry_max = "500ms")]);
    let refused = daemon.logged(CLICKHOUSE_WRONG).await;
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
    daemon.logged(STARTING).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (50, 50));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_lost_under_the_daemon_stops_the_pulling_and_acks_nothing() {
    let stack = Stack::start().await;
    let daemon = stack
        .daemon(&[setting!(clickhouse.retry_max = "500ms")])
        .await;
    stack
        .clickhouse
        .execute("ALTER TABLE raw_signals DROP COLUMN severity")
        .await;
    stack.produce(&["--count=50", "--seed=1"]).await;
    let refused = daemon.logged(INSERT_REFUSED).await;
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

/// The statements that `migrate --dry-run` prints.
async fn pending(stack: &Stack) -> Vec<String> {
    let dry = stack.risksignal(&["migrate", "--dry-run"]).await;
    let statements = text(&dry.stdout).split(";\n\n");
    let statements = statements.map(|one| one.trim().to_owned());
    statements.filter(|one| !one.is_empty()).collect()
}

/// A table of the release before the claims log, and the statements that are new since then.
async fn table_of_before(stack: &Stack) -> Vec<String> {
    let all = pending(stack).await;
    let first = all
        .iter()
        .position(|one| one.contains("ADD COLUMN IF NOT EXISTS claim"));
    let (before, new) = all.split_at(first.unwrap());
    for statement in before {
        stack.clickhouse.execute(statement).await;
    }
    for version in 1..=4 {
        let record =
            format!("INSERT INTO schema_migrations SELECT 'raw_signals', {version}, '', now64(3)");
        stack.clickhouse.execute(&record).await;
    }
    new.to_vec()
}

/// An insert as the release before has it; ClickHouse's words where it is refused.
async fn insert_of_before(stack: &Stack, seq: u64) -> Result<(), String> {
    let sql = format!(
        "INSERT INTO raw_signals (stream_seq, insert_before) SELECT {seq}, toDateTime(now() + 60, 'UTC')"
    );
    let inserted = stack.clickhouse.client().query_raw(&sql).execute().await;
    inserted.map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_of_the_claims_migration_lets_an_older_daemon_insert() {
    let stack = Stack::start().await;
    let new = table_of_before(&stack).await;
    assert_eq!(insert_of_before(&stack, 1).await, Ok(()));
    let mut accepted = Vec::new();
    for (count, statement) in (1..).zip(&new) {
        stack.clickhouse.execute(statement).await;
        match insert_of_before(&stack, 1 + count).await {
            Ok(()) => accepted.push(statement),
            // The code at which such a daemon halts.
            Err(output) => assert!(
                output.contains("Code: 16") && output.contains("insert_before"),
                "{output}"
            ),
        }
        // A killed process may have run half of the statements.
        for again in &new[..usize::try_from(count).unwrap()] {
            stack.clickhouse.execute(again).await;
        }
    }
    assert_eq!(
        accepted, [""; 0],
        "after these an old insert is not refused"
    );
    assert!(stack.risksignal(&["migrate"]).await.status.success());
    let check = stack.risksignal(&["check"]).await;
    let output = text(&check.stdout);
    assert!(
        output.contains("keeps 100000 deduplication tokens, at version 6"),
        "{output}"
    );
    assert_eq!(pending(&stack).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_was_cut_anywhere_is_completed() {
    let stack = Stack::start().await;
    let new = table_of_before(&stack).await;
    stack
        .clickhouse
        .execute("RENAME TABLE raw_signals TO kept")
        .await;
    for done in 0..new.len() {
        stack
            .clickhouse
            .execute("CREATE TABLE raw_signals AS kept")
            .await;
        stack.clickhouse.execute("ALTER TABLE schema_migrations DELETE WHERE version = 5 SETTINGS mutations_sync = 2").await;
        for statement in &new[..done] {
            stack.clickhouse.execute(statement).await;
        }
        assert!(
            stack.risksignal(&["migrate"]).await.status.success(),
            "{done}"
        );
        let output = insert_of_before(&stack, 1).await.unwrap_err();
        assert!(output.contains("Code: 16"), "{output}");
        stack
            .clickhouse
            .execute("DROP TABLE raw_signals SYNC")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_are_wide_unless_the_operator_sets_their_width() {
    let width = "SELECT toUInt64(extract(engine_full, ' merge_selector_base = ([0-9]+)')) FROM system.tables WHERE name = 'raw_signals'";
    let stack = Stack::start().await;
    let dry = stack.risksignal(&["migrate", "--dry-run"]).await;
    assert!(text(&dry.stdout).contains("MODIFY SETTING merge_selector_base = 24"));
    stack.risksignal(&["migrate"]).await;
    assert_eq!(stack.clickhouse.number(width).await, 24);
    let dry = stack.risksignal(&["migrate", "--dry-run"]).await;
    assert_eq!(text(&dry.stdout), "");

    let set = "ALTER TABLE raw_signals MODIFY SETTING merge_selector_base = 5";
    stack.clickhouse.execute(set).await;
    stack.risksignal(&["migrate"]).await;
    assert_eq!(stack.clickhouse.number(width).await, 5);

    // A changed setting is named.
    let reset = "ALTER TABLE raw_signals RESET SETTING merge_selector_base";
    stack.clickhouse.execute(reset).await;
    let run = stack.risksignal(&["migrate"]).await;
    assert_eq!(
        text(&run.stdout),
        "set the width of merges: ALTER TABLE risksignal.raw_signals MODIFY SETTING merge_selector_base = 24\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_widen_merges_works_without() {
    let narrow = User {
        name: "narrow",
        grants: &["GRANT SELECT, SHOW, INSERT, CREATE ON *.*"],
        ..User::default()
    };
    let stack = stack_with(&[narrow]).await;
    stack.risksignal(&["migrate"]).await;
    let reset = "ALTER TABLE raw_signals RESET SETTING merge_selector_base";
    stack.clickhouse.execute(reset).await;
    let run = stack.risksignal_with(&["migrate"], &login("narrow")).await;
    assert!(run.status.success(), "{run:?}");
    assert!(text(&run.stderr).contains(MERGES_NARROW), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_window_is_kept_and_a_smaller_one_is_named_and_raised() {
    let window = "SELECT toUInt64(extract(engine_full, ' non_replicated_deduplication_window = ([0-9]+)')) FROM system.tables WHERE name = 'raw_signals'";
    let set = |places: u32| {
        format!(
            "ALTER TABLE raw_signals MODIFY SETTING non_replicated_deduplication_window = {places}"
        )
    };
    let stack = Stack::start().await;
    stack.risksignal(&["migrate"]).await;
    assert_eq!(stack.clickhouse.number(window).await, 100_000);
    stack.clickhouse.execute(&set(300_000)).await;
    stack.risksignal(&["migrate"]).await;
    assert_eq!(stack.clickhouse.number(window).await, 300_000);

    // Twice 250 inserts a second for 151 seconds.
    stack.clickhouse.execute(&set(75_499)).await;
    let check = stack.risksignal(&["check"]).await;
    let output = text(&check.stdout);
    let words =
        "its setting non_replicated_deduplication_window is 75499, but the daemon relies on 75500";
    assert!(output.contains(words), "{output}");
    assert!(output.contains("(ALTER TABLE risksignal.raw_signals MODIFY SETTING non_replicated_deduplication_window = 100000)"), "{output}");
    let environment = [
        ANY_PORT,
        setting!(clickhouse.migrate = "false"),
        setting!(clickhouse.retry_max = "500ms"),
    ];
    let mut daemon = stack.daemon_not_waited_for(&environment);
    let refused = daemon.logged(CLICKHOUSE_WRONG).await;
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains(words), "{error}");
    stack.clickhouse.execute(&set(200_000)).await;
    daemon.logged(STARTING).await;

    // The daemon counts on what it found.
    let ops = Ops::of(&daemon).await;
    stack.clickhouse.execute(&set(150_000)).await;
    let fewer = "is 150000, but the daemon relies on 200000";
    eventually("the daemon sees it", async || {
        let ready = ops.get("/readyz").await;
        ready.body.contains(fewer).then_some(())
    })
    .await;
    stack.produce(&["--count=20", "--seed=1"]).await;
    let refused = daemon.logged(INSERT_REFUSED).await;
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains(fewer), "{error}");
    daemon.kill();
    let _next = stack.daemon(&environment).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (20, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_of_claims_logs_that_was_dropped_is_created_again() {
    let stack = Stack::start().await;
    assert!(stack.risksignal(&["migrate"]).await.status.success());
    let drop = "DROP TABLE raw_signals_claims_logs SYNC";
    stack.clickhouse.execute(drop).await;
    let migrated = stack.risksignal(&["migrate"]).await;
    assert!(migrated.status.success(), "{migrated:?}");
    let rows = "SELECT count() FROM raw_signals_claims_logs";
    assert_eq!(stack.clickhouse.number(rows).await, 0);
    let again = stack.risksignal(&["migrate", "--dry-run"]).await;
    assert!(!String::from_utf8_lossy(&again.stdout).contains("claims_logs"));
}
