//! Polls state that no message carries: the connection, the consumer, and ClickHouse while there
//! is nothing to insert.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::Info;
use jetstream::{consumer, stored};
use store::schema::SchemaError;
use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::capacity::Monitored;
use crate::conditions;
use crate::ops::health::Dependency;
use crate::pipeline::context::PipelineContext;
use crate::pipeline::crossing::in_flight::InFlight;
use crate::pipeline::port::connection::Connection;
use crate::settings::Settings;
use metric_kit::signed;

/// Between two looks at this process.
const OWN: Duration = Duration::from_millis(500);
/// Between two questions to the servers.
const SERVERS: Duration = Duration::from_secs(2);
/// Questions to ClickHouse between two inserts of no rows by an idle daemon.
const PROBE_EVERY: u32 = 5;

/// The task that polls.
pub struct LivenessPoller {
    pub context: PipelineContext,
    pub settings: Arc<Settings>,
    pub in_flight: &'static InFlight,
}

impl LivenessPoller {
    /// Polls until it is dropped.
    pub async fn run(self) {
        tokio::join!(self.own(), self.jetstream(), self.clickhouse());
    }

    /// Polls this process: messages that it holds, and its connection.
    async fn own(&self) {
        let (metrics, health) = (&self.context.ops.metrics, &self.context.ops.health);
        let mut ticks = every(OWN);
        loop {
            ticks.tick().await;
            metrics
                .pipeline
                .in_flight_messages
                .set(signed(self.in_flight.messages()));
            metrics
                .pipeline
                .in_flight_bytes
                .set(signed(self.in_flight.bytes()));
            self.claims();
            let pulls = &self.context.pulls;
            metrics.connection.connected(pulls.reconnects() + 1);
            if pulls.is_connected() {
                health.up(Dependency::Nats);
            } else {
                health.down(Dependency::Nats, "the connection is lost; reconnecting");
            }
        }
    }

    /// Open claims, and the tokens of those whose fences are not over.
    fn claims(&self) {
        let metrics = &self.context.ops.metrics;
        let (open, tokens, limit) = self.context.process.with(|instance| {
            let log = instance.log();
            (log.claims().count(), log.tokens(), instance.tokens_limit())
        });
        let foreign = self.context.process.foreign();
        let new = foreign.saturating_sub(metrics.claims.claims_foreign_total.get());
        metrics.claims.claims_foreign_total.inc_by(new);
        metrics.claims.claims_open.set(signed(open));
        metrics.claims.claims_tokens.set(signed(tokens));
        metrics.claims.claims_tokens_limit.set(signed(limit));
    }

    /// Polls the consumer: how far it is behind.
    async fn jetstream(&self) {
        let (metrics, health) = (&self.context.ops.metrics, &self.context.ops.health);
        let board = &self.context.ops.board;
        let Settings {
            stream, consumer, ..
        } = self.settings.as_ref();
        let mut ticks = every(SERVERS);
        loop {
            ticks.tick().await;
            let version = self.context.client.server_info().version;
            board.set_condition(Monitored::Nats, conditions::judge_nats_version(&version));
            match consumer::find(&self.context.jetstream, &stream.name, &consumer.name).await {
                Ok(Some(info)) => {
                    let condition = conditions::judge_consumer(&stream.name, &info);
                    metrics
                        .consumer
                        .consumer_paused
                        .set(condition.is_some().into());
                    board.set_condition(Monitored::Consumer, condition);
                    match self.context.process.refusal() {
                        None => health.up(Dependency::Jetstream),
                        Some(words) => health.down(
                            Dependency::Jetstream,
                            format!(
                                "nothing is inserted, since the claims log takes no record: {words}"
                            ),
                        ),
                    }
                    metrics
                        .consumer
                        .consumer_pending_messages
                        .set(signed(info.num_pending));
                    metrics
                        .consumer
                        .consumer_ack_pending_messages
                        .set(signed(info.num_ack_pending));
                    if let Some(age) = self.oldest_age(&info).await {
                        metrics.consumer.consumer_oldest_age_seconds.set(age);
                    }
                }
                Ok(None) => health.down(
                    Dependency::Jetstream,
                    format!(
                        "stream {} has no consumer {}; recreating it",
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
        match stored::next_on_subject(&self.context.jetstream, &stream.name, from, &subjects).await
        {
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

    /// Reports whether ClickHouse would take an insert. While there is something to insert, the
    /// inserts show it, but for a table that takes them into nothing: from then on they are
    /// refused. An idle daemon inserts no rows now and then: the right to insert may be gone.
    async fn clickhouse(&self) {
        let (store, ops) = (&self.context.store, &self.context.ops);
        let mut refused: Option<SchemaError> = None;
        let (mut looks, mut was_well) = (0_u32, true);
        let mut ticks = every(SERVERS);
        loop {
            ticks.tick().await;
            let checked = store.verify().await;
            let is_verdict = checked.as_ref().is_err_and(|error| !error.is_failure());
            let is_idle = self.in_flight.messages() == 0;
            let is_due = looks.is_multiple_of(PROBE_EVERY);
            looks = looks.wrapping_add(1);
            if !is_idle {
                refused = None;
            } else if checked.is_ok() && (is_due || refused.is_some() || !was_well) {
                refused = store.probe_insert().await.err().map(SchemaError::from);
            }
            was_well = checked.is_ok();
            if is_due {
                conditions::check_clickhouse_version(store, &ops.board).await;
            }
            if is_verdict || is_idle {
                let fault = checked.as_ref().err().or(refused.as_ref());
                ops.health.checked(fault.map_or(Ok(()), Err));
            }
        }
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
