//! Looks, every now and then, at what no message tells: the connection, the consumer, and
//! ClickHouse while there is nothing to insert.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::account::Account;
use async_nats::jetstream::consumer::Info;
use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::jetstream::{consumer, stored, topology};
use crate::ops::health::Dependency;
use crate::settings::Settings;
use crate::telemetry::metrics::signed;

use super::Ends;
use super::in_flight::InFlight;

/// Between two looks at this process.
const OWN: Duration = Duration::from_millis(500);
/// Between two questions to the servers.
const SERVERS: Duration = Duration::from_secs(2);

/// Between two questions about storage, which fills slowly.
const STORAGE: Duration = Duration::from_secs(10);

/// The task that samples.
pub(super) struct Sample {
    pub ends: Ends,
    pub settings: Arc<Settings>,
    pub in_flight: Arc<InFlight>,
}

impl Sample {
    /// Samples until it is dropped.
    pub async fn run(self) {
        tokio::join!(
            self.own(),
            self.jetstream(),
            self.storage(),
            self.clickhouse()
        );
    }

    /// What this process holds, and its connection.
    async fn own(&self) {
        let (metrics, health) = (&self.ends.ops.metrics, &self.ends.ops.health);
        let mut ticks = every(OWN);
        loop {
            ticks.tick().await;
            metrics
                .in_flight_messages
                .set(signed(self.in_flight.messages()));
            metrics.in_flight_bytes.set(signed(self.in_flight.bytes()));
            self.claims();
            let connects = self.ends.client.statistics();
            metrics.nats_connected(connects.connects.load(Ordering::Relaxed));
            if self.ends.client.connection_state() == State::Connected {
                health.up(Dependency::Nats);
            } else {
                health.down(Dependency::Nats, "the connection is lost; reconnecting");
            }
        }
    }

    /// Open claims, and the tokens of those whose fences are not over.
    fn claims(&self) {
        let metrics = &self.ends.ops.metrics;
        let (open, tokens, limit) = self.ends.process.with(|instance| {
            let log = instance.log();
            (log.claims().count(), log.tokens(), instance.tokens_limit())
        });
        let foreign = self.ends.process.foreign();
        let new = foreign.saturating_sub(metrics.claims_foreign_total.get());
        metrics.claims_foreign_total.inc_by(new);
        metrics.claims_open.set(signed(open));
        metrics.claims_tokens.set(signed(tokens));
        metrics.claims_tokens_limit.set(signed(limit));
    }

    /// How far the consumer is behind.
    async fn jetstream(&self) {
        let (metrics, health) = (&self.ends.ops.metrics, &self.ends.ops.health);
        let Settings {
            stream, consumer, ..
        } = self.settings.as_ref();
        let mut ticks = every(SERVERS);
        loop {
            ticks.tick().await;
            match consumer::find(&self.ends.context, &stream.name, &consumer.name).await {
                Ok(Some(info)) => {
                    health.up(Dependency::Jetstream);
                    metrics
                        .consumer_pending_messages
                        .set(signed(info.num_pending));
                    metrics
                        .consumer_ack_pending_messages
                        .set(signed(info.num_ack_pending));
                    if let Some(age) = self.oldest_age(&info).await {
                        metrics.consumer_oldest_age_seconds.set(age);
                    }
                }
                Ok(None) => health.down(
                    Dependency::Jetstream,
                    format!(
                        "stream {} has no consumer {}; it is made anew",
                        stream.name, consumer.name
                    ),
                ),
                Err(error) => health.down(Dependency::Jetstream, error.to_string()),
            }
        }
    }

    /// Seconds since the oldest message was stored that is not acked; `None` when that could
    /// not be learnt.
    async fn oldest_age(&self, info: &Info) -> Option<i64> {
        if info.num_pending == 0 && info.num_ack_pending == 0 {
            return Some(0);
        }
        let stream = &self.settings.stream;
        let subjects = format!("{}.>", stream.subject_prefix);
        let from = info.ack_floor.stream_sequence + 1;
        match stored::next_on_subject(&self.ends.context, &stream.name, from, &subjects).await {
            Ok(oldest) => Some(oldest.map_or(0, |message| {
                (OffsetDateTime::now_utc() - message.time)
                    .whole_seconds()
                    .max(0)
            })),
            Err(error) => {
                debug!(%error, "The oldest message was not found");
                None
            }
        }
    }

    /// How full the streams are, and what their account may store.
    async fn storage(&self) {
        let metrics = &self.ends.ops.metrics;
        let claims = self.settings.claims_log();
        let mut ticks = every(STORAGE);
        loop {
            ticks.tick().await;
            let (stream, letters) = (&self.settings.stream, &self.settings.dead_letters);
            for name in [&stream.name, &letters.name, &claims] {
                match topology::find_stream(&self.ends.context, name).await {
                    Ok(Some(info)) => {
                        metrics.stream(name, &info.state, bound(Some(info.config.max_bytes)));
                    }
                    Ok(None) => debug!(stream = name, "There is no such stream to measure"),
                    Err(error) => debug!(%error, "The stream was not measured"),
                }
            }
            match self.ends.context.query_account().await {
                Ok(account) => self.account(&account),
                Err(error) => debug!(%error, "JetStream did not tell what the account uses"),
            }
        }
    }

    /// An account with tiers has no bound of its own; each tier has.
    fn account(&self, account: &Account) {
        let (metrics, limits) = (&self.ends.ops.metrics, &account.limits);
        metrics.jetstream("file", account.storage, bound(limits.max_storage));
        metrics.jetstream("memory", account.memory, bound(limits.max_memory));
    }

    /// Whether ClickHouse would take an insert. While there is something to insert, the
    /// inserts tell, but for a table that takes them into nothing: from then on they are refused.
    async fn clickhouse(&self) {
        let mut ticks = every(SERVERS);
        loop {
            ticks.tick().await;
            let checked = self.ends.store.verify().await;
            let is_verdict = checked.as_ref().is_err_and(|error| !error.is_failure());
            if is_verdict || self.in_flight.messages() == 0 {
                self.ends.ops.health.checked(checked.as_ref().copied());
            }
        }
    }
}

/// A size at which JetStream refuses more; it writes none as -1 or 0.
fn bound(bytes: Option<i64>) -> Option<i64> {
    bytes.filter(|bytes| *bytes > 0)
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
