//! Messages that are delivered too often, such as one that ends the daemon each time.

use std::time::Duration;

use async_nats::jetstream::{Message, consumer::PullConsumer};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::harness::nats::{CONSUMER, DEAD_LETTERS, STREAM, header};
use crate::harness::signals::signal;
use crate::harness::{Daemon, Stack, eventually};

const ADVISORIES: &str = "SIGNALS_DLQ_ADVISORIES_signals-to-clickhouse";
/// How long a message is held before its insert, for a test to kill the daemon meanwhile.
const SHORT: [(&str, &str); 5] = [
    ("RISKSIGNAL__CONSUMER__ACK_WAIT", "2s"),
    ("RISKSIGNAL__CONSUMER__MAX_DELIVER", "3"),
    ("RISKSIGNAL__CLICKHOUSE__SEND_TIMEOUT", "500ms"),
    ("RISKSIGNAL__CLICKHOUSE__END_TIMEOUT", "1s"),
    ("RISKSIGNAL__BATCH__MAX_WAIT", "1s"),
];
const ONCE: (&str, &str) = ("RISKSIGNAL__CONSUMER__MAX_DELIVER", "1");

async fn publish(stack: &Stack, number: u64) -> String {
    let nats = stack.nats.jetstream().await;
    let body = signal(number).to_string();
    let publish = nats.publish("signals.x", body.clone().into());
    publish.await.unwrap().await.unwrap();
    body
}

/// Kills the daemon as soon as JetStream has delivered so often.
async fn kill_when_delivered(stack: &Stack, mut daemon: Daemon, deliveries: u64) {
    eventually("it is delivered", async || {
        let consumer = stack.nats.consumer().await?;
        (consumer.delivered.consumer_sequence >= deliveries).then_some(())
    })
    .await;
    daemon.kill();
}

async fn letters(stack: &Stack, count: usize) -> Vec<Message> {
    eventually("the dead letters are there", async || {
        let letters = stack.nats.messages(DEAD_LETTERS).await;
        (letters.len() >= count).then_some(letters)
    })
    .await
}

