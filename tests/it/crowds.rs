//! Clients that never read, or never finish, keep nobody else from being answered.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use testkit::api::{Api, TOKEN, sequences, start};
use testkit::crowd::Crowd;
use testkit::ops::{self, Ops};
use testkit::process::free_port;
use testkit::signals::signal;
use testkit::{Daemon, Stack, setting};
use tokio::time::timeout;

/// Ends a wait that would be for minutes. No test is about this time.
const PATIENCE: Duration = Duration::from_secs(30);
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Connections that the daemon takes on `ops.listen`.
const OPS_CONNECTIONS: usize = 64;
/// The default of `serve.max_connections`.
const SERVE_CONNECTIONS: usize = 256;

/// A daemon that waits for its servers, and answers meanwhile.
async fn waiting_daemon(dir: &tempfile::TempDir) -> (Daemon, Ops) {
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let environment = [
        ops::ANY_PORT,
        setting!(clickhouse.url = nowhere.as_str()),
        setting!(log.format = "json"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let daemon = Daemon::spawn(&["run"], &environment, dir.path());
    let ops = Ops::of(&daemon).await;
    (daemon, ops)
}

/// Asks each path as a new client, as a probe does, and reports the longest wait.
async fn probed(address: &str, what: &str) {
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        for path in ["/livez", "/readyz"] {
            let began = Instant::now();
            let ops = Ops::at(address);
            let answer = timeout(PATIENCE, ops.get(path)).await;
            let answer = answer.unwrap_or_else(|_| panic!("{path} is not answered: {what}"));
            assert!([200, 503].contains(&answer.status.as_u16()), "{path}");
            longest = longest.max(began.elapsed());
        }
    }
    println!("{what}: 40 probes answered, the slowest after {longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_answered_whatever_holds_the_other_connections() {
    let dir = tempfile::tempdir().unwrap();
    let (_daemon, ops) = waiting_daemon(&dir).await;
    let address = ops.address.clone();
    probed(&address, "nobody else").await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    for source in [ELSEWHERE, HERE] {
        let mut crowd = Crowd::from(source, &address, OPS_CONNECTIONS).await;
        crowd.never_read(&get("/livez")).await;
        probed(&address, &format!("64 from {source} never read /livez")).await;
        let mut crowd = Crowd::from(source, &address, OPS_CONNECTIONS).await;
        crowd.never_read(&get("/uPlot.js")).await;
        probed(&address, &format!("64 from {source} never read a page")).await;
        let mut crowd = Crowd::from(source, &address, 4 * OPS_CONNECTIONS).await;
        crowd.write("GET /livez HTTP/1.1\r\nx-slow: ").await;
        probed(&address, &format!("256 from {source} never end a head")).await;
        let _crowd = Crowd::from(source, &address, 4 * OPS_CONNECTIONS).await;
        probed(&address, &format!("256 from {source} say nothing")).await;
    }
    let cut = ops.metric("risksignal_connections_cut_total").await;
    assert!(cut.is_some_and(|cut| cut >= 64.0), "{cut:?}");
}

/// Sends signals as a new client each time, and reports the longest wait.
async fn sent(address: &str, what: &str) {
    let mut longest = Duration::ZERO;
    for number in 0..20 {
        let began = Instant::now();
        let body = signal(number).to_string();
        let api = Api::at(address, None);
        let answer = timeout(PATIENCE, api.send().try_json(&body)).await;
        let answer = answer.unwrap_or_else(|_| panic!("a signal is not answered: {what}"));
        sequences(&answer.unwrap());
        longest = longest.max(began.elapsed());
    }
    println!("{what}: 20 signals answered, the slowest after {longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_taken_whatever_holds_the_other_connections() {
    let stack = Stack::start().await;
    let (mut daemon, api) = start(&stack, &[ops::ANY_PORT]).await;
    let ops = Ops::of(&daemon).await.address;
    let address = api.address.clone();
    sent(&address, "nobody else").await;
    let get = format!("GET /v1/openapi.json HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let body = format!(
        "POST /v1/signals HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: 500\r\n\r\n{{"
    );
    for source in [ELSEWHERE, HERE] {
        let mut crowd = Crowd::from(source, &address, SERVE_CONNECTIONS).await;
        crowd.never_read(&get).await;
        sent(&address, &format!("256 from {source} never read")).await;
        let mut crowd = Crowd::from(source, &address, SERVE_CONNECTIONS).await;
        crowd.write("POST /v1/signals HTTP/1.1\r\nx-slow: ").await;
        sent(&address, &format!("256 from {source} never end a head")).await;
        let mut crowd = Crowd::from(source, &address, SERVE_CONNECTIONS).await;
        crowd.write(&body).await;
        sent(&address, &format!("256 from {source} never end a body")).await;
        // Probes have an address and room of their own.
        probed(&ops, &format!("256 from {source} hold serve.listen")).await;
    }
    assert!(daemon.peak_mib() < 256, "{} MiB", daemon.peak_mib());
    assert!(daemon.stop().await.success());
}
