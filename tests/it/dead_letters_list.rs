//! `risksignal dead-letters list`: the newest, a summary, and those to come.

use serde_json::Value;
use testkit::{Daemon, Stack, eventually};

async fn publish(stack: &Stack, subject: &str, body: &str) {
    let nats = stack.nats.jetstream().await;
    let sent = nats
        .publish(subject.to_owned(), body.to_owned().into())
        .await;
    sent.unwrap().await.unwrap();
    stack.settled().await;
}

async fn listed(stack: &Stack, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["dead-letters", "list", "--json"], arguments].concat();
    let output = stack.risksignal(&arguments).await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Sequences of the letters that a follower has printed, once they are so many.
async fn followed(follower: &Daemon, count: usize) -> Vec<u64> {
    eventually("the follower prints them", async || {
        let lines = follower.lines().into_iter();
        let printed: Vec<_> = lines.filter_map(|line| line["seq"].as_u64()).collect();
        (printed.len() >= count).then_some(printed)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_are_listed_first_counted_by_kind_and_followed() {
    let stack = Stack::start().await;
    let _daemon = stack.daemon(&[]).await;
    for body in ["one", "two", "three"] {
        publish(&stack, "signals.x", body).await;
    }
    publish(&stack, "signals.a.b", r#"{"source_id":"engine"}"#).await;
    let all = listed(&stack, &[]).await;
    let third = all[2]["time"].as_str().unwrap();
    for (arguments, expected) in [
        (vec!["--newest=2"], vec![4, 3]),
        (vec!["--newest=9"], vec![4, 3, 2, 1]),
        (vec!["--newest=2", "--reason=not_json"], vec![3, 2]),
        (vec!["--newest=9", "--seq=1-2,4"], vec![4, 2, 1]),
        (vec!["--newest=9", "--since", third], vec![4, 3]),
        (vec!["--newest=9", "--until=1h ago"], vec![]),
    ] {
        let letters = listed(&stack, &arguments).await;
        let sequences: Vec<_> = letters
            .iter()
            .map(|letter| letter["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(sequences, expected, "{arguments:?}");
    }

    let groups = listed(&stack, &["--summary"]).await;
    let kinds: Vec<_> = groups
        .iter()
        .map(|group| ["count", "reason", "event_type", "source_id"].map(|name| group[name].clone()))
        .collect();
    let expected: [[Value; 4]; 2] = [
        [3.into(), "not_json".into(), "x".into(), Value::Null],
        [1.into(), "breaks_rules".into(), "a".into(), "engine".into()],
    ];
    assert_eq!(kinds, expected);
    assert_eq!(
        (&groups[0]["oldest"], &groups[0]["newest"]),
        (&all[0]["time"], &all[2]["time"])
    );
    let table = stack
        .risksignal(&["dead-letters", "list", "--summary"])
        .await;
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.starts_with("COUNT  REASON "), "{table}");
    assert!(
        table.lines().last().unwrap().starts_with("4      total "),
        "{table}"
    );

    let follow = |more: &[&str]| {
        let arguments = [&["dead-letters", "list", "--follow", "--json"], more].concat();
        Daemon::spawn(&arguments, &stack.environment(&[]), &stack.work_dir())
    };
    let mut newest = follow(&["--newest=2"]);
    let since = follow(&["--since=1h", "--reason=not_json"]);
    assert_eq!(followed(&newest, 2).await, [3, 4]);
    assert_eq!(followed(&since, 3).await, [1, 2, 3]);
    publish(&stack, "signals.x", "four").await;
    assert_eq!(followed(&newest, 3).await, [3, 4, 5]);
    assert_eq!(followed(&since, 4).await, [1, 2, 3, 5]);
    newest.signal("INT");
    assert!(newest.ended().await.success());
}
