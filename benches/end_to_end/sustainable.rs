//! The highest rate at which the lag does not grow.

use std::time::Duration;

use anyhow::Result;

use super::arguments::Plan;
use super::candidate::Candidate;
use super::latency::{self, Held};
use super::report::{Metric, Report};
use super::statistics::{median, percentile, sorted};
use super::world::World;

/// The first rate that is tried; from there it doubles while it holds, or is halved until it does.
const FIRST_RATE: u64 = 20_000;
/// Halvings of the gap between the highest rate that held and the lowest that did not.
const HALVINGS: usize = 2;
/// Below this nothing is tried.
const LOWEST_RATE: u64 = 100;
/// The lag grows by less than this share of the time, or the rate does not hold.
const GROWTH_MAX: f64 = 0.02;
/// Variation of a lag that does not grow, in milliseconds.
const VARIATION_MS: f64 = 50.0;
/// The rate as JetStream stored the signals is at least this share of what was asked.
const PUBLISHED_MIN: f64 = 0.95;

const RATE: Metric = Metric::new("highest sustainable rate", "signals/s", 0);
const P50: Metric = Metric::new("latency at that rate, p50", "ms", 1);
const P99: Metric = Metric::new("latency at that rate, p99", "ms", 1);

/// Searches once for each candidate.
pub async fn measure(world: &World, plan: &Plan, report: &mut Report) -> Result<()> {
    for candidate in &plan.candidates {
        if let Err(error) = search(world, candidate, plan.hold, report).await {
            report.invalid(format!("sustainable rate: {error:#}"));
        }
    }
    Ok(())
}

async fn search(
    world: &World,
    candidate: &Candidate,
    length: Duration,
    report: &mut Report,
) -> Result<()> {
    let mut held = None;
    // The highest rate known to hold, and the lowest known not to.
    let (mut low, mut high) = (0, u64::MAX);
    let mut rate = FIRST_RATE;
    while (low == 0 || high == u64::MAX) && rate >= LOWEST_RATE {
        match try_rate(world, candidate, rate, length).await? {
            Some(latencies) => (low, held, rate) = (rate, Some(latencies), rate * 2),
            None => (high, rate) = (rate, rate / 2),
        }
    }
    for _ in 0..HALVINGS {
        let rate = low.midpoint(high);
        match try_rate(world, candidate, rate, length).await? {
            Some(latencies) => {
                held = Some(latencies);
                low = rate;
            }
            None => high = rate,
        }
    }
    report.add(&candidate.label, RATE, low as f64);
    if let Some(latencies) = held {
        report.add(&candidate.label, P50, percentile(&latencies, 0.5));
        report.add(&candidate.label, P99, percentile(&latencies, 0.99));
    }
    Ok(())
}

/// The latencies at a rate, sorted, when it holds.
async fn try_rate(
    world: &World,
    candidate: &Candidate,
    rate: u64,
    length: Duration,
) -> Result<Option<Vec<f64>>> {
    let held = latency::hold(world, candidate, rate, length).await?;
    let (published, growth) = (published_rate(&held), growth(&held));
    let holds = published >= rate as f64 * PUBLISHED_MIN && growth <= GROWTH_MAX;
    eprintln!(
        "{} at {rate}/s: {published:.0}/s published, lag grows by {:.1} % of the time: {}",
        candidate.label,
        growth * 100.0,
        if holds { "holds" } else { "does not hold" }
    );
    let latencies: Vec<f64> = held.signals.iter().map(|(_, latency)| *latency).collect();
    Ok(holds.then(|| sorted(&latencies)))
}

/// Signals a second as JetStream stored them.
fn published_rate(held: &Held) -> f64 {
    let lasted_ms = held.signals.last().map_or(0.0, |last| last.0);
    held.signals.len() as f64 / lasted_ms.max(1.0) * 1e3
}

/// By how much the lag grows, in time per time: the middle latency of the last quarter
/// against that of the second.
fn growth(held: &Held) -> f64 {
    let quarter = held.signals.len() / 4;
    if quarter == 0 {
        return 0.0;
    }
    let middle = |from: usize| {
        let part = &held.signals[from..from + quarter];
        let latencies: Vec<f64> = part.iter().map(|(_, latency)| *latency).collect();
        (part[quarter / 2].0, median(&latencies))
    };
    let (early, late) = (middle(quarter), middle(held.signals.len() - quarter));
    (late.1 - early.1 - VARIATION_MS) / (late.0 - early.0).max(1.0)
}
