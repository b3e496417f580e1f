//! One run: servers, daemons, a publisher, faults, quiet, and the verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use testkit::process::Process;
use testkit::setting;

use super::inject::inject;
use super::journal::Journal;
use super::logs::Logs;
use super::oracle::{self, Findings};
use super::plan::{Target, plan};
use super::publisher::Job;
use super::quiet::quiet;
use super::report;
use super::world::{OTHER_CONSUMER, PLACES, World, dies_with_parent};

/// A run with fewer kills proves nothing: 12 in the short run of 60 seconds.
const KILLS_A_SECOND_MIN: f64 = 0.2;

/// System under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// One NATS server, and faults of every kind.
    Everything,
    /// Three NATS servers with a replicated stream, one of which is killed at a time.
    Cluster,
    /// Everything, with an ack for all messages before its own.
    AckAll,
}

impl Case {
    pub const ALL: [Self; 3] = [Self::Everything, Self::Cluster, Self::AckAll];

    pub fn name(self) -> &'static str {
        match self {
            Self::Everything => "chaos::everything",
            Self::Cluster => "chaos::cluster",
            Self::AckAll => "chaos::ack_all",
        }
    }

    /// Part of the short run.
    pub fn is_short(self) -> bool {
        self == Self::Everything
    }

    fn nodes(self) -> usize {
        match self {
            Self::Everything | Self::AckAll => 1,
            Self::Cluster => 3,
        }
    }

    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Everything | Self::Cluster => &[],
            Self::AckAll => &[setting!(consumer.ack_policy = "all")],
        }
    }

    fn targets(self, puts_back: bool, steps_clocks: bool) -> Vec<Target> {
        let mut targets: Vec<Target> = (0..PLACES).map(Target::Daemon).collect();
        targets.push(Target::ClickHouse);
        targets.extend((0..PLACES).map(Target::LinkToClickHouse));
        match self {
            Self::Everything | Self::AckAll => {
                targets.push(if puts_back {
                    Target::NatsAndItsData
                } else {
                    Target::Nats
                });
                targets.extend((0..PLACES).map(Target::LinkToNats));
            }
            Self::Cluster => targets.push(Target::Cluster),
        }
        targets.extend([Target::Consumer, Target::Table, Target::OtherConsumer]);
        if steps_clocks {
            targets.extend((0..PLACES).map(Target::Clock));
        }
        targets
    }
}

/// Options of a run.
#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    pub length: Duration,
    /// Signals a second.
    pub rate: u64,
    /// Puts NATS' data back from copies.
    pub puts_back: bool,
    /// Another release's program.
    pub daemon: Option<PathBuf>,
}

/// Result of a run.
pub struct Outcome {
    pub findings: Findings,
    pub logs: Logs,
    /// Faults that were found, most telling first; empty when none was.
    pub failures: Vec<String>,
}

/// Runs a case in a folder, which holds the logs and the data afterwards.
pub async fn run(
    case: Case,
    options: &Options,
    dir: &Path,
    journal: &Arc<Journal>,
) -> Result<Outcome> {
    let Options {
        seed, length, rate, ..
    } = *options;
    let other = options.daemon.clone();
    let count = (length.as_secs_f64() * rate as f64) as u64;
    let world = World::set_up(dir, case.nodes(), case.settings(), other, journal).await?;
    for place in &world.places[..OTHER_CONSUMER] {
        world.start_daemon(place);
    }
    let job = Job {
        servers: world.nats_urls(),
        seed,
        count,
        rate,
    };
    let mut publisher = publisher(&job, dir)?;
    let targets = case.targets(options.puts_back, world.can_step_clocks());
    let plan = plan(seed, length, &targets);
    inject(&world, &publisher, &plan).await;
    world.mend().await;
    quiet(&world, &mut publisher).await?;
    journal.note("all is quiet");
    stop_daemons(&world).await;
    let logs = Logs::read(dir)?;
    let findings = oracle::check(&world, seed, count).await?;
    let mut failures = findings.offenders(&world, seed).await?;
    failures.extend(logs.panics.iter().cloned());
    if !world.is_put_back() {
        failures.extend(logs.losses.iter().cloned());
    }
    failures.extend(journal.failures());
    let kills = report::kills(&journal.counts());
    let kills_min = (length.as_secs_f64() * KILLS_A_SECOND_MIN) as u64;
    if kills < kills_min {
        failures.push(format!(
            "{kills} kills prove too little, {kills_min} are wanted"
        ));
    }
    Ok(Outcome {
        findings,
        logs,
        failures,
    })
}

/// This program again, in a process of its own.
fn publisher(job: &Job, dir: &Path) -> Result<Process> {
    let program = std::env::current_exe()?;
    let mut command = dies_with_parent(&program);
    command
        .args(["--publish-to", &job.servers])
        .args(["--seed", &job.seed.to_string()])
        .args(["--count", &job.count.to_string()])
        .args(["--rate", &job.rate.to_string()]);
    Ok(Process::spawn(command, &dir.join("publisher.log")))
}

/// With nothing in the way, a daemon stops cleanly.
async fn stop_daemons(world: &World) {
    let stops = world.places.iter().map(|place| async move {
        let status = place.stop().await;
        if let Some(status) = status.filter(|status| !status.success()) {
            let what = format!("{} did not stop cleanly: {status}", place.name());
            world.journal.fail(what);
        }
    });
    join_all(stops).await;
}
