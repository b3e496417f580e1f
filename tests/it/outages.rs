//! Servers that die under load.

use std::collections::BTreeSet;
use std::time::Duration;

use risksignal::command::log_lines::{CLICKHOUSE_NOT_READY, NATS_NOT_READY, STARTING};
use risksignal::pipeline::log_lines::{INSERT_FAILED, INSERT_REFUSED};
use testkit::nats::{DEAD_LETTERS, STREAM, sequence};
use testkit::{Daemon, Stack, eventually, setting};
use tokio::time::sleep;

use crate::restore::SHORT;

/// Bounds that a daemon under these tests has; far below what the load would fill.
const BOUNDS: [(&str, &str); 6] = [
    setting!(consumer.max_in_flight_bytes = "12MiB"),
    setting!(consumer.fetch_bytes = "4MiB"),
    setting!(consumer.ack_wait = "10s"),
    setting!(clickhouse.end_timeout = "5s"),
    setting!(clickhouse.send_timeout = "2s"),
    setting!(batch.max_bytes = "4MiB"),
];
/// Memory of its own that a daemon with these bounds may have at once.
const PEAK_MIB_MAX: u64 = 128;

/// Everything that was published is in ClickHouse, and nothing is there twice.
async fn assert_nothing_lost_or_repeated(stack: &Stack) {
    stack.settled().await;
    let published: BTreeSet<u64> = stack
        .nats
        .messages(STREAM)
        .await
        .iter()
        .map(sequence)
        .collect();
    let rows: Vec<u64> = stack
        .clickhouse
        .rows("SELECT stream_seq FROM raw_signals")
        .await;
    assert_eq!(rows.len(), published.len());
    let landed: BTreeSet<u64> = rows.into_iter().collect();
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert!(letters.is_empty(), "{} dead letters", letters.len());
    assert!(landed == published);
}

fn assert_bounded(daemon: &Daemon) {
    let peak = daemon.peak_mib();
    assert!(peak < PEAK_MIB_MAX, "{peak} MiB were resident");
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_killed_for_15_s_under_load_loses_nothing() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&BOUNDS).await;
    let load = stack.produce(&["--count=80000", "--rate=4000", "--seed=3"]);
    let outage = async {
        sleep(Duration::from_secs(3)).await;
        stack.clickhouse.kill();
        sleep(Duration::from_secs(15)).await;
        stack.clickhouse.restart().await;
    };
    tokio::join!(load, outage);
    assert_nothing_lost_or_repeated(&stack).await;
    assert_bounded(&daemon);
    daemon.logged(INSERT_FAILED).await;
    let (rows, distinct) = stack.clickhouse.counts().await;
    assert_eq!(
        rows, distinct,
        "what was held was kept alive, not delivered again"
    );
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_restarted_under_load_loses_nothing() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&BOUNDS).await;
    let load = stack.produce(&["--count=60000", "--rate=6000", "--seed=4"]);
    let outage = async {
        for _ in 0..2 {
            sleep(Duration::from_secs(3)).await;
            stack.nats.kill();
            sleep(Duration::from_secs(1)).await;
            stack.nats.restart().await;
        }
    };
    tokio::join!(load, outage);
    assert_nothing_lost_or_repeated(&stack).await;
    assert_bounded(&daemon);
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_started_before_its_servers_waits_for_them() {
    let stack = Stack::start().await;
    stack.nats.kill();
    stack.clickhouse.kill();
    let mut daemon = stack.daemon_not_waited_for(&[]);
    daemon.logged(CLICKHOUSE_NOT_READY).await;
    stack.clickhouse.restart().await;
    daemon.logged(NATS_NOT_READY).await;
    stack.nats.restart().await;
    daemon.logged(STARTING).await;
    stack.produce(&["--count=100", "--seed=1"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (100, 100));
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn pulling_goes_on_after_a_halt_whose_messages_were_lost_to_others() {
    let stack = Stack::start().await;
    let short = [
        setting!(consumer.ack_wait = "3s"),
        setting!(clickhouse.send_timeout = "500ms"),
        setting!(clickhouse.end_timeout = "1s"),
        setting!(clickhouse.retry_max = "500ms"),
    ];
    let mut daemon = stack.daemon(&short).await;
    stack
        .clickhouse
        .execute("RENAME TABLE raw_signals TO mislaid")
        .await;
    stack.produce(&["--count=1000", "--seed=9"]).await;
    daemon.logged(INSERT_REFUSED).await;
    // Without NATS no lease is renewed; those of the messages that are held run out.
    stack.nats.kill();
    sleep(Duration::from_secs(5)).await;
    stack
        .clickhouse
        .execute("RENAME TABLE mislaid TO raw_signals")
        .await;
    stack.nats.restart().await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (1000, 1000));
    assert!(daemon.stop().await.success());
}

/// Simulates a NATS whose disk was not kept. Applications may publish once the
/// stream is there again.
#[tokio::test(flavor = "multi_thread")]
async fn a_jetstream_that_lost_everything_under_a_daemon_gets_its_streams_again() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&SHORT).await;
    stack.produce(&["--count=20", "--seed=1"]).await;
    stack.settled().await;
    stack.nats.kill();
    std::fs::remove_dir_all(stack.nats.streams()).unwrap();
    stack.nats.restart().await;
    eventually("the stream is there", async || {
        let jetstream = stack.nats.jetstream().await;
        jetstream.get_stream(STREAM).await.ok().map(drop)
    })
    .await;
    stack.produce(&["--count=20", "--seed=2"]).await;
    assert_eq!(daemon.ended().await.code(), Some(75));
    let _next = stack.daemon(&SHORT).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await.0, 40);
}
