//! Streams and consumers that were there before the daemon.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PriorityPolicy, pull};
use async_nats::jetstream::stream;
use risksignal::command::log_lines::JETSTREAM_WRONG;
use testkit::nats::{CONSUMER, STREAM};
use testkit::{Daemon, Stack, setting};

async fn create_consumer(stack: &Stack, config: pull::Config) {
    stack.nats.create_stream().await;
    let stream = stack
        .nats
        .jetstream()
        .await
        .get_stream(STREAM)
        .await
        .unwrap();
    let config = pull::Config {
        durable_name: Some(CONSUMER.to_owned()),
        ..config
    };
    stream.create_consumer(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_conflicts_is_an_error_and_stays_as_it_is() {
    let stack = Stack::start().await;
    let conflicting = pull::Config {
        ack_policy: AckPolicy::None,
        ..Default::default()
    };
    create_consumer(&stack, conflicting).await;
    let daemon = stack.daemon_not_waited_for(&[]);
    let refused = daemon.logged(JETSTREAM_WRONG).await;
    let error = refused["error"].as_str().unwrap();
    assert!(error.contains("ack_policy None"), "{error}");
    let consumer = stack.nats.consumer().await.unwrap();
    assert_eq!(consumer.config.ack_policy, AckPolicy::None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_with_a_priority_group_of_an_operator_is_named() {
    let stack = Stack::start().await;
    let with_group = pull::Config {
        ack_policy: AckPolicy::Explicit,
        priority_policy: PriorityPolicy::Overflow,
        priority_groups: vec!["fast".to_owned()],
        ..Default::default()
    };
    create_consumer(&stack, with_group).await;
    let error = refusal(stack.daemon_not_waited_for(&[])).await;
    assert!(error.contains("priority_policy Overflow"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_whose_bounds_differ_is_updated_and_keeps_its_position() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    stack.produce(&["--count=100", "--seed=1"]).await;
    stack.settled().await;
    let consumer = stack.nats.consumer().await.unwrap();
    assert_eq!(consumer.config.max_deliver, 20);
    assert!(daemon.stop().await.success());
    let bounds = [
        setting!(consumer.ack_wait = "60s"),
        setting!(consumer.max_ack_pending = "150000"),
        setting!(consumer.max_deliver = "0"),
    ];
    let _daemon = stack.daemon(&bounds).await;
    let consumer = stack.nats.consumer().await.unwrap();
    assert_eq!(consumer.config.ack_wait, Duration::from_secs(60));
    assert_eq!(consumer.config.max_ack_pending, 150_000);
    assert_eq!(consumer.config.max_deliver, -1);
    assert_eq!(consumer.ack_floor.stream_sequence, 100);
    stack.produce(&["--count=100", "--seed=2"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_the_subjects_is_an_error() {
    let stack = Stack::start().await;
    let other = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["orders.>".to_owned()],
        ..Default::default()
    };
    stack
        .nats
        .jetstream()
        .await
        .create_stream(other)
        .await
        .unwrap();
    let daemon = stack.daemon_not_waited_for(&[]);
    let refused = daemon.logged(JETSTREAM_WRONG).await;
    let error = refused["error"].as_str().unwrap();
    assert!(
        error.contains("orders.>") && error.contains("signals.>"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_could_not_take_the_largest_message_is_an_error() {
    let stack = Stack::with_nats_options(&["--max-payload=8MB"]).await;
    let small = [setting!(consumer.fetch_bytes = "4MiB")];
    let error = refusal(stack.daemon_not_waited_for(&small)).await;
    assert!(error.contains("consumer.fetch_bytes is 4194304"), "{error}");
}

/// Waits until the daemon refuses to pull, and returns its reason.
async fn refusal(daemon: Daemon) -> String {
    let refused = daemon.logged(JETSTREAM_WRONG).await;
    refused["error"].as_str().unwrap().to_owned()
}
