//! A table that becomes another one, with the rows and without the deduplication tokens; and a
//! table of the same name in another ClickHouse.

use risksignal::command::log_lines::{CLAIMS_LOG_NOT_READY, STARTING};
use risksignal::pipeline::log_lines::OTHER_TABLE;
use testkit::clickhouse::ClickHouse;
use testkit::{Daemon, Stack, eventually, setting};

/// Fences of seconds, which a settled claim waits for.
const SHORT: [(&str, &str); 6] = [
    setting!(consumer.ack_wait = "4s"),
    setting!(consumer.max_deliver = "0"),
    setting!(clickhouse.send_timeout = "1s"),
    setting!(clickhouse.end_timeout = "2s"),
    setting!(clickhouse.fence = "15s"),
    setting!(clickhouse.late_commit = "2s"),
];

/// Rows whose claim is open, since the process was killed before it said so in the log.
async fn rows_without_an_answer(stack: &Stack) {
    let arguments = ["run", "--fault-point", "insert-answered"];
    let mut doomed = Daemon::spawn(&arguments, &stack.environment(&SHORT), &stack.work_dir());
    doomed.logged(STARTING).await;
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
        daemon.logged(OTHER_TABLE).await;
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

/// Each would get a part of the signals, if both had one claims log.
#[tokio::test(flavor = "multi_thread")]
async fn tables_of_one_name_in_two_clickhouses_never_share_a_claims_log() {
    let stack = Stack::start().await;
    let other = ClickHouse::spawn(stack.work_dir().join("other"), &[]);
    other.ready().await;
    let url = other.url();
    let mut first = stack.daemon(&SHORT).await;
    let second = [
        setting!(consumer.name = "second"),
        setting!(clickhouse.url = url.as_str()),
    ];
    let refused = stack.daemon_not_waited_for(&[SHORT.as_slice(), &second].concat());
    let line = refused.logged(CLAIMS_LOG_NOT_READY).await;
    let error = line["error"].as_str().unwrap();
    for words in ["belongs to another ClickHouse", "clickhouse.table"] {
        assert!(error.contains(words), "{words}: {error}");
    }
    // `check` says it, too, and not of the log's own ClickHouse.
    for (more, is_named) in [(second.as_slice(), true), (&[], false)] {
        let checked = stack.risksignal_with(&["check"], more).await.stdout;
        let checked = String::from_utf8(checked).unwrap();
        let words = "belongs to another ClickHouse";
        assert_eq!(checked.contains(words), is_named, "{checked}");
    }
    let renamed = [setting!(clickhouse.table = "copies")];
    let _second = stack
        .daemon(&[SHORT.as_slice(), &second, &renamed].concat())
        .await;
    stack.produce(&["--count=100", "--seed=1"]).await;
    stack.settled().await;
    stack.settled_by("second").await;
    assert_eq!(other.number("SELECT count() FROM copies").await, 100);
    assert_eq!(stack.clickhouse.counts().await, (100, 100));
    // The next start knows its own.
    assert!(first.stop().await.success());
    let _first = stack.daemon(&SHORT).await;
    stack.produce(&["--count=100", "--seed=2"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (200, 200));
}
