//! Several instances on one consumer.

use risksignal::command::log_lines::STARTING;
use testkit::{Daemon, Stack};

fn inserted(daemon: &Daemon) -> u64 {
    let lines = daemon.lines();
    let stopped = lines.iter().find_map(|line| line["inserted"].as_u64());
    stopped.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_share_the_work() {
    let stack = Stack::start().await;
    // Migrations at once must not get in each other's way, so neither waits for the other.
    let mut one = stack.daemon_not_waited_for(&[]);
    let mut two = stack.daemon_not_waited_for(&[]);
    one.logged(STARTING).await;
    two.logged(STARTING).await;
    stack
        .produce(&["--count=60000", "--rate=20000", "--seed=6"])
        .await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (60_000, 60_000));
    assert!(one.stop().await.success());
    assert!(two.stop().await.success());
    assert_eq!(inserted(&one) + inserted(&two), 60_000);
    assert!(inserted(&one) > 0 && inserted(&two) > 0);
}
