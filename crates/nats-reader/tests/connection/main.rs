//! Connections to real servers, and to one that no one means well with.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test stops at the first surprise.

mod hostile;
mod support;

use std::time::Duration;

use nkeys::KeyPair;
use risksignal_nats_reader::{
    ConnectError, DialError, Login, NotConnected, Reader, ServerErrorKind,
};
use tokio::time::timeout;

use support::{DEADLINE, Log, Nats, connect, free_port, options, receive, until};

/// Request and answer, many messages in few writes, the end of an inbox, and a flush.
#[tokio::test(flavor = "multi_thread")]
async fn messages_come_as_they_were_sent() {
    let nats = Nats::start(&[]).await;
    let log = Log::default();
    let reader = connect(&[nats.address()], &log).await;
    assert_eq!((reader.is_connected(), reader.connects()), (true, 1));
    assert_eq!(reader.max_payload(), 1 << 20);
    let (inbox, other) = (reader.subscribe().unwrap(), reader.subscribe().unwrap());
    assert_ne!(inbox.subject(), other.subject());

    let large = vec![b'x'; 700_000];
    reader
        .publish(inbox.subject(), Some("a.reply"), &large)
        .await
        .unwrap();
    reader.publish(other.subject(), None, b"").await.unwrap();
    let many = vec![inbox.subject(); 20_000];
    reader.send(many, b"+ACK", None).await.unwrap();
    let messages = receive(&inbox, 20_001).await;
    assert_eq!(messages[0].body(), large);
    assert_eq!(messages[0].reply(), Some(&b"a.reply"[..]));
    assert!(
        messages[1..]
            .iter()
            .all(|one| one.body() == b"+ACK" && one.reply().is_none())
    );
    assert!(receive(&other, 1).await[0].body().is_empty());

    // JetStream answers over the same connection.
    reader
        .publish("$JS.API.INFO", Some(other.subject()), b"")
        .await
        .unwrap();
    let answer = receive(&other, 1).await.remove(0);
    assert!(
        answer
            .body()
            .starts_with(br#"{"type":"io.nats.jetstream.api.v1.account_info"#)
    );
    // Without a responder the server sends a status with headers.
    reader
        .publish("nobody.there", Some(other.subject()), b"")
        .await
        .unwrap();
    assert_eq!(receive(&other, 1).await[0].status().unwrap().code, 503);

    reader
        .publish(inbox.subject(), None, b"last")
        .await
        .unwrap();
    inbox.drain().unwrap();
    reader
        .publish(inbox.subject(), None, b"too late")
        .await
        .unwrap();
    reader.flush().await.unwrap();
    assert_eq!(receive(&inbox, 1).await[0].body(), b"last");
    assert_eq!(inbox.receive(&mut Vec::new(), 1).await, None);
    drop(other);
    reader.flush().await.unwrap();
    assert_eq!(log.lines().len(), 1, "{:?}", log.lines());
}

/// An inbox that nobody reads holds its bound and a read more; the rest waits in the socket, and
/// comes when it is taken.
#[tokio::test(flavor = "multi_thread")]
async fn back_pressure_is_the_sockets() {
    let nats = Nats::start(&[]).await;
    let log = Log::default();
    let mut small = options(&[nats.address()], Login::None, &log);
    small.inbox_max = 100_000;
    let slow = Reader::connect(small).await.unwrap();
    let sender = connect(&[nats.address()], &log).await;
    let inbox = slow.subscribe().unwrap();
    slow.flush().await.unwrap();
    let body = [b'x'; 1_000];
    sender
        .send(vec![inbox.subject(); 8_000], &body, None)
        .await
        .unwrap();
    sender.flush().await.unwrap();
    // The answer to this ping is behind messages that are not read.
    let flush = timeout(Duration::from_millis(200), slow.flush()).await;
    assert!(flush.is_err(), "the connection is not read on");
    let first = inbox.take_received();
    let bytes: usize = first.iter().map(|one| one.length()).sum();
    assert!(bytes > 100_000 && bytes < 200_000, "{bytes}");
    receive(&inbox, 8_000 - first.len()).await;
    slow.flush().await.unwrap();
    assert!(slow.is_connected() && slow.connects() == 1);
}

/// Nothing that was meant for a lost connection goes over the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_is_connected_to_again_and_gets_no_stale_ack() {
    let mut nats = Nats::start(&[]).await;
    let log = Log::default();
    let reader = connect(&[nats.address()], &log).await;
    let inbox = reader.subscribe().unwrap();
    nats.restart().await;
    until("it is connected again", async || reader.connects() == 2).await;
    assert!(
        timeout(Duration::from_millis(50), inbox.receive(&mut Vec::new(), 1))
            .await
            .is_err()
    );
    assert_eq!(inbox.drain(), Err(NotConnected));
    let inbox = reader.subscribe().unwrap();
    let to = [inbox.subject()];
    assert_eq!(reader.send(to, b"stale", Some(1)).await, Err(NotConnected));
    reader.send(to, b"current", Some(2)).await.unwrap();
    reader.send(to, b"any", None).await.unwrap();
    let messages = receive(&inbox, 2).await;
    assert_eq!(
        (messages[0].body(), messages[1].body()),
        (&b"current"[..], &b"any"[..])
    );
    log.has("again: true").await;
    assert!(log.lines().iter().any(|line| line.starts_with("ended: ")));
}

