//! `risksignal dead-letters`: what an operator does with letters.

use std::process::Output;

use async_nats::HeaderMap;
use serde_json::Value;
use testkit::nats::{DEAD_LETTERS, STREAM, header, sequence};
use testkit::signals::signal;
use testkit::{Stack, eventually, setting};

/// A stack with a daemon that has written these letters: 1 to 3 on `signals.x` and not JSON,
/// 4 on `signals.a.b` and breaking the rules.
async fn letters() -> (Stack, testkit::Daemon) {
    let stack = Stack::start().await;
    let daemon = stack.daemon(&[]).await;
    for body in ["one", "two", "three"] {
        publish(&stack, "signals.x", body.as_bytes(), HeaderMap::new()).await;
    }
    publish(&stack, "signals.a.b", b"{}", HeaderMap::new()).await;
    (stack, daemon)
}

/// Publishes and waits until the daemon is done with it.
async fn publish(stack: &Stack, subject: &str, body: &[u8], headers: HeaderMap) {
    let nats = stack.nats.jetstream().await;
    let subject = subject.to_owned();
    let publish = nats.publish_with_headers(subject, headers, body.to_vec().into());
    publish.await.unwrap().await.unwrap();
    stack.settled().await;
}

async fn command(stack: &Stack, arguments: &[&str]) -> Output {
    let arguments = [&["dead-letters"], arguments].concat();
    stack.risksignal(&arguments).await
}

