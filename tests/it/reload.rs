//! SIGHUP: the settings are read again.

use risksignal::reload::{NEEDS_RESTART, REFUSED, RELOADED, UNCHANGED};
use serde_json::Value;
use telemetry::log_lines::{DEAD_LETTER, INSERTED};
use testkit::notify_socket::NotifySocket;
use testkit::ops::{ANY_PORT, Ops};
use testkit::signals::signal;
use testkit::{Daemon, Stack, eventually};

fn write(stack: &Stack, toml: &str) {
    std::fs::write(stack.work_dir().join("risksignal.toml"), toml).unwrap();
}

/// The lines with this message.
fn lines(daemon: &Daemon, message: &str) -> Vec<Value> {
    let mut lines = daemon.lines();
    lines.retain(|line| line["message"] == message);
    lines
}

/// Publishes signals of severity 7, with these numbers.
async fn publish_severe(stack: &Stack, numbers: std::ops::Range<u64>) {
    let jetstream = stack.nats.jetstream().await;
    for number in numbers {
        let mut severe = signal(number);
        severe["severity"] = 7.into();
        let body = serde_json::to_vec(&severe).unwrap();
        let sent = jetstream.publish("signals.risk_event", body.into()).await;
        sent.unwrap().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_can_change_do_and_those_that_need_a_restart_are_named() {
    let stack = Stack::start().await;
    write(&stack, "log.filter = 'info'");
    let daemon = stack.daemon(&[ANY_PORT]).await;
    let ops = Ops::of(&daemon).await;
    publish_severe(&stack, 0..1).await;
    daemon.logged(DEAD_LETTER).await;

    write(
        &stack,
        "log.filter = 'info,risksignal=debug'\n\
         log.lines_per_second = 1000\n\
         validation.severity_max = 9\n\
         batch.max_rows = 1\n\
         batch.max_inserts_per_second = 1000\n\
         shutdown.grace = '7s'\n\
         consumer.pulls = 1\n",
    );
    daemon.signal("HUP");
    let line = daemon.logged(RELOADED).await;
    let changed = line["changed"].as_str().unwrap();
    for change in [
        r#"batch.max_rows: "20000", now "1""#,
        r#"validation.severity_max: "5", now "9""#,
        r#"log.filter: "info", now "info,risksignal=debug""#,
        r#"shutdown.grace: "25s", now "7s""#,
    ] {
        assert!(changed.contains(change), "{change}: {changed}");
    }
    let line = daemon.logged(NEEDS_RESTART).await;
    assert_eq!(line["needs_restart"], r#"consumer.pulls: "2", now "1""#);

    publish_severe(&stack, 1..21).await;
    eventually("all have landed", async || {
        (stack.clickhouse.counts().await.0 == 20).then_some(())
    })
    .await;
    eventually("a line for each", async || {
        let inserted = lines(&daemon, INSERTED);
        (inserted.len() == 20).then(|| {
            for line in inserted {
                assert_eq!(line["closed_by"], "max_rows", "{line}");
            }
        })
    })
    .await;
    let output = ops.get("/statusz").await.json();
    assert_eq!(output["settings"]["validation.severity_max"], "9");
    assert_eq!(output["settings"]["consumer.pulls"], "2");

    write(&stack, "log.filter = 'warn'");
    daemon.signal("HUP");
    eventually("the severity is bounded again", async || {
        let output = ops.get("/statusz").await.json();
        (output["settings"]["validation.severity_max"] == "5").then_some(())
    })
    .await;
    // By its new filter the log says nothing of that.
    assert_eq!(lines(&daemon, RELOADED).len(), 1);
    publish_severe(&stack, 21..22).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await.0, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_changes_nothing() {
    let stack = Stack::start().await;
    write(&stack, "validation.severity_max = 9");
    let mut daemon = stack.daemon(&[]).await;
    for (toml, output) in [
        (
            "validation.severity_max = 'many'\nbatch.max_rows = 5",
            "validation.severity_max",
        ),
        ("[validation", "is not TOML"),
        (
            "validation.severity_maxx = 3",
            "did you mean validation.severity_max?",
        ),
        (
            "validation.severity_max = 3\nbatch.max_rows = 60000\nconsumer.max_in_flight_messages = 60000",
            "in force until a restart",
        ),
    ] {
        let before = lines(&daemon, REFUSED).len();
        write(&stack, toml);
        daemon.signal("HUP");
        let line = eventually(output, async || {
            lines(&daemon, REFUSED).into_iter().nth(before)
        })
        .await;
        let error = line["error"].as_str().unwrap();
        assert!(error.contains(output), "{toml}: {error}");
    }
    publish_severe(&stack, 0..5).await;
    eventually("all have landed", async || {
        (stack.clickhouse.counts().await.0 == 5).then_some(())
    })
    .await;
    assert!(lines(&daemon, RELOADED).is_empty());
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_of_a_reload_but_not_that_a_start_is_complete() {
    let stack = Stack::start().await;
    let socket = NotifySocket::bind(&stack.work_dir());
    stack.clickhouse.kill();
    let daemon = stack.daemon_not_waited_for(&[("NOTIFY_SOCKET", socket.path())]);
    socket.hears("STATUS=Waiting for ClickHouse").await;
    daemon.signal("HUP");
    let unchanged = UNCHANGED;
    daemon.logged(unchanged).await;
    assert_eq!(socket.count("READY=1"), 0);
    stack.clickhouse.restart().await;
    socket.hears("READY=1").await;

    daemon.signal("HUP");
    socket.hears_again("READY=1", 1).await;
    let heard = socket.heard();
    let at = |line: &str| heard.iter().rposition(|heard| heard.starts_with(line));
    assert!(at("RELOADING=1").is_some(), "{heard:?}");
    assert!(at("RELOADING=1") < at("MONOTONIC_USEC="), "{heard:?}");
    assert!(at("MONOTONIC_USEC=") < at("READY=1"), "{heard:?}");
}
