//! A letter is replayed once: interrupted and run again, also long after the stream of signals
//! has forgotten the id, and side by side.

use std::process::Output;
use std::time::Duration;

use async_nats::jetstream::stream;
use futures_util::future::join_all;
use testkit::nats::{DEAD_LETTERS, STREAM};
use testkit::{Stack, risksignal};
use tokio::time::sleep;

/// Time for which the stream of signals remembers an id, and longer than that.
const WINDOW: Duration = Duration::from_secs(1);
const PAST_WINDOW: Duration = Duration::from_secs(2);

/// A stack without a daemon, with so many letters, and a stream of signals with a short window.
async fn letters(count: usize) -> Stack {
    letters_in(count, stream::Config::default()).await
}

/// Like [`letters`], in a stream of dead letters that is made so.
async fn letters_in(count: usize, dead_letters: stream::Config) -> Stack {
    let stack = Stack::start().await;
    let nats = stack.nats.jetstream().await;
    let dead_letters = stream::Config {
        name: DEAD_LETTERS.to_owned(),
        subjects: vec!["dlq.signals.>".to_owned()],
        ..dead_letters
    };
    nats.create_stream(dead_letters).await.unwrap();
    let signals = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["signals.>".to_owned()],
        duplicate_window: WINDOW,
        ..Default::default()
    };
    nats.create_stream(signals).await.unwrap();
    let mut daemon = stack.daemon(&[]).await;
    publish(&stack, "bad", count).await;
    stack.settled().await;
    assert!(daemon.stop().await.success());
    stack
}

async fn publish(stack: &Stack, body: &'static str, count: usize) {
    let nats = stack.nats.jetstream().await;
    let publishes = (0..count).map(|number| {
        let (nats, subject) = (nats.clone(), format!("signals.x{}", number % 3));
        async move {
            let publish = nats.publish(subject, body.into()).await;
            publish.unwrap().await.unwrap();
        }
    });
    join_all(publishes).await;
}

async fn replay(stack: &Stack, more: &[&str]) -> Output {
    let arguments = [&["dead-letters", "replay", "--all"], more].concat();
    risksignal(&arguments, &stack.environment(&[]), &stack.work_dir()).await
}

