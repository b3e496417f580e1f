//! Full streams, accounts and disks: each is filled for real, and shows everywhere.

use async_nats::jetstream::stream;
use claims_log::log_lines::RECORD_NOT_APPENDED;
use risksignal::capacity::log_lines::{USAGE_UNKNOWN, WARNING_IN_FORCE, WARNING_OVER};
use risksignal::command::log_lines::CLAIMS_LOG_NOT_READY;
use serde_json::Value;
use testkit::fault::{fill, with_small_account};
use testkit::nats::{CLAIMS, DEAD_LETTERS, Options, STREAM};
use testkit::ops::{ANY_PORT, Ops};
use testkit::process::free_port;
use testkit::{Daemon, Stack, eventually, setting};

/// Keeps all history, so that a stream can fill.
const KEEP_ALL: (&str, &str) = setting!(stream.keep = "all");
const RETRY: (&str, &str) = setting!(clickhouse.retry_max = "1s");

async fn start(stack: &Stack, more: &[(&str, &str)]) -> (Daemon, Ops) {
    let daemon = stack
        .daemon(&[&[ANY_PORT, KEEP_ALL, RETRY], more].concat())
        .await;
    let ops = Ops::of(&daemon).await;
    (daemon, ops)
}

/// Waits for a warning in readiness.
async fn warning(ops: &Ops, code: &str, name: &str) -> Value {
    eventually(&format!("{code} of {name}"), async || {
        let report = ops.get("/readyz").await.json();
        let warnings = report["warnings"].as_array().cloned().unwrap_or_default();
        let mut warnings = warnings.into_iter();
        warnings.find(|warning| warning["code"] == code && warning["name"] == name)
    })
    .await
}

/// Waits until it is over, in readiness and in the log.
async fn over(daemon: &Daemon, ops: &Ops, code: &str, name: &str) {
    eventually(&format!("{code} of {name} is over"), async || {
        let report = ops.get("/readyz").await.json();
        let warnings = report["warnings"].as_array().cloned().unwrap_or_default();
        let is_same = |warning: &Value| warning["code"] == code && warning["name"] == name;
        let is_over = !warnings.iter().any(is_same);
        is_over.then_some(())
    })
    .await;
    let lines = daemon.lines();
    let is_told = |line: &Value| {
        line["message"] == WARNING_OVER && line["code"] == code && line["name"] == name
    };
    assert!(lines.iter().any(is_told), "{code}: {lines:#?}");
}

/// The warning shows in `status`, what the page gets, the metrics and the log.
async fn assert_shown(stack: &Stack, daemon: &Daemon, ops: &Ops, warning: &Value) {
    let (text, name) = (warning["text"].as_str().unwrap(), &warning["name"]);
    let remedy = warning["remedy"].as_str().unwrap();
    assert!(!remedy.is_empty());
    let status = stack.risksignal_with(&["status"], &[ops.listen()]).await;
    let status = String::from_utf8(status.stdout).unwrap();
    let is_told = |line: &str| line.starts_with("WARNING") && line.contains(name.as_str().unwrap());
    assert!(status.lines().any(is_told), "{status}");
    assert!(status.contains(remedy), "{remedy}: {status}");
    let statusz = ops.get("/statusz").await.json();
    let storages = statusz["storages"].as_array().unwrap();
    let storage = storages.iter().find(|storage| storage["name"] == *name);
    assert!(storage.is_some(), "{name}: {storages:#?}");
    let metrics = ops.get("/metrics").await.body;
    let series = format!("risksignal_storage_level{{storage={name}}} ");
    let level = metrics.lines().find_map(|line| line.strip_prefix(&series));
    let expected = if warning["code"] == "storage_filling" {
        "1"
    } else {
        "2"
    };
    assert_eq!(level, Some(expected), "{series}");
    let lines = daemon.lines();
    let is_logged = |line: &&Value| {
        line["message"] == WARNING_IN_FORCE
            && line["level"] == "WARN"
            && line["code"] == warning["code"]
            && line["name"] == *name
    };
    assert_eq!(
        lines.iter().filter(is_logged).count(),
        1,
        "{text}: {lines:#?}"
    );
}

/// Lines of `check` about room.
async fn check(stack: &Stack, more: &[(&str, &str)]) -> Vec<String> {
    let output = stack
        .risksignal_with(&["check"], &[&[KEEP_ALL], more].concat())
        .await;
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("storage"));
    lines.map(str::to_owned).collect()
}

fn assert_warns(lines: &[String], words: &str) {
    assert_finds(lines, " WARN ", words);
}

