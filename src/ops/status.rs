//! The daemon's state as JSON, for people, programs and the live page.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::settings::Settings;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::Recent;

use super::health::Health;

/// What is asked when somebody looks.
#[derive(Debug, Clone)]
pub(super) struct Status {
    pub settings: Arc<Settings>,
    pub metrics: Arc<Metrics>,
    pub recent: Arc<Recent>,
    pub health: Arc<Health>,
    pub started: Instant,
}

impl Status {
    /// What changes: health, figures, the newest batches and dead letters.
    pub fn snapshot(&self) -> Value {
        self.tell_ready();
        let (batches, dead_letters) = self.recent.snapshot();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "now": OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            "uptime_seconds": self.started.elapsed().as_secs_f64(),
            "health": self.health.report(),
            "stream": self.settings.stream.name,
            "consumer": self.settings.consumer.name,
            "table": format!("{}.{}", self.settings.clickhouse.database, self.settings.clickhouse.table),
            "last_batches": batches,
            "last_dead_letters": dead_letters,
            "metrics": self.metrics.snapshot(),
        })
    }

    /// The same, and every setting as it may be shown.
    pub fn full(&self) -> Value {
        let mut status = self.snapshot();
        status["settings"] = json!(self.settings.shown);
        status
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
