//! Tokens: clients that may send over HTTP, and how much.

use axum::body::Body;
use risksignal::reload::{REFUSED, RELOADED};
use risksignal::serve::log_lines::ANSWERED;
use serde_json::json;
use testkit::api::{self, TOKEN, entry, retry_after, sequences, start_with_tokens, write_tokens};
use testkit::nats::STREAM;
use testkit::signals::signal;
use testkit::{Daemon, Stack, eventually, setting};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_it_is_for() {
    let stack = Stack::start().await;
    let text = entry("app", TOKEN, "event_types = ['risk_event', 'a.b']")
        + &entry("reader", "rs_tellme-reader", "scopes = ['read']");
    let tokens = write_tokens(&stack, &text);
    let debug = [setting!(log.filter = "debug,async_nats=warn")];
    let (mut daemon, api) = start_with_tokens(&stack, &tokens, &debug).await;
    let body = signal(1).to_string();
    for (shown, error) in [
        (None, ""),
        (Some("Bearer rs_tellme-wrong"), "invalid_token"),
        (Some("Bearer "), "invalid_token"),
        (Some("Basic cnNfdGVsbG1lOng="), "invalid_token"),
    ] {
        let mut send = api.send_without_token();
        if let Some(shown) = shown {
            send = send.header("authorization", shown);
        }
        let answer = send.json(body.clone()).await;
        assert_eq!(answer.status, 401, "{shown:?}");
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Bearer realm="), "{challenge}");
        assert!(challenge.contains(error), "{challenge}");
    }
    let answer = api.send_as("rs_tellme-reader").json(body.clone()).await;
    assert_eq!(answer.status, 403);
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains("error=\"insufficient_scope\", scope=\"ingest\""));

    // Its types, answered one by one among several.
    let other = |number, event_type: &str| {
        let mut other = signal(number);
        other["event_type"] = event_type.into();
        other
    };
    let answer = api.send().json(other(2, "transaction").to_string()).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (403, &json!("event_type"))
    );
    let mixed = json!([signal(3), other(4, "transaction"), other(5, "a.b")]);
    let answer = api.send().json(mixed.to_string()).await;
    assert_eq!(answer.status, 207);
    let results = answer.json()["results"].clone();
    assert_eq!(
        (&results[0]["status"], &results[2]["status"]),
        (&json!(202), &json!(202))
    );
    assert_eq!(results[1]["status"], 403);
    // The type is compared, not its token of the subject.
    let answer = api.send().json(other(6, "a_b").to_string()).await;
    assert_eq!(answer.status, 403);
    assert_eq!(stack.nats.messages_left(STREAM).await, 2);
    assert!(daemon.stop().await.success());
    daemon.logged(ANSWERED).await;
    for secret in ["tellme", "source_id", "00000000-0000-4000"] {
        assert!(!daemon.output().contains(secret), "{}", daemon.output());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_has_a_rate() {
    let stack = Stack::start().await;
    let slow = entry("slow", "rs_slow", "rate = 1\nburst = 3") + &entry("app", TOKEN, "");
    let tokens = write_tokens(&stack, &slow);
    let (_daemon, api) = start_with_tokens(&stack, &tokens, &[]).await;
    let batch = |numbers: std::ops::Range<u64>| json!(numbers.map(signal).collect::<Vec<_>>());
    let answer = api.send_as("rs_slow").json(batch(0..4).to_string()).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (413, &json!("burst"))
    );
    let answer = api.send_as("rs_slow").json(batch(0..3).to_string()).await;
    assert_eq!(sequences(&answer).len(), 3);
    let answer = api.send_as("rs_slow").json(batch(3..6).to_string()).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (429, &json!("rate"))
    );
    let seconds = retry_after(&answer.headers);
    assert!((1..=3).contains(&seconds), "{seconds}");
    assert_eq!(answer.json()["retry_after"], seconds);
    // It is the token's own.
    assert_eq!(
        sequences(&api.send().json(batch(6..9).to_string()).await).len(),
        3
    );
    let again = eventually("its rate lets it in again", async || {
        let answer = api.send_as("rs_slow").json(batch(3..6).to_string()).await;
        (answer.status == 202).then_some(answer)
    })
    .await;
    assert_eq!(sequences(&again), [7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_rotated_without_a_restart() {
    let stack = Stack::start().await;
    let old = entry("app", "rs_tellme-old", "");
    let tokens = write_tokens(&stack, &old);
    let (mut daemon, api) = start_with_tokens(&stack, &tokens, &[]).await;
    let status = async |token: &str| {
        let answer = api.send_as(token).json(signal(1).to_string()).await;
        answer.status.as_u16()
    };
    assert_eq!(status("rs_tellme-old").await, 202);
    assert_eq!(status("rs_tellme-new").await, 401);

    write_tokens(&stack, &(old + &entry("app", "rs_tellme-new", "")));
    daemon.signal("HUP");
    let line = daemon.logged(RELOADED).await;
    let changed = line["changed"].as_str().unwrap();
    assert!(changed.contains("serve.tokens_file: \"app "), "{changed}");
    eventually("both open", async || {
        (status("rs_tellme-new").await == 202 && status("rs_tellme-old").await == 202).then_some(())
    })
    .await;

    // A file with a fault changes nothing, and no token in clear is shown.
    write_tokens(
        &stack,
        "[[token]]\nname = 'x'\nscopes = ['ingest']\nsha256 = 'rs_tellme-clear'",
    );
    daemon.signal("HUP");
    let line = daemon.logged(REFUSED).await;
    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains("serve.tokens_file") && error.contains("line 4"),
        "{error}"
    );
    assert_eq!(status("rs_tellme-old").await, 202);

    write_tokens(&stack, &entry("app", "rs_tellme-new", ""));
    daemon.signal("HUP");
    eventually("the old one is of no use", async || {
        (status("rs_tellme-old").await == 401).then_some(())
    })
    .await;
    assert_eq!(status("rs_tellme-new").await, 202);
    assert!(daemon.stop().await.success());
    assert!(!daemon.output().contains("tellme"), "{}", daemon.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_takes_the_id_of_anothers_signal() {
    let stack = Stack::start().await;
    let text = entry("app", TOKEN, "") + &entry("thief", "rs_thief", "");
    let tokens = write_tokens(&stack, &text);
    let (_daemon, api) = start_with_tokens(&stack, &tokens, &[]).await;
    let mut forged = signal(1);
    forged["source_id"] = "thief".into();
    let trace = signal(1)["trace_id"].as_str().unwrap().to_owned();
    // The thief publishes first: by the trace id, and by keys that look like the other's ids.
    for key in [None, Some(trace.as_str()), Some("app"), Some("k")] {
        let mut send = api.send_as("rs_thief");
        if let Some(key) = key {
            send = send.key(key);
        }
        assert_eq!(send.json(forged.to_string()).await.status, 202);
    }
    let forged_key = format!("app:{trace}");
    let send = api.send_as("rs_thief").key(&forged_key);
    assert_eq!(send.json(forged.to_string()).await.status, 202);
    let duplicate = |answer: &testkit::ops::Answer| {
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()["results"][0]["duplicate"] == true
    };
    let own = signal(1).to_string();
    assert!(!duplicate(&api.send().json(own.clone()).await));
    assert!(!duplicate(&api.send().key("k").json(own.clone()).await));
    // A retry of its own is one.
    assert!(duplicate(&api.send().json(own.clone()).await));
    assert!(duplicate(&api.send().key("k").json(own).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_made_opens() {
    let stack = Stack::start().await;
    let arguments = [
        "serve",
        "token",
        "my-app",
        "--event-type=risk_event",
        "--rate=100",
    ];
    // The file that it is for is named already, and is not there; or the shell has made it.
    let tokens = stack.work_dir().join("tokens.toml");
    let named = tokens.display().to_string();
    let settings = [setting!(serve.tokens_file = named.as_str())];
    let made = stack.risksignal_with(&arguments, &settings).await;
    assert!(made.status.success(), "{made:?}");
    std::fs::write(&tokens, "").unwrap();
    let made = stack.risksignal_with(&arguments, &settings).await;
    assert!(made.status.success(), "{made:?}");
    let printed = String::from_utf8(made.stderr).unwrap();
    let token = printed
        .lines()
        .find(|line| line.starts_with("rs_"))
        .unwrap();
    let entry = String::from_utf8(made.stdout).unwrap();
    assert!(
        !entry.contains(token) && entry.contains("rate = 100"),
        "{entry}"
    );
    let tokens = write_tokens(&stack, &entry);
    let (_daemon, api) = start_with_tokens(&stack, &tokens, &[]).await;
    let answer = api.send_as(token).json(signal(1).to_string()).await;
    assert_eq!(sequences(&answer), [1]);
    let bad = stack.risksignal(&["serve", "token", "my app"]).await;
    assert!(!bad.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_served_without_tokens_or_on_a_port_that_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str], settings: &[(&str, &str)]| {
        let off = setting!(ops.listen = "off");
        let environment: Vec<(String, String)> = [off, api::ANY_PORT]
            .iter()
            .chain(settings)
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        let mut daemon = Daemon::spawn(arguments, &environment, dir.path());
        let code = daemon.ended().await.code();
        (code, daemon.output())
    };
    let (code, printed) = run(&["serve"], &[]).await;
    assert_eq!(code, Some(1));
    assert!(
        printed.contains("serve.tokens_file is not set"),
        "{printed}"
    );
    let (code, printed) = run(&["run"], &[setting!(serve.with_run = "true")]).await;
    assert_eq!(code, Some(78));
    assert!(
        printed.contains("nobody is served without a token"),
        "{printed}"
    );
    let tokens = dir.path().join("tokens.toml");
    std::fs::write(&tokens, entry("app", TOKEN, "")).unwrap();
    let tokens = setting!(serve.tokens_file = tokens.to_str().unwrap());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let with_run = setting!(serve.with_run = "true");
    for command in ["serve", "run"] {
        let listen = setting!(serve.listen = address.as_str());
        let (code, printed) = run(&[command], &[tokens, listen, with_run]).await;
        assert_eq!(code, Some(1));
        let words = format!("cannot listen on {address} (serve.listen)");
        assert!(printed.contains(&words), "{printed}");
    }
    let missing = setting!(serve.tokens_file = "/nowhere/tokens.toml");
    let (code, printed) = run(&["serve"], &[missing]).await;
    assert_eq!(code, Some(78));
    assert!(printed.contains("cannot be read"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_missing_is_a_problem_document() {
    let stack = Stack::start().await;
    let tokens = write_tokens(&stack, &entry("app", TOKEN, ""));
    let (_daemon, api) = start_with_tokens(&stack, &tokens, &[]).await;
    let token = [("authorization".to_owned(), format!("Bearer {TOKEN}"))];
    for (method, path, status) in [
        ("GET", "/", 404),
        ("POST", "/v1/signal", 404),
        ("GET", "/v1/signals", 405),
        ("DELETE", "/v1/openapi.json", 405),
    ] {
        let answer = api.ask(method, path, &token, Body::empty()).await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.json()["status"], status);
    }
}
