//! Poller of all storages. It also purges committed history, which requires the same information.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::Context;
use claims_log::Process;
use store::Store;
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::ops::Ops;
use crate::retention::Retention;
use crate::settings::Settings;

use super::measure::Meter;
use super::nats_health::NatsHealth;
use super::{Newest, StorageKind, for_drops, for_history, for_storage};

/// Interval of polling; storage fills slowly.
const INTERVAL: Duration = Duration::from_secs(10);

/// Polls until it is dropped.
pub struct CapacityPoller {
    /// JetStream.
    pub context: Context,
    /// ClickHouse.
    pub store: Store,
    /// The claims log.
    pub process: Process,
    /// The settings.
    pub settings: Arc<Settings>,
    /// Monitoring of nats-server, if it is set.
    pub health: Option<NatsHealth>,
    /// Committed history.
    pub retention: Retention,
    /// Receives the results, for the operator.
    pub ops: Ops,
}

impl CapacityPoller {
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
            Some(words) => refusals.note_refusal(&log, words),
            None => refusals.note_success(&log),
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
                measured.unmeasured.push(StorageKind::Clickhouse);
            }
        }
        let before = self.ops.board.newest();
        measured.keep(&before.storages);
        let storages = measured.storages;
        let metrics = &self.ops.metrics.storage;
        for info in &measured.streams {
            let limit = bound(Some(info.config.max_bytes));
            metrics.stream(&info.config.name, &info.state, limit);
        }
        // An account with tiers has no bound of its own; each tier has one.
        if let Some(account) = &measured.account {
            let limits = &account.limits;
            metrics.jetstream("file", account.storage, bound(limits.max_storage));
            metrics.jetstream("memory", account.memory, bound(limits.max_memory));
        }
        storages.iter().for_each(|storage| metrics.storage(storage));
        let mut warnings: Vec<_> = storages.iter().filter_map(for_storage).collect();
        let streams = measured.streams.iter();
        warnings.extend(streams.filter_map(|info| for_drops(&info.config)));
        let history = match &measured.signals {
            Some(info) => Some(self.retention.purge_old(info, measured.limit).await),
            None if measured.unmeasured.contains(&StorageKind::Signals) => before.history.clone(),
            None => None,
        };
        if let Some(history) = &history {
            let signals = storages.iter().find(|it| it.kind == StorageKind::Signals);
            let stream = &self.settings.stream.name;
            warnings.extend(for_history(stream, history, signals));
            let metrics = &self.ops.metrics.history;
            metrics.history(stream, before.history.as_ref(), history);
        }
        self.ops.board.set(Newest {
            storages,
            history,
            warnings,
        });
    }
}

/// Returns the size at which JetStream rejects more; it writes -1 or 0 for none.
fn bound(bytes: Option<i64>) -> Option<i64> {
    bytes.filter(|bytes| *bytes > 0)
}
