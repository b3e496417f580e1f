use std::sync::Arc;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use telemetry::happened;

use crate::metrics::Metrics;
use crate::ops::health::{Dependency, Health};
use crate::ops::status::{Sources, Status};
use crate::reload;
use crate::settings::Settings;

use super::*;

/// Sources of a daemon's figures.
fn sources(metrics: &Metrics) -> Sources {
    Sources {
        settings: reload::channel(Settings::default()).1,
        registry: metrics.registry.clone(),
        metrics: metrics.program.clone(),
        recent: Arc::default(),
        health: Health::new(),
        board: Arc::default(),
        started: Instant::now(),
    }
}

/// Returns the answer of `/statusz`, as a client reads it.
fn parse_status(sources: &Sources) -> Status {
    let sent = sources.full();
    let text = serde_json::to_string_pretty(&sent).unwrap();
    let read: Status = serde_json::from_str(&text).unwrap();
    assert_eq!(read, sent, "nothing is lost on the way");
    read
}

fn screen(history: &StatusHistory, trouble: Option<&str>) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let address = "http://127.0.0.1:9464";
    terminal
        .draw(|frame| draw(frame, history, address, trouble))
        .unwrap();
    let cells = terminal.backend().buffer().content();
    let lines = cells.chunks(80);
    lines
        .map(|line| line.iter().map(|cell| cell.symbol()).collect())
        .collect()
}

fn assert_shows(screen: &[String], texts: &[&str]) {
    for text in texts {
        let is_there = screen.iter().any(|line| line.contains(text));
        assert!(is_there, "{text}:\n{}", screen.join("\n"));
    }
}

#[test]
fn all_figures_stand_on_80_columns_and_24_lines() {
    let metrics = Metrics::new().unwrap();
    let sources = sources(&metrics);
    for dependency in [
        Dependency::Pipeline,
        Dependency::Nats,
        Dependency::Jetstream,
        Dependency::Schema,
    ] {
        sources.health.up(dependency);
    }
    sources.health.down(Dependency::Clickhouse, "it is away");
    let mut history = StatusHistory::new(parse_status(&sources));
    assert_shows(
        &screen(&history, None),
        &["Signals per second: –", "latency    p50 –, p99 –"],
    );

    for _ in 0..2 {
        let batch = happened::Inserted {
            count: 1500,
            total: 1500,
            bytes: 700_000,
            duration: Duration::from_millis(20),
            oldest_published_ms: 0,
            close_reason: "wait",
        };
        metrics.events.inserted(&batch);
        sources.recent.inserted(&batch);
    }
    metrics.pipeline.committed([1000; 100].into_iter(), 1200);
    metrics.events.dead_lettered("not_json");
    sources.recent.dead_lettered(&happened::DeadLetteredEvent {
        reason: "not_json",
        error: "expected value".to_owned(),
        subject: "signals.a".to_owned(),
        stream_seq: 7,
        dead_letter_seq: 12,
    });
    metrics.consumer.consumer_pending_messages.set(12_345);
    metrics.pipeline.in_flight_bytes.set(1 << 20);
    let mut later = parse_status(&sources);
    later.uptime_seconds = history.latest().uptime_seconds + 2.0;
    history.add(later);
    let screen = screen(&history, None);
    assert_shows(
        &screen,
        &[
            " not ready ",
            "clickhouse: it is away",
            "pipeline    up",
            "clickhouse  down",
            "Signals per second: 1,500",
            "latency    p50 175 ms, p99 248 ms",
            "insert     p50 18 ms, p99 25 ms",
            "batches    1.0/s of 1,500 rows",
            "inserted   3,000",
            "pending    12,345",
            "in flight  0, 1.0 MiB",
            "reconnects 0",
            "Dead letters: 0.5 per second",
            "max_deliveries ",
            "#12 expected value",
            "q quits",
        ],
    );
    let line = |text: &str| screen.iter().find(|line| line.contains(text)).unwrap();
    assert!(
        line("not_json ")
            .trim_end_matches(['│', ' '])
            .ends_with(" 1")
    );
    // The newest rate is drawn at the right end of its box.
    assert!(screen[8].trim_end().ends_with("█│"), "{}", screen[8]);
}

#[test]
fn a_daemon_that_does_not_answer_and_one_that_began_anew_are_reported() {
    let metrics = Metrics::new().unwrap();
    let sources = sources(&metrics);
    let mut history = StatusHistory::new(parse_status(&sources));
    let screen = screen(&history, Some("no daemon answers"));
    assert_shows(&screen, &[" no answer ", "no daemon answers"]);
    let mut restarted = parse_status(&sources);
    restarted.uptime_seconds = 0.0;
    history.add(restarted);
    assert_eq!(history.between(), None);
}

#[test]
fn a_small_terminal_is_no_panic() {
    let history = StatusHistory::new(parse_status(&sources(&Metrics::new().unwrap())));
    for (width, height) in [(1, 1), (20, 5), (79, 23), (200, 60)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let address = "http://127.0.0.1:9464";
        terminal
            .draw(|frame| draw(frame, &history, address, None))
            .unwrap();
    }
}
