//! The way in over HTTP while NATS is away, and at the stop.

use risksignal::capacity::log_lines::{WARNING_IN_FORCE, WARNING_OVER};
use risksignal::serve::log_lines::STOPPED;
use risksignal::shutdown::STOPPING;
use serde_json::json;
use testkit::api::{Api, TOKEN, entry, retry_after, sequences, spawn, start, write_tokens};
use testkit::nats::STREAM;
use testkit::ops::{self, Ops};
use testkit::signals::signal;
use testkit::{Daemon, Stack, eventually, setting};

#[tokio::test(flavor = "multi_thread")]
async fn while_nats_is_away_clients_get_503_and_it_recovers_by_itself() {
    let stack = Stack::start().await;
    stack.nats.kill();
    let tokens = write_tokens(&stack, &entry("app", TOKEN, ""));
    let mut daemon = spawn(&stack, &tokens, &[ops::ANY_PORT]);
    let (api, ops) = (Api::of(&daemon).await, Ops::of(&daemon).await);
    let away = api.send().json(signal(1).to_string()).await;
    assert_eq!(away.status, 503);
    assert_eq!(away.json()["code"], "nats_away");
    assert!(retry_after(&away.headers) >= 1);
    assert!(ops.down("nats").await.contains("no connection"));

    stack.nats.restart().await;
    let ready = ops.ready(true).await;
    let dependencies = ready["dependencies"].as_object().unwrap();
    let names: Vec<&String> = dependencies.keys().collect();
    assert_eq!(names, ["jetstream", "nats", "pipeline"]);
    // The stream was made by then.
    assert_eq!(
        sequences(&api.send().json(signal(1).to_string()).await),
        [1]
    );

    stack.nats.kill();
    ops.down("nats").await;
    let away = api
        .send()
        .json(json!([signal(2), signal(3)]).to_string())
        .await;
    assert_eq!(away.status, 503);
    assert_eq!(away.json()["results"].as_array().unwrap().len(), 2);
    stack.nats.restart().await;
    ops.ready(true).await;
    let both = api
        .send()
        .json(json!([signal(2), signal(3)]).to_string())
        .await;
    assert_eq!(sequences(&both), [2, 3]);
    assert!(
        ops.metric("risksignal_nats_reconnects_total")
            .await
            .unwrap()
            >= 1.0
    );

    // A stream that is gone is made again.
    let jetstream = stack.nats.jetstream().await;
    jetstream.delete_stream(STREAM).await.unwrap();
    let answer = eventually("there is a stream again", async || {
        let answer = api.send().json(signal(4).to_string()).await;
        (answer.status == 202).then_some(answer)
    })
    .await;
    assert_eq!(sequences(&answer), [1]);
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_room_shows_in_readiness_log_and_metrics() {
    let stack = Stack::start().await;
    let (mut daemon, api) = start(&stack, &[ops::ANY_PORT]).await;
    let ops = Ops::of(&daemon).await;
    let send = async |number| api.send().json(signal(number).to_string()).await;
    assert_eq!(sequences(&send(1).await), [1]);
    let bound = async |messages| {
        let jetstream = stack.nats.jetstream().await;
        let stream = jetstream.get_stream(STREAM).await.unwrap();
        let mut config = stream.cached_info().config.clone();
        config.max_messages = messages;
        jetstream.update_stream(config).await.unwrap();
    };
    let level = format!("risksignal_storage_level{{storage=\"{STREAM}\"}} ");
    let shown = async |warnings: usize, level_now: &str| {
        eventually(&format!("{warnings} warnings"), async || {
            let answer = ops.get("/readyz").await;
            // It answers, and its dependencies are up: clients are put off, not sent elsewhere.
            assert_eq!(answer.status, 200, "{}", answer.body);
            let report = answer.json();
            let found = report["warnings"].as_array().map_or(0, Vec::len);
            let metrics = ops.get("/metrics").await.body;
            let is_shown = metrics.contains(&format!("{level}{level_now}\n"));
            (found == warnings && is_shown).then_some(report)
        })
        .await
    };
    shown(0, "0").await;

    // Only a refused publish reveals a bound like this one.
    bound(1).await;
    for number in 2..5 {
        let refused = send(number).await;
        assert_eq!(refused.status, 429);
        let problem = refused.json();
        assert_eq!(problem["code"], "stream_full");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("10077 (STREAM_STORE_FAILED)"), "{detail}");
        assert!(!detail.contains("maximum messages"), "{detail}");
        let report = shown(1, "2").await;
        let warning = &report["warnings"][0];
        assert_eq!(
            (&warning["code"], &warning["name"]),
            (&json!("storage_full"), &json!(STREAM))
        );
    }
    bound(-1).await;
    assert_eq!(send(5).await.status, 202);
    shown(0, "0").await;
    let lines = daemon.lines();
    let logged = |message: &str| {
        let mut lines = lines.iter().filter(|line| line["message"] == message);
        lines.next().is_some() && lines.next().is_none()
    };
    assert!(logged(WARNING_IN_FORCE), "once: {lines:#?}");
    assert!(logged(WARNING_OVER), "once: {lines:#?}");
    assert!(!daemon.output().contains("maximum messages"));
    assert!(daemon.stop().await.success());
}

