//! Deeds of operators on streams, consumers, daemons and tables, while daemons run: each valid
//! signal stays one row.

use std::time::Duration;

use risksignal::command::log_lines::STARTING;
use risksignal::pipeline::log_lines::{SETTLED, TAKEN_OVER};
use testkit::nats::{CLAIMS, CONSUMER, DEAD_LETTERS, STREAM};
use testkit::slow_link::SlowLink;
use testkit::{Daemon, Stack, eventually, setting};
use tokio::time::{Instant, sleep};

/// A log line for everything, and small batches.
const USUAL: [(&str, &str); 6] = [
    setting!(log.lines_per_second = "1000000"),
    setting!(consumer.ack_wait = "20s"),
    setting!(clickhouse.send_timeout = "2s"),
    setting!(clickhouse.end_timeout = "4s"),
    setting!(batch.max_rows = "500"),
    setting!(batch.max_wait = "100ms"),
];
/// Time enough for an insert over a slow link.
const PATIENT: [(&str, &str); 3] = [
    setting!(consumer.ack_wait = "80s"),
    setting!(clickhouse.send_timeout = "30s"),
    setting!(clickhouse.end_timeout = "40s"),
];

fn usual<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [USUAL.as_slice(), more].concat()
}

/// A daemon that ends itself, as kill -9 would, at a fault point.
fn doomed(stack: &Stack, fault_point: &str, more: &[(&str, &str)]) -> Daemon {
    let arguments = ["run", "--fault-point", fault_point];
    let environment = stack.environment(&usual(more));
    Daemon::spawn(&arguments, &environment, &stack.work_dir())
}

