//! From JetStream's timestamp to committed in ClickHouse, while signals come at a steady rate.
//!
//! Both times are the servers' own, of one machine's clock: JetStream's in nanoseconds from
//! the message, ClickHouse's in microseconds from its log of parts. Nothing is polled.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::arguments::Plan;
use super::candidate::Candidate;
use super::consume::{Outcome, Run};
use super::drain;
use super::part_log;
use super::report::{Metric, Report};
use super::statistics::percentile;
use super::world::{Stream, Target, World};

/// Left out at the beginning, while connections and caches are new.
const WARM_UP: Duration = Duration::from_secs(1);

pub const P50: Metric = Metric::new("latency at {}/s, p50", "ms", 1);
pub const P99: Metric = Metric::new("latency at {}/s, p99", "ms", 1);
const P999: Metric = Metric::new("latency at {}/s, p99.9", "ms", 1);
const MAX: Metric = Metric::new("latency at {}/s, highest", "ms", 1);
const PARTS: Metric = Metric::new("active parts at {}/s, at most", "", 0);
const INSERTS: Metric = Metric::new("inserts at {}/s", "1/s", 1);
const CPU: Metric = Metric::new("CPU of the consumer at {}/s", "% of a core", 1);
const CPU_BROKER: Metric = Metric::new("CPU of the broker at {}/s", "% of a core", 1);
const PEAK: Metric = Metric::new("peak resident memory at {}/s", "MiB", 0);
const CPU_CLICKHOUSE: Metric = Metric::new("CPU of ClickHouse at {}/s", "% of a core", 1);

/// Every round has every candidate at every rate.
pub async fn measure(world: &World, plan: &Plan, report: &mut Report) -> Result<()> {
    for round in 1..=plan.rounds {
        for rate in &plan.rates {
            for candidate in plan.turns(round) {
                match hold(world, candidate, *rate, plan.hold).await {
                    Ok(held) => record(&candidate.label, *rate, &held, report),
                    Err(error) => report.invalid(format!("round {round}, {rate}/s: {error:#}")),
                }
            }
        }
    }
    Ok(())
}

/// Result of a rate.
pub struct Held {
    pub outcome: Outcome,
    /// Time at which each signal was stored, in milliseconds from the first, and its time from
    /// there to ClickHouse, in milliseconds; in the order of the stream.
    pub signals: Vec<(f64, f64)>,
}

/// Publishes at a rate for so long, while the consumer is at work.
pub async fn hold(
    world: &World,
    candidate: &Candidate,
    rate: u64,
    length: Duration,
) -> Result<Held> {
    let stream = world.stream().await?;
    let target = world.target(&stream, candidate).await?;
    let held = hold_on(world, &stream, &target, candidate, rate, length).await;
    world.clear(&target).await?;
    world.delete(&stream).await?;
    held
}

async fn hold_on(
    world: &World,
    stream: &Stream,
    target: &Target,
    candidate: &Candidate,
    rate: u64,
    length: Duration,
) -> Result<Held> {
    part_log::keep_block_numbers(world, &target.database).await;
    let mut run = Run::start(world, target, candidate, 1).await?;
    let count = (rate * length.as_secs()).max(1);
    let arguments = ["--rate", &rate.to_string(), "--count", &count.to_string()];
    world.produce(stream, &arguments).await?;
    let info = run.settled(|_| ()).await?;
    let outcome = run.finish(&info, count).await?;
    let commits = part_log::commits(world, &target.database).await;
    let published = drain::published(world, &stream.name, count).await?;
    ensure!(
        commits.len() == published.len(),
        "ClickHouse's part_log has {} commits of {} signals",
        commits.len(),
        published.len()
    );
    let first_ns = published.first().map_or(0, |first| first.1);
    let pairs = published.iter().zip(&commits);
    let signals = pairs.map(|((seq, stored_ns), (row_seq, commit_us))| {
        ensure!(seq == row_seq, "sequence {seq} has landed as {row_seq}");
        let since_first = (stored_ns - first_ns) as f64 / 1e6;
        let latency = *commit_us as f64 / 1e3 - *stored_ns as f64 / 1e6;
        ensure!(
            latency > 0.0,
            "sequence {seq} was committed before it was stored"
        );
        Ok((since_first, latency))
    });
    Ok(Held {
        signals: signals.collect::<Result<_>>()?,
        outcome,
    })
}

fn record(label: &str, rate: u64, held: &Held, report: &mut Report) {
    let warm = held
        .signals
        .iter()
        .filter(|(since_first, _)| *since_first >= WARM_UP.as_secs_f64() * 1e3);
    let mut latencies: Vec<f64> = warm.map(|(_, latency)| *latency).collect();
    latencies.sort_by(f64::total_cmp);
    let p99 = percentile(&latencies, 0.99);
    eprintln!("{label} at {rate}/s: p99 {p99:.1} ms");
    report.add(label, P50.at(rate), percentile(&latencies, 0.5));
    report.add(label, P99.at(rate), p99);
    report.add(label, P999.at(rate), percentile(&latencies, 0.999));
    report.add(label, MAX.at(rate), percentile(&latencies, 1.0));
    let outcome = &held.outcome;
    let seconds = outcome.elapsed.as_secs_f64();
    report.add(label, PARTS.at(rate), outcome.history.parts_max());
    report.add(
        label,
        INSERTS.at(rate),
        outcome.history.insert_count() / seconds,
    );
    let percent = 100.0 / outcome.lived.as_secs_f64();
    report.add(label, CPU.at(rate), outcome.cpu * percent);
    report.add(
        label,
        CPU_CLICKHOUSE.at(rate),
        outcome.servers.clickhouse * percent,
    );
    report.add(label, CPU_BROKER.at(rate), outcome.servers.broker * percent);
    report.add(label, PEAK.at(rate), outcome.peak_mib);
    if let Some(log) = outcome.claims_log {
        log.record_at(label, rate, seconds, report);
    }
}
