//! The users that ship for production: each command works with what its user may do, and what
//! is more is refused.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ::jetstream::log_lines::DENIED;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, jetstream};
use risksignal::retention::log_lines::PURGED;
use testkit::api;
use testkit::nats::{DEAD_LETTERS, Options, STREAM, sequence};
use testkit::signals::signal;
use testkit::{Daemon, Stack, eventually, repository, setting};

const INGEST_PASSWORD: &str = "ingest-only-7";

/// The users of a ClickHouse as the local stack has them, and `risksignal` with the grants of
/// grants.sql. libchdb takes no users by SQL, so they go into its file of users.
fn users_with_grants(folder: &Path) -> PathBuf {
    let sql = std::fs::read_to_string(repository("infra/clickhouse/grants.sql")).unwrap();
    let statements: Vec<String> = sql
        .lines()
        .filter(|line| !line.starts_with("--"))
        .collect::<Vec<_>>()
        .concat()
        .split(';')
        .map(|statement| statement.trim().to_owned())
        .collect();
    let grants: String = statements
        .iter()
        .filter_map(|statement| statement.strip_suffix(" TO risksignal"))
        .map(|grant| format!("<query>{grant}</query>"))
        .collect();
    // Besides the user's own statement and the end, all are grants.
    assert_eq!(
        grants.matches("<query>GRANT ").count(),
        statements.len() - 2
    );
    let user = format!(
        "<risksignal><password>{INGEST_PASSWORD}</password><networks><ip>::/0</ip></networks>\
         <profile>default</profile><quota>default</quota><grants>{grants}</grants></risksignal>"
    );
    let usual = repository("infra/clickhouse/users.d/risksignal.xml");
    let usual = std::fs::read_to_string(usual).unwrap();
    let path = folder.join("users.xml");
    std::fs::write(&path, usual.replace("<users>", &format!("<users>{user}"))).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_takes_signals_from_a_user_who_may_only_insert_and_look_up() {
    let folder = tempfile::tempdir().unwrap();
    let users = format!("--users={}", users_with_grants(folder.path()).display());
    let stack = Stack::with(Options::default(), &[users]).await;
    let user = [
        setting!(clickhouse.user = "risksignal"),
        setting!(clickhouse.password = INGEST_PASSWORD),
        setting!(clickhouse.migrate = "false"),
    ];
    // The daemon's user may not make the schema, and says where to look.
    let refused = stack.risksignal_with(&["migrate"], &user).await;
    let printed = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success());
    assert!(
        printed.contains("Code: 497") && printed.contains("grants.sql"),
        "{printed}"
    );
    assert!(stack.risksignal(&["migrate"]).await.status.success());

    stack.produce(&["--count=500", "--seed=1"]).await;
    let mut daemon = stack.daemon(&user).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (500, 500));
    stack
        .produce(&["--count=500", "--seed=2", "--invalid=10"])
        .await;
    stack.settled().await;
    let letters = stack.nats.messages_left(DEAD_LETTERS).await;
    assert!(letters > 0);
    let rows = 1000 - letters;
    assert_eq!(stack.clickhouse.counts().await, (rows, rows));
    let check = stack.risksignal_with(&["check"], &user).await;
    assert!(check.status.success(), "{check:?}");
    let printed = String::from_utf8(check.stdout).unwrap();
    assert!(printed.contains("at version 6"), "{printed}");
    assert!(daemon.stop().await.success());

    let client = stack
        .clickhouse
        .client()
        .with_user("risksignal")
        .with_password(INGEST_PASSWORD);
    for more in [
        "DROP TABLE raw_signals",
        "TRUNCATE TABLE raw_signals",
        "ALTER TABLE raw_signals DELETE WHERE 1",
        "ALTER TABLE raw_signals DROP COLUMN extra",
        "OPTIMIZE TABLE raw_signals",
        "SELECT payload FROM raw_signals",
        "SELECT amount FROM transactions",
        "DROP VIEW wallet_snapshots",
        "INSERT INTO schema_migrations SELECT 'x', 2, 'x', now64(3)",
        "CREATE TABLE mine (a UInt8) ENGINE = MergeTree ORDER BY a",
        "CREATE DATABASE mine",
        "CREATE USER mine",
        "GRANT SELECT ON *.* TO risksignal",
        "SELECT * FROM url('http://127.0.0.1:1', 'CSV', 'a String')",
        "SELECT * FROM file('x', 'CSV', 'a String')",
        "SYSTEM SHUTDOWN",
    ] {
        let printed = client.query_raw(more).execute().await.unwrap_err();
        assert!(
            printed.to_string().contains("Code: 497"),
            "{more}: {printed}"
        );
    }
    assert_eq!(stack.clickhouse.counts().await, (rows, rows));
}

