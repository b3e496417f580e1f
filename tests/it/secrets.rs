//! No secret in anything that the program writes, in whatever state it is.

use std::path::Path;

use async_nats::ConnectOptions;
use risksignal::command::log_lines::{
    CLICKHOUSE_NOT_READY, CLICKHOUSE_WRONG, JETSTREAM_WRONG, NATS_NOT_READY, STARTING,
};
use testkit::nats::Options;
use testkit::{Daemon, Stack, clickhouse, eventually, risksignal, setting, variable};

use super::nats_jwt;

const NATS_PASSWORD: &str = "secret-nats-918273645546";
const TOKEN: &str = "secret-token-918273645546";
const CLICKHOUSE_PASSWORD: &str = "secret-clickhouse-918273645546";

/// Everything that must not be written.
struct Secrets {
    seed: String,
    creds: String,
    words: Vec<String>,
}

impl Secrets {
    fn new() -> Self {
        let seed = nkeys::KeyPair::new_user().seed().unwrap();
        let (creds, _) = nats_jwt::operator_mode();
        let mut words = vec![
            // What the passwords have in common.
            "918273645546".to_owned(),
            clickhouse::PASSWORD.to_owned(),
            seed.clone(),
        ];
        // Of the credentials, the JWT and the seed.
        words.extend(
            creds
                .lines()
                .filter(|line| line.len() > 50)
                .map(str::to_owned),
        );
        assert_eq!(words.len(), 5);
        Self { seed, creds, words }
    }

    fn assert_not_in(&self, printed: &str, case: &str) {
        for word in &self.words {
            assert!(!printed.contains(word), "{word} after {case} in: {printed}");
        }
    }
}

