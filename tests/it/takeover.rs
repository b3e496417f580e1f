//! Claims that a killed daemon leaves open: another one completes them before the fence, or settles
//! them after, at whatever point the daemon died.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use risksignal::command::log_lines::STARTING;
use risksignal::pipeline::log_lines::{INSERTS_PROBE, LOST, SETTLED, TAKEN_OVER};
use testkit::nats::{CLAIMS, DEAD_LETTERS, STREAM};
use testkit::signals::signal;
use testkit::slow_link::SlowLink;
use testkit::{DEADLINE, Daemon, Stack, eventually, setting};
use tokio::time::{Instant, sleep};

const USUAL: [(&str, &str); 5] = [
    setting!(log.lines_per_second = "1000000"),
    setting!(consumer.ack_wait = "5s"),
    setting!(clickhouse.send_timeout = "1s"),
    setting!(clickhouse.end_timeout = "2s"),
    setting!(batch.max_wait = "100ms"),
];
/// The fence of a claim is over before another daemon takes it over.
pub const SHORT: [(&str, &str); 2] = [
    setting!(clickhouse.fence = "2s"),
    setting!(clickhouse.late_commit = "1s"),
];
/// Between two looks at what has landed.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Stacks at once.
const AT_ONCE: usize = 3;

/// Daemons that die one after the other, and what the survivor says.
struct Case {
    /// The fault point of each.
    points: &'static [&'static str],
    /// Signals, one of which the table refuses.
    has_refused: bool,
    more: &'static [(&'static str, &'static str)],
    /// A line of the survivor; none where no claim is left open.
    says: Option<&'static str>,
}

const fn case(points: &'static [&'static str], says: Option<&'static str>) -> Case {
    Case {
        points,
        has_refused: false,
        more: &[],
        says,
    }
}

pub fn usual<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [USUAL.as_slice(), more].concat()
}

fn doomed(stack: &Stack, point: &str, more: &[(&str, &str)]) -> Daemon {
    let arguments = ["run", "--fault-point", point];
    let environment = stack.environment(&usual(more));
    Daemon::spawn(&arguments, &environment, &stack.work_dir())
}

/// Publishes 20 signals and 5 messages that are none, all before the first answer, so that they
/// are delivered together also on a busy machine.
async fn publish(stack: &Stack, has_refused: bool) {
    let nats = stack.nats.jetstream().await;
    let mut sent = Vec::new();
    for number in 0..25 {
        let mut signal = signal(number);
        if has_refused && number == 3 {
            signal["source_id"] = "seven".into();
        }
        let body = if number % 5 == 4 {
            "bad".into()
        } else {
            signal.to_string().into()
        };
        sent.push(nats.publish("signals.risk_event", body).await.unwrap());
    }
    for sent in sent {
        sent.await.unwrap();
    }
}

/// Runs a case; the time is that from the last kill until everything has landed.
async fn run(case: &Case) {
    let stack = Stack::start().await;
    if case.has_refused {
        stack.refuse_source_seven().await;
    }
    stack.nats.create_stream().await;
    let mut dying = Vec::new();
    for point in case.points {
        let daemon = doomed(&stack, point, case.more);
        daemon.logged(STARTING).await;
        dying.push(daemon);
    }
    let survivor = stack.daemon(&usual(case.more)).await;
    for daemon in &dying[1..] {
        daemon.signal("STOP");
    }
    survivor.signal("STOP");
    publish(&stack, case.has_refused).await;
    for (index, daemon) in dying.iter_mut().enumerate() {
        if index > 0 {
            daemon.signal("CONT");
        }
        assert!(daemon.ended().await.code().is_none(), "{:?}", case.points);
    }
    let killed_at = Instant::now();
    survivor.signal("CONT");
    let letters = 5 + u64::from(case.has_refused);
    let mut rows = 25 - letters;
    let end = Instant::now() + DEADLINE;
    loop {
        let counts = stack.clickhouse.counts().await;
        if counts.1 >= rows && stack.nats.messages_left(DEAD_LETTERS).await >= letters {
            break;
        }
        assert!(Instant::now() < end, "{:?} has not landed", case.points);
        if case.has_refused {
            // A refused row is tried again, and blamed, once ClickHouse has taken another one.
            stack
                .produce(&["--count=1", &format!("--seed={rows}")])
                .await;
            rows += 1;
        }
        sleep(LOOK_INTERVAL).await;
    }
    let took = killed_at.elapsed();
    if let Some(line) = case.says {
        survivor.logged(line).await;
    }
    stack.settled().await;
    eprintln!("{:?}, {:?}: landed after {took:?}", case.points, case.says);
    assert_eq!(stack.clickhouse.counts().await, (rows, rows));
    assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, letters);
    let is_lost = |line: &serde_json::Value| line["message"] == LOST;
    assert!(!survivor.lines().iter().any(is_lost), "{:?}", case.points);
}

