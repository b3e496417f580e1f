//! `risksignal produce`: publishes test signals, generated or from a file.

mod args;
mod file;
mod generated;
mod lines;
mod pace;
mod progress;
mod publisher;
mod report;
mod source;
mod window;

pub use args::{KindArg, ProduceArgs};
pub use publisher::PublishError;
pub use report::ProduceReport;
pub use source::SourceError;

use std::io;

use clock::now_ms;
use jetstream::topology::{self, TopologyError};
use jetstream::{self, ConnectError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::command::output;
use crate::settings::Settings;

use file::Lines;
use generated::Synthetic;
pub(crate) use pace::RateLimiter;
use progress::ProgressLine;
use publisher::SignalPublisher;
use source::OutgoingBatch;
use synthetic::{Generator, GeneratorOptions};

/// Name in the server's list of connections.
const CLIENT_NAME: &str = "risksignal-produce";

/// Reason for which some signals are not in the stream.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// NATS is unreachable.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The stream does not exist and cannot be created.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The subscription to answers failed.
    #[error("cannot subscribe to JetStream's answers: {0}")]
    Subscribe(#[from] async_nats::SubscribeError),
    /// The source of signals failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Publishing ended early; the counted signals are in the stream.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Some signals are not in the stream.
    #[error("{} signals rejected, {} without an answer", .0.rejected, .0.unconfirmed)]
    NotAccepted(Box<ProduceReport>),
    /// The summary cannot be written.
    #[error("cannot write the summary: {0}")]
    Summary(#[from] io::Error),
}

/// Publishes signals by `args`, and prints a summary to standard output.
///
/// Creates the stream if it is absent. Publishes a signal without a timely answer again under the
/// same `Nats-Msg-Id`, until it is answered: JetStream keeps one of them, within the stream's
/// duplicate window. Lines without a `trace_id` have no such id and may then be stored twice.
///
/// On `shutdown` it publishes nothing new, and waits for answers no longer than `shutdown.grace`;
/// that is no error.
///
/// # Errors
/// Fails when NATS or the source fails. Returns [`ProduceError::NotAccepted`] if a signal was
/// rejected or has no answer in the end. Prints a summary unless it failed at the start.
pub async fn produce(
    args: &ProduceArgs,
    settings: &Settings,
    shutdown: CancellationToken,
) -> Result<ProduceReport, ProduceError> {
    let client = jetstream::connect(&settings.nats, CLIENT_NAME).await?;
    let context = jetstream::context(&client, &settings.nats);
    topology::ensure_stream(&context, &settings.stream).await?;
    let batches = open_source(args, settings, client.max_payload())?;
    let progress = ProgressLine::new(args.limit());
    let publisher = SignalPublisher::new(
        client,
        args.window as usize,
        settings.nats.request_timeout,
        progress,
    )
    .await?;
    let (report, error) = publisher
        .run(batches, args.rate, &shutdown, settings.shutdown.grace)
        .await;
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&report)?;
    }
    match error {
        Some(PublishError::Source(error)) => Err(error.into()),
        Some(error) => Err(error.into()),
        None if report.rejected + report.unconfirmed > 0 => {
            Err(ProduceError::NotAccepted(Box::new(report)))
        }
        None => Ok(report),
    }
}

fn open_source(
    args: &ProduceArgs,
    settings: &Settings,
    max_payload: usize,
) -> Result<mpsc::Receiver<Result<OutgoingBatch, SourceError>>, SourceError> {
    let prefix = &settings.stream.subject_prefix;
    if let Some(path) = &args.file {
        let lines = Lines::open(path, prefix, max_payload, args.limit())?;
        return source::spawn(lines, args.rate);
    }
    let seed = args.seed.unwrap_or_else(rand::random);
    info!(seed, "Generating signals; the same --seed repeats them");
    let generator = Generator::new(&GeneratorOptions {
        mix: args.kind.into(),
        invalid_share: args.invalid / 100.0,
        ..GeneratorOptions::new(seed, now_ms(), settings.validation.clone())
    })?;
    source::spawn(Synthetic::new(generator, prefix, args.limit()), args.rate)
}
