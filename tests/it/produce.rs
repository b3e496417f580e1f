//! The test data generator.

use std::path::Path;
use std::process::{Command, Stdio};

use risksignal::command::log_lines::PUBLISHED;
use testkit::nats::{STREAM, header};
use testkit::signals::is_valid;
use testkit::{Stack, setting};

/// The number in a line of the summary.
fn summary(stdout: &[u8], name: &str) -> u64 {
    let text = std::str::from_utf8(stdout).unwrap();
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.replace(',', "").parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_repeats_the_signals_and_the_stream_drops_them() {
    let stack = Stack::start().await;
    let arguments = ["produce", "--count=2000", "--seed=9", "--invalid=5"];
    let first = stack.risksignal(&arguments).await;
    assert!(first.status.success(), "{first:?}");
    assert_eq!(summary(&first.stdout, "accepted"), 2000);
    assert_eq!(summary(&first.stdout, "duplicates"), 0);
    let second = stack.risksignal(&arguments).await;
    assert_eq!(summary(&second.stdout, "accepted"), 0);
    assert_eq!(summary(&second.stdout, "duplicates"), 2000);

    let messages = stack.nats.messages(STREAM).await;
    assert_eq!(messages.len(), 2000);
    let valid: Vec<_> = messages
        .iter()
        .filter(|message| is_valid(&message.payload))
        .collect();
    let invalid = messages.len() - valid.len();
    assert_eq!(summary(&first.stdout, "invalid") as usize, invalid);
    assert!(
        (50..=150).contains(&invalid),
        "{invalid} of 2000 at 5 percent"
    );
    for message in valid {
        let signal: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(signal["trace_id"], header(message, "Nats-Msg-Id"));
        let event_type = signal["event_type"].as_str().unwrap();
        assert_eq!(message.subject.as_str(), format!("signals.{event_type}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_can_be_had_by_itself() {
    let stack = Stack::start().await;
    for kind in ["transaction", "risk_event", "wallet_snapshot"] {
        stack.produce(&["--count=50", "--kind", kind]).await;
    }
    let messages = stack.nats.messages(STREAM).await;
    for (kind, messages) in ["transaction", "risk_event", "wallet_snapshot"]
        .iter()
        .zip(messages.chunks(50))
    {
        for message in messages {
            assert_eq!(message.subject.as_str(), format!("signals.{kind}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_come_from_a_file_or_standard_input_byte_for_byte() {
    let stack = Stack::start().await;
    let lines = [
        r#"{"event_type":"a b","trace_id":"00000000-0000-4000-8000-000000000001", "x": 1e400}"#,
        "not json",
        r#"{"event_type":"transaction"}"#,
    ];
    let file = stack.work_dir().join("lines.ndjson");
    std::fs::write(&file, format!("{}\n\n{}\n{}", lines[0], lines[1], lines[2])).unwrap();
    stack.produce(&["--file", file.to_str().unwrap()]).await;

    let mut command = Command::new(testkit::program());
    command
        .args(["produce", "--file=-", "--count=1"])
        .env_clear()
        .envs(stack.environment(&[]))
        .current_dir(stack.work_dir())
        .stdin(Stdio::from(std::fs::File::open(&file).unwrap()));
    let output = tokio::process::Command::from(command)
        .output()
        .await
        .unwrap();
    assert_eq!(
        summary(&output.stdout, "duplicates"),
        1,
        "the first line has a trace id"
    );

    let messages = stack.nats.messages(STREAM).await;
    let bodies: Vec<_> = messages
        .iter()
        .map(|message| message.payload.to_vec())
        .collect();
    assert_eq!(bodies, lines.map(|line| line.as_bytes().to_vec()));
    let subjects: Vec<_> = messages
        .iter()
        .map(|message| message.subject.to_string())
        .collect();
    assert_eq!(
        subjects,
        ["signals.a_b", "signals.unknown", "signals.transaction"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_goes_on_until_stopped_ends_with_its_summary() {
    let stack = Stack::start().await;
    let arguments = ["produce", "--count=0", "--rate=2000"];
    let environment = stack.environment(&[setting!(log.filter = "debug,async_nats=warn")]);
    let mut producer =
        testkit::Daemon::spawn(&arguments, &environment, Path::new(&stack.work_dir()));
    let published = producer.logged(PUBLISHED).await;
    assert!(
        published["subject"]
            .as_str()
            .unwrap()
            .starts_with("signals."),
        "{published}"
    );
    assert!(producer.stop().await.success());
    let messages = stack.nats.messages(STREAM).await.len();
    let text = producer.output();
    assert_eq!(
        summary(text.as_bytes(), "accepted") as usize,
        messages,
        "{text}"
    );
}
