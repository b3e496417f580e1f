//! The document that is served, held against the handlers.

use std::collections::BTreeSet;

use axum::body::Body;
use serde_json::json;
use testkit::api::{Api, TOKEN, entry, start_with_tokens, write_tokens};
use testkit::nats::STREAM;
use testkit::signals::{SLOW_TABLE, signal};
use testkit::{Stack, eventually, setting};

/// Every answer of these requests is held to the document's schemas as it comes; here they are
/// held to be all that it names.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_and_status_of_the_document_is_answered() {
    let stack = Stack::start().await;
    let slow = entry("slow", "rs_slow", "scopes = ['ingest', 'read']\nrate = 1");
    let app = entry(
        "app",
        TOKEN,
        "scopes = ['ingest', 'read']\nevent_types = ['risk_event']",
    );
    let writer = entry("writer", "rs_writer", "");
    let tokens = write_tokens(&stack, &(slow + &app + &writer));
    let bounds = [
        setting!(serve.body_timeout = "500ms"),
        setting!(serve.max_signals = "2"),
        setting!(serve.query_timeout = "500ms"),
    ];
    let (_daemon, api) = start_with_tokens(&stack, &tokens, &bounds).await;
    let document = api.document().await;
    assert_eq!(document["openapi"], "3.1.0");
    let get = api.ask_as_documented("GET", "/v1/openapi.json", &[], Body::empty());
    assert_eq!(get.await.status, 200);
    let twice = ["x", "y"].map(|token| ("authorization".to_owned(), token.to_owned()));
    let get = api.ask_as_documented("GET", "/v1/openapi.json", &twice, Body::empty());
    assert_eq!(get.await.status, 400);

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

    reads(&stack, &api).await;

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

/// Has every question answered in every way.
async fn reads(stack: &Stack, api: &Api) {
    let trace = "/v1/signals/00000000-0000-4000-8000-000000000001";
    let unknown = "/v1/signals/00000000-0000-4000-8000-000000000002";
    let wallet = "/v1/wallets/0x1";
    let signals = "/v1/wallets/0x1/signals";
    let migrated = stack.risksignal(&["migrate"]).await;
    assert!(migrated.status.success(), "{migrated:?}");
    stack.clickhouse.execute("INSERT INTO risksignal.raw_signals (event_time, source_id, event_type, payload, severity, trace_id, wallet_address, stream_seq) VALUES (now64(3), 'a', 'b', '{}', 1, '00000000-0000-4000-8000-000000000001', '0x1', 1)").await;
    for path in [trace, wallet, signals] {
        let found = api.get(path).await;
        assert_eq!(found.status, 200, "{}", found.body);
        let tag = found.headers["etag"].to_str().unwrap();
        assert_eq!(
            api.get_with(path, &[("if-none-match", tag)]).await.status,
            304
        );
        assert_eq!(api.get_as("rs_x", path, &[]).await.status, 401);
        assert_eq!(api.get_as("rs_writer", path, &[]).await.status, 403);
        eventually("the rate is reached", async || {
            (api.get_as("rs_slow", path, &[]).await.status == 429).then_some(())
        })
        .await;
    }
    assert_eq!(api.get(unknown).await.status, 404);
    assert_eq!(api.get("/v1/wallets/0x2").await.status, 404);
    assert_eq!(api.get("/v1/signals/x").await.status, 400);
    let twice = [("authorization", "Bearer x")];
    assert_eq!(api.get_with(wallet, &twice).await.status, 400);
    assert_eq!(api.get("/v1/wallets/0x1/signals?limit=x").await.status, 400);
    stack.clickhouse.signal("STOP");
    for path in [trace, wallet, signals] {
        assert_eq!(api.get(path).await.status, 503);
    }
    stack.clickhouse.signal("CONT");
    stack
        .clickhouse
        .execute("DROP TABLE risksignal.raw_signals")
        .await;
    stack.clickhouse.execute(SLOW_TABLE).await;
    for path in [trace, wallet, signals] {
        assert_eq!(api.get(path).await.status, 504);
    }
}
