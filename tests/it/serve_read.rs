//! Signals that are read back over HTTP.

use axum::http::StatusCode;
use risksignal::serve::log_lines::READ_UNANSWERED;
use serde_json::{Value, json};
use testkit::api::{Api, TOKEN, entry, spawn, start_with_tokens, write_tokens};
use testkit::signals::{SLOW_TABLE, signal};
use testkit::{Daemon, Stack, eventually, setting, wallets};

/// A wallet whose name is anything but plain.
const ODD: &str = "0xAb's {wallet:String} \\ \"q\" \t\n%2F/?#& 🦀 OR 1=1 --";

async fn start(stack: &Stack, more: &[(&str, &str)]) -> (Daemon, Api) {
    let tokens = write_tokens(stack, &entry("app", TOKEN, "scopes = ['ingest', 'read']"));
    start_with_tokens(stack, &tokens, more).await
}

fn of_wallet(number: u64, wallet: &str, event_type: &str, time: &str) -> Value {
    let mut signal = signal(number);
    signal["wallet_address"] = wallet.into();
    signal["event_type"] = event_type.into();
    signal["event_time"] = time.into();
    signal
}

/// The path of a wallet's signals.
fn path(wallet: &str, more: &str) -> String {
    format!("{}/signals{more}", wallets::path(wallet))
}

