//! Signals that come over HTTP.

use std::io::Write;

use axum::body::Body;
use flate2::Compression;
use flate2::write::GzEncoder;
use net::log_lines::CERTIFICATE_KEPT;
use risksignal::command::log_lines::PUBLISHING;
use risksignal::serve::log_lines::SERVING;
use serde_json::{Value, json};
use testkit::api::{ANY_PORT, Api, TOKEN, entry, sequences, start, write_tokens};
use testkit::certificates::Authority;
use testkit::nats::{STREAM, header, sequence};
use testkit::ops::{self, Ops};
use testkit::signals::signal;
use testkit::{Stack, eventually, setting};

/// Numbers that no parser into machine numbers would give back.
fn with_large_numbers(number: u64) -> String {
    let signal = signal(number).to_string();
    let payload = format!(r#"{{"number":{number}}}"#);
    assert!(signal.contains(&payload));
    let large = r#"{ "wei":115792089237316195423570985008687907853269984665640564039457584007913129639935, "ratio":0.10000000000000000000000001,"a":1.50e+3 }"#;
    signal.replace(&payload, large)
}

pub fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_in_every_form_land_in_clickhouse_byte_for_byte() {
    let stack = Stack::start().await;
    let tokens = write_tokens(&stack, &entry("app", TOKEN, ""));
    let tokens = tokens.display().to_string();
    // In the process of `run`.
    let settings = [
        ANY_PORT,
        setting!(serve.with_run = "true"),
        setting!(serve.tokens_file = &tokens),
        ops::ANY_PORT,
    ];
    let mut daemon = stack.daemon(&settings).await;
    let api = Api::of(&daemon).await;
    let signals: Vec<String> = (0..9).map(with_large_numbers).collect();

    let one = api.send().json(signals[0].clone()).await;
    assert_eq!(sequences(&one), [1]);
    let result = &one.json()["results"][0];
    assert_eq!(result["stream"], STREAM);
    assert_eq!(result["duplicate"], false);
    assert_eq!(result["trace_id"], signal(0)["trace_id"]);
    let warnings = result["warnings"].as_array().unwrap();
    assert!(
        warnings.iter().any(|one| one["rule"] == "is missing"),
        "{warnings:?}"
    );
    let array = format!("[{},\n {} ,{}]", signals[1], signals[2], signals[3]);
    assert_eq!(sequences(&api.send().json(array).await), [2, 3, 4]);
    let lines = format!("{}\n\n{}\r\n", signals[4], signals[5]);
    assert_eq!(sequences(&api.send().ndjson(lines).await), [5, 6]);
    let lines = format!("{}\n{}", signals[6], signals[7]);
    let packed = api
        .send()
        .header("content-type", "application/x-ndjson")
        .header("content-encoding", "gzip");
    assert_eq!(sequences(&packed.body(gzip(&lines)).await), [7, 8]);
    let packed = api
        .send()
        .header("content-type", "application/json; charset=utf-8")
        .header("content-encoding", "gzip");
    let packed = packed.body(gzip(&signals[8])).await;
    assert_eq!(sequences(&packed), [9]);
    // Its connection is of use for more.
    assert!(!packed.headers.contains_key("connection"));

    let messages = stack.nats.messages(STREAM).await;
    for (message, (number, signal)) in messages.iter().zip((1_u64..).zip(&signals)) {
        assert_eq!(sequence(message), number);
        assert_eq!(message.payload, signal.as_bytes());
        assert_eq!(message.subject.as_str(), "signals.risk_event");
    }
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (9, 9));
    let payloads = "SELECT DISTINCT payload FROM raw_signals";
    let payloads = stack.clickhouse.rows::<String>(payloads).await;
    assert_eq!(payloads.len(), 1);
    assert!(signals[0].contains(&payloads[0]), "{payloads:?}");
    figures(&Ops::of(&daemon).await).await;
    assert!(daemon.stop().await.success());
    for secret in [TOKEN, "tellme", "115792089237"] {
        assert!(!daemon.output().contains(secret), "{}", daemon.output());
    }
}

