//! From the release that decides by time to the one that decides by the claims log, with the binary
//! of commit e1f4de3, whose path is in `RISKSIGNAL_OLD_BINARY`.

use std::path::PathBuf;
use std::time::Duration;

use risksignal::command::log_lines::{CLICKHOUSE_WRONG, STARTING};
use risksignal::pipeline::log_lines::INSERT_REFUSED;
use testkit::nats::DEAD_LETTERS;
use testkit::slow_link::SlowLink;
use testkit::{Daemon, Stack, eventually, setting, skip};
use tokio::time::sleep;

/// The same for both releases.
const BOTH: [(&str, &str); 6] = [
    setting!(log.lines_per_second = "1000000"),
    setting!(consumer.ack_wait = "4s"),
    setting!(consumer.max_deliver = "0"),
    setting!(clickhouse.send_timeout = "1s"),
    setting!(clickhouse.end_timeout = "2s"),
    setting!(batch.max_rows = "200"),
];

/// The old binary; reports a skipped test where there is none.
#[expect(clippy::disallowed_methods, reason = "the Makefile names the binary")]
fn old_binary() -> Option<PathBuf> {
    let path = std::env::var_os("RISKSIGNAL_OLD_BINARY").map(PathBuf::from);
    if path.is_none() {
        skip("RISKSIGNAL_OLD_BINARY does not name the binary of commit e1f4de3 (`make upgrade`)");
    }
    path
}

fn old(stack: &Stack, binary: &std::path::Path) -> Daemon {
    old_with(stack, binary, &[])
}

fn old_with(stack: &Stack, binary: &std::path::Path, more: &[(&str, &str)]) -> Daemon {
    let environment = stack.environment(&[&BOTH[..], more].concat());
    Daemon::spawn_of(binary, &["run"], &environment, &stack.work_dir())
}

