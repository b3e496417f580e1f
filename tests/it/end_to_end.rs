//! From the producer to ClickHouse and the dead letters.

use std::collections::BTreeSet;

use risksignal::command::log_lines::{STARTING, STOPPED};
use risksignal::pipeline::log_lines::PULL_FAILED;
use serde_json::Value;
use telemetry::log_lines::{INSERTED, INSERTED_MANY};
use testkit::nats::{DEAD_LETTERS, STREAM, header, sequence};
use testkit::signals::{is_valid, real_signals};
use testkit::stored::stored;
use testkit::{Stack, eventually, setting};

#[tokio::test(flavor = "multi_thread")]
async fn every_valid_signal_lands_once_and_every_other_one_is_a_dead_letter() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&[]).await;
    stack
        .produce(&["--count=20000", "--invalid=1", "--seed=7"])
        .await;
    stack.settled().await;

    let mut valid = BTreeSet::new();
    let mut invalid = BTreeSet::new();
    for message in stack.nats.messages(STREAM).await {
        let set = if is_valid(&message.payload) {
            &mut valid
        } else {
            &mut invalid
        };
        set.insert(sequence(&message));
    }
    assert_eq!(valid.len() + invalid.len(), 20_000);
    assert!((100..400).contains(&invalid.len()), "{}", invalid.len());

    let rows = stack
        .clickhouse
        .rows("SELECT stream_seq FROM raw_signals")
        .await;
    assert_eq!(rows.len(), valid.len(), "no signal is there twice");
    assert_eq!(rows.into_iter().collect::<BTreeSet<u64>>(), valid);

    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert_eq!(letters.len(), invalid.len(), "no letter is there twice");
    let mut reasons = BTreeSet::new();
    let mut sequences = BTreeSet::new();
    for letter in &letters {
        reasons.insert(header(letter, "Risksignal-Reason"));
        sequences.insert(header(letter, "Risksignal-Sequence").parse().unwrap());
        assert!(!header(letter, "Risksignal-Error").is_empty());
    }
    assert_eq!(sequences, invalid);
    let known = ["breaks_rules", "not_json", "not_utf8"].map(str::to_owned);
    assert_eq!(reasons, BTreeSet::from(known));

    assert!(daemon.stop().await.success());
    let levels: Vec<_> = daemon
        .lines()
        .iter()
        .map(|line| line["level"].clone())
        .collect();
    assert!(!levels.contains(&"ERROR".into()));
    let failed = |line: &Value| line["message"] == PULL_FAILED;
    assert!(!daemon.lines().iter().any(failed), "nothing went wrong");
    let stopped = daemon.logged(STOPPED).await;
    assert_eq!(stopped["inserted"], valid.len());
    assert_eq!(stopped["dead_lettered"], invalid.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_confirmed_in_the_log() {
    // People tail these two: their words and fields never change.
    assert_eq!(STARTING, "Starting signals consumer");
    assert_eq!(INSERTED, "Inserted batch to ClickHouse");
    let stack = Stack::start().await;
    let daemon = stack.daemon(&[setting!(batch.max_wait = "50ms")]).await;
    let starting = daemon.logged(STARTING).await;
    assert_eq!(starting["stream"], "SIGNALS");
    assert_eq!(starting["consumer"], "signals-to-clickhouse");
    assert_eq!(starting["batch_max_wait_ms"], 50);
    stack.produce(&["--count=10", "--seed=1"]).await;
    let inserted = daemon.logged(INSERTED).await;
    for field in ["count", "total", "bytes", "insert_ms", "oldest_age_ms"] {
        assert!(inserted[field].as_f64().is_some(), "{field} in {inserted}");
    }
    stack.settled().await;
    let lines = daemon.lines();
    let counts: u64 = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
    assert_eq!(counts, 10);
    let all = serde_json::to_string(&lines).unwrap();
    assert!(!all.contains("risksignal_dev_2026"), "no secret in the log");
    assert!(!all.contains("trace_id"), "no payload in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_a_summary_takes_the_place_of_a_line_a_batch() {
    let stack = Stack::start().await;
    let mut daemon = stack
        .daemon(&[
            setting!(log.lines_per_second = "0"),
            setting!(log.summary_interval = "200ms"),
        ])
        .await;
    stack.produce(&["--count=5000", "--seed=1"]).await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    let lines = daemon.lines();
    let sum: u64 = lines
        .iter()
        .filter(|line| line["message"] == INSERTED_MANY)
        .map(|line| line["count"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, 5000);
    let single = |line: &Value| line["message"] == INSERTED;
    assert!(!lines.iter().any(single));
}

#[tokio::test(flavor = "multi_thread")]
async fn real_data_arrives_with_its_payloads_byte_for_byte() {
    let Some((file, text)) = real_signals() else {
        return;
    };
    let stack = Stack::start().await;
    let _daemon = stack.daemon(&[]).await;
    stack.produce(&["--file", file.to_str().unwrap()]).await;
    let lines: Vec<&str> = text.lines().collect();
    eventually("every line has landed", async || {
        (stack.clickhouse.counts().await.0 == lines.len() as u64).then_some(())
    })
    .await;
    let rows = stored(&stack.clickhouse).await;
    for (line, row) in lines.into_iter().zip(rows) {
        // The line's own bytes: everything behind the key.
        let payload = line.split_once("\"payload\":").unwrap().1;
        assert!(payload.starts_with(&row.payload), "{line}\n{}", row.payload);
        assert!(payload[row.payload.len()..].starts_with(",\"severity\":"));
        let sent: Value = serde_json::from_str(line).unwrap();
        assert_eq!(sent["trace_id"], row.trace_id.to_string());
        assert_eq!(
            sent["wallet_address"].as_str().unwrap_or(""),
            row.wallet_address
        );
        assert_eq!(row.subject, format!("signals.{}", row.event_type));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_reads_back_as_it_was_sent() {
    let stack = Stack::start().await;
    let _daemon = stack.daemon(&[]).await;
    let nats = stack.nats.jetstream().await;
    let wide = "é".repeat(128);
    let bodies = [
        r#"{"event_time":"2023-05-02T14:19:59.1239+02:00","source_id":"s","event_type":"t","payload":{ "a" : 123456789012345678901234567890, "b":"\ud800" },"severity":5,"trace_id":"3b32aef0-228a-5924-a25d-9362bb7bf65d","user_id":"u","wallet_address":"0xab","chain":[1, 2]}"#.to_owned(),
        format!(r#"{{"event_time":-5,"source_id":"{wide}","payload":{{}},"severity":0,"trace_id":"00000000-0000-4000-8000-000000000001","user_id":null}}"#),
        r#"{"event_time":"2299-12-31T23:59:59.999Z","source_id":"\u0000","event_type":null,"payload":{"n":1e400},"severity":1,"trace_id":"ffffffff-ffff-4fff-bfff-ffffffffffff"}"#.to_owned(),
    ];
    for body in bodies {
        let ack = nats
            .publish("signals.my_type.eu", body.into())
            .await
            .unwrap();
        ack.await.unwrap();
    }
    eventually("three rows", async || {
        (stack.clickhouse.counts().await == (3, 3)).then_some(())
    })
    .await;
    let rows = stored(&stack.clickhouse).await;
    let [first, second, third] = rows.as_slice() else {
        panic!("{} rows", rows.len());
    };
    assert_eq!(first.event_time, 1_683_029_999_123);
    assert_eq!(
        (first.source_id.as_str(), first.event_type.as_str()),
        ("s", "t")
    );
    assert_eq!(
        first.payload,
        r#"{ "a" : 123456789012345678901234567890, "b":"\ud800" }"#
    );
    assert_eq!(first.severity, 5);
    assert_eq!(
        first.trace_id.to_string(),
        "3b32aef0-228a-5924-a25d-9362bb7bf65d"
    );
    assert_eq!(
        (first.user_id.as_str(), first.wallet_address.as_str()),
        ("u", "0xab")
    );
    assert_eq!(first.extra, r#"{"chain":[1, 2]}"#);
    assert_eq!(first.subject, "signals.my_type.eu");
    assert_eq!(second.event_time, -5);
    assert_eq!(second.source_id, wide);
    assert_eq!(second.event_type, "my_type");
    assert_eq!((second.user_id.as_str(), second.extra.as_str()), ("", ""));
    assert_eq!(third.event_time, 10_413_791_999_999);
    assert_eq!(
        (third.source_id.as_str(), third.event_type.as_str()),
        ("\0", "my_type")
    );
    assert_eq!(third.stream_seq, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_event_times_span_centuries_lands() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let nats = stack.nats.jetstream().await;
    for year in 1900..2300 {
        let mut signal = testkit::signals::signal(year);
        signal["event_time"] = format!("{year}-06-15T00:00:00Z").into();
        let body = signal.to_string().into();
        nats.publish("signals.risk_event", body)
            .await
            .unwrap()
            .await
            .unwrap();
    }
    // All that does not come with the first chunk of the first pull is one batch.
    let daemon = stack
        .daemon(&[setting!(batch.max_inserts_per_second = "1")])
        .await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (400, 400));
    let batches = daemon.lines().into_iter();
    let largest = batches.filter_map(|line| line["count"].as_u64()).max();
    assert!(
        largest > Some(100),
        "more partitions than ClickHouse takes by default, if the event's time made them"
    );
    let years = "SELECT uniqExact(toYear(event_time)) FROM raw_signals";
    assert_eq!(stack.clickhouse.number(years).await, 400);
}