/// Metrics of the five requests above.
async fn figures(ops: &Ops) {
    let text = ops.get("/metrics").await.body;
    let requests = r#"risksignal_http_requests_total{route="/v1/signals",status="202"} 5"#;
    assert!(text.contains(requests), "{text}");
    let signals = r#"risksignal_http_signals_total{result="stored"} 9"#;
    assert!(text.contains(signals), "{text}");
    let unanswered = ops::total(&text, "risksignal_http_unanswered_signals");
    assert_eq!(unanswered, Some(0.0));
    let checked = ops::promtool_check(&text);
    assert!(checked.status.success(), "{checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_no_duplicate() {
    let stack = Stack::start().await;
    let other = "rs_tellme-the-other";
    let tokens = entry("app", TOKEN, "") + &entry("other", other, "");
    let tokens = write_tokens(&stack, &tokens);
    let (_daemon, api) = testkit::api::start_with_tokens(&stack, &tokens, &[]).await;
    let duplicates = |answer: &testkit::ops::Answer| {
        let results = answer.json()["results"].clone();
        let all: Vec<Value> = results.as_array().unwrap().clone();
        all.iter().filter(|one| one["duplicate"] == true).count()
    };
    // By its trace.
    let first = api.send().json(signal(1).to_string()).await;
    let again = api.send().json(signal(1).to_string()).await;
    assert_eq!((duplicates(&first), duplicates(&again)), (0, 1));
    assert_eq!(sequences(&first), sequences(&again));
    // By the request's key, of several by their places too.
    let batch = json!([signal(2), signal(3), signal(3)]).to_string();
    let first = api.send().key("batch-7").json(batch.clone()).await;
    let again = api.send().key("batch-7").json(batch.clone()).await;
    assert_eq!((duplicates(&first), duplicates(&again)), (0, 3));
    assert_eq!(sequences(&first), [2, 3, 4]);
    assert_eq!(sequences(&again), [2, 3, 4]);
    // A key is the application's own.
    let theirs = api.send_as(other).key("batch-7").json(batch).await;
    assert_eq!(duplicates(&theirs), 0);
    let messages = stack.nats.messages(STREAM).await;
    let ids: Vec<String> = messages
        .iter()
        .map(|message| header(message, "Nats-Msg-Id"))
        .collect();
    let trace = format!("app:{}", signal(1)["trace_id"].as_str().unwrap());
    let expected = [
        &trace,
        "app:batch-7:0",
        "app:batch-7:1",
        "app:batch-7:2",
        "other:batch-7:0",
        "other:batch-7:1",
        "other:batch-7:2",
    ];
    assert_eq!(ids, expected);
    let one = api.send().key("k").json(signal(9).to_string()).await;
    assert_eq!(sequences(&one), [8]);
    let bad = api.send().key("a b").json(signal(9).to_string()).await;
    assert_eq!(
        (bad.status.as_u16(), &bad.json()["code"]),
        (400, &json!("idempotency_key"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_signal_of_several_has_its_own_result() {
    let stack = Stack::start().await;
    let (mut daemon, api) = start(&stack, &[]).await;
    let mut severe = signal(2);
    severe["severity"] = 9.into();
    severe["source_id"] = "".into();
    let lines = format!("{}\nnot json\n{severe}\n\n[]\n{}", signal(1), signal(3));
    let answer = api.send().ndjson(lines).await;
    assert_eq!(answer.status, 207);
    let results = answer.json()["results"].clone();
    let statuses: Vec<u64> = (0..5)
        .map(|at| results[at]["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [202, 400, 422, 422, 202]);
    let pointers = |errors: &Value| -> Vec<String> {
        let errors = errors.as_array().unwrap().iter();
        errors
            .map(|error| error["pointer"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        pointers(&results[2]["errors"]),
        ["#/source_id", "#/severity"]
    );
    assert_eq!(pointers(&results[3]["errors"]), ["#"]);
    assert_eq!(results[1]["code"], "not_json");
    assert_eq!(
        (&results[0]["sequence"], &results[4]["sequence"]),
        (&json!(1), &json!(2))
    );
    // None of them, for the same reason and for several.
    let answer = api.send().json(json!([severe, severe]).to_string()).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["results"].as_array().unwrap().len(), 2);
    assert_eq!(api.send().ndjson(format!("x\n{severe}")).await.status, 207);
    // One by itself, with what the daemon's dead letter would say.
    let answer = api.send().json(severe.to_string()).await;
    assert_eq!(answer.status, 422);
    assert_eq!(
        pointers(&answer.json()["errors"]),
        ["#/source_id", "#/severity"]
    );
    let detail = answer.json()["errors"][1]["detail"].clone();
    assert_eq!(detail, "must be 0 to 5, is 9");
    // The signal has the type, which is one token of the subject whatever it is.
    let mut without = signal(4);
    without.as_object_mut().unwrap().remove("event_type");
    let answer = api.send().json(without.to_string()).await;
    assert_eq!(pointers(&answer.json()["errors"]), ["#/event_type"]);
    let mut dotted = signal(5);
    dotted["event_type"] = "a.b *>".into();
    assert_eq!(sequences(&api.send().json(dotted.to_string()).await), [3]);
    let last = stack.nats.messages(STREAM).await.pop().unwrap();
    assert_eq!(last.subject.as_str(), "signals.a_b___");
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_of_allowed_origins_may_send() {
    let stack = Stack::start().await;
    let origins = "https://app.example, http://localhost:3000";
    let (_daemon, api) = start(&stack, &[setting!(serve.cors_origins = origins)]).await;
    for (origin, allowed) in [
        ("https://app.example", true),
        ("http://localhost:3000", true),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let ask = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,content-type,idempotency-key",
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let preflight = api.ask("OPTIONS", "/v1/signals", &ask, Body::empty()).await;
        let preflight = preflight.unwrap();
        let answer = api
            .send()
            .header("origin", origin)
            .json(signal(1).to_string())
            .await;
        for answer in [&preflight, &answer] {
            let shown = answer.headers.get("access-control-allow-origin");
            let expected = allowed.then_some(origin.as_bytes());
            assert_eq!(shown.map(|value| value.as_bytes()), expected, "{origin}");
        }
        if allowed {
            let headers = preflight.headers["access-control-allow-headers"].to_str();
            let headers = headers.unwrap().to_lowercase();
            assert!(headers.contains("idempotency-key"), "{headers}");
            assert_eq!(
                preflight.headers["access-control-allow-methods"],
                "GET,POST"
            );
        }
    }
    // A page can read why it was refused.
    let refused = api
        .send_without_token()
        .header("origin", "https://app.example")
        .json("{}")
        .await;
    assert_eq!(refused.status, 401);
    assert!(refused.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_nothing_is_taken_in_plain_text() {
    let stack = Stack::start().await;
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    let stranger = Authority::new(folder.path(), "stranger");
    let certificate = authority.issue("127.0.0.1");
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    let install = |certificate: &testkit::certificates::Certificate| {
        std::fs::copy(&certificate.certificate, &cert).unwrap();
        std::fs::copy(&certificate.key, &key).unwrap();
    };
    install(&certificate);
    let (cert_text, key_text) = (cert.display().to_string(), key.display().to_string());
    let tls = [
        setting!(serve.cert_file = cert_text.as_str()),
        setting!(serve.key_file = key_text.as_str()),
    ];
    let tokens = write_tokens(&stack, &entry("app", TOKEN, ""));
    let daemon = testkit::api::spawn(&stack, &tokens, &tls);
    daemon.logged(PUBLISHING).await;
    let line = daemon.logged(SERVING).await;
    assert_eq!(line["https"], true);
    let address = line["address"].as_str().unwrap();
    let api = Api::at(address, Some(&authority));
    assert_eq!(
        sequences(&api.send().json(signal(1).to_string()).await),
        [1]
    );
    let plain = Api::at(address, None).send().try_json("{}").await;
    assert!(plain.is_err(), "{:?}", plain.map(|answer| answer.status));
    let distrusting = Api::at(address, Some(&stranger));
    assert!(distrusting.send().try_json("{}").await.is_err());

    // A certificate is renewed without a restart; one that is no good changes nothing.
    install(&stranger.issue("127.0.0.1"));
    daemon.signal("HUP");
    eventually("the new certificate is shown", async || {
        let asked = Api::at(address, Some(&stranger));
        asked.send().try_json("{}").await.ok()
    })
    .await;
    std::fs::copy(&certificate.key, &key).unwrap();
    daemon.signal("HUP");
    daemon.logged(CERTIFICATE_KEPT).await;
    let asked = Api::at(address, Some(&stranger));
    assert_eq!(
        sequences(&asked.send().json(signal(2).to_string()).await),
        [2]
    );
    assert_eq!(stack.nats.messages_left(STREAM).await, 2);
}
