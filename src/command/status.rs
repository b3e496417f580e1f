//! `risksignal status`: the state of a running daemon, in a few lines.

use std::fmt::Write as _;

use anyhow::Result;
use bytesize::ByteSize;
use indicatif::HumanCount;
use metric_kit::MetricValues;
use telemetry::faulty::FaultyPayloads;
use time::format_description::well_known::Rfc3339;

use crate::capacity;
use crate::cli::StatusArgs;
use crate::ops::client::Client;
use crate::ops::status::Status;
use crate::retention::RetentionState;
use crate::retention::plan::Policy;
use crate::settings::Settings;

use super::wording::{count, in_flight, lasted, oldest_age, quantiles, time};
use super::{exit, output};

/// Prints the state, and returns the exit status.
///
/// # Errors
/// Fails when the daemon does not answer.
pub async fn status(args: &StatusArgs, settings: &Settings) -> Result<u8> {
    let client = Client::new(&settings.ops, args.daemon.url.as_deref()).await?;
    let status = client.status().await?;
    if args.json {
        output::print_json(&status)?;
    } else {
        output::print(summary(&status).trim_end())?;
    }
    Ok(if status.health.ready {
        0
    } else {
        exit::NOT_READY
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
    let uptime = time(status.uptime_seconds);
    line(
        "risksignal",
        format!("{verdict}, version {}, up for {uptime}", status.version),
    );
    line(
        "moves",
        format!("{} → {} → {}", status.stream, status.consumer, status.table),
    );
    for (name, latch) in &status.health.dependencies {
        let since = lasted(status, latch);
        let reason = latch.reason.as_ref().map(|reason| format!(": {reason}"));
        let state = latch.state.name();
        line(
            name,
            format!("{state} for {since}{}", reason.unwrap_or_default()),
        );
    }
    let metrics = &status.metrics;
    line("signals", signals(metrics));
    for (name, metric) in [
        ("latency", "end_to_end_latency_seconds"),
        ("insert", "insert_duration_seconds"),
    ] {
        let times = quantiles(&metrics.histogram(metric));
        line(name, format!("{times}, since the start"));
    }
    line("behind", behind(metrics));
    line("in flight", in_flight(metrics));
    line("dead letters", dead_letters(metrics));
    for faulty in &status.payload_faults {
        line("payloads", payload_faults(faulty));
    }
    for storage in &status.storages {
        line("storage", storage.to_string());
    }
    if let Some(text) = status.history.as_ref().map(history) {
        line("history", text);
    }
    for warning in &status.health.warnings {
        line("WARNING", format!("{}: {}", warning.text, warning.remedy));
    }
    text
}

/// Describes the signals since the start.
fn signals(metrics: &MetricValues) -> String {
    let count = |name: &str| count(metrics, name);
    format!(
        "{} received, {} inserted in {} batches, {} found in ClickHouse already",
        count("signals_received_total"),
        count("signals_inserted_total"),
        count("batches_inserted_total"),
        count("signals_duplicate_total"),
    )
}

/// Describes the signals that are not in ClickHouse.
fn behind(metrics: &MetricValues) -> String {
    let count = |name: &str| count(metrics, name);
    format!(
        "{} not delivered, {} not acked, the oldest {}",
        count("consumer_pending_messages"),
        count("consumer_ack_pending_messages"),
        oldest_age(metrics),
    )
}

/// Describes the rule for committed history, and its newest purge.
fn history(history: &RetentionState) -> String {
    let mut text = match (history.policy, history.keep_seconds, history.keep_bytes) {
        (Policy::Bounded, Some(seconds), Some(bytes)) => {
            format!("keeps {} and {}", capacity::time(seconds), ByteSize(bytes))
        }
        (Policy::Bounded, ..) | (Policy::NotSet, ..) => {
            "never purged; stream.keep is not set".to_owned()
        }
        (Policy::Everything, ..) => "never purged; stream.keep is all".to_owned(),
        (Policy::OwnLimits, ..) => "bounded by the stream's own limits".to_owned(),
    };
    if let Some(purged) = &history.last_purge {
        let (first, last) = (purged.first_seq, purged.last_seq);
        let bytes = ByteSize(purged.bytes);
        let at = purged.at.format(&Rfc3339).unwrap_or_default();
        let _ = write!(text, "; purged {first} to {last}, {bytes}, at {at}");
    }
    if let Some(fault) = &history.fault {
        let _ = write!(text, "; not purged: {fault}");
    }
    text
}

/// Describes signals of one type and source whose payloads break the contract.
fn payload_faults(faulty: &FaultyPayloads) -> String {
    format!(
        "{} of type {} from {} break their contract and were inserted: {}",
        HumanCount(faulty.count),
        faulty.event_type,
        faulty.source_id,
        faulty.faults
    )
}

/// Describes the number of dead letters, in total and by reason.
fn dead_letters(metrics: &MetricValues) -> String {
    const LETTERS: &str = "signals_dead_lettered_total";
    let mut text = count(metrics, LETTERS).to_string();
    for series in metrics.series(LETTERS) {
        if series.value() > 0.0 {
            let (letters, reason) = (HumanCount(series.value() as u64), series.label("reason"));
            let _ = write!(text, ", {letters} {reason}");
        }
    }
    text
}
