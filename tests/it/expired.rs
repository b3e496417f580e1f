//! Signals that leave the stream before they are committed.

use std::time::Duration;

use async_nats::jetstream::stream::Config;
use risksignal::pipeline::log_lines::EXPIRED;
use testkit::nats::STREAM;
use testkit::ops::watched_daemon;
use testkit::{Stack, eventually};

/// Changes the stream's own bound on age.
async fn set_max_age(stack: &Stack, max_age: Duration) {
    let jetstream = stack.nats.jetstream().await;
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    let config = stream.cached_info().config.clone();
    let config = Config {
        max_age,
        duplicate_window: max_age.min(config.duplicate_window),
        ..config
    };
    jetstream.update_stream(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_age_out_before_they_are_committed_are_counted_once() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    stack.produce(&["--count=10", "--seed=1"]).await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    stack.produce(&["--count=7", "--seed=2"]).await;
    set_max_age(&stack, Duration::from_millis(200)).await;
    eventually("they are gone", async || {
        (stack.nats.messages_left(STREAM).await == 0).then_some(())
    })
    .await;
    set_max_age(&stack, Duration::ZERO).await;

    let (daemon, ops) = watched_daemon(&stack).await;
    stack.produce(&["--count=3", "--seed=3"]).await;
    let line = daemon.logged(EXPIRED).await;
    assert_eq!((&line["first"], &line["last"]), (&11.into(), &17.into()));
    assert_eq!(
        (&line["count"], &line["level"]),
        (&7.into(), &"ERROR".into())
    );
    stack.settled().await;
    // The 10 before were committed, and left no row to count as lost.
    assert_eq!(stack.clickhouse.counts().await, (13, 13));
    assert_eq!(
        ops.metric("risksignal_messages_lost_total").await,
        Some(7.0)
    );
    let status = stack.risksignal_with(&["status"], &[ops.listen()]).await;
    let status = String::from_utf8(status.stdout).unwrap();
    let words = "7 messages left stream SIGNALS before they were committed, the newest at sequences 11 to 17";
    assert!(status.contains(words), "{status}");
    let readyz = ops.get("/readyz").await.json();
    assert_eq!(readyz["warnings"][0]["code"], "messages_lost");
}
