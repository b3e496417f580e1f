//! Limits of a client of the way in over HTTP.

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::body::Body;
use serde_json::{Value, json};
use testkit::api::{Api, TOKEN, retry_after, sequences, start};
use testkit::crowd::Crowd;
use testkit::nats::STREAM;
use testkit::ops::{self, Answer, Ops, total};
use testkit::signals::signal;
use testkit::{Stack, eventually, setting};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::serve::gzip;

fn code(answer: &Answer) -> (u16, Value) {
    (answer.status.as_u16(), answer.json()["code"].clone())
}

/// Writes bytes to a server, and reads until it has answered and closed the connection.
async fn raw(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    until_closed(&mut stream).await
}

/// Reads the answer until the server closes the connection.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // Ends a test whose server never does. No test is about this time.
    let read = timeout(Duration::from_secs(180), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the server does not close the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded_after_decompression_too() {
    let stack = Stack::start().await;
    let bounds = [
        setting!(serve.max_body_bytes = "64KiB"),
        setting!(serve.max_signals = "3"),
        setting!(validation.max_signal_bytes = "2KiB"),
    ];
    let (mut daemon, api) = start(&stack, &bounds).await;
    let padded = |bytes: usize| signal(1).to_string() + &" ".repeat(bytes);
    let too_large = (413, json!("body_too_large"));
    // With its length, without one, and within a small gzip.
    assert_eq!(code(&api.send().json(padded(64 << 10)).await), too_large);
    let send = api.send().header("content-type", "application/json");
    let parts = (0..100).map(|_| Ok::<_, std::io::Error>(" ".repeat(1024)));
    let unsized_body = Body::from_stream(futures_util::stream::iter(parts));
    assert_eq!(code(&send.body(unsized_body).await), too_large);
    let bomb = gzip(&padded(32 << 20));
    assert!(bomb.len() < 64 << 10, "{}", bomb.len());
    let send = api
        .send()
        .header("content-type", "application/json")
        .header("content-encoding", "gzip");
    assert_eq!(code(&send.body(bomb).await), too_large);
    // Who is refused amid a body that it still sends hears why, and its connection is closed.
    let head = "POST /v1/signals HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n\r\n";
    let answer = raw(
        &api.address,
        (head.to_owned() + &" ".repeat(4_000_000)).as_bytes(),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    // What is no gzip, and an encoding that is not taken.
    for (encoding, expected) in [
        ("gzip", (400, json!("body"))),
        ("br", (415, json!("media_type"))),
        ("identity", (202, Value::Null)),
    ] {
        let send = api
            .send()
            .header("content-type", "application/json")
            .header("content-encoding", encoding);
        assert_eq!(code(&send.body(signal(1).to_string()).await), expected);
    }
    let send = api.send().header("content-type", "text/plain");
    assert_eq!(code(&send.body("{}").await), (415, json!("media_type")));
    assert_eq!(
        code(&api.send().body("{}").await),
        (415, json!("media_type"))
    );
    // How many, and how large each.
    let four = json!([1, 2, 3, 4]).to_string();
    assert_eq!(
        code(&api.send().json(four).await),
        (413, json!("too_many_signals"))
    );
    let mut large = signal(2);
    large["user_id"] = "x".repeat(3 << 10).into();
    let answer = api.send().json(large.to_string()).await;
    assert_eq!(code(&answer), (413, json!("too_large")));
    assert_eq!(
        code(&api.send().json("[{},").await),
        (400, json!("not_json"))
    );
    assert_eq!(code(&api.send().json("").await), (400, json!("not_json")));
    assert_eq!(
        code(&api.send().ndjson("\n").await),
        (400, json!("no_signals"))
    );
    assert_eq!(stack.nats.messages_left(STREAM).await, 1);
    assert!(daemon.peak_mib() < 128, "{} MiB", daemon.peak_mib());
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_their_time_are_bounded() {
    let stack = Stack::start().await;
    let bounds = [setting!(serve.body_timeout = "300ms")];
    let (mut daemon, api) = start(&stack, &bounds).await;
    let address = api.address.clone();
    let long = "x".repeat(32 << 10);
    let request = format!("POST /v1/signals HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n");
    let answer = raw(&address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    // A body that does not come.
    let head = format!(
        "POST /v1/signals HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: 500\r\n\r\n{{"
    );
    let answer = raw(&address, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("slow_body"), "{answer}");
    // Headers that do not come.
    let mut slow = TcpStream::connect(&address).await.unwrap();
    slow.write_all(b"POST /v1/signals HTTP/1.1\r\n")
        .await
        .unwrap();
    until_closed(&mut slow).await;
    assert_eq!(
        sequences(&api.send().json(signal(1).to_string()).await),
        [1]
    );
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_connection_takes_the_place_of_one_that_waits_for_its_client() {
    let stack = Stack::start().await;
    let bounds = [setting!(serve.max_connections = "2"), ops::ANY_PORT];
    let (daemon, api) = start(&stack, &bounds).await;
    let ops = Ops::of(&daemon).await;
    let first = TcpStream::connect(&api.address).await.unwrap();
    let mut second = TcpStream::connect(&api.address).await.unwrap();
    second.write_all(b"GET /v1/op").await.unwrap();
    let third = Api::at(&api.address, None);
    assert_eq!(
        sequences(&third.send().json(signal(1).to_string()).await),
        [1]
    );
    drop((first, second));
    let cut = ops.metric("risksignal_connections_cut_total").await;
    assert!(cut.is_some_and(|cut| cut >= 1.0), "{cut:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_its_share_of_requests_under_way() {
    let stack = Stack::start().await;
    let bounds = [
        setting!(serve.max_connections_per_client = "2"),
        // Longer than the test: they wait until NATS goes on.
        setting!(nats.request_timeout = "60s"),
        ops::ANY_PORT,
    ];
    let (mut daemon, api) = start(&stack, &bounds).await;
    let ops = Ops::of(&daemon).await;
    stack.nats.signal("STOP");
    let under_way = (1..3).map(|number| {
        let api = Api::at(&api.address, None);
        let body = signal(number).to_string();
        tokio::spawn(async move { api.send().try_json(&body).await.unwrap() })
    });
    let under_way: Vec<_> = under_way.collect();
    eventually("two wait", async || {
        let waiting = ops.metric("risksignal_http_unanswered_signals").await?;
        (waiting == 2.0).then_some(())
    })
    .await;
    // A third of this address is closed; none of the two gives way.
    let third = Api::at(&api.address, None);
    let body = signal(3).to_string();
    assert!(third.send().try_json(&body).await.is_err());
    // Another address has its own share.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut other = socket.connect(api.address.parse().unwrap()).await.unwrap();
    let get = b"GET /v1/openapi.json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    other.write_all(get).await.unwrap();
    let answer = until_closed(&mut other).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    stack.nats.signal("CONT");
    for one in under_way {
        assert!([202, 503].contains(&one.await.unwrap().status.as_u16()));
    }
    assert_eq!(sequences(&third.send().json(body).await).len(), 1);
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_answer_is_closed() {
    let stack = Stack::start().await;
    let bounds = [setting!(serve.answer_timeout = "1s"), ops::ANY_PORT];
    let (mut daemon, api) = start(&stack, &bounds).await;
    let ops = Ops::of(&daemon).await;
    let mut crowd = Crowd::from(Ipv4Addr::LOCALHOST, &api.address, 4).await;
    let get = format!(
        "GET /v1/openapi.json HTTP/1.1\r\nhost: {}\r\n\r\n",
        api.address
    );
    crowd.never_read(&get).await;
    eventually("four are closed", async || {
        let text = ops.get("/metrics").await.body;
        let unread = text.lines().filter(|line| line.contains("\"unread\""));
        let unread: Vec<&str> = unread.collect();
        (total(&unread.join("\n"), "risksignal_connections_cut_total")? == 4.0).then_some(())
    })
    .await;
    // A client that reads is not closed for its pause between two requests.
    assert_eq!(
        sequences(&api.send().json(signal(1).to_string()).await),
        [1]
    );
    assert!(daemon.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_must_come_later_while_jetstream_is_behind() {
    let stack = Stack::start().await;
    let bounds = [
        setting!(serve.max_signals = "3"),
        setting!(serve.max_unanswered = "3"),
        // Three wait for this long, so that the fourth comes meanwhile on a busy machine, too.
        setting!(nats.request_timeout = "20s"),
        ops::ANY_PORT,
    ];
    let (mut daemon, api) = start(&stack, &bounds).await;
    let ops = Ops::of(&daemon).await;
    stack.nats.signal("STOP");
    let three = json!([signal(1), signal(2), signal(3)]).to_string();
    let first = api.send().json(three.clone());
    let second = async {
        eventually("three wait", async || {
            let waiting = ops.metric("risksignal_http_unanswered_signals").await?;
            (waiting == 3.0).then_some(())
        })
        .await;
        api.send().json(signal(4).to_string()).await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(code(&second), (429, json!("busy")));
    assert_eq!(retry_after(&second.headers), 1);
    assert_eq!(first.status, 503);
    assert!(retry_after(&first.headers) >= 1);
    assert_eq!(first.json()["results"][2]["code"], "unanswered");
    stack.nats.signal("CONT");
    // What was published all the same is not stored twice.
    let again = eventually("JetStream answers again", async || {
        let answer = api.send().json(three.clone()).await;
        (answer.status == 202).then_some(answer)
    })
    .await;
    assert_eq!(sequences(&again).len(), 3);
    assert_eq!(stack.nats.messages_left(STREAM).await, 3);

    // The stream is full: some of the signals find room, or none.
    let used = stack
        .nats
        .bound_stream(STREAM, |bytes| bytes as i64 + 400)
        .await;
    let batch = json!([signal(5), signal(6), signal(7)]).to_string();
    let answer = api.send().json(batch.clone()).await;
    assert_eq!(answer.status, 207);
    assert_eq!(answer.json()["results"][2]["code"], "stream_full");
    assert!(retry_after(&answer.headers) >= 1);
    let answer = api.send().json(signal(7).to_string()).await;
    assert_eq!(code(&answer), (429, json!("stream_full")));
    stack.nats.bound_stream(STREAM, |_| used as i64 * 10).await;
    let answer = api.send().json(batch).await;
    assert_eq!(sequences(&answer).len(), 3);
    assert!(daemon.stop().await.success());
}
