//! A letter is there once, by the position of its message: after crashes, however much later.

use std::time::Duration;

use async_nats::HeaderMap;
use risksignal::pipeline::log_lines::LETTER_NOT_PUBLISHED;
use serde_json::Value;
use testkit::nats::{DEAD_LETTERS, STREAM, header};
use testkit::signals::signal;
use testkit::{Daemon, Stack, eventually, setting};

/// Delivers again soon after a crash, and has large bodies become letters in parts.
const SHORT: [(&str, &str); 4] = [
    setting!(consumer.ack_wait = "4s"),
    setting!(clickhouse.send_timeout = "1s"),
    setting!(clickhouse.end_timeout = "2s"),
    setting!(validation.max_signal_bytes = "64KiB"),
];

/// A stack where a daemon has ended between the letter for this body and its ack, for longer
/// than the stream of dead letters remembers an id.
async fn crashed_long_ago(body: &str) -> Stack {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&SHORT).await;
    assert!(daemon.stop().await.success());
    let nats = stack.nats.jetstream().await;
    let letters = nats.get_stream(DEAD_LETTERS).await.unwrap();
    let mut config = letters.cached_info().config.clone();
    config.duplicate_window = Duration::from_secs(1);
    nats.update_stream(&config).await.unwrap();
    let arguments = ["run", "--fault-point", "letter-published"];
    let environment = stack.environment(&SHORT);
    let mut crashing = Daemon::spawn(&arguments, &environment, &stack.work_dir());
    publish(&stack, "signals.x", body.to_owned()).await;
    assert!(crashing.ended().await.code().is_none());
    tokio::time::sleep(Duration::from_secs(3)).await;
    stack
}

async fn publish(stack: &Stack, subject: &'static str, body: impl Into<bytes::Bytes>) {
    let nats = stack.nats.jetstream().await;
    let publish = nats.publish(subject, body.into()).await.unwrap();
    publish.await.unwrap();
}

/// The part of a letter's subject that names a message of the stream.
async fn position(stack: &Stack, sequence: u64) -> String {
    let stream = stack
        .nats
        .jetstream()
        .await
        .get_stream(STREAM)
        .await
        .unwrap();
    let created = stream.cached_info().created.unix_timestamp_nanos();
    let message = stream.get_raw_message(sequence).await.unwrap();
    let published = message.time.unix_timestamp_nanos() / 1_000_000;
    format!("{created}-{sequence}-{published}")
}

async fn printed(stack: &Stack, arguments: &[&str]) -> String {
    let output = stack
        .risksignal(&[&["dead-letters"], arguments].concat())
        .await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn listed(stack: &Stack, arguments: &[&str]) -> Vec<Value> {
    let text = printed(stack, &[&["list", "--json"], arguments].concat()).await;
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_there_once_also_after_a_crash_longer_than_the_duplicate_window() {
    let stack = crashed_long_ago("bad").await;
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 1);
    let _daemon = stack.daemon(&SHORT).await;
    publish(&stack, "signals.x", "bad too").await;
    stack.settled().await;
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    let mut expected = Vec::new();
    for sequence in [1, 2] {
        let position = position(&stack, sequence).await;
        expected.push(format!("dlq.signals.x.{position}"));
    }
    let subjects: Vec<_> = letters
        .iter()
        .map(|letter| letter.subject.as_str())
        .collect();
    assert_eq!(subjects, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_a_letter_are_there_once_too() {
    let mut body = signal(1);
    body["payload"]["long"] = "x".repeat(1_047_900).into();
    let body = body.to_string();
    let stack = crashed_long_ago(&body).await;
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 2);
    let mut daemon = stack.daemon(&SHORT).await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    let position = position(&stack, 1).await;
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    let subjects: Vec<_> = letters
        .iter()
        .map(|letter| letter.subject.as_str())
        .collect();
    let expected = ["1of2", "2of2"].map(|part| format!("dlq.signals.x.{position}-{part}"));
    assert_eq!(subjects, expected);
    let output = stack
        .risksignal(&["dead-letters", "show", "1", "--raw"])
        .await;
    assert!(output.stdout == body.as_bytes());
    printed(&stack, &["replay", "--all"]).await;
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 0);
    assert!(stack.nats.messages(STREAM).await[1].payload == body.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_another_message_at_the_same_sequence_costs_no_letter() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    let stream = stack
        .nats
        .jetstream()
        .await
        .get_stream(STREAM)
        .await
        .unwrap();
    let created = stream.cached_info().created.unix_timestamp_nanos();
    // As it was written of the message that had the sequence before the stream was restored.
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("Nats-Msg-Id", format!("SIGNALS-{created}-1")),
        ("Risksignal-Stream", STREAM.to_owned()),
        ("Risksignal-Stream-Created", created.to_string()),
        ("Risksignal-Sequence", "1".to_owned()),
        (
            "Risksignal-Published",
            "2026-01-01T00:00:00.000Z".to_owned(),
        ),
        ("Risksignal-Subject", "signals.x".to_owned()),
    ] {
        headers.insert(name, value.as_str());
    }
    let nats = stack.nats.jetstream().await;
    let publish_other = nats.publish_with_headers("dlq.signals.x", headers, "other".into());
    publish_other.await.unwrap().await.unwrap();
    publish(&stack, "signals.x", "bad").await;
    stack.settled().await;
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    let bodies: Vec<_> = letters
        .iter()
        .map(|letter| letter.payload.to_vec())
        .collect();
    assert_eq!(bodies, [b"other".to_vec(), b"bad".to_vec()]);
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_message_on_a_letters_subject_is_named_and_does_not_count_as_the_letter() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    assert!(daemon.stop().await.success());
    publish(&stack, "signals.x", "bad").await;
    let subject = format!("dlq.signals.x.{}", position(&stack, 1).await);
    let nats = stack.nats.jetstream().await;
    let other = nats.publish(subject.clone(), "other".into()).await.unwrap();
    other.await.unwrap();
    let retry = setting!(clickhouse.retry_max = "200ms");
    let daemon = stack.daemon(&[retry]).await;
    let line = daemon.logged(LETTER_NOT_PUBLISHED).await;
    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains("another message") && error.contains("--seq 1`"),
        "{line}"
    );
    assert_eq!(line["stream_seq"], 1);
    publish(&stack, "signals.y", "bad").await;
    eventually("the other letter is stored", async || {
        (stack.nats.messages_left(DEAD_LETTERS).await == 2).then_some(())
    })
    .await;
    printed(&stack, &["purge", "--yes", "--seq=1"]).await;
    stack.settled().await;
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[1].subject.as_str(), subject);
    assert_eq!(header(&letters[1], "Risksignal-Reason"), "not_json");
}

