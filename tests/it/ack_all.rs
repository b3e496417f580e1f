//! `consumer.ack_policy` is `all`: an ack stands for all messages before its own, one instance
//! has the work, and others stand by.

use std::time::Duration;

use tokio::time::sleep;

use crate::harness::nats::DEAD_LETTERS;
use crate::harness::signals::signal;
use crate::harness::{Daemon, Stack, eventually};

const ALL: (&str, &str) = ("RISKSIGNAL__CONSUMER__ACK_POLICY", "all");
/// Short leases, so that another instance has its turn soon.
const SHORT: [(&str, &str); 6] = [
    ALL,
    ("RISKSIGNAL__LOG__LINES_PER_SECOND", "1000000"),
    ("RISKSIGNAL__CONSUMER__ACK_WAIT", "4s"),
    ("RISKSIGNAL__CLICKHOUSE__SEND_TIMEOUT", "1s"),
    ("RISKSIGNAL__CLICKHOUSE__END_TIMEOUT", "2s"),
    ("RISKSIGNAL__BATCH__MAX_ROWS", "500"),
];
const HAS: &str = "This instance has the consumer; others stand by";
const STANDS_BY: &str = "Another instance has the consumer; this one stands by";

/// How many signals the log says were inserted.
fn inserted(daemon: &Daemon) -> u64 {
    let lines = daemon.lines();
    let inserted = lines
        .iter()
        .filter(|line| line["message"] == "Inserted batch to ClickHouse");
    inserted.map(|line| line["count"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_has_the_work_and_the_other_one_takes_over_at_its_stop() {
    let stack = Stack::start().await;
    let mut first = stack.daemon(&SHORT).await;
    stack.produce(&["--count=2000", "--seed=1"]).await;
    first.logged(HAS).await;
    let mut second = stack.daemon(&SHORT).await;
    second.logged(STANDS_BY).await;
    stack
        .produce(&["--count=20000", "--rate=10000", "--seed=2", "--invalid=1"])
        .await;
    stack.settled().await;
    let rows = stack.clickhouse.counts().await.0;
    assert_eq!(inserted(&first), rows);
    assert_eq!(inserted(&second), 0);

    let output = stack.risksignal_with(&["check"], &[ALL]).await;
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("(ack_policy all)"), "{told}");

    assert!(first.stop().await.success());
    stack.produce(&["--count=3000", "--seed=3"]).await;
    stack.settled().await;
    second.logged(HAS).await;
    assert_eq!(inserted(&second), 3_000);
    assert_eq!(
        stack.clickhouse.counts().await,
        (rows + 3_000, rows + 3_000)
    );
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert!(!letters.is_empty());
    assert_eq!(letters.len() as u64, 22_000 - rows);
    // The server's note of who has the consumer is none of the application's.
    for letter in letters {
        let headers = format!("{:?}", letter.headers);
        assert!(!headers.contains("Pin"), "{headers}");
    }
    assert!(second.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_instance_held_lands_once_through_the_one_that_stood_by() {
    let stack = Stack::start().await;
    let mut published = 0;
    for (round, fault_point) in ["insert-sent", "insert-answered:2", "before-ack:3"]
        .into_iter()
        .enumerate()
    {
        let arguments = ["run", "--fault-point", fault_point];
        let environment = stack.environment(&SHORT);
        let mut crashing = Daemon::spawn(&arguments, &environment, &stack.work_dir());
        crashing.logged("Starting signals consumer").await;
        stack
            .produce(&["--count=1", &format!("--seed=9{round}")])
            .await;
        crashing.logged(HAS).await;
        let mut other = stack.daemon(&SHORT).await;
        stack
            .produce(&["--count=5000", "--rate=5000", &format!("--seed={round}")])
            .await;
        published += 5001;
        assert!(crashing.ended().await.code().is_none(), "{fault_point}");
        stack.settled().await;
        let counts = stack.clickhouse.counts().await;
        assert_eq!(counts, (published, published), "{fault_point}");
        assert!(other.stop().await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_was_stopped_acks_nothing_that_another_one_holds() {
    let stack = Stack::start().await;
    let sleeper = stack.daemon(&SHORT).await;
    stack.produce(&["--count=100", "--seed=1"]).await;
    sleeper.logged(HAS).await;
    let awake = stack.daemon(&SHORT).await;
    let load = stack.produce(&["--count=60000", "--rate=4000", "--seed=2"]);
    let pauses = async {
        for turn in 0..2 {
            let pausing = if turn == 0 { &sleeper } else { &awake };
            sleep(Duration::from_millis(700)).await;
            pausing.signal("STOP");
            sleep(Duration::from_secs(6)).await;
            pausing.signal("CONT");
        }
    };
    tokio::join!(load, pauses);
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (60_100, 60_100));
    assert!(inserted(&sleeper) > 0 && inserted(&awake) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_forgets_its_deliveries_has_nothing_lost_or_repeated() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&SHORT).await;
    let load = stack.produce(&["--count=40000", "--rate=4000", "--seed=5"]);
    let kills = async {
        for _ in 0..2 {
            sleep(Duration::from_secs(2)).await;
            stack.nats.kill();
            stack.nats.restart().await;
        }
    };
    tokio::join!(load, kills);
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (40_000, 40_000));
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_ends_the_daemon_each_time_holds_nothing_up() {
    let stack = Stack::start().await;
    let mut few = SHORT.to_vec();
    few.push(("RISKSIGNAL__CONSUMER__MAX_DELIVER", "2"));
    few.push(("RISKSIGNAL__CONSUMER__ACK_WAIT", "2s"));
    few.push(("RISKSIGNAL__CLICKHOUSE__END_TIMEOUT", "500ms"));
    let environment = stack.environment(&few);
    stack.nats.create_stream().await;
    let jetstream = stack.nats.jetstream().await;
    for number in 0..300 {
        let subject = if number == 100 {
            "signals.deadly"
        } else {
            "signals.risk_event"
        };
        let body = serde_json::to_vec(&signal(number)).unwrap();
        jetstream
            .publish(subject, body.into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    // Two tries and three alone.
    for _ in 0..5 {
        let arguments = ["run", "--fault-point", "decoding:signals.deadly"];
        let mut daemon = Daemon::spawn(&arguments, &environment, &stack.work_dir());
        assert!(daemon.ended().await.code().is_none());
    }
    let mut daemon = stack.daemon(&few).await;
    eventually("all others have landed", async || {
        (stack.clickhouse.counts().await == (299, 299)).then_some(())
    })
    .await;
    daemon.logged("Message went to the dead letters").await;
    stack.settled().await;
    assert_eq!(stack.nats.messages(DEAD_LETTERS).await.len(), 1);
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_with_the_other_policy_is_an_error() {
    let stack = Stack::start().await;
    let mut explicit = stack.daemon(&[]).await;
    assert!(explicit.stop().await.success());
    let daemon = stack.daemon_not_waited_for(&[ALL]);
    let line = daemon
        .logged("JetStream is not as it should be; no signal is pulled until it is")
        .await;
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("ack_policy Explicit"), "{error}");
    assert!(error.contains("another consumer.name"), "{error}");
}
