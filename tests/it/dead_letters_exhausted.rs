//! Messages that are delivered too often, such as one that ends the daemon each time.

use std::time::Duration;

use async_nats::jetstream::{Message, consumer::PullConsumer, stream::Stream};
use futures_util::StreamExt;
use tokio::time::sleep;

use crate::harness::nats::{ADVISORIES, CONSUMER, DEAD_LETTERS, STREAM, header};
use crate::harness::raw_nats::RawNats;
use crate::harness::signals::signal;
use crate::harness::{Daemon, Stack, eventually};

const SHORT: [(&str, &str); 4] = [
    ("RISKSIGNAL__CONSUMER__ACK_WAIT", "2s"),
    ("RISKSIGNAL__CONSUMER__MAX_DELIVER", "3"),
    ("RISKSIGNAL__CLICKHOUSE__SEND_TIMEOUT", "500ms"),
    ("RISKSIGNAL__CLICKHOUSE__END_TIMEOUT", "1s"),
];
const ONCE: (&str, &str) = ("RISKSIGNAL__CONSUMER__MAX_DELIVER", "1");

async fn publish(stack: &Stack, subject: &'static str, number: u64) -> String {
    let nats = stack.nats.jetstream().await;
    let body = signal(number).to_string();
    let publish = nats.publish(subject, body.clone().into());
    publish.await.unwrap().await.unwrap();
    body
}