/// Each of so many signals is one row or one letter.
async fn each_once(stack: &Stack, published: u64) {
    stack.settled().await;
    let letters = stack.nats.messages_left(DEAD_LETTERS).await;
    let (rows, distinct) = stack.clickhouse.counts().await;
    assert_eq!(
        (rows, rows + letters),
        (distinct, published),
        "{letters} letters"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_daemon_that_is_stopped_under_load_is_followed_by_a_new_one() {
    let Some(binary) = old_binary() else { return };
    for signal in ["TERM", "KILL"] {
        let stack = Stack::start().await;
        let mut before = old(&stack, &binary);
        before.logged(STARTING).await;
        let load = stack.produce(&["--count=20000", "--rate=4000", "--invalid=2", "--seed=1"]);
        let change = async {
            sleep(Duration::from_secs(2)).await;
            before.signal(signal);
            before.ended().await;
            stack.daemon(&BOTH).await
        };
        let ((), _after) = tokio::join!(load, change);
        each_once(&stack, 20_000).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_new_daemons_side_by_side_land_each_signal_once() {
    let Some(binary) = old_binary() else { return };
    let stack = Stack::start().await;
    let mut before = old(&stack, &binary);
    before.logged(STARTING).await;
    let load = stack.produce(&["--count=30000", "--rate=3000", "--invalid=2", "--seed=1"]);
    let change = async {
        sleep(Duration::from_secs(2)).await;
        let after = stack.daemon(&BOTH).await;
        before.logged(INSERT_REFUSED).await;
        assert!(before.output().contains("insert_before"));
        sleep(Duration::from_secs(1)).await;
        before.signal("TERM");
        before.ended().await;
        after
    };
    let ((), _after) = tokio::join!(load, change);
    each_once(&stack, 30_000).await;

    // Started again by mistake.
    let mut again = old(&stack, &binary);
    let printed = eventually(
        "the old daemon reports that the table does not fit it",
        async || {
            let lines = again.lines();
            lines.into_iter().find(|line| line["level"] == "ERROR")
        },
    )
    .await;
    eprintln!("the old daemon, started again: {printed}");
    stack
        .produce(&["--count=2000", "--invalid=2", "--seed=2"])
        .await;
    sleep(Duration::from_secs(3)).await;
    again.assert_running();
    assert!(!again.output().contains(STARTING));
    again.kill();
    each_once(&stack, 32_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_of_an_old_daemon_that_lands_late_is_waited_for() {
    let Some(binary) = old_binary() else { return };
    let stack = Stack::start().await;
    let link = SlowLink::to(stack.clickhouse.port()).await;
    let url = link.url();
    // The consumer of before has a longer ack wait than the settings of now.
    let slow = [
        setting!(clickhouse.url = url.as_str()),
        setting!(consumer.ack_wait = "60s"),
        setting!(clickhouse.send_timeout = "10s"),
        setting!(clickhouse.end_timeout = "40s"),
        setting!(batch.max_rows = "5000"),
    ];
    let mut before = old_with(&stack, &binary, &slow);
    before.logged(STARTING).await;
    stack.produce(&["--count=10", "--seed=1"]).await;
    stack.settled().await;
    // Blocks of more than the link passes at a time are on their way for many seconds.
    before.signal("STOP");
    stack.produce(&["--count=1000", "--seed=2"]).await;
    link.slow(20_000);
    before.signal("CONT");
    eventually("the insert is under way", async || {
        let inserts = "SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO risksignal.raw_signals%'";
        (stack.clickhouse.number(inserts).await > 0).then_some(())
    })
    .await;
    let after = stack.daemon(&BOTH).await;
    eprintln!(
        "when the new daemon begins: {:?}",
        stack.clickhouse.counts().await
    );
    stack.settled().await;
    before.kill();
    let counts = stack.clickhouse.counts().await;
    assert_eq!(counts, (1_010, 1_010), "{}", after.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_downgrade_by_the_shipped_statements_and_the_next_upgrade_lose_and_repeat_nothing() {
    let Some(binary) = old_binary() else { return };
    let stack = Stack::start().await;
    let mut before = old(&stack, &binary);
    before.logged(STARTING).await;
    stack.produce(&["--count=2000", "--seed=1"]).await;
    stack.settled().await;
    before.signal("TERM");
    before.ended().await;
    let mut now = stack.daemon(&BOTH).await;
    stack
        .produce(&["--count=2000", "--invalid=2", "--seed=2"])
        .await;
    each_once(&stack, 4_000).await;
    assert!(now.stop().await.success());

    let sql = include_str!("../../infra/clickhouse/downgrade_from_claims.sql");
    let lines = sql.lines().filter(|line| !line.starts_with("--"));
    let sql = lines.collect::<Vec<_>>().join("\n");
    for statement in sql.split_terminator(";") {
        stack.clickhouse.execute(statement.trim()).await;
    }
    // One of the new ones, started by mistake, is refused.
    let without = [&BOTH[..], &[setting!(clickhouse.migrate = "false")]].concat();
    let mistaken = stack.daemon_not_waited_for(&without);
    let printed = mistaken.logged(CLICKHOUSE_WRONG).await;
    assert!(
        printed["error"].as_str().unwrap().contains("fence"),
        "{printed}"
    );
    drop(mistaken);
    let jetstream = stack.nats.jetstream().await;
    let log = "SIGNALS_CLAIMS_risksignal_raw_signals";
    jetstream.delete_stream(log).await.unwrap();
    let mut before = old(&stack, &binary);
    before.logged(STARTING).await;
    stack
        .produce(&["--count=2000", "--invalid=2", "--seed=3"])
        .await;
    each_once(&stack, 6_000).await;
    before.signal("KILL");
    before.ended().await;

    let _again = stack.daemon(&BOTH).await;
    stack
        .produce(&["--count=2000", "--invalid=2", "--seed=4"])
        .await;
    each_once(&stack, 8_000).await;
}
