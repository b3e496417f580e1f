//! `consumer.ack_policy` is `all`: an ack is for all messages before its own, by the claims
//! log's floor, from any instance.

use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, PriorityPolicy, pull};
use risksignal::command::log_lines::STARTING;
use risksignal::pipeline::log_lines::ACK_POLICY_KEPT;
use telemetry::log_lines::{FOUND_STORED, INSERTED};
use testkit::nats::{CONSUMER, DEAD_LETTERS, STREAM};
use testkit::{Daemon, Stack, eventually, setting};
use tokio::time::sleep;

const ALL: (&str, &str) = setting!(consumer.ack_policy = "all");
/// A short ack wait, so that what a killed instance held comes again soon.
const SHORT: [(&str, &str); 6] = [
    ALL,
    setting!(log.lines_per_second = "1000000"),
    setting!(consumer.ack_wait = "4s"),
    setting!(clickhouse.send_timeout = "1s"),
    setting!(clickhouse.end_timeout = "2s"),
    setting!(batch.max_rows = "500"),
];

/// The signals that the log says were inserted.
fn inserted(daemon: &Daemon) -> u64 {
    let lines = daemon.lines();
    let inserted = lines.iter().filter(|line| line["message"] == INSERTED);
    inserted.map(|line| line["count"].as_u64().unwrap()).sum()
}

