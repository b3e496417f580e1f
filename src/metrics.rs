//! Every metric of the program: each component declares its own, and they are composed here.

use std::sync::Arc;

use jetstream::ConnectionMetrics;
use metric_kit::{Group, MetricGroup, Registry, Result};
use net::http::ListenerMetrics;
use telemetry::EventMetrics;
use telemetry::traces::TraceMetrics;
use wallets::CacheMetrics;

use crate::capacity::StorageMetrics;
use crate::ops::metrics::ProgramMetrics;
use crate::pipeline::metrics::{ClaimMetrics, ConsumerMetrics, PipelineMetrics};
use crate::retention::HistoryMetrics;
use crate::serve::{HttpMetrics, ServeMetrics};

/// Composes the groups once: the struct, the list and the registration follow.
macro_rules! groups {
    ($($(#[doc = $about:literal])+ $field:ident: $group:ty,)+) => {
        /// Every metric of the program.
        #[derive(Debug, Clone)]
        pub struct Metrics {
            $($(#[doc = $about])+ pub $field: $group,)+
            /// The registry that has them all.
            pub registry: Registry,
        }

        /// Every metric that is declared, in the order of the reference page.
        pub const GROUPS: &[Group] = &[$(<$group>::GROUP),+];

        impl Metrics {
            /// Makes and registers all metrics, at zero.
            ///
            /// # Errors
            /// When two have the same name, or one is malformed: a defect.
            pub fn new() -> Result<Arc<Self>> {
                let registry = Registry::default();
                registry.register_process()?;
                let metrics = Self {
                    $($field: <$group>::register(&registry)?,)+
                    registry,
                };
                metrics.program.set_version(env!("CARGO_PKG_VERSION"));
                Ok(Arc::new(metrics))
            }
        }
    };
}

groups! {
    /// Messages on their way to ClickHouse.
    pipeline: PipelineMetrics,
    /// Committed batches and dead letters.
    events: EventMetrics,
    /// The claims log.
    claims: ClaimMetrics,
    /// The consumer.
    consumer: ConsumerMetrics,
    /// The connection to NATS.
    connection: ConnectionMetrics,
    /// Streams and storage.
    storage: StorageMetrics,
    /// Committed history.
    history: HistoryMetrics,
    /// Signals over HTTP.
    http: HttpMetrics,
    /// HTTP connections.
    listener: ListenerMetrics,
    /// The cache of wallets.
    cache: CacheMetrics,
    /// Traces.
    traces: TraceMetrics,
    /// The program.
    program: ProgramMetrics,
}

impl Metrics {
    /// Returns the metrics of everything that answers on `serve.listen`.
    pub fn serve(&self) -> ServeMetrics {
        ServeMetrics {
            http: self.http.clone(),
            listener: self.listener.clone(),
            cache: self.cache.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use metric_kit::reference;

    use super::*;
    use crate::shipped::assert_shipped;

    #[test]
    fn the_reference_lists_every_metric() {
        assert_shipped("docs/metrics.md", &reference(GROUPS));
    }

    #[test]
    fn every_declared_metric_can_be_registered() {
        let metrics = Metrics::new().unwrap();
        let declared: usize = GROUPS.iter().map(|group| group.metrics.len()).sum();
        assert!(declared > 50, "{declared}");
        let version = metrics
            .program
            .build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")]);
        assert_eq!(version.get(), 1);
    }
}