/// Runs a command, which succeeds, and returns its output.
async fn printed(stack: &Stack, arguments: &[&str]) -> String {
    let output = command(stack, arguments).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The error of a command that fails.
async fn refused(stack: &Stack, arguments: &[&str]) -> String {
    let output = command(stack, arguments).await;
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

async fn listed(stack: &Stack, arguments: &[&str]) -> Vec<Value> {
    let text = printed(stack, &[&["list", "--json"], arguments].concat()).await;
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn sequences(stack: &Stack, arguments: &[&str]) -> Vec<u64> {
    let letters = listed(stack, arguments).await;
    letters
        .iter()
        .map(|letter| letter["seq"].as_u64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_filtered_by_reason_subject_time_sequence_and_number() {
    let (stack, _daemon) = letters().await;
    let all = listed(&stack, &[]).await;
    let third = all[2]["time"].as_str().unwrap();
    for (arguments, expected) in [
        (vec![], vec![1, 2, 3, 4]),
        (vec!["--reason=not_json"], vec![1, 2, 3]),
        (vec!["--reason=not_utf8,breaks_rules"], vec![4]),
        (vec!["--reason=not"], vec![]),
        (vec!["--subject=signals.x"], vec![1, 2, 3]),
        (vec!["--subject=signals.*"], vec![1, 2, 3]),
        (vec!["--subject=signals.*.b"], vec![4]),
        (vec!["--subject=signals.>"], vec![1, 2, 3, 4]),
        (vec!["--subject=orders.>"], vec![]),
        (vec!["--since=1h"], vec![1, 2, 3, 4]),
        (vec!["--until=1h ago"], vec![]),
        (vec!["--since", third], vec![3, 4]),
        (vec!["--limit=2"], vec![1, 2]),
        (vec!["--seq=4,2-3"], vec![2, 3, 4]),
        (vec!["--seq=3-9", "--reason=not_json"], vec![3]),
    ] {
        assert_eq!(
            sequences(&stack, &arguments).await,
            expected,
            "{arguments:?}"
        );
    }
    assert_eq!(all[3]["reason"], "breaks_rules");
    assert_eq!(all[3]["subject"], "signals.a.b");
    assert_eq!(all[3]["stream_seq"], 4);
    assert_eq!(all[3]["attempts"], 1);
    assert_eq!(all[3]["bytes"], 2);

    let table = printed(&stack, &["list"]).await;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert!(lines[0].starts_with("SEQ  TIME "), "{table}");
    assert!(lines[4].starts_with("4    2"), "{table}");
    for bad in [
        "--since=yesterday",
        "--seq=0",
        "--subject=a..b",
        "--limit=0",
    ] {
        assert!(refused(&stack, &["list", bad]).await.contains("must be") || bad == "--limit=0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_shown_and_exported_as_it_was() {
    let (stack, _daemon) = letters().await;
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", "00-abc");
    headers.append("tag", "a");
    headers.append("tag", "b");
    headers.insert("Nats-Msg-Id", "own");
    publish(&stack, "signals.x", b"\xff\x1b[2J", headers).await;

    let shown = printed(&stack, &["show", "5"]).await;
    for line in [
        "Reason      not_utf8",
        "  traceparent: 00-abc",
        "  Nats-Msg-Id: own",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    assert!(!shown.contains('\x1b'), "{shown}");
    let raw = command(&stack, &["show", "5", "--raw"]).await;
    assert_eq!(raw.stdout, b"\xff\x1b[2J");
    let error = refused(&stack, &["show", "77"]).await;
    assert!(error.contains("has no dead letter 77"), "{error}");

    let file = stack.work_dir().join("letters.ndjson");
    let file = file.to_str().unwrap();
    printed(&stack, &["export", file]).await;
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(text, printed(&stack, &["export"]).await);
    let letters: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(letters.len(), 5);
    assert_eq!(letters[0]["body"], "one");
    assert_eq!(letters[4]["body_base64"], "/xtbMko=");
    assert_eq!(letters[4]["headers"]["tag"], serde_json::json!(["a", "b"]));
    assert_eq!(
        letters[4]["headers"]["Nats-Msg-Id"],
        serde_json::json!(["own"])
    );
    let error = refused(&stack, &["export", file]).await;
    assert!(error.contains("is not overwritten"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_letter_lands_once_the_rules_allow_it() {
    let stack = Stack::start().await;
    let strict = [setting!(validation.severity_max = "0")];
    let mut daemon = stack.daemon(&strict).await;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "the-applications-own");
    headers.insert("Nats-Expected-Stream", STREAM);
    headers.insert("traceparent", "00-abc");
    let body = signal(1).to_string();
    publish(&stack, "signals.a.b", body.as_bytes(), headers).await;
    assert!(daemon.stop().await.success());

    let dry = printed(&stack, &["replay", "--all", "--dry-run"]).await;
    assert!(dry.contains("would replay 1 dead letters"), "{dry}");
    assert_eq!(sequences(&stack, &[]).await, [1]);
    let error = refused(&stack, &["replay"]).await;
    assert!(error.contains("--all"), "{error}");

    let replayed = printed(&stack, &["replay", "--seq=1"]).await;
    assert_eq!(replayed, "replayed 1 dead letters\n");
    assert!(sequences(&stack, &[]).await.is_empty());
    let messages = stack.nats.messages(STREAM).await;
    let message = &messages[1];
    assert_eq!(message.subject.as_str(), "signals.a.b");
    assert_eq!(message.payload, body);
    assert_eq!(header(message, "Risksignal-Replayed"), "1");
    assert_eq!(header(message, "traceparent"), "00-abc");
    assert!(header(message, "Nats-Msg-Id").starts_with("replay-SIGNALS_DLQ-"));

    let _daemon = stack.daemon(&[]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_dies_again_keeps_its_history() {
    let (stack, _daemon) = letters().await;
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "own");
    publish(&stack, "signals.y", b"{}", headers).await;
    let before = &listed(&stack, &["--seq=5"]).await[0];
    // The record of a replay is a message of its own.
    for (letter, replays) in [("5", 1), ("7", 2)] {
        printed(&stack, &["replay", "--seq", letter]).await;
        eventually("it is a letter again", async || {
            let after = listed(&stack, &["--subject=signals.y"]).await;
            (after.len() == 1).then_some(())
        })
        .await;
        let after = &listed(&stack, &["--subject=signals.y"]).await[0];
        assert_eq!(after["replays"], replays);
        assert_eq!(after["attempts"], replays + 1);
        assert_eq!(after["first_seen"], before["first_seen"]);
        let reasons = vec!["breaks_rules"; replays];
        assert_eq!(after["earlier_reasons"], serde_json::json!(reasons));
    }
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert_eq!(
        header(letters.last().unwrap(), "Original-Nats-Msg-Id"),
        "own"
    );
    assert_eq!(sequences(&stack, &[]).await, [1, 2, 3, 4, 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_stays_until_its_publish_is_acknowledged() {
    let (stack, mut daemon) = letters().await;
    assert!(daemon.stop().await.success());
    let nats = stack.nats.jetstream().await;
    // No stream takes the subject, so nothing acknowledges.
    nats.delete_stream(STREAM).await.unwrap();
    let error = refused(&stack, &["replay", "--seq=1,2"]).await;
    assert!(
        error.contains("2 of 2 dead letters were not replayed"),
        "{error}"
    );
    assert_eq!(sequences(&stack, &[]).await, [1, 2, 3, 4]);

    stack.nats.create_stream().await;
    let started = std::time::Instant::now();
    printed(&stack, &["replay", "--reason=not_json", "--rate=2"]).await;
    assert!(started.elapsed() >= std::time::Duration::from_secs(1));
    assert_eq!(sequences(&stack, &[]).await, [4]);
    assert_eq!(stack.nats.messages(STREAM).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_repeated_doubles_nothing() {
    let (stack, mut daemon) = letters().await;
    assert!(daemon.stop().await.success());
    let before = stack.nats.messages(STREAM).await.len();
    printed(&stack, &["replay", "--seq=1"]).await;
    // As if the first replay had been killed before it removed the letter.
    let replayed = stack.nats.messages(STREAM).await.pop().unwrap();
    let nats = stack.nats.jetstream().await;
    let headers = replayed.headers.clone().unwrap();
    let publish = nats.publish_with_headers("signals.x", headers, "one".into());
    assert!(publish.await.unwrap().await.unwrap().duplicate);
    assert_eq!(stack.nats.messages(STREAM).await.len(), before + 1);
    assert_eq!(sequence(&replayed), before as u64 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_removes_what_was_chosen_and_only_when_confirmed() {
    let (stack, _daemon) = letters().await;
    let error = refused(&stack, &["purge", "--seq=1"]).await;
    assert!(error.contains("--yes"), "{error}");
    let dry = printed(&stack, &["purge", "--reason=not_json", "--dry-run"]).await;
    assert!(dry.contains("would remove 3 dead letters"), "{dry}");
    assert_eq!(sequences(&stack, &[]).await, [1, 2, 3, 4]);
    let removed = printed(&stack, &["purge", "--yes", "--seq=1-2"]).await;
    assert_eq!(removed, "removed 2 dead letters\n");
    assert_eq!(sequences(&stack, &[]).await, [3, 4]);
    printed(&stack, &["purge", "--yes", "--subject=signals.x"]).await;
    assert_eq!(sequences(&stack, &[]).await, [4]);
    printed(&stack, &["purge", "--yes"]).await;
    assert!(sequences(&stack, &[]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_one_letter_everywhere() {
    let stack = Stack::start().await;
    let small = [setting!(validation.max_signal_bytes = "64KiB")];
    let mut daemon = stack.daemon(&small).await;
    let mut body = signal(1);
    body["payload"]["long"] = "x".repeat(1_047_900).into();
    let body = body.to_string();
    for _ in 0..2 {
        publish(&stack, "signals.x", body.as_bytes(), HeaderMap::new()).await;
    }
    assert!(daemon.stop().await.success());
    assert_eq!(stack.nats.messages(DEAD_LETTERS).await.len(), 4);
    let letters = listed(&stack, &[]).await;
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0]["bytes"], body.len());
    assert_eq!(letters[0]["parts"], 2);
    let raw = command(&stack, &["show", "2", "--raw"]).await;
    assert!(
        raw.stdout == body.as_bytes(),
        "the letter of a part is shown"
    );
    printed(&stack, &["replay", "--seq=1"]).await;
    assert_eq!(stack.nats.messages(DEAD_LETTERS).await.len(), 2);
    printed(&stack, &["purge", "--yes", "--reason=too_large"]).await;
    assert!(stack.nats.messages(DEAD_LETTERS).await.is_empty());
    let _daemon = stack.daemon(&[]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (1, 1));
}
