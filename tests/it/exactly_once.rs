//! Every valid signal in ClickHouse exactly once, and every other one in the dead letters
//! exactly once, wherever the daemon is stopped.

use std::time::Duration;

use risksignal::pipeline::log_lines::INSERT_REFUSED;
use telemetry::log_lines::FOUND_STORED;
use testkit::nats::{CONSUMER, DEAD_LETTERS, STREAM};
use testkit::signals::signal;
use testkit::slow_link::SlowLink;
use testkit::{Daemon, Stack, eventually, setting};
use tokio::time::sleep;

/// Short leases, so that a crash is over soon, and a log line for everything.
const SHORT: [(&str, &str); 7] = [
    setting!(log.lines_per_second = "1000000"),
    setting!(consumer.ack_wait = "4s"),
    // On a slow machine a lease runs out often; what is given up is another test's.
    setting!(consumer.max_deliver = "0"),
    setting!(clickhouse.send_timeout = "1s"),
    setting!(clickhouse.end_timeout = "2s"),
    setting!(batch.max_rows = "500"),
    setting!(batch.max_wait = "100ms"),
];

/// Starts a daemon that ends itself, as a crash would, at a fault point.
fn doomed(stack: &Stack, fault_point: &str) -> Daemon {
    let arguments = ["run", "--fault-point", fault_point];
    Daemon::spawn(&arguments, &stack.environment(&SHORT), &stack.work_dir())
}

