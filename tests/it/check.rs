//! `risksignal check`.

use std::process::Output;

use serde_json::{Value, json};
use testkit::nats::{CLAIMS, CONSUMER, DEAD_LETTERS, STREAM};
use testkit::terminal::Terminal;
use testkit::users::{User, login, stack_with};
use testkit::{Stack, setting};

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
async fn check_names_missing_parts_and_then_finds_all_well() {
    let stack = Stack::start().await;
    let (status, lines) = check(&stack).await;
    assert_eq!(status, Some(1), "{lines:#?}");
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

    // What `run` creates is no question of permissions.
    assert_line(&lines, "nats", "ok", "may use all");
    assert!(!lines.concat().contains("permissions"), "{lines:#?}");

    let mut daemon = stack.daemon(&[]).await;
    let (status, lines) = check(&stack).await;
    assert_eq!(status, Some(0), "{lines:#?}");
    assert_line(&lines, "stream", "ok", "SIGNALS has the subjects signals.>");
    let takes = format!("{advisories} has the subjects $JS.EVENT.ADVISORY");
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
    assert_eq!(status, Some(1), "{lines:#?}");
    assert_line(&lines, "claims", "WRONG", "has max_msgs 1000000");
    jetstream.update_stream(kept).await.unwrap();

    stack
        .clickhouse
        .execute("ALTER TABLE raw_signals DROP COLUMN extra")
        .await;
    let (status, lines) = check(&stack).await;
    assert_eq!(status, Some(1));
    assert_line(&lines, "schema", "WRONG", "column extra String is missing");

    daemon.kill();
    stack.nats.kill();
    stack.clickhouse.kill();
    let (status, lines) = check(&stack).await;
    assert_eq!(status, Some(1));
    for part in [
        "nats",
        "stream",
        "consumer",
        "claims",
        "clickhouse",
        "schema",
    ] {
        assert_line(&lines, part, "WRONG", "");
    }
    assert_line(&lines, "nats", "WRONG", "is the server running");
    assert!(!lines.concat().contains("risksignal_dev_2026"));
}

/// The one document of `--json`.
fn document(output: &Output) -> Value {
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    for finding in document["findings"].as_array().unwrap() {
        for key in ["area", "code", "text"] {
            let text = finding[key].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{key}: {finding}");
        }
        let is_ok = finding["state"] == "ok";
        let has_remedy = finding["remedy"].as_str().is_some_and(|it| !it.is_empty());
        assert_ne!(is_ok, has_remedy, "{finding}");
    }
    document
}

