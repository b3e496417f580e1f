//! Committed history of the stream of signals: how much stays, and the purge of the rest.
//!
//! A purge names a sequence, and JetStream attaches no condition to it. So all that limits it is
//! read first, over one connection and within seconds: the floor of each claims log of the stream,
//! the ack floor of each durable consumer, and at last that the stream still has the newest claimed
//! messages with their publish times. A stream that has those has the same messages below them.

mod cut;
mod holders;
pub mod plan;

pub use holders::consumers;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Info;
use claims_log::{ClaimsLogError, Process};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use crate::claiming::{ClaimingError, Servers};
use crate::jetstream::stored::StoredError;
use crate::pipeline::unix_nanos;
use crate::settings::{KeepBounds, Settings};
use crate::telemetry::metrics::Metrics;

use holders::OtherLogs;
use plan::{Holder, HolderKind, Policy};

/// The time from the first look to the purge; a slower one is dropped, since what it saw is old.
const LOOK_MAX: Duration = Duration::from_secs(20);
/// From a purge that failed to the next try.
const RETRY: Duration = Duration::from_secs(60);

/// Reasons for which nothing was purged.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// Something could not be listed.
    #[error(
        "JetStream does not list the {what}: {source}; does nats.user lack a permission of infra/nats/least-privilege.conf?"
    )]
    List {
        /// The thing asked for.
        what: &'static str,
        /// JetStream's answer.
        source: async_nats::Error,
    },
    /// Too much would have to be looked at.
    #[error("the stream has more than {1} {0}")]
    TooMany(&'static str, usize),
    /// A message could not be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// A claims log could not be read.
    #[error(transparent)]
    Log(#[from] ClaimsLogError),
    /// The stream could not be compared with the claims log.
    #[error(transparent)]
    Claiming(#[from] ClaimingError),
    /// The server refused.
    #[error(
        "JetStream does not purge stream {stream}: {source}; does nats.user lack $JS.API.STREAM.PURGE.{stream}, or has the stream deny_purge?"
    )]
    Purge {
        /// The stream.
        stream: String,
        /// JetStream's answer.
        source: async_nats::Error,
    },
    /// It took too long to look.
    #[error("looking at what may be purged took longer than {} s", LOOK_MAX.as_secs())]
    TooSlow,
}

impl RetentionError {
    fn list(what: &'static str, source: impl Into<async_nats::Error>) -> Self {
        let source = source.into();
        Self::List { what, source }
    }
}

/// Messages that were purged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Time of the purge.
    #[serde(with = "rfc3339")]
    pub at: OffsetDateTime,
    /// The first sequence.
    pub first_seq: u64,
    /// The last sequence.
    pub last_seq: u64,
    /// Their number.
    pub messages: u64,
    /// Their bytes as JetStream counts them; estimated where others were published meanwhile.
    pub bytes: u64,
}

/// Committed history: the rule in force, its limits and its newest purge.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// By which rule.
    pub policy: Policy,
    /// The bound of age in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_seconds: Option<u64>,
    /// The bound of bytes in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_bytes: Option<u64>,
    /// Positions that limit a purge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holder>,
    /// The newest purge of this process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_purge: Option<Purged>,
    /// Reason for which the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl History {
    /// Others that hold back more than half of a bound.
    pub fn holding_back(&self) -> impl Iterator<Item = &Holder> {
        self.holders
            .iter()
            .filter(|holder| holder.holds_back && holder.kind != HolderKind::Own)
    }
}

/// Looks at the stream now and then, and purges what may go.
pub struct Retention {
    context: Context,
    settings: Arc<Settings>,
    process: Process,
    servers: Servers,
    metrics: Arc<Metrics>,
    others: OtherLogs,
    last_purge: Option<Purged>,
    failed: Option<(Instant, String)>,
}

impl Retention {
    /// Nothing was looked at yet.
    pub fn new(
        settings: Arc<Settings>,
        process: Process,
        servers: Servers,
        context: Context,
        metrics: Arc<Metrics>,
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
    /// or its account refuses more.
    pub async fn look(&mut self, info: &Info, limit: Option<u64>) -> History {
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
        History {
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

    /// Finds the last sequence that may be purged, and lists what limits it.
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
        // Other logs are read whole, so only where there is something to purge.
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

    /// The last look before a purge: the consumers once more, since one may be new; the stream; and
    /// the claims log over the same connection as before.
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

    /// The floor of the daemon's own log; `None` while that is not known to be whole.
    fn own_floor(&self, info: &Info) -> Option<u64> {
        let created = unix_nanos(info.created);
        let floor = self.process.with(|instance| instance.log().floor(created));
        self.process.is_ready().then_some(floor?)
    }

    /// Purges up to and with a sequence.
    async fn purge_to(&mut self, info: &Info, last: u64) -> Result<(), RetentionError> {
        let name = &self.settings.stream.name;
        let failed = |source: async_nats::Error| RetentionError::Purge {
            stream: name.clone(),
            source,
        };
        let stream = self.context.get_stream_no_info(name).await;
        let stream = stream.map_err(|error| failed(error.into()))?;
        // The sequence is the first one that stays. A purge without one would take everything.
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
            "Purged committed history"
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