async fn run_all(cases: &[Case]) {
    let runs = cases.iter().map(run);
    stream::iter(runs)
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<()>>()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_anywhere_leaves_claims_that_another_completes() {
    let over = Some(TAKEN_OVER);
    run_all(&[
        case(&["decoding:3"], None),
        case(&["claim-appended"], over),
        case(&["insert-sent"], over),
        case(&["insert-answered"], over),
        case(&["letter-published"], over),
        case(&["done-appended"], None),
        case(&["before-ack"], None),
        case(&["claim-appended", "takeover-announced"], over),
        Case {
            has_refused: true,
            // Nobody but the daemon that saw the refusal knows whether its try is over.
            more: &[
                setting!(clickhouse.fence = "12s"),
                setting!(clickhouse.late_commit = "1s"),
            ],
            ..case(&["split-appended"], over)
        },
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_anywhere_leaves_claims_that_another_settles() {
    let settled = Some(SETTLED);
    let short = |points, says| Case {
        more: &SHORT,
        ..case(points, says)
    };
    run_all(&[
        short(&["claim-appended"], settled),
        short(&["insert-sent"], settled),
        short(&["insert-answered"], settled),
        short(&["letter-published"], settled),
        short(&["claim-appended", "settled-appended"], settled),
        Case {
            has_refused: true,
            ..short(&["split-appended"], settled)
        },
    ])
    .await;
}

/// A daemon with default settings is killed with messages that it has pulled and not claimed.
/// JetStream delivers them again after the ack wait: to the next start, or to another daemon.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_daemon_had_not_claimed_lands_with_default_settings() {
    for is_alone in [true, false] {
        let stack = Stack::start().await;
        stack.nats.create_stream().await;
        let arguments = ["run", "--fault-point", "decoding:3"];
        let mut dying = Daemon::spawn(&arguments, &stack.environment(&[]), &stack.work_dir());
        dying.logged(STARTING).await;
        let survivor = match is_alone {
            true => None,
            false => {
                let survivor = stack.daemon(&[]).await;
                survivor.signal("STOP");
                Some(survivor)
            }
        };
        publish(&stack, false).await;
        dying.ended().await;
        let killed_at = Instant::now();
        let survivor = match survivor {
            Some(survivor) => survivor,
            None => stack.daemon_not_waited_for(&[]),
        };
        survivor.signal("CONT");
        eventually("everything lands", async || {
            (stack.clickhouse.counts().await.1 == 20).then_some(())
        })
        .await;
        let took = killed_at.elapsed();
        eprintln!("alone: {is_alone}; landed {took:?} after the kill");
        stack.settled().await;
        assert_eq!(stack.clickhouse.counts().await, (20, 20));
        let ack_wait = stack.nats.consumer().await.unwrap().config.ack_wait;
        // The longest wait of a message that nobody has claimed.
        assert_eq!(ack_wait, Duration::from_secs(5));
    }
}

/// A message that is removed from the stream after its letter was stored is no loss, before the
/// fence of its claim and after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_gone_and_has_a_letter_is_not_lost() {
    let none: [(&str, &str); 0] = [];
    for (more, says) in [(none.as_slice(), TAKEN_OVER), (SHORT.as_slice(), SETTLED)] {
        let stack = Stack::start().await;
        stack.nats.create_stream().await;
        let mut first = doomed(&stack, "letter-published", more);
        first.logged(STARTING).await;
        let nats = stack.nats.jetstream().await;
        let sent = nats.publish("signals.deep.er.subject", "bad".into()).await;
        let sequence = sent.unwrap().await.unwrap().sequence;
        first.ended().await;
        assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 1);
        let stream = nats.get_stream(STREAM).await.unwrap();
        assert!(stream.delete_message(sequence).await.unwrap());
        if !more.is_empty() {
            sleep(Duration::from_secs(4)).await;
        }
        let next = stack.daemon(&usual(more)).await;
        next.logged(says).await;
        // Its claim is done: what comes later is acked, and the floor passes it.
        stack.produce(&["--count=10", "--seed=1"]).await;
        stack.settled().await;
        assert_eq!(stack.clickhouse.counts().await, (10, 10));
        assert_eq!(stack.nats.messages_left(DEAD_LETTERS).await, 1);
        let output = next.output();
        assert!(!output.contains(LOST), "{output}");
    }
}

/// Claims that cannot be built before their fence are read and reported once, and do not keep
/// others from landing.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_messages_are_gone_is_reported_once_and_its_rest_lands_after_the_fence() {
    let fence = [
        setting!(clickhouse.fence = "15s"),
        setting!(clickhouse.late_commit = "1s"),
    ];
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    // One claim at a time: of two the second could be in the log first.
    let alone = setting!(clickhouse.max_concurrent_inserts = "1");
    let mut first = doomed(&stack, "claim-appended", &[fence[0], fence[1], alone]);
    first.logged(STARTING).await;
    stack.produce(&["--count=10", "--seed=1"]).await;
    first.ended().await;
    let nats = stack.nats.jetstream().await;
    let stream = nats.get_stream(STREAM).await.unwrap();
    // The first message is in the claim, however many others are.
    assert!(stream.delete_message(1).await.unwrap());
    let next = stack.daemon(&usual(&fence)).await;
    next.logged(SETTLED).await;
    stack.settled().await;
    eventually("the rest lands", async || {
        (stack.clickhouse.counts().await == (9, 9)).then_some(())
    })
    .await;
    let lines = next.lines();
    let count = |words: &str| {
        let is = |line: &&serde_json::Value| line["message"].as_str().unwrap_or("").contains(words);
        lines.iter().filter(is).count()
    };
    assert_eq!(count("are gone from the stream; the rest lands"), 1);
    assert_eq!(count(LOST), 1);
}

