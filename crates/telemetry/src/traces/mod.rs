//! Traces by OpenTelemetry: a span for each batch and each dead letter, linked to those of the
//! signals' publishers, and sent by OTLP.
//!
//! Where `otel.endpoint` is unset there are no spans, and all that is here does nothing. The
//! pipeline never waits for a span: those that are complete go into a bounded queue, from which
//! a thread of the SDK's sends them.

mod batch;
mod export;
mod letter;
mod metrics;
mod publisher;
mod transport;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jetstream::Plan;
use net::tls::TlsError;
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt, Tracer as _};
use opentelemetry::trace::{SpanRef, TracerProvider as _};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span, SpanLimits};
use option_kit::redacted_url;
use store::ClickHouseOptions;
use tokio::task::spawn_blocking;
use tracing::{info, warn};
use url::Url;
use uuid::Uuid;

use crate::log_lines::LAST_TRACES_NOT_SENT;
use crate::options::OtelOptions;

pub use batch::{AckTrace, BatchTrace, Collecting, InsertTrace};
pub use letter::LetterTrace;
pub use metrics::TraceMetrics;

/// The name of the program, as spans have it.
const SCOPE: &str = "risksignal-ingest";
/// Time that the end of the daemon waits for the last spans. With `shutdown.grace` it is within
/// what systemd's unit and Compose allow.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// Reasons for which there are no traces.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// A certificate or a key for https cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The exporter does not take these settings.
    #[error("the traces' exporter: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// Makes spans, or nothing where traces are off.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Tracer>>);

/// Parts that all spans are made with.
#[derive(Debug)]
struct Tracer {
    provider: SdkTracerProvider,
    spans: SdkTracer,
    max_links: usize,
    /// The stream that messages come from; it names spans.
    stream: String,
    messaging: Vec<KeyValue>,
    /// The table that rows go to; it names spans.
    table: String,
    store: Vec<KeyValue>,
}

impl Traces {
    /// Begins to send spans, where the settings say to whom.
    ///
    /// # Errors
    /// When a certificate or a key for https cannot be used.
    pub fn start(
        otel: &OtelOptions,
        plan: Plan<'_>,
        clickhouse: &ClickHouseOptions,
        metrics: &TraceMetrics,
    ) -> Result<Self, TracesError> {
        let Some(endpoint) = &otel.endpoint else {
            return Ok(Self::default());
        };
        let limits = SpanLimits {
            max_links_per_span: otel.max_links,
            ..SpanLimits::default()
        };
        // Each of the SDK's own defaults reads the environment, so none is left to it.
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
                otel.sample_ratio,
            ))))
            .with_span_limits(limits)
            .with_resource(resource(otel))
            .with_span_processor(export::processor(otel, endpoint, metrics)?)
            .build();
        let scope = InstrumentationScope::builder(SCOPE)
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        info!(
            endpoint = redacted_url(endpoint),
            sample_ratio = otel.sample_ratio,
            "Sending traces"
        );
        Ok(Self(Some(Arc::new(Tracer {
            spans: provider.tracer_with_scope(scope),
            provider,
            max_links: otel.max_links as usize,
            stream: plan.stream.name.clone(),
            messaging: messaging(plan),
            table: clickhouse.table.clone(),
            store: store(clickhouse),
        }))))
    }

    /// Sends what is still queued, within a bound. Spans that end later are dropped.
    pub async fn flush(&self) {
        let Some(tracer) = &self.0 else { return };
        let provider = tracer.provider.clone();
        let flushed = spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_MAX)).await;
        if let Ok(Err(error)) = flushed {
            warn!(%error, "{LAST_TRACES_NOT_SENT}");
        }
    }
}

impl Tracer {
    /// Starts a span without a parent; whether it is sampled is decided now.
    fn root(&self, start: SystemTime) -> Span {
        let builder = SpanBuilder::from_name(format!("process {}", self.stream))
            .with_kind(SpanKind::Consumer)
            .with_start_time(start)
            .with_attributes(with(
                &self.messaging,
                [
                    KeyValue::new("messaging.operation.name", "process"),
                    KeyValue::new("messaging.operation.type", "process"),
                ],
            ));
        self.spans.build_with_context(builder, &Context::new())
    }

    /// Starts a span below another one.
    fn child(
        &self,
        parent: &Context,
        name: String,
        kind: SpanKind,
        start: SystemTime,
        attributes: Vec<KeyValue>,
    ) -> Context {
        let builder = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_start_time(start)
            .with_attributes(attributes);
        Context::new().with_span(self.spans.build_with_context(builder, parent))
    }
}

/// Ends a span as failed. `kind` has few values, `error` is for people.
fn fail(span: &SpanRef<'_>, kind: impl Into<String>, error: String) {
    span.set_attribute(KeyValue::new("error.type", kind.into()));
    span.set_status(Status::error(error));
}

/// A try that failed, as an event that tools show as such.
fn exception(kind: String, error: String) -> Vec<KeyValue> {
    vec![
        KeyValue::new("exception.type", kind),
        KeyValue::new("exception.message", error),
    ]
}

fn with<const N: usize>(common: &[KeyValue], more: [KeyValue; N]) -> Vec<KeyValue> {
    common.iter().cloned().chain(more).collect()
}

/// The sender of the spans.
fn resource(otel: &OtelOptions) -> Resource {
    let fixed = [
        ("service.name", otel.service_name.clone()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", Uuid::new_v4().to_string()),
    ];
    let fixed = fixed.map(|(name, value)| KeyValue::new(name, value));
    let set = otel.resource_attributes.iter();
    let set = set.map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(fixed)
        .with_attributes(set)
        .build()
}

/// The source of messages:
/// <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>.
fn messaging(plan: Plan<'_>) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", "nats"),
        KeyValue::new("messaging.destination.name", plan.stream.name.clone()),
        KeyValue::new("messaging.consumer.group.name", plan.consumer.name.clone()),
    ]
}

/// The target of rows: <https://opentelemetry.io/docs/specs/semconv/database/database-spans/>.
fn store(clickhouse: &ClickHouseOptions) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("db.system.name", "clickhouse"),
        KeyValue::new("db.namespace", clickhouse.database.clone()),
        KeyValue::new("db.collection.name", clickhouse.table.clone()),
    ];
    let url = Url::parse(&clickhouse.url).ok();
    let url = url.as_ref();
    attributes.extend(
        url.and_then(Url::host_str)
            .map(|host| KeyValue::new("server.address", host.to_owned())),
    );
    attributes.extend(
        url.and_then(Url::port_or_known_default)
            .map(|port| KeyValue::new("server.port", i64::from(port))),
    );
    attributes
}
