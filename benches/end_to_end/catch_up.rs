//! A large backlog: does the throughput last, and is the memory flat?

use anyhow::Result;

use super::arguments::Plan;
use super::candidate::Candidate;
use super::consume::{Run, now_us};
use super::cost;
use super::report::{Metric, Report};
use super::statistics::median;
use super::world::{Stream, World};

const THROUGHPUT: Metric = Metric::new("catch-up: throughput", "signals/s", 0);
const QUARTER: Metric = Metric::new("catch-up: throughput in quarter {}", "signals/s", 0);
const RESIDENT: Metric = Metric::new("catch-up: resident memory in quarter {}", "MiB", 0);
const PEAK: Metric = Metric::new("catch-up: peak resident memory", "MiB", 0);
const PARTS: Metric = Metric::new("catch-up: active parts, at most", "", 0);

/// Once for each candidate.
pub async fn measure(world: &World, plan: &Plan, report: &mut Report) -> Result<()> {
    let stream = world.preloaded(plan.catch_up_count).await?;
    for candidate in &plan.candidates {
        let caught_up = catch_up(world, &stream, candidate, plan.catch_up_count, report);
        if let Err(error) = caught_up.await {
            report.invalid(format!("catch-up: {error:#}"));
        }
    }
    world.delete(&stream).await
}

async fn catch_up(
    world: &World,
    stream: &Stream,
    candidate: &Candidate,
    count: u64,
    report: &mut Report,
) -> Result<()> {
    let target = world.target(stream, candidate).await?;
    let mut memory: Vec<(i64, f64)> = Vec::new();
    let outcome = async {
        let mut run = Run::start(world, &target, candidate, 1).await?;
        let look = |pid| memory.push((now_us(), cost::resident_mib(pid)));
        let info = run.settled(look).await?;
        run.finish(&info, count).await
    };
    let outcome = outcome.await;
    world.clear(&target).await?;
    let outcome = outcome?;
    let label = &candidate.label;
    let elapsed = outcome.elapsed.as_secs_f64();
    report.add(label, THROUGHPUT, count as f64 / elapsed);
    let quarter_us = outcome.elapsed.as_micros() as i64 / 4;
    for quarter in 0..4 {
        let from = outcome.first_pull_us + quarter * quarter_us;
        // The last commit is in the last quarter, whatever was rounded.
        let to = if quarter == 3 {
            i64::MAX
        } else {
            from + quarter_us
        };
        let rows = outcome.history.rows_between(from, to);
        let rate = rows as f64 / (elapsed / 4.0);
        report.add(label, QUARTER.at(quarter as u64 + 1), rate);
        let within = memory.iter().filter(|(at, _)| (from..to).contains(at));
        let resident: Vec<f64> = within.map(|(_, mib)| *mib).collect();
        report.add(label, RESIDENT.at(quarter as u64 + 1), median(&resident));
    }
    report.add(label, PEAK, outcome.peak_mib);
    report.add(label, PARTS, outcome.history.parts_max());
    Ok(())
}
