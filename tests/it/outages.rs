//! Servers that die under load.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::sleep;

use crate::harness::nats::{DEAD_LETTERS, STREAM, sequence};
use crate::harness::{Daemon, Stack};

/// Bounds that a daemon under these tests has; far below what the load would fill.
const BOUNDS: [(&str, &str); 6] = [
    ("RISKSIGNAL__CONSUMER__MAX_IN_FLIGHT_BYTES", "24MiB"),
    ("RISKSIGNAL__CONSUMER__FETCH_BYTES", "4MiB"),
    ("RISKSIGNAL__CONSUMER__ACK_WAIT", "10s"),
    ("RISKSIGNAL__CLICKHOUSE__END_TIMEOUT", "5s"),
    ("RISKSIGNAL__CLICKHOUSE__SEND_TIMEOUT", "2s"),
    ("RISKSIGNAL__BATCH__MAX_BYTES", "4MiB"),
];
/// What a daemon with these bounds may have resident at once.
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
    let load = stack.produce(&["--count=200000", "--rate=10000", "--seed=3"]);
    let outage = async {
        sleep(Duration::from_secs(3)).await;
        stack.clickhouse.kill();
        sleep(Duration::from_secs(15)).await;
        stack.clickhouse.restart().await;
    };
    tokio::join!(load, outage);
    assert_nothing_lost_or_repeated(&stack).await;
    assert_bounded(&daemon);
    daemon
        .logged("Insert failed; the same batch is sent again")
        .await;
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
    let load = stack.produce(&["--count=150000", "--rate=15000", "--seed=4"]);
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
    daemon.logged("ClickHouse is not ready").await;
    stack.clickhouse.restart().await;
    daemon.logged("NATS is not ready").await;
    stack.nats.restart().await;
    daemon.logged("Starting signals consumer").await;
    stack.produce(&["--count=100", "--seed=1"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (100, 100));
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn pulling_goes_on_after_a_halt_whose_messages_were_lost_to_others() {
    let stack = Stack::start().await;
    let short = [
        ("RISKSIGNAL__CONSUMER__ACK_WAIT", "3s"),
        ("RISKSIGNAL__CLICKHOUSE__SEND_TIMEOUT", "500ms"),
        ("RISKSIGNAL__CLICKHOUSE__END_TIMEOUT", "1s"),
        ("RISKSIGNAL__CLICKHOUSE__RETRY_MAX", "500ms"),
    ];
    let mut daemon = stack.daemon(&short).await;
    stack
        .clickhouse
        .execute("RENAME TABLE raw_signals TO mislaid")
        .await;
    stack.produce(&["--count=1000", "--seed=9"]).await;
    daemon
        .logged("Insert refused; pulling stops until this is mended, nothing is acked")
        .await;
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
