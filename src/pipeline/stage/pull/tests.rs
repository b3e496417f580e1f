use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use crate::pipeline::fakes::channel;
use crate::pipeline::fakes::watched;
use bytes::{BufMut, Bytes};
use jetstream::topology::TopologyError;
use jetstream::{AckPolicy, Incoming, NotConnected, Status, Subjects};
use tokio::sync::Notify;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::*;
use crate::pipeline::fakes::log::FakeLog;
use crate::pipeline::fakes::scene::Scene;
use crate::pipeline::fakes::streams::FakeConnection;
use crate::pipeline::fakes::{heartbeat, reply, signal, source};
use crate::pipeline::port::connection::{Connection, NotConfirmed, Replies};

/// A consumer that sends what a test gives it.
#[derive(Debug, Clone)]
struct FakePulls {
    connection: Arc<FakeConnection>,
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Messages on their way.
    sent: Mutex<VecDeque<PulledMessage>>,
    more: Notify,
    /// Pulls that were asked for.
    requests: Mutex<Vec<Bytes>>,
    subscriptions: Mutex<usize>,
}

struct FakeInbox(Arc<Inner>);

impl Subscription for FakeInbox {
    fn inbox(&self) -> &str {
        "inbox"
    }

    async fn receive(&mut self, chunk: &mut Vec<PulledMessage>, max: usize) -> Option<()> {
        loop {
            let more = self.0.more.notified();
            let mut sent = std::mem::take(&mut *self.0.sent.lock().unwrap());
            if !sent.is_empty() {
                let rest = sent.split_off(sent.len().min(max - chunk.len()));
                chunk.extend(sent);
                *self.0.sent.lock().unwrap() = rest;
                return Some(());
            }
            more.await;
        }
    }

    fn take_received(&mut self) -> Vec<PulledMessage> {
        self.0.sent.lock().unwrap().drain(..).collect()
    }

    fn drain(&mut self) -> Result<(), NotConnected> {
        Ok(())
    }
}

impl Connection for FakePulls {
    fn is_connected(&self) -> bool {
        self.connection.is_connected()
    }

    fn connects(&self) -> u64 {
        self.connection.connects()
    }
}

impl Replies for FakePulls {
    async fn send(&self, replies: Subjects, payload: &'static [u8], connects: Option<u64>) {
        self.connection.send(replies, payload, connects).await;
    }

    async fn confirmed(&self) -> Result<(), NotConfirmed> {
        self.connection.confirmed().await
    }
}

impl Pulls for FakePulls {
    type Subscription = FakeInbox;

    async fn find_source(&self) -> Result<SignalSource, TopologyError> {
        Ok(SignalSource {
            connects: self.connects(),
            ..source(AckPolicy::Explicit)
        })
    }

    fn subscribe(&self) -> Result<FakeInbox, NotConnected> {
        *self.inner.subscriptions.lock().unwrap() += 1;
        Ok(FakeInbox(Arc::clone(&self.inner)))
    }

    async fn request(&self, _inbox: &str, request: Bytes) -> Result<(), NotConnected> {
        self.inner.requests.lock().unwrap().push(request);
        Ok(())
    }

    async fn ask(&self, _inbox: &str) -> Result<(), NotConnected> {
        self.send_all([read("MSG inbox 1 2\r\n{}\r\n".to_owned())]);
        Ok(())
    }
}

impl FakePulls {
    fn send_all(&self, messages: impl IntoIterator<Item = PulledMessage>) {
        self.inner.sent.lock().unwrap().extend(messages);
        self.inner.more.notify_one();
    }
}

/// The message in a server's bytes.
fn read(bytes: String) -> PulledMessage {
    let (mut incoming, mut messages) = (Incoming::new(1_000), Vec::new());
    incoming.buffer().put_slice(bytes.as_bytes());
    incoming.parse(&mut messages, &mut Vec::new()).unwrap();
    messages.pop().unwrap().1
}

/// A message as the consumer sends it.
fn message(stream_seq: u64) -> PulledMessage {
    let (reply, body) = (reply(stream_seq), signal("{}"));
    let body = std::str::from_utf8(&body).unwrap();
    read(format!(
        "MSG signals.t 1 {reply} {}\r\n{body}\r\n",
        body.len()
    ))
}

/// A status as the consumer sends it.
fn status(code: u16, description: &str) -> PulledMessage {
    let block = format!("NATS/1.0 {code} {description}\r\n\r\n");
    let bytes = block.len();
    read(format!("HMSG inbox 1 {bytes} {bytes}\r\n{block}\r\n"))
}

