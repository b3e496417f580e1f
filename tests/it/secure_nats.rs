//! NATS over TLS and with each way to log in, against real servers; and the refusals.

use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;
use jetstream::log_lines::{CONNECT_FAILED, RECONNECTED};
use tempfile::TempDir;
use testkit::certificates::{Authority, Certificate};
use testkit::eavesdropper::Eavesdropper;
use testkit::nats::Options;
use testkit::{Stack, eventually, refusal, setting};

const PASSWORD: &str = "correct-horse";

/// A folder with a CA that the test trusts, and one that nobody should.
pub struct Files {
    pub folder: TempDir,
    pub ca: Authority,
    pub other_ca: Authority,
}

impl Files {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            ca: Authority::new(folder.path(), "ca"),
            other_ca: Authority::new(folder.path(), "other"),
            folder,
        }
    }

    /// A configuration of nats-server with `body`.
    fn config(&self, body: &str) -> PathBuf {
        let path = self.folder.path().join("server.conf");
        let jetstream = "jetstream { max_memory_store: 64MB, max_file_store: 1GB }\n";
        std::fs::write(&path, format!("{jetstream}{body}")).unwrap();
        path
    }

    /// A server with this certificate, `more` in its `tls` block, and these users.
    pub async fn serve(&self, shown: &Certificate, more: &str, users: &str, login: Login) -> Stack {
        let body = format!("{}\n{users}\n", tls_block(shown, more));
        let login = login(ConnectOptions::new().require_tls(true), self);
        Stack::with(Options::config(&self.config(&body), login), &[]).await
    }
}

/// Login of the test's own connections.
type Login = fn(ConnectOptions, &Files) -> ConnectOptions;

fn tls_block(shown: &Certificate, more: &str) -> String {
    format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, {more} }}",
        shown.certificate(),
        shown.key()
    )
}

fn by_password(options: ConnectOptions, files: &Files) -> ConnectOptions {
    options
        .add_root_certificates(files.ca.file().into())
        .user_and_password("app".to_owned(), PASSWORD.to_owned())
}

fn users() -> String {
    format!("authorization {{ user: app, password: {PASSWORD:?} }}")
}

/// Every command that connects does so, and signals land.
pub async fn assert_signals_land(stack: &Stack, settings: &[(&str, &str)]) {
    let made = stack
        .risksignal_with(&["produce", "--count=200", "--seed=1"], settings)
        .await;
    assert!(made.status.success(), "{made:?}");
    let mut daemon = stack.daemon(settings).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (200, 200));
    for arguments in [&["check"][..], &["dead-letters", "list"]] {
        let run = stack.risksignal_with(arguments, settings).await;
        assert!(run.status.success(), "{run:?}");
    }
    assert!(daemon.stop().await.success());
}