/// The messages of the stream of signals that replays have published, by letter.
async fn replayed(stack: &Stack) -> Vec<String> {
    let messages = stack.nats.messages(STREAM).await;
    let letters = messages.iter().filter_map(|message| {
        let letter = message.headers.as_ref()?.get("Risksignal-Replayed")?;
        Some(letter.to_string())
    });
    let mut letters: Vec<_> = letters.collect();
    letters.sort();
    letters
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_anywhere_and_run_again_later_publishes_once() {
    let stack = letters(1).await;
    for (fault_point, published) in [("replay-intended", 0), ("replay-published", 1)] {
        let output = replay(&stack, &["--fault-point", fault_point]).await;
        assert!(output.status.code().is_none(), "{fault_point}: {output:?}");
        assert_eq!(replayed(&stack).await.len(), published, "{fault_point}");
        // Others publish on the same subjects meanwhile.
        publish(&stack, "other", 30).await;
        sleep(PAST_WINDOW).await;
    }
    let output = replay(&stack, &[]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(replayed(&stack).await, ["1"]);
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_cannot_be_removed_is_published_once() {
    let keeps = stream::Config {
        deny_delete: true,
        ..Default::default()
    };
    let stack = letters_in(3, keeps).await;
    for _ in 0..3 {
        let output = replay(&stack, &[]).await;
        assert!(!output.status.success(), "{output:?}");
        sleep(PAST_WINDOW).await;
    }
    assert_eq!(replayed(&stack).await, ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_out_of_a_full_stream_loses_no_letter_and_says_what_helps() {
    for discard in [stream::DiscardPolicy::New, stream::DiscardPolicy::Old] {
        let full = stream::Config {
            max_messages: 3,
            discard,
            ..Default::default()
        };
        let stack = letters_in(3, full).await;
        let output = replay(&stack, &[]).await;
        assert!(!output.status.success(), "{discard:?}: {output:?}");
        let printed = String::from_utf8(output.stderr).unwrap();
        assert!(
            printed.contains("raise its max_msgs"),
            "{discard:?}: {printed}"
        );
        let left = stack.nats.messages_left(DEAD_LETTERS).await;
        assert_eq!((left, replayed(&stack).await.len()), (3, 0), "{discard:?}");

        let nats = stack.nats.jetstream().await;
        let info = nats.get_stream(DEAD_LETTERS).await.unwrap();
        let mut config = info.cached_info().config.clone();
        config.max_messages = 100;
        nats.update_stream(config).await.unwrap();
        let output = replay(&stack, &[]).await;
        assert!(output.status.success(), "{discard:?}: {output:?}");
        assert_eq!(replayed(&stack).await, ["1", "2", "3"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_side_by_side_that_are_killed_at_random_publish_once() {
    let stack = letters(60).await;
    for round in 0..4 {
        let kills = [
            format!("replay-intended:{}", 3 + round),
            format!("replay-published:{}", 5 + round),
        ];
        let killed = kills.iter().map(async |point| {
            replay(&stack, &["--fault-point", point]).await;
        });
        join_all(killed).await;
        sleep(PAST_WINDOW).await;
    }
    let outputs = join_all((0..3).map(|_| replay(&stack, &[]))).await;
    for output in outputs {
        assert!(output.status.success(), "{output:?}");
    }
    let once: Vec<String> = replayed(&stack).await;
    let mut distinct = once.clone();
    distinct.dedup();
    assert_eq!((once.len(), distinct.len()), (60, 60), "{once:?}");
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_stream_no_longer_knows_the_operator_decides() {
    let stack = letters(2).await;
    let output = replay(&stack, &["--seq=1", "--fault-point", "replay-published"]).await;
    assert!(output.status.code().is_none(), "{output:?}");
    let nats = stack.nats.jetstream().await;
    let signals = nats.get_stream(STREAM).await.unwrap();
    signals.purge().await.unwrap();
    let output = replay(&stack, &[]).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("1 of 2 dead letters were not replayed"),
        "{error}"
    );
    assert!(error.contains("--again"), "{error}");
    assert_eq!(replayed(&stack).await, ["2"]);
    sleep(PAST_WINDOW).await;
    let output = replay(&stack, &["--again"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(replayed(&stack).await, ["1", "2"]);
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_replay_is_no_letter_and_goes_with_its_own() {
    let stack = letters(2).await;
    let output = replay(&stack, &["--seq=1", "--fault-point", "replay-intended"]).await;
    assert!(output.status.code().is_none(), "{output:?}");
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 3);
    let listed = stack.risksignal(&["dead-letters", "list", "--json"]).await;
    assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().count(), 2);
    let shown = stack.risksignal(&["dead-letters", "show", "3"]).await;
    let error = String::from_utf8(shown.stderr).unwrap();
    assert!(error.contains("has no dead letter 3"), "{error}");
    let purge = ["dead-letters", "purge", "--yes", "--reason=not_json"];
    let purged = stack.risksignal(&purge).await;
    assert_eq!(purged.stdout, b"removed 2 dead letters\n");
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 0);
}

/// Publishes, as any publisher may, another message under the id that the replay of the first
/// letter has, on the letter's own subject.
async fn forge(stack: &Stack, body: &'static str) {
    let nats = stack.nats.jetstream().await;
    let created = nats.get_stream(DEAD_LETTERS).await.unwrap();
    let created = created.cached_info().created.unix_timestamp_nanos();
    let mut headers = async_nats::HeaderMap::new();
    let id = format!("replay-{DEAD_LETTERS}-{created}-1");
    headers.insert("Nats-Msg-Id", id.as_str());
    let publish = nats.publish_with_headers("signals.x0", headers, body.into());
    assert!(!publish.await.unwrap().await.unwrap().duplicate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_somebody_publishes_under_the_id_of_a_replay_costs_no_letter() {
    const WINDOW: Duration = Duration::from_secs(6);
    for is_interrupted in [false, true] {
        let stack = letters(1).await;
        let nats = stack.nats.jetstream().await;
        let signals = nats.get_stream(STREAM).await.unwrap();
        let mut config = signals.cached_info().config.clone();
        config.duplicate_window = WINDOW;
        nats.update_stream(config).await.unwrap();
        if is_interrupted {
            let output = replay(&stack, &["--fault-point", "replay-intended"]).await;
            assert!(output.status.code().is_none(), "{output:?}");
        }
        forge(&stack, "forged").await;
        let output = replay(&stack, &[]).await;
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{error}");
        assert!(error.contains("another message under the id"), "{error}");
        let listed = stack.risksignal(&["dead-letters", "list", "--json"]).await;
        assert_eq!(String::from_utf8(listed.stdout).unwrap().lines().count(), 1);
        // The stream forgets the id.
        sleep(WINDOW + Duration::from_secs(1)).await;
        let output = replay(&stack, &[]).await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(replayed(&stack).await, ["1"]);
        assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 0);
    }
}
