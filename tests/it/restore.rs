//! Backups of the stream, the claims log and the table that are restored to an earlier moment: each
//! alone, two, and all. And a claims log that is removed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use risksignal::claiming::log_lines::{LOG_GONE, OTHER_LOG};
use risksignal::pipeline::log_lines::STREAM_WENT_BACK;
use tempfile::TempDir;
use testkit::nats::{CLAIMS, CONSUMER, STREAM};
use testkit::slow_link::SlowLink;
use testkit::{Daemon, Stack, eventually, setting};
use tokio::time::sleep;

/// Short waits, and a log line for everything.
pub const SHORT: [(&str, &str); 8] = [
    setting!(log.lines_per_second = "1000000"),
    setting!(consumer.ack_wait = "4s"),
    setting!(consumer.max_deliver = "0"),
    setting!(clickhouse.send_timeout = "1s"),
    setting!(clickhouse.end_timeout = "2s"),
    setting!(clickhouse.fence = "3s"),
    setting!(clickhouse.late_commit = "1s"),
    setting!(batch.max_wait = "100ms"),
];

/// Part that is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Stream,
    Log,
    Table,
}

impl Part {
    fn folder(self, stack: &Stack) -> PathBuf {
        match self {
            Self::Stream => stack.nats.streams().join(STREAM),
            Self::Log => stack.nats.streams().join(CLAIMS),
            Self::Table => stack.clickhouse.data().to_owned(),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

fn stop_servers(stack: &Stack) {
    stack.nats.kill();
    stack.clickhouse.kill();
}

async fn start_servers(stack: &Stack) {
    stack.clickhouse.restart().await;
    stack.nats.restart().await;
}

/// Copies the stores of parts, while the servers are down.
async fn backed_up(stack: &Stack, parts: &[Part]) -> TempDir {
    let backup = tempfile::tempdir().unwrap();
    stop_servers(stack);
    for part in parts {
        copy(
            &part.folder(stack),
            &backup.path().join(format!("{part:?}")),
        );
    }
    start_servers(stack).await;
    backup
}

/// Puts the copies back.
async fn restored(stack: &Stack, parts: &[Part], backup: &TempDir) {
    stop_servers(stack);
    for part in parts {
        let folder = part.folder(stack);
        std::fs::remove_dir_all(&folder).unwrap();
        copy(&backup.path().join(format!("{part:?}")), &folder);
    }
    start_servers(stack).await;
}

/// A daemon lands 10 signals and is stopped, a copy is made; 5 more land, the copy is put back, 5
/// others are published and a daemon is started. Returns it once all is settled, with its servers.
async fn after_a_restore(parts: &[Part]) -> (Stack, Daemon) {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&SHORT).await;
    stack.produce(&["--count=10", "--seed=1"]).await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    let backup = backed_up(&stack, parts).await;
    let mut daemon = stack.daemon(&SHORT).await;
    stack.produce(&["--count=5", "--seed=2"]).await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    restored(&stack, parts, &backup).await;
    stack.produce(&["--count=5", "--seed=3"]).await;
    let daemon = stack.daemon(&SHORT).await;
    stack.settled().await;
    (stack, daemon)
}

/// Waits until the table has so many rows, all of different signals.
async fn rows(stack: &Stack, count: u64) {
    let sql = "SELECT [count(), uniqExact(trace_id)] FROM raw_signals";
    eventually("the rows are there", async || {
        let counts: Vec<Vec<u64>> = stack.clickhouse.rows(sql).await;
        let counts = counts.concat();
        assert!(counts[0] <= count, "{counts:?} of {count}");
        (counts == [count, count]).then_some(())
    })
    .await;
}

fn has_logged(daemon: &Daemon, message: &str) -> bool {
    daemon.lines().iter().any(|line| line["message"] == message)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_to_a_restored_stream_lands() {
    let (stack, daemon) = after_a_restore(&[Part::Stream]).await;
    assert_eq!(daemon.logged(STREAM_WENT_BACK).await["to"], 10);
    assert!(!has_logged(&daemon, OTHER_LOG));
    rows(&stack, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_claims_log_is_rebuilt_out_of_the_table() {
    let (stack, daemon) = after_a_restore(&[Part::Log]).await;
    daemon.logged(OTHER_LOG).await;
    assert!(!has_logged(&daemon, STREAM_WENT_BACK));
    rows(&stack, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_table_gets_its_rows_back_by_reingest() {
    let (stack, daemon) = after_a_restore(&[Part::Table]).await;
    // Nothing shows it: the table's UUID is the same, and its claims are all known.
    rows(&stack, 15).await;
    assert!(!has_logged(&daemon, OTHER_LOG));
    let asks = stack.risksignal_with(&["reingest", "--from=1"], &SHORT);
    let asked = asks.await;
    assert!(String::from_utf8_lossy(&asked.stderr).contains("give --yes"));
    let arguments = ["reingest", "--from=1", "--to=15", "--yes"];
    let done = stack.risksignal_with(&arguments, &SHORT).await;
    assert!(done.status.success(), "{done:?}");
    rows(&stack, 20).await;
    eprintln!("{}", String::from_utf8_lossy(&done.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_and_a_log_that_are_restored_repeat_nothing_and_lose_nothing() {
    let (stack, daemon) = after_a_restore(&[Part::Stream, Part::Log]).await;
    daemon.logged(OTHER_LOG).await;
    daemon.logged(STREAM_WENT_BACK).await;
    rows(&stack, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_and_a_table_that_are_restored_agree_again() {
    let (stack, daemon) = after_a_restore(&[Part::Stream, Part::Table]).await;
    daemon.logged(STREAM_WENT_BACK).await;
    // The 5 in between are in neither of them.
    rows(&stack, 15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_and_a_table_that_are_restored_get_what_the_stream_has_more() {
    let (stack, daemon) = after_a_restore(&[Part::Log, Part::Table]).await;
    rows(&stack, 20).await;
    assert!(!has_logged(&daemon, STREAM_WENT_BACK));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_three_that_are_restored_go_on() {
    let (stack, daemon) = after_a_restore(&[Part::Stream, Part::Log, Part::Table]).await;
    rows(&stack, 15).await;
    assert!(!has_logged(&daemon, STREAM_WENT_BACK));
    assert!(!has_logged(&daemon, OTHER_LOG));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_jetstream_that_is_put_back_under_a_running_daemon_loses_no_new_signal() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&SHORT).await;
    stack.produce(&["--count=10", "--seed=1"]).await;
    stack.settled().await;
    let parts = [Part::Stream, Part::Log];
    let backup = backed_up(&stack, &parts).await;
    stack.produce(&["--count=5", "--seed=2"]).await;
    rows(&stack, 15).await;
    restored(&stack, &parts, &backup).await;
    stack.produce(&["--count=5", "--seed=3"]).await;
    daemon.logged(OTHER_LOG).await;
    assert_eq!(daemon.ended().await.code(), Some(75));
    let next = stack.daemon(&SHORT).await;
    next.logged(STREAM_WENT_BACK).await;
    rows(&stack, 20).await;
    stack.settled().await;
}

/// A stream of the name that a release without claims has besides.
async fn create_old_stream(stack: &Stack) {
    let config = async_nats::jetstream::stream::Config {
        name: "SIGNALS_EPOCH".to_owned(),
        subjects: vec!["epoch".to_owned()],
        ..Default::default()
    };
    let nats = stack.nats.jetstream().await;
    nats.create_stream(config).await.unwrap();
}

/// 10 signals whose insert is under way while the log is removed, and the next daemon, which gives
/// its own claims a shorter fence.
async fn removed_log(has_rows: bool, had_old: bool) {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let url = link.url();
    // Its insert takes long.
    let patient = [
        setting!(consumer.ack_wait = "80s"),
        setting!(clickhouse.send_timeout = "30s"),
        setting!(clickhouse.end_timeout = "40s"),
        setting!(clickhouse.fence = "20s"),
        setting!(clickhouse.url = &url),
    ];
    let first = stack.daemon(&[SHORT.as_slice(), &patient].concat()).await;
    if has_rows {
        stack.produce(&["--count=1", "--seed=7"]).await;
        stack.settled().await;
    }
    let before = stack.nats.messages_left(CLAIMS).await;
    link.slow(500);
    stack.produce(&["--count=10", "--seed=1"]).await;
    eventually("the signals are claimed", async || {
        (stack.nats.messages_left(CLAIMS).await > before).then_some(())
    })
    .await;
    sleep(Duration::from_millis(500)).await;
    first.signal("STOP");
    let jetstream = stack.nats.jetstream().await;
    jetstream.delete_stream(CLAIMS).await.unwrap();
    if had_old {
        create_old_stream(&stack).await;
    }
    if has_rows {
        let stream = jetstream.get_stream(STREAM).await.unwrap();
        stream.delete_consumer(CONSUMER).await.unwrap();
    }
    let second = stack.daemon(&SHORT).await;
    stack.settled().await;
    // A block that is on its way lands by then.
    sleep(Duration::from_secs(20)).await;
    rows(&stack, if has_rows { 11 } else { 10 }).await;
    assert!(second.output().contains(LOG_GONE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_removed_while_a_claim_is_under_way_repeats_nothing() {
    tokio::join!(removed_log(false, false), removed_log(true, false));
    tokio::join!(removed_log(false, true), removed_log(true, true));
}

/// `risksignal migrate` ran long before the first daemon of this release.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_waits_for_no_insert_that_the_table_refuses_for_long() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&SHORT).await;
    stack.produce(&["--count=10", "--seed=1"]).await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    // As a release without claims leaves it, after the migration.
    create_old_stream(&stack).await;
    let nats = stack.nats.jetstream().await;
    nats.delete_stream(CLAIMS).await.unwrap();
    for sql in [
        "TRUNCATE TABLE raw_signals_claims_logs",
        "INSERT INTO schema_migrations SELECT 'raw_signals', 5, '', now64(3) - INTERVAL 1 HOUR",
    ] {
        stack.clickhouse.execute(sql).await;
    }
    stack.produce(&["--count=5", "--seed=2"]).await;
    let daemon = stack.daemon(&SHORT).await;
    stack.settled().await;
    rows(&stack, 15).await;
    let output = daemon.output();
    assert!(!output.contains("waiting until"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_waits_for_no_fence() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    stack.produce(&["--count=10", "--seed=1"]).await;
    let long = [
        setting!(clickhouse.fence = "50m"),
        // The table's window must hold the tokens of such a time.
        setting!(batch.max_inserts_per_second = "10"),
    ];
    let mut daemon = stack.daemon(&[SHORT.as_slice(), &long].concat()).await;
    stack.settled().await;
    rows(&stack, 10).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_stream_is_noticed_where_the_newest_claimed_sequence_was_replaced() {
    let stack = Stack::start().await;
    let config = async_nats::jetstream::stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["signals.>".to_owned()],
        max_messages_per_subject: 1,
        ..Default::default()
    };
    stack
        .nats
        .jetstream()
        .await
        .create_stream(config)
        .await
        .unwrap();
    let publish = async |key: u64, number: u64| {
        let nats = stack.nats.jetstream().await;
        let body = testkit::signals::signal(number).to_string();
        let sent = nats.publish(format!("signals.k{key}"), body.into()).await;
        sent.unwrap().await.unwrap();
    };
    let mut daemon = stack.daemon(&SHORT).await;
    for number in 1..=10 {
        publish(number, number).await;
    }
    stack.settled().await;
    assert!(daemon.stop().await.success());
    let backup = backed_up(&stack, &[Part::Stream]).await;
    let mut daemon = stack.daemon(&SHORT).await;
    for number in 11..=15 {
        publish(number, number).await;
    }
    stack.settled().await;
    assert!(daemon.stop().await.success());
    restored(&stack, &[Part::Stream], &backup).await;
    // Sequences 11 to 16; the last one takes the place of 15.
    for (key, number) in [(21, 21), (22, 22), (23, 23), (24, 24), (30, 25), (30, 26)] {
        publish(key, number).await;
    }
    let _daemon = stack.daemon(&SHORT).await;
    stack.settled().await;
    let (all, distinct): (u64, u64) = {
        let counts: Vec<(u64, u64)> = stack
            .clickhouse
            .rows("SELECT count(), uniqExact(trace_id) FROM raw_signals")
            .await;
        counts[0]
    };
    eprintln!("rows: {all}, of {distinct} signals");
    assert_eq!((all, distinct), (20, 20));
}