/// Makes a request wait for JetStream, and then stops the daemon.
async fn stop_amid_a_request(
    stack: &Stack,
    daemon: &Daemon,
    api: &Api,
) -> tokio::task::JoinHandle<Option<testkit::ops::Answer>> {
    let ops = Ops::of(daemon).await;
    stack.nats.signal("STOP");
    let address = api.address.clone();
    let request = tokio::spawn(async move {
        let api = Api::at(&address, None);
        let both = json!([signal(1), signal(2)]).to_string();
        api.send().try_json(&both).await.ok()
    });
    eventually("it is published", async || {
        (ops.metric("risksignal_http_unanswered_signals").await? == 2.0).then_some(())
    })
    .await;
    daemon.signal("TERM");
    daemon.logged(STOPPING).await;
    eventually("no connection is taken any more", async || {
        let refused = tokio::net::TcpStream::connect(&api.address).await;
        refused.is_err().then_some(())
    })
    .await;
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_was_taken() {
    let stack = Stack::start().await;
    let slow = [setting!(nats.request_timeout = "60s"), ops::ANY_PORT];
    let (mut daemon, api) = start(&stack, &slow).await;
    let request = stop_amid_a_request(&stack, &daemon, &api).await;
    daemon.assert_running();
    stack.nats.signal("CONT");
    let answer = request.await.unwrap().unwrap();
    assert_eq!(sequences(&answer), [1, 2]);
    assert_eq!(answer.headers["connection"], "close");
    assert!(daemon.ended().await.success());
    daemon.logged(STOPPED).await;
    assert_eq!(stack.nats.messages_left(STREAM).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lasts_no_longer_than_it_may() {
    let stack = Stack::start().await;
    let slow = [
        setting!(nats.request_timeout = "60s"),
        setting!(shutdown.grace = "1s"),
        ops::ANY_PORT,
    ];
    let (mut daemon, api) = start(&stack, &slow).await;
    let request = stop_amid_a_request(&stack, &daemon, &api).await;
    assert_eq!(daemon.ended().await.code(), Some(1));
    let printed = daemon.output();
    assert!(printed.contains("1 connections were closed"), "{printed}");
    assert!(request.await.unwrap().is_none());
    stack.nats.signal("CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_stops_both_and_loses_nothing() {
    let stack = Stack::start().await;
    let tokens = write_tokens(&stack, &entry("app", TOKEN, ""));
    let tokens = tokens.display().to_string();
    let settings = [
        testkit::api::ANY_PORT,
        setting!(serve.with_run = "true"),
        setting!(serve.tokens_file = &tokens),
    ];
    let mut daemon = stack.daemon(&settings).await;
    let api = Api::of(&daemon).await;
    let mut stored = 0;
    // Requests go on until the listener is gone.
    for number in 0.. {
        if number == 20 {
            daemon.signal("TERM");
        }
        match api.send().try_json(&signal(number).to_string()).await {
            Ok(answer) => stored += sequences(&answer).len() as u64,
            Err(_) => break,
        }
    }
    assert!(daemon.ended().await.success());
    assert!(stored >= 20, "{stored}");
    let kept = stack.nats.messages_left(STREAM).await;
    assert!(kept >= stored, "{kept} of {stored}");
    let mut daemon = stack.daemon(&[]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (kept, kept));
    assert!(daemon.stop().await.success());
}
