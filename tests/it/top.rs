//! `risksignal top` in a real pseudo-terminal, beside a real daemon.

use testkit::ops::{ANY_PORT, Ops, watched_daemon};
use testkit::terminal::Terminal;
use testkit::{Stack, setting};

/// The number behind a name on the screen.
fn figure(screen: &str, name: &str) -> u64 {
    let line = screen.lines().find(|line| line.contains(name));
    let rest = line.and_then(|line| line.split_once(name)).unwrap().1;
    let digits = rest.trim_start().chars();
    let digits: String = digits
        .take_while(|c| c.is_ascii_digit() || *c == ',')
        .filter(|c| *c != ',')
        .collect();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("{name}: {screen}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_figures_that_move_and_q_restores_the_terminal() {
    let stack = Stack::start().await;
    let (mut daemon, ops) = watched_daemon(&stack).await;
    let here = [ops.listen()];
    let environment = stack.environment(&here);
    ops.ready(true).await;
    let mut terminal = Terminal::spawn("top", &environment, &stack.work_dir());
    let screen = terminal.shows("q quits").await;
    assert!(terminal.is_taken());
    for text in [
        " ready ",
        "Dependencies",
        "clickhouse  up",
        "Signals per second: ",
        "latency    p50 ",
        "insert     p50 ",
        "batches ",
        "pending ",
        "not acked ",
        "Dead letters: ",
        "not_json ",
    ] {
        assert!(screen.contains(text), "{text}:\n{screen}");
    }
    assert_eq!(figure(&screen, "inserted"), 0);

    stack
        .produce(&["--count=4000", "--rate=1000", "--invalid=5", "--seed=62"])
        .await;
    terminal
        .shows_what("latencies are shown", |screen| {
            screen.contains("latency") && !screen.contains("latency    p50 –")
        })
        .await;
    stack.settled().await;
    let rows = stack.clickhouse.counts().await.0;
    let screen = terminal
        .shows_what("every row is counted", |screen| {
            figure(screen, "inserted") == rows
        })
        .await;
    assert!(figure(&screen, "not_json") > 0, "{screen}");

    stack.clickhouse.kill();
    terminal.shows(" not ready ").await;
    terminal.shows("clickhouse  down").await;
    stack.clickhouse.restart().await;
    terminal.shows(" ready ").await;

    // A daemon that is gone may come back, so that is no end.
    assert!(daemon.stop().await.success());
    let screen = terminal.shows(" no answer ").await;
    assert_eq!(figure(&screen, "inserted"), rows);

    terminal.press("q");
    assert!(terminal.ended().await.success());
    assert!(!terminal.is_taken() && !terminal.hides_cursor());
    assert!(!terminal.contents().contains("q quits"));
}

#[tokio::test(flavor = "multi_thread")]
async fn top_ends_at_ctrl_c_and_says_why_it_cannot_begin() {
    let stack = Stack::start().await;
    let daemon = stack.daemon(&[ANY_PORT]).await;
    let ops = Ops::of(&daemon).await;
    let here = [ops.listen()];
    let mut terminal = Terminal::spawn("top", &stack.environment(&here), &stack.work_dir());
    terminal.shows("q quits").await;
    terminal.press("x");
    terminal.press("\u{3}");
    assert!(terminal.ended().await.success());
    assert!(!terminal.is_taken());

    let output = stack.risksignal_with(&["top"], &here).await;
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(printed.contains("requires a terminal"), "{printed}");

    let nobody = [setting!(ops.listen = "off")];
    let mut terminal = Terminal::spawn("top", &stack.environment(&nobody), &stack.work_dir());
    terminal.shows("ops.listen is off").await;
    assert_eq!(terminal.ended().await.code(), Some(1));
}
