//! Purges of committed history: what goes, and what never does.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::stream::State;
use futures_util::StreamExt;
use risksignal::retention::log_lines::PURGED;
use serde_json::Value;
use testkit::nats::{CONSUMER, STREAM};
use testkit::ops::{ANY_PORT, Ops};
use testkit::{Daemon, Stack, eventually, setting};

const BOUND: u64 = 256 * 1024;
/// Above the bound by as much as is let pass.
const SLACK: u64 = BOUND / 16;
const KEEP: (&str, &str) = setting!(stream.keep = "1h, 256KiB");

async fn state(stack: &Stack) -> State {
    let stream = stack.nats.jetstream().await.get_stream(STREAM).await;
    stream.unwrap().cached_info().state.clone()
}

async fn start(stack: &Stack, more: &[(&str, &str)]) -> (Daemon, Ops) {
    let daemon = stack.daemon(&[&[ANY_PORT], more].concat()).await;
    let ops = Ops::of(&daemon).await;
    (daemon, ops)
}

/// Waits until the stream is within its bound, and returns its state.
async fn bounded(stack: &Stack) -> State {
    eventually("the stream is within its bound", async || {
        let state = state(stack).await;
        (state.bytes <= BOUND + SLACK).then_some(state)
    })
    .await
}

/// Committed history, once the daemon has looked.
async fn looked(ops: &Ops) -> Value {
    eventually("history was looked at", async || {
        let history = ops.get("/statusz").await.json()["history"].clone();
        (!history.is_null()).then_some(history)
    })
    .await
}

async fn warning(ops: &Ops, code: &str) -> Value {
    eventually(code, async || {
        let report = ops.get("/readyz").await.json();
        let warnings = report["warnings"].as_array().cloned().unwrap_or_default();
        warnings.into_iter().find(|warning| warning["code"] == code)
    })
    .await
}

