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

use std::io::{self, Write};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::jetstream::topology::{self, TopologyError};
use crate::jetstream::{self, ConnectError};
use crate::settings::Settings;
use crate::synthetic::{Generator, Options};
use crate::wall_clock::now_ms;
use file::Lines;
use generated::Synthetic;
pub(crate) use pace::Pace;
use progress::Progress;
use publisher::Publisher;
use source::Batch;

/// What the server shows in its list of connections.
const CLIENT_NAME: &str = "risksignal-produce";

/// Why not every signal is in the stream.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// NATS cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The stream is not there and cannot be made.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The answers cannot be subscribed to.
    #[error("cannot subscribe to JetStream's answers: {0}")]
    Subscribe(#[from] async_nats::SubscribeError),
    /// There are no signals.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Publishing ended early; what the report counts is in the stream.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Some signals are not in the stream.
    #[error("{} signals rejected, {} without an answer", .0.rejected, .0.unconfirmed)]
    NotAccepted(Box<ProduceReport>),
    /// The summary cannot be written.
    #[error("cannot write the summary: {0}")]
    Summary(#[from] io::Error),
}

/// Publishes what `args` ask for, and prints a summary to standard output.
///
/// Creates the stream when absent. A signal whose answer is late is published again under the
/// same `Nats-Msg-Id`, for as long as it takes: JetStream keeps one of them, within the
/// stream's duplicate window. Lines without a `trace_id` have no such id and may be stored
/// twice then.
///
/// On `shutdown`, nothing new is published, and answers are waited for no longer than
/// `shutdown.grace`; that is no error.
///
/// # Errors
/// When NATS or the source fails at the start, the source fails on the way, or
/// [`ProduceError::NotAccepted`] when a signal was refused or has no answer in the end. A
/// summary is printed in the latter cases too.
pub async fn produce(
    args: &ProduceArgs,
    settings: &Settings,
    shutdown: CancellationToken,
) -> Result<ProduceReport, ProduceError> {
    let client = jetstream::connect(&settings.nats, CLIENT_NAME).await?;
    let context = jetstream::context(&client, &settings.nats);
    topology::ensure_stream(&context, &settings.stream).await?;
    let batches = open_source(args, settings, client.max_payload())?;
    let progress = Progress::new(args.limit());
    let publisher = Publisher::new(
        client,
        args.window as usize,
        settings.nats.request_timeout,
        progress,
    )
    .await?;
    let (report, error) = publisher
        .run(batches, args.rate, &shutdown, settings.shutdown.grace)
        .await;
    writeln!(io::stdout().lock(), "{report}")?;
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
) -> Result<mpsc::Receiver<Result<Batch, SourceError>>, SourceError> {
    let prefix = &settings.stream.subject_prefix;
    if let Some(path) = &args.file {
        let lines = Lines::open(path, prefix, max_payload, args.limit())?;
        return source::spawn(lines, args.rate);
    }
    let seed = args.seed.unwrap_or_else(rand::random);
    info!(seed, "Generating signals; the same --seed repeats them");
    let generator = Generator::new(&Options {
        mix: args.kind.into(),
        invalid_share: args.invalid / 100.0,
        ..Options::new(seed, now_ms(), settings.validation.clone())
    })?;
    source::spawn(Synthetic::new(generator, prefix, args.limit()), args.rate)
}
