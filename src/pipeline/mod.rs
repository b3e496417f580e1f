//! The pipeline: pull, decode, batch, insert, ack, with dead letters as the side exit.
//!
//! `wiring` makes the stages and the channels between them. A stage ends when the one before it
//! has ended, so a stop begins at the pulls and runs through to the acks.
//!
//! ```text
//! pull ──────deliveries──▶ decode+batch ──batches──▶ insert ──settled──▶ ack
//! max_deliveries ─deliveries┘   │                      │                 ▲
//!     │                          └──────rejects─────────┴▶ dead letter ───┤
//!     └──────────────rejects────────────────────────────────┘   settled──┘
//! ```
//!
//! Messages between a pull and its ack never exceed `consumer.max_in_flight_messages` and
//! `consumer.max_in_flight_bytes`: a pull takes its room from `in_flight` first.

mod batching;
mod context;
mod crossing;
mod kinds;
mod liveness;
pub mod log_lines;
pub mod metrics;
pub mod options;
mod port;
mod stage;
mod wiring;

pub use context::PipelineContext;
pub use crossing::source::SignalSource;
pub use port::pulls::{JetStreamPulls, Pulls};
pub use stage::ack::Totals;

use std::sync::Arc;
use std::time::Duration;

use net::tls::TlsError;
use tokio::task::{AbortHandle, JoinError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::capacity::{CapacityPoller, NatsHealth};
use crate::claiming::Servers;
use crate::reload::SettingsHandle;
use crate::retention::Retention;
use crate::service_manager;
use crate::settings::Settings;

use crossing::in_flight::InFlight;
use liveness::heartbeat::Heartbeats;
use liveness::keep_alive::{KeepAlive, give_back_last};
use liveness::poller::LivenessPoller;
use liveness::watchdog::{self, Watchdog};
use wiring::{Stages, spawn};

/// Time from the end of a pull until the server has noticed.
const UNSUBSCRIBE: Duration = Duration::from_millis(100);

/// Reason for which the pipeline stopped without a shutdown request.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// Messages that were held could not be committed and acked in time.
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

/// Runs the pipeline until `shutdown`, then commits and acks what it holds.
///
/// # Errors
/// When that takes longer than `shutdown.grace`, or a stage panics. Nothing is lost then:
/// messages without an ack are given back and delivered again.
pub async fn run(
    context: PipelineContext,
    in_force: SettingsHandle,
    shutdown: CancellationToken,
) -> Result<Totals, PipelineError> {
    let settings = Arc::clone(&in_force.borrow());
    let poller = poller(&context, &settings)?;
    let in_flight = InFlight::new(
        settings.consumer.max_in_flight_messages,
        settings.consumer.max_in_flight_bytes,
    );
    let mut heartbeats = Heartbeats::new();
    let keep_alive = tokio::spawn(
        KeepAlive {
            client: context.pulls.clone(),
            ack_wait: settings.consumer.ack_wait,
            in_flight,
            heartbeat: heartbeats.add("keep alive"),
        }
        .run(),
    );
    let polling = tokio::spawn(
        LivenessPoller {
            context: context.clone(),
            settings: Arc::clone(&settings),
            in_flight,
        }
        .run(),
    );
    let poller = tokio::spawn(poller.run());
    let reading = context.reading.clone();
    let (links, health) = (context.pulls.clone(), Arc::clone(&context.ops.health));
    let (stages, halt) = spawn(context, &in_force, in_flight, &shutdown, &mut heartbeats);
    let pulls = stages.pulls.clone();
    service_manager::ready().await;
    let watchdog = Watchdog {
        connection: Arc::new(links.clone()),
        heartbeats,
        halt,
        health,
        step_max: watchdog::step_max(&settings),
    };
    let watchdog = tokio::spawn(watchdog.run());
    let reported = tokio::spawn(report_stop(shutdown.clone(), in_flight));
    let result = tokio::select! {
        totals = finished(stages) => totals.map_err(PipelineError::from),
        grace = over(&shutdown, &in_force) => Err(PipelineError::GraceOver {
            grace,
            held: in_flight.messages(),
        }),
    };
    if shutdown.is_cancelled() {
        // A panic in it would have ended the process.
        let _ = reported.await;
    } else {
        reported.abort();
    }
    watchdog.abort();
    keep_alive.abort();
    polling.abort();
    poller.abort();
    if result.is_err() {
        // Messages that are given back must not come here again.
        pulls.iter().for_each(AbortHandle::abort);
        sleep(UNSUBSCRIBE).await;
    }
    give_back_last(&links, in_flight.give_back_all()).await;
    reading.cancel();
    result
}

/// The poller of all storages.
fn poller(context: &PipelineContext, settings: &Arc<Settings>) -> Result<CapacityPoller, TlsError> {
    let servers = Servers::new(&context.jetstream, &context.store, settings);
    Ok(CapacityPoller {
        context: context.jetstream.clone(),
        store: context.store.clone(),
        process: context.process.clone(),
        settings: Arc::clone(settings),
        health: NatsHealth::new(&settings.nats)?,
        retention: Retention::new(
            Arc::clone(settings),
            context.process.clone(),
            servers,
            context.jetstream.clone(),
            context.ops.metrics.history.clone(),
        ),
        ops: context.ops.clone(),
    })
}

/// Waits for every stage. A panic in one ends the wait at once, since the others might never
/// end.
async fn finished(stages: Stages) -> Result<Totals, JoinError> {
    futures_util::future::try_join_all(stages.before_ack).await?;
    stages.ack.await
}

/// Reports the stop to the service manager, however fast that is.
async fn report_stop(shutdown: CancellationToken, in_flight: &'static InFlight) {
    shutdown.cancelled().await;
    let held = in_flight.messages();
    service_manager::stopping(&format!("Committing what is held: {held} messages")).await;
}

/// Ends when the time for a stop is over, with that time.
async fn over(shutdown: &CancellationToken, in_force: &SettingsHandle) -> Duration {
    shutdown.cancelled().await;
    let grace = in_force.borrow().shutdown.grace;
    info!(
        grace_ms = grace.as_millis() as u64,
        "Pulling stopped; committing what is held"
    );
    sleep(grace).await;
    grace
}

#[cfg(test)]
mod fakes;
