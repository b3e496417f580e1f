//! Fullness of the storages that the daemon and its publishers write to: streams, their account,
//! disks.

mod board;
pub mod fullness;
pub mod log_lines;
mod measure;
mod metrics;
mod nats_health;
mod poll;
mod refusals;
pub mod warning;

pub use board::{Board, Monitored, Newest};
pub use measure::{Meter, measure_health};
pub use metrics::StorageMetrics;
pub use nats_health::NatsHealth;
pub use poll::CapacityPoller;
pub use refusals::PublishRefusals;
pub use warning::{Warning, for_drops, for_expired, for_history, for_storage};

use std::fmt;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use fullness::{Fullness, Level};

/// Purpose of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageKind {
    /// The stream that applications publish to.
    Signals,
    /// The stream of dead letters.
    DeadLetters,
    /// The claims log.
    Claims,
    /// All streams of the NATS account, on disk or in memory.
    Account,
    /// Health of the server itself.
    Nats,
    /// ClickHouse's disk.
    Clickhouse,
}

impl StorageKind {
    /// Returns its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signals => "the stream of signals",
            Self::DeadLetters => "the stream of dead letters",
            Self::Claims => "the claims log",
            Self::Account => "the account",
            Self::Nats => "nats-server",
            Self::Clickhouse => "ClickHouse's disk",
        }
    }
}

/// Messages of a stream with a bound on their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageCount {
    /// Present messages.
    pub count: u64,
    /// Messages at which it rejects more.
    pub limit: u64,
}

impl MessageCount {
    /// Judges the urgency by the number alone.
    pub fn level(self) -> Level {
        Fullness::judge(self.count, Some(self.limit), None).level
    }
}

/// Fill level of one storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StorageFill {
    /// Purpose of the storage.
    pub kind: StorageKind,
    /// Name, unique among all storages.
    pub name: String,
    /// Fullness of the storage.
    #[serde(flatten)]
    pub fullness: Fullness,
    /// Messages, if their number has a bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<MessageCount>,
    /// Reason for which it rejected the last write; `None` once it accepted one. For the health of
    /// nats-server, the server's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

impl StorageFill {
    /// Judges the urgency: a rejected write counts as full.
    pub fn level(&self) -> Level {
        match self.refusal {
            Some(_) => Level::Full,
            None => self.fullness.level,
        }
    }
}

/// Displays it as `SIGNALS: 12.0 GiB, 60 % of 20.0 GiB, full in 3days`.
impl fmt::Display for StorageFill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == StorageKind::Nats {
            let state = match self.level() {
                Level::Ok => "is healthy",
                Level::Filling => "does not answer at nats.monitoring_url",
                Level::Full => "is not healthy",
            };
            return write!(f, "{} {state}", self.name);
        }
        let Fullness {
            used_bytes,
            limit_bytes,
            seconds_until_full,
            ..
        } = self.fullness;
        write!(f, "{}: {}", self.name, ByteSize(used_bytes))?;
        match (limit_bytes, self.fullness.percent()) {
            (Some(limit), Some(percent)) => write!(f, ", {percent} % of {}", ByteSize(limit))?,
            _ => f.write_str(", without a bound of its own")?,
        }
        if let Some(MessageCount { count, limit }) = self.messages {
            write!(f, ", {count} of at most {limit} messages")?;
        }
        if let Some(seconds) = seconds_until_full {
            write!(f, ", full in {}", time(seconds))?;
        }
        if self.refusal.is_some() {
            f.write_str("; it rejects writes")?;
        }
        Ok(())
    }
}

/// Formats a time in its two largest units.
pub fn time(seconds: u64) -> String {
    let time = humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string();
    time.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
