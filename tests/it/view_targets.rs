//! Materialized views that an operator hangs on the table.

use risksignal::command::log_lines::VIEW_REPEATS;
use testkit::meddler::{Meddler, Meddling};
use testkit::users::{User, login, stack_with};
use testkit::{Stack, setting};

async fn check(stack: &Stack, more: &[(&str, &str)]) -> (Option<i32>, String) {
    let check = stack.risksignal_with(&["check"], more).await;
    (
        check.status.code(),
        String::from_utf8(check.stdout).unwrap(),
    )
}

async fn hang(stack: &Stack, view: &str, window: u32) {
    let target = format!(
        "CREATE TABLE of_{view} (stream_seq UInt64) ENGINE = MergeTree ORDER BY stream_seq \
         SETTINGS non_replicated_deduplication_window = {window}"
    );
    stack.clickhouse.execute(&target).await;
    let view = format!(
        "CREATE MATERIALIZED VIEW {view} TO of_{view} AS SELECT stream_seq FROM raw_signals"
    );
    stack.clickhouse.execute(&view).await;
}

async fn rows(stack: &Stack, table: &str) -> u64 {
    let sql = format!("SELECT count() FROM {table}");
    stack.clickhouse.number(&sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_repeats_rows_only_in_the_views_that_are_named() {
    let profile = "<deduplicate_blocks_in_dependent_materialized_views>0</deduplicate_blocks_in_dependent_materialized_views>";
    let users = [User {
        name: "apart",
        profile,
        ..User::default()
    }];
    let stack = stack_with(&users).await;
    assert!(stack.risksignal(&["migrate"]).await.status.success());
    hang(&stack, "exact", 1000).await;
    hang(&stack, "repeats", 0).await;
    // Behind a view that keeps tokens, one that does not.
    stack
        .clickhouse
        .execute("CREATE MATERIALIZED VIEW behind ENGINE = MergeTree ORDER BY stream_seq AS SELECT stream_seq FROM of_exact")
        .await;
    let proxy = Meddler::before(stack.clickhouse.port(), Meddling::RepeatInserts).await;
    let url = proxy.url();
    let settings = [
        login("apart").as_slice(),
        &[setting!(clickhouse.url = &url)],
    ]
    .concat();
    let mut daemon = stack.daemon(&settings).await;
    stack.produce(&["--count=20", "--seed=1"]).await;
    stack.settled().await;
    // It stops once the second of each insert is answered; the rows are there after the first.
    daemon.logged(VIEW_REPEATS).await;
    assert!(daemon.stop().await.success());
    assert_eq!(stack.clickhouse.counts().await, (20, 20));
    let found = [
        rows(&stack, "of_exact").await,
        rows(&stack, "of_repeats").await,
        rows(&stack, "behind").await,
    ];
    assert_eq!(found, [20, 40, 40]);

    let (status, output) = check(&stack, &settings).await;
    assert_eq!(status, Some(0), "a warning is no fault: {output}");
    let lines: Vec<&str> = output
        .lines()
        .filter(|line| line.starts_with("views"))
        .collect();
    assert_eq!(lines.len(), 2, "{output}");
    for (view, target) in [
        ("risksignal.repeats", "risksignal.of_repeats"),
        ("risksignal.behind", "MODIFY SETTING"),
    ] {
        let line = lines.iter().find(|line| line.contains(view)).unwrap();
        for word in ["WARN", target, "non_replicated_deduplication_window"] {
            assert!(line.contains(word), "{word} in {line}");
        }
    }
    let warned = daemon
        .lines()
        .into_iter()
        .filter(|line| line["message"] == VIEW_REPEATS);
    assert_eq!(warned.count(), 2);

    // Mended as it says.
    stack
        .clickhouse
        .execute("ALTER TABLE of_repeats MODIFY SETTING non_replicated_deduplication_window = 1000")
        .await;
    stack.clickhouse.execute("DROP VIEW behind SYNC").await;
    let (_, output) = check(&stack, &settings).await;
    assert!(
        !output.lines().any(|line| line.starts_with("views")),
        "{output}"
    );
    let mut daemon = stack.daemon(&settings).await;
    stack.produce(&["--count=20", "--seed=2"]).await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    assert_eq!(rows(&stack, "of_repeats").await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_cannot_be_seen_is_named_with_what_is_missing() {
    let users = [User {
        name: "least",
        grants: &[
            "GRANT INSERT ON risksignal.raw_signals",
            "GRANT SELECT(stream_created_at, stream_seq) ON risksignal.raw_signals",
            "GRANT SELECT ON risksignal.schema_migrations",
            "GRANT SELECT, INSERT ON risksignal.raw_signals_claims_logs",
        ],
        ..User::default()
    }];
    let stack = stack_with(&users).await;
    assert!(stack.risksignal(&["migrate"]).await.status.success());
    hang(&stack, "hidden", 1000).await;
    let (_, output) = check(&stack, &login("least")).await;
    for word in [
        "WARN",
        "risksignal.hidden",
        "GRANT SHOW TABLES ON risksignal.* TO least",
    ] {
        assert!(output.contains(word), "{word} in {output}");
    }
}
