//! A faulty configuration ends before any server is touched.

use std::path::Path;

use testkit::risksignal;

async fn run(dir: &Path, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    // Nothing listens there: a server that was touched would show as an error of its own.
    let mut all = vec![
        ("NATS_URL".to_owned(), "nats://127.0.0.1:1".to_owned()),
        ("CLICKHOUSE_URL".to_owned(), "http://127.0.0.1:1".to_owned()),
    ];
    all.extend(
        environment
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string())),
    );
    let output = risksignal(&["run"], &all, dir).await;
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test]
async fn each_fault_has_its_message_and_status_78() {
    for (key, value, words) in [
        (
            "RISKSIGNAL__BATCH__MAX_ROWS",
            "0",
            &["batch.max_rows", "0"][..],
        ),
        (
            "RISKSIGNAL__BATCH__MAX_ROWS",
            "many",
            &["batch.max_rows", "many"],
        ),
        (
            "RISKSIGNAL__BATCH__MAX_WAIT",
            "soon",
            &["batch.max_wait", "soon"],
        ),
        ("RISKSIGNAL__BATCH__MAX_BYTES", "1GiB", &["batch.max_bytes"]),
        (
            "RISKSIGNAL__BATCH__MAXROWS",
            "5",
            &["batch.maxrows", "batch.max_rows"],
        ),
        (
            "RISKSIGNAL__CONSUMER__MAX_ACK_PENDING",
            "100",
            &["consumer.max_ack_pending"],
        ),
        (
            "RISKSIGNAL__CONSUMER__NAME",
            "a.b",
            &["consumer.name", "a.b"],
        ),
        (
            "RISKSIGNAL__CLICKHOUSE__TABLE",
            "a; DROP",
            &["clickhouse.table"],
        ),
        (
            "RISKSIGNAL__LOG__FORMAT",
            "xml",
            &["log.format", "xml", "json"],
        ),
        (
            "RISKSIGNAL__DEAD_LETTERS__NAME",
            "SIGNALS",
            &["dead_letters.name", "stream.name"],
        ),
        ("CLICKHOUSE_URL", "ftp://x", &["clickhouse.url", "ftp"]),
        ("NATS_URL", "http://x", &["nats.url"]),
        ("RUST_LOG", "risksignal=loud", &["log.filter"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (status, error) = run(dir.path(), &[(key, value)]).await;
        assert_eq!(status, Some(78), "{key}={value}: {error}");
        for word in words {
            assert!(error.contains(word), "{word} for {key}={value} in: {error}");
        }
        assert!(error.contains(key), "the source {key} in: {error}");
    }
}

#[tokio::test]
async fn all_faults_of_all_layers_are_reported_at_once_and_no_secret_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file =
        "[batch]\nmax_rows = 0\n[nats]\nurll = \"x\"\n[clickhouse]\npassword = \"hunter2\"\n";
    std::fs::write(dir.path().join("risksignal.toml"), file).unwrap();
    std::fs::write(dir.path().join(".env"), "RISKSIGNAL__LOG__FORMAT=xml\n").unwrap();
    let environment = [
        ("RISKSIGNAL__CONSUMER__ACK_WAIT", "1ms"),
        ("CLICKHOUSE_URL", "ftp://admin:hunter2@x"),
    ];
    let (status, error) = run(dir.path(), &environment).await;
    assert_eq!(status, Some(78));
    for words in [
        ["batch.max_rows", "risksignal.toml"],
        ["nats.urll", "risksignal.toml"],
        ["log.format", ".env"],
        ["consumer.ack_wait", "RISKSIGNAL__CONSUMER__ACK_WAIT"],
        ["clickhouse.url", "CLICKHOUSE_URL"],
    ] {
        let line = error
            .lines()
            .find(|line| words.iter().all(|word| line.contains(word)));
        assert!(line.is_some(), "{words:?} in: {error}");
    }
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn help_and_version_need_no_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let broken = [("RISKSIGNAL__LOG__FORMAT".to_owned(), "xml".to_owned())];
    for (arguments, words) in [
        (&["--help"][..], &["run", "produce", "migrate", "check"][..]),
        (&["run", "--help"], &["--no-migrate", "--config"]),
        (
            &["produce", "--help"],
            &[
                "--count",
                "--rate",
                "--kind",
                "--file",
                "--invalid",
                "--seed",
            ],
        ),
        (&["--version"], &[env!("CARGO_PKG_VERSION")]),
    ] {
        let output = risksignal(arguments, &broken, dir.path()).await;
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        for word in words {
            assert!(text.contains(word), "{word} in: {text}");
        }
    }
}
