//! Servers, settings and reports that all stages share.

use async_nats::Client;
use async_nats::jetstream::Context;
use claims_log::Process;
use fault_point::FaultPoints;
use store::{AfterCommits, Store};
use tokio_util::sync::CancellationToken;

use crate::ops::Ops;
use crate::pipeline::crossing::source::SignalSource;
use crate::pipeline::port::pulls::JetStreamPulls;
use telemetry::traces::Traces;

/// Connections and reports that the pipeline works with.
#[derive(Clone)]
pub struct PipelineContext {
    /// The client's connection to NATS.
    pub client: Client,
    /// JetStream over that connection.
    pub jetstream: Context,
    /// The consumer, over the reader's connection.
    pub pulls: JetStreamPulls,
    /// The stream and the consumer.
    pub source: SignalSource,
    /// The table of signals.
    pub store: Store,
    /// The claims log.
    pub process: Process,
    /// Ends the reading of the claims log, once nothing is left to be acked.
    pub reading: CancellationToken,
    /// Consumers of committed rows.
    pub after_commit: AfterCommits,
    /// Metrics, health and events for the operator.
    pub ops: Ops,
    /// Spans of batches and dead letters.
    pub traces: Traces,
    /// Points at which a test stops the process.
    pub faults: FaultPoints,
}