const PUBLISHER_PASSWORD: &str = "publisher-only-7";
/// Made with bcrypt; the server takes either.
const PUBLISHER_HASH: &str = "$2a$04$mp.pyISr1iMQRBS86EAkIewS6Wk4lnZ3NN6YQ2N9uPsIAw0IG.VUu";
const SERVE_PASSWORD: &str = "serve-only-7";
const OPERATOR_PASSWORD: &str = "operator-only-7";
pub const VIEWER_PASSWORD: &str = "viewer-only-7";

const INGEST: [(&str, &str); 9] = [
    setting!(stream.keep = "1s, 64KiB"),
    setting!(nats.user = "ingest"),
    setting!(nats.password = INGEST_PASSWORD),
    setting!(nats.inbox_prefix = "_INBOX_ingest"),
    // A message that is not acked is given up at once.
    setting!(consumer.max_deliver = "1"),
    setting!(consumer.ack_wait = "4s"),
    setting!(clickhouse.send_timeout = "1s"),
    setting!(clickhouse.end_timeout = "2s"),
    setting!(nats.request_timeout = "2s"),
];
const OPERATOR: [(&str, &str); 3] = [
    setting!(nats.user = "operator"),
    setting!(nats.password = OPERATOR_PASSWORD),
    setting!(nats.inbox_prefix = "_INBOX_operator"),
];

/// A NATS with exactly the users of infra/nats/least-privilege.conf.
pub async fn with_least_privilege() -> Stack {
    with_users_of(&repository("infra/nats/least-privilege.conf")).await
}

async fn with_users_of(config: &Path) -> Stack {
    let login = ConnectOptions::new()
        .user_and_password("operator".to_owned(), OPERATOR_PASSWORD.to_owned())
        .custom_inbox_prefix("_INBOX_operator");
    let mut options = Options::config(config, login);
    options.environment = [
        ("PUBLISHER", PUBLISHER_HASH),
        ("INGEST", INGEST_PASSWORD),
        ("SERVE", SERVE_PASSWORD),
        ("OPERATOR", OPERATOR_PASSWORD),
        ("VIEWER", VIEWER_PASSWORD),
        ("SURVEYOR", "surveyor-only-7"),
    ]
    .map(|(user, password)| (format!("RISKSIGNAL_NATS_{user}"), password.to_owned()))
    .to_vec();
    Stack::with(options, &[]).await
}

/// A client, and what the server has refused it.
pub async fn client(stack: &Stack, user: &str, password: &str) -> (Client, Arc<Mutex<String>>) {
    let refused = Arc::<Mutex<String>>::default();
    let kept = Arc::clone(&refused);
    let client = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
        .event_callback(move |event| {
            if let Event::ServerError(error) = event {
                *kept.lock().unwrap() += &format!("{error}\n").to_lowercase();
            }
            std::future::ready(())
        })
        .connect(stack.nats.url())
        .await;
    (client.unwrap(), refused)
}

/// The server refuses to take anything on these subjects from this client.
pub async fn assert_may_not_publish(client: &Client, refused: &Mutex<String>, subjects: &[&str]) {
    for subject in subjects {
        client
            .publish(subject.to_string(), "{}".into())
            .await
            .unwrap();
        let words = format!("permissions violation for publish to \"{subject}\"").to_lowercase();
        eventually(&words, async || {
            refused.lock().unwrap().contains(&words).then_some(())
        })
        .await;
    }
}

