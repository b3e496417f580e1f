//! The command line, and what it comes to.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};

use super::candidate::{self, Candidate};

/// Measures throughput, cost and latency of the daemon, or of any other consumer, against
/// private servers.
#[derive(Debug, Parser)]
#[command(name = "bench")]
pub struct Arguments {
    /// The daemon's program, a release build without `fault-points`; several are compared
    #[arg(long, value_name = "[LABEL=]PATH", required = true)]
    pub daemon: Vec<String>,
    /// Name of the daemon in the table, when there is one without a label
    #[arg(long, default_value = "daemon")]
    pub label: String,
    /// A setting for every daemon, such as batch.max_rows=5000, or an environment variable
    #[arg(long, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// One more variant of each daemon, with these settings
    #[arg(long, value_name = "LABEL:KEY=VALUE,...")]
    pub compare: Vec<String>,
    /// Another consumer: a command for `sh`, which gets the daemon's environment (NATS_URL,
    /// RISKSIGNAL__STREAM__NAME, RISKSIGNAL__CONSUMER__NAME, CLICKHOUSE_URL, CLICKHOUSE_USER,
    /// CLICKHOUSE_PASSWORD, CLICKHOUSE_DATABASE, RISKSIGNAL__CLICKHOUSE__TABLE). It drains the
    /// stream through a durable pull consumer of that name, which it creates, into that table,
    /// which is there; for latency `stream_seq` has to be filled. It ends on SIGTERM
    #[arg(long, value_name = "LABEL:COMMAND")]
    pub competitor: Vec<String>,

    /// Only these parts [default: all; with --quick the first four]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Part>,
    /// About a minute
    #[arg(long)]
    pub quick: bool,
    /// Rounds, in each of which everything has its turn [default: 5, quick: 2]
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Signals of the backlog that is drained [default: 1000000, quick: 200000]
    #[arg(long)]
    pub count: Option<u64>,
    /// Signals a second at which the latency is taken
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 10_000])]
    pub rates: Vec<u64>,
    /// Time for which each rate is held [default: 20, quick: 4]
    #[arg(long)]
    pub seconds: Option<u64>,
    /// Signals of the backlog of `catchup` [default: 5000000, quick: 500000]
    #[arg(long)]
    pub catch_up_count: Option<u64>,
    /// Instances that `scale` goes up to
    #[arg(long, default_value_t = 4)]
    pub instances: usize,
    /// Values of batch.max_rows for `batches`
    #[arg(long, value_delimiter = ',',
          default_values_t = [500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000])]
    pub batch_sizes: Vec<u64>,
    /// Pulls that the bare drain has open at once
    #[arg(long, default_value_t = 2)]
    pub drain_pulls: usize,
    /// Messages that a pull of the bare drain asks for
    #[arg(long, default_value_t = 5_000)]
    pub drain_batch: usize,

    /// Place of the servers' data, in a folder that is removed at the end
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    pub data: PathBuf,
    /// Write every round's figures
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Draw throughput by batch size and latency by rate as SVG
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,

    /// Given by `cargo bench`; means nothing
    #[arg(long, hide = true)]
    bench: bool,
}

/// Part that may be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The bare drain, by ack policy
    Drain,
    /// From a backlog to ClickHouse
    Throughput,
    /// From JetStream's timestamp to committed, by rate
    Latency,
    /// The highest rate at which the lag does not grow
    Sustainable,
    /// Throughput by batch.max_rows
    Batches,
    /// One instance after the other on one consumer
    Scale,
    /// A large backlog: is the memory flat?
    #[value(name = "catchup")]
    CatchUp,
}

/// Plan of a measurement.
pub struct Plan {
    pub candidates: Vec<Candidate>,
    pub parts: Vec<Part>,
    pub rounds: usize,
    pub count: u64,
    pub rates: Vec<u64>,
    pub hold: Duration,
    pub catch_up_count: u64,
    pub instances: usize,
    pub batch_sizes: Vec<u64>,
    pub drain_pulls: usize,
    pub drain_batch: usize,
    pub data: PathBuf,
    /// Publishes, and makes the table.
    pub risksignal: PathBuf,
}

impl Plan {
    /// The candidates in the order of a round: every other round the other way around, so that none
    /// is always the first on a fresh machine.
    pub fn turns(&self, round: usize) -> Vec<&Candidate> {
        let mut candidates: Vec<&Candidate> = self.candidates.iter().collect();
        if round.is_multiple_of(2) {
            candidates.reverse();
        }
        candidates
    }

    pub fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

impl Arguments {
    pub fn plan(&self) -> Result<Plan> {
        let daemons = candidate::daemons(&self.daemon, &self.label)?;
        for daemon in &daemons {
            ensure!(daemon.1.exists(), "there is no {}", daemon.1.display());
        }
        let risksignal = daemons[0].1.clone();
        let mut candidates = candidate::variants(&daemons, &self.env, &self.compare)?;
        for text in &self.competitor {
            candidates.push(candidate::competitor(text)?);
        }
        let quick = |full, quick| if self.quick { quick } else { full };
        let parts = match self.only.as_slice() {
            [] if self.quick => Part::value_variants()[..4].to_vec(),
            [] => Part::value_variants().to_vec(),
            only => only.to_vec(),
        };
        Ok(Plan {
            candidates,
            parts,
            rounds: self.rounds.unwrap_or(quick(5, 2) as usize).max(1),
            count: self.count.unwrap_or(quick(1_000_000, 200_000)),
            rates: self.rates.clone(),
            hold: Duration::from_secs(self.seconds.unwrap_or(quick(20, 4)).max(3)),
            catch_up_count: self.catch_up_count.unwrap_or(quick(5_000_000, 500_000)),
            instances: self.instances,
            batch_sizes: self.batch_sizes.clone(),
            drain_pulls: self.drain_pulls,
            drain_batch: self.drain_batch,
            data: self.data.clone(),
            risksignal,
        })
    }
}
