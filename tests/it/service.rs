//! Notifications to systemd: readiness, status, and that the daemon lives.

use std::time::Duration;

use risksignal::pipeline::log_lines::{HANGS, INSERT_FAILED};
use testkit::notify_socket::NotifySocket;
use testkit::ops::{ANY_PORT, Ops};
use testkit::{Daemon, Stack, eventually, setting};
use tokio::time::sleep;

const ALIVE: &str = "WATCHDOG=1";
/// A step of a stage may take 0.8 + 1 + 8 * 0.2 s with these, and the daemon notifies every third
/// of the interval that it lives.
const SHORT: [(&str, &str); 5] = [
    setting!(clickhouse.retry_max = "1s"),
    setting!(clickhouse.send_timeout = "300ms"),
    setting!(clickhouse.end_timeout = "500ms"),
    setting!(nats.request_timeout = "200ms"),
    ("WATCHDOG_USEC", "600000"),
];
/// Longer than any step.
const LONG: Duration = Duration::from_secs(8);

fn spawn(
    stack: &Stack,
    socket: &NotifySocket,
    arguments: &[&str],
    more: &[(&str, &str)],
) -> Daemon {
    let mut environment = SHORT.to_vec();
    environment.push(("NOTIFY_SOCKET", socket.path()));
    environment.extend(more);
    let environment = stack.environment(&environment);
    Daemon::spawn(arguments, &environment, &stack.work_dir())
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_hears_of_start_life_and_stop() {
    let stack = Stack::start().await;
    let socket = NotifySocket::bind(&stack.work_dir());
    let mut daemon = spawn(&stack, &socket, &["run"], &[]);
    socket.hears("READY=1").await;
    socket.hears_again(ALIVE, 3).await;
    assert!(daemon.stop().await.success());
    socket.hears("STATUS=Committing what is held").await;
    let heard = socket.heard();
    let at = |line: &str| heard.iter().position(|heard| heard.starts_with(line));
    assert!(at("READY=1") < at(ALIVE), "{heard:?}");
    assert!(at("STATUS=Moving signals").is_some(), "{heard:?}");
    assert!(at(ALIVE) < at("STOPPING=1"), "{heard:?}");
    assert_eq!(socket.count("READY=1"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_only_once_it_pulls_and_asks_for_time_until_then() {
    let stack = Stack::start().await;
    let socket = NotifySocket::bind(&stack.work_dir());
    stack.clickhouse.kill();
    let _daemon = spawn(&stack, &socket, &["run"], &[]);
    socket.hears("STATUS=Waiting for ClickHouse").await;
    let more = socket.hears("EXTEND_TIMEOUT_USEC=").await;
    let micros: u64 = more.split_once('=').unwrap().1.parse().unwrap();
    assert!(micros > 1_000_000, "{more}");
    assert_eq!(socket.count("READY=1"), 0);
    stack.clickhouse.restart().await;
    socket.hears("READY=1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_fed_while_both_servers_are_away() {
    let stack = Stack::start().await;
    let socket = NotifySocket::bind(&stack.work_dir());
    let mut daemon = spawn(&stack, &socket, &["run"], &[ANY_PORT]);
    let ops = Ops::of(&daemon).await;
    socket.hears("READY=1").await;
    stack.clickhouse.kill();
    stack
        .produce(&["--count=2000", "--invalid=10", "--seed=1"])
        .await;
    daemon.logged(INSERT_FAILED).await;
    sleep(LONG).await;
    socket.hears_again(ALIVE, 2).await;
    stack.nats.kill();
    socket.hears("STATUS=NATS is away").await;
    sleep(LONG).await;
    socket.hears_again(ALIVE, 2).await;
    assert_eq!(ops.get("/livez").await.status, 200);
    stack.clickhouse.restart().await;
    stack.nats.restart().await;
    stack.settled().await;
    sleep(LONG).await;
    socket.hears_again(ALIVE, 2).await;
    assert!(!daemon.output().contains("hangs"));
    daemon.assert_running();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_halt_is_reported() {
    let stack = Stack::start().await;
    let socket = NotifySocket::bind(&stack.work_dir());
    let _daemon = spawn(&stack, &socket, &["run"], &[]);
    socket.hears("READY=1").await;
    stack.clickhouse.execute("DROP TABLE raw_signals").await;
    stack.produce(&["--count=10", "--seed=1"]).await;
    let halted = socket
        .hears("STATUS=Pulling stopped until this is mended")
        .await;
    assert!(halted.contains("raw_signals"), "{halted}");
    socket.hears_again(ALIVE, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_not_fed_once_a_stage_hangs() {
    let stack = Stack::start().await;
    for (seed, (point, stage)) in [
        ("hang@decoding:5", "decode"),
        ("hang@insert-answered", "insert"),
        ("hang@letter-published", "dead letter"),
        ("hang@before-ack:5", "ack"),
    ]
    .into_iter()
    .enumerate()
    {
        let seed = format!("--seed={seed}");
        let dir = tempfile::tempdir().unwrap();
        let socket = NotifySocket::bind(dir.path());
        let arguments = ["run", "--fault-point", point];
        let mut daemon = spawn(&stack, &socket, &arguments, &[ANY_PORT]);
        socket.hears("READY=1").await;
        let ops = Ops::of(&daemon).await;
        assert_eq!(ops.get("/livez").await.status, 200);
        stack.produce(&["--count=100", "--invalid=10", &seed]).await;
        let status = socket.hears("STATUS=The pipeline hangs").await;
        assert!(status.contains(stage), "{point}: {status}");
        // For those who have no watchdog but ask.
        for path in ["/livez", "/readyz"] {
            let answer = ops.get(path).await;
            assert_eq!(answer.status, 503, "{path}");
            assert!(
                answer.body.contains("the pipeline hangs: "),
                "{}",
                answer.body
            );
        }
        let printed = daemon.logged(HANGS);
        assert!(printed.await["stages"].as_str().unwrap().contains(stage));
        silence(&socket).await;
        // As systemd does then.
        daemon.kill();
    }
    // What the hung ones held comes again.
    let _daemon = stack.daemon(&[]).await;
    stack.settled().await;
    let (rows, distinct) = stack.clickhouse.counts().await;
    assert!(rows > 0 && rows == distinct, "{rows} {distinct}");
}

/// With one thread, nothing at all runs behind a stage that blocks it.
#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_is_not_fed_by_a_blocked_runtime() {
    let stack = Stack::start().await;
    let socket = NotifySocket::bind(&stack.work_dir());
    let arguments = ["run", "--fault-point", "block@insert-answered"];
    let threads = [("TOKIO_WORKER_THREADS", "1")];
    let mut daemon = spawn(&stack, &socket, &arguments, &threads);
    socket.hears_again(ALIVE, 2).await;
    stack.produce(&["--count=10", "--seed=1"]).await;
    eventually("a row is there", async || {
        (stack.clickhouse.counts().await.0 > 0).then_some(())
    })
    .await;
    silence(&socket).await;
    daemon.kill();
}

/// Waits until no notification comes for several times the watchdog's interval, after which systemd
/// restarts the service.
async fn silence(socket: &NotifySocket) {
    eventually("the watchdog hears nothing", async || {
        let before = socket.count(ALIVE);
        sleep(Duration::from_secs(2)).await;
        (socket.count(ALIVE) == before).then_some(())
    })
    .await;
}