async fn publish(publisher: &Client, numbers: std::ops::Range<u64>) {
    let publisher = jetstream::new(publisher.clone());
    for number in numbers {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", number.to_string());
        let body = signal(number).to_string().into();
        let ack = publisher.publish_with_headers("signals.risk_event", headers, body);
        ack.await.unwrap().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publisher_daemon_and_operator_work_with_what_they_may() {
    let stack = with_least_privilege().await;
    let mut daemon = stack.daemon(&INGEST).await;
    let (publisher, _) = client(&stack, "publisher", PUBLISHER_PASSWORD).await;
    publish(&publisher, 0..50).await;
    publisher.publish("signals.bad", "{".into()).await.unwrap();
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (50, 50));

    // For what is delivered too often the daemon reads the stream.
    assert!(daemon.stop().await.success());
    publish(&publisher, 50..51).await;
    let doomed = ["run", "--fault-point", "decoding:signals.risk_event"];
    let mut doomed = Daemon::spawn(&doomed, &stack.environment(&INGEST), &stack.work_dir());
    assert!(doomed.ended().await.code().is_none());
    let mut daemon = stack.daemon(&INGEST).await;
    eventually("it has landed", async || {
        (stack.clickhouse.counts().await == (51, 51)).then_some(())
    })
    .await;

    assert!(stack.check(&INGEST).await.contains("ingest may use all "));
    // An operator looks at everything, replays, and removes.
    let operate = async |arguments: &[&str], words: &str| {
        let run = stack.risksignal_with(arguments, &OPERATOR).await;
        assert!(run.status.success(), "{arguments:?} {run:?}");
        let printed = String::from_utf8(run.stdout).unwrap();
        assert!(printed.contains(words), "{words} in: {printed}");
    };
    operate(&["produce", "--count=10", "--seed=1"], "").await;
    operate(&["dead-letters", "list"], "not_json").await;
    operate(&["dead-letters", "show", "1"], "not_json").await;
    operate(&["dead-letters", "export", "letters.ndjson"], "").await;
    // One that is killed, and one that looks whether that has published.
    let replay = ["dead-letters", "replay", "--reason=not_json"];
    let killed = [&replay[..], &["--fault-point", "replay-intended"]].concat();
    let killed = stack.risksignal_with(&killed, &OPERATOR).await;
    assert!(killed.status.code().is_none(), "{killed:?}");
    operate(&replay, "").await;
    eventually("it is a letter again", async || {
        let letters = stack.nats.messages(DEAD_LETTERS).await;
        (letters.len() == 1 && sequence(&letters[0]) == 3).then_some(())
    })
    .await;
    operate(&["dead-letters", "purge", "--yes"], "").await;
    stack.settled().await;
    daemon.logged(PURGED).await;
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 0);
    assert_eq!(stack.clickhouse.counts().await, (61, 61));
    assert!(daemon.stop().await.success());
    let printed = daemon.output().to_lowercase();
    assert!(!printed.contains("permissions violation"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_in_over_http_works_with_what_it_may() {
    let stack = with_least_privilege().await;
    let login = [
        setting!(nats.user = "serve"),
        setting!(nats.password = SERVE_PASSWORD),
        setting!(nats.inbox_prefix = "_INBOX_serve"),
    ];
    // It is the first, and makes the stream.
    let (mut server, api) = api::start(&stack, &login).await;
    let answer = api.send().json(signal(1).to_string()).await;
    assert_eq!(api::sequences(&answer), [1]);
    assert!(server.stop().await.success());
    let printed = server.output().to_lowercase();
    assert!(!printed.contains("permissions violation"), "{printed}");

    let (serve, refused) = client(&stack, "serve", SERVE_PASSWORD).await;
    let more = [
        "$JS.API.STREAM.DELETE.SIGNALS",
        "$JS.API.STREAM.PURGE.SIGNALS",
        "$JS.API.STREAM.UPDATE.SIGNALS",
        "$JS.API.STREAM.MSG.GET.SIGNALS",
        "$JS.API.CONSUMER.CREATE.SIGNALS",
        "$JS.API.STREAM.CREATE.MINE",
        "dlq.signals.risk_event",
    ];
    assert_may_not_publish(&serve, &refused, &more).await;
    assert_eq!(stack.nats.messages_left(STREAM).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_may_do_more() {
    let stack = with_least_privilege().await;
    let mut daemon = stack.daemon(&INGEST).await;
    assert!(daemon.stop().await.success());
    let anonymous = async_nats::connect(stack.nats.url()).await;
    assert!(anonymous.is_err(), "nobody gets in without a login");
    let (publisher, refused) = client(&stack, "publisher", PUBLISHER_PASSWORD).await;
    publish(&publisher, 0..20).await;
    let more = [
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.SIGNALS",
        "$JS.API.STREAM.DELETE.SIGNALS",
        "$JS.API.STREAM.PURGE.SIGNALS",
        "$JS.API.STREAM.UPDATE.SIGNALS",
        "$JS.API.STREAM.MSG.GET.SIGNALS",
        "$JS.API.STREAM.MSG.DELETE.SIGNALS",
        "$JS.API.DIRECT.GET.SIGNALS",
        "$JS.API.CONSUMER.CREATE.SIGNALS",
        "$JS.API.CONSUMER.DELETE.SIGNALS.signals-to-clickhouse",
        "$JS.API.CONSUMER.MSG.NEXT.SIGNALS.signals-to-clickhouse",
        "$JS.API.STREAM.CREATE.MINE",
        "$JS.ACK.SIGNALS.signals-to-clickhouse.1.1.1.1.0",
        "dlq.signals.risk_event",
        "_INBOX_ingest.x",
        "SIGNALS_CLAIMS_risksignal_raw_signals",
        "elsewhere",
    ];
    assert_may_not_publish(&publisher, &refused, &more).await;
    for subject in [
        ">",
        "signals.>",
        "_INBOX_ingest.>",
        "_INBOX_operator.>",
        "$JS.>",
    ] {
        let _subscriber = publisher.subscribe(subject).await.unwrap();
        let words = format!("permissions violation for subscription to \"{subject}\"");
        eventually(&words, async || {
            let words = words.to_lowercase();
            refused.lock().unwrap().contains(&words).then_some(())
        })
        .await;
    }
    // JetStream's answer goes to the subject that the publisher names; it must not be taken
    // for a request there.
    for api in ["PURGE", "DELETE", "UPDATE"] {
        let reply = format!("$JS.API.STREAM.{api}.SIGNALS");
        let body = signal(100).to_string().into();
        let publish = publisher.publish_with_reply("signals.x", reply, body);
        publish.await.unwrap();
    }
    publish(&publisher, 20..21).await;
    let left = stack.nats.messages_left(STREAM).await;
    assert_eq!(left, 24, "nothing is gone");

    let (ingest, refused) = client(&stack, "ingest", INGEST_PASSWORD).await;
    let more = [
        "signals.risk_event",
        "$JS.API.STREAM.DELETE.SIGNALS",
        "$JS.API.STREAM.UPDATE.SIGNALS",
        "$JS.API.STREAM.MSG.DELETE.SIGNALS",
        "$JS.API.STREAM.PURGE.SIGNALS_DLQ",
        "$JS.API.CONSUMER.DELETE.SIGNALS.signals-to-clickhouse",
        "$JS.API.CONSUMER.CREATE.SIGNALS.other",
        "$JS.API.STREAM.CREATE.MINE",
        "$JS.API.STREAM.PURGE.SIGNALS_CLAIMS_risksignal_raw_signals",
        "$JS.API.STREAM.DELETE.SIGNALS_CLAIMS_risksignal_raw_signals",
        "$JS.API.STREAM.UPDATE.SIGNALS_CLAIMS_risksignal_raw_signals",
    ];
    assert_may_not_publish(&ingest, &refused, &more).await;
    let (operator, refused) = client(&stack, "operator", OPERATOR_PASSWORD).await;
    let more = [
        "$JS.API.STREAM.CREATE.MINE",
        "elsewhere",
        "SIGNALS_CLAIMS_risksignal_raw_signals",
        "$JS.API.STREAM.PURGE.SIGNALS_CLAIMS_risksignal_raw_signals",
        "$SYS.REQ.SERVER.PING",
    ];
    assert_may_not_publish(&operator, &refused, &more).await;
    assert_eq!(stack.nats.messages_left(STREAM).await, 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_of_the_claims_log_that_is_denied_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let usual = std::fs::read_to_string(repository("infra/nats/least-privilege.conf")).unwrap();
    let config = folder.path().join("nats.conf");
    // As an operator has it who upgrades the daemon alone.
    let claims = |line: &&str| !line.contains("SIGNALS_CLAIMS");
    let without: Vec<&str> = usual.lines().filter(claims).collect();
    std::fs::write(&config, without.join("\n")).unwrap();
    let stack = with_users_of(&config).await;
    let daemon = stack.daemon_not_waited_for(&INGEST);
    let printed = daemon.logged(DENIED).await;
    let subject = "$JS.API.STREAM.INFO.SIGNALS_CLAIMS_risksignal_raw_signals";
    let denied = printed["denied"].as_str().unwrap().to_lowercase();
    assert_eq!(denied, format!("publish to \"{subject}\"").to_lowercase());
    let check = stack.risksignal_with(&["check"], &OPERATOR).await;
    let printed = String::from_utf8(check.stdout).unwrap();
    let is_it = |line: &&str| line.contains("is denied") && line.contains(subject);
    let line = printed.lines().find(is_it).unwrap_or_default();
    assert!(line.contains("WRONG"), "{printed}");
    assert!(line.contains("nats.user operator"), "{printed}");
}
