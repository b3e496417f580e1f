//! `risksignal status`, which asks a running daemon.

use std::process::Output;

use serde_json::Value;
use testkit::ops::{ANY_PORT, Ops, watched_daemon};
use testkit::process::free_port;
use testkit::{Stack, eventually, setting, variable};

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
async fn status_shows_the_state_of_a_daemon_and_if_it_is_ready() {
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
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(
        printed.starts_with("risksignal    ready, version "),
        "{printed}"
    );
    assert!(printed.contains("SIGNALS → signals-to-clickhouse → risksignal.raw_signals"));
    let inserted = format!("{},{:03} inserted in ", rows / 1000, rows % 1000);
    assert!(printed.contains(&inserted), "{inserted}: {printed}");
    for dependency in ["pipeline", "nats", "jetstream", "clickhouse", "schema"] {
        let line = format!("{dependency:<13} up for ");
        assert!(printed.contains(&line), "{line}: {printed}");
    }
    assert!(printed.contains(" not_json"), "{printed}");

    let output = status(&stack, &["--json"], &here).await;
    let mut printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut asked = ops.get("/statusz").await.json();
    // The two were asked one after the other.
    for changing in ["now", "uptime_seconds", "metrics"] {
        assert!(!printed[changing].is_null(), "{changing}");
        printed[changing] = Value::Null;
        asked[changing] = Value::Null;
    }
    // The daemon may have measured between the two.
    for printed in [&mut printed, &mut asked] {
        assert!(printed["storages"].is_array() && printed["health"].is_object());
        (printed["storages"], printed["history"]) = (Value::Null, Value::Null);
        printed["health"]["warnings"] = Value::Null;
    }
    assert_eq!(printed, asked);

    stack.clickhouse.kill();
    ops.down("clickhouse").await;
    let output = status(&stack, &[], &here).await;
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{printed}");
    assert!(printed.starts_with("risksignal    NOT READY"), "{printed}");
    assert!(printed.contains("clickhouse    down for "), "{printed}");
    let output = status(&stack, &["--json"], &here).await;
    assert_eq!(output.status.code(), Some(3));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["health"]["ready"], false);

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
    let token = setting!(ops.token = "tellme-not-ops");
    let daemon = stack.daemon(&[ANY_PORT, token]).await;
    let ops = Ops::of(&daemon).await;
    let here = ops.listen();
    let file = stack.work_dir().join("token");
    std::fs::write(&file, "tellme-not-ops\n").unwrap();
    let file = setting!(ops.token_file = file.to_str().unwrap());
    for right in [token, file] {
        let output = status(&stack, &[], &[here, right]).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }

    let nobody = format!("127.0.0.1:{}", free_port());
    // It speaks, but not of this.
    let strange = stack.clickhouse.url().replace("http://", "");
    let listen = variable!(ops.listen);
    let (nobody, strange) = (nobody.as_str(), strange.as_str());
    let wrong = setting!(ops.token = "tellme-other");
    for (more, expected) in [
        (vec![here], "asks for a token: set ops.token"),
        (vec![here, wrong], "has another ops.token"),
        (vec![(listen, nobody)], "is `risksignal run` running here"),
        (vec![(listen, nobody)], nobody),
        (vec![(listen, strange)], "is no risksignal of this version"),
        (vec![(listen, "off")], "ops.listen is off"),
        (
            vec![ANY_PORT],
            "ops.listen has port 0: set it to the address",
        ),
    ] {
        let output = status(&stack, &[], &more).await;
        let printed = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{more:?}: {printed}");
        assert!(printed.contains(expected), "{more:?}: {printed}");
        assert!(!printed.contains("tellme"), "{printed}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}