fn purges(daemon: &Daemon) -> Vec<Value> {
    let lines = daemon.lines().into_iter();
    lines.filter(|line| line["message"] == PURGED).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_ours_keeps_the_newest_history_within_its_bound_and_all_rows_land() {
    let stack = Stack::start().await;
    let (mut daemon, ops) = start(&stack, &[KEEP]).await;
    stack.produce(&["--count=3000", "--seed=1"]).await;
    stack.settled().await;
    let before = state(&stack).await.last_sequence;
    let left = bounded(&stack).await;
    // The newest messages stay, as many as the bound has room for.
    assert_eq!(left.last_sequence, before);
    assert!(left.bytes > BOUND / 2, "{left:?}");
    assert_eq!(stack.clickhouse.counts().await, (3000, 3000));

    eventually("each purge is logged", async || {
        let lines = purges(&daemon);
        let last = lines.last()?["last_seq"].as_u64()?;
        (last + 1 == left.first_sequence).then_some(())
    })
    .await;
    let lines = purges(&daemon);
    assert_eq!(lines[0]["first_seq"], 1);
    let messages: u64 = lines
        .iter()
        .map(|line| line["messages"].as_u64().unwrap())
        .sum();
    assert_eq!(messages, left.first_sequence - 1);
    assert!(lines.iter().all(|line| line["bytes"].as_u64().unwrap() > 0));
    let metric = ops.metric("risksignal_history_purged_messages_total").await;
    assert_eq!(metric, Some(messages as f64));
    let status = stack.risksignal_with(&["status"], &[ops.listen()]).await;
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(
        status.contains("history       keeps 1h and 256.0 KiB; purged "),
        "{status}"
    );
    let warns = |line: &str| line.starts_with("WARNING") && line.contains("history");
    assert!(!status.lines().any(warns), "{status}");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_ours_with_a_bound_never_fills_by_default() {
    let stack = Stack::start().await;
    let bound = setting!(stream.max_bytes = "1MiB");
    let (mut daemon, ops) = start(&stack, &[bound]).await;
    let history = looked(&ops).await;
    assert_eq!(history["policy"], "bounded");
    assert_eq!(history["keep_seconds"], 7 * 24 * 3600);
    assert_eq!(history["keep_bytes"], 1 << 19);
    // Half as much again as it has room for. A refused publish would fail the command.
    stack
        .produce(&["--count=2600", "--rate=50", "--seed=30"])
        .await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (2600, 2600));
    assert!(state(&stack).await.first_sequence > 1);
    assert!(daemon.stop().await.success());
}

/// Another reader of the stream, or of a part, with a position of its own.
async fn reader(stack: &Stack, name: &str, subject: &str) -> PullConsumer {
    let config = pull::Config {
        durable_name: Some(name.to_owned()),
        filter_subject: subject.to_owned(),
        ..Default::default()
    };
    let stream = stack.nats.jetstream().await.get_stream(STREAM).await;
    stream.unwrap().create_consumer(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "not the daemon")]
async fn what_another_durable_consumer_has_not_acked_stays_and_the_consumer_is_named() {
    let stack = Stack::start().await;
    let (mut daemon, ops) = start(&stack, &[KEEP]).await;
    let reader = reader(&stack, "auditor", "").await;
    stack.produce(&["--count=3000", "--seed=2"]).await;
    stack.settled().await;
    let held = warning(&ops, "history_held").await;
    assert_eq!(held["name"], "auditor");
    let command = format!("nats consumer rm {STREAM} auditor");
    assert!(
        held["remedy"].as_str().unwrap().ends_with(&command),
        "{held}"
    );
    assert_eq!(state(&stack).await.first_sequence, 1);
    let status = stack.risksignal_with(&["status"], &[ops.listen()]).await;
    let status = String::from_utf8(status.stdout).unwrap();
    assert!(status.contains(&command), "{status}");
    let check = stack.risksignal_with(&["check"], &[KEEP]).await;
    let check = String::from_utf8(check.stdout).unwrap();
    let line = check.lines().find(|line| line.starts_with("history"));
    assert!(line.unwrap_or_default().contains(&command), "{check}");
    let metrics = ops.get("/metrics").await.body;
    let series =
        |holder, kind| format!("{{holder=\"{holder}\",kind=\"{kind}\",stream=\"{STREAM}\"}}");
    assert!(metrics.contains(&(series("auditor", "consumer") + " 1\n")));
    assert!(metrics.contains(&(series(CONSUMER, "own") + " 0\n")));

    // What it has acked may go, and nothing more.
    let mut messages = reader.messages().await.unwrap().take(500);
    while let Some(message) = messages.next().await {
        message.unwrap().double_ack().await.unwrap();
    }
    drop(messages);
    let left = eventually("what it has acked is gone", async || {
        let state = state(&stack).await;
        (state.first_sequence > 1).then_some(state)
    })
    .await;
    assert_eq!(left.first_sequence, 501, "{left:?}");
    assert!(
        purges(&daemon)
            .iter()
            .all(|line| line["last_seq"].as_u64().unwrap() <= 500)
    );
    let stream = stack.nats.jetstream().await.get_stream(STREAM).await;
    stream.unwrap().delete_consumer("auditor").await.unwrap();
    bounded(&stack).await;
    eventually("nothing is held", async || {
        let metrics = ops.get("/metrics").await.body;
        (!metrics.contains("auditor")).then_some(())
    })
    .await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_caught_up_holds_nothing() {
    let stack = Stack::start().await;
    let (mut daemon, _) = start(&stack, &[KEEP]).await;
    // It never gets a message, so that its ack floor stays where it is.
    reader(&stack, "elsewhere", "signals.none").await;
    stack.produce(&["--count=3000", "--seed=3"]).await;
    stack.settled().await;
    bounded(&stack).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_committed_stays() {
    let stack = Stack::start().await;
    let retry = setting!(clickhouse.retry_max = "1s");
    let (mut daemon, ops) = start(&stack, &[KEEP, retry]).await;
    stack.produce(&["--count=100", "--seed=4"]).await;
    stack.settled().await;
    stack.clickhouse.kill();
    stack.produce(&["--count=3000", "--seed=5"]).await;
    eventually("all that is committed is gone", async || {
        let history = looked(&ops).await;
        let last = history["last_purge"]["last_seq"].as_u64()?;
        (last == 100).then_some(())
    })
    .await;
    let left = state(&stack).await;
    assert_eq!(
        (left.first_sequence, left.messages),
        (101, 3000),
        "{left:?}"
    );
    stack.clickhouse.restart().await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (3100, 3100));
    bounded(&stack).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_somebody_else_created_is_purged_only_once_stream_keep_is_set() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let (mut daemon, ops) = start(&stack, &[]).await;
    stack.produce(&["--count=3000", "--seed=6"]).await;
    stack.settled().await;
    let unbounded = warning(&ops, "history_never_purged").await;
    assert_eq!(unbounded["name"], STREAM);
    assert!(
        unbounded["remedy"]
            .as_str()
            .unwrap()
            .starts_with("set stream.keep")
    );
    let check = stack.risksignal(&["check"]).await;
    let check = String::from_utf8(check.stdout).unwrap();
    let line = check.lines().find(|line| line.starts_with("history"));
    assert!(
        line.unwrap_or_default().contains("set stream.keep"),
        "{check}"
    );
    let is_told = |line: &Value| line["code"] == "history_never_purged" && line["level"] == "WARN";
    assert_eq!(
        daemon.lines().iter().filter(|line| is_told(line)).count(),
        1
    );
    assert_eq!(
        ops.metric("risksignal_history_never_purged").await,
        Some(1.0)
    );
    assert_eq!(looked(&ops).await["policy"], "not_set");
    assert!(daemon.stop().await.success());
    assert_eq!(state(&stack).await.first_sequence, 1);

    let (mut daemon, ops) = start(&stack, &[KEEP]).await;
    bounded(&stack).await;
    assert_eq!(
        ops.metric("risksignal_history_never_purged").await,
        Some(0.0)
    );
    assert!(daemon.stop().await.success());
    assert_eq!(stack.clickhouse.counts().await, (3000, 3000));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_claims_log_of_another_table_keeps_what_that_table_lacks() {
    let stack = Stack::start().await;
    let other = [
        setting!(clickhouse.table = "other"),
        setting!(consumer.name = "other"),
    ];
    stack.produce(&["--count=200", "--seed=7"]).await;
    let mut second = stack.daemon(&other).await;
    stack.settled_by("other").await;
    assert!(second.stop().await.success());
    // Only its claims log says what its table has.
    let stream = stack.nats.jetstream().await.get_stream(STREAM).await;
    stream.unwrap().delete_consumer("other").await.unwrap();
    let (mut daemon, ops) = start(&stack, &[KEEP]).await;
    stack.produce(&["--count=3000", "--seed=8"]).await;
    stack.settled().await;
    let left = eventually("what both have is gone", async || {
        let state = state(&stack).await;
        (state.first_sequence > 1).then_some(state)
    })
    .await;
    assert_eq!(left.first_sequence, 201, "{left:?}");
    let held = warning(&ops, "history_held").await;
    let log = format!("{STREAM}_CLAIMS_risksignal_other");
    assert_eq!(held["name"], log);
    let command = format!("nats stream rm {log}");
    assert!(
        held["remedy"].as_str().unwrap().ends_with(&command),
        "{held}"
    );

    // The other table gets all that it lacks.
    let mut second = stack.daemon(&other).await;
    stack.settled_by("other").await;
    let rows = "SELECT count() FROM risksignal.other";
    assert_eq!(stack.clickhouse.number(rows).await, 3200);
    bounded(&stack).await;
    assert!(second.stop().await.success());
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_that_purge_side_by_side_purge_nothing_twice_and_nothing_else() {
    let stack = Stack::start().await;
    let (mut one, _) = start(&stack, &[KEEP]).await;
    let (mut two, _) = start(&stack, &[KEEP]).await;
    for seed in 10..16 {
        let seed = format!("--seed={seed}");
        stack.produce(&["--count=1000", "--rate=400", &seed]).await;
    }
    stack.settled().await;
    let left = bounded(&stack).await;
    assert!(left.bytes > BOUND / 2, "{left:?}");
    assert_eq!(stack.clickhouse.counts().await, (6000, 6000));
    let gone: u64 = [&one, &two]
        .into_iter()
        .flat_map(purges)
        .map(|line| line["messages"].as_u64().unwrap())
        .sum();
    assert_eq!(gone, state(&stack).await.first_sequence - 1);
    assert!(one.stop().await.success());
    assert!(two.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_went_back_loses_none_of_its_new_messages() {
    let mut stack = Stack::start().await;
    let (mut daemon, _) = start(&stack, &[KEEP]).await;
    stack.produce(&["--count=300", "--seed=20"]).await;
    stack.settled().await;
    let backup = tempfile::tempdir().unwrap();
    let stored = stack.nats.streams().join(STREAM);
    let copy = |from: &Path, to: &Path| {
        let copied = Command::new("cp").arg("-a").args([from, to]).status();
        assert!(copied.unwrap().success());
    };
    stack.nats.kill();
    copy(&stored, backup.path());
    stack.nats.restart().await;
    stack.produce(&["--count=3000", "--seed=21"]).await;
    stack.settled().await;
    bounded(&stack).await;

    // It goes on behind 300, where the claims log says that all up to 3300 is done.
    stack.nats.kill();
    std::fs::remove_dir_all(&stored).unwrap();
    copy(&backup.path().join(STREAM), &stored);
    stack.keep(backup);
    stack.nats.restart().await;
    assert_eq!(state(&stack).await.last_sequence, 300);
    stack.produce(&["--count=3000", "--seed=22"]).await;
    stack.settled().await;
    bounded(&stack).await;
    let rows: Vec<u64> = stack
        .clickhouse
        .rows("SELECT stream_seq FROM raw_signals")
        .await;
    assert_eq!(rows.len(), 6300);
    let distinct: BTreeSet<u64> = rows.into_iter().collect();
    assert_eq!(distinct.len(), 3300);
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_the_server_refuses_is_a_warning_with_its_words() {
    let stack = Stack::start().await;
    let (mut daemon, ops) = start(&stack, &[KEEP]).await;
    let jetstream = stack.nats.jetstream().await;
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.deny_purge = true;
    jetstream.update_stream(config).await.unwrap();
    stack.produce(&["--count=2000", "--seed=31"]).await;
    stack.settled().await;
    let refused = warning(&ops, "history_not_purged").await;
    assert_eq!(refused["name"], STREAM);
    let fault = looked(&ops).await["fault"].clone();
    let fault = fault.as_str().unwrap();
    assert!(fault.contains("deny_purge"), "{fault}");
    assert!(daemon.output().contains(r#""code":"history_not_purged""#));
    assert_eq!(state(&stack).await.first_sequence, 1);
    assert!(daemon.stop().await.success());
}
