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
mod ack_floor;
mod batch;
mod circuit;
mod commit;
mod committed;
mod dead_letter;
mod decode;
mod delivery;
mod exhausted;
mod found;
mod in_flight;
mod insert;
mod keep_alive;
mod moment;
mod pace;
mod pull;
mod pulse;
mod sample;
mod source;
mod suspects;
mod tries;
mod watchdog;

pub use ack::Totals;
pub use source::{Source, SourceError};

use std::iter::repeat_with;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::backoff::Backoff;
use crate::cache::Feed;
use crate::fault_point::FaultPoints;
use crate::ops::Ops;
use crate::reload::InForce;
use crate::service_manager;
use crate::settings::{self, AckPolicy, Settings};
use crate::store::Store;
use crate::telemetry::events::EventLog;
use crate::telemetry::traces::Traces;

use ack::{Ack, Settled};
use ack_floor::AckFloor;
use batch::ClosedBatch;
use circuit::Circuit;
use dead_letter::{DeadLetter, Rejected};
use decode::{Decode, Slot};
use delivery::Arrived;
use exhausted::Exhausted;
use in_flight::InFlight;
use insert::{Halt, Insert};
use keep_alive::KeepAlive;
use pull::{Pinned, Pull};
use pulse::Pulses;
use sample::Sample;
use suspects::Suspects;
use watchdog::Watchdog;

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
    /// Where what is committed is left for the cache.
    pub cache: Option<Feed>,
    /// What the operator sees of it.
    pub ops: Ops,
    /// What becomes of batches, as spans.
    pub traces: Traces,
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
    in_force: InForce,
    shutdown: CancellationToken,
) -> Result<Totals, PipelineError> {
    let settings = Arc::clone(&in_force.borrow());
    let in_flight = InFlight::new(
        settings.consumer.max_in_flight_messages,
        settings.consumer.max_in_flight_bytes,
    );
    let mut pulses = Pulses::new();
    let keep_alive = tokio::spawn(
        KeepAlive {
            context: ends.context.clone(),
            settings: Arc::clone(&settings),
            in_flight: Arc::clone(&in_flight),
            pulse: pulses.of("keep alive"),
        }
        .run(),
    );
    let sample = tokio::spawn(
        Sample {
            ends: ends.clone(),
            settings: Arc::clone(&settings),
            in_flight: Arc::clone(&in_flight),
        }
        .run(),
    );
    let (client, health) = (ends.client.clone(), Arc::clone(&ends.ops.health));
    let (stages, halt) = spawn(ends, &in_force, &in_flight, &shutdown, &mut pulses);
    service_manager::ready().await;
    let watchdog = Watchdog {
        client,
        pulses,
        halt,
        health,
        step_max: watchdog::step_max(&settings),
    };
    let watchdog = tokio::spawn(watchdog.run());
    let told = tokio::spawn(tell_of_stop(shutdown.clone(), Arc::clone(&in_flight)));
    let result = tokio::select! {
        totals = finished(stages) => totals.map_err(PipelineError::from),
        grace = over(&shutdown, &in_force) => Err(PipelineError::GraceOver {
            grace,
            held: in_flight.messages(),
        }),
    };
    if shutdown.is_cancelled() {
        // A panic in it would have ended the process.
        let _ = told.await;
    } else {
        told.abort();
    }
    watchdog.abort();
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

/// Tells the service manager of the stop, however fast that is.
async fn tell_of_stop(shutdown: CancellationToken, in_flight: Arc<InFlight>) {
    shutdown.cancelled().await;
    let held = in_flight.messages();
    service_manager::stopping(&format!("Committing what is held: {held} messages")).await;
}

/// Ends when the time for a stop is over, with that time.
async fn over(shutdown: &CancellationToken, in_force: &InForce) -> Duration {
    shutdown.cancelled().await;
    let grace = in_force.borrow().shutdown.grace;
    info!(
        grace_ms = grace.as_millis() as u64,
        "Pulling stopped; committing what is held"
    );
    tokio::time::sleep(grace).await;
    grace
}

fn spawn(
    ends: Ends,
    in_force: &InForce,
    in_flight: &Arc<InFlight>,
    shutdown: &CancellationToken,
    pulses: &mut Pulses,
) -> (Stages, watch::Receiver<Halt>) {
    let settings = &Arc::clone(&in_force.borrow());
    let channels = channels(settings);
    let (floor, pull_count) = floor(&settings.consumer);
    let pull = Pull {
        pinned: floor.clone().map(Pinned::new),
        client: ends.client.clone(),
        context: ends.context.clone(),
        settings: Arc::clone(settings),
        source: ends.source,
        in_flight: Arc::clone(in_flight),
        deliveries: channels.deliveries.0.clone(),
        halt: channels.halt.1.clone(),
        metrics: Arc::clone(&ends.ops.metrics),
        shutdown: shutdown.clone(),
        pulse: pulses.of("pull"),
    };
    let decode = Decode::new(
        in_force.clone(),
        decode::Channels {
            deliveries: channels.deliveries.1,
            batches: channels.batches.0,
            rejects: channels.rejects.0.clone(),
        },
        ends.traces.collecting(),
        Arc::clone(&ends.ops.metrics),
        ends.faults.clone(),
        pulses.of("decode"),
    );
    let backoff = Backoff::new(settings.clickhouse.retry_min, settings.clickhouse.retry_max);
    let exhausted = Exhausted {
        pulse: pulses.of("exhausted"),
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
        store: ends.store.clone(),
        cache: ends.cache.clone(),
        circuit: Arc::new(Circuit::new(backoff.clone())),
        suspects: Arc::new(Suspects::default()),
        insert_time: Arc::clone(decode.insert_time()),
        ack_wait: settings.consumer.ack_wait,
        in_flight: Arc::clone(in_flight),
        batches: Arc::new(Mutex::new(channels.batches.1)),
        settled: channels.settled.0.clone(),
        rejects: channels.rejects.0,
        halt: channels.halt.0,
        ops: ends.ops.clone(),
        faults: ends.faults.clone(),
        pulse: pulses.of("insert"),
    };
    let (rejects, settled) = (channels.rejects.1, channels.settled);
    let (dead_letter, ack) = last(ends, in_force, in_flight, floor, rejects, settled, pulses);
    let pulls = pulls(pull, pull_count, pulses);
    let inserts = inserts(insert, settings.clickhouse.max_concurrent_inserts, pulses);
    let stages = start(pulls, decode, inserts, exhausted, dead_letter, ack);
    (stages, channels.halt.1)
}

/// What an ack for all before it needs, and how many pulls there are side by side.
fn floor(consumer: &settings::Consumer) -> (Option<Arc<AckFloor>>, usize) {
    match consumer.ack_policy {
        AckPolicy::Explicit => (None, consumer.pulls),
        // With one pull at a time it is known when no delivery is on its way.
        AckPolicy::All => (Some(Arc::default()), 1),
    }
}

/// The stages that end what is held.
fn last(
    ends: Ends,
    in_force: &InForce,
    in_flight: &Arc<InFlight>,
    floor: Option<Arc<AckFloor>>,
    rejects: mpsc::Receiver<Rejected>,
    settled: Channel<Settled>,
    pulses: &mut Pulses,
) -> (DeadLetter, Ack) {
    let settings = Arc::clone(&in_force.borrow());
    let dead_letter = DeadLetter {
        max_payload: ends.client.max_payload(),
        context: ends.context.clone(),
        settings: Arc::clone(&settings),
        rejects,
        settled: settled.0,
        backoff: Backoff::new(settings.clickhouse.retry_min, settings.clickhouse.retry_max),
        traces: ends.traces,
        faults: ends.faults.clone(),
        pulse: pulses.of("dead letter"),
    };
    let ack = Ack {
        client: ends.client,
        context: ends.context,
        log: EventLog::new(&settings.log, ends.ops.metrics, ends.ops.recent),
        settings,
        in_force: in_force.clone(),
        in_flight: Arc::clone(in_flight),
        floor,
        settled: settled.1,
        faults: ends.faults,
        pulse: pulses.of("ack"),
    };
    (dead_letter, ack)
}

/// So many that pull side by side, each with its own pulse.
fn pulls(pull: Pull, count: usize, pulses: &mut Pulses) -> Vec<Pull> {
    let one = || Pull {
        pulse: pulses.of("pull"),
        ..pull.clone()
    };
    repeat_with(one).take(count).collect()
}

/// So many that insert side by side, each with its own pulse.
fn inserts(insert: Insert, count: usize, pulses: &mut Pulses) -> Vec<Insert> {
    let one = || Insert {
        pulse: pulses.of("insert"),
        ..insert.clone()
    };
    repeat_with(one).take(count).collect()
}

/// What the stages hand on to each other, each with its bound.
struct Channels {
    deliveries: Channel<Arrived>,
    rejects: Channel<Rejected>,
    batches: Channel<(ClosedBatch, Slot)>,
    settled: Channel<Settled>,
    halt: (watch::Sender<Halt>, watch::Receiver<Halt>),
}

type Channel<T> = (mpsc::Sender<T>, mpsc::Receiver<T>);

fn channels(settings: &Settings) -> Channels {
    // A sender of a delivery or a reject holds its share of the memory bound already, so these two
    // never fill: no later stage keeps a pull from its messages or a batch from closing.
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

/// Starts the stages.
fn start(
    pulls: Vec<Pull>,
    decode: Decode,
    inserts: Vec<Insert>,
    exhausted: Exhausted,
    dead_letter: DeadLetter,
    ack: Ack,
) -> Stages {
    let pulls = pulls.into_iter().map(|pull| tokio::spawn(pull.run()));
    let inserts = inserts.into_iter().map(|insert| tokio::spawn(insert.run()));
    let mut before_ack: Vec<_> = pulls.chain(inserts).collect();
    before_ack.push(tokio::spawn(decode.run()));
    before_ack.push(tokio::spawn(exhausted.run()));
    before_ack.push(tokio::spawn(dead_letter.run()));
    Stages {
        before_ack,
        ack: tokio::spawn(ack.run()),
    }
}