/// Claims that a killed daemon leaves open are completed a few at a time, so that their messages
/// do not fill the memory, and no more of them while ClickHouse is away.
#[tokio::test(flavor = "multi_thread")]
async fn many_claims_of_a_killed_daemon_are_completed_a_few_at_a_time() {
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let (url, other) = (link.url(), SlowLink::to(stack.clickhouse.port()).await);
    let wide = [
        setting!(batch.max_rows = "10"),
        setting!(clickhouse.max_concurrent_inserts = "12"),
        setting!(batch.max_inserts_per_second = "100"),
        setting!(clickhouse.url = url.as_str()),
    ];
    let mut first = stack.daemon(&usual(&wide)).await;
    let url = other.url();
    let second = stack
        .daemon(&usual(&[setting!(clickhouse.url = &url)]))
        .await;
    second.signal("STOP");
    // Everything is claimed, and nothing lands.
    link.slow(1);
    stack.produce(&["--count=400", "--seed=1"]).await;
    eventually("many claims are open", async || {
        (stack.nats.messages_left(CLAIMS).await > 10).then_some(())
    })
    .await;
    first.kill();
    link.cut();
    other.cut();
    second.signal("CONT");
    let count = || {
        let lines = second.lines();
        lines
            .iter()
            .filter(|line| line["message"] == TAKEN_OVER)
            .count()
    };
    second.logged(INSERTS_PROBE).await;
    // Longer than the time after which claims are taken over.
    sleep(Duration::from_secs(8)).await;
    let while_away = count();
    other.mend();
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (400, 400));
    eprintln!(
        "{while_away} claims while ClickHouse was away, {} in all",
        count()
    );
    assert!(while_away <= 2, "{while_away}");
    assert!(count() > 5, "{}", count());
}
