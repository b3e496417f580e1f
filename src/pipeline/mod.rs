//! The pipeline: pull, decode, batch, insert, ack, with dead letters as the side exit.
//!
//! This module wires the stages, and is the only one that makes channels. A stage ends when
//! the one before it has ended, so a stop begins at the pulls and runs through to the acks.
//!
//! ```text
//! pull ──────deliveries──▶ decode+batch ──batches──▶ insert ──settled──▶ ack
//! exhausted ──deliveries─────┘   │                      │                 ▲
//!     │                          └──────rejects─────────┴▶ dead letter ───┤
//!     └──────────────rejects────────────────────────────────┘   settled──┘
//! ```
//!
//! What is between a pull and its ack never exceeds `consumer.max_in_flight_messages` and
//! `consumer.max_in_flight_bytes`: a pull takes its room from `in_flight` first.

mod ack;
mod batch;
mod circuit;
mod committed;
mod dead_letter;
mod decode;
mod delivery;
mod exhausted;
mod in_flight;
mod insert;
mod keep_alive;
mod moment;
mod pace;
mod pull;
mod sample;
mod source;
mod suspects;

pub use ack::Totals;
pub use source::{Source, SourceError};

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::backoff::Backoff;
use crate::fault_point::FaultPoints;
use crate::ops::Ops;
use crate::settings::Settings;
use crate::store::Store;
use crate::telemetry::events::EventLog;
use crate::telemetry::kinds::KindTally;

use ack::{Ack, Settled};
use batch::{Bounds, ClosedBatch, OpenBatch};
use circuit::Circuit;
use dead_letter::{DeadLetter, Rejected};
use decode::{Decode, Slot};
use delivery::Delivery;
use exhausted::Exhausted;
use in_flight::InFlight;
use insert::{Halt, Insert};
use pull::Pull;
use sample::Sample;
use suspects::Suspects;

/// Committed batches and dead letters that wait for their acks.
const WAITING_SETTLED: usize = 256;

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
#[derive(Clone)]
pub struct Ends {
    /// The connection to NATS.
    pub client: Client,
    /// JetStream over that connection.
    pub context: Context,
    /// The stream and the consumer.
    pub source: Source,
    /// The table of signals.
    pub store: Store,
    /// What the operator sees of it.
    pub ops: Ops,
    /// Where a test stops the process.
    pub faults: FaultPoints,
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
    let sample = tokio::spawn(
        Sample {
            ends: ends.clone(),
            settings: Arc::clone(&settings),
            in_flight: Arc::clone(&in_flight),
        }
        .run(),
    );
    let stages = spawn(ends, &settings, &in_flight, &shutdown);
    let result = tokio::select! {
        totals = finished(stages) => totals.map_err(PipelineError::from),
        () = over(&shutdown, settings.shutdown.grace) => Err(PipelineError::GraceOver {
            grace: settings.shutdown.grace,
            held: in_flight.messages(),
        }),
    };
    keep_alive.abort();
    sample.abort();
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
    let channels = channels(settings);
    let pull = Pull {
        client: ends.client.clone(),
        context: ends.context.clone(),
        settings: Arc::clone(settings),
        source: ends.source,
        in_flight: Arc::clone(in_flight),
        deliveries: channels.deliveries.0.clone(),
        halt: channels.halt.1,
        metrics: Arc::clone(&ends.ops.metrics),
        shutdown: shutdown.clone(),
    };
    let decode = decode(
        settings,
        &ends,
        channels.deliveries.1,
        channels.batches.0,
        channels.rejects.0.clone(),
    );
    let backoff = Backoff::new(settings.clickhouse.retry_min, settings.clickhouse.retry_max);
    let exhausted = Exhausted {
        ends: ends.clone(),
        settings: Arc::clone(settings),
        in_flight: Arc::clone(in_flight),
        deliveries: channels.deliveries.0,
        rejects: channels.rejects.0.clone(),
        settled: channels.settled.0.clone(),
        backoff: backoff.clone(),
        shutdown: shutdown.clone(),
    };
    let insert = Insert {
        store: ends.store,
        circuit: Arc::new(Circuit::new(backoff.clone())),
        suspects: Arc::new(Suspects::default()),
        insert_time: Arc::clone(&decode.insert_time),
        ack_wait: settings.consumer.ack_wait,
        in_flight: Arc::clone(in_flight),
        batches: Arc::new(Mutex::new(channels.batches.1)),
        settled: channels.settled.0.clone(),
        rejects: channels.rejects.0,
        halt: channels.halt.0,
        ops: ends.ops.clone(),
        faults: ends.faults.clone(),
    };
    let dead_letter = DeadLetter {
        max_payload: ends.client.max_payload(),
        context: ends.context.clone(),
        settings: Arc::clone(settings),
        rejects: channels.rejects.1,
        settled: channels.settled.0,
        backoff,
        faults: ends.faults.clone(),
    };
    let ack = Ack {
        client: ends.client,
        context: ends.context,
        settings: Arc::clone(settings),
        in_flight: Arc::clone(in_flight),
        settled: channels.settled.1,
        log: EventLog::new(&settings.log, ends.ops.metrics, ends.ops.recent),
        faults: ends.faults,
    };
    start(settings, pull, decode, insert, exhausted, dead_letter, ack)
}

