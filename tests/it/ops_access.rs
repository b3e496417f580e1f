//! Answers on `ops.listen` to clients of each kind and way.

use std::net::SocketAddr;

use axum::body::Body;
use risksignal::ops::log_lines::{PLAIN_TEXT, SERVING};
use testkit::api::{self, Api, TOKEN};
use testkit::certificates::Authority;
use testkit::ops::ANY_PORT;
use testkit::process::free_port;
use testkit::{Daemon, Stack, eventually, setting};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A daemon that waits for its servers, and where it answers meanwhile.
async fn waiting_daemon(dir: &tempfile::TempDir, more: &[(&str, &str)]) -> (Daemon, SocketAddr) {
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let mut environment = vec![
        ANY_PORT,
        setting!(clickhouse.url = nowhere.as_str()),
        setting!(log.format = "json"),
    ];
    environment.extend(more);
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let daemon = Daemon::spawn(&["run"], &environment, dir.path());
    let line = daemon.logged(SERVING).await;
    let address = line["address"].as_str().unwrap().parse().unwrap();
    (daemon, address)
}

/// The status of the answer to a request with these headers, byte for byte.
async fn status(address: SocketAddr, target: &str, headers: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap_or_default();
    status.parse().unwrap_or_else(|_| panic!("{answer}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_another_name_reads_nothing_on_loopback() {
    let dir = tempfile::tempdir().unwrap();
    let (_daemon, address) = waiting_daemon(&dir, &[]).await;
    let port = address.port();
    for path in ["/", "/statusz", "/metrics", "/events", "/livez", "/readyz"] {
        let evil = format!("host: evil.example:{port}\r\n");
        assert_eq!(status(address, path, &evil).await, 421, "{path}");
    }
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "LOCALHOST".to_owned(),
        format!("[::1]:{port}"),
    ] {
        let headers = format!("host: {host}\r\n");
        assert_eq!(status(address, "/livez", &headers).await, 200, "{host}");
    }
    let good = format!("host: 127.0.0.1:{port}\r\n");
    let absolute = format!("http://evil.example:{port}/statusz");
    assert_eq!(status(address, &absolute, &good).await, 421);
    let twice = format!("{good}host: evil.example\r\n");
    assert_eq!(status(address, "/livez", &twice).await, 400);
    let tokens = format!("{good}authorization: Bearer a\r\nauthorization: Bearer b\r\n");
    assert_eq!(status(address, "/livez", &tokens).await, 400);

    // A page can show no token, so with one the name does not matter, as behind a proxy.
    let token = [setting!(ops.token = "tellme-not-ops")];
    let (_daemon, address) = waiting_daemon(&dir, &token).await;
    let named = "host: ops.example\r\n";
    assert_eq!(status(address, "/livez", named).await, 200);
    assert_eq!(status(address, "/statusz", named).await, 401);
    let shown = format!("{named}authorization: Bearer tellme-not-ops\r\n");
    assert_eq!(status(address, "/statusz", &shown).await, 200);
    let twice = format!("{shown}authorization: Bearer tellme-not-ops\r\n");
    assert_eq!(status(address, "/statusz", &twice).await, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_the_log_warns_without_tls_and_any_name_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let everywhere = [setting!(ops.listen = "0.0.0.0:0")];
    let (daemon, address) = waiting_daemon(&dir, &everywhere).await;
    daemon.logged(PLAIN_TEXT).await;
    // Reached by loopback, a name other than loopback's is not taken here either.
    let local = SocketAddr::from(([127, 0, 0, 1], address.port()));
    assert_eq!(
        status(local, "/statusz", "host: evil.example\r\n").await,
        421
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ops_speaks_tls_alone_with_a_certificate_and_renews_it() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (
        Authority::new(dir.path(), "first"),
        Authority::new(dir.path(), "second"),
    );
    let (certificate, key) = (dir.path().join("ops.pem"), dir.path().join("ops.key"));
    let shown = first.issue("127.0.0.1");
    std::fs::copy(&shown.certificate, &certificate).unwrap();
    std::fs::copy(&shown.key, &key).unwrap();
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let listen = format!("127.0.0.1:{}", free_port());
    let tls = [
        setting!(ops.listen = listen.as_str()),
        setting!(ops.cert_file = certificate.as_str()),
        setting!(ops.key_file = key.as_str()),
        setting!(ops.token = "tellme-not-ops"),
    ];
    let (daemon, _) = waiting_daemon(&dir, &tls).await;
    let asked = async |authority: Option<&Authority>| {
        let api = Api::at(&listen, authority);
        let answer = api.ask("GET", "/livez", &[], Body::empty()).await;
        answer.map(|answer| answer.status.as_u16()).ok()
    };
    assert_eq!(asked(Some(&first)).await, Some(200));
    assert_eq!(asked(None).await, None, "plain text");
    assert_eq!(asked(Some(&second)).await, None, "another CA");
    // The command has the same settings, and trusts the very certificate.
    let environment: Vec<_> = tls
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let printed = testkit::risksignal(&["status"], &environment, dir.path()).await;
    assert_eq!(printed.status.code(), Some(3), "{printed:?}");

    let shown = second.issue("127.0.0.1");
    std::fs::copy(&shown.certificate, &certificate).unwrap();
    std::fs::copy(&shown.key, &key).unwrap();
    let stale = testkit::risksignal(&["status"], &environment, dir.path()).await;
    assert_eq!(stale.status.code(), Some(1), "{stale:?}");
    daemon.signal("HUP");
    eventually("the new certificate is shown", async || {
        asked(Some(&second)).await
    })
    .await;
    let printed = testkit::risksignal(&["status"], &environment, dir.path()).await;
    assert_eq!(printed.status.code(), Some(3), "{printed:?}");
    assert!(!daemon.output().contains("tellme"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_in_refuses_a_header_that_is_there_twice() {
    let stack = Stack::start().await;
    let (_daemon, api) = api::start(&stack, &[]).await;
    let address: SocketAddr = api.address.parse().unwrap();
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let path = "/v1/wallets/0x1";
    let twice = format!("host: x\r\n{bearer}authorization: Bearer x\r\n");
    assert_eq!(status(address, path, &twice).await, 400);
    let hosts = format!("host: x\r\nhost: y\r\n{bearer}");
    assert_eq!(status(address, path, &hosts).await, 400);
    assert_eq!(
        status(address, "/v1/openapi.json", "host: x\r\nhost: y\r\n").await,
        400
    );
    assert_eq!(
        status(address, "/v1/openapi.json", "host: x\r\n").await,
        200
    );
}
