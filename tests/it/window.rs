//! The table's window of deduplication tokens, which the claims logs of several streams share.

use risksignal::claiming::log_lines::WINDOW_SHARED;
use risksignal::pipeline::log_lines::CLAIMS_WAIT;
use testkit::ops::{ANY_PORT, Ops};
use testkit::{Stack, eventually, setting};

/// A second stream into the same table.
const OTHER: [(&str, &str); 6] = [
    setting!(stream.name = "OTHER"),
    setting!(stream.subject_prefix = "other"),
    setting!(dead_letters.name = "OTHER_DLQ"),
    setting!(dead_letters.subject_prefix = "dlq-other"),
    setting!(consumer.name = "other-to-clickhouse"),
    ANY_PORT,
];

/// Waits until a daemon has so many tokens for its claims.
async fn limit(ops: &Ops, tokens: f64) {
    eventually(&format!("{tokens} tokens"), async || {
        let limit = ops.metric("risksignal_claims_tokens_limit").await?;
        (limit == tokens).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_streams_share_the_window_of_their_table() {
    let stack = Stack::start().await;
    let first = stack.daemon(&[ANY_PORT]).await;
    let first_ops = Ops::of(&first).await;
    limit(&first_ops, 50_000.0).await;
    assert!(!stack.check(&[]).await.contains("share the table's window"));

    let mut second = stack.daemon(&OTHER).await;
    second.logged(WINDOW_SHARED).await;
    let second_ops = Ops::of(&second).await;
    limit(&first_ops, 25_000.0).await;
    limit(&second_ops, 25_000.0).await;
    let printed = stack.check(&OTHER).await;
    let shared = "2 claims logs share the table's window, so each may have 25000 tokens in use: OTHER_CLAIMS_risksignal_raw_signals, ";
    assert!(printed.contains(shared), "{printed}");
    // One instance at 250 inserts a second for 150 seconds needs more than its share.
    assert!(
        printed.contains("make the table keep 151000 tokens"),
        "{printed}"
    );

    // A second start of the same log waits for nobody.
    assert!(second.stop().await.success());
    let second = stack.daemon(&OTHER).await;
    assert!(!second.output().contains("Another claims log"));
    stack.produce(&["--count=50", "--seed=1"]).await;
    stack.settled().await;
    let jetstream = stack.nats.jetstream().await;
    let body = testkit::signals::signal(1).to_string();
    let sent = jetstream.publish("other.risk_event", body.into()).await;
    sent.unwrap().await.unwrap();
    eventually("both have landed", async || {
        (stack.clickhouse.counts().await.0 == 51).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_share_is_taken_waits_and_says_what_is_full() {
    let stack = Stack::start().await;
    let small = [
        setting!(batch.max_rows = "1"),
        setting!(batch.max_inserts_per_second = "100"),
        setting!(clickhouse.fence = "30s"),
        setting!(clickhouse.late_commit = "10s"),
        ANY_PORT,
    ];
    let migrated = stack.risksignal_with(&["migrate"], &small).await;
    assert!(migrated.status.success(), "{migrated:?}");
    let window =
        "ALTER TABLE raw_signals MODIFY SETTING non_replicated_deduplication_window = 10000";
    stack.clickhouse.execute(window).await;
    // Ten other logs, of which no daemon runs here.
    let others = "INSERT INTO raw_signals_claims_logs (log, fence, until) SELECT toString(number), 1, now() + 600 FROM numbers(10)";
    stack.clickhouse.execute(others).await;
    let daemon = stack.daemon(&small).await;
    let ops = Ops::of(&daemon).await;
    limit(&ops, 454.0).await;
    stack.produce(&["--count=600", "--seed=1"]).await;
    let line = daemon.logged(CLAIMS_WAIT).await;
    let error = line["error"].as_str().unwrap();
    for words in [
        "454 may be at once",
        "10000 tokens",
        "shared by 11 claims logs",
        "clickhouse.fence",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let (rows, _) = stack.clickhouse.counts().await;
    assert!(rows <= 456, "{rows} were inserted");
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (600, 600));
}