/// Waits until no advisory is left, and expects nothing pending on the consumer.
async fn assert_settled(stack: &Stack) {
    eventually("no advisory is left", async || {
        (stack.nats.messages_left(ADVISORIES).await == 0).then_some(())
    })
    .await;
    stack.settled().await;
    eventually("its deliveries are forgotten", async || {
        let consumer = stack.nats.consumer().await?;
        (consumer.num_redelivered == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_ends_the_daemon_each_time_goes_to_the_dead_letters_once() {
    let stack = Stack::start().await;
    let daemon = stack.daemon(&SHORT).await;
    let body = publish(&stack, 1).await;
    kill_when_delivered(&stack, daemon, 1).await;
    for deliveries in 2..=3 {
        let daemon = stack.daemon_not_waited_for(&SHORT);
        kill_when_delivered(&stack, daemon, deliveries).await;
    }
    // Two instances share the advisories as they share the signals.
    let _one = stack.daemon(&SHORT).await;
    let _two = stack.daemon(&SHORT).await;
    stack.produce(&["--count=500", "--seed=1"]).await;
    let letters = letters(&stack, 1).await;
    assert_settled(&stack).await;
    assert_eq!(stack.clickhouse.counts().await, (500, 500));
    assert_eq!(stack.nats.messages(DEAD_LETTERS).await.len(), 1);
    let letter = &letters[0];
    assert_eq!(letter.subject.as_str(), "dlq.signals.x");
    assert_eq!(letter.payload, body);
    for (name, value) in [
        ("Risksignal-Reason", "max_deliveries"),
        ("Risksignal-Subject", "signals.x"),
        ("Risksignal-Stream", "SIGNALS"),
        ("Risksignal-Sequence", "1"),
        ("Risksignal-Attempts", "3"),
    ] {
        assert_eq!(header(letter, name), value, "{name}");
    }

    // Replayed to a daemon that lives, it lands.
    let replayed = stack.risksignal(&["dead-letters", "replay", "--all"]).await;
    assert!(replayed.status.success(), "{replayed:?}");
    eventually("it has landed", async || {
        (stack.clickhouse.counts().await == (501, 501)).then_some(())
    })
    .await;
    assert!(stack.nats.messages(DEAD_LETTERS).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_delivered_too_often_but_has_landed_gets_no_letter() {
    let stack = Stack::start().await;
    let mut settings = SHORT.to_vec();
    settings.push(ONCE);
    let arguments = ["run", "--fault-point", "before-ack"];
    let environment = stack.environment(&settings);
    let mut doomed = Daemon::spawn(&arguments, &environment, &stack.work_dir());
    doomed.logged("Starting signals consumer").await;
    publish(&stack, 1).await;
    doomed.ended().await;
    let daemon = stack.daemon(&settings).await;
    daemon
        .logged("Message was delivered too often, but is in ClickHouse")
        .await;
    assert_settled(&stack).await;
    assert_eq!(stack.clickhouse.counts().await, (1, 1));
    assert!(stack.nats.messages(DEAD_LETTERS).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advisory_waits_for_a_daemon_and_is_dropped_when_its_message_is_gone() {
    let stack = Stack::start().await;
    let mut settings = SHORT.to_vec();
    settings.push(ONCE);
    let daemon = stack.daemon(&settings).await;
    publish(&stack, 1).await;
    kill_when_delivered(&stack, daemon, 1).await;
    let stream = stack
        .nats
        .jetstream()
        .await
        .get_stream(STREAM)
        .await
        .unwrap();
    let consumer: PullConsumer = stream.get_consumer(CONSUMER).await.unwrap();
    // The server gives up on the message at a pull after its ack wait.
    let advisories = eventually("the advisory is kept", async || {
        sleep(Duration::from_millis(200)).await;
        let mut pulled = consumer.fetch().messages().await.ok()?;
        assert!(pulled.next().await.is_none());
        let advisories = stack.nats.messages_left(ADVISORIES).await;
        (advisories > 0).then_some(advisories)
    })
    .await;
    assert_eq!(advisories, 1);
    stream.delete_message(1).await.unwrap();
    let daemon = stack.daemon(&settings).await;
    daemon
        .logged("Message was delivered too often, but is not in the stream any more, or delivered anew by a new consumer; it gets no dead letter")
        .await;
    assert_settled(&stack).await;
    assert!(stack.nats.messages(DEAD_LETTERS).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_breaks_the_connection_goes_to_the_dead_letters() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&SHORT).await;
    publish(&stack, 1).await;
    stack.settled().await;
    let block = b"NATS/1.0\r\nk\xe9y: value\r\ntraceparent: 00-abc\r\n\r\n";
    let address = stack.nats.url().replace("nats://", "");
    let mut raw = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut message = b"CONNECT {\"verbose\":false,\"headers\":true}\r\n".to_vec();
    message.extend(format!("HPUB signals.y {} {}\r\n", block.len(), block.len() + 4).bytes());
    message.extend([&block[..], b"body\r\nPING\r\n"].concat());
    raw.write_all(&message).await.unwrap();
    raw.flush().await.unwrap();
    letters(&stack, 1).await;
    publish(&stack, 2).await;
    assert_settled(&stack).await;
    assert_eq!(stack.clickhouse.counts().await, (2, 2));
    daemon.assert_running();
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(header(&letters[0], "Risksignal-Reason"), "max_deliveries");
    assert_eq!(letters[0].payload, [&block[..], b"body"].concat());
    let raw = stack
        .risksignal(&["dead-letters", "show", "1", "--raw"])
        .await;
    assert_eq!(raw.stdout, b"body");
    let shown = stack.risksignal(&["dead-letters", "show", "1"]).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("  traceparent: 00-abc\n"), "{shown}");
}
