//! How the daemon stops.

use crate::harness::slow_link::SlowLink;
use crate::harness::{Stack, eventually};

/// No test waits so long: a message that is held and neither acked nor given back fails it.
const LONG: (&str, &str) = ("RISKSIGNAL__CONSUMER__ACK_WAIT", "10m");

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_commits_and_acks_what_is_held() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    let stopped = async {
        eventually("signals land", async || {
            (stack.clickhouse.counts().await.0 > 10_000).then_some(())
        })
        .await;
        daemon.stop().await
    };
    let load = stack.produce(&["--count=200000", "--rate=20000", "--seed=5"]);
    let (status, ()) = tokio::join!(stopped, load);
    assert_eq!(status.code(), Some(0));
    let committed = stack.clickhouse.counts().await.0;
    assert!(committed < 200_000, "it stopped under load");

    let consumer = stack.nats.consumer().await.unwrap();
    let acked = 200_000 - consumer.num_pending - consumer.num_ack_pending as u64;
    assert_eq!(acked, committed, "what is committed is acked");

    let mut next = stack.daemon(&[]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (200_000, 200_000));
    assert!(next.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_stops_an_idle_daemon_too() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    daemon.signal("INT");
    assert_eq!(daemon.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_daemon_at_once() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[("RISKSIGNAL__SHUTDOWN__GRACE", "1h")]).await;
    stack.clickhouse.kill();
    stack.produce(&["--count=100", "--seed=1"]).await;
    daemon
        .logged("Insert failed; the same batch is sent again")
        .await;
    daemon.signal("TERM");
    daemon
        .logged("Stopping; a second signal stops without waiting")
        .await;
    daemon.assert_running();
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await.code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_committed_in_time_is_reported_and_comes_again_at_once() {
    let stack = Stack::start().await;
    let environment = [
        ("RISKSIGNAL__SHUTDOWN__GRACE", "1s"),
        LONG,
        ("RISKSIGNAL__BATCH__MAX_ROWS", "10"),
        ("RISKSIGNAL__CLICKHOUSE__SEND_TIMEOUT", "500ms"),
        ("RISKSIGNAL__CLICKHOUSE__END_TIMEOUT", "1s"),
    ];
    let mut daemon = stack.daemon(&environment).await;
    stack.clickhouse.kill();
    stack.produce(&["--count=100", "--seed=1"]).await;
    daemon
        .logged("Insert failed; the same batch is sent again")
        .await;
    assert_eq!(daemon.stop().await.code(), Some(1));
    let failed = daemon.logged("Failed").await;
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("100 messages were not acked"), "{error}");

    stack.clickhouse.restart().await;
    let _next = stack.daemon(&environment).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (100, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_for_nothing_at_a_stop_and_a_start() {
    let stack = Stack::start().await;
    let mut published = 0;
    for policy in ["explicit", "all"] {
        let name = format!("for-{policy}");
        let environment = [
            LONG,
            ("RISKSIGNAL__CONSUMER__NAME", &name),
            ("RISKSIGNAL__CONSUMER__ACK_POLICY", policy),
        ];
        for round in 0..3 {
            let mut daemon = stack.daemon(&environment).await;
            let seed = format!("--seed={}", published + round);
            let load = ["--count=20000", "--rate=20000", &seed];
            let stopped = async {
                eventually("signals land", async || {
                    (stack.clickhouse.counts().await.0 > published + 2000).then_some(())
                })
                .await;
                daemon.stop().await
            };
            let (status, ()) = tokio::join!(stopped, stack.produce(&load));
            assert_eq!(status.code(), Some(0));
            published += 20_000;
        }
        let mut daemon = stack.daemon(&environment).await;
        stack.settled_by(&name).await;
        assert_eq!(stack.clickhouse.counts().await, (published, published));
        assert!(daemon.stop().await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_for_nothing_after_restarts_of_nats() {
    let stack = Stack::start().await;
    stack.risksignal(&["migrate"]).await;
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let url = link.url();
    let mut daemon = stack.daemon(&[LONG, ("CLICKHOUSE_URL", &url)]).await;
    let mut published = 0;
    // While nothing is held, and while an insert is under way.
    for (round, bytes_per_second) in [(1, None), (2, Some(20_000)), (3, Some(20_000))] {
        if let Some(bytes_per_second) = bytes_per_second {
            link.slow(bytes_per_second);
            let seed = format!("--seed=1{round}");
            stack.produce(&["--count=100", &seed]).await;
            published += 100;
            eventually("all are delivered", async || {
                let consumer = stack.nats.consumer().await?;
                (consumer.num_pending == 0 && consumer.num_ack_pending > 0).then_some(())
            })
            .await;
        }
        stack.nats.kill();
        stack.nats.restart().await;
        link.mend();
        stack
            .produce(&["--count=100", &format!("--seed=2{round}")])
            .await;
        published += 100;
        stack.settled().await;
        assert_eq!(stack.clickhouse.counts().await, (published, published));
    }
    assert!(daemon.stop().await.success());
}
