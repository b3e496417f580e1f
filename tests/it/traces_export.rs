//! Export of spans: to nobody by default, never at the pipeline's cost, and in secret.

use risksignal::command::log_lines::STOPPED;
use telemetry::log_lines::{LAST_TRACES_NOT_SENT, TRACES_NOT_SENT, TRACES_SENT_AGAIN};
use testkit::certificates::Authority;
use testkit::ops::{ANY_PORT, Ops, total};
use testkit::otlp::Receiver;
use testkit::process::free_port;
use testkit::tls_server::TlsServer;
use testkit::{Daemon, Stack, eventually, setting};
use tokio::net::TcpListener;

const ROOT: &str = "process SIGNALS";
const SECRET: &str = "secret-otel-918273645546";

/// Number of times that the log has a message.
fn times(daemon: &Daemon, message: &str) -> usize {
    let lines = daemon.lines();
    lines
        .iter()
        .filter(|line| line["message"] == message)
        .count()
}

/// Reports if the daemon has a thread that sends spans.
fn sends(daemon: &Daemon) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    tasks
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")))
        .any(|name| name.is_ok_and(|name| name.starts_with("OpenTelemetry")))
}

/// Number of spans that were dropped for a reason.
async fn dropped(ops: &Ops, reason: &str) -> f64 {
    let text = ops.get("/metrics").await.body;
    let series = format!("risksignal_spans_dropped_total{{reason=\"{reason}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&series));
    value.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_there_are_no_spans_and_nothing_that_sends_them() {
    let (stack, receiver) = (Stack::start().await, Receiver::start().await);
    let url = receiver.url();
    for (settings, is_on) in [
        // Variables that mean something to the SDK itself.
        (
            vec![
                ("OTEL_TRACES_EXPORTER", "otlp"),
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url.as_str()),
            ],
            false,
        ),
        // By its own name, too.
        (vec![("RISKSIGNAL__OTEL__ENDPOINT", url.as_str())], true),
    ] {
        let mut daemon = stack.daemon(&[&settings[..], &[ANY_PORT]].concat()).await;
        stack.produce(&["--count=100"]).await;
        stack.settled().await;
        assert_eq!(sends(&daemon), is_on);
        assert!(daemon.stop().await.success());
        assert_eq!(!receiver.requests().is_empty(), is_on);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_batches_may_have_spans() {
    let (stack, receiver) = (Stack::start().await, Receiver::start().await);
    let mut daemon = stack
        .daemon(&[
            setting!(otel.endpoint = &receiver.url()),
            setting!(otel.sample_ratio = "0"),
            // The SDK's own, which must not count.
            ("OTEL_TRACES_SAMPLER", "always_on"),
        ])
        .await;
    stack.produce(&["--count=200", "--invalid=50"]).await;
    stack.settled().await;
    assert!(sends(&daemon));
    assert!(daemon.stop().await.success());
    assert!(receiver.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_costs_spans_and_two_lines() {
    let stack = Stack::start().await;
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let mut daemon = stack
        .daemon(&[
            setting!(otel.endpoint = url.as_str()),
            setting!(otel.max_queued_spans = "20"),
            ANY_PORT,
        ])
        .await;
    let ops = Ops::of(&daemon).await;
    // Batches of one signal, each with four spans: more than the queue has room for.
    stack.produce(&["--count=2000", "--rate=200"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (2000, 2000));
    let away = daemon.logged(TRACES_NOT_SENT).await;
    let error = away["error"].as_str().unwrap();
    assert!(error.contains("Connection refused"), "{error}");
    assert!(dropped(&ops, "queue_full").await > 0.0);
    eventually("more than one request has failed", async || {
        (dropped(&ops, "not_sent").await > 20.0).then_some(())
    })
    .await;
    assert_eq!(times(&daemon, TRACES_NOT_SENT), 1, "{}", daemon.output());

    let receiver = Receiver::on(port).await;
    stack.produce(&["--count=100", "--seed=2"]).await;
    let back = daemon.logged(TRACES_SENT_AGAIN).await;
    assert!(back["dropped"].as_f64().unwrap() > 20.0, "{back}");
    let text = ops.get("/metrics").await.body;
    assert!(total(&text, "risksignal_spans_exported_total").unwrap() > 0.0);
    receiver.got(ROOT).await;
    stack.settled().await;
    assert!(daemon.peak_mib() < 128, "{} MiB", daemon.peak_mib());
    assert!(daemon.stop().await.success());
    assert_eq!(
        (
            times(&daemon, TRACES_NOT_SENT),
            times(&daemon, TRACES_SENT_AGAIN)
        ),
        (1, 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_keeps_neither_signals_nor_the_stop() {
    let stack = Stack::start().await;
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut daemon = stack
        .daemon(&[setting!(otel.endpoint = url.as_str())])
        .await;
    stack.produce(&["--count=3000", "--rate=1000"]).await;
    stack.settled().await;
    // A request is under way, and would be for longer than a stop may take.
    silent.accept().await.unwrap();
    assert!(daemon.stop().await.success(), "{}", daemon.output());
    assert_eq!(stack.clickhouse.counts().await, (3000, 3000));
    daemon.logged(LAST_TRACES_NOT_SENT).await;
    daemon.logged(STOPPED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_sent_over_https_and_shown_nowhere() {
    let (stack, receiver) = (Stack::start().await, Receiver::start().await);
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let certificate = ca.issue("127.0.0.1");
    let server = TlsServer::before(receiver.port(), &certificate).await;
    let headers = format!("Authorization=Bearer%20{SECRET},x-team=risk");
    let headers_file = folder.path().join("headers");
    std::fs::write(&headers_file, &headers).unwrap();
    let mut daemon = stack
        .daemon(&[
            setting!(otel.endpoint = &server.url("127.0.0.1")),
            setting!(otel.ca_file = &ca.file()),
            setting!(otel.headers_file = &headers_file.display().to_string()),
            // The exporter would take it from the environment by itself.
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-ambient=1"),
            setting!(log.filter = "trace"),
            ANY_PORT,
        ])
        .await;
    let ops = Ops::of(&daemon).await;
    stack.produce(&["--count=20"]).await;
    receiver.got(ROOT).await;
    let status = ops.get("/statusz").await.body;
    assert!(status.contains("otel.headers"), "{status}");
    assert!(status.contains("/v1/traces") || status.contains("otel.endpoint"));
    assert!(daemon.stop().await.success());
    assert!(server.handshakes() > 0);
    for request in receiver.requests() {
        let header = |name: &str| {
            request
                .headers
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        let bearer = format!("Bearer {SECRET}");
        assert_eq!(header("authorization"), Some(bearer.as_str()));
        assert_eq!(header("x-team"), Some("risk"));
        assert_eq!(header("x-ambient"), None);
        assert_eq!(header("content-type"), Some("application/x-protobuf"));
    }
    let printed = daemon.output();
    assert!(printed.contains("\"TRACE\""));
    assert!(!printed.contains(SECRET) && !status.contains(SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_not_trusted_or_refuses_gets_nothing_and_the_log_says_why() {
    let (stack, receiver) = (Stack::start().await, Receiver::start().await);
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let other = Authority::new(folder.path(), "other");
    let server = TlsServer::before(receiver.port(), &ca.issue("127.0.0.1")).await;
    let wrong_path = format!("{}/elsewhere", receiver.url());
    let (by_address, by_name) = (server.url("127.0.0.1"), server.url("localhost"));
    for (endpoint, ca_file, words) in [
        (&by_address, other.file(), "check otel.ca_file"),
        (&by_name, ca.file(), "check otel.endpoint"),
        (
            &wrong_path,
            String::new(),
            "404 Not Found; look at otel.endpoint",
        ),
    ] {
        let mut daemon = stack
            .daemon(&[
                setting!(otel.endpoint = endpoint),
                setting!(otel.ca_file = &ca_file),
                setting!(otel.headers = &format!("api-key={SECRET}")),
            ])
            .await;
        stack.produce(&["--count=20"]).await;
        stack.settled().await;
        assert!(daemon.stop().await.success());
        let away = daemon.logged(TRACES_NOT_SENT).await;
        let error = away["error"].as_str().unwrap();
        assert!(error.contains(words), "{words} in: {error}");
        assert!(!daemon.output().contains(SECRET));
    }
    assert!(receiver.requests().is_empty());
}
