//! Messages that are delivered too often, such as one that ends the daemon each time.

use std::time::Duration;

use async_nats::jetstream::{Message, consumer::PullConsumer, stream::Stream};
use futures_util::StreamExt;
use risksignal::command::log_lines::STARTING;
use risksignal::pipeline::log_lines::{ADVISORIES_LOST, EXHAUSTED_GONE, EXHAUSTED_STORED};
use testkit::nats::{ADVISORIES, CLAIMS, CONSUMER, DEAD_LETTERS, STREAM, header};
use testkit::raw_nats::RawNats;
use testkit::signals::signal;
use testkit::{Daemon, Stack, eventually, setting};
use tokio::time::sleep;

const SHORT: [(&str, &str); 4] = [
    setting!(consumer.ack_wait = "2s"),
    setting!(consumer.max_deliver = "3"),
    setting!(clickhouse.send_timeout = "500ms"),
    setting!(clickhouse.end_timeout = "1s"),
];
const ONCE: (&str, &str) = setting!(consumer.max_deliver = "1");

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
    doomed.logged(STARTING).await;
    publish(&stack, "signals.x", 1).await;
    doomed.ended().await;
    let daemon = stack.daemon(&settings).await;
    daemon.logged(EXHAUSTED_STORED).await;
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
    daemon.logged(EXHAUSTED_GONE).await;
    assert_settled(&stack).await;
    assert!(stack.nats.messages(DEAD_LETTERS).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_advisories_are_reported_and_their_messages_land_through_a_new_consumer() {
    let stack = Stack::start().await;
    let settings = SHORT.to_vec();
    let stream = given_up(&stack, &settings, 3).await;
    let jetstream = stack.nats.jetstream().await;
    let advisories = jetstream.get_stream(ADVISORIES).await.unwrap();
    advisories.purge().await.unwrap();
    let mut daemon = stack.daemon(&settings).await;
    let printed = daemon.logged(ADVISORIES_LOST).await;
    assert_eq!(printed["count"], 1);
    let check = async || {
        let output = stack.risksignal(&["check"]).await;
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let (status, text) = check().await;
    assert_eq!(status, Some(1), "{text}");
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

/// The ack floor passes a message that JetStream has given up on, and the claims log begins there.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_given_up_lands_although_the_claims_log_begins_behind_it() {
    let stack = Stack::start().await;
    let settings = [
        SHORT.as_slice(),
        &[
            ONCE,
            setting!(consumer.ack_wait = "6s"),
            setting!(clickhouse.fence = "3s"),
            setting!(clickhouse.late_commit = "1s"),
        ],
    ]
    .concat();
    given_up(&stack, &settings, 1).await;
    // Its advisory comes again much later.
    die_with_the_next(&stack, &settings).await;
    publish(&stack, "signals.y", 2).await;
    let mut daemon = stack.daemon(&settings).await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    assert_eq!(stack.clickhouse.counts().await, (1, 1));
    let consumer = stack.nats.consumer().await.unwrap();
    assert_eq!(consumer.ack_floor.stream_sequence, 2);
    let jetstream = stack.nats.jetstream().await;
    jetstream.delete_stream(CLAIMS).await.unwrap();
    let _daemon = stack.daemon(&settings).await;
    assert_settled(&stack).await;
    eventually("it has landed", async || {
        (stack.clickhouse.counts().await == (2, 2)).then_some(())
    })
    .await;
    assert!(stack.nats.messages(DEAD_LETTERS).await.is_empty());
}

/// A header that is no UTF-8, which no client library reads.
const UNREADABLE: &[u8] = b"NATS/1.0\r\nk\xe9y: value\r\ntraceparent: 00-abc\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_one_with_unreadable_headers_becomes_a_letter_that_keeps_them() {
    let stack = Stack::start().await;
    let mut daemon = stack.daemon(&SHORT).await;
    publish(&stack, "signals.x", 1).await;
    stack.settled().await;
    let mut raw = RawNats::connect(&stack.nats.url());
    raw.publish("signals.y", Some(UNREADABLE), b"body").unwrap();
    letters(&stack, 1).await;
    publish(&stack, "signals.x", 2).await;
    assert_settled(&stack).await;
    assert_eq!(stack.clickhouse.counts().await, (2, 2));
    daemon.assert_running();
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(header(&letters[0], "Risksignal-Reason"), "not_json");
    assert_eq!(letters[0].payload, [UNREADABLE, b"body"].concat());
    let raw = stack
        .risksignal(&["dead-letters", "show", "1", "--raw"])
        .await;
    assert_eq!(raw.stdout, b"body");
    let shown = stack.risksignal(&["dead-letters", "show", "1"]).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("  traceparent: 00-abc\n"), "{shown}");
}
