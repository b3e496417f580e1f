//! One run of a consumer, from its start until it has settled everything.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::Subscriber;
use async_nats::jetstream::consumer::{AckPolicy, Info};
use futures_util::StreamExt;
use testkit::process::Process;
use tokio::time::{sleep, timeout};

use super::candidate::Candidate;
use super::claims_log::ClaimsLog;
use super::cost::{self, Servers};
use super::part_log::{self, History};
use super::world::{TABLE, Target, World};

/// Between two looks at the consumer. At 10 Hz they cost the broker less than a thousandth.
const LOOK: Duration = Duration::from_millis(100);
/// For a first pull.
const START: Duration = Duration::from_secs(60);
/// For what else an instance had asked for when it was stopped to reach the server.
const OTHER_PULLS: Duration = Duration::from_millis(20);
/// Without a change of the consumer's state.
const STUCK: Duration = Duration::from_secs(60);

/// Consumers at work.
pub struct Run<'a> {
    world: &'a World,
    target: &'a Target,
    label: &'a str,
    processes: Vec<Process>,
    started_us: i64,
    first_pull_us: i64,
    servers: Servers,
}

/// Result of a run.
pub struct Outcome {
    /// From the start of the process to its first pull.
    pub ready: Duration,
    /// Time of the first pull, or of the pull that all instances had made: microseconds since the
    /// epoch.
    pub first_pull_us: i64,
    /// From the first pull to the last commit.
    pub elapsed: Duration,
    /// CPU seconds of all instances, from their start until all was settled.
    pub cpu: f64,
    /// CPU seconds of the servers in that time.
    pub servers: Servers,
    /// From the start of the processes until all was settled.
    pub lived: Duration,
    /// The most memory that one instance had resident, in MiB.
    pub peak_mib: f64,
    pub ack_policy: AckPolicy,
    pub history: History,
    /// Records in the claims log; `None` of a release without one.
    pub claims_log: Option<ClaimsLog>,
}

/// Requests to JetStream's API can be listened to: the moment of the next pull, reported by the
/// consumer itself.
async fn subscribe_to_pulls(world: &World, target: &Target) -> Result<Subscriber> {
    let Target {
        stream, consumer, ..
    } = target;
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
    let mut pulls = world.client.subscribe(subject).await?;
    pulls.unsubscribe_after(1).await?;
    world.client.flush().await?;
    Ok(pulls)
}

impl<'a> Run<'a> {
    /// Starts so many instances, and waits until each has asked for messages.
    pub async fn start(
        world: &'a World,
        target: &'a Target,
        candidate: &'a Candidate,
        instances: usize,
    ) -> Result<Self> {
        let mut pulls = subscribe_to_pulls(world, target).await?;
        let servers = Servers::now(world);
        let mut run = Self {
            world,
            target,
            label: &candidate.label,
            processes: Vec::new(),
            started_us: now_us(),
            first_pull_us: 0,
            servers,
        };
        for instance in 0..instances {
            run.processes.push(run.spawn(candidate, instance));
            run.wait_for_pull(&mut pulls).await?;
            // None inserts before all have asked: an instance that finds rows of others in the
            // first ack wait of a consumer waits for the rest.
            if instances > 1 {
                run.processes[instance].signal("STOP");
                sleep(OTHER_PULLS).await;
                pulls = subscribe_to_pulls(world, target).await?;
            }
        }
        if instances > 1 {
            run.first_pull_us = now_us();
            for process in &run.processes {
                process.signal("CONT");
            }
        }
        Ok(run)
    }

    fn spawn(&self, candidate: &Candidate, instance: usize) -> Process {
        let mut command = Command::new(&candidate.program);
        command
            .args(&candidate.arguments)
            .env_clear()
            .envs(self.target.environment.iter().cloned())
            .envs(candidate.environment.iter().cloned())
            .current_dir(self.world.dir());
        let name = format!("{}-{instance}.log", self.target.consumer);
        Process::spawn(command, &self.world.dir().join(name))
    }

    async fn wait_for_pull(&mut self, pulls: &mut Subscriber) -> Result<()> {
        let seen = timeout(START, pulls.next()).await;
        self.first_pull_us = now_us();
        let Ok(Some(_)) = seen else {
            bail!("{} asked for no message:\n{}", self.label, self.output());
        };
        Ok(())
    }

    fn output(&self) -> String {
        let output = self.processes[0].output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    pub fn first_pid(&self) -> u32 {
        self.processes[0].pid()
    }

    /// The consumer's state.
    pub async fn info(&self) -> Result<Info> {
        let stream = &self.target.stream;
        let stream = self.world.jetstream.get_stream_no_info(stream).await?;
        Ok(stream.consumer_info(&self.target.consumer).await?)
    }

    /// Waits until nothing of the stream is pending; `look` is called at each look.
    pub async fn settled(&mut self, mut look: impl FnMut(u32)) -> Result<Info> {
        let mut last = (0, 0);
        let mut same_for = Duration::ZERO;
        loop {
            let info = self.info().await?;
            if info.num_pending == 0 && info.num_ack_pending == 0 {
                return Ok(info);
            }
            let state = (info.num_pending, info.num_ack_pending as u64);
            same_for = if state == last {
                same_for + LOOK
            } else {
                Duration::ZERO
            };
            last = state;
            let ended = self.processes.iter_mut().any(|one| one.status().is_some());
            if ended || same_for > STUCK {
                bail!(
                    "{} is stuck with {} pending:\n{}",
                    self.label,
                    info.num_pending,
                    self.output()
                );
            }
            look(self.first_pid());
            sleep(LOOK).await;
        }
    }

    /// Ends the consumers, and checks that each of `count` signals has landed once.
    pub async fn finish(mut self, info: &Info, count: u64) -> Result<Outcome> {
        let lived = micros(now_us() - self.started_us);
        let servers = Servers::now(self.world).since(self.servers);
        let pids: Vec<u32> = self.processes.iter().map(Process::pid).collect();
        let cpu = pids.iter().map(|pid| cost::cpu(*pid).as_secs_f64()).sum();
        let peak_mib = pids
            .iter()
            .map(|pid| cost::peak_mib(*pid))
            .fold(0.0, f64::max);
        for process in &self.processes {
            process.signal("TERM");
        }
        for process in &mut self.processes {
            timeout(START, process.ended())
                .await
                .with_context(|| format!("{} does not end on SIGTERM", self.label))?;
        }
        let claims_log = ClaimsLog::of(self.world, self.target).await;
        let sql = format!(
            "SELECT count(), uniqExact(trace_id) FROM {}.{TABLE}",
            self.target.database
        );
        let counts: Vec<(u64, u64)> = self.world.clickhouse.rows(&sql).await;
        let (rows, distinct) = counts[0];
        ensure!(
            rows == count && distinct == count,
            "{}: of {count} signals {distinct} have landed, as {rows} rows",
            self.label
        );
        let history = part_log::history(self.world, &self.target.database).await?;
        Ok(Outcome {
            ready: micros(self.first_pull_us - self.started_us),
            first_pull_us: self.first_pull_us,
            elapsed: micros(history.last_commit_us() - self.first_pull_us),
            cpu,
            servers,
            lived,
            peak_mib,
            ack_policy: info.config.ack_policy,
            history,
            claims_log,
        })
    }
}

/// Microseconds since the epoch.
pub fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_micros() as i64
}

pub fn micros(micros: i64) -> Duration {
    Duration::from_micros(micros.max(0) as u64)
}
