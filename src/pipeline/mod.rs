//! The pipeline: pull, decode, batch, insert, ack, with dead letters as the side exit.
//!
//! `wiring` makes the stages and the channels between them. A stage ends when the one before it
//! has ended, so a stop begins at the pulls and runs through to the acks.
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

mod absent;
mod ack;
mod ack_floor;
mod batch;
mod circuit;
mod claimed;
mod committed;
mod complete;
mod dead_letter;
mod decode;
mod delivery;
mod exhausted;
mod in_flight;
mod insert;
mod keep_alive;
mod pace;
mod parked;
mod pull;
mod pulse;
mod sample;
mod settle;
mod source;
mod suspects;
mod takeover;
mod watchdog;
mod wiring;

pub use ack::Totals;
pub use source::Source;
pub(crate) use source::unix_nanos;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use claims_log::Process;
use tokio::task::{AbortHandle, JoinError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cache::Feed;
use crate::capacity::{NatsHealth, Poller};
use crate::claiming::Servers;
use crate::fault_point::FaultPoints;
use crate::ops::Ops;
use crate::reload::InForce;
use crate::retention::Retention;
use crate::service_manager;
use crate::settings::Settings;
use crate::store::Store;
use crate::telemetry::traces::Traces;
use crate::tls::TlsError;

use in_flight::InFlight;
use keep_alive::{KeepAlive, give_back_last};
use pulse::Pulses;
use sample::Sample;
use watchdog::Watchdog;
use wiring::{Stages, spawn};

/// From the end of a pull to the server's notice of it.
const UNSUBSCRIBE: Duration = Duration::from_millis(100);

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
    /// A certificate or a key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    /// The claims log.
    pub process: Process,
    /// Ends the reading of the claims log, once nothing is left to be acked.
    pub reading: CancellationToken,
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
/// what was not acked is given back and delivered again.
pub async fn run(
    ends: Ends,
    in_force: InForce,
    shutdown: CancellationToken,
) -> Result<Totals, PipelineError> {
    let settings = Arc::clone(&in_force.borrow());
    let poller = poller(&ends, &settings)?;
    let in_flight = InFlight::new(
        settings.consumer.max_in_flight_messages,
        settings.consumer.max_in_flight_bytes,
    );
    let mut pulses = Pulses::new();
    let keep_alive = tokio::spawn(
        KeepAlive {
            client: ends.client.clone(),
            ack_wait: settings.consumer.ack_wait,
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
    let poller = tokio::spawn(poller.run());
    let reading = ends.reading.clone();
    let (client, health) = (ends.client.clone(), Arc::clone(&ends.ops.health));
    let (stages, halt) = spawn(ends, &in_force, &in_flight, &shutdown, &mut pulses);
    let pulls = stages.pulls.clone();
    service_manager::ready().await;
    let watchdog = Watchdog {
        client: client.clone(),
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
    poller.abort();
    if result.is_err() {
        // What is given back must not come here again.
        pulls.iter().for_each(AbortHandle::abort);
        sleep(UNSUBSCRIBE).await;
    }
    give_back_last(&client, in_flight.give_back_all()).await;
    reading.cancel();
    result
}

/// The poller of all storages.
fn poller(ends: &Ends, settings: &Arc<Settings>) -> Result<Poller, TlsError> {
    let servers = Servers::new(&ends.context, &ends.store, settings);
    Ok(Poller {
        context: ends.context.clone(),
        store: ends.store.clone(),
        process: ends.process.clone(),
        settings: Arc::clone(settings),
        health: NatsHealth::new(&settings.nats)?,
        retention: Retention::new(
            Arc::clone(settings),
            ends.process.clone(),
            servers,
            ends.context.clone(),
            Arc::clone(&ends.ops.metrics),
        ),
        ops: ends.ops.clone(),
    })
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
    sleep(grace).await;
    grace
}