/// A full storage stops something now.
fn assert_wrong(lines: &[String], words: &str) {
    assert_finds(lines, " WRONG ", words);
}

fn assert_finds(lines: &[String], verdict: &str, words: &str) {
    let finds = |line: &&String| line.contains(verdict) && line.contains(words);
    assert_eq!(lines.iter().filter(finds).count(), 1, "{words}: {lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_shows_everywhere_with_its_remedy() {
    let stack = Stack::start().await;
    let debug = setting!(log.filter = "info,risksignal=debug");
    let (mut daemon, ops) = start(&stack, &[debug]).await;
    stack.produce(&["--count=500", "--seed=1"]).await;
    stack.settled().await;
    let lines = check(&stack, &[]).await;
    // ClickHouse's disk is this machine's.
    let mut of_nats = lines.iter().filter(|line| !line.contains("ClickHouse"));
    let is_unwatched = |line: &str| line.contains(" WARN ") && line.contains("nats.monitoring_url");
    assert!(
        of_nats.all(|line| line.contains(" ok ") || is_unwatched(line)),
        "{lines:#?}"
    );
    assert_warns(&lines, "nats.monitoring_url is not set");
    stack
        .nats
        .bound_stream(STREAM, |bytes| bytes as i64 + 300)
        .await;
    assert!(fill(&stack, "signals.x").await > 0);
    let full = warning(&ops, "storage_full", STREAM).await;
    assert!(full["text"].as_str().unwrap().contains("99 % of"), "{full}");
    // It still ingests.
    ops.ready(true).await;
    assert_shown(&stack, &daemon, &ops, &full).await;
    assert_wrong(&check(&stack, &[]).await, STREAM);

    // An outage is no sign of room.
    stack.nats.kill();
    daemon.logged(USAGE_UNKNOWN).await;
    warning(&ops, "storage_full", STREAM).await;
    let is_over = |line: &Value| line["message"] == WARNING_OVER && line["name"] == STREAM;
    assert!(!daemon.lines().iter().any(is_over));
    stack.nats.restart().await;
    ops.ready(true).await;

    stack
        .nats
        .bound_stream(STREAM, |bytes| bytes as i64 * 10 / 9)
        .await;
    let filling = warning(&ops, "storage_filling", STREAM).await;
    assert_shown(&stack, &daemon, &ops, &filling).await;
    stack.nats.bound_stream(STREAM, |_| -1).await;
    over(&daemon, &ops, "storage_filling", STREAM).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_of_dead_letters_shows_everywhere_and_loses_no_letter() {
    let stack = Stack::start().await;
    let (mut daemon, ops) = start(&stack, &[]).await;
    let publish = async |count: u32| {
        let jetstream = stack.nats.jetstream().await;
        for _ in 0..count {
            let ack = jetstream.publish("signals.bad", "{".into()).await.unwrap();
            ack.await.unwrap();
        }
    };
    publish(20).await;
    stack.settled().await;
    stack
        .nats
        .bound_stream(DEAD_LETTERS, |bytes| bytes as i64 + 20)
        .await;
    publish(1).await;
    let full = warning(&ops, "storage_full", DEAD_LETTERS).await;
    assert_shown(&stack, &daemon, &ops, &full).await;
    assert_wrong(&check(&stack, &[]).await, DEAD_LETTERS);
    stack.nats.bound_stream(DEAD_LETTERS, |_| -1).await;
    over(&daemon, &ops, "storage_full", DEAD_LETTERS).await;
    stack.settled().await;
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 21);
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_claims_log_of_a_full_account_takes_no_record_nothing_is_inserted_or_lost() {
    let stack = with_small_account(4_000_000).await;
    let (mut daemon, ops) = start(&stack, &[]).await;
    stack.produce(&["--count=200", "--seed=1"]).await;
    stack.settled().await;
    // It finds new signals and no room for their claims at once.
    daemon.signal("STOP");
    stack.produce(&["--count=200", "--seed=2"]).await;
    let filler = stream::Config {
        name: "FILLER".to_owned(),
        subjects: vec!["filler".to_owned()],
        ..Default::default()
    };
    let jetstream = stack.nats.jetstream().await;
    jetstream.create_stream(filler).await.unwrap();
    assert!(fill(&stack, "filler").await > 10);
    daemon.signal("CONT");

    let reason = ops.down("jetstream").await;
    assert!(
        reason.contains("the claims log takes no record"),
        "{reason}"
    );
    // The number, its name and what to do; the server's own words are in the log at debug level.
    assert!(
        reason.contains("error 10002 (ACCOUNT_RESOURCES_EXCEEDED): make room"),
        "{reason}"
    );
    assert!(!reason.contains("resource limits"), "{reason}");
    for name in [CLAIMS, "account (file)"] {
        let full = warning(&ops, "storage_full", name).await;
        assert_shown(&stack, &daemon, &ops, &full).await;
    }
    assert_wrong(&check(&stack, &[]).await, "account (file)");
    assert_eq!(stack.clickhouse.counts().await, (200, 200));
    let refused = daemon.lines().into_iter();
    let words = RECORD_NOT_APPENDED;
    let refused: Vec<Value> = refused.filter(|line| line["message"] == words).collect();
    let tries = refused.last().unwrap()["tries"].as_u64().unwrap();
    assert_eq!(refused.len() as u32, tries.ilog2() + 1, "{refused:#?}");

    // One that starts meanwhile says so, too.
    let starting = stack.daemon_not_waited_for(&[RETRY]);
    let line = starting.logged(CLAIMS_LOG_NOT_READY).await;
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("the claims log takes no record"), "{error}");
    drop(starting);
    assert!(!daemon.output().contains("resource limits"));

    jetstream.delete_stream("FILLER").await.unwrap();
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (400, 400));
    ops.ready(true).await;
    over(&daemon, &ops, "storage_full", CLAIMS).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_nats_is_found_by_its_monitoring() {
    let port = free_port();
    let options = Options::arguments(&[&format!("--http-port={port}")]);
    let Some(stack) = Stack::on_small_disks(options, (Some(24), None)).await else {
        return;
    };
    let url = format!("http://127.0.0.1:{port}");
    let monitoring = setting!(nats.monitoring_url = url.as_str());
    let (mut daemon, ops) = start(&stack, &[monitoring]).await;
    stack.produce(&["--count=200", "--seed=1"]).await;
    stack.settled().await;
    let lines = check(&stack, &[monitoring]).await;
    let has = |words: &str| lines.iter().any(|line| line.contains(words));
    assert!(has("nats-server is healthy"), "{lines:#?}");
    assert!(!has("is not monitored"), "{lines:#?}");

    stack.disk().fill_but(100_000);
    let jetstream = stack.nats.jetstream().await;
    let client = stack.nats.client().await;
    // A publisher gets no answer at all.
    let body = vec![b'x'; 500_000];
    for _ in 0..3 {
        client
            .publish("signals.x", body.clone().into())
            .await
            .unwrap();
    }
    client.flush().await.unwrap();
    let unhealthy = warning(&ops, "nats_unhealthy", "nats-server").await;
    assert_shown(&stack, &daemon, &ops, &unhealthy).await;
    let lines = check(&stack, &[monitoring]).await;
    assert_wrong(&lines, "no space left on device");
    // As the remedy says.
    stack.disk().empty();
    stack.nats.kill();
    stack.nats.restart().await;
    over(&daemon, &ops, "nats_unhealthy", "nats-server").await;
    stack.produce(&["--count=200", "--seed=2"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await.0, 400);
    drop((jetstream, client));

    let unused = format!("http://127.0.0.1:{}", free_port());
    let wrong = [setting!(nats.monitoring_url = unused.as_str())];
    assert_warns(&check(&stack, &wrong).await, "check nats.monitoring_url");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_clickhouse_shows_everywhere_and_loses_nothing() {
    let Some(stack) = Stack::on_small_disks(Options::default(), (None, Some(256))).await else {
        return;
    };
    let (mut daemon, ops) = start(&stack, &[]).await;
    stack.produce(&["--count=200", "--seed=1"]).await;
    stack.settled().await;
    stack.disk().fill_but(40_000_000);
    let filling = warning(&ops, "storage_filling", "ClickHouse's disk").await;
    assert_shown(&stack, &daemon, &ops, &filling).await;
    ops.ready(true).await;
    assert_warns(&check(&stack, &[]).await, "ClickHouse's disk");
    stack.disk().empty();
    over(&daemon, &ops, "storage_filling", "ClickHouse's disk").await;

    stack.disk().fill_but(65_536);
    stack.produce(&["--count=2000", "--seed=2"]).await;
    let full = warning(&ops, "storage_full", "ClickHouse's disk").await;
    assert_shown(&stack, &daemon, &ops, &full).await;
    let reason = ops.down("clickhouse").await;
    assert!(!reason.is_empty());
    stack.disk().empty();
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (2200, 2200));
    over(&daemon, &ops, "storage_full", "ClickHouse's disk").await;
    assert!(daemon.stop().await.success());
}