/// `check` says that NATS is wrong, with all of `words` and no secret.
async fn assert_refused(stack: &Stack, settings: &[(&str, &str)], words: &[&str]) {
    refusal::assert_refused(stack, "nats", settings, words, &[PASSWORD, "hunter2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_a_password_and_what_is_refused() {
    let files = Files::new();
    let stack = files
        .serve(&files.ca.issue("127.0.0.1"), "", &users(), by_password)
        .await;
    let (ca, other_ca) = (files.ca.file(), files.other_ca.file());
    let login = |ca, password| {
        [
            setting!(nats.ca_file = ca),
            setting!(nats.user = "app"),
            setting!(nats.password = password),
        ]
    };
    assert_signals_land(&stack, &login(&ca, PASSWORD)).await;

    let wrong_ca = login(&other_ca, PASSWORD);
    assert_refused(&stack, &wrong_ca, &["check nats.ca_file", "UnknownIssuer"]).await;
    let wrong_password = login(&ca, "hunter2");
    let words = ["rejects the login: check nats.user and nats.password"];
    assert_refused(&stack, &wrong_password, &words).await;
    let none = [setting!(nats.ca_file = ca.as_str())];
    assert_refused(&stack, &none, &["nats.creds, none of which is set"]).await;
    // The certificate is for the address and not for the name.
    let url = stack.nats.url().replace("127.0.0.1", "localhost");
    let mut wrong_name = login(&ca, PASSWORD).to_vec();
    wrong_name.push(setting!(nats.url = &url));
    let words = ["is for other names: check nats.url"];
    assert_refused(&stack, &wrong_name, &words).await;
    // The system's CAs have not signed it.
    let url = stack.nats.url().replace("nats://", "tls://");
    assert_refused(&stack, &[setting!(nats.url = &url)], &["nats.ca_file"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused() {
    let files = Files::new();
    let expired = files.ca.issue_expired("127.0.0.1");
    let config = files.config(&tls_block(&expired, ""));
    let options = Options::config(&config, ConnectOptions::new());
    let folder = tempfile::tempdir().unwrap();
    let nats = testkit::nats::Nats::spawn(folder.path().join("nats"), options);
    testkit::process::accepts(nats.port()).await;
    let stack = Stack::start().await;
    let (ca, url) = (files.ca.file(), nats.url());
    let settings = [
        setting!(nats.url = url.as_str()),
        setting!(nats.ca_file = ca.as_str()),
    ];
    assert_refused(&stack, &settings, &["certificate has expired"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_may_be_renewed_under_the_daemon() {
    let files = Files::new();
    let shown = files.ca.issue("127.0.0.1");
    let stack = files.serve(&shown, "", &users(), by_password).await;
    let ca = files.ca.file();
    let settings = [
        setting!(nats.ca_file = ca.as_str()),
        setting!(nats.user = "app"),
        setting!(nats.password = PASSWORD),
    ];
    let mut daemon = stack.daemon(&settings).await;
    // A certificate of another CA in the same files, which the daemon does not trust yet.
    let renewed = files.other_ca.issue("127.0.0.1");
    std::fs::copy(renewed.certificate(), shown.certificate()).unwrap();
    std::fs::copy(renewed.key(), shown.key()).unwrap();
    stack.nats.kill();
    stack.nats.restart_not_waited_for();
    eventually("the daemon says why it is not connected", async || {
        let printed = daemon.output();
        (printed.contains(CONNECT_FAILED) && printed.contains("UnknownIssuer")).then_some(())
    })
    .await;
    std::fs::copy(files.other_ca.file(), &ca).unwrap();
    daemon.logged(RECONNECTED).await;
    let arguments = ["produce", "--count=100", "--seed=1"];
    let made = stack.risksignal_with(&arguments, &settings).await;
    assert!(made.status.success(), "{made:?}");
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (100, 100));
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_first_speaks_before_the_server_does() {
    let files = Files::new();
    let stack = files
        .serve(
            &files.ca.issue("127.0.0.1"),
            "handshake_first: true",
            &users(),
            |options, files| by_password(options.tls_first(), files),
        )
        .await;
    let ca = files.ca.file();
    let settings = |tls| {
        [
            setting!(nats.ca_file = ca.as_str()),
            setting!(nats.user = "app"),
            setting!(nats.password = PASSWORD),
            setting!(nats.tls = tls),
            setting!(nats.connect_timeout = "2s"),
        ]
    };
    assert_signals_land(&stack, &settings("first")).await;
    assert_refused(
        &stack,
        &settings("on"),
        &["nats.tls", "first, if it waits for a TLS handshake"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_in_plain_text_where_any_setting_asks_for_tls() {
    let files = Files::new();
    let ca = files.ca.file();
    // A server without TLS, which would take the password as it is.
    let options =
        |options: ConnectOptions| options.user_and_password("app".into(), PASSWORD.into());
    let config = files.config(&users());
    let stack = Stack::with(
        Options::config(&config, options(ConnectOptions::new())),
        &[],
    )
    .await;
    for (scheme, tls) in [
        ("nats", Some(setting!(nats.tls = "on"))),
        ("nats", Some(setting!(nats.tls = "first"))),
        ("nats", Some(setting!(nats.ca_file = ca.as_str()))),
        ("tls", None),
    ] {
        let line = Eavesdropper::before(stack.nats.port()).await;
        let url = format!("{scheme}://127.0.0.1:{}", line.port());
        let mut settings = vec![
            setting!(nats.url = url.as_str()),
            setting!(nats.user = "app"),
            setting!(nats.password = PASSWORD),
            setting!(nats.connect_timeout = "2s"),
        ];
        settings.extend(tls);
        assert_refused(&stack, &settings, &["nats.tls"]).await;
        let heard = line.heard();
        // The first record of a handshake, and nothing of NATS.
        assert_eq!(heard.first(), Some(&0x16), "{tls:?} {heard:?}");
        let text = String::from_utf8_lossy(&heard);
        assert!(
            !text.contains("CONNECT") && !text.contains(PASSWORD),
            "{text}"
        );
    }
    // Without TLS, the same line carries the password: the listener hears it.
    let line = Eavesdropper::before(stack.nats.port()).await;
    let url = format!("nats://127.0.0.1:{}", line.port());
    let settings = [
        setting!(nats.url = url.as_str()),
        setting!(nats.user = "app"),
        setting!(nats.password = PASSWORD),
    ];
    stack.risksignal_with(&["check"], &settings).await;
    assert!(String::from_utf8_lossy(&line.heard()).contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_or_an_nkey_or_credentials_log_in_too() {
    let files = Files::new();
    let folder = files.folder.path();
    let nkey = nkeys::KeyPair::new_user();
    let (seed, public) = (nkey.seed().unwrap(), nkey.public_key());
    let seed_file = written(folder, "user.nk", &format!("{seed}\n"));
    let (creds, operator) = super::nats_jwt::operator_mode();
    let creds_file = written(folder, "user.creds", &creds);
    let by_creds = ConnectOptions::with_credentials(&creds).unwrap();
    let wrong_seed = nkeys::KeyPair::new_user().seed().unwrap();
    for (users, login, right, wrong) in [
        (
            format!("authorization {{ token: {PASSWORD:?} }}"),
            ConnectOptions::with_token(PASSWORD.to_owned()),
            setting!(nats.token = PASSWORD),
            setting!(nats.token = "hunter2"),
        ),
        (
            format!("authorization {{ users: [{{ nkey: {public} }}] }}"),
            ConnectOptions::with_nkey(seed.clone()),
            setting!(nats.nkey_file = seed_file.as_str()),
            setting!(nats.nkey = wrong_seed.as_str()),
        ),
        (
            operator,
            by_creds,
            setting!(nats.creds_file = creds_file.as_str()),
            setting!(nats.token = "hunter2"),
        ),
    ] {
        let stack = Stack::with(Options::config(&files.config(&users), login), &[]).await;
        assert_signals_land(&stack, &[right]).await;
        assert_refused(&stack, &[wrong], &["rejects the login: check nats."]).await;
    }
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}
