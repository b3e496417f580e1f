//! The command line itself: output, errors and files that need no daemon and mostly no server.

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use risksignal::ops::log_lines::SERVING;
use serde_json::Value;
use testkit::process::free_port;
use testkit::{Daemon, Stack, program, risksignal, setting, variable};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn owned(environment: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = environment.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Runs the binary with a standard output whose reader is gone before it starts.
fn without_reader(arguments: &[&str], environment: &[(String, String)], dir: &Path) -> Output {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(program());
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().cloned())
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap()
}

fn assert_silent(arguments: &[&str], environment: &[(String, String)], dir: &Path) {
    let output = without_reader(arguments, environment, dir);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    assert_eq!(text(&output.stderr), "", "{arguments:?}");
}

#[tokio::test]
async fn a_reader_that_is_gone_is_no_error_without_servers() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [
        &["config", "show"][..],
        &["config", "show", "--json"],
        &["config", "check"],
        &["config", "check", "--json"],
        &["config", "schema"],
        &["schema", "list"],
        &["schema", "export"],
        &["schema", "export", "--typescript"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
    ] {
        assert_silent(arguments, &[], dir.path());
    }
    // The exit status is that of the work, whoever reads.
    let faulty = owned(&[setting!(batch.max_rows = "0")]);
    let output = without_reader(&["config", "check", "--json"], &faulty, dir.path());
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_gone_is_no_error_and_programs_get_json() {
    let stack = Stack::start().await;
    let dir = stack.work_dir();
    let json = async |arguments: &[&str]| -> Value {
        let output = stack.risksignal(arguments).await;
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let pending = json(&["migrate", "--dry-run", "--json"]).await;
    assert!(pending["steps"].as_array().unwrap().len() > 5, "{pending}");
    let applied = json(&["migrate", "--json"]).await;
    assert_eq!(applied["applied"][0]["version"], 1, "{applied}");
    assert_eq!(applied["newer_version"], Value::Null);
    let produced = json(&["produce", "--count=20", "--seed=5", "--json"]).await;
    assert_eq!(produced["accepted"], 20, "{produced}");

    let mut daemon = stack.daemon(&[]).await;
    stack
        .produce(&["--count=10", "--invalid=100", "--seed=6"])
        .await;
    stack.settled().await;
    let quiet = stack.environment(&[setting!(log.filter = "error")]);
    for arguments in [
        &["check"][..],
        &["check", "--json"],
        &["dead-letters", "list"],
        &["dead-letters", "list", "--json"],
        &["dead-letters", "export"],
        &["dead-letters", "show", "1"],
        &["migrate"],
        &["produce", "--count=3"],
    ] {
        assert_silent(arguments, &quiet, &dir);
    }
    let would = json(&["dead-letters", "replay", "--all", "--dry-run", "--json"]).await;
    assert_eq!(would["would_replay"], 10, "{would}");
    let removed = json(&["dead-letters", "purge", "--seq=1", "--yes", "--json"]).await;
    assert_eq!(removed["removed"], 1, "{removed}");
    // The work is done, whoever reads.
    assert_silent(&["dead-letters", "purge", "--seq=2", "--yes"], &quiet, &dir);
    let would = json(&["dead-letters", "purge", "--dry-run", "--json"]).await;
    assert_eq!(would["would_remove"], 8, "{would}");
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn errors_of_commands_that_end_are_plain_words() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{nowhere}");
    for (arguments, environment, expected) in [
        (
            &["migrate"][..],
            vec![setting!(clickhouse.url = url.as_str())],
            &nowhere,
        ),
        (
            &["status"],
            vec![setting!(ops.listen = nowhere.as_str())],
            &nowhere,
        ),
        (&["status", "--url", &url], vec![], &nowhere),
        (
            &["schema", "check", "absent.jsonl"],
            vec![],
            &"cannot open absent.jsonl\n  caused by: No such file".to_owned(),
        ),
    ] {
        let output = risksignal(arguments, &owned(&environment), dir.path()).await;
        let printed = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {printed}");
        assert!(printed.starts_with("error: "), "{printed}");
        assert!(printed.contains(expected.as_str()), "{printed}");
        assert!(!printed.contains('{'), "{printed}");
        assert_eq!(text(&output.stdout), "");
    }
}

#[tokio::test]
async fn settings_are_shown_with_their_origins_and_checked_without_servers() {
    let dir = tempfile::tempdir().unwrap();
    let file = "[batch]\nmax_rows = 5000\n[nats]\nuser = \"app\"\npassword = \"hunter2\"\n";
    std::fs::write(dir.path().join("risksignal.toml"), file).unwrap();
    let pulls = variable!(consumer.pulls);
    std::fs::write(dir.path().join(".env"), format!("{pulls}=3\n")).unwrap();
    let credentials = dir.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("ops_token"), "hunter3").unwrap();
    let environment = owned(&[
        ("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap()),
        setting!(clickhouse.url = "http://user:hunter4@127.0.0.1:1"),
    ]);
    let show = async |environment: &[(String, String)]| {
        risksignal(&["config", "show", "--json"], environment, dir.path()).await
    };
    let faulty = show(&environment).await;
    assert_eq!(faulty.status.code(), Some(78), "{faulty:?}");
    let environment = owned(&[
        ("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap()),
        setting!(clickhouse.url = "http://127.0.0.1:1"),
    ]);
    let shown = show(&environment).await;
    let printed = text(&shown.stdout);
    assert!(!printed.contains("hunter"), "{printed}");
    let shown: Value = serde_json::from_str(printed).unwrap();
    for (key, value, origin, source) in [
        ("batch.max_rows", "5000", "file", "risksignal.toml"),
        ("nats.password", "***", "file", "risksignal.toml"),
        ("consumer.pulls", "3", "dot_env", pulls),
        ("ops.token", "***", "credential", "ops_token"),
        (
            "clickhouse.url",
            "http://127.0.0.1:1",
            "environment",
            variable!(clickhouse.url),
        ),
    ] {
        let setting = &shown[key];
        assert_eq!(setting["value"], value, "{key}: {setting}");
        assert_eq!(setting["origin"], origin, "{key}: {setting}");
        assert_eq!(setting["source"], source, "{key}: {setting}");
    }
    assert_eq!(shown["batch.max_wait"]["origin"], "default");
    let changed = ["config", "show", "--changed"];
    let changed = risksignal(&changed, &environment, dir.path()).await;
    assert_eq!(text(&changed.stdout).lines().count(), 6, "{changed:?}");

    let check = ["config", "check", "--json"];
    let sound = risksignal(&check, &environment, dir.path()).await;
    assert_eq!(sound.status.code(), Some(0), "{sound:?}");
    let faulty = owned(&[
        setting!(batch.max_rows = "0"),
        setting!(ops.listen = "localhost"),
    ]);
    let found = risksignal(&check, &faulty, dir.path()).await;
    assert_eq!(found.status.code(), Some(78), "{found:?}");
    let document: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(
        document["findings"].as_array().unwrap().len(),
        2,
        "{document}"
    );
    assert_eq!(document["overall"], "fault");
}

#[tokio::test]
async fn a_host_to_listen_on_is_looked_up_and_a_url_reaches_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let daemon = |listen| {
        let environment = owned(&[
            setting!(ops.listen = listen),
            setting!(clickhouse.url = nowhere.as_str()),
            setting!(log.format = "json"),
        ]);
        Daemon::spawn(&["run"], &environment, dir.path())
    };
    let waiting = daemon("localhost:0");
    let line = waiting.logged(SERVING).await;
    let address = line["address"].as_str().unwrap();
    let (ip, port) = address.rsplit_once(':').unwrap();
    assert_eq!(ip, "127.0.0.1");
    let url = format!("http://localhost:{port}/");
    let status = ["status", "--json", "--url", &url];
    let off = owned(&[setting!(ops.listen = "off")]);
    let output = risksignal(&status, &off, dir.path()).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["settings"]["ops.listen"], "localhost:0");

    // RFC 6761: no such name exists.
    let mut unknown = daemon("nowhere.invalid:9464");
    assert_eq!(unknown.ended().await.code(), Some(1));
    let failed = unknown.logged("Failed").await;
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.contains("ops.listen is \"nowhere.invalid\""),
        "{error}"
    );
    assert!(error.contains("or set an IP address"), "{error}");
}

#[tokio::test]
async fn completions_and_manual_pages_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef risksignal"),
        ("fish", "complete -c risksignal"),
    ] {
        let output = risksignal(&["completions", shell], &[], dir.path()).await;
        let script = text(&output.stdout);
        assert!(
            script.contains(word) && script.contains("dead-letters"),
            "{script}"
        );
    }
    let man = dir.path().join("man");
    let output = risksignal(&["man", man.to_str().unwrap()], &[], dir.path()).await;
    assert!(output.status.success(), "{output:?}");
    let page = |name: &str| std::fs::read_to_string(man.join(name)).unwrap();
    let own = page("risksignal.1");
    assert!(
        own.contains(".SH \"EXIT STATUS\"") && own.contains("risksignal\\-check"),
        "{own}"
    );
    let replay = page("risksignal-dead-letters-replay.1");
    assert!(
        replay.contains(".SH EXAMPLES") && replay.contains(".SH NOTES"),
        "{replay}"
    );
    assert!(!man.join("risksignal-help.1").exists());
}
