//! Faults of room and of the streams, made for real: `check`, `status`, the page and the log name
//! each. Those of servers and users are in `faults_of_servers`.

use std::time::Duration;

use async_nats::jetstream::stream;
use risksignal::capacity::log_lines::{WARNING_IN_FORCE, WARNING_OVER};
use testkit::fault::{Fault, fill, with_small_account};
use testkit::nats::{CONSUMER, DEAD_LETTERS, Options, STREAM};
use testkit::ops::{ANY_PORT, Ops};
use testkit::process::free_port;
use testkit::{Daemon, Stack, eventually, setting};
use time::OffsetDateTime;

/// A daemon that keeps all history, so that a stream can fill.
const SETTINGS: [(&str, &str); 3] = [
    ANY_PORT,
    setting!(stream.keep = "all"),
    setting!(clickhouse.retry_max = "1s"),
];

async fn start(stack: &Stack, more: &[(&str, &str)]) -> (Daemon, Ops) {
    let daemon = stack.daemon(&[&SETTINGS, more].concat()).await;
    let ops = Ops::of(&daemon).await;
    stack.produce(&["--count=200", "--seed=1"]).await;
    stack.settled().await;
    (daemon, ops)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_is_named() {
    let stack = Stack::start().await;
    let (daemon, ops) = start(&stack, &[]).await;
    let bound = |bytes| bytes as i64 + 300;
    stack.nats.bound_stream(STREAM, bound).await;
    assert!(fill(&stack, "signals.x").await > 0);
    let fault = Fault {
        name: "full stream",
        settings: &SETTINGS,
        check: &["storage", "SIGNALS: ", "raise the stream's max_bytes"],
        page: &["SIGNALS: ", "raise the stream's max_bytes"],
        log: &[WARNING_IN_FORCE, "storage_full", "SIGNALS: "],
    };
    fault.assert_named(&stack, &daemon, &ops).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_full_by_its_number_of_messages_is_named() {
    let stack = Stack::start().await;
    let (daemon, ops) = start(&stack, &[]).await;
    let jetstream = stack.nats.jetstream().await;
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.max_messages = 200;
    jetstream.update_stream(config).await.unwrap();
    let refused = jetstream.publish("signals.x", "{}".into()).await.unwrap();
    let refused = refused.await.unwrap_err().to_string();
    assert!(refused.contains("maximum messages exceeded"), "{refused}");
    let words = ["SIGNALS: ", "200 of at most 200 messages", "max_msgs"];
    let fault = Fault {
        name: "stream full by messages",
        settings: &SETTINGS,
        check: &words,
        page: &words,
        log: &[WARNING_IN_FORCE, "storage_full", words[1]],
    };
    fault.assert_named(&stack, &daemon, &ops).await;
    let status = ops.get("/statusz").await.json();
    let mut storages = status["storages"].as_array().unwrap().iter();
    let signals = storages.find(|storage| storage["name"] == STREAM).unwrap();
    assert_eq!(signals["level"], "full", "{signals}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_account_is_named() {
    let stack = with_small_account(4_000_000).await;
    let (daemon, ops) = start(&stack, &[]).await;
    let filler = stream::Config {
        name: "FILLER".to_owned(),
        subjects: vec!["filler".to_owned()],
        ..Default::default()
    };
    let jetstream = stack.nats.jetstream().await;
    jetstream.create_stream(filler).await.unwrap();
    assert!(fill(&stack, "filler").await > 10);
    let fault = Fault {
        name: "full account",
        settings: &SETTINGS,
        check: &["storage", "account (file)", "raise the account's max_file"],
        page: &["account (file)", "raise the account's max_file"],
        log: &[WARNING_IN_FORCE, "storage_full", "account (file)"],
    };
    fault.assert_named(&stack, &daemon, &ops).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_nats_is_named() {
    let port = free_port();
    let options = Options::arguments(&[&format!("--http-port={port}")]);
    let Some(stack) = Stack::on_small_disks(options, (Some(24), None)).await else {
        return;
    };
    let url = format!("http://127.0.0.1:{port}");
    let monitoring = setting!(nats.monitoring_url = url.as_str());
    let (daemon, ops) = start(&stack, &[monitoring]).await;
    stack.disk().fill_but(100_000);
    let client = stack.nats.client().await;
    // A publisher gets no answer at all.
    for _ in 0..3 {
        let body = vec![b'x'; 500_000].into();
        client.publish("signals.x", body).await.unwrap();
    }
    client.flush().await.unwrap();
    let fault = Fault {
        name: "full disk of NATS",
        settings: &[&SETTINGS[..], &[monitoring]].concat(),
        check: &["storage", "no space left on device", "restart nats-server"],
        page: &["nats-server is not healthy", "restart nats-server"],
        log: &[WARNING_IN_FORCE, "nats-server is not healthy"],
    };
    fault.assert_named(&stack, &daemon, &ops).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_clickhouse_is_named() {
    let disks = (None, Some(256));
    let Some(stack) = Stack::on_small_disks(Options::default(), disks).await else {
        return;
    };
    let (daemon, ops) = start(&stack, &[]).await;
    // Idle: no insert finds it.
    stack.disk().fill_but(65_536);
    let fault = Fault {
        name: "full disk of ClickHouse",
        settings: &SETTINGS,
        check: &[
            "storage",
            "ClickHouse's disk: ",
            "shorten clickhouse.retention",
        ],
        page: &["ClickHouse's disk: ", "shorten clickhouse.retention"],
        log: &[WARNING_IN_FORCE, "storage_full", "ClickHouse's disk"],
    };
    fault.assert_named(&stack, &daemon, &ops).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_of_dead_letters_is_named() {
    let stack = Stack::start().await;
    let (daemon, ops) = start(&stack, &[]).await;
    let jetstream = stack.nats.jetstream().await;
    let publish = async || {
        let ack = jetstream.publish("signals.bad", "{".into()).await.unwrap();
        ack.await.unwrap();
    };
    for _ in 0..20 {
        publish().await;
    }
    stack.settled().await;
    let bound = |bytes| bytes as i64 + 20;
    stack.nats.bound_stream(DEAD_LETTERS, bound).await;
    publish().await;
    let fault = Fault {
        name: "full stream of dead letters",
        settings: &SETTINGS,
        check: &["storage", "SIGNALS_DLQ: ", "replay or purge dead letters"],
        page: &["SIGNALS_DLQ: ", "replay or purge dead letters"],
        log: &[WARNING_IN_FORCE, "storage_full", "SIGNALS_DLQ: "],
    };
    fault.assert_named(&stack, &daemon, &ops).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_consumer_is_named_until_it_is_resumed() {
    let stack = Stack::start().await;
    let (mut daemon, ops) = start(&stack, &[]).await;
    let stream = stack.nats.jetstream().await;
    let stream = stream.get_stream(STREAM).await.unwrap();
    let until = OffsetDateTime::now_utc() + Duration::from_secs(3600);
    stream.pause_consumer(CONSUMER, until).await.unwrap();
    stack.produce(&["--count=20", "--seed=2"]).await;
    let fault = Fault {
        name: "paused consumer",
        settings: &SETTINGS,
        check: &[
            "consumer",
            "is paused until 2",
            "nats consumer resume SIGNALS signals-to-clickhouse",
        ],
        page: &[
            "is paused until 2",
            "nats consumer resume SIGNALS signals-to-clickhouse",
        ],
        log: &[WARNING_IN_FORCE, "consumer_paused", "is paused until 2"],
    };
    fault.assert_named(&stack, &daemon, &ops).await;
    assert_eq!(ops.metric("risksignal_consumer_paused").await, Some(1.0));
    assert_eq!(stack.clickhouse.counts().await, (200, 200));

    stream.resume_consumer(CONSUMER).await.unwrap();
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (220, 220));
    eventually("the warning is over", async || {
        let lines = daemon.lines();
        let is_over = |line: &serde_json::Value| {
            line["message"] == WARNING_OVER && line["code"] == "consumer_paused"
        };
        lines.iter().any(is_over).then_some(())
    })
    .await;
    assert_eq!(ops.metric("risksignal_consumer_paused").await, Some(0.0));
    let check = stack.check(&SETTINGS).await;
    assert!(!check.contains("paused"), "{check}");
    // Once each: when it came, and when it went.
    let lines = daemon.lines();
    let about = lines
        .iter()
        .filter(|line| line["code"] == "consumer_paused");
    assert_eq!(about.count(), 2, "{lines:#?}");
    assert!(daemon.stop().await.success());
}