/// Whoever may publish to dlq.> can copy a letter's headers.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_a_letters_headers_and_another_body_does_not_count_as_the_letter() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    assert!(daemon.stop().await.success());
    publish(&stack, "signals.x", "bad").await;
    let position = position(&stack, 1).await;
    let created = position.split('-').next().unwrap();
    let ms: i128 = position.rsplit('-').next().unwrap().parse().unwrap();
    let published = time::OffsetDateTime::from_unix_timestamp_nanos(ms * 1_000_000).unwrap();
    let format = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
    );
    let published = published.format(&format).unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("Risksignal-Stream", STREAM),
        ("Risksignal-Stream-Created", created),
        ("Risksignal-Sequence", "1"),
        ("Risksignal-Published", published.as_str()),
    ] {
        headers.insert(name, value);
    }
    let nats = stack.nats.jetstream().await;
    let subject = format!("dlq.signals.x.{position}");
    let forged = nats.publish_with_headers(subject, headers, "forged".into());
    forged.await.unwrap().await.unwrap();
    let retry = setting!(clickhouse.retry_max = "200ms");
    let daemon = stack.daemon(&[retry]).await;
    eventually("the letter is refused or taken for stored", async || {
        let lines = daemon.lines();
        let is_told = |line: &Value| line["level"] == "WARN";
        lines.iter().any(is_told).then_some(())
    })
    .await;
    printed(&stack, &["purge", "--yes", "--seq=1"]).await;
    stack.settled().await;
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    let bodies: Vec<_> = letters.iter().map(|one| one.payload.to_vec()).collect();
    assert_eq!(bodies, [b"bad".to_vec()]);
}

/// A letter as an older version wrote it: on its message's subject, parts and all.
async fn older_letter(stack: &Stack, subject: &str, sequence: u64, parts: &[&str]) {
    let nats = stack.nats.jetstream().await;
    let mut first: Option<u64> = None;
    for (index, part) in parts.iter().enumerate() {
        let mut headers = HeaderMap::new();
        headers.insert("Risksignal-Reason", "too_large");
        headers.insert("Risksignal-Subject", subject);
        headers.insert("Risksignal-Stream", STREAM);
        headers.insert("Risksignal-Sequence", sequence.to_string().as_str());
        if parts.len() > 1 {
            let number = format!("{}/{}", index + 1, parts.len());
            headers.insert("Risksignal-Part", number.as_str());
            headers.insert(
                "Risksignal-Body-Bytes",
                parts.concat().len().to_string().as_str(),
            );
        }
        if let Some(first) = first {
            headers.insert("Risksignal-First-Part", first.to_string().as_str());
        }
        let (letter, body) = (format!("dlq.{subject}"), part.to_string());
        let publish = nats.publish_with_headers(letter, headers, body.into());
        let ack = publish.await.unwrap().await.unwrap();
        first.get_or_insert(ack.sequence);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_an_older_version_are_found_beside_new_ones() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    older_letter(&stack, "signals.x", 101, &["whole"]).await;
    older_letter(&stack, "signals.x", 102, &["one", "two"]).await;
    older_letter(&stack, "signals.x.y", 103, &["deeper"]).await;
    // One after the other: letters of one batch are published side by side.
    for subject in ["signals.x", "signals.x.y"] {
        publish(&stack, subject, "new").await;
        stack.settled().await;
    }
    assert!(daemon.stop().await.success());
    let seqs = |letters: Vec<Value>| -> Vec<u64> {
        let seqs = letters.iter().map(|letter| letter["seq"].as_u64().unwrap());
        seqs.collect()
    };
    for (pattern, expected) in [
        ("signals.x", vec![1, 2, 5]),
        ("signals.x.y", vec![4, 6]),
        ("signals.*", vec![1, 2, 5]),
        ("signals.>", vec![1, 2, 4, 5, 6]),
        ("*.x.>", vec![4, 6]),
        ("orders.>", vec![]),
    ] {
        let letters = listed(&stack, &["--subject", pattern]).await;
        assert_eq!(seqs(letters), expected, "{pattern}");
    }
    let shown = printed(&stack, &["show", "3", "--raw"]).await;
    assert_eq!(shown, "onetwo");
    printed(&stack, &["purge", "--yes", "--subject=signals.x.y"]).await;
    assert_eq!(seqs(listed(&stack, &[]).await), [1, 2, 5]);
    printed(&stack, &["replay", "--all"]).await;
    let replayed = stack.nats.messages(STREAM).await.split_off(2);
    let mut bodies: Vec<_> = replayed
        .iter()
        .map(|message| message.payload.to_vec())
        .collect();
    bodies.sort();
    assert_eq!(
        bodies,
        [b"new".to_vec(), b"onetwo".to_vec(), b"whole".to_vec()]
    );
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 0);
}
