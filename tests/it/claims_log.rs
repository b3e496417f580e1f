//! The claims log: its name, a purge beside a running daemon, garbage in it, and the memory of
//! look-ups.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream;
use claims_log::log_lines::{LOG_UNREADABLE, NO_RECORD};
use risksignal::claiming::log_lines::{LOG_GONE, OTHER_LOG};
use risksignal::command::log_lines::STARTING;
use risksignal::pipeline::log_lines::LOOKING_UP;
use testkit::nats::{CLAIMS, DEAD_LETTERS, STREAM};
use testkit::ops::{ANY_PORT, Ops};
use testkit::signals::signal;
use testkit::slow_link::SlowLink;
use testkit::{Stack, eventually, setting};
use tokio::time::sleep;

use crate::restore::SHORT;

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [SHORT.as_slice(), more].concat()
}

async fn publish(stack: &Stack, body: String) {
    let nats = stack.nats.jetstream().await;
    let sent = nats.publish("signals.risk_event", body.into()).await;
    sent.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tables_whose_joined_names_are_the_same_get_each_signal() {
    let stack = Stack::start().await;
    let one = [setting!(clickhouse.table = "eu_signals")];
    let two = [
        setting!(clickhouse.database = "risksignal_eu"),
        setting!(clickhouse.table = "signals"),
        setting!(consumer.name = "second"),
    ];
    let first = stack.daemon(&with(&one)).await;
    let second = stack.daemon(&with(&two)).await;
    stack
        .produce(&["--count=200", "--seed=1", "--rate=50"])
        .await;
    stack.settled().await;
    stack.settled_by("second").await;
    let first_rows = stack
        .clickhouse
        .number("SELECT count() FROM risksignal.eu_signals")
        .await;
    let second_rows = stack
        .clickhouse
        .number("SELECT count() FROM risksignal_eu.signals")
        .await;
    eprintln!("rows: {first_rows} and {second_rows}");
    drop((first, second));
    assert_eq!((first_rows, second_rows), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_begins_a_purged_log_beside_another_one_repeats_nothing() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let url = link.url();
    let patient = [
        setting!(consumer.ack_wait = "80s"),
        setting!(clickhouse.send_timeout = "30s"),
        setting!(clickhouse.end_timeout = "40s"),
        setting!(clickhouse.fence = "20s"),
        setting!(clickhouse.url = &url),
    ];
    let first = stack.daemon(&with(&patient)).await;
    stack.produce(&["--count=1", "--seed=7"]).await;
    stack.settled().await;
    let jetstream = stack.nats.jetstream().await;
    let log = jetstream.get_stream(CLAIMS).await.unwrap();
    log.purge().await.unwrap();
    let fence = setting!(clickhouse.fence = "20s");
    let second = stack.daemon_not_waited_for(&with(&[fence, ANY_PORT]));
    eventually("it waits", async || {
        second.output().contains(LOG_GONE).then_some(())
    })
    .await;
    let reason = Ops::of(&second).await.down("jetstream").await;
    assert!(
        reason.contains(&format!("the claims log {CLAIMS} is gone")),
        "{reason}"
    );
    sleep(Duration::from_secs(17)).await;
    let before = stack.nats.messages_left(CLAIMS).await;
    link.slow(300);
    stack.produce(&["--count=10", "--seed=1"]).await;
    eventually("the signals are claimed", async || {
        (stack.nats.messages_left(CLAIMS).await > before).then_some(())
    })
    .await;
    sleep(Duration::from_millis(500)).await;
    first.signal("STOP");
    second.logged(STARTING).await;
    stack.settled().await;
    sleep(Duration::from_secs(20)).await;
    let (rows, distinct) = stack.clickhouse.counts().await;
    first.signal("CONT");
    eprintln!("{rows} rows of {distinct}");
    assert_eq!((rows, distinct), (11, 11));
}

/// Publishes to the claims log, as only daemons may.
async fn intrude(stack: &Stack, headers: HeaderMap, body: &'static [u8]) -> u64 {
    let jetstream = stack.nats.jetstream().await;
    let sent = jetstream.publish_with_headers(CLAIMS, headers, body.into());
    sent.await.unwrap().await.unwrap().sequence
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_the_log_is_skipped_by_every_reader() {
    let stack = Stack::start().await;
    let first = stack.daemon(&with(&[ANY_PORT])).await;
    let ops = Ops::of(&first).await;
    let mut second = stack.daemon(&with(&[])).await;
    stack.produce(&["--count=50", "--seed=7"]).await;
    stack.settled().await;
    let before = stack.nats.messages_left(CLAIMS).await;
    let mut last = 0;
    // An empty one, one that begins as the records of another form, and half a mark.
    let bodies = [b"garbage".as_slice(), b"", b"\x01\x02\x03", b"RSCL"];
    for (body, seed) in bodies
        .into_iter()
        .zip(["--seed=1", "--seed=2", "--seed=3", "--seed=4"])
    {
        last = intrude(&stack, HeaderMap::new(), body).await;
        stack.produce(&["--count=50", seed]).await;
    }
    stack.settled().await;
    assert!(stack.nats.messages_left(CLAIMS).await > before + 4);
    for daemon in [&first, &second] {
        let lines = daemon.lines().into_iter();
        let seqs = lines.filter(|line| line["message"] == NO_RECORD);
        let seqs: Vec<u64> = seqs.map(|line| line["seq"].as_u64().unwrap()).collect();
        // The first, the second and the fourth.
        assert_eq!((seqs.len(), seqs.last()), (3, Some(&last)), "{seqs:?}");
    }
    eventually("the metric says so", async || {
        (ops.metric("risksignal_claims_foreign_total").await? == 4.0).then_some(())
    })
    .await;
    // One that reads the log from its beginning.
    assert!(second.stop().await.success());
    let third = stack.daemon(&with(&[])).await;
    third.logged(NO_RECORD).await;
    stack.produce(&["--count=50", "--seed=9"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (300, 300));
    assert!(!first.output().contains("cannot be read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_that_purges_the_log_is_a_lost_log() {
    let stack = Stack::start().await;
    let mut first = stack.daemon(&with(&[])).await;
    stack.produce(&["--count=50", "--seed=7"]).await;
    stack.settled().await;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Rollup", "all");
    intrude(&stack, headers, b"garbage").await;
    assert_eq!(stack.nats.messages_left(CLAIMS).await, 1);
    stack.produce(&["--count=50", "--seed=8"]).await;
    stack.settled().await;
    let _second = stack.daemon_not_waited_for(&with(&[]));
    assert_eq!(first.ended().await.code(), Some(75));
    let _third = stack.daemon(&with(&[])).await;
    stack.produce(&["--count=50", "--seed=9"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (150, 150));
}

/// A message in the midst of the log goes, as a message with a time to live does. A daemon that
/// starts reads the log from its beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_a_record_in_its_midst_is_rebuilt() {
    let stack = Stack::start().await;
    let mut first = stack.daemon(&with(&[])).await;
    stack.produce(&["--count=10", "--seed=1"]).await;
    stack.settled().await;
    let jetstream = stack.nats.jetstream().await;
    let log = jetstream.get_stream(CLAIMS).await.unwrap();
    let mut config = log.cached_info().config.clone();
    config.allow_message_ttl = true;
    jetstream.update_stream(config).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-TTL", "1s");
    let torn = intrude(&stack, headers, b"garbage").await;
    stack.produce(&["--count=10", "--seed=2"]).await;
    stack.settled().await;
    eventually("the message is gone", async || {
        log.get_raw_message(torn).await.err().map(drop)
    })
    .await;
    assert!(first.stop().await.success());
    let second = stack.daemon_not_waited_for(&with(&[]));
    let line = second.logged(OTHER_LOG).await;
    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains(&format!("after record {}", torn - 1)),
        "{error}"
    );
    second.logged(STARTING).await;
    stack.produce(&["--count=10", "--seed=3"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (30, 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_a_record_of_a_later_version_goes_on_once_it_is_purged() {
    let stack = Stack::start().await;
    let mut first = stack.daemon(&with(&[])).await;
    stack.produce(&["--count=5", "--seed=7"]).await;
    stack.settled().await;
    let jetstream = stack.nats.jetstream().await;
    intrude(&stack, HeaderMap::new(), b"RSCL\xc8later").await;
    stack.produce(&["--count=5", "--seed=8"]).await;
    let line = first.logged(LOG_UNREADABLE).await;
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("has version 200"), "{error}");
    let log = jetstream.get_stream(CLAIMS).await.unwrap();
    log.purge().await.unwrap();
    assert_eq!(first.ended().await.code(), Some(75));
    let _next = stack.daemon(&with(&[])).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (10, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_that_are_looked_up_keep_within_the_memory() {
    let stack = Stack::start().await;
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["signals.>".to_owned()],
        ..Default::default()
    };
    let nats = stack.nats.jetstream().await;
    nats.create_stream(config).await.unwrap();
    let mut daemon = stack.daemon(&with(&[])).await;
    for _ in 0..200 {
        publish(&stack, "x".repeat(1_000_000)).await;
    }
    stack.settled().await;
    eprintln!("peak before: {} MiB", daemon.peak_mib());
    assert!(daemon.stop().await.success());
    let daemon = stack.daemon(&with(&[])).await;
    let arguments = ["reingest", "--from=1", "--yes"];
    let done = stack.risksignal_with(&arguments, &SHORT).await;
    assert!(done.status.success(), "{done:?}");
    daemon.logged(LOOKING_UP).await;
    let peak = daemon.peak_mib();
    eprintln!("peak of the look-up: {peak} MiB");
    assert!(peak < 160, "{peak}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_one_table_keeps_no_row_from_another() {
    let stack = Stack::start().await;
    stack.refuse_source_seven().await;
    let two = [
        setting!(clickhouse.table = "second"),
        setting!(consumer.name = "second"),
    ];
    let first = stack.daemon(&with(&[])).await;
    let mut second = stack.daemon(&with(&two)).await;
    for number in 0..10 {
        publish(&stack, signal(number).to_string()).await;
    }
    stack.settled().await;
    stack.settled_by("second").await;
    assert!(second.stop().await.success());
    let mut seven = signal(10);
    seven["source_id"] = "seven".into();
    publish(&stack, seven.to_string()).await;
    for number in 11..15 {
        publish(&stack, signal(number).to_string()).await;
        sleep(Duration::from_millis(300)).await;
    }
    eventually("the letter is stored", async || {
        (stack.nats.messages_left(DEAD_LETTERS).await == 1).then_some(())
    })
    .await;
    let second = stack.daemon(&with(&two)).await;
    stack.settled_by("second").await;
    let rows = stack.clickhouse.number("SELECT count() FROM second").await;
    for line in second.lines() {
        if line["level"] != "INFO" {
            eprintln!("{line}");
        }
    }
    drop(first);
    assert_eq!(rows, 15);
}
