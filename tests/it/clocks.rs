//! Clocks that step while a block is on its way: each signal stays one row.

use std::time::Duration;

use risksignal::command::log_lines::STARTING;
use risksignal::pipeline::log_lines::{OUTSIDE_FENCE, SETTLED, TAKEN_OVER};
use testkit::nats::Options;
use testkit::slow_link::SlowLink;
use testkit::step_clock::StepClock;
use testkit::{Daemon, Stack, eventually, setting};
use tokio::time::{Instant, sleep};

const PATIENT: [(&str, &str); 5] = [
    setting!(log.lines_per_second = "1000000"),
    setting!(consumer.ack_wait = "80s"),
    setting!(clickhouse.send_timeout = "30s"),
    setting!(clickhouse.end_timeout = "40s"),
    setting!(batch.max_wait = "100ms"),
];
const HOUR: i64 = 3600;

/// Publishes 90 signals, which a daemon with this environment holds in a slow insert.
async fn hold(stack: &Stack, link: &SlowLink, more: &[(&str, &str)], clock: &Clock) -> Daemon {
    let url = link.url();
    let more = [
        PATIENT.as_slice(),
        more,
        &[setting!(clickhouse.url = url.as_str())],
    ]
    .concat();
    let environment = [stack.environment(&more), clock.to_vec()].concat();
    let holder = Daemon::spawn(&["run"], &environment, &stack.work_dir());
    holder.logged(STARTING).await;
    // 45 kB would take 90 s.
    link.slow(500);
    // One batch, also where a busy machine publishes slowly: a small one would land too early.
    holder.signal("STOP");
    stack.produce(&["--count=90", "--seed=1"]).await;
    holder.signal("CONT");
    eventually("all are delivered", async || {
        let consumer = stack.nats.consumer().await?;
        (consumer.num_pending == 0 && consumer.num_ack_pending == 90).then_some(())
    })
    .await;
    holder
}

/// The environment that gives a daemon its clock.
type Clock = [(String, String)];

/// The clock of the daemon that holds 90 signals in a slow insert steps; another daemon takes over
/// and lands them, then the late block comes.
async fn steps_under_a_late_block(seconds: i64) {
    let folder = tempfile::tempdir().unwrap();
    let Some(clock) = StepClock::in_folder(folder.path()) else {
        return;
    };
    let stack = Stack::start().await;
    stack.nats.create_stream().await;
    // It is ready before, so that it takes over while the insert is under way.
    let second = stack.daemon(&PATIENT).await;
    second.signal("STOP");
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let _holder = hold(&stack, &link, &[], &clock.environment()).await;
    clock.step(seconds);
    let began = Instant::now();
    second.signal("CONT");
    second.logged(TAKEN_OVER).await;
    stack.settled().await;
    eprintln!("{seconds:+} s: landed after {:?}", began.elapsed());
    link.mend();
    stack.produce(&["--count=10", "--seed=2"]).await;
    stack.settled().await;
    // The late block comes within this time.
    sleep(Duration::from_secs(15)).await;
    assert_eq!(stack.clickhouse.counts().await, (100, 100), "{seconds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_clock_steps_while_its_block_is_late_repeats_nothing() {
    tokio::join!(
        steps_under_a_late_block(HOUR),
        steps_under_a_late_block(-HOUR),
        steps_under_a_late_block(24 * HOUR),
        steps_under_a_late_block(-24 * HOUR),
    );
}

/// Signals that come after the step of a lone daemon's clock land, and no claim waits for an hour:
/// its fences are counted from ClickHouse's time.
#[tokio::test(flavor = "multi_thread")]
async fn fences_do_not_step_with_the_clock_of_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let Some(clock) = StepClock::in_folder(folder.path()) else {
        return;
    };
    let stack = Stack::start().await;
    let environment = [stack.environment(&PATIENT), clock.environment()].concat();
    let daemon = Daemon::spawn(&["run"], &environment, &stack.work_dir());
    daemon.logged(STARTING).await;
    for (seed, seconds) in (1..).zip([2 * HOUR, -2 * HOUR, 48 * HOUR]) {
        clock.step(seconds);
        let seed = format!("--seed={seed}");
        stack.produce(&["--count=10", &seed]).await;
        stack.settled().await;
    }
    assert_eq!(stack.clickhouse.counts().await, (30, 30));
    assert!(!daemon.output().contains(OUTSIDE_FENCE));
}

/// A stack whose ClickHouse has a clock of its own.
async fn with_clock(clock: &StepClock) -> Stack {
    let stack = Stack::with_clickhouse(Options::default(), &[], clock.environment()).await;
    stack.nats.create_stream().await;
    stack
}

/// ClickHouse's clock steps forward while it reads 90 signals: their fence is over at once, and the
/// late block is refused. The clock is right again later.
async fn clickhouse_steps_forward(seconds: i64) {
    let folder = tempfile::tempdir().unwrap();
    let Some(clock) = StepClock::in_folder(folder.path()) else {
        return;
    };
    let stack = with_clock(&clock).await;
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let holder = hold(&stack, &link, &[], &[]).await;
    clock.step(seconds);
    link.mend();
    let second = stack.daemon(&PATIENT).await;
    stack.settled().await;
    // Its connection may end with the step, and the second settle the claim before another try.
    eventually(
        "the late block is refused, or its claim settled",
        async || {
            let is_refused = holder.output().contains(OUTSIDE_FENCE);
            (is_refused || second.output().contains(SETTLED)).then_some(())
        },
    )
    .await;
    clock.step(0);
    // The daemons ask for the time every few seconds.
    sleep(Duration::from_secs(5)).await;
    stack.produce(&["--count=10", "--seed=2"]).await;
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (100, 100), "{seconds}");
}

/// ClickHouse's clock steps back by an hour: it refuses a block whose fence is too far ahead. What
/// comes later lands meanwhile, and the block once the clock is right.
async fn clickhouse_steps_back() {
    let folder = tempfile::tempdir().unwrap();
    let Some(clock) = StepClock::in_folder(folder.path()) else {
        return;
    };
    let stack = with_clock(&clock).await;
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let fence = [
        setting!(clickhouse.fence = "1m"),
        setting!(clickhouse.late_commit = "1s"),
    ];
    let holder = hold(&stack, &link, &fence, &[]).await;
    clock.step(-HOUR);
    link.mend();
    holder.logged(OUTSIDE_FENCE).await;
    sleep(Duration::from_secs(5)).await;
    stack.produce(&["--count=10", "--seed=2"]).await;
    eventually("what comes later lands", async || {
        let later = "SELECT count() FROM raw_signals WHERE stream_seq > 90";
        (stack.clickhouse.number(later).await == 10).then_some(())
    })
    .await;
    clock.step(0);
    stack.settled().await;
    assert_eq!(stack.clickhouse.counts().await, (100, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clickhouse_whose_clock_steps_while_a_block_is_late_stores_it_once() {
    tokio::join!(
        clickhouse_steps_forward(HOUR),
        clickhouse_steps_forward(24 * HOUR),
        clickhouse_steps_back()
    );
}