struct Pulling {
    pulls: FakePulls,
    log: Arc<FakeLog>,
    in_flight: &'static InFlight,
    deliveries: Receiver<DeliveryChunk>,
    halt: watch::Sender<Halt>,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Pulling {
    /// Pulls two messages at a time, with room for four.
    fn start() -> Self {
        let scene = Scene::new();
        let mut settings = Settings::default();
        settings.consumer.fetch_messages = 2;
        settings.consumer.fetch_bytes = 1_000;
        // The longest silence: 10 s.
        settings.consumer.fetch_expires = Duration::from_secs(60);
        let in_flight = InFlight::new(4, 2_000);
        let pulls = FakePulls {
            connection: scene.connection.clone(),
            inner: Arc::default(),
        };
        let (sender, deliveries) = channel(100);
        let (halt, halted) = watched(None);
        let pull = Pull {
            pulls: pulls.clone(),
            settings: Arc::new(settings),
            source: CurrentSource::new(scene.connection.clone(), source(AckPolicy::Explicit)),
            in_flight,
            deliveries: sender,
            halt: halted,
            metrics: scene.insert.ops.metrics.pipeline.clone(),
            process: scene.log.clone(),
            shutdown: scene.insert.shutdown.clone(),
            heartbeat: heartbeat(),
        };
        Self {
            pulls,
            log: scene.log,
            in_flight,
            deliveries,
            halt,
            shutdown: scene.insert.shutdown,
            running: tokio::spawn(pull.run()),
        }
    }

    fn requests(&self) -> usize {
        self.pulls.inner.requests.lock().unwrap().len()
    }

    async fn next(&mut self) -> Option<DeliveryChunk> {
        timeout(Duration::from_secs(1), self.deliveries.recv())
            .await
            .ok()?
    }
}

fn sequences(chunk: &DeliveryChunk) -> Vec<u64> {
    let all = chunk.deliveries.iter();
    all.map(|one| one.position.stream_seq).collect()
}

#[tokio::test(start_paused = true)]
async fn a_pull_asks_for_no_more_than_there_is_room_for() {
    let mut pulling = Pulling::start();
    sleep(UNWATCHED).await;
    assert_eq!(pulling.requests(), 1);
    pulling.pulls.send_all([message(1), message(2)]);
    let first = pulling.next().await.unwrap();
    assert_eq!(sequences(&first), [1, 2]);
    assert_eq!(first.consumer_seq, Some(2));
    assert_eq!(pulling.requests(), 2);
    pulling.pulls.send_all([message(3), message(4)]);
    let second = pulling.next().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(pulling.requests(), 2, "four messages are held");
    let leases = first.deliveries.into_iter().map(|one| one.lease);
    pulling.in_flight.settle(leases.collect());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(pulling.requests(), 3);
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_has_ended_gives_its_room_back_and_is_followed_by_another() {
    let mut pulling = Pulling::start();
    pulling
        .pulls
        .send_all([message(1), status(408, "Request Timeout")]);
    let held = pulling.next().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(pulling.requests(), 2);
    assert_eq!(*pulling.pulls.inner.subscriptions.lock().unwrap(), 1);
    assert_eq!(pulling.in_flight.messages(), 1);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_while_inserts_are_halted() {
    let pulling = Pulling::start();
    sleep(UNWATCHED).await;
    pulling.halt.send_replace(Some("the disk is full".into()));
    pulling.pulls.send_all([status(408, "Request Timeout")]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(pulling.requests(), 1);
    pulling.halt.send_replace(None);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(pulling.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_counts_from_the_start_again_is_looked_up_first() {
    let mut pulling = Pulling::start();
    pulling.pulls.send_all([message(7)]);
    let first = pulling.next().await.unwrap();
    // The consumer was recreated: its second message has a number that the first is above.
    pulling.pulls.send_all([message(3)]);
    assert!(pulling.next().await.is_none());
    let given_back = timeout(Duration::from_secs(1), pulling.in_flight.given_back());
    assert_eq!(given_back.await.unwrap(), Subjects::from_iter([reply(3)]));
    assert!(pulling.log.is_rechecked());
    sleep(Duration::from_secs(6)).await;
    assert_eq!(*pulling.pulls.inner.subscriptions.lock().unwrap(), 2);
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn messages_that_came_before_a_reconnect_are_given_back() {
    let mut pulling = Pulling::start();
    // Before the next look at the connection.
    sleep(RECONNECT_POLL / 2).await;
    pulling.pulls.connection.reconnect();
    pulling.pulls.send_all([message(1)]);
    assert!(pulling.next().await.is_none());
    let given_back = timeout(Duration::from_secs(1), pulling.in_flight.given_back());
    assert_eq!(given_back.await.unwrap(), Subjects::from_iter([reply(1)]));
    assert!(
        !pulling.log.is_rechecked(),
        "a connect is checked in any case"
    );
    pulling.pulls.send_all([message(2)]);
    let next = timeout(Duration::from_secs(10), pulling.deliveries.recv());
    assert_eq!(sequences(&next.await.unwrap().unwrap()), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_shows_no_sign_of_life_is_asked_anew() {
    let pulling = Pulling::start();
    sleep(Duration::from_secs(60)).await;
    assert!(*pulling.pulls.inner.subscriptions.lock().unwrap() > 1);
}

#[tokio::test(start_paused = true)]
async fn messages_on_their_way_at_a_stop_are_handed_on() {
    let mut pulling = Pulling::start();
    sleep(UNWATCHED).await;
    pulling.shutdown.cancel();
    sleep(Duration::from_millis(10)).await;
    pulling.pulls.send_all([message(1)]);
    assert_eq!(sequences(&pulling.next().await.unwrap()), [1]);
    (&mut pulling.running).await.unwrap();
    assert_eq!(pulling.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_connection_nothing_is_asked_for() {
    let pulling = Pulling::start();
    sleep(UNWATCHED).await;
    let connection = &pulling.pulls.connection;
    connection.is_connected.store(false, Ordering::Relaxed);
    pulling.pulls.send_all([status(408, "Request Timeout")]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(pulling.requests(), 1);
}

#[test]
fn a_status_ends_a_pull_or_says_nothing_of_it() {
    let end = |code, description: &str| {
        let description = description.to_owned();
        ending(&Status { code, description })
    };
    assert!(end(100, "Idle Heartbeat").is_none());
    assert!(end(409, "Batch Completed").is_none());
    for (code, description) in [
        (404, "No Messages"),
        (408, "Request Timeout"),
        (409, "Message Size Exceeds MaxBytes"),
    ] {
        assert!(
            matches!(end(code, description), Some(Ok(End::Done))),
            "{code}"
        );
    }
    for (code, description) in [
        (400, "Bad Request"),
        (409, "Consumer Deleted"),
        (409, "Consumer is push based"),
        (409, "Exceeded MaxWaiting"),
        (409, "Leadership Change"),
        (409, "Server Shutdown"),
        (423, "Nats-Pin-Id mismatch"),
        (503, ""),
    ] {
        let ended = end(code, description);
        assert!(
            matches!(ended, Some(Err(PullError::Ended(_)))),
            "{code} {description}"
        );
    }
}

/// The headers of a publisher are no status: a delivery has a reply.
#[tokio::test(start_paused = true)]
async fn a_message_with_the_headers_of_a_status_is_handed_on() {
    let mut pulling = Pulling::start();
    let block = "NATS/1.0 409 Consumer Deleted\r\n\r\n";
    let (reply, bytes) = (reply(1), block.len());
    let forged = format!("HMSG signals.t 1 {reply} {bytes} {bytes}\r\n{block}\r\n");
    pulling.pulls.send_all([read(forged)]);
    let chunk = pulling.next().await.unwrap();
    assert_eq!(sequences(&chunk), [1]);
    let headers = chunk.deliveries[0].headers().unwrap();
    assert_eq!(headers.bytes().as_ref(), block.as_bytes());
}

/// At a stop, too: what follows a message with a lower number is of the other consumer.
#[tokio::test(start_paused = true)]
async fn a_stop_hands_on_nothing_of_a_consumer_that_counts_from_the_start_again() {
    let mut pulling = Pulling::start();
    pulling.pulls.send_all([message(7), message(8)]);
    let first = pulling.next().await.unwrap();
    sleep(Duration::from_millis(10)).await;
    pulling.shutdown.cancel();
    sleep(Duration::from_millis(10)).await;
    pulling.pulls.send_all([message(3)]);
    // Until after the next question, so that the next message comes by itself.
    sleep(RECONNECT_POLL * 2).await;
    pulling.pulls.send_all([message(4)]);
    let handed_on = pulling.next().await;
    assert!(handed_on.is_none(), "{handed_on:?}");
    let given_back = pulling.in_flight.given_back().await;
    assert_eq!(given_back, Subjects::from_iter([reply(3), reply(4)]));
    drop(first);
}
