//! ClickHouse's words quote the values of signals: they leave the daemon by the dead letter alone.

use risksignal::pipeline::log_lines::INSERT_REFUSED;
use store::log_lines::OWN_WORDS;
use telemetry::log_lines::DEAD_LETTER;
use testkit::nats::{DEAD_LETTERS, header};
use testkit::ops::{ANY_PORT, Ops};
use testkit::signals::signal;
use testkit::{Stack, setting};

const SECRET: &str = "xyzzy-4711";
/// Refused rows, and none taken in between, for which the daemon takes the table to be at fault.
const AGAINST_TABLE: u64 = 16;

/// Publishes signals whose payloads ClickHouse refuses, and quotes.
async fn publish_refused(stack: &Stack, numbers: std::ops::Range<u64>) {
    let nats = stack.nats.jetstream().await;
    for number in numbers {
        let mut one = signal(number);
        let long = "x".repeat(100_000);
        one["payload"] = serde_json::json!({"a": SECRET, "refuse": "me", "z": long});
        let sent = nats.publish("signals.other", one.to_string().into());
        sent.await.unwrap().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_signal_leaves_through_a_page_or_the_log() {
    let stack = Stack::start().await;
    stack.risksignal(&["migrate"]).await;
    let quoting =
        "ALTER TABLE raw_signals ADD CONSTRAINT quoting CHECK position(payload, 'refuse') = 0";
    stack.clickhouse.execute(quoting).await;
    stack.nats.create_stream().await;
    let settings = [ANY_PORT, setting!(clickhouse.retry_max = "500ms")];
    let mut daemon = stack.daemon(&settings).await;
    let ops = Ops::of(&daemon).await;

    // Beside a good one, each becomes a dead letter, which has ClickHouse's words.
    publish_refused(&stack, 0..2).await;
    stack.produce(&["--count=20", "--seed=1"]).await;
    stack.settled_beside_others().await;
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert_eq!(letters.len(), 2);
    for letter in &letters {
        let words = header(letter, "Risksignal-Error");
        assert!(
            words.contains(SECRET) && words.contains("quoting"),
            "{words}"
        );
    }
    daemon.logged(DEAD_LETTER).await;

    // Nothing but such rows: the table is at fault, and the daemon is not ready.
    publish_refused(&stack, 100..100 + AGAINST_TABLE).await;
    daemon.logged(INSERT_REFUSED).await;
    let reason = ops.down("schema").await;
    assert!(
        reason.contains("Code: 469 (VIOLATED_CONSTRAINT)"),
        "{reason}"
    );
    for path in ["/readyz", "/livez", "/statusz", "/metrics"] {
        let body = ops.get(path).await.body;
        assert!(!body.contains(SECRET), "{path}: {body}");
    }
    // What is refused stays in the stream, so that the stop is not a clean one.
    daemon.stop().await;
    assert!(!daemon.output().contains(SECRET));
    let longest = daemon.output().lines().map(str::len).max();
    assert!(
        longest.is_some_and(|longest| longest < 2_000),
        "{longest:?}"
    );

    // At debug level the log has the beginning of them.
    let debug = [ANY_PORT, setting!(log.filter = "info,risksignal=debug")];
    let daemon = stack.daemon(&debug).await;
    let line = daemon.logged(OWN_WORDS).await;
    let words = line["words"].as_str().unwrap();
    assert!(
        words.contains(SECRET) && words.chars().count() <= 2048,
        "{words}"
    );
    assert_eq!(line["level"], "DEBUG");
}
