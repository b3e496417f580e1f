//! The poller of all storages, which purges committed history as well: both need the same look.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use claims_log::Process;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use super::measure::Meter;
use super::nats_health::NatsHealth;
use super::{Kind, Newest, of_history, of_storage};
use crate::ops::Ops;
use crate::retention::Retention;
use crate::settings::Settings;
use crate::store::Store;

/// Between two looks; storage fills slowly.
const INTERVAL: Duration = Duration::from_secs(10);

/// Polls until it is dropped.
pub struct Poller {
    /// JetStream.
    pub context: Context,
    /// ClickHouse.
    pub store: Store,
    /// The claims log.
    pub process: Process,
    /// The settings.
    pub settings: Arc<Settings>,
    /// Monitoring of nats-server, where it is set.
    pub health: Option<NatsHealth>,
    /// Committed history.
    pub retention: Retention,
    /// Receives the results, for the operator.
    pub ops: Ops,
}

impl Poller {
    /// Polls until it is dropped.
    pub async fn run(mut self) {
        let mut meter = Meter::default();
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look(&mut meter).await;
        }
    }

    async fn look(&mut self, meter: &mut Meter) {
        let log = self.settings.claims_log();
        let refusals = &self.ops.refusals;
        match self.process.refusal() {
            Some(words) => refusals.refused(&log, words),
            None => refusals.taken(&log),
        }
        let mut measured = meter
            .nats(
                &self.context,
                &self.settings,
                refusals,
                self.health.as_ref(),
            )
            .await;
        match meter.clickhouse(&self.store).await {
            Ok(disk) => measured.storages.push(disk),
            Err(error) => {
                debug!(%error, "ClickHouse's disk was not measured");
                measured.unmeasured.push(Kind::Clickhouse);
            }
        }
        let before = self.ops.board.newest();
        measured.keep(&before.storages);
        let storages = measured.storages;
        let metrics = &self.ops.metrics;
        for info in &measured.streams {
            let limit = bound(Some(info.config.max_bytes));
            metrics.stream(&info.config.name, &info.state, limit);
        }
        // An account with tiers has no bound of its own; each tier has.
        if let Some(account) = &measured.account {
            let limits = &account.limits;
            metrics.jetstream("file", account.storage, bound(limits.max_storage));
            metrics.jetstream("memory", account.memory, bound(limits.max_memory));
        }
        storages.iter().for_each(|storage| metrics.storage(storage));
        let mut warnings: Vec<_> = storages.iter().filter_map(of_storage).collect();
        let history = match &measured.signals {
            Some(info) => Some(self.retention.look(info, measured.limit).await),
            None if measured.unmeasured.contains(&Kind::Signals) => before.history.clone(),
            None => None,
        };
        if let Some(history) = &history {
            let signals = storages.iter().find(|it| it.kind == Kind::Signals);
            let stream = &self.settings.stream.name;
            warnings.extend(of_history(stream, history, signals));
            metrics.history(stream, before.history.as_ref(), history);
        }
        self.ops.board.set(Newest {
            storages,
            history,
            warnings,
        });
    }
}

/// A size at which JetStream refuses more; it writes none as -1 or 0.
fn bound(bytes: Option<i64>) -> Option<i64> {
    bytes.filter(|bytes| *bytes > 0)
}
