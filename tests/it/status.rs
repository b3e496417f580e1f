//! `risksignal status`, which asks a running daemon.

use std::process::Output;

use serde_json::Value;

use crate::harness::ops::{ANY_PORT, Ops, watched_daemon};
use crate::harness::process::free_port;
use crate::harness::{Stack, eventually};

/// Runs it as one would beside a daemon at this address.
async fn status(stack: &Stack, arguments: &[&str], more: &[(&str, &str)]) -> Output {
    let mut all = vec!["status"];
    all.extend(arguments);
    stack.risksignal_with(&all, more).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_how_a_daemon_is_and_whether_it_is_ready() {
    let stack = Stack::start().await;
    let (mut daemon, ops) = watched_daemon(&stack).await;
    let here = [ops.listen()];
    ops.ready(true).await;
    stack
        .produce(&["--count=3000", "--invalid=10", "--seed=61"])
        .await;
    stack.settled().await;
    let rows = stack.clickhouse.counts().await.0;
    let output = status(&stack, &[], &here).await;
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.starts_with("risksignal    ready, version "), "{told}");
    assert!(told.contains("SIGNALS → signals-to-clickhouse → risksignal.raw_signals"));
    let inserted = format!("{},{:03} inserted in ", rows / 1000, rows % 1000);
    assert!(told.contains(&inserted), "{inserted}: {told}");
    for dependency in ["pipeline", "nats", "jetstream", "clickhouse", "schema"] {
        let line = format!("{dependency:<13} up for ");
        assert!(told.contains(&line), "{line}: {told}");
    }
    assert!(told.contains(" not_json"), "{told}");

    let output = status(&stack, &["--json"], &here).await;
    let mut told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut asked = ops.get("/statusz").await.json();
    // The two were asked one after the other.
    for changing in ["now", "uptime_seconds", "metrics"] {
        assert!(!told[changing].is_null(), "{changing}");
        told[changing] = Value::Null;
        asked[changing] = Value::Null;
    }
    // The daemon may have measured between the two.
    for told in [&mut told, &mut asked] {
        assert!(told["storages"].is_array() && told["health"].is_object());
        (told["storages"], told["history"]) = (Value::Null, Value::Null);
        told["health"]["warnings"] = Value::Null;
    }
    assert_eq!(told, asked);

    stack.clickhouse.kill();
    ops.down("clickhouse").await;
    let output = status(&stack, &[], &here).await;
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.starts_with("risksignal    NOT READY"), "{told}");
    assert!(told.contains("clickhouse    down for "), "{told}");
    let output = status(&stack, &["--json"], &here).await;
    assert_eq!(output.status.code(), Some(3));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["health"]["ready"], false);

    stack.clickhouse.restart().await;
    eventually("it is ready again", async || {
        let output = status(&stack, &[], &here).await;
        (output.status.code() == Some(0)).then_some(())
    })
    .await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_why_it_cannot_ask() {
    let stack = Stack::start().await;
    let token = ("RISKSIGNAL__OPS__TOKEN", "tellme-not-ops");
    let daemon = stack.daemon(&[ANY_PORT, token]).await;
    let ops = Ops::of(&daemon).await;
    let here = ops.listen();
    let file = stack.work_dir().join("token");
    std::fs::write(&file, "tellme-not-ops\n").unwrap();
    let file = ("RISKSIGNAL__OPS__TOKEN_FILE", file.to_str().unwrap());
    for right in [token, file] {
        let output = status(&stack, &[], &[here, right]).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }

    let nobody = format!("127.0.0.1:{}", free_port());
    // It speaks, but not of this.
    let strange = stack.clickhouse.url().replace("http://", "");
    let listen = "RISKSIGNAL__OPS__LISTEN";
    let (nobody, strange) = (nobody.as_str(), strange.as_str());
    let wrong = ("RISKSIGNAL__OPS__TOKEN", "tellme-other");
    for (more, expected) in [
        (vec![here], "asks for a token: set ops.token"),
        (vec![here, wrong], "has another ops.token"),
        (vec![(listen, nobody)], "is `risksignal run` running here"),
        (vec![(listen, nobody)], nobody),
        (vec![(listen, strange)], "is no risksignal of this version"),
        (vec![(listen, "off")], "ops.listen is off"),
        (
            vec![ANY_PORT],
            "set it to the address that the daemon's log tells",
        ),
    ] {
        let output = status(&stack, &[], &more).await;
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{more:?}: {told}");
        assert!(told.contains(expected), "{more:?}: {told}");
        assert!(!told.contains("tellme"), "{told}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}
