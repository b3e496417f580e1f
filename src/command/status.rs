//! `risksignal status`: how a running daemon is, in a few lines.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Result;
use bytesize::ByteSize;
use indicatif::HumanCount;

use crate::cli::StatusArgs;
use crate::ops::client::Client;
use crate::ops::health::State;
use crate::ops::status::Status;
use crate::settings::Settings;
use crate::telemetry::figures::Figures;

/// Of a daemon that answers and cannot ingest. 3 is what init scripts mean by "not running".
const EXIT_NOT_READY: u8 = 3;

/// Prints it, and returns the exit status.
///
/// # Errors
/// When the daemon cannot be asked.
pub async fn status(args: &StatusArgs, settings: &Settings) -> Result<u8> {
    let client = Client::new(&settings.ops)?;
    let status = client.status().await?;
    let text = if args.json {
        serde_json::to_string_pretty(&status)? + "\n"
    } else {
        summary(&status)
    };
    // Where nobody reads it any more, the exit status is still of use.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(if status.health.ready {
        0
    } else {
        EXIT_NOT_READY
    })
}

fn summary(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |name: &str, what: String| {
        let _ = writeln!(text, "{name:<13} {what}");
    };
    let verdict = if status.health.ready {
        "ready"
    } else {
        "NOT READY"
    };
    let uptime = for_people(status.uptime_seconds);
    line(
        "risksignal",
        format!("{verdict}, version {}, up for {uptime}", status.version),
    );
    line(
        "moves",
        format!("{} → {} → {}", status.stream, status.consumer, status.table),
    );
    for (name, latch) in &status.health.dependencies {
        let since = for_people((status.now - latch.since).as_seconds_f64());
        let reason = latch.reason.as_ref().map(|reason| format!(": {reason}"));
        let state = state_name(latch.state);
        line(
            name,
            format!("{state} for {since}{}", reason.unwrap_or_default()),
        );
    }
    let metrics = &status.metrics;
    let count = |name: &str| HumanCount(metrics.total(name) as u64);
    line(
        "signals",
        format!(
            "{} received, {} inserted in {} batches, {} found in ClickHouse already",
            count("signals_received_total"),
            count("signals_inserted_total"),
            count("batches_inserted_total"),
            count("signals_duplicate_total"),
        ),
    );
    for (name, metric) in [
        ("latency", "end_to_end_latency_seconds"),
        ("insert", "insert_duration_seconds"),
    ] {
        let all = metrics.histogram(metric);
        let quantile = |share| all.quantile(share).map_or("–".to_owned(), for_people);
        let (p50, p99) = (quantile(0.5), quantile(0.99));
        line(name, format!("p50 {p50}, p99 {p99}, since the start"));
    }
    line(
        "behind",
        format!(
            "{} not delivered, {} not acked, the oldest {}",
            count("consumer_pending_messages"),
            count("consumer_ack_pending_messages"),
            for_people(metrics.total("consumer_oldest_age_seconds")),
        ),
    );
    let held_bytes = ByteSize(metrics.total("in_flight_bytes") as u64);
    line(
        "in flight",
        format!("{}, {held_bytes}", count("in_flight_messages")),
    );
    line("dead letters", dead_letters(metrics));
    text
}

/// How many there are, and of each reason that there is.
fn dead_letters(metrics: &Figures) -> String {
    const LETTERS: &str = "signals_dead_lettered_total";
    let mut text = HumanCount(metrics.total(LETTERS) as u64).to_string();
    for series in metrics.series(LETTERS) {
        let reason = series.labels.get("reason").map_or("", String::as_str);
        if series.value() > 0.0 {
            let _ = write!(text, ", {} {reason}", HumanCount(series.value() as u64));
        }
    }
    text
}

/// The state's name, as `/readyz` has it.
pub(super) fn state_name(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Up => "up",
        State::Down => "down",
    }
}

/// A time in at most two units, and below a second in milliseconds.
pub(super) fn for_people(seconds: f64) -> String {
    if seconds > 0.0 && seconds < 1.0 {
        let digits = if seconds < 0.01 { 1 } else { 0 };
        return format!("{:.digits$} ms", seconds * 1000.0);
    }
    let seconds = Duration::from_secs(seconds.max(0.0) as u64);
    let text = humantime::format_duration(seconds).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::for_people;

    #[test]
    fn times_are_short() {
        for (seconds, expected) in [
            (-1.0, "0s"),
            (0.0, "0s"),
            (0.0023, "2.3 ms"),
            (0.25, "250 ms"),
            (61.7, "1m 1s"),
            (90_061.0, "1day 1h"),
        ] {
            assert_eq!(for_people(seconds), expected);
        }
    }
}