/// Every login, the right one and a wrong one. Configuration files are the server's own.
#[tokio::test(flavor = "multi_thread")]
async fn every_login_is_accepted_and_a_wrong_one_is_named() {
    let key = KeyPair::new_user();
    let file = tempfile::NamedTempFile::new().unwrap();
    let token = "--auth=s3cret";
    let users = format!(
        "authorization {{ users: [{{user: a, password: \"p w\", permissions: {{publish: \"ok\"}}}}, {{nkey: {}}}] }}",
        key.public_key()
    );
    std::fs::write(file.path(), users).unwrap();
    let config = format!("--config={}", file.path().display());
    let log = Log::default();
    let login =
        async |nats: &Nats, login| Reader::connect(options(&[nats.address()], login, &log)).await;
    let wrong = |result: Result<Reader, ConnectError>| match result {
        Err(ConnectError::Dial(DialError::Refused(error))) => error.kind,
        other => panic!("{other:?}"),
    };
    let user = |password: &str| Login::User {
        user: "a".to_owned(),
        password: password.to_owned(),
    };

    let nats = Nats::start(&[token]).await;
    login(&nats, Login::Token("s3cret".to_owned()))
        .await
        .unwrap();
    for bad in [Login::Token("other".to_owned()), Login::None] {
        assert_eq!(wrong(login(&nats, bad).await), ServerErrorKind::Login);
    }
    let nats = Nats::start(&[&config]).await;
    login(&nats, Login::of_seed(&key.seed().unwrap()).unwrap())
        .await
        .unwrap();
    let stranger = Login::of_seed(&KeyPair::new_user().seed().unwrap()).unwrap();
    for bad in [user("x"), stranger] {
        assert_eq!(wrong(login(&nats, bad).await), ServerErrorKind::Login);
    }
    // A denied subject is reported, and the connection goes on.
    let reader = login(&nats, user("p w")).await.unwrap();
    reader.publish("other", None, b"").await.unwrap();
    log.has("refused: Permissions Violation for Publish to \"other\"")
        .await;
    reader.publish("ok", None, b"").await.unwrap();
    reader.flush().await.unwrap();
    assert_eq!(reader.connects(), 1);
}

/// A cluster names its servers; one that shuts down (lame duck mode) is left for another.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_shuts_down_is_left_for_one_that_it_named() {
    let routes = [free_port(), free_port()];
    let cluster = |own: u16| {
        vec![
            "--cluster_name=c".to_owned(),
            format!("--cluster=nats://127.0.0.1:{own}"),
            format!(
                "--routes=nats://127.0.0.1:{},nats://127.0.0.1:{}",
                routes[0], routes[1]
            ),
        ]
    };
    let mut servers = Vec::new();
    for (number, route) in routes.into_iter().enumerate() {
        let mut arguments = cluster(route);
        arguments.push(format!("--name=n{number}"));
        let file = "lame_duck_duration: 30s\nlame_duck_grace_period: 100ms\n";
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), file).unwrap();
        arguments.push(format!("--config={}", config.path().display()));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        servers.push((Nats::start(&arguments).await, config));
    }
    let log = Log::default();
    let (first, second) = (&servers[0].0, &servers[1].0);
    let other = format!("127.0.0.1:{}", second.port);
    // Until the route is up, the first does not name the second.
    let reader = connect(&[first.address()], &log).await;
    let inbox = reader.subscribe().unwrap();
    until("the cluster has formed", async || {
        reader
            .publish("$JS.API.INFO", Some(inbox.subject()), b"")
            .await
            .unwrap();
        reader.flush().await.unwrap();
        let fresh = connect(&[second.address()], &Log::default()).await;
        let there = fresh.subscribe().unwrap();
        fresh.flush().await.unwrap();
        reader.publish(there.subject(), None, b"").await.unwrap();
        timeout(
            Duration::from_millis(100),
            there.receive(&mut Vec::new(), 1),
        )
        .await
        .is_ok()
    })
    .await;
    first.signal("USR2");
    log.has("leaving: 127.0.0.1").await;
    log.has(&format!("connected to {other}, again: true")).await;
    let inbox = reader.subscribe().unwrap();
    reader.publish(inbox.subject(), None, b"on").await.unwrap();
    assert_eq!(receive(&inbox, 1).await[0].body(), b"on");
}

#[tokio::test]
async fn a_handle_that_is_dropped_ends_the_connection() {
    let (log, peer) = (Log::default(), hostile::Peer::start().await);
    let reader = tokio::spawn({
        let (address, log) = (peer.address(), log.clone());
        async move { connect(&[address], &log).await }
    });
    let mut socket = peer.accept().await;
    drop(reader.await.unwrap());
    let end = timeout(DEADLINE, hostile::read_to_end(&mut socket)).await;
    end.expect("the socket is closed");
}