/// Output of each command with these settings at the log level trace. `run` is ended once its
/// log has one of `messages`.
async fn outputs(stack: &Stack, settings: &[(&str, &str)], messages: &[&str]) -> String {
    let mut all = vec![
        setting!(log.filter = "trace"),
        setting!(nats.connect_timeout = "1s"),
    ];
    all.extend(settings);
    let mut printed = String::new();
    for arguments in [
        &["check"][..],
        &["migrate"],
        &["produce", "--count=5", "--invalid=50"],
        &["dead-letters", "list"],
        &["dead-letters", "purge", "--yes"],
    ] {
        let run = stack.risksignal_with(arguments, &all).await;
        printed += &String::from_utf8([run.stdout, run.stderr].concat()).unwrap();
    }
    let mut daemon = stack.daemon_not_waited_for(&all);
    eventually("the daemon says how it is", async || {
        let printed = daemon.output();
        messages
            .iter()
            .any(|message| printed.contains(message))
            .then_some(())
    })
    .await;
    daemon.stop().await;
    assert!(daemon.output().contains("\"TRACE\"") || daemon.output().contains("\"DEBUG\""));
    printed + &daemon.output()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written_with_servers_that_accept_refuse_or_are_away() {
    let secrets = Secrets::new();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.conf");
    let users = format!(
        "jetstream {{ max_file_store: 1GB }}\n\
         authorization {{ user: app, password: {NATS_PASSWORD:?} }}\n"
    );
    std::fs::write(&config, users).unwrap();
    let login = ConnectOptions::with_user_and_password("app".to_owned(), NATS_PASSWORD.to_owned());
    let stack = Stack::with(Options::config(&config, login), &[]).await;

    let by_password = [
        setting!(nats.user = "app"),
        setting!(nats.password = NATS_PASSWORD),
    ];
    let accepted = outputs(&stack, &by_password, &[STARTING]).await;
    assert!(accepted.contains("Stopped; all held"), "{accepted}");
    secrets.assert_not_in(&accepted, "what was accepted");

    let away = [
        setting!(nats.url = "nats://127.0.0.1:1"),
        setting!(clickhouse.url = "http://127.0.0.1:1"),
    ];
    let wrong = [
        setting!(nats.user = "app"),
        setting!(nats.password = "wrong-918273645546"),
    ];
    let is_not = [
        CLICKHOUSE_NOT_READY,
        CLICKHOUSE_WRONG,
        JETSTREAM_WRONG,
        NATS_NOT_READY,
    ];
    for (case, login) in [
        ("a wrong password", &wrong[..]),
        ("a token", &[setting!(nats.token = TOKEN)]),
        ("an NKey", &[setting!(nats.nkey = &secrets.seed)]),
        ("credentials", &[setting!(nats.creds = &secrets.creds)]),
    ] {
        // Refused by NATS, by ClickHouse, and by nobody as both are away.
        let refused = outputs(&stack, login, &is_not).await;
        assert!(refused.contains("rejects the login"), "{case} {refused}");
        secrets.assert_not_in(&refused, case);
        let password = [setting!(clickhouse.password = CLICKHOUSE_PASSWORD)];
        let refused = outputs(&stack, &[login, &password].concat(), &is_not).await;
        assert!(refused.contains("clickhouse.password"), "{case} {refused}");
        secrets.assert_not_in(&refused, case);
        let away = outputs(&stack, &[login, &password, &away].concat(), &is_not).await;
        assert!(away.contains("is the server running"), "{case} {away}");
        secrets.assert_not_in(&away, case);
    }
}

#[tokio::test]
async fn no_secret_is_written_of_a_faulty_configuration() {
    let secrets = Secrets::new();
    let (seed, creds) = (secrets.seed.as_str(), secrets.creds.as_str());
    let with_break = format!("{TOKEN}\n");
    let files = tempfile::tempdir().unwrap();
    let not_text = files.path().join("not-text");
    std::fs::write(&not_text, [TOKEN.as_bytes(), b"\xff"].concat()).unwrap();
    let not_text = not_text.display().to_string();
    for (case, environment) in [
        (
            "every login at once",
            &[
                setting!(nats.user = "app"),
                setting!(nats.password = NATS_PASSWORD),
                setting!(nats.token = TOKEN),
                setting!(nats.nkey = seed),
                setting!(nats.creds = creds),
            ][..],
        ),
        (
            "a password alone",
            &[setting!(nats.password = NATS_PASSWORD)],
        ),
        ("a line break", &[setting!(nats.token = &with_break)]),
        ("no NKey", &[setting!(nats.nkey = TOKEN)]),
        ("a seed with more", &[setting!(nats.nkey = &creds[5..])]),
        ("no credentials", &[setting!(nats.creds = seed)]),
        (
            "a file that is no text",
            &[setting!(nats.token_file = &not_text)],
        ),
        (
            "a login in a URL",
            &[setting!(nats.url = "nats://app:secret-918273645546@h")],
        ),
        (
            "a token in a URL",
            &[setting!(nats.url = "tls://secret-918273645546@h,nats://h")],
        ),
        (
            "ClickHouse's too",
            &[setting!(clickhouse.url = "https://a:secret-918273645546@h")],
        ),
        (
            "value and file",
            &[
                setting!(clickhouse.password = CLICKHOUSE_PASSWORD),
                setting!(clickhouse.password_file = &not_text),
            ],
        ),
    ] {
        assert_faulty(&secrets, case, "", "", environment).await;
    }
    for (case, toml, dot_env) in [
        (
            "no quotes",
            "[nats]\ntoken = secret-token-918273645546\n",
            "",
        ),
        ("a number", "[clickhouse]\npassword = 918273645546\n", ""),
        (
            "a key that is none",
            "[nats]\npasswort = \"secret-918273645546\"\n",
            "",
        ),
        (
            "a table",
            "[nats.password]\nx = \"secret-918273645546\"\n",
            "",
        ),
        (
            "a list",
            "[nats]\npassword = [\"secret-918273645546\"]\n",
            "",
        ),
        (
            "no line of .env",
            "",
            "RISKSIGNAL__NATS__PASSWORD secret-918273645546\n",
        ),
        (
            "an open quote",
            "",
            "CLICKHOUSE_PASSWORD='secret-918273645546\n",
        ),
    ] {
        assert_faulty(&secrets, case, toml, dot_env, &[]).await;
    }
}

/// Each command ends with status 78, and writes no secret.
async fn assert_faulty(
    secrets: &Secrets,
    case: &str,
    toml: &str,
    dot_env: &str,
    environment: &[(&str, &str)],
) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("risksignal.toml"), toml).unwrap();
    std::fs::write(dir.path().join(".env"), dot_env).unwrap();
    let environment: Vec<(String, String)> = environment
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    for command in ["run", "check", "migrate", "produce"] {
        let run = risksignal(&[command], &environment, dir.path()).await;
        assert_eq!(run.status.code(), Some(78), "{case} {run:?}");
        let printed = String::from_utf8([run.stdout, run.stderr].concat()).unwrap();
        secrets.assert_not_in(&printed, case);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_come_from_files_and_systemd_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("server.conf");
    let users =
        format!("jetstream {{ max_file_store: 1GB }}\nauthorization {{ token: {TOKEN:?} }}\n");
    std::fs::write(&config, users).unwrap();
    let login = ConnectOptions::with_token(TOKEN.to_owned());
    let stack = Stack::with(Options::config(&config, login), &[]).await;
    let credentials = folder.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("nats_token"), format!("{TOKEN}\n")).unwrap();
    let password = folder.path().join("clickhouse_password");
    std::fs::write(&password, format!("{}\n", clickhouse::PASSWORD)).unwrap();

    // Not from the environment itself: a process's environment is seen by all that it starts.
    let mut environment = stack.environment(&[
        ("CREDENTIALS_DIRECTORY", &credentials.display().to_string()),
        setting!(clickhouse.password_file = &password.display().to_string()),
    ]);
    environment.retain(|(name, _)| name != variable!(clickhouse.password));
    let work_dir = stack.work_dir();
    let arguments = ["produce", "--count=20", "--seed=1"];
    let made = risksignal(&arguments, &environment, &work_dir).await;
    assert!(made.status.success(), "{made:?}");
    let mut daemon = Daemon::spawn(&["run"], &environment, &work_dir);
    daemon.logged(STARTING).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (20, 20));
    assert!(daemon.stop().await.success());

    // A missing file is reported with everything else that is wrong.
    std::fs::remove_file(&password).unwrap();
    environment.push((variable!(batch.max_rows).to_owned(), "0".to_owned()));
    let run = risksignal(&["run"], &environment, Path::new(&work_dir)).await;
    assert_eq!(run.status.code(), Some(78));
    let printed = String::from_utf8(run.stderr).unwrap();
    assert!(
        printed.contains(&password.display().to_string()),
        "{printed}"
    );
    assert!(printed.contains("batch.max_rows"), "{printed}");
}