/// Asks the server to deliver all from the first message on again.
async fn reset(stack: &Stack) {
    let subject = format!("$JS.API.CONSUMER.RESET.{STREAM}.{CONSUMER}");
    let client = stack.nats.client().await;
    let answer = client
        .request(subject, r#"{"seq":1}"#.into())
        .await
        .unwrap();
    let answer = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(!answer.contains("\"error\""), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_reset_repeats_nothing() {
    let stack = Stack::start().await;
    let mut daemon = stack
        .daemon(&usual(&[setting!(consumer.fetch_messages = "20")]))
        .await;
    stack.produce(&["--count=200", "--seed=1"]).await;
    stack.settled().await;
    reset(&stack).await;
    let load = stack.produce(&["--count=200", "--rate=100", "--seed=2"]);
    let resets = async {
        for _ in 0..4 {
            sleep(Duration::from_millis(400)).await;
            reset(&stack).await;
        }
    };
    tokio::join!(load, resets);
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (400, 400));
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_consumers_of_one_stream_into_one_table_land_each_signal_once() {
    const OTHER: &str = "another-name";
    let stack = Stack::start().await;
    let _first = stack.daemon(&USUAL).await;
    let other = usual(&[setting!(consumer.name = OTHER)]);
    let _second = stack.daemon(&other).await;
    for (count, total) in [("--count=10", 10), ("--count=2000", 2010)] {
        stack
            .produce(&[count, "--invalid=10", &format!("--seed={total}")])
            .await;
        stack.settled().await;
        stack.settled_by(OTHER).await;
        let letters = stack.nats.messages_left(DEAD_LETTERS).await;
        let (rows, distinct) = stack.clickhouse.counts().await;
        assert_eq!((rows, distinct + letters), (distinct, total));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_erased_stay_erased_when_the_consumer_is_recreated() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&USUAL).await;
    stack.produce(&["--count=20", "--seed=1"]).await;
    stack.settled().await;
    for erase in [
        "ALTER TABLE raw_signals DELETE WHERE stream_seq <= 5 SETTINGS mutations_sync = 2",
        "DELETE FROM raw_signals WHERE stream_seq BETWEEN 16 AND 20",
    ] {
        stack.clickhouse.execute(erase).await;
    }
    let jetstream = stack.nats.jetstream().await;
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    for is_stopped in [false, true] {
        if is_stopped {
            assert!(daemon.stop().await.success());
        }
        stream.delete_consumer(CONSUMER).await.unwrap();
        if is_stopped {
            daemon = stack.daemon(&USUAL).await;
        }
        eventually("the consumer is recreated and drained", async || {
            let consumer = stack.nats.consumer().await?;
            (consumer.ack_floor.stream_sequence == 20).then_some(())
        })
        .await;
        assert_eq!(stack.clickhouse.counts().await, (10, 10));
    }
    stack.produce(&["--count=5", "--seed=2"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (15, 15));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_daemon_had_claimed_is_completed_by_another_before_it_is_delivered_again() {
    for fault_point in ["insert-sent", "insert-answered"] {
        let stack = Stack::start().await;
        let mut crashing = doomed(&stack, fault_point, &[]);
        crashing.logged(STARTING).await;
        let survivor = stack.daemon(&USUAL).await;
        survivor.signal("STOP");
        stack.produce(&["--count=50", "--seed=1"]).await;
        crashing.ended().await;
        let killed_at = Instant::now();
        survivor.signal("CONT");
        survivor.logged(TAKEN_OVER).await;
        let consumer = stack.nats.consumer().await.unwrap();
        assert_eq!(consumer.num_redelivered, 0, "{fault_point}");
        eprintln!("{fault_point}: taken over after {:?}", killed_at.elapsed());
        stack.settled().await;
        assert_eq!(stack.clickhouse.counts().await, (50, 50), "{fault_point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_starts_when_the_fence_of_its_claims_is_over_settles_them() {
    let short = [
        setting!(clickhouse.fence = "2s"),
        setting!(clickhouse.late_commit = "1s"),
    ];
    for fault_point in ["insert-sent", "insert-answered"] {
        let stack = Stack::start().await;
        let mut crashing = doomed(&stack, fault_point, &short);
        stack.produce(&["--count=50", "--seed=1"]).await;
        crashing.ended().await;
        sleep(Duration::from_secs(4)).await;
        let next = stack.daemon(&usual(&short)).await;
        next.logged(SETTLED).await;
        stack.settled().await;
        assert_eq!(stack.clickhouse.counts().await, (50, 50), "{fault_point}");
    }
}

/// A daemon whose insert of the first `count` signals of the stream is under way, for as long as
/// the link takes for it.
async fn with_a_slow_insert(
    stack: &Stack,
    link: &SlowLink,
    bytes_per_second: u64,
    count: &str,
    more: &[(&str, &str)],
) -> Daemon {
    let url = link.url();
    let more = [PATIENT.as_slice(), more, &[setting!(clickhouse.url = &url)]].concat();
    let daemon = stack.daemon(&usual(&more)).await;
    link.slow(bytes_per_second);
    stack.produce(&[count, "--seed=1"]).await;
    daemon
}

/// Waits until the claims log has a claim.
async fn claimed(stack: &Stack) {
    eventually("a claim is in the log", async || {
        let records = stack.nats.messages_left(CLAIMS).await;
        (records > 1).then_some(())
    })
    .await;
}

async fn all_delivered(stack: &Stack) {
    eventually("all are delivered", async || {
        let consumer = stack.nats.consumer().await?;
        (consumer.num_pending == 0 && consumer.num_ack_pending > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgets_its_first_deliveries_has_nobody_insert_them_twice() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let _first = with_a_slow_insert(&stack, &link, 400, "--count=10", &[]).await;
    all_delivered(&stack).await;
    stack.nats.kill_and_forget();
    stack.nats.restart().await;
    let _second = stack.daemon(&usual(&PATIENT)).await;
    stack.settled().await;
    // What is held may land for as long as this.
    sleep(Duration::from_secs(15)).await;
    assert_eq!(stack.clickhouse.counts().await, (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_wait_that_is_edited_while_an_insert_is_under_way_repeats_nothing() {
    let stack = Stack::start().await;
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let _first = with_a_slow_insert(&stack, &link, 400, "--count=20", &[]).await;
    all_delivered(&stack).await;
    let _second = stack.daemon(&usual(&PATIENT)).await;
    let mut config = stack.nats.consumer().await.unwrap().config;
    config.ack_wait = Duration::from_secs(1);
    let config = async_nats::jetstream::consumer::pull::Config {
        durable_name: config.durable_name,
        ack_policy: config.ack_policy,
        ack_wait: config.ack_wait,
        max_ack_pending: config.max_ack_pending,
        max_deliver: config.max_deliver,
        ..Default::default()
    };
    let jetstream = stack.nats.jetstream().await;
    jetstream
        .create_consumer_on_stream(config, STREAM)
        .await
        .unwrap();
    eventually("they are delivered again", async || {
        (stack.nats.consumer().await?.num_redelivered > 0).then_some(())
    })
    .await;
    stack.settled().await;
    sleep(Duration::from_secs(15)).await;
    assert_eq!(stack.clickhouse.counts().await, (20, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_given_up_while_its_claim_is_open_is_a_row_or_a_letter() {
    let stack = Stack::start().await;
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let once = [
        setting!(consumer.max_deliver = "1"),
        setting!(consumer.ack_wait = "4s"),
        setting!(clickhouse.send_timeout = "1s"),
        setting!(clickhouse.end_timeout = "2s"),
    ];
    let mut holder = with_a_slow_insert(&stack, &link, 400, "--count=10", &once).await;
    all_delivered(&stack).await;
    claimed(&stack).await;
    // It renews nothing, so that the server gives the messages up.
    holder.signal("STOP");
    let second = stack.daemon(&usual(&once)).await;
    eventually("it is given up", async || {
        let given_up = "Message was delivered too often";
        second.output().contains(given_up).then_some(())
    })
    .await;
    holder.kill();
    second.logged(TAKEN_OVER).await;
    stack.settled().await;
    eventually("each is a row or a letter", async || {
        let (rows, _) = stack.clickhouse.counts().await;
        let letters = stack.nats.messages_left(DEAD_LETTERS).await;
        eprintln!("{rows} rows, {letters} letters");
        (rows + letters >= 10).then_some(())
    })
    .await;
    sleep(Duration::from_secs(10)).await;
    let letters = stack.nats.messages_left(DEAD_LETTERS).await;
    let (rows, distinct) = stack.clickhouse.counts().await;
    assert_eq!((rows, rows + letters), (distinct, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn stricter_rules_after_a_crash_leave_no_claimed_message_without_row_or_letter() {
    let stack = Stack::start().await;
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let short = [
        setting!(clickhouse.fence = "4s"),
        setting!(clickhouse.late_commit = "1s"),
    ];
    let mut first = with_a_slow_insert(&stack, &link, 400, "--count=10", &short).await;
    claimed(&stack).await;
    // Nothing reaches ClickHouse.
    first.kill();
    link.cut();
    let strict = [setting!(validation.event_type_max_chars = "10")];
    let second = stack
        .daemon(&usual(&[short.as_slice(), &strict].concat()))
        .await;
    second.logged(SETTLED).await;
    eventually("each is a row or a letter", async || {
        let (rows, distinct) = stack.clickhouse.counts().await;
        let letters = stack.nats.messages_left(DEAD_LETTERS).await;
        (rows == distinct && letters > 0 && rows + letters == 10).then_some(())
    })
    .await;
    stack.settled().await;
}
