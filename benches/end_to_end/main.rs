//! Speed of the daemon, or any other consumer, against private real servers, next to a bare
//! drain of the same stream. `make bench` runs it; `--help` says what it takes.
//!
//! Every consumer is judged by the stream, the table and ClickHouse's log of parts alone, so
//! that the same clock holds for all. Rounds alternate between the things compared.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A measurement stops at the first surprise.

mod arguments;
mod batches;
mod candidate;
mod catch_up;
mod claims_log;
mod consume;
mod cost;
mod drain;
mod latency;
mod part_log;
mod plot;
mod report;
mod scale;
mod statistics;
mod sustainable;
mod throughput;
mod world;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use arguments::{Arguments, Part};
use report::Report;
use world::World;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new().expect("no runtime");
    // On the main thread, which the children's lives are tied to.
    let done = runtime.block_on(async {
        tokio::select! {
            report = measure(&arguments) => report,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("stopped")),
        }
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures what is asked for; false when a round was invalid.
async fn measure(arguments: &Arguments) -> Result<bool> {
    let plan = arguments.plan()?;
    let world = World::start(&plan).await?;
    let mut report = Report::default();
    let backlog = [Part::Drain, Part::Throughput, Part::Batches, Part::Scale];
    if backlog.iter().any(|part| plan.wants(*part)) {
        let stream = world.preloaded(plan.count).await?;
        throughput::measure(&world, &plan, &stream, &mut report).await?;
        if plan.wants(Part::Batches) {
            batches::measure(&world, &plan, &stream, &mut report).await?;
        }
        if plan.wants(Part::Scale) {
            scale::measure(&world, &plan, &stream, &mut report).await?;
        }
        world.delete(&stream).await?;
    }
    if plan.wants(Part::Latency) {
        latency::measure(&world, &plan, &mut report).await?;
    }
    if plan.wants(Part::Sustainable) {
        sustainable::measure(&world, &plan, &mut report).await?;
    }
    if plan.wants(Part::CatchUp) {
        catch_up::measure(&world, &plan, &mut report).await?;
    }
    println!("{}", report.table());
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(folder) = &arguments.plots {
        plot::draw(&report, folder)?;
    }
    Ok(report.is_valid())
}
