//! Throughput by the size of batches.

use anyhow::Result;
use testkit::variable;

use super::arguments::Plan;
use super::report::{Metric, Report};
use super::throughput;
use super::world::{Stream, World};

pub const THROUGHPUT: Metric = Metric::new("throughput with batch.max_rows {}", "signals/s", 0);

/// Every round has the first candidate with every size.
pub async fn measure(
    world: &World,
    plan: &Plan,
    stream: &Stream,
    report: &mut Report,
) -> Result<()> {
    let candidate = &plan.candidates[0];
    for round in 1..=plan.rounds {
        for size in &plan.batch_sizes {
            let mut sized = candidate.clone();
            let variable = variable!(batch.max_rows).to_owned();
            sized.environment.push((variable, size.to_string()));
            match throughput::consume(world, stream, &sized, 1, plan.count).await {
                Ok(outcome) => {
                    let rate = plan.count as f64 / outcome.elapsed.as_secs_f64();
                    eprintln!("round {round}: batches of {size}: {rate:.0} signals/s");
                    report.add(&candidate.label, THROUGHPUT.at(*size), rate);
                }
                Err(error) => report.invalid(format!("batches of {size}: {error:#}")),
            }
        }
    }
    Ok(())
}
