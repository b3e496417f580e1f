//! The way in over HTTP while NATS is away, and at the stop.

use serde_json::json;

use crate::harness::api::{Api, TOKEN, entry, retry_after, sequences, spawn, start, write_tokens};
use crate::harness::nats::STREAM;
use crate::harness::ops::{self, Ops};
use crate::harness::signals::signal;
use crate::harness::{Daemon, Stack, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn while_nats_is_away_clients_are_told_and_it_recovers_by_itself() {
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

/// Has a request wait for JetStream, and then tells the daemon to stop.
async fn stop_amid_a_request(
    stack: &Stack,
    daemon: &Daemon,
    api: &Api,
) -> tokio::task::JoinHandle<Option<crate::harness::ops::Answer>> {
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
    daemon
        .logged("Stopping; a second signal stops without waiting")
        .await;
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
    let slow = [("RISKSIGNAL__NATS__REQUEST_TIMEOUT", "20s"), ops::ANY_PORT];
    let (mut daemon, api) = start(&stack, &slow).await;
    let request = stop_amid_a_request(&stack, &daemon, &api).await;
    daemon.assert_running();
    stack.nats.signal("CONT");
    let answer = request.await.unwrap().unwrap();
    assert_eq!(sequences(&answer), [1, 2]);
    assert_eq!(answer.headers["connection"], "close");
    assert!(daemon.ended().await.success());
    daemon
        .logged("Stopped; every request that was taken is answered")
        .await;
    assert_eq!(stack.nats.messages_left(STREAM).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lasts_no_longer_than_it_may() {
    let stack = Stack::start().await;
    let slow = [
        ("RISKSIGNAL__NATS__REQUEST_TIMEOUT", "60s"),
        ("RISKSIGNAL__SHUTDOWN__GRACE", "1s"),
        ops::ANY_PORT,
    ];
    let (mut daemon, api) = start(&stack, &slow).await;
    let request = stop_amid_a_request(&stack, &daemon, &api).await;
    assert_eq!(daemon.ended().await.code(), Some(1));
    let told = daemon.output();
    assert!(told.contains("1 connections were closed"), "{told}");
    assert!(request.await.unwrap().is_none());
    stack.nats.signal("CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_stops_both_and_loses_nothing() {
    let stack = Stack::start().await;
    let tokens = write_tokens(&stack, &entry("app", TOKEN, ""));
    let tokens = tokens.display().to_string();
    let settings = [
        crate::harness::api::ANY_PORT,
        ("RISKSIGNAL__SERVE__WITH_RUN", "true"),
        ("RISKSIGNAL__SERVE__TOKENS_FILE", &tokens),
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
