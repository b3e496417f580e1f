//! Bodies in gzip, which may have several members (RFC 1952, section 2.2).

use axum::body::Body;
use serde_json::{Value, json};
use testkit::api::{Api, start};
use testkit::nats::STREAM;
use testkit::ops::Answer;
use testkit::signals::signal;
use testkit::{Stack, setting};

use super::serve::gzip;

async fn send(api: &Api, content_type: &'static str, body: impl Into<Body>) -> Answer {
    let send = api.send().header("content-type", content_type);
    send.header("content-encoding", "gzip").body(body).await
}

fn code(answer: &Answer) -> (u16, Value) {
    (answer.status.as_u16(), answer.json()["code"].clone())
}

fn sequences(answer: &Answer) -> Vec<u64> {
    let results = answer.json()["results"].clone();
    let results = results.as_array().cloned().unwrap_or_default();
    results
        .iter()
        .filter_map(|result| result["sequence"].as_u64())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_of_a_gzip_is_read() {
    let stack = Stack::start().await;
    let (mut daemon, api) = start(&stack, &[]).await;
    let line = |number| signal(number).to_string() + "\n";
    let ndjson = "application/x-ndjson";
    let two = [gzip(&line(1)), gzip(&line(2))].concat();
    assert_eq!(sequences(&send(&api, ndjson, two).await), [1, 2]);
    // A member may end anywhere, and may be empty.
    let third = line(3);
    let (begin, end) = third.split_at(third.len() / 2);
    let parts = ["", begin, "", end, &line(4), ""].map(gzip);
    let many = parts.concat();
    assert_eq!(sequences(&send(&api, ndjson, many).await), [3, 4]);
    // However it arrives.
    let parts = [gzip(&line(5)), gzip(&line(6))].concat();
    let bytes = parts
        .into_iter()
        .map(|byte| Ok::<_, std::io::Error>([byte].to_vec()));
    let bytes = Body::from_stream(futures_util::stream::iter(bytes));
    assert_eq!(sequences(&send(&api, ndjson, bytes).await), [5, 6]);
    let array = ["[", &line(7), ",", &line(8), "]"].map(gzip).concat();
    let answer = send(&api, "application/json", array).await;
    assert_eq!(sequences(&answer), [7, 8]);
    assert!(!answer.headers.contains_key("connection"));
    assert_eq!(stack.nats.messages_left(STREAM).await, 8);
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gzip_that_is_cut_or_followed_by_other_bytes_is_refused_whole() {
    let stack = Stack::start().await;
    let (mut daemon, api) = start(&stack, &[]).await;
    let line = signal(1).to_string() + "\n";
    let whole = gzip(&line);
    let behind = |bytes: &[u8]| [&whole, bytes].concat();
    let cut = whole.len() - 1;
    let bad = (400, json!("body"));
    for (name, body) in [
        ("text behind", behind(b"garbage")),
        ("a byte of a header behind", behind(b"\x1f")),
        ("a header behind", behind(&whole[..10])),
        ("zeros behind", behind(&[0; 512])),
        ("plain signal behind", behind(line.as_bytes())),
        ("a cut member", whole[..cut].to_vec()),
        ("a cut second member", behind(&whole[..cut])),
        ("nothing", Vec::new()),
    ] {
        let answer = send(&api, "application/x-ndjson", body.clone()).await;
        assert_eq!(code(&answer), bad, "{name}");
        // In two pieces, so that no buffer holds the end and what comes behind it.
        let at = body.len().min(whole.len());
        let pieces = [body[..at].to_vec(), body[at..].to_vec()].map(Ok::<_, std::io::Error>);
        let pieces = Body::from_stream(futures_util::stream::iter(pieces));
        let answer = send(&api, "application/x-ndjson", pieces).await;
        assert_eq!(code(&answer), bad, "{name}, in two pieces");
    }
    let answer = send(&api, "application/x-ndjson", gzip("")).await;
    assert_eq!(code(&answer), (400, json!("no_signals")));
    assert_eq!(stack.nats.messages_left(STREAM).await, 0);
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_on_a_body_counts_all_of_its_members() {
    let stack = Stack::start().await;
    let bounds = [setting!(serve.max_body_bytes = "64KiB")];
    let (mut daemon, api) = start(&stack, &bounds).await;
    let too_large = (413, json!("body_too_large"));
    let json = "application/json";
    let spaces = gzip(&" ".repeat(40 << 10));
    let body = [gzip(&signal(1).to_string()), spaces.clone()].concat();
    assert_eq!(sequences(&send(&api, json, body.clone()).await), [1]);
    // Two that are each within the bound, and many that are next to nothing as they are sent.
    let body = [body, spaces.clone()].concat();
    assert_eq!(code(&send(&api, json, body).await), too_large);
    let bomb = spaces.repeat(200);
    assert!(bomb.len() < 64 << 10, "{}", bomb.len());
    assert_eq!(code(&send(&api, json, bomb).await), too_large);
    // Members of nothing are bounded as they are sent, with and without a length.
    let empty = gzip("").repeat(5_000);
    assert_eq!(code(&send(&api, json, empty.clone()).await), too_large);
    let pieces = empty.chunks(8 << 10).map(<[u8]>::to_vec);
    let pieces: Vec<_> = pieces.map(Ok::<_, std::io::Error>).collect();
    let pieces = Body::from_stream(futures_util::stream::iter(pieces));
    assert_eq!(code(&send(&api, json, pieces).await), too_large);
    assert_eq!(stack.nats.messages_left(STREAM).await, 1);
    assert!(daemon.peak_mib() < 128, "{} MiB", daemon.peak_mib());
    assert!(daemon.stop().await.success());
}
