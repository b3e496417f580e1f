//! Fullness of what the daemon and its publishers write to: streams, their account, the disks.

mod board;
pub mod fullness;
mod measure;
mod nats_health;
mod poll;
mod refusals;
mod warning;

pub use board::{Board, Newest};
pub use measure::Meter;
pub use nats_health::NatsHealth;
pub use poll::Poller;
pub use refusals::Refusals;
pub use warning::{Warning, of_history, of_storage};

use std::fmt;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use fullness::{Fullness, Level};

/// Purpose of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The stream that applications publish to.
    Signals,
    /// The stream of dead letters.
    DeadLetters,
    /// The claims log.
    Claims,
    /// All streams of the NATS account, on disk or in memory.
    Account,
    /// The server's own health.
    Nats,
    /// ClickHouse's disk.
    Clickhouse,
}

/// One storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Storage {
    /// Its purpose.
    pub kind: Kind,
    /// Its name, unique among all.
    pub name: String,
    /// Its fullness.
    #[serde(flatten)]
    pub fullness: Fullness,
    /// The server's words for the last write that it refused; `None` once it has taken one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

impl Storage {
    /// Judges the urgency of its state: a refused write counts as full.
    pub fn level(&self) -> Level {
        match self.refusal {
            Some(_) => Level::Full,
            None => self.fullness.level,
        }
    }
}

/// As `SIGNALS: 12.0 GiB, 60 % of 20.0 GiB, full in 3days`.
impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == Kind::Nats {
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
        if let Some(seconds) = seconds_until_full {
            write!(f, ", full in {}", time(seconds))?;
        }
        if self.refusal.is_some() {
            f.write_str("; it refuses writes")?;
        }
        Ok(())
    }
}

/// A time in its two largest units.
pub fn time(seconds: u64) -> String {
    let time = humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string();
    time.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
