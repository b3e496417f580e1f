//! The subjects of letters: any original subject has one, and each position its own.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use risksignal::pipeline::log_lines::{
    LETTER_NOT_PUBLISHED, LETTERS_NOT_PUBLISHED, LETTERS_PUBLISHED,
};
use testkit::nats::{DEAD_LETTERS, STREAM, header};
use testkit::signals::signal;
use testkit::{Stack, eventually, setting};

/// `signals.` and one long token, `bytes` in all.
fn one_token(bytes: usize) -> String {
    format!("signals.{}", "x".repeat(bytes - "signals.".len()))
}

/// `signals` and short tokens, `bytes` in all.
fn many_tokens(bytes: usize) -> String {
    let mut subject = "signals".to_owned();
    while subject.len() + 4 < bytes {
        subject += ".ab";
    }
    let left = bytes - subject.len() - 1;
    subject + "." + &"z".repeat(left)
}

async fn publish(stack: &Stack, subjects: &[String], body: &str) {
    let nats = stack.nats.jetstream().await;
    let publishes = subjects.iter().map(|subject| {
        let (nats, body) = (nats.clone(), body.to_owned());
        async move {
            let publish = nats.publish(subject.clone(), body.into()).await;
            publish.unwrap().await.unwrap();
        }
    });
    join_all(publishes).await;
}

/// The original subjects that the letters name.
async fn lettered(stack: &Stack) -> BTreeSet<String> {
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    let subjects = letters
        .iter()
        .map(|letter| header(letter, "Risksignal-Subject"));
    subjects.collect()
}

async fn printed(stack: &Stack, arguments: &[&str]) -> String {
    let output = stack
        .risksignal(&[&["dead-letters"], arguments].concat())
        .await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_on_a_long_subject_has_a_letter_like_any_other() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    // As long as a publisher's own line of 4 KiB has room for.
    let mut subjects: Vec<String> = [3_000, 3_060, 3_068, 3_072, 3_500, 4_000]
        .into_iter()
        .flat_map(|bytes| [one_token(bytes), many_tokens(bytes)])
        .collect();
    subjects.push("signals.short".to_owned());
    publish(&stack, &subjects, "bad").await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    assert_eq!(lettered(&stack).await, subjects.iter().cloned().collect());

    let listed = printed(&stack, &["list", "--json"]).await;
    assert_eq!(listed.lines().count(), subjects.len());
    for subject in &subjects {
        let listed = printed(&stack, &["list", "--json", "--subject", subject]).await;
        assert_eq!(listed.lines().count(), 1, "{listed}");
        assert!(listed.contains(&format!("\"{subject}\"")), "{listed}");
    }
    let exported = printed(&stack, &["export", "--subject", &subjects[10]]).await;
    assert!(exported.contains("\"body\":\"bad\""), "{exported}");
    let before = stack.nats.messages(STREAM).await.len();
    printed(&stack, &["replay", "--all"]).await;
    let replayed = stack.nats.messages(STREAM).await.split_off(before);
    let replayed: BTreeSet<String> = replayed
        .iter()
        .map(|message| message.subject.to_string())
        .collect();
    assert_eq!(replayed, subjects.into_iter().collect());
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_long_subjects_hold_up_no_other_letter() {
    let stack = Stack::start().await;
    // More than are published at once.
    let pending = [setting!(dead_letters.max_pending = "16")];
    let daemon = stack.daemon(&pending).await;
    let long: Vec<String> = (3_060..3_465).map(one_token).collect();
    publish(&stack, &long, "bad").await;
    publish(&stack, &["signals.short".to_owned()], "bad").await;
    publish(&stack, &["signals.good".to_owned()], &signal(1).to_string()).await;
    stack.settled().await;
    assert_eq!(lettered(&stack).await.len(), long.len() + 1);
    assert_eq!(stack.clickhouse.counts().await, (1, 1));
    assert!(!daemon.output().contains("Dead letter not published"));
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_cannot_be_stored_hold_up_no_others_and_do_not_flood_the_log() {
    let stack = Stack::start().await;
    let settings = [
        setting!(dead_letters.max_pending = "16"),
        setting!(clickhouse.retry_max = "200ms"),
    ];
    let mut daemon = stack.daemon(&settings).await;
    let nats = stack.nats.jetstream().await;
    let letters = nats.get_stream(DEAD_LETTERS).await.unwrap();
    let mut config = letters.cached_info().config.clone();
    config.max_message_size = 8 << 10;
    nats.update_stream(&config).await.unwrap();
    let too_large = vec!["signals.large".to_owned(); 405];
    publish(&stack, &too_large, &"bad".repeat(4 << 10)).await;
    publish(&stack, &["signals.small".to_owned()], "bad").await;
    eventually("the small one has its letter", async || {
        (stack.nats.messages_left(DEAD_LETTERS).await == 1).then_some(())
    })
    .await;
    let line = daemon.logged(LETTER_NOT_PUBLISHED).await;
    assert!(line["stream_seq"].as_u64().is_some(), "{line}");
    eventually("a line sums up", async || {
        let mut lines = daemon.lines().into_iter();
        let summary = LETTERS_NOT_PUBLISHED;
        lines.find(|line| line["message"] == summary && line["waiting"].as_u64() >= Some(405))
    })
    .await;
    let lines = daemon
        .output()
        .lines()
        .filter(|line| line.contains("tried again"))
        .count();
    assert!(lines < 20, "{lines} lines");
    config.max_message_size = -1;
    nats.update_stream(&config).await.unwrap();
    stack.settled().await;
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 406);
    daemon.logged(LETTERS_PUBLISHED).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_no_other_publish_has_room_for_is_lettered_and_named_by_a_replay() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    // Without a subject for the answer, a publish has room for more of its own.
    let longest = one_token(4_090);
    let client = stack.nats.client().await;
    client.publish(longest.clone(), "bad".into()).await.unwrap();
    client.flush().await.unwrap();
    publish(&stack, &["signals.short".to_owned()], "bad").await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    assert_eq!(lettered(&stack).await.len(), 2);
    let output = stack.risksignal(&["dead-letters", "replay", "--all"]).await;
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("max_control_line"), "{error}");
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 1);
    let exported = printed(&stack, &["export"]).await;
    assert!(exported.contains(&longest), "{exported}");
}