/// Number of signals that a log reports as found in ClickHouse already.
fn already_stored(daemon: &Daemon) -> u64 {
    let lines = daemon.lines();
    let output = |line: &&serde_json::Value| line["message"] == FOUND_STORED;
    lines
        .iter()
        .filter(output)
        .filter_map(|line| line["count"].as_u64())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_anywhere_between_insert_and_ack_repeats_nothing() {
    let stack = Stack::start().await;
    let mut published = 0;
    for (round, fault_point) in [
        "insert-sent",
        "insert-answered",
        "insert-answered:2",
        "before-ack",
        "before-ack:700",
    ]
    .into_iter()
    .enumerate()
    {
        let mut crashing = doomed(&stack, fault_point);
        let seed = format!("--seed={round}");
        stack.produce(&["--count=2000", &seed]).await;
        published += 2000;
        assert!(
            crashing.ended().await.code().is_none(),
            "{fault_point} was reached"
        );
        let mut next = stack.daemon(&SHORT).await;
        stack.settled().await;
        assert_eq!(
            stack.clickhouse.counts().await,
            (published, published),
            "{fault_point}"
        );
        assert!(next.stop().await.success());
        if fault_point.starts_with("insert-answered") {
            assert!(already_stored(&next) >= 1, "the look-up found them");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_a_dead_letter_and_its_ack_repeats_nothing() {
    let stack = Stack::start().await;
    let mut crashing = doomed(&stack, "letter-published:3");
    stack
        .produce(&["--count=200", "--invalid=100", "--seed=1"])
        .await;
    assert!(crashing.ended().await.code().is_none());
    let _next = stack.daemon(&SHORT).await;
    stack.settled().await;
    assert_eq!(stack.nats.messages(DEAD_LETTERS).await.len(), 200);
    assert_eq!(stack.clickhouse.counts().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_was_stopped_for_longer_than_its_lease_inserts_nothing_late() {
    let stack = Stack::start().await;
    let mut sleeper = stack.daemon(&SHORT).await;
    let load = stack.produce(&["--count=60000", "--rate=4000", "--seed=2"]);
    let pauses = async {
        for _ in 0..3 {
            sleep(Duration::from_millis(700)).await;
            sleeper.signal("STOP");
            let _awake = stack.daemon(&SHORT).await;
            sleep(Duration::from_secs(6)).await;
            sleeper.signal("CONT");
            sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::join!(load, pauses);
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (60_000, 60_000));
    assert!(sleeper.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgets_what_it_delivered_has_nobody_insert_it_twice() {
    let stack = Stack::start().await;
    stack.risksignal(&["migrate"]).await;
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let mut environment = SHORT.to_vec();
    environment.extend([
        setting!(consumer.ack_wait = "8s"),
        setting!(clickhouse.send_timeout = "2s"),
        setting!(clickhouse.end_timeout = "4s"),
    ]);
    let url = link.url();
    let slow = [environment.as_slice(), &[setting!(clickhouse.url = &url)]].concat();
    let mut first = stack.daemon(&slow).await;
    // A row is there, so that a daemon that starts does not take the table for a new one.
    stack.produce(&["--count=1", "--seed=1"]).await;
    stack.settled().await;

    // The insert of the first is under way for longer than the server and the second take.
    link.slow(20_000);
    stack.produce(&["--count=100", "--seed=2"]).await;
    eventually("all are delivered", async || {
        let consumer = stack.nats.consumer().await?;
        (consumer.num_pending == 0 && consumer.num_ack_pending > 0).then_some(())
    })
    .await;
    stack.nats.kill_and_forget();
    stack.nats.restart().await;
    let mut second = stack.daemon(&environment).await;
    stack.settled().await;
    assert!(first.stop().await.success());
    assert_eq!(stack.clickhouse.counts().await, (101, 101));
    assert!(second.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_consumer_repeats_nothing() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&SHORT).await;
    stack.produce(&["--count=3000", "--seed=1"]).await;
    stack.settled().await;
    let stream = stack
        .nats
        .jetstream()
        .await
        .get_stream(STREAM)
        .await
        .unwrap();
    stream.delete_consumer(CONSUMER).await.unwrap();
    stack.produce(&["--count=1000", "--seed=2"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (4000, 4000));
    assert_eq!(already_stored(&daemon), 3000);

    assert!(daemon.stop().await.success());
    stream.delete_consumer(CONSUMER).await.unwrap();
    let _next = stack.daemon(&SHORT).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (4000, 4000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_stream_counts_from_one_and_lands() {
    let stack = Stack::start().await;
    let _daemon = stack.daemon(&SHORT).await;
    stack.produce(&["--count=1000", "--seed=1"]).await;
    stack.settled().await;
    let nats = stack.nats.jetstream().await;
    nats.delete_stream(STREAM).await.unwrap();
    eventually(
        "the daemon recreates the stream and the consumer",
        async || stack.nats.consumer().await,
    )
    .await;
    stack.produce(&["--count=1500", "--seed=2"]).await;
    stack.settled().await;
    let distinct = "SELECT uniqExact(trace_id) FROM raw_signals";
    assert_eq!(stack.clickhouse.number(distinct).await, 2500);
    assert_eq!(stack.clickhouse.counts().await, (2500, 1500));

    // A purge keeps the count, and what is stored stays known.
    nats.get_stream(STREAM)
        .await
        .unwrap()
        .purge()
        .await
        .unwrap();
    stack.produce(&["--count=500", "--seed=3"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.number(distinct).await, 3000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_clickhouse_refuses_is_found_and_the_others_land() {
    let stack = Stack::start().await;
    stack.refuse_source_seven().await;
    stack.nats.create_stream().await;
    let nats = stack.nats.jetstream().await;
    for number in 0..300 {
        let mut signal = signal(number);
        if number % 100 == 7 {
            signal["source_id"] = "seven".into();
        }
        let body = signal.to_string().into();
        nats.publish("signals.risk_event", body)
            .await
            .unwrap()
            .await
            .unwrap();
    }
    let _daemon = stack.daemon(&SHORT).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (297, 297));
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert_eq!(letters.len(), 3);
    for letter in letters {
        let header = |name| testkit::nats::header(&letter, name);
        assert_eq!(header("Risksignal-Reason"), "refused_by_clickhouse");
        assert!(header("Risksignal-Error").contains("no_seven"));
        assert!(letter.payload.windows(5).any(|window| window == b"seven"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_refuses_everything_stops_the_pulling_and_no_letter_is_written() {
    let stack = Stack::start().await;
    stack.risksignal(&["migrate"]).await;
    let alter = "ALTER TABLE raw_signals";
    stack
        .clickhouse
        .execute(&format!(
            "{alter} ADD CONSTRAINT nothing CHECK severity > 9"
        ))
        .await;
    stack.produce(&["--count=20", "--seed=1"]).await;
    let mut environment = SHORT.to_vec();
    environment.push(setting!(clickhouse.retry_max = "300ms"));
    let daemon = stack.daemon(&environment).await;
    daemon.logged(INSERT_REFUSED).await;
    assert_eq!(stack.nats.messages(DEAD_LETTERS).await.len(), 0);
    stack
        .clickhouse
        .execute(&format!("{alter} DROP CONSTRAINT nothing"))
        .await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (20, 20));
    assert_eq!(stack.nats.messages(DEAD_LETTERS).await.len(), 0);
}
