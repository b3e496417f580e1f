//! The pipeline: pull, decode, batch, insert, ack, with dead letters as the side exit.
//!
//! This module wires the stages, and is the only one that makes channels. A stage ends when
//! the one before it has ended, so a stop begins at the pulls and runs through to the acks.
//!
//! ```text
//! pull ──deliveries──▶ decode+batch ──batches──▶ insert ──settled──▶ ack
//!                            │                                        ▲
//!                            └──rejects──▶ dead letter ──settled──────┘
//! ```
//!
//! What is between a pull and its ack never exceeds `consumer.max_in_flight_messages` and
//! `consumer.max_in_flight_bytes`: a pull takes its room from `in_flight` first.

mod ack;
mod batch;
mod dead_letter;
mod decode;
mod delivery;
mod in_flight;
mod insert;
mod keep_alive;
mod pull;

pub use ack::Totals;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::backoff::Backoff;
use crate::settings::Settings;
use crate::store::Store;
use crate::telemetry::events::EventLog;

use ack::Ack;
use batch::{Bounds, OpenBatch};
use dead_letter::DeadLetter;
use decode::Decode;
use in_flight::InFlight;
use insert::Insert;
use pull::Pull;

/// Closed batches that wait for an insert.
const WAITING_BATCHES: usize = 1;
/// Committed batches and dead letters that wait for their acks.
const WAITING_SETTLED: usize = 256;
/// How long the last acks may take to reach the server.
const LAST_ACKS: Duration = Duration::from_secs(5);

/// Why the pipeline ended otherwise than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// What was held could not be committed and acked in time.
    #[error(
        "not all was committed within shutdown.grace ({}): {held} messages were not acked and will be delivered again",
        humantime::format_duration(*.grace)
    )]
    GraceOver {
        /// The time that was given.
        grace: Duration,
        /// Messages not acked.
        held: usize,
    },
    /// A stage panicked.
    #[error("a stage of the pipeline failed: {0}; this is a defect, please report it")]
    Stage(#[from] JoinError),
}

/// What the pipeline stands between.
pub struct Ends {
    /// The connection to NATS.
    pub client: Client,
    /// JetStream over that connection.
    pub context: Context,
    /// When the stream was created: nanoseconds since the epoch.
    pub stream_created_ns: i128,
    /// The table of signals.
    pub store: Store,
}

/// Runs the pipeline until `shutdown`, then commits and acks what it holds.
///
/// # Errors
/// When that takes longer than `shutdown.grace`, or a stage panics. Nothing is lost then:
/// what was not acked is delivered again.
pub async fn run(
    ends: Ends,
    settings: Arc<Settings>,
    shutdown: CancellationToken,
) -> Result<Totals, PipelineError> {
    let in_flight = InFlight::new(
        settings.consumer.max_in_flight_messages,
        settings.consumer.max_in_flight_bytes,
    );
    let keep_alive = tokio::spawn(keep_alive::run(
        ends.client.clone(),
        Arc::clone(&in_flight),
        settings.consumer.ack_wait,
    ));
    let stages = spawn(ends, &settings, &in_flight, &shutdown);
    let result = tokio::select! {
        totals = finished(stages) => totals.map_err(PipelineError::from),
        () = over(&shutdown, settings.shutdown.grace) => Err(PipelineError::GraceOver {
            grace: settings.shutdown.grace,
            held: in_flight.messages(),
        }),
    };
    keep_alive.abort();
    result
}

/// The tasks of one pipeline.
struct Stages {
    before_ack: Vec<JoinHandle<()>>,
    ack: JoinHandle<Totals>,
}

/// Waits for every stage. A panic in one ends the wait at once, since the others might never
/// end.
async fn finished(stages: Stages) -> Result<Totals, JoinError> {
    futures_util::future::try_join_all(stages.before_ack).await?;
    stages.ack.await
}

async fn over(shutdown: &CancellationToken, grace: Duration) {
    shutdown.cancelled().await;
    info!(
        grace_ms = grace.as_millis() as u64,
        "Pulling stopped; committing what is held"
    );
    tokio::time::sleep(grace).await;
}

fn spawn(
    ends: Ends,
    settings: &Arc<Settings>,
    in_flight: &Arc<InFlight>,
    shutdown: &CancellationToken,
) -> Stages {
    let Ends {
        client,
        context,
        stream_created_ns,
        store,
    } = ends;
    // Whoever sends a delivery or a reject already holds its share of the memory bound, so
    // these two never fill: a pull is not kept from seeing its messages, nor a batch from
    // closing, by what comes behind.
    let held_max = settings.consumer.max_in_flight_messages;
    let (deliveries_in, deliveries) = mpsc::channel(held_max);
    let (rejects_in, rejects) = mpsc::channel(held_max);
    let (batches_in, batches) = mpsc::channel(WAITING_BATCHES);
    let (settled_in, settled) = mpsc::channel(WAITING_SETTLED);
    let (halt, halted) = watch::channel(None);
    let backoff = Backoff::new(settings.clickhouse.retry_min, settings.clickhouse.retry_max);
    let mut before_ack = Vec::new();

    for _ in 0..settings.consumer.pulls {
        let pull = Pull {
            client: client.clone(),
            context: context.clone(),
            settings: Arc::clone(settings),
            stream_created_ns,
            in_flight: Arc::clone(in_flight),
            deliveries: deliveries_in.clone(),
            halt: halted.clone(),
            shutdown: shutdown.clone(),
        };
        before_ack.push(tokio::spawn(pull.run()));
    }
    let decode = Decode {
        limits: settings.validation.clone(),
        max_wait: settings.batch.max_wait,
        batch: OpenBatch::new(Bounds {
            max_rows: settings.batch.max_rows,
            max_bytes: settings.batch.max_bytes,
        }),
        deliveries,
        batches: batches_in,
        rejects: rejects_in,
    };
    before_ack.push(tokio::spawn(decode.run()));
    let batches = Arc::new(Mutex::new(batches));
    for _ in 0..settings.clickhouse.max_concurrent_inserts {
        let insert = Insert {
            store: store.clone(),
            batches: Arc::clone(&batches),
            settled: settled_in.clone(),
            halt: halt.clone(),
            backoff: backoff.clone(),
        };
        before_ack.push(tokio::spawn(insert.run()));
    }
    let dead_letter = DeadLetter {
        max_payload: client.max_payload(),
        context,
        settings: Arc::clone(settings),
        rejects,
        settled: settled_in,
        backoff,
    };
    before_ack.push(tokio::spawn(dead_letter.run()));
    let ack = Ack {
        client,
        settled,
        log: EventLog::new(&settings.log),
        flush_timeout: LAST_ACKS,
    };
    Stages {
        before_ack,
        ack: tokio::spawn(ack.run()),
    }
}
