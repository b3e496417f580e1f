//! Committed history of the stream of signals: the purge of old messages.
//!
//! A purge names a sequence, and JetStream attaches no condition to it. So the daemon reads all
//! limits first, over one connection and within seconds: the floor of each claims log of the
//! stream, and the ack floor of each durable consumer. Last, it checks that the stream still has
//! the newest claimed messages with their publish times. Such a stream has the same messages below
//! them.

mod cut;
mod error;
mod holders;
pub mod log_lines;
mod metrics;
pub mod plan;

pub use error::RetentionError;
pub use holders::consumers;
pub use metrics::HistoryMetrics;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Info;
use claims_log::Process;
use clock::unix_nanos;
use jetstream::KeepBounds;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use crate::claiming::Servers;
use crate::retention::log_lines::PURGED;
use crate::settings::Settings;

use error::LOOK_MAX;
use holders::OtherLogs;
use plan::{Holder, HolderKind, Policy};

/// Time from a failed purge to the next attempt.
const RETRY: Duration = Duration::from_secs(60);

/// Purged messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Time of the purge.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// First sequence.
    pub first_seq: u64,
    /// Last sequence.
    pub last_seq: u64,
    /// Number of messages.
    pub messages: u64,
    /// Their bytes as JetStream counts them; estimated if others were published meanwhile.
    pub bytes: u64,
}

/// Committed history: the rule in force, its limits and its newest purge.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RetentionState {
    /// Rule in force.
    pub policy: Policy,
    /// Bound of age in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_seconds: Option<u64>,
    /// Bound of bytes in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_bytes: Option<u64>,
    /// Positions that limit a purge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holder>,
    /// Newest purge of this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_purge: Option<Purged>,
    /// Reason for which the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl RetentionState {
    /// Iterates over other holders that hold back more than half of a bound.
    pub fn holding_back(&self) -> impl Iterator<Item = &Holder> {
        self.holders
            .iter()
            .filter(|holder| holder.holds_back && holder.kind != HolderKind::Own)
    }
}

/// Checks the stream periodically, and purges old messages.
pub struct Retention {
    context: Context,
    settings: Arc<Settings>,
    process: Process,
    servers: Servers,
    metrics: HistoryMetrics,
    others: OtherLogs,
    last_purge: Option<Purged>,
    failed: Option<(Instant, String)>,
}

impl Retention {
    /// Starts without any information.
    pub fn new(
        settings: Arc<Settings>,
        process: Process,
        servers: Servers,
        context: Context,
        metrics: HistoryMetrics,
    ) -> Self {
        Self {
            context,
            settings,
            process,
            servers,
            metrics,
            others: OtherLogs::default(),
            last_purge: None,
            failed: None,
        }
    }

    /// Purges what may go, and reports the rest. `limit` is the number of bytes at which the stream
    /// or its account rejects more.
    pub async fn purge_old(&mut self, info: &Info, limit: Option<u64>) -> RetentionState {
        let (policy, bounds) = plan::policy(&info.config, self.settings.stream.keep, limit);
        let mut holders = Vec::new();
        if let Some(bounds) = bounds {
            let is_paused = self
                .failed
                .as_ref()
                .is_some_and(|(at, _)| at.elapsed() < RETRY);
            if !is_paused {
                let looked = self.purge(info, bounds, &mut holders).await;
                self.failed = looked
                    .err()
                    .map(|error| (Instant::now(), error.to_string()));
            }
            holders.iter_mut().for_each(|holder| holder.judge(bounds));
        }
        RetentionState {
            policy,
            keep_seconds: bounds.map(|bounds| bounds.age.as_secs()),
            keep_bytes: bounds.map(|bounds| bounds.bytes),
            holders,
            last_purge: self.last_purge.clone(),
            fault: self.failed.as_ref().map(|(_, words)| words.clone()),
        }
    }

    /// Purges what exceeds the bounds and nobody needs, and lists what limits that.
    async fn purge(
        &mut self,
        info: &Info,
        bounds: KeepBounds,
        holders: &mut Vec<Holder>,
    ) -> Result<(), RetentionError> {
        let decided = timeout(LOOK_MAX, self.decide(info, bounds, holders)).await;
        match decided.unwrap_or(Err(RetentionError::TooSlow))? {
            Some(last) => self.purge_to(info, last).await,
            None => Ok(()),
        }
    }

