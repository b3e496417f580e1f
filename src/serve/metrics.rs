//! Metrics of requests over HTTP.

use std::time::Duration;

use metric_kit::{HistogramVec, IntCounterVec, IntGauge, SECONDS, metrics};

metrics! {
    /// Signals over HTTP.
    pub struct HttpMetrics {
        /// Requests that were answered on serve.listen, by route (other where there is none) and
        /// status.
        http_requests_total: IntCounterVec, label "route", label "status";
        /// From a request's headers to its answer's, by route.
        http_request_duration_seconds: HistogramVec, label "route", buckets SECONDS;
        /// Signals that came over HTTP, by what became of them: stored, duplicate, refused (for
        /// good) or put_off (to be sent again).
        http_signals_total: IntCounterVec, label "result";
        /// Signals that came over HTTP and have no answer of JetStream yet.
        http_unanswered_signals: IntGauge;
    }
}

impl HttpMetrics {
    /// Counts an answered request.
    pub fn answered(&self, route: &str, status: &str, took: Duration) {
        self.http_requests_total
            .with_label_values(&[route, status])
            .inc();
        self.http_request_duration_seconds
            .with_label_values(&[route])
            .observe(took.as_secs_f64());
    }

    /// Counts a signal by its result.
    pub fn signal(&self, result: &str) {
        self.http_signals_total.with_label_values(&[result]).inc();
    }
}
