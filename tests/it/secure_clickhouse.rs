//! ClickHouse over https, and the refusals. libchdb has no https listener, so a real TLS server
//! is before it.

use testkit::certificates::Authority;
use testkit::eavesdropper::Eavesdropper;
use testkit::tls_server::TlsServer;
use testkit::{Stack, clickhouse, refusal, setting};

/// `check` says that ClickHouse is wrong, with all of `words` and no password.
async fn assert_refused(stack: &Stack, settings: &[(&str, &str)], words: &[&str]) {
    let secrets = [clickhouse::PASSWORD, "hunter2"];
    refusal::assert_refused(stack, "clickhouse", settings, words, &secrets).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_land_over_https_and_what_is_refused() {
    let stack = Stack::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (ca, other_ca) = (
        Authority::new(folder.path(), "ca"),
        Authority::new(folder.path(), "other"),
    );
    let port = stack.clickhouse.port();
    let server = TlsServer::before(port, &ca.issue("127.0.0.1")).await;
    let (ca_file, other_ca_file) = (ca.file(), other_ca.file());
    let (by_address, by_name) = (server.url("127.0.0.1"), server.url("localhost"));
    let settings = |url, ca| {
        [
            setting!(clickhouse.url = url),
            setting!(clickhouse.ca_file = ca),
        ]
    };
    let right = settings(by_address.as_str(), ca_file.as_str());

    stack.produce(&["--count=200", "--seed=1"]).await;
    let mut daemon = stack.daemon(&right).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (200, 200));
    let check = stack.risksignal_with(&["check"], &right).await;
    assert!(check.status.success(), "{check:?}");
    assert!(server.handshakes() >= 2);
    assert!(daemon.stop().await.success());

    let wrong_ca = settings(&by_address, &other_ca_file);
    let words = ["UnknownIssuer", "check clickhouse.ca_file"];
    assert_refused(&stack, &wrong_ca, &words).await;
    // The system's CAs have not signed it.
    assert_refused(&stack, &right[..1], &["clickhouse.ca_file"]).await;
    let wrong_name = settings(&by_name, &ca_file);
    let words = ["is for other names: check clickhouse.url"];
    assert_refused(&stack, &wrong_name, &words).await;
    let mut wrong_password = right.to_vec();
    wrong_password.push(setting!(clickhouse.password = "hunter2"));
    let words = ["check clickhouse.user and clickhouse.password"];
    assert_refused(&stack, &wrong_password, &words).await;
    let expired = TlsServer::before(port, &ca.issue_expired("127.0.0.1")).await;
    let url = expired.url("127.0.0.1");
    assert_refused(
        &stack,
        &settings(&url, &ca_file),
        &["certificate has expired"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_in_plain_text_to_an_https_url() {
    let stack = Stack::start().await;
    // A server without TLS, which would take the password as it is.
    let line = Eavesdropper::before(stack.clickhouse.port()).await;
    let url = format!("https://127.0.0.1:{}", line.port());
    let words = ["does not answer with TLS", "check clickhouse.url"];
    let settings = [setting!(clickhouse.url = url.as_str())];
    assert_refused(&stack, &settings, &words).await;
    let heard = line.heard();
    assert_eq!(heard.first(), Some(&0x16), "a handshake: {heard:?}");
    let text = String::from_utf8_lossy(&heard);
    assert!(
        !text.contains("HTTP/1.1") && !text.contains(clickhouse::PASSWORD),
        "{text}"
    );
    // Over http the same line carries the password: it hears what there is.
    let url = format!("http://127.0.0.1:{}", line.port());
    let settings = [setting!(clickhouse.url = url.as_str())];
    stack.risksignal_with(&["check"], &settings).await;
    assert!(String::from_utf8_lossy(&line.heard()).contains(clickhouse::PASSWORD));
}
