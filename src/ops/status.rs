//! The daemon's state as JSON, for people, programs and the live page.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::serde::rfc3339;

use crate::capacity::{Board, Storage, Warning};
use crate::reload::InForce;
use crate::retention::History;
use crate::telemetry::faulty::FaultyPayloads;
use crate::telemetry::figures::Figures;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::{Batch, DeadLetter, Recent};

use super::health::{Health, Report};

/// What `/statusz` answers, and each event of the live page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// When it was asked.
    #[serde(with = "rfc3339")]
    pub now: OffsetDateTime,
    /// Since its start.
    pub uptime_seconds: f64,
    /// What works.
    pub health: Report,
    /// The stream of signals.
    pub stream: String,
    /// The consumer.
    pub consumer: String,
    /// `database.table`.
    pub table: String,
    /// Fullness of everything that the daemon and its publishers write to.
    #[serde(default)]
    pub storages: Vec<Storage>,
    /// Committed history, once the daemon has looked.
    #[serde(default)]
    pub history: Option<History>,
    /// The newest batches, newest first.
    pub last_batches: Vec<Batch>,
    /// The newest dead letters, newest first.
    pub last_dead_letters: Vec<DeadLetter>,
    /// Payloads that break their contracts and landed, by type and source.
    #[serde(default)]
    pub payload_faults: Vec<FaultyPayloads>,
    /// Every metric.
    pub metrics: Figures,
    /// Every setting as it may be shown; none in the live page's events.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// What is asked when somebody looks.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub settings: InForce,
    pub metrics: Arc<Metrics>,
    pub recent: Arc<Recent>,
    pub health: Arc<Health>,
    pub board: Arc<Board>,
    pub started: Instant,
}

impl Sources {
    /// What changes: health, figures, the newest batches and dead letters.
    pub fn snapshot(&self) -> Status {
        self.tell_ready();
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
            metrics: self.metrics.snapshot(),
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
            settings: shown.map(|(key, text)| (key.to_owned(), text)).collect(),
            ..self.snapshot()
        }
    }

    /// The metrics in Prometheus' text format.
    pub fn metrics(&self) -> prometheus::Result<Vec<u8>> {
        self.tell_ready();
        self.metrics.render()
    }

    fn tell_ready(&self) {
        self.metrics.ready.set(self.health.is_ready().into());
    }
}