fn state<'a>(document: &'a Value, area: &str, code: &str) -> &'a Value {
    let mut findings = document["findings"].as_array().unwrap().iter();
    let found = findings.find(|it| it["area"] == area && it["code"] == code);
    &found.unwrap_or_else(|| panic!("{area} {code}: {document:#}"))["state"]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_findings_are_one_document_for_programs() {
    let stack = Stack::start().await;
    let check = async |more: &[(&str, &str)]| {
        let output = stack.risksignal_with(&["check", "--json"], more).await;
        (output.status.code(), document(&output))
    };
    let (code, found) = check(&[]).await;
    assert_eq!((code, &found["exit_status"]), (Some(1), &json!(1)));
    assert_eq!(found["overall"], "fault");
    assert_eq!(state(&found, "stream", "stream_absent"), "fault");
    assert_eq!(state(&found, "nats", "nats_connected"), "ok");

    let mut daemon = stack.daemon(&[]).await;
    let (code, found) = check(&[]).await;
    assert_eq!((code, &found["exit_status"]), (Some(0), &json!(0)));
    assert_ne!(found["overall"], "fault");
    assert!(daemon.stop().await.success());
    for (area, code) in [
        ("settings", "settings_sound"),
        ("nats", "nats_permitted"),
        ("consumer", "consumer_sound"),
        ("claims", "claims_log_sound"),
        ("clickhouse", "clickhouse_usable"),
        ("schema", "schema_fits"),
    ] {
        assert_eq!(state(&found, area, code), "ok");
    }

    // A view that repeats rows is a warning, and no fault.
    for sql in [
        "CREATE TABLE copies (stream_seq UInt64) ENGINE = MergeTree ORDER BY stream_seq",
        "CREATE MATERIALIZED VIEW copy TO copies AS SELECT stream_seq FROM raw_signals",
    ] {
        stack.clickhouse.execute(sql).await;
    }
    let (code, found) = check(&[]).await;
    assert_eq!((code, &found["overall"]), (Some(0), &json!("warning")));
    assert_eq!(state(&found, "views", "view_repeats"), "warning");

    let (code, found) = check(&[setting!(batch.max_rows = "none")]).await;
    assert_eq!((code, &found["exit_status"]), (Some(78), &json!(78)));
    assert_eq!(state(&found, "settings", "settings_faulty"), "fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn colors_are_for_terminals() {
    let stack = Stack::start().await;
    let is_colored = async |arguments: &[&str]| {
        let output = stack
            .risksignal(&[&["check"][..], arguments].concat())
            .await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("settings"), "{text}");
        text.contains('\u{1b}')
    };
    assert!(!is_colored(&[]).await);
    assert!(!is_colored(&["--color=never"]).await);
    assert!(is_colored(&["--color=always"]).await);
    assert!(!is_colored(&["--color=always", "--json"]).await);

    for (more, expected) in [
        (&[][..], true),
        (&[("NO_COLOR", "1")], false),
        (&[("TERM", "dumb")], false),
    ] {
        let environment = stack.environment(more);
        let mut terminal = Terminal::spawn("check", &environment, &stack.work_dir());
        terminal.ended().await;
        let screen = terminal.shows("WRONG").await;
        assert_eq!(terminal.is_colored(), expected, "{more:?}: {screen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_changes_nothing() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    stack.produce(&["--count=50", "--seed=1"]).await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    stack.produce(&["--count=10", "--seed=2"]).await;
    let jetstream = stack.nats.jetstream().await;
    let state = async || {
        let mut seen = Vec::new();
        for name in [STREAM, DEAD_LETTERS, CLAIMS] {
            let info = jetstream.get_stream(name).await.unwrap();
            let info = info.cached_info().clone();
            let state = info.state;
            seen.push((state.first_sequence, state.last_sequence, state.messages));
        }
        let consumer = stack.nats.consumer_named(CONSUMER).await.unwrap();
        let (delivered, floor) = (consumer.delivered, consumer.ack_floor);
        let consumer = (
            delivered.consumer_sequence,
            floor.stream_sequence,
            consumer.num_pending,
            consumer.num_ack_pending,
        );
        (seen, consumer, stack.clickhouse.counts().await)
    };
    let before = state().await;
    assert_eq!((before.1.2, before.2), (10, (50, 50)));
    // It purges what exceeds this.
    let keep = setting!(stream.keep = "1s, 64KiB");
    let check = stack.check(&[keep]).await;
    assert!(check.contains("may use all"), "{check}");
    assert_eq!(state().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_missing_right_in_clickhouse_is_named() {
    const INSERT: &str = "GRANT INSERT ON risksignal.raw_signals";
    const SELECT: &str = "GRANT SELECT(stream_created_at, stream_seq, published_at, published_sub_ms, claim) ON risksignal.raw_signals";
    const FEWER: &str = "GRANT SELECT(stream_created_at, stream_seq, published_at, claim) ON risksignal.raw_signals";
    const LEDGER: &str = "GRANT SELECT, INSERT ON risksignal.raw_signals_claims_logs";
    const READ_LEDGER: &str = "GRANT SELECT ON risksignal.raw_signals_claims_logs";
    const VERSIONS: &str = "GRANT SELECT ON risksignal.schema_migrations";
    let cases: [(&str, &[&str], &str); 5] = [
        ("all", &[INSERT, SELECT, LEDGER, VERSIONS], ""),
        (
            "no_insert",
            &[SELECT, LEDGER, VERSIONS],
            "cannot insert a batch",
        ),
        (
            "no_column",
            &[INSERT, FEWER, LEDGER, VERSIONS],
            "cannot look up rows",
        ),
        (
            "no_record",
            &[INSERT, SELECT, READ_LEDGER, VERSIONS],
            "cannot record the claims log",
        ),
        (
            "no_ledger",
            &[INSERT, SELECT, VERSIONS],
            "cannot read the ledger of claims logs",
        ),
    ];
    let users = cases.map(|(name, grants, _)| User {
        name,
        grants,
        ..User::default()
    });
    let stack = stack_with(&users).await;
    let mut daemon = stack.daemon(&[]).await;
    assert!(daemon.stop().await.success());
    let mut missed = Vec::new();
    for (name, _, words) in cases {
        let settings = [&login(name)[..], &[setting!(clickhouse.migrate = "false")]];
        let output = stack.risksignal_with(&["check"], &settings.concat()).await;
        let text = String::from_utf8(output.stdout).unwrap();
        let is_named = match words {
            "" => output.status.success(),
            words => {
                let named = |line: &str| {
                    line.starts_with("clickhouse  WRONG")
                        && line.contains(words)
                        && line.contains("Code: 497 (ACCESS_DENIED)")
                };
                output.status.code() == Some(1) && text.lines().any(named)
            }
        };
        if !is_named {
            missed.push(format!("{name}: {text}"));
        }
    }
    // The cache reads the signals themselves.
    let cache = setting!(cache.url = "redis://127.0.0.1:1");
    let settings = [&login("all")[..], &[cache]].concat();
    let output = stack.risksignal_with(&["check"], &settings).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let named = |line: &str| line.starts_with("clickhouse  WRONG") && line.contains("Code: 497");
    if !text.lines().any(named) {
        missed.push(format!("cache: {text}"));
    }
    assert_eq!(missed, [""; 0]);
}
