//! `risksignal tap`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use async_nats::jetstream::consumer::AckPolicy;
use async_nats::jetstream::consumer::pull::Config;
use futures_util::TryStreamExt;
use serde_json::Value;
use testkit::nats::STREAM;
use testkit::signals::signal;
use testkit::{Daemon, Stack, eventually, program, setting};

use crate::least_privilege::{
    VIEWER_PASSWORD, assert_may_not_publish, client, with_least_privilege,
};

const SIGNALS: u64 = 15_000;
/// Most resident memory of a tap in MiB. Measured: 6.
const PEAK_MIB_MAX: u64 = 32;

fn tap(stack: &Stack, arguments: &[&str]) -> Daemon {
    let arguments = [&["tap", "--json"], arguments].concat();
    Daemon::spawn(&arguments, &stack.environment(&[]), &stack.work_dir())
}

/// A tap whose output waits for the test to read it.
fn piped_tap(stack: &Stack, arguments: &[&str]) -> Child {
    Command::new(program())
        .args(arguments)
        .env_clear()
        .envs(stack.environment(&[]))
        .current_dir(stack.work_dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn publish(stack: &Stack, subject: &str, body: String) {
    let nats = stack.nats.jetstream().await;
    let sent = nats.publish(subject.to_owned(), body.into()).await;
    sent.unwrap().await.unwrap();
}

/// Configurations of the consumers of the stream, once there are so many.
async fn consumers(stack: &Stack, count: usize) -> Vec<Config> {
    let stream = stack.nats.jetstream().await.get_stream(STREAM).await;
    let stream = stream.unwrap();
    eventually("the taps read", async || {
        let found: Vec<_> = stream.consumers().try_collect().await.unwrap();
        let configs = found.into_iter().map(|one| Config {
            durable_name: one.config.durable_name,
            ack_policy: one.config.ack_policy,
            filter_subjects: one.config.filter_subjects,
            inactive_threshold: one.config.inactive_threshold,
            ..Config::default()
        });
        let configs: Vec<_> = configs.collect();
        (configs.len() == count).then_some(configs)
    })
    .await
}

/// The sequences that a tap has shown, once they are so many.
async fn shown(tap: &Daemon, count: usize) -> Vec<u64> {
    eventually("the tap shows them", async || {
        let lines = tap.lines().into_iter();
        let shown: Vec<_> = lines.filter_map(|line| line["seq"].as_u64()).collect();
        (shown.len() >= count).then_some(shown)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn tap_shows_what_arrives_by_its_filters_and_what_will_not_land() {
    let stack = Stack::start().await;
    let refused = stack.risksignal(&["tap"]).await;
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(
        error.contains("stream SIGNALS does not exist; `risksignal run` creates it"),
        "{error}"
    );

    stack.nats.create_stream().await;
    let mut all = tap(&stack, &[]);
    let some = ["--type=risk_event,other", "--severity=4-", "--source=test"];
    let some = tap(&stack, &some);
    let mut invalid = tap(&stack, &["--invalid", "--count=1"]);
    let configs = consumers(&stack, 3).await;
    for config in &configs {
        // Nothing stays behind, and nothing waits for an ack.
        assert_eq!(
            (&config.durable_name, config.ack_policy),
            (&None, AckPolicy::None)
        );
        assert_eq!(config.inactive_threshold.as_secs(), 10);
    }
    let by_server = ["other", "risk_event"].map(|it| format!("signals.{it}"));
    assert!(
        configs
            .iter()
            .any(|config| config.filter_subjects == by_server),
        "{configs:?}"
    );

    // The server forgets the consumers. The taps go on where they began.
    stack.nats.kill();
    stack.nats.restart().await;
    for number in 1..=5 {
        publish(&stack, "signals.risk_event", signal(number).to_string()).await;
    }
    publish(&stack, "signals.bad", "no JSON".to_owned()).await;
    assert_eq!(shown(&all, 6).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(shown(&some, 2).await, [4, 5]);
    assert!(invalid.ended().await.success());
    // The rest of its lines are of the log.
    let lines = invalid.lines().into_iter();
    let lines: Vec<_> = lines.filter(|line| line["seq"].is_u64()).collect();
    let [line] = lines.try_into().unwrap();
    let is = |name: &str| line[name].clone();
    assert_eq!(
        (is("lands"), is("reason"), is("body")),
        (false.into(), "not_json".into(), "no JSON".into())
    );

    // Those that are stored already, and a reader of the output that has seen enough.
    let mut since = tap(&stack, &["--since=1h", "--severity=1-2", "--count=2"]);
    assert!(since.ended().await.success());
    assert_eq!(shown(&since, 2).await, [1, 2]);
    let mut head = piped_tap(&stack, &["tap", "--since=1h"]);
    let mut output = BufReader::new(head.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(
        line.contains("  1  risk_event          test  [payload: "),
        "{line}"
    );
    drop(output);
    let mut errors = String::new();
    for number in 7.. {
        publish(&stack, "signals.risk_event", signal(number).to_string()).await;
        if let Some(status) = head.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
    }
    head.stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    assert_eq!(errors, "");

    all.signal("INT");
    assert!(all.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_nobody_reads_delays_no_signal_and_counts_what_it_skips() {
    let stack = Stack::start().await;
    let _daemon = stack.daemon(&[]).await;
    let mut tap = piped_tap(&stack, &["tap", "--json"]);
    consumers(&stack, 2).await;
    stack
        .produce(&[&format!("--count={SIGNALS}"), "--seed=1"])
        .await;
    // The tap is stuck meanwhile, and nothing is left to do for the daemon.
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (SIGNALS, SIGNALS));
    let info = stack.nats.consumer().await.unwrap();
    assert_eq!((info.num_pending, info.num_ack_pending), (0, 0));
    let status = std::fs::read_to_string(format!("/proc/{}/status", tap.id())).unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let peak = (kib("VmHWM:") - kib("RssFile:")) / 1024;

    let lines = BufReader::new(tap.stdout.take().unwrap()).lines();
    let (mut shown, mut skipped) = (0, 0);
    for line in lines {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        match line["skipped"].as_u64() {
            Some(count) => skipped += count,
            None => shown += 1,
        }
        if shown + skipped >= SIGNALS {
            break;
        }
    }
    tap.kill().unwrap();
    tap.wait().unwrap();
    eprintln!("{shown} shown, {skipped} skipped, {peak} MiB");
    assert_eq!(shown + skipped, SIGNALS);
    assert!(skipped > 10_000, "{skipped}");
    assert!(peak < PEAK_MIB_MAX, "{peak} MiB were resident");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_may_tap_and_nothing_else() {
    let stack = with_least_privilege().await;
    stack.nats.create_stream().await;
    publish(&stack, "signals.risk_event", signal(1).to_string()).await;
    let viewer = [
        setting!(nats.user = "viewer"),
        setting!(nats.password = VIEWER_PASSWORD),
        setting!(nats.inbox_prefix = "_INBOX_tap"),
    ];
    let tap = [
        "tap",
        "--since=1h",
        "--type=risk_event",
        "--count=1",
        "--json",
    ];
    let run = stack.risksignal_with(&tap, &viewer).await;
    assert!(run.status.success(), "{run:?}");
    assert_eq!(String::from_utf8(run.stderr).unwrap(), "");
    let (viewer, refused) = client(&stack, "viewer", VIEWER_PASSWORD).await;
    let more = [
        "signals.risk_event",
        "dlq.signals.risk_event",
        "$JS.API.STREAM.PURGE.SIGNALS",
        "$JS.API.STREAM.MSG.DELETE.SIGNALS",
        "$JS.API.CONSUMER.CREATE.SIGNALS.signals-to-clickhouse",
        "$JS.API.CONSUMER.DELETE.SIGNALS.signals-to-clickhouse",
        "$JS.API.CONSUMER.MSG.NEXT.SIGNALS.signals-to-clickhouse",
        "$JS.ACK.SIGNALS.signals-to-clickhouse.1.1.1.1.0",
        "SIGNALS_CLAIMS_risksignal_raw_signals",
    ];
    assert_may_not_publish(&viewer, &refused, &more).await;
}