    /// Finds the last sequence that may be purged, and lists the limits.
    async fn decide(
        &mut self,
        info: &Info,
        bounds: KeepBounds,
        holders: &mut Vec<Holder>,
    ) -> Result<Option<u64>, RetentionError> {
        let (context, settings) = (&self.context, &self.settings);
        let connects = self.connects();
        *holders = consumers(context, settings, info).await?;
        let Some(own) = self.own_floor(info) else {
            debug!("The claims log is being checked; nothing is purged meanwhile");
            return Ok(None);
        };
        let (kind, name) = (HolderKind::Own, settings.claims_log());
        holders.push(holders::holder(context, info, kind, name, own).await?);
        let Some(floor) = plan::floor(holders) else {
            return Ok(None);
        };
        // Other logs are read whole, so only if there is something to purge.
        if cut::last_beyond(context, info, bounds, floor)
            .await?
            .is_none()
        {
            return Ok(None);
        }
        holders.extend(self.others.floors(context, settings, info).await?);
        let Some(floor) = plan::floor(holders) else {
            return Ok(None);
        };
        let Some(last) = cut::last_beyond(context, info, bounds, floor).await? else {
            return Ok(None);
        };
        Ok(self.may_purge(info, last, connects).await?.then_some(last))
    }

    /// Makes the last checks before a purge: the consumers again, since one may be new; the stream;
    /// and the claims log over the same connection as before.
    async fn may_purge(
        &self,
        info: &Info,
        last: u64,
        connects: u64,
    ) -> Result<bool, RetentionError> {
        let witnesses = self
            .process
            .with(|instance| instance.log().witnesses(unix_nanos(info.created)));
        if witnesses.is_empty() || !self.servers.are_as_claimed(&witnesses).await? {
            return Ok(false);
        }
        let consumers = consumers(&self.context, &self.settings, info).await?;
        let is_free = consumers.iter().all(|consumer| last <= consumer.floor);
        let is_same = self.servers.stream_info().await?.created == info.created;
        let is_done = self.own_floor(info).is_some_and(|floor| last <= floor);
        Ok(is_free && is_same && is_done && connects == self.connects())
    }

    /// Returns the floor of the daemon's own log; `None` while it is unchecked.
    fn own_floor(&self, info: &Info) -> Option<u64> {
        let created = unix_nanos(info.created);
        let floor = self.process.with(|instance| instance.log().floor(created));
        self.process.is_ready().then_some(floor?)
    }

    /// Purges up to and including a sequence.
    async fn purge_to(&mut self, info: &Info, last: u64) -> Result<(), RetentionError> {
        let name = &self.settings.stream.name;
        let failed = |answer: async_nats::Error| {
            debug!(stream = name, words = %answer, "JetStream's own words");
            let stream = name.clone();
            RetentionError::Purge { stream, answer }
        };
        let stream = self.context.get_stream_no_info(name).await;
        let stream = stream.map_err(|error| failed(error.into()))?;
        // The sequence is the first one that stays. A purge without one would delete everything.
        let done = stream.purge().sequence(last.saturating_add(1)).await;
        let done = done.map_err(|error| failed(error.into()))?;
        let after = self.servers.stream_info().await?.state;
        let published = after.last_sequence.saturating_sub(info.state.last_sequence);
        let mean = after.bytes / after.messages.max(1);
        let before = info.state.bytes.saturating_add(published * mean);
        let purged = Purged {
            at: OffsetDateTime::now_utc(),
            first_seq: info.state.first_sequence,
            last_seq: last,
            messages: done.purged,
            bytes: before.saturating_sub(after.bytes),
        };
        info!(
            stream = name,
            first_seq = purged.first_seq,
            last_seq = purged.last_seq,
            messages = purged.messages,
            bytes = purged.bytes,
            "{PURGED}"
        );
        self.metrics
            .history_purged_messages_total
            .inc_by(purged.messages);
        self.metrics.history_purged_bytes_total.inc_by(purged.bytes);
        self.last_purge = Some(purged);
        Ok(())
    }

    fn connects(&self) -> u64 {
        let client = self.context.client();
        client.statistics().connects.load(Ordering::Relaxed)
    }
}