/// Runs a daemon that ends, as in a crash, with the next message on `signals.x`.
async fn die_with_the_next(stack: &Stack, settings: &[(&str, &str)]) {
    let arguments = ["run", "--fault-point", "decoding:signals.x"];
    let mut daemon = Daemon::spawn(&arguments, &stack.environment(settings), &stack.work_dir());
    let status = daemon.ended().await;
    assert!(status.code().is_none(), "{status:?}");
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

/// Has the server give up on a message that daemons died with, and keep the advisory.
async fn given_up(stack: &Stack, settings: &[(&str, &str)], max_deliver: u64) -> Stream {
    assert!(stack.daemon(settings).await.stop().await.success());
    publish(stack, "signals.x", 1).await;
    for _ in 0..max_deliver {
        die_with_the_next(stack, settings).await;
    }
    let jetstream = stack.nats.jetstream().await;
    let stream = jetstream.get_stream(STREAM).await.unwrap();
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
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_signal_whose_daemons_were_killed_too_often_lands_once() {
    let stack = Stack::start().await;
    assert!(stack.daemon(&SHORT).await.stop().await.success());
    publish(&stack, "signals.x", 1).await;
    for _ in 0..3 {
        die_with_the_next(&stack, &SHORT).await;
    }
    // Two instances share the advisories as they share the signals.
    let _one = stack.daemon(&SHORT).await;
    let _two = stack.daemon(&SHORT).await;
    stack.produce(&["--count=500", "--seed=1"]).await;
    eventually("it has landed", async || {
        (stack.clickhouse.counts().await == (501, 501)).then_some(())
    })
    .await;
    assert_settled(&stack).await;
    assert_eq!(stack.clickhouse.counts().await, (501, 501));
    assert!(stack.nats.messages(DEAD_LETTERS).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_ends_the_daemon_each_time_becomes_one_letter_and_its_neighbours_land() {
    let stack = Stack::start().await;
    let settings = SHORT;
    assert!(stack.daemon(&settings).await.stop().await.success());
    for number in 1..=10 {
        publish(&stack, "signals.x", number).await;
    }
    let body = publish(&stack, "signals.poison", 11).await;
    for number in 12..=20 {
        publish(&stack, "signals.x", number).await;
    }
    let arguments = ["run", "--fault-point", "decoding:signals.poison"];
    let environment = stack.environment(&settings);
    let doomed = || Daemon::spawn(&arguments, &environment, &stack.work_dir());
    let mut daemon = doomed();
    let mut ends = 0;
    let letters = loop {
        tokio::select! {
            status = daemon.ended() => {
                assert!(status.code().is_none(), "{status:?}");
                ends += 1;
                daemon = doomed();
            }
            letters = letters(&stack, 1) => break letters,
        }
    };
    assert_settled(&stack).await;
    assert!(ends > 3, "it ended the daemon when it was tried alone too");
    assert_eq!(stack.clickhouse.counts().await, (19, 19));
    assert_eq!(stack.nats.messages(DEAD_LETTERS).await.len(), 1);
    let letter = &letters[0];
    assert!(letter.subject.starts_with("dlq.signals.poison."));
    assert_eq!(letter.payload, body);
    for (name, value) in [
        ("Risksignal-Reason", "max_deliveries"),
        ("Risksignal-Subject", "signals.poison"),
        ("Risksignal-Stream", "SIGNALS"),
        ("Risksignal-Sequence", "11"),
        ("Risksignal-Attempts", "3"),
    ] {
        assert_eq!(header(letter, name), value, "{name}");
    }

    // Replayed to a daemon that lives, it lands.
    daemon.kill();
    let _daemon = stack.daemon(&settings).await;
    let replayed = stack.risksignal(&["dead-letters", "replay", "--all"]).await;
    assert!(replayed.status.success(), "{replayed:?}");
    eventually("it has landed", async || {
        (stack.clickhouse.counts().await == (20, 20)).then_some(())
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
    publish(&stack, "signals.x", 1).await;
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
    let stream = given_up(&stack, &settings, 1).await;
    stream.delete_message(1).await.unwrap();
    let daemon = stack.daemon(&settings).await;
    daemon
        .logged("Message was delivered too often, but is not in the stream any more, or delivered anew by a new consumer; it gets no dead letter")
        .await;
    assert_settled(&stack).await;
    assert!(stack.nats.messages(DEAD_LETTERS).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_advisories_are_told_and_their_messages_land_through_a_new_consumer() {
    let stack = Stack::start().await;
    let settings = SHORT.to_vec();
    let stream = given_up(&stack, &settings, 3).await;
    let jetstream = stack.nats.jetstream().await;
    let advisories = jetstream.get_stream(ADVISORIES).await.unwrap();
    advisories.purge().await.unwrap();
    let mut daemon = stack.daemon(&settings).await;
    let told = daemon
        .logged("Messages were delivered too often, and the advisories on them are lost; they may have neither row nor dead letter")
        .await;
    assert_eq!(told["count"], 1);
    let check = async || {
        let output = stack.risksignal(&["check"]).await;
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    const CONSUMER_WRONG: i32 = 4;
    let (status, text) = check().await;
    assert_eq!(status, Some(CONSUMER_WRONG), "{text}");
    assert!(
        text.contains("the advisories on 1 of them are lost"),
        "{text}"
    );

    publish(&stack, "signals.x", 2).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (1, 1));
    assert!(daemon.stop().await.success());
    stream.delete_consumer(CONSUMER).await.unwrap();
    let _daemon = stack.daemon(&settings).await;
    eventually("it has landed", async || {
        (stack.clickhouse.counts().await == (2, 2)).then_some(())
    })
    .await;
    assert_settled(&stack).await;
    assert_eq!(stack.clickhouse.counts().await, (2, 2));
    let (status, text) = check().await;
    assert_eq!(status, Some(0), "{text}");
}

/// A header that is no UTF-8: the client library gives its connection up.
const BREAKS_CONNECTION: &[u8] = b"NATS/1.0\r\nk\xe9y: value\r\ntraceparent: 00-abc\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_breaks_the_connection_lands_and_so_do_its_neighbours() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&SHORT).await;
    assert!(daemon.stop().await.success());
    let mut raw = RawNats::connect(&stack.nats.url());
    for number in 1..=41 {
        let block = (number == 21).then_some(BREAKS_CONNECTION);
        let body = signal(number).to_string();
        raw.publish("signals.x", block, body.as_bytes()).unwrap();
    }
    let mut daemon = stack.daemon(&SHORT).await;
    eventually("all have landed", async || {
        (stack.clickhouse.counts().await == (41, 41)).then_some(())
    })
    .await;
    assert_settled(&stack).await;
    assert_eq!(stack.clickhouse.counts().await, (41, 41));
    assert!(stack.nats.messages(DEAD_LETTERS).await.is_empty());
    let alone = daemon
        .lines()
        .into_iter()
        .filter(|line| line["message"] == "Message was delivered too often; it is tried alone");
    assert!(alone.count() > 1, "its neighbours shared its fate");
    daemon.assert_running();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_one_that_breaks_the_connection_becomes_a_letter_with_its_own_reason() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&SHORT).await;
    publish(&stack, "signals.x", 1).await;
    stack.settled().await;
    let mut raw = RawNats::connect(&stack.nats.url());
    raw.publish("signals.y", Some(BREAKS_CONNECTION), b"body")
        .unwrap();
    letters(&stack, 1).await;
    publish(&stack, "signals.x", 2).await;
    assert_settled(&stack).await;
    assert_eq!(stack.clickhouse.counts().await, (2, 2));
    daemon.assert_running();
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(header(&letters[0], "Risksignal-Reason"), "not_json");
    assert_eq!(letters[0].payload, [BREAKS_CONNECTION, b"body"].concat());
    let raw = stack
        .risksignal(&["dead-letters", "show", "1", "--raw"])
        .await;
    assert_eq!(raw.stdout, b"body");
    let shown = stack.risksignal(&["dead-letters", "show", "1"]).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("  traceparent: 00-abc\n"), "{shown}");
}
