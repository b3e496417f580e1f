//! A client's certificate, and what is said where a server asks for one or does not take it. With
//! TLS 1.3 it refuses a client whose handshake is done.

use async_nats::ConnectOptions;
use jetstream::log_lines::{CONNECT_FAILED, RECONNECTED};
use rustls::ALL_VERSIONS;
use rustls::version::TLS13;
use testkit::certificates::{Authority, Certificate};
use testkit::refusal::assert_refused;
use testkit::tls_server::TlsServer;
use testkit::{Stack, eventually, setting, variable};

use super::secure_nats::{Files, assert_signals_land};

type Settings = Vec<(&'static str, String)>;

/// One of the two servers: its line in what `check` says, the scheme of its URL, its settings.
struct Part {
    name: &'static str,
    scheme: &'static str,
    url: &'static str,
    ca: &'static str,
    certificate: &'static str,
    key: &'static str,
}

const NATS: Part = Part {
    name: "nats",
    scheme: "tls",
    url: variable!(nats.url),
    ca: variable!(nats.ca_file),
    certificate: variable!(nats.cert_file),
    key: variable!(nats.key_file),
};
const CLICKHOUSE: Part = Part {
    name: "clickhouse",
    scheme: "https",
    url: variable!(clickhouse.url),
    ca: variable!(clickhouse.ca_file),
    certificate: variable!(clickhouse.cert_file),
    key: variable!(clickhouse.key_file),
};

impl Part {
    fn trusting(&self, ca: &Authority) -> Settings {
        vec![(self.ca, ca.file())]
    }

    fn showing(&self, ca: &Authority, shown: &Certificate) -> Settings {
        let mut settings = self.trusting(ca);
        settings.push((self.certificate, shown.certificate()));
        settings.push((self.key, shown.key()));
        settings
    }

    /// By way of a TLS server, which for NATS means TLS first.
    fn at(&self, server: &TlsServer, mut settings: Settings) -> Settings {
        let url = format!("{}://127.0.0.1:{}", self.scheme, server.port());
        settings.push((self.url, url));
        if self.name == NATS.name {
            settings.push(setting!(nats.tls = "first".to_owned()));
        }
        settings
    }

    fn files(&self) -> String {
        format!("{0}.cert_file and {0}.key_file", self.name)
    }

    async fn assert_refused(&self, stack: &Stack, settings: &Settings, words: &str) {
        assert_refused(stack, self.name, &borrowed(settings), &[words], &[]).await;
    }

    async fn assert_asks_for_one(&self, stack: &Stack, settings: &Settings) {
        let asks = "the server requires a certificate, and none is set: set";
        let words = format!("{asks} {}", self.files());
        self.assert_refused(stack, settings, &words).await;
    }

    async fn assert_does_not_take_it(&self, stack: &Stack, settings: &Settings) {
        self.assert_refused(stack, settings, &self.refusal()).await;
    }

    fn refusal(&self) -> String {
        let rejects = "the server rejects the client's certificate: check";
        format!("{rejects} {}", self.files())
    }
}

fn borrowed(settings: &Settings) -> Vec<(&str, &str)> {
    settings.iter().map(|(k, v)| (*k, v.as_str())).collect()
}

/// Login of the test's own connections.
fn by_certificate(options: ConnectOptions, files: &Files) -> ConnectOptions {
    let client = files.ca.issue("test.example");
    options
        .add_root_certificates(files.ca.file().into())
        .add_client_certificate(client.certificate, client.key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_shows_it_where_nats_server_asks_for_one() {
    let files = Files::new();
    let client = files.ca.issue("client.example");
    let verify = format!("ca_file: {:?}, verify: true", files.ca.file());
    let stack = files
        .serve(&files.ca.issue("127.0.0.1"), &verify, "", by_certificate)
        .await;
    let right = NATS.showing(&files.ca, &client);
    assert_signals_land(&stack, &borrowed(&right)).await;

    NATS.assert_asks_for_one(&stack, &NATS.trusting(&files.ca))
        .await;
    let foreign = NATS.showing(&files.ca, &files.other_ca.issue("client.example"));
    NATS.assert_does_not_take_it(&stack, &foreign).await;
    // The key of another certificate.
    let mixed = vec![right[0].clone(), right[1].clone(), foreign[2].clone()];
    NATS.assert_refused(&stack, &mixed, "nats.key_file: ").await;
}

/// By a TLS server before each, since libchdb has none and nats-server cannot be kept from 1.3.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_shows_it_over_either_version_of_tls() {
    let files = Files::new();
    let stack = Stack::start().await;
    let client = files.ca.issue("client.example");
    let foreign = files.other_ca.issue("client.example");
    for (part, port, proof) in [
        (NATS, stack.nats.port(), &["produce", "--count=10"][..]),
        (CLICKHOUSE, stack.clickhouse.port(), &["migrate"]),
    ] {
        for version in ALL_VERSIONS {
            let shown = files.ca.issue("127.0.0.1");
            let server = TlsServer::asking(port, &shown, &files.ca, version).await;
            let without = part.at(&server, part.trusting(&files.ca));
            part.assert_asks_for_one(&stack, &without).await;
            let wrong = part.at(&server, part.showing(&files.ca, &foreign));
            if part.name == CLICKHOUSE.name && version == &&TLS13 {
                // The HTTP client may keep the alert to itself.
                part.assert_refused(&stack, &wrong, &part.files()).await;
            } else {
                part.assert_does_not_take_it(&stack, &wrong).await;
            }
            let right = part.at(&server, part.showing(&files.ca, &client));
            let run = stack.risksignal_with(proof, &borrowed(&right)).await;
            assert!(run.status.success(), "{version:?}: {run:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_reason_was_lost_it_asks_whether_that_is_it() {
    let files = Files::new();
    let stack = Stack::start().await;
    let (nats, clickhouse) = (stack.nats.port(), stack.clickhouse.port());
    stack.nats.kill();
    stack.clickhouse.kill();
    for (part, port) in [(NATS, nats), (CLICKHOUSE, clickhouse)] {
        // After the handshake it closes the connection, since it has no server to pass it on to.
        let server = TlsServer::before(port, &files.ca.issue("127.0.0.1")).await;
        let settings = part.at(&server, part.trusting(&files.ca));
        let words = format!("does it require a certificate ({})?", part.files());
        part.assert_refused(&stack, &settings, &words).await;
        assert!(server.handshakes() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_refused_later_is_reported_and_may_be_renewed() {
    let files = Files::new();
    let trusted = files.folder.path().join("trusted.pem");
    std::fs::copy(files.ca.file(), &trusted).unwrap();
    let verify = format!("ca_file: {trusted:?}, verify: true");
    let stack = files
        .serve(&files.ca.issue("127.0.0.1"), &verify, "", by_certificate)
        .await;
    let client = files.ca.issue("client.example");
    let settings = NATS.showing(&files.ca, &client);
    let mut daemon = stack.daemon(&borrowed(&settings)).await;
    stack.nats.kill();
    std::fs::copy(files.other_ca.file(), &trusted).unwrap();
    stack.nats.restart_not_waited_for();
    eventually("the daemon says what to look at", async || {
        let printed = daemon.output();
        let line = printed
            .lines()
            .rfind(|line| line.contains(CONNECT_FAILED))?;
        line.contains(&NATS.refusal()).then_some(())
    })
    .await;
    let renewed = files.other_ca.issue("client.example");
    std::fs::copy(renewed.certificate(), client.certificate()).unwrap();
    std::fs::copy(renewed.key(), client.key()).unwrap();
    daemon.logged(RECONNECTED).await;
    assert!(daemon.stop().await.success());
}
