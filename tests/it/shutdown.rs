//! Stops of the daemon.

use risksignal::pipeline::log_lines::INSERT_FAILED;
use risksignal::shutdown::STOPPING;
use testkit::slow_link::SlowLink;
use testkit::{Stack, eventually, setting};

/// No test waits so long: a message that is held and neither acked nor given back fails it.
const LONG: (&str, &str) = setting!(consumer.ack_wait = "10m");

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
    let load = stack.produce(&["--count=60000", "--rate=6000", "--seed=5"]);
    let (status, ()) = tokio::join!(stopped, load);
    assert_eq!(status.code(), Some(0));
    let committed = stack.clickhouse.counts().await.0;
    assert!(committed < 60_000, "it stopped under load");

    let consumer = stack.nats.consumer().await.unwrap();
    let acked = 60_000 - consumer.num_pending - consumer.num_ack_pending as u64;
    assert_eq!(acked, committed, "what is committed is acked");

    let mut next = stack.daemon(&[]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (60_000, 60_000));
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
    let mut daemon = stack.daemon(&[setting!(shutdown.grace = "1h")]).await;
    stack.clickhouse.kill();
    stack.produce(&["--count=100", "--seed=1"]).await;
    daemon.logged(INSERT_FAILED).await;
    daemon.signal("TERM");
    daemon.logged(STOPPING).await;
    daemon.assert_running();
    daemon.signal("TERM");
    assert_eq!(daemon.ended().await.code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_committed_in_time_is_reported_and_comes_again_at_once() {
    let stack = Stack::start().await;
    let environment = [
        setting!(shutdown.grace = "1s"),
        LONG,
        setting!(batch.max_rows = "10"),
        setting!(clickhouse.send_timeout = "500ms"),
        setting!(clickhouse.end_timeout = "1s"),
    ];
    let mut daemon = stack.daemon(&environment).await;
    stack.clickhouse.kill();
    stack.produce(&["--count=100", "--seed=1"]).await;
    daemon.logged(INSERT_FAILED).await;
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
            setting!(consumer.name = &name),
            setting!(consumer.ack_policy = policy),
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
    let mut daemon = stack.daemon(&[LONG, setting!(clickhouse.url = &url)]).await;
    let mut published = 0;
    // While nothing is held, and while an insert is under way.
    for (round, is_inserting) in [(1, false), (2, true), (3, true)] {
        if is_inserting {
            // The insert cannot end before NATS is killed, and so no ack is lost with it.
            link.slow(1);
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
        stack.nats.acks_written(published).await;
    }
    assert!(daemon.stop().await.success());
}
