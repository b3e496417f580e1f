//! Looks, every now and then, at what no message tells: the connection, the consumer, and
//! ClickHouse while there is nothing to insert.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::consumer::Info;
use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::jetstream::{consumer, stored};
use crate::ops::health::Dependency;
use crate::settings::Settings;
use crate::telemetry::metrics::signed;

use super::Ends;
use super::in_flight::InFlight;

/// Between two looks at this process.
const OWN: Duration = Duration::from_millis(500);
/// Between two questions to the servers.
const SERVERS: Duration = Duration::from_secs(2);

/// The task that samples.
pub(super) struct Sample {
    pub ends: Ends,
    pub settings: Arc<Settings>,
    pub in_flight: Arc<InFlight>,
}

impl Sample {
    /// Samples until it is dropped.
    pub async fn run(self) {
        tokio::join!(self.own(), self.jetstream(), self.clickhouse());
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
                    match self.ends.process.refusal() {
                        None => health.up(Dependency::Jetstream),
                        Some(words) => health.down(
                            Dependency::Jetstream,
                            format!(
                                "nothing is inserted, since the claims log takes no record: {words}"
                            ),
                        ),
                    }
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

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
