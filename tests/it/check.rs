//! `risksignal check`.

use crate::harness::Stack;

async fn check(stack: &Stack) -> (Option<i32>, Vec<String>) {
    let output = stack.risksignal(&["check"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(str::to_owned).collect();
    (output.status.code(), lines)
}

/// The line of a part must be `ok` or `WRONG`, and hold these words.
fn assert_line(lines: &[String], part: &str, verdict: &str, words: &str) {
    let found = lines.iter().any(|line| {
        let mut tokens = line.split_whitespace();
        tokens.next() == Some(part) && tokens.next() == Some(verdict) && line.contains(words)
    });
    assert!(found, "{part} {verdict} {words} in {lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_what_is_missing_and_then_that_all_is_well() {
    let stack = Stack::start().await;
    let (status, lines) = check(&stack).await;
    assert_eq!(status, Some(2 + 4 + 16));
    assert_line(&lines, "nats", "ok", "nats-server 2.");
    assert_line(&lines, "clickhouse", "ok", "ClickHouse 2");
    assert_line(&lines, "stream", "WRONG", "SIGNALS does not exist");
    assert_line(&lines, "stream", "WRONG", "SIGNALS_DLQ does not exist");
    let advisories = "SIGNALS_DLQ_ADVISORIES_signals-to-clickhouse";
    let is_absent = format!("{advisories} does not exist");
    assert_line(&lines, "stream", "WRONG", &is_absent);
    assert_line(&lines, "consumer", "WRONG", "`risksignal run` creates it");
    assert_line(&lines, "schema", "WRONG", "risksignal migrate");
    let claims = "SIGNALS_CLAIMS_risksignal_raw_signals";
    let is_absent = format!("{claims} does not exist");
    assert_line(&lines, "claims", "WRONG", &is_absent);

    let mut daemon = stack.daemon(&[]).await;
    let (status, lines) = check(&stack).await;
    assert_eq!(status, Some(0), "{lines:#?}");
    assert_line(&lines, "stream", "ok", "SIGNALS takes signals.>");
    let takes = format!("{advisories} takes $JS.EVENT.ADVISORY");
    assert_line(&lines, "stream", "ok", &takes);
    assert_line(&lines, "consumer", "ok", "signals-to-clickhouse, 0 pending");
    let keeps = "keeps 100000 deduplication tokens, at version 6";
    assert_line(&lines, "schema", "ok", keeps);
    assert_line(
        &lines,
        "claims",
        "ok",
        &format!("{claims} keeps every record"),
    );
    let jetstream = stack.nats.jetstream().await;
    let log = jetstream.get_stream(claims).await.unwrap();
    let kept = log.cached_info().config.clone();
    let mut bounded = kept.clone();
    bounded.max_messages = 1_000_000;
    jetstream.update_stream(bounded).await.unwrap();
    let (status, lines) = check(&stack).await;
    assert_eq!(status, Some(2), "{lines:#?}");
    assert_line(&lines, "claims", "WRONG", "has max_msgs 1000000");
    jetstream.update_stream(kept).await.unwrap();

    stack
        .clickhouse
        .execute("ALTER TABLE raw_signals DROP COLUMN extra")
        .await;
    let (status, lines) = check(&stack).await;
    assert_eq!(status, Some(16));
    assert_line(&lines, "schema", "WRONG", "column extra String is missing");

    daemon.kill();
    stack.nats.kill();
    stack.clickhouse.kill();
    let (status, lines) = check(&stack).await;
    assert_eq!(status, Some(1 + 2 + 4 + 8 + 16));
    assert_line(&lines, "nats", "WRONG", "is the server running");
    assert!(!lines.concat().contains("risksignal_dev_2026"));
}
