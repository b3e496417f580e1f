//! A table that becomes another one, with the rows and without the deduplication tokens.

use crate::harness::{Daemon, Stack, eventually};

/// Fences of seconds, which a settled claim waits for.
const SHORT: [(&str, &str); 6] = [
    ("RISKSIGNAL__CONSUMER__ACK_WAIT", "4s"),
    ("RISKSIGNAL__CONSUMER__MAX_DELIVER", "0"),
    ("RISKSIGNAL__CLICKHOUSE__SEND_TIMEOUT", "1s"),
    ("RISKSIGNAL__CLICKHOUSE__END_TIMEOUT", "2s"),
    ("RISKSIGNAL__CLICKHOUSE__FENCE", "15s"),
    ("RISKSIGNAL__CLICKHOUSE__LATE_COMMIT", "2s"),
];

/// Rows whose claim is open, since the process was killed before it said so in the log.
async fn rows_without_an_answer(stack: &Stack) {
    let arguments = ["run", "--fault-point", "insert-answered"];
    let mut doomed = Daemon::spawn(&arguments, &stack.environment(&SHORT), &stack.work_dir());
    doomed.logged("Starting signals consumer").await;
    stack.produce(&["--count=10", "--seed=1"]).await;
    assert!(doomed.ended().await.code().is_none());
    eventually("the rows have landed", async || {
        (stack.clickhouse.counts().await.0 > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_rows_are_in_a_copy_of_the_table_is_settled() {
    for replace in [
        &[
            "CREATE TABLE copy AS raw_signals",
            "INSERT INTO copy SELECT * FROM raw_signals",
            "EXCHANGE TABLES raw_signals AND copy",
        ][..],
        &[
            "RENAME TABLE raw_signals TO before",
            "CREATE TABLE raw_signals AS before",
            "ALTER TABLE raw_signals ATTACH PARTITION ALL FROM before",
        ],
    ] {
        let stack = Stack::start().await;
        rows_without_an_answer(&stack).await;
        for statement in replace {
            stack.clickhouse.execute(statement).await;
        }
        let daemon = stack.daemon(&SHORT).await;
        stack.settled().await;
        assert_eq!(stack.clickhouse.counts().await, (10, 10), "{replace:?}");
        daemon
            .logged("The table is another one than at the first try; its claim is settled")
            .await;
        // What comes next lands as ever.
        stack.produce(&["--count=20", "--seed=2"]).await;
        stack.settled().await;
        assert_eq!(stack.clickhouse.counts().await, (30, 30));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_rows_stay_behind_in_the_old_table_lands_in_the_new_one() {
    let stack = Stack::start().await;
    rows_without_an_answer(&stack).await;
    for statement in [
        "CREATE TABLE empty AS raw_signals",
        "EXCHANGE TABLES raw_signals AND empty",
    ] {
        stack.clickhouse.execute(statement).await;
    }
    let _daemon = stack.daemon(&SHORT).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_goes_on_in_a_table_that_is_exchanged_under_it() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&SHORT).await;
    stack.produce(&["--count=100", "--seed=1"]).await;
    stack.settled().await;
    for statement in [
        "CREATE TABLE copy AS raw_signals",
        "INSERT INTO copy SELECT * FROM raw_signals",
        "EXCHANGE TABLES raw_signals AND copy",
    ] {
        stack.clickhouse.execute(statement).await;
    }
    stack.produce(&["--count=100", "--seed=2"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (200, 200));
    assert!(daemon.stop().await.success());
}
