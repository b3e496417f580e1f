//! Letters, and messages in hand, that look otherwise to the process that goes on with them: it
//! has other settings, nats-server takes messages of another size, or the stream has them no more.

use claims::RecordBody;
use risksignal::command::log_lines::STARTING;
use risksignal::pipeline::log_lines::LETTER_NOT_PUBLISHED;
use testkit::nats::{CLAIMS, DEAD_LETTERS, STREAM, header};
use testkit::signals::signal;
use testkit::{Daemon, Stack, eventually, setting};
use tokio::time::{Duration, sleep};

use crate::takeover::usual;

/// Bytes of a message that is no signal, and of the largest message later on.
const LARGE: usize = 600_000;
const SIZE: (&str, u64) = ("--max-payload=256KB", 256 * 1024);

async fn publish(stack: &Stack, body: String) -> u64 {
    let nats = stack.nats.jetstream().await;
    let sent = nats.publish("signals.risk_event", body.into()).await;
    sent.unwrap().await.unwrap().sequence
}

/// A daemon that is killed when a letter is stored and its claim is open.
async fn killed_with_a_letter(stack: &Stack, body: String) {
    let arguments = ["run", "--fault-point", "letter-published"];
    let environment = stack.environment(&usual(&[]));
    let mut dying = Daemon::spawn(&arguments, &environment, &stack.work_dir());
    dying.logged(STARTING).await;
    publish(stack, body).await;
    dying.ended().await;
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_is_stored_under_another_prefix_is_not_stored_again() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let config = async_nats::jetstream::stream::Config {
        name: DEAD_LETTERS.to_owned(),
        subjects: vec!["dlq.signals.>".to_owned(), "morgue.signals.>".to_owned()],
        // A letter's id is forgotten by the next start.
        duplicate_window: Duration::from_millis(100),
        ..Default::default()
    };
    let nats = stack.nats.jetstream().await;
    nats.create_stream(config).await.unwrap();
    killed_with_a_letter(&stack, "bad".to_owned()).await;
    sleep(Duration::from_secs(1)).await;
    let prefix = setting!(dead_letters.subject_prefix = "morgue");
    let _next = stack.daemon(&usual(&[prefix])).await;
    stack.settled().await;
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    let subjects: Vec<_> = letters.iter().map(|letter| &letter.subject).collect();
    assert_eq!(letters.len(), 1, "{subjects:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_would_be_cut_otherwise_now_is_not_stored_again() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    killed_with_a_letter(&stack, "x".repeat(LARGE)).await;
    stack.nats.kill();
    stack.nats.restart_with(&[SIZE.0]).await;
    let _next = stack.daemon(&usual(&[])).await;
    stack.settled().await;
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    let subjects: Vec<_> = letters.iter().map(|letter| &letter.subject).collect();
    assert_eq!(letters.len(), 1, "{subjects:?}");
}

/// A daemon holds a letter that is larger than messages may be from now on.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_starts_again_when_messages_may_have_another_size() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let mut daemon = stack.daemon(&usual(&[])).await;
    stack.nats.bound_stream(DEAD_LETTERS, |_| 1).await;
    publish(&stack, "x".repeat(LARGE)).await;
    daemon.logged(LETTER_NOT_PUBLISHED).await;
    stack.nats.kill();
    stack.nats.restart_with(&[SIZE.0]).await;
    stack.nats.bound_stream(DEAD_LETTERS, |_| -1).await;
    assert_eq!(daemon.ended().await.code(), Some(75));
    let _next = stack.daemon(&usual(&[])).await;
    stack.settled().await;
    let letters = stack.nats.messages(DEAD_LETTERS).await;
    assert!(letters.len() > 2, "{}", letters.len());
    for (index, letter) in letters.iter().enumerate() {
        let part = format!("{}/{}", index + 1, letters.len());
        assert_eq!(header(letter, "Risksignal-Part"), part);
        assert!((letter.payload.len() as u64) < SIZE.1);
    }
}

/// Two daemons wait for room for one letter. One stores it, and an operator removes it at once, as
/// a replay does.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_whose_claim_another_has_completed_is_not_stored_again() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let mut daemons = Vec::new();
    for pause in ["500ms", "10s"] {
        let pauses = [
            setting!(clickhouse.retry_min = pause),
            setting!(clickhouse.retry_max = pause),
        ];
        daemons.push(stack.daemon(&usual(&pauses)).await);
    }
    stack.nats.bound_stream(DEAD_LETTERS, |_| 1).await;
    publish(&stack, "bad".to_owned()).await;
    for daemon in &daemons {
        daemon.logged(LETTER_NOT_PUBLISHED).await;
    }
    stack.nats.bound_stream(DEAD_LETTERS, |_| -1).await;
    eventually("the letter is stored", async || {
        (stack.nats.messages_left(DEAD_LETTERS).await == 1).then_some(())
    })
    .await;
    // The log has the end of its claim.
    sleep(Duration::from_millis(300)).await;
    let nats = stack.nats.jetstream().await;
    let letters = nats.get_stream(DEAD_LETTERS).await.unwrap();
    letters.purge().await.unwrap();
    // The other one's pause is over within this time.
    sleep(Duration::from_secs(10)).await;
    stack.settled().await;
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 0);
}

/// The ranges of sequences that the claims log takes for absent.
async fn absent(stack: &Stack) -> Vec<(u64, u64)> {
    let records = stack.nats.messages(CLAIMS).await;
    let bodies = records
        .iter()
        .map(|record| claims::decode(&record.payload).unwrap().body);
    bodies
        .filter_map(|body| match body {
            RecordBody::Absent { first, last, .. } => Some((first, last)),
            _ => None,
        })
        .collect()
}

/// A message is removed from the stream while it is held and not claimed yet.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_stream_removes_while_it_is_held_needs_its_claim_all_the_same() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let arguments = ["run", "--fault-point", "hang@before-claim"];
    let environment = stack.environment(&usual(&[]));
    let mut holding = Daemon::spawn(&arguments, &environment, &stack.work_dir());
    holding.logged(STARTING).await;
    let held = publish(&stack, signal(0).to_string()).await;
    eventually("it is held", async || {
        let consumer = stack.nats.consumer().await?;
        (consumer.num_ack_pending == 1).then_some(())
    })
    .await;
    let nats = stack.nats.jetstream().await;
    let stream = nats.get_stream(STREAM).await.unwrap();
    assert!(stream.delete_message(held).await.unwrap());
    stack.produce(&["--count=10", "--seed=1"]).await;
    eventually("others land", async || {
        (stack.clickhouse.counts().await == (10, 10)).then_some(())
    })
    .await;
    // The floor is looked after every second.
    sleep(Duration::from_secs(5)).await;
    assert_eq!(absent(&stack).await, []);
    // Once nobody holds it, it is gone.
    holding.kill();
    let _next = stack.daemon(&usual(&[])).await;
    eventually("it is absent", async || {
        (absent(&stack).await == [(held, held)]).then_some(())
    })
    .await;
}
