//! The document that is served, held against the handlers.

use std::collections::BTreeSet;

use axum::body::Body;
use serde_json::json;

use crate::harness::api::{TOKEN, entry, start_with_tokens, write_tokens};
use crate::harness::nats::STREAM;
use crate::harness::signals::signal;
use crate::harness::{Stack, eventually};

/// Every answer of these requests is held to the document's schemas as it comes; here they are
/// held to be all that it names.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_and_status_of_the_document_is_answered() {
    let stack = Stack::start().await;
    let slow = entry("slow", "rs_slow", "rate = 1");
    let tokens = write_tokens(
        &stack,
        &(slow + &entry("app", TOKEN, "event_types = ['risk_event']")),
    );
    let bounds = [
        ("RISKSIGNAL__SERVE__BODY_TIMEOUT", "500ms"),
        ("RISKSIGNAL__SERVE__MAX_SIGNALS", "2"),
    ];
    let (_daemon, api) = start_with_tokens(&stack, &tokens, &bounds).await;
    let document = api.document().await;
    assert_eq!(document["openapi"], "3.1.0");
    let get = api.ask_as_documented("GET", "/v1/openapi.json", &[], Body::empty());
    assert_eq!(get.await.status, 200);

    let good = signal(1).to_string();
    assert_eq!(api.send().json(good.clone()).await.status, 202);
    assert_eq!(api.send().ndjson(format!("{good}\nx")).await.status, 207);
    assert_eq!(api.send().json("{").await.status, 400);
    assert_eq!(api.send_as("rs_x").json("{}").await.status, 401);
    let mut other = signal(2);
    other["event_type"] = "transaction".into();
    assert_eq!(api.send().json(other.to_string()).await.status, 403);
    let silent = Body::from_stream(futures_util::stream::pending::<
        Result<String, std::io::Error>,
    >());
    let send = api.send().header("content-type", "application/json");
    assert_eq!(send.body(silent).await.status, 408);
    assert_eq!(api.send().json("[1,2,3]").await.status, 413);
    assert_eq!(api.send().body("{}").await.status, 415);
    assert_eq!(api.send().json("[{},{}]").await.status, 422);
    eventually("the rate is reached", async || {
        let answer = api.send_as("rs_slow").json(good.clone()).await;
        (answer.status == 429).then_some(())
    })
    .await;
    // A stream of the operator's that takes only small ones.
    let jetstream = stack.nats.jetstream().await;
    let stream = jetstream.get_stream(STREAM).await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.max_message_size = 100;
    jetstream.update_stream(config).await.unwrap();
    let answer = api
        .send()
        .json(json!([signal(3), signal(4)]).to_string())
        .await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    stack.nats.kill();
    eventually("NATS is missed", async || {
        let answer = api.send().json(good.clone()).await;
        (answer.status == 503).then_some(())
    })
    .await;

    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            for status in operation["responses"].as_object().unwrap().keys() {
                documented.insert((method.clone(), path.clone(), status.parse().unwrap()));
            }
        }
    }
    assert_eq!(api.seen(), documented);
}
