//! Faults of servers and of their users, made for real: `check`, `status`, the page and the log
//! name each.

use std::path::Path;

use async_nats::ConnectOptions;
use risksignal::capacity::log_lines::WARNING_IN_FORCE;
use risksignal::ops::log_lines::DEPENDENCY_DOWN;
use testkit::fault::Fault;
use testkit::nats::{Options, fetched};
use testkit::ops::{ANY_PORT, Ops};
use testkit::users::{PASSWORD, User, file, stack_with};
use testkit::{Daemon, Stack, setting};

const RETRY: (&str, &str) = setting!(clickhouse.retry_max = "1s");

/// A daemon that may never be ready.
async fn start(stack: &Stack, settings: &[(&str, &str)]) -> (Daemon, Ops) {
    let daemon = stack.daemon_not_waited_for(settings);
    let ops = Ops::of(&daemon).await;
    (daemon, ops)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_readonly_user_is_named() {
    let user = User {
        name: "reader",
        profile: "<readonly>1</readonly>",
        ..User::default()
    };
    let stack = stack_with(&[user]).await;
    assert!(stack.risksignal(&["migrate"]).await.status.success());
    let settings = [
        ANY_PORT,
        RETRY,
        setting!(clickhouse.user = "reader"),
        setting!(clickhouse.password = PASSWORD),
    ];
    let (daemon, ops) = start(&stack, &settings).await;
    let fault = Fault {
        name: "readonly user",
        settings: &settings,
        check: &[
            "clickhouse",
            "the settings profile of clickhouse.user",
            "readonly",
        ],
        page: &["clickhouse", "the settings profile of clickhouse.user"],
        log: &["the settings profile of clickhouse.user", "readonly"],
    };
    fault.assert_named(&stack, &daemon, &ops).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_right_to_insert_is_named_also_while_nothing_is_to_be_inserted() {
    const LESS: [&str; 4] = [
        "GRANT SELECT, SHOW ON risksignal.*",
        "GRANT INSERT ON risksignal.raw_signals_claims_logs",
        "GRANT INSERT ON risksignal.schema_migrations",
        "GRANT CREATE, ALTER ON risksignal.*",
    ];
    let folder = tempfile::tempdir().unwrap();
    let user = |grants| User {
        name: "ingest",
        grants,
        ..User::default()
    };
    let users = format!("--users={}", file(&[user(&[])], folder.path()).display());
    let stack = Stack::with(Options::default(), &[users]).await;
    let settings = [
        ANY_PORT,
        RETRY,
        setting!(clickhouse.user = "ingest"),
        setting!(clickhouse.password = PASSWORD),
    ];
    assert!(stack.risksignal(&["migrate"]).await.status.success());
    let (mut daemon, ops) = start(&stack, &settings).await;
    ops.ready(true).await;
    stack.produce(&["--count=20", "--seed=1"]).await;
    stack.settled().await;
    stack.check(&settings).await;

    file(&[user(&LESS)], folder.path());
    stack.clickhouse.kill();
    stack.clickhouse.restart().await;
    let fault = Fault {
        name: "revoked INSERT",
        settings: &settings,
        check: &[
            "clickhouse",
            "cannot insert a batch",
            "Code: 497 (ACCESS_DENIED)",
        ],
        page: &[
            "clickhouse",
            "cannot insert a batch",
            "Code: 497 (ACCESS_DENIED)",
        ],
        log: &[DEPENDENCY_DOWN, "cannot insert a batch", "Code: 497"],
    };
    fault.assert_named(&stack, &daemon, &ops).await;

    file(&[user(&[])], folder.path());
    stack.clickhouse.kill();
    stack.clickhouse.restart().await;
    ops.ready(true).await;
    stack.check(&settings).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_of_clickhouse_is_named() {
    let stack = Stack::start().await;
    let wrong = [
        ANY_PORT,
        RETRY,
        setting!(clickhouse.password = "tellme-not"),
    ];
    let (daemon, ops) = start(&stack, &wrong).await;
    let words = ["Code: 516 (AUTHENTICATION_FAILED)", "clickhouse.password"];
    let fault = Fault {
        name: "wrong password of ClickHouse",
        settings: &wrong,
        check: &words,
        page: &words,
        log: &words,
    };
    fault.assert_named(&stack, &daemon, &ops).await;
    assert!(!daemon.output().contains("tellme-not"));
}

/// A configuration of nats-server, in a folder.
fn nats_config(folder: &Path, more: &str) -> std::path::PathBuf {
    let path = folder.join("nats.conf");
    std::fs::write(
        &path,
        format!("jetstream {{ max_file_store: 1GB }}\n{more}\n"),
    )
    .unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_of_nats_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = nats_config(
        folder.path(),
        "authorization { user: app, password: right-7 }",
    );
    let login = ConnectOptions::new().user_and_password("app".to_owned(), "right-7".to_owned());
    let stack = Stack::with(Options::config(&config, login), &[]).await;
    let wrong = [
        ANY_PORT,
        RETRY,
        setting!(nats.user = "app"),
        setting!(nats.password = "tellme-not"),
    ];
    let (daemon, ops) = start(&stack, &wrong).await;
    let words = [
        "the server rejects the login",
        "nats.user and nats.password",
    ];
    let fault = Fault {
        name: "wrong password of NATS",
        settings: &wrong,
        check: &words,
        page: &words,
        log: &words,
    };
    fault.assert_named(&stack, &daemon, &ops).await;
    assert!(!daemon.output().contains("tellme-not"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_nats_server_is_named() {
    if !fetched(&["--old-nats"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = nats_config(folder.path(), "");
    let mut options = Options::config(&config, ConnectOptions::new());
    options.arguments.push("--old".to_owned());
    let stack = Stack::with(options, &[]).await;
    let settings = [ANY_PORT, RETRY];
    let (daemon, ops) = start(&stack, &settings).await;
    let words = [
        "nats-server 2.9.",
        "is older than 2.10",
        "upgrade nats-server",
    ];
    let fault = Fault {
        name: "old nats-server",
        settings: &settings,
        check: &words,
        page: &words,
        log: &[WARNING_IN_FORCE, "nats_too_old", "is older than 2.10"],
    };
    fault.assert_named(&stack, &daemon, &ops).await;
}