/// The sequences of a page's signals.
fn sequences(page: &Value) -> Vec<u64> {
    let signals = page["signals"].as_array().unwrap().iter();
    signals
        .map(|signal| signal["stream_seq"].as_u64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallets_signals_come_back_the_newest_first_a_page_at_a_time() {
    let stack = Stack::start().await;
    let (_serve, api) = start(&stack, &[]).await;
    let _run = stack.daemon(&[]).await;
    let mut sent = Vec::new();
    for number in 0..25 {
        // Several of one millisecond, and out of their order.
        let time = format!("2026-11-{:02}T00:00:00.500Z", 1 + number * 7 % 10);
        let event_type = ["transaction", "risk_event"][usize::from(number % 3 == 0)];
        sent.push(of_wallet(number, ODD, event_type, &time));
        sent.push(of_wallet(100 + number, "0xother", event_type, &time));
    }
    let answer = api.send().json(Value::from(sent.clone()).to_string()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    stack.settled().await;

    let mut expected: Vec<u64> = (1..=50).step_by(2).collect();
    let time = |sequence: &u64| sent[*sequence as usize - 1]["event_time"].to_string();
    expected.sort_by_key(|sequence| (time(sequence), *sequence));
    expected.reverse();
    let whole = api.get(&path(ODD, "?limit=200")).await.json();
    assert_eq!(sequences(&whole), expected);
    assert_eq!(whole["next_cursor"], Value::Null);
    assert!(
        whole["signals"]
            .as_array()
            .unwrap()
            .iter()
            .all(|signal| signal["wallet_address"] == ODD)
    );

    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api
            .get(&path(ODD, &format!("?limit=5{cursor}")))
            .await
            .json();
        paged.extend(sequences(&page));
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, expected);

    let within = "?from=2026-11-03T00:00:00.500Z&to=2026-11-05T00:00:00.500Z&type=transaction";
    let page = api.get(&path(ODD, within)).await.json();
    let keeps = |sequence: &&u64| {
        let signal = &sent[**sequence as usize - 1];
        let day = signal["event_time"].as_str().unwrap()[8..10].to_owned();
        (day == "03" || day == "04") && signal["event_type"] == "transaction"
    };
    let kept: Vec<u64> = expected.iter().filter(keeps).copied().collect();
    assert!(!kept.is_empty());
    assert_eq!(sequences(&page), kept);

    let nobody = api.get(&path("0x' OR 1=1 --", "")).await.json();
    assert_eq!(nobody, json!({"signals": [], "next_cursor": null}));
    let answer = api.get(&path(ODD, "?from=now&sort=up")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.json()["errors"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_found_byte_for_byte_and_is_not_answered_twice() {
    let stack = Stack::start().await;
    let (_serve, api) = start(&stack, &[]).await;
    let _run = stack.daemon(&[]).await;
    let payload = format!(
        r#"{{ "wei":{}, "ratio":1.50e+3,"text":"{}" }}"#,
        "9".repeat(78),
        "ü".repeat(20_000)
    );
    let large = signal(7).to_string().replace(r#"{"number":7}"#, &payload);
    let large = large.replacen('{', r#"{"wallet_address":"0x1","chain_id":1,"#, 1);
    assert_eq!(api.send().json(large).await.status, StatusCode::ACCEPTED);
    stack.settled().await;

    let trace = format!("/v1/signals/{}", signal(7)["trace_id"].as_str().unwrap());
    let answer = api.get(&trace).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.contains(&payload), "{}", &answer.body[..300]);
    let output = &answer.json()["signals"][0];
    assert_eq!(output["extra"], json!({"chain_id": 1}));
    // A page leaves it out.
    let page = api.get(&path("0x1", "")).await.json();
    assert_eq!(page["signals"][0]["payload_bytes"], payload.len());

    let tag = answer.headers["etag"].to_str().unwrap();
    let again = api.get_with(&trace, &[("if-none-match", tag)]).await;
    assert_eq!(
        (again.status, again.body.as_str()),
        (StatusCode::NOT_MODIFIED, "")
    );
    assert_eq!(again.headers["etag"], tag);
    let other = api.get_with(&trace, &[("if-none-match", "\"x\"")]).await;
    assert_eq!(other.status, StatusCode::OK);

    let unknown = "/v1/signals/00000000-0000-4000-8000-0000000000ff";
    assert_eq!(api.get(unknown).await.status, StatusCode::NOT_FOUND);
    let malformed = api.get("/v1/signals/1%20OR%201").await;
    assert_eq!(malformed.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_without_the_scope_or_beyond_the_rate() {
    let stack = Stack::start().await;
    let tokens =
        entry("writer", TOKEN, "") + &entry("slow", "rs_slow", "scopes = ['read']\nrate = 1");
    let (_serve, api) = start_with_tokens(&stack, &write_tokens(&stack, &tokens), &[]).await;
    let _run = stack.daemon(&[]).await;
    for path in [
        "/v1/signals/00000000-0000-4000-8000-000000000001",
        "/v1/wallets/0x1/signals",
    ] {
        assert_eq!(api.get(path).await.status, StatusCode::FORBIDDEN);
        assert_eq!(
            api.get_as("rs_x", path, &[]).await.status,
            StatusCode::UNAUTHORIZED
        );
        eventually("the rate is reached", async || {
            let answer = api.get_as("rs_slow", path, &[]).await;
            (answer.status == StatusCode::TOO_MANY_REQUESTS).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_takes_too_long_ends_and_one_without_an_answer_is_reported() {
    let stack = Stack::start().await;
    let tokens = write_tokens(&stack, &entry("app", TOKEN, "scopes = ['read']"));
    let serve = spawn(&stack, &tokens, &[setting!(serve.query_timeout = "500ms")]);
    let api = Api::of(&serve).await;
    // The table is not there yet.
    let trace = "/v1/signals/00000000-0000-4000-8000-000000000001";
    let missing = api.get(trace).await;
    assert_eq!(missing.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!missing.body.contains("raw_signals"), "{}", missing.body);
    serve.logged(READ_UNANSWERED).await;

    stack
        .clickhouse
        .execute("CREATE DATABASE IF NOT EXISTS risksignal")
        .await;
    stack.clickhouse.execute(SLOW_TABLE).await;
    for path in [trace, "/v1/wallets/0/signals"] {
        let slow = api.get(path).await;
        assert_eq!(slow.status, StatusCode::GATEWAY_TIMEOUT, "{}", slow.body);
    }
    stack.clickhouse.kill();
    for path in [trace, "/v1/wallets/0/signals"] {
        let away = api.get(path).await;
        assert_eq!(away.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(away.headers.contains_key("retry-after"));
    }
}