/// What the stages hand on to each other, each with its bound.
struct Channels {
    deliveries: Channel<Vec<Delivery>>,
    rejects: Channel<Rejected>,
    batches: Channel<(ClosedBatch, Slot)>,
    settled: Channel<Settled>,
    halt: (watch::Sender<Halt>, watch::Receiver<Halt>),
}

type Channel<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

fn channels(settings: &Settings) -> Channels {
    // Whoever sends a delivery or a reject already holds its share of the memory bound, so
    // these two never fill: a pull is not kept from seeing its messages, nor a batch from
    // closing, by what comes behind.
    let held_max = settings.consumer.max_in_flight_messages;
    Channels {
        deliveries: mpsc::channel(held_max),
        rejects: mpsc::channel(held_max),
        // A batch is sent with a slot for its insert, so that none waits here.
        batches: mpsc::channel(settings.clickhouse.max_concurrent_inserts),
        settled: mpsc::channel(WAITING_SETTLED),
        halt: watch::channel(None),
    }
}

fn decode(
    settings: &Settings,
    ends: &Ends,
    deliveries: mpsc::Receiver<Vec<Delivery>>,
    batches: mpsc::Sender<(ClosedBatch, Slot)>,
    rejects: mpsc::Sender<Rejected>,
) -> Decode {
    Decode {
        limits: settings.validation.clone(),
        max_wait: settings.batch.max_wait,
        insert_time: Arc::default(),
        closed_at: Instant::now(),
        insert_interval: Duration::from_secs(1) / settings.batch.max_inserts_per_second,
        batch: OpenBatch::new(Bounds {
            max_rows: settings.batch.max_rows,
            max_bytes: settings.batch.max_bytes,
        }),
        slots: Arc::new(Semaphore::new(settings.clickhouse.max_concurrent_inserts)),
        kinds: KindTally::default(),
        metrics: Arc::clone(&ends.ops.metrics),
        faults: ends.faults.clone(),
        deliveries,
        batches,
        rejects,
    }
}

/// Starts the stages, with as many pulls and inserts as are set.
fn start(
    settings: &Settings,
    pull: Pull,
    decode: Decode,
    insert: Insert,
    exhausted: Exhausted,
    dead_letter: DeadLetter,
    ack: Ack,
) -> Stages {
    let pulls = (0..settings.consumer.pulls).map(|_| tokio::spawn(pull.clone().run()));
    let inserts =
        (0..settings.clickhouse.max_concurrent_inserts).map(|_| tokio::spawn(insert.clone().run()));
    let mut before_ack: Vec<_> = pulls.chain(inserts).collect();
    before_ack.push(tokio::spawn(decode.run()));
    before_ack.push(tokio::spawn(exhausted.run()));
    before_ack.push(tokio::spawn(dead_letter.run()));
    Stages {
        before_ack,
        ack: tokio::spawn(ack.run()),
    }
}
