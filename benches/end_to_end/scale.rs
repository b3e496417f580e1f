//! One instance after the other on one consumer.

use anyhow::Result;

use super::arguments::Plan;
use super::report::{Metric, Report};
use super::throughput;
use super::world::{Stream, World};

const THROUGHPUT: Metric = Metric::new("throughput of {} instances", "signals/s", 0);
const CPU: Metric = Metric::new("CPU of {} instances", "s/million", 2);

/// Every round has every number of instances of every candidate.
pub async fn measure(
    world: &World,
    plan: &Plan,
    stream: &Stream,
    report: &mut Report,
) -> Result<()> {
    for round in 1..=plan.rounds {
        for candidate in &plan.candidates {
            for instances in 1..=plan.instances {
                let run = throughput::consume(world, stream, candidate, instances, plan.count);
                let label = &candidate.label;
                match run.await {
                    Ok(outcome) => {
                        let rate = plan.count as f64 / outcome.elapsed.as_secs_f64();
                        let cpu = outcome.cpu / plan.count as f64 * 1e6;
                        eprintln!("round {round}: {instances} × {label}: {rate:.0} signals/s");
                        report.add(label, THROUGHPUT.at(instances as u64), rate);
                        report.add(label, CPU.at(instances as u64), cpu);
                    }
                    Err(error) => report.invalid(format!("{instances} instances: {error:#}")),
                }
            }
        }
    }
    Ok(())
}
