//! Each supported minor release of nats-server: `RISKSIGNAL_NATS_RELEASES` lists those to run with
//! (`make test-nats-versions`), which are also killed and started again. Without it the oldest
//! runs. All other tests run with the newest.

use testkit::nats::{CONSUMER, DEAD_LETTERS, fetched};
use testkit::{Daemon, Stack, setting};

const OLDEST: &str = "2.10.26";
const EXPLICIT: [(&str, &str); 1] = [setting!(consumer.ack_wait = "4s")];
/// Reads the stream from its beginning, by a consumer of its own.
const ALL: [(&str, &str); 2] = [
    setting!(consumer.ack_policy = "all"),
    setting!(consumer.name = "all"),
];

#[expect(clippy::disallowed_methods, reason = "the Makefile lists the releases")]
fn listed_releases() -> Option<String> {
    std::env::var("RISKSIGNAL_NATS_RELEASES").ok()
}

/// Publishes signals of which some are invalid, and expects all of `published` to be settled, each
/// as one row or one letter.
async fn each_once(stack: &Stack, consumer: &str, seed: &str, published: u64) {
    let seed = format!("--seed={seed}");
    stack.produce(&["--count=500", "--invalid=5", &seed]).await;
    stack.settled_by(consumer).await;
    let letters = stack.nats.messages_left(DEAD_LETTERS).await;
    let (rows, distinct) = stack.clickhouse.counts().await;
    assert!(letters > 0);
    assert_eq!((rows, rows + letters), (distinct, published));
}

async fn checked_and_stopped(stack: &Stack, daemon: &mut Daemon, settings: &[(&str, &str)]) {
    stack.check(settings).await;
    assert!(daemon.stop().await.success());
    assert!(!daemon.lines().iter().any(|line| line["level"] == "ERROR"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_signal_lands_once_with_supported_nats_servers() {
    let listed = listed_releases();
    for release in listed.as_deref().unwrap_or(OLDEST).split_whitespace() {
        if !fetched(&["--nats", release]) {
            continue;
        }
        let stack = Stack::with_nats_options(&["--release", release]).await;
        let version = stack.nats.client().await.server_info().version;
        assert_eq!(version, release);
        let mut daemon = stack.daemon(&EXPLICIT).await;
        each_once(&stack, CONSUMER, "1", 500).await;
        if listed.is_some() {
            stack.nats.kill();
            stack.nats.restart().await;
        }
        each_once(&stack, CONSUMER, "2", 1000).await;
        checked_and_stopped(&stack, &mut daemon, &EXPLICIT).await;
        let mut daemon = stack.daemon(&ALL).await;
        each_once(&stack, "all", "3", 1500).await;
        checked_and_stopped(&stack, &mut daemon, &ALL).await;
    }
}
