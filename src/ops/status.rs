//! The daemon's state as JSON, for people, programs and the live page.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use metric_kit::{MetricValues, Registry};
use serde::{Deserialize, Serialize};
use telemetry::faulty::FaultyPayloads;
use telemetry::recent::{Recent, RecentBatch, RecentDeadLetter};
use time::OffsetDateTime;
use time::serde::rfc3339;

use crate::capacity::{Board, StorageFill, Warning};
use crate::reload::SettingsHandle;
use crate::retention::RetentionState;

use super::health::{Health, Report};
use super::metrics::ProgramMetrics;

/// The answer of `/statusz`, and each event of the live page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Time of the answer.
    #[serde(with = "rfc3339")]
    pub now: OffsetDateTime,
    /// Since its start.
    pub uptime_seconds: f64,
    /// State of the dependencies.
    pub health: Report,
    /// The stream of signals.
    pub stream: String,
    /// The consumer.
    pub consumer: String,
    /// `database.table`.
    pub table: String,
    /// Fullness of everything that the daemon and its publishers write to.
    #[serde(default)]
    pub storages: Vec<StorageFill>,
    /// Committed history, once the daemon has looked.
    #[serde(default)]
    pub history: Option<RetentionState>,
    /// The newest batches, newest first.
    pub last_batches: Vec<RecentBatch>,
    /// The newest dead letters, newest first.
    pub last_dead_letters: Vec<RecentDeadLetter>,
    /// Payloads that break their contracts and landed, by type and source.
    #[serde(default)]
    pub payload_faults: Vec<FaultyPayloads>,
    /// Every metric.
    pub metrics: MetricValues,
    /// Every setting as it may be shown; none in the live page's events.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// Sources of a status.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub settings: SettingsHandle,
    pub registry: Registry,
    pub metrics: ProgramMetrics,
    pub recent: Arc<Recent>,
    pub health: Arc<Health>,
    pub board: Arc<Board>,
    pub started: Instant,
}

impl Sources {
    /// Returns what changes: health, metrics, the newest batches and dead letters.
    pub fn snapshot(&self) -> Status {
        self.set_ready();
        let (last_batches, last_dead_letters) = self.recent.snapshot();
        let board = self.board.newest();
        let settings = self.settings.borrow();
        let clickhouse = &settings.clickhouse;
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: OffsetDateTime::now_utc(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            health: self.health_with(board.warnings),
            stream: settings.stream.name.clone(),
            consumer: settings.consumer.name.clone(),
            table: format!("{}.{}", clickhouse.database, clickhouse.table),
            storages: board.storages,
            history: board.history,
            last_batches,
            last_dead_letters,
            payload_faults: self.recent.faulty.snapshot(),
            metrics: self.registry.snapshot(),
            settings: BTreeMap::new(),
        }
    }

    /// Reports the dependencies, with the conditions that will stop them.
    pub fn health(&self) -> Report {
        self.health_with(self.board.newest().warnings)
    }

    fn health_with(&self, warnings: Vec<Warning>) -> Report {
        Report {
            warnings,
            ..self.health.report()
        }
    }

    /// The same, and every setting as it may be shown.
    pub fn full(&self) -> Status {
        let in_force = self.settings.borrow();
        let shown = in_force.shown();
        Status {
            settings: shown.map(|(key, text, _)| (key.to_owned(), text)).collect(),
            ..self.snapshot()
        }
    }

    /// The metrics in Prometheus' text format.
    pub fn metrics(&self) -> metric_kit::Result<Vec<u8>> {
        self.set_ready();
        self.registry.render()
    }

    fn set_ready(&self) {
        self.metrics.ready.set(self.health.is_ready().into());
    }
}
