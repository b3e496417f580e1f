//! The way of ended spans: a bounded queue, the SDK's thread, and the exporter for OTLP. Each
//! span is counted as sent or dropped, and the log gets a line when that changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};
use tracing::{info, warn};

use crate::log_lines::{TRACES_NOT_SENT, TRACES_SENT_AGAIN};
use crate::options::OtelOptions;

use super::TracesError;
use super::metrics::{NOT_SENT, QUEUE_FULL, TraceMetrics};
use super::transport::{self, Failure};

/// Spans in one request, as the SDK has it by default.
const SPANS_PER_REQUEST: usize = 512;
/// Between two requests when there are fewer spans, as the SDK has it by default.
const INTERVAL: Duration = Duration::from_secs(5);

/// Takes ended spans and has them sent.
pub(super) fn processor(
    otel: &OtelOptions,
    endpoint: &str,
    metrics: &TraceMetrics,
) -> Result<impl SpanProcessor + use<>, TracesError> {
    let failure = Failure::default();
    let otlp = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_shared_http_client(transport::client(otel, &failure)?)
        .with_endpoint(endpoint)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(otel.timeout)
        .build()?;
    let queue = Arc::new(Queue {
        max: otel.max_queued_spans,
        waiting: AtomicUsize::new(0),
        dropped: AtomicU64::new(0),
        metrics: metrics.clone(),
    });
    let exporter = Exporter {
        otlp,
        failure,
        is_failing: AtomicBool::new(false),
        queue: Arc::clone(&queue),
    };
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(otel.max_queued_spans)
        .with_max_export_batch_size(SPANS_PER_REQUEST)
        .with_scheduled_delay(INTERVAL)
        .build();
    Ok(Gate {
        queue,
        next: BatchSpanProcessor::new(exporter, config),
    })
}

/// Counts the spans that wait. The SDK's own queue has the same bound, but does not say what it
/// drops.
#[derive(Debug)]
struct Queue {
    max: usize,
    waiting: AtomicUsize,
    /// Since the receiver was last reached.
    dropped: AtomicU64,
    metrics: TraceMetrics,
}

impl Queue {
    fn drop_spans(&self, count: u64, reason: &str) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
        self.metrics.dropped(count, reason);
    }
}

/// Lets spans into the queue while there is room.
#[derive(Debug)]
struct Gate {
    queue: Arc<Queue>,
    next: BatchSpanProcessor,
}

impl SpanProcessor for Gate {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.queue.waiting.fetch_add(1, Ordering::AcqRel) < self.queue.max {
            self.next.on_end(span);
        } else {
            self.queue.waiting.fetch_sub(1, Ordering::AcqRel);
            self.queue.drop_spans(1, QUEUE_FULL);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// The exporter for OTLP, which logs once when it fails and once when it works again.
#[derive(Debug)]
struct Exporter {
    otlp: opentelemetry_otlp::SpanExporter,
    /// The failure of the last request.
    failure: Failure,
    is_failing: AtomicBool,
    queue: Arc<Queue>,
}

impl SpanExporter for Exporter {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        let taken = spans.len();
        self.queue.waiting.fetch_sub(taken, Ordering::AcqRel);
        let count = u64::try_from(taken).unwrap_or(u64::MAX);
        let sent = self.otlp.export(spans).await;
        match &sent {
            Ok(()) => {
                self.queue.metrics.spans_exported_total.inc_by(count);
                if self.is_failing.swap(false, Ordering::AcqRel) {
                    let dropped = self.queue.dropped.swap(0, Ordering::AcqRel);
                    info!(dropped, "{TRACES_SENT_AGAIN}");
                }
            }
            Err(error) => {
                self.queue.drop_spans(count, NOT_SENT);
                if !self.is_failing.swap(true, Ordering::AcqRel) {
                    let error = self.failure.take().unwrap_or_else(|| error.to_string());
                    warn!(error, "{TRACES_NOT_SENT}");
                }
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}
