//! From a backlog to nowhere and to ClickHouse, in alternating rounds.

use std::collections::HashMap;

use anyhow::Result;
use async_nats::jetstream::consumer::AckPolicy;

use super::arguments::{Part, Plan};
use super::candidate::Candidate;
use super::consume::{Outcome, Run};
use super::cost::{self, Servers};
use super::drain::{self, Tuning};
use super::report::{Metric, Report};
use super::world::{Stream, World};

const THROUGHPUT: Metric = Metric::new("throughput", "signals/s", 0);
const RATIO: Metric = Metric::new("of the bare drain with the same acks", "", 2);
const CPU: Metric = Metric::new("CPU of the consumer", "s/million", 2);
const CPU_BROKER: Metric = Metric::new("CPU of the broker", "s/million", 2);
const CPU_CLICKHOUSE: Metric = Metric::new("CPU of ClickHouse", "s/million", 2);
const PEAK: Metric = Metric::new("peak resident memory", "MiB", 0);
const READY: Metric = Metric::new("start to first pull", "ms", 0);
const PARTS: Metric = Metric::new("active parts, at most", "", 0);
const INSERTS: Metric = Metric::new("inserts", "1/s", 1);
const ROWS: Metric = Metric::new("rows of the middle insert", "", 0);

/// Every round has the drains, by ack policy, and every candidate.
pub async fn measure(
    world: &World,
    plan: &Plan,
    stream: &Stream,
    report: &mut Report,
) -> Result<()> {
    for round in 1..=plan.rounds {
        let mut drained = HashMap::new();
        if plan.wants(Part::Drain) {
            for policy in [AckPolicy::Explicit, AckPolicy::All, AckPolicy::None] {
                let rate = bare(world, plan, stream, policy, report).await?;
                eprintln!("round {round}: bare drain, {policy:?}: {rate:.0} signals/s");
                drained.insert(format!("{policy:?}"), rate);
            }
        }
        if !plan.wants(Part::Throughput) {
            continue;
        }
        for candidate in plan.turns(round) {
            match consume(world, stream, candidate, 1, plan.count).await {
                Ok(outcome) => {
                    let rate = record(&candidate.label, &outcome, plan.count, report);
                    eprintln!("round {round}: {}: {rate:.0} signals/s", candidate.label);
                    if let Some(bare) = drained.get(&format!("{:?}", outcome.ack_policy)) {
                        report.add(&candidate.label, RATIO, rate / bare);
                    }
                }
                Err(error) => report.invalid(format!("round {round}: {error:#}")),
            }
        }
    }
    Ok(())
}

/// One drain; messages a second.
async fn bare(
    world: &World,
    plan: &Plan,
    stream: &Stream,
    policy: AckPolicy,
    report: &mut Report,
) -> Result<f64> {
    let tuning = Tuning {
        pulls: plan.drain_pulls,
        batch: plan.drain_batch,
    };
    let own = std::process::id();
    // What is below this process, the servers, counts for itself.
    let before = (Servers::now(world), cost::cpu_alone(own));
    let elapsed = drain::drain(world, &stream.name, policy, tuning, plan.count).await?;
    let servers = Servers::now(world).since(before.0);
    let cpu = cost::cpu_alone(own) - before.1;
    let label = format!("bare drain, ack {}", format!("{policy:?}").to_lowercase());
    let rate = plan.count as f64 / elapsed.as_secs_f64();
    let millions = plan.count as f64 / 1e6;
    report.add(&label, THROUGHPUT, rate);
    report.add(&label, CPU, cpu.as_secs_f64() / millions);
    report.add(&label, CPU_BROKER, servers.broker / millions);
    Ok(rate)
}

/// One run over the whole backlog.
pub async fn consume(
    world: &World,
    stream: &Stream,
    candidate: &Candidate,
    instances: usize,
    count: u64,
) -> Result<Outcome> {
    let target = world.target(stream, candidate).await?;
    let outcome = async {
        let mut run = Run::start(world, &target, candidate, instances).await?;
        let info = run.settled(|_| ()).await?;
        run.finish(&info, count).await
    };
    let outcome = outcome.await;
    world.clear(&target).await?;
    outcome
}

/// Notes what a run came to; signals a second.
fn record(label: &str, outcome: &Outcome, count: u64, report: &mut Report) -> f64 {
    let rate = count as f64 / outcome.elapsed.as_secs_f64();
    let millions = count as f64 / 1e6;
    report.add(label, THROUGHPUT, rate);
    report.add(label, CPU, outcome.cpu / millions);
    report.add(label, CPU_BROKER, outcome.servers.broker / millions);
    report.add(label, CPU_CLICKHOUSE, outcome.servers.clickhouse / millions);
    report.add(label, PEAK, outcome.peak_mib);
    report.add(label, READY, outcome.ready.as_secs_f64() * 1e3);
    report.add(label, PARTS, outcome.history.parts_max());
    let seconds = outcome.elapsed.as_secs_f64();
    report.add(label, INSERTS, outcome.history.insert_count() / seconds);
    report.add(label, ROWS, outcome.history.rows_median());
    if let Some(log) = outcome.claims_log {
        log.record(label, count, report);
    }
    rate
}