/// Waits until all that was published is acked, by a consumer with the policy `all`.
async fn acked_to(stack: &Stack, last: u64) -> consumer::Info {
    stack.settled().await;
    let consumer = stack.nats.consumer().await.unwrap();
    assert_eq!(consumer.config.ack_policy, AckPolicy::All);
    assert_eq!(consumer.ack_floor.stream_sequence, last);
    consumer
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_share_the_work_and_the_acks_reach_the_last_sequence() {
    let stack = Stack::start().await;
    let mut first = stack.daemon(&SHORT).await;
    let mut second = stack.daemon(&SHORT).await;
    stack
        .produce(&["--count=20000", "--rate=10000", "--seed=2", "--invalid=1"])
        .await;
    let consumer = acked_to(&stack, 20_000).await;
    // One that the server gives up on would be acked with those behind it.
    assert_eq!(consumer.config.max_deliver, -1);
    let rows = stack.clickhouse.counts().await.0;
    assert!(inserted(&first) > 0 && inserted(&second) > 0);
    assert_eq!(inserted(&first) + inserted(&second), rows);
    let letters = stack.nats.messages(DEAD_LETTERS).await.len() as u64;
    assert_eq!((letters > 0, letters), (true, 20_000 - rows));
    let text = stack.check(&[ALL]).await;
    assert!(text.contains("(ack_policy all)"), "{text}");

    assert!(first.stop().await.success());
    stack.produce(&["--count=3000", "--seed=3"]).await;
    acked_to(&stack, 23_000).await;
    assert!(second.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_follow_the_commit_when_instances_and_nats_are_killed() {
    let stack = Stack::start().await;
    let mut staying = stack.daemon(&SHORT).await;
    let mut published = 0;
    for (round, fault_point) in ["insert-sent", "insert-answered:2", "before-ack:3"]
        .into_iter()
        .enumerate()
    {
        let arguments = ["run", "--fault-point", fault_point];
        let environment = stack.environment(&SHORT);
        let mut crashing = Daemon::spawn(&arguments, &environment, &stack.work_dir());
        crashing.logged(STARTING).await;
        let seed = format!("--seed={round}");
        let load = ["--count=8000", "--rate=4000", &seed];
        let kills = async {
            assert!(crashing.ended().await.code().is_none(), "{fault_point}");
            stack.nats.kill();
            stack.nats.restart().await;
        };
        tokio::join!(stack.produce(&load), kills);
        published += 8000;
        acked_to(&stack, published).await;
        let counts = stack.clickhouse.counts().await;
        assert_eq!(counts, (published, published), "{fault_point}");
    }
    assert!(staying.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_was_stopped_acks_nothing_that_is_not_stored() {
    let stack = Stack::start().await;
    let sleeper = stack.daemon(&SHORT).await;
    let awake = stack.daemon(&SHORT).await;
    let load = stack.produce(&["--count=40000", "--rate=4000", "--seed=2"]);
    let pauses = async {
        for pausing in [&sleeper, &awake] {
            sleep(Duration::from_millis(700)).await;
            pausing.signal("STOP");
            sleep(Duration::from_secs(6)).await;
            pausing.signal("CONT");
        }
    };
    tokio::join!(load, pauses);
    acked_to(&stack, 40_000).await;
    assert_eq!(stack.clickhouse.counts().await, (40_000, 40_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgets_its_deliveries_gets_acks_that_it_counts() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&SHORT).await;
    stack.produce(&["--count=2000", "--seed=1"]).await;
    acked_to(&stack, 2000).await;
    // All is delivered again, under consumer sequences that were used before.
    stack.nats.kill_and_forget();
    stack.nats.restart().await;
    stack.produce(&["--count=2000", "--seed=2"]).await;
    acked_to(&stack, 4000).await;
    assert_eq!(stack.clickhouse.counts().await, (4000, 4000));
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_keeps_its_policy_and_the_setting_that_differs_is_named() {
    let stack = Stack::start().await;
    let mut explicit = stack.daemon(&[]).await;
    assert!(explicit.stop().await.success());
    let mut daemon = stack.daemon(&[ALL]).await;
    let line = daemon.logged(ACK_POLICY_KEPT).await;
    assert_eq!(
        (&line["in_force"], &line["setting"]),
        (&"explicit".into(), &"all".into())
    );
    stack.produce(&["--count=100", "--seed=1"]).await;
    stack.settled().await;
    let consumer = stack.nats.consumer().await.unwrap();
    assert_eq!(consumer.config.ack_policy, AckPolicy::Explicit);
    assert_eq!(stack.clickhouse.counts().await, (100, 100));
    let text = stack.check(&[ALL]).await;
    let expected = "(ack_policy explicit, since the consumer exists; consumer.ack_policy is all)";
    assert!(text.contains(expected), "{text}");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_of_the_release_before_goes_on_without_its_pinned_client() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let jetstream = stack.nats.jetstream().await;
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    let former = pull::Config {
        durable_name: Some(CONSUMER.to_owned()),
        ack_policy: AckPolicy::All,
        max_deliver: 20,
        priority_policy: PriorityPolicy::PinnedClient,
        priority_groups: vec!["risksignal".to_owned()],
        priority_timeout: Duration::from_secs(15),
        ..Default::default()
    };
    stream.create_consumer(former).await.unwrap();
    stack.produce(&["--count=1000", "--seed=1"]).await;
    // The setting is the default, explicit: the consumer's own policy is in force.
    let mut one = stack.daemon(&[]).await;
    one.logged(ACK_POLICY_KEPT).await;
    let mut two = stack.daemon(&[]).await;
    stack.produce(&["--count=1000", "--seed=2"]).await;
    let consumer = acked_to(&stack, 2000).await;
    assert_eq!(consumer.config.priority_policy, PriorityPolicy::None);
    assert_eq!(consumer.config.max_deliver, -1);
    assert_eq!(stack.clickhouse.counts().await, (2000, 2000));
    for daemon in [&mut one, &mut two] {
        assert!(daemon.stop().await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_above_an_open_claim_is_acked() {
    let stack = Stack::start().await;
    let environment = stack.environment(&SHORT);
    let arguments = ["run", "--fault-point", "hang@insert-answered"];
    // All of them are there at the first pull, so that one claim has them.
    stack.nats.create_stream().await;
    stack.produce(&["--count=10", "--seed=1"]).await;
    let mut hanging = Daemon::spawn(&arguments, &environment, &stack.work_dir());
    hanging.logged(STARTING).await;
    eventually("they are in an insert", async || {
        (stack.clickhouse.counts().await.0 == 10).then_some(())
    })
    .await;
    // On a slow machine an answer may be lost, so that a count shows the rows, and no line does.
    for (seed, count, rows) in [(2, 500, 510), (3, 1, 511)] {
        let count = format!("--count={count}");
        stack.produce(&[&count, &format!("--seed={seed}")]).await;
        eventually("those behind them have landed", async || {
            (stack.clickhouse.counts().await.0 == rows).then_some(())
        })
        .await;
    }
    // They come again, and are known as done.
    hanging.logged(FOUND_STORED).await;
    let consumer = stack.nats.consumer().await.unwrap();
    assert_eq!(consumer.ack_floor.stream_sequence, 0);
    assert_eq!(consumer.num_ack_pending, 511);
    hanging.kill();
    let _other = stack.daemon(&SHORT).await;
    acked_to(&stack, 511).await;
    assert_eq!(stack.clickhouse.counts().await, (511, 511));
}
