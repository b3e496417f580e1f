//! Tells the service manager that the pipeline lives, for as long as it does, and `/livez` when it
//! does not.
//!
//! Two things end that. When a stage is at one step for longer than its time-outs allow, this
//! task keeps silent; when the runtime's threads are blocked, it does not run. A server that is
//! away is neither: a stage that tries again begins a new step, and without a connection to
//! NATS, where even a publish may wait, no step counts.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::error;

use crate::ops::health::Health;
use crate::service_manager;
use crate::settings::Settings;

use super::insert::Halt;
use super::pulse::Pulses;

/// The longest time between two looks.
const PERIOD: Duration = Duration::from_secs(5);
/// The most answers of JetStream that one step waits for, one after the other.
const REQUESTS_A_STEP: u32 = 8;

/// Looks after the stages.
pub(super) struct Watchdog {
    pub client: Client,
    pub pulses: Pulses,
    pub halt: watch::Receiver<Halt>,
    pub health: Arc<Health>,
    /// No step takes longer.
    pub step_max: Duration,
}

/// Longest step of a stage with these time-outs; a pause between two tries is part of a
/// step.
pub(super) fn step_max(settings: &Settings) -> Duration {
    settings.clickhouse.send_timeout
        + settings.clickhouse.end_timeout
        + settings.clickhouse.retry_max
        + settings.nats.request_timeout * REQUESTS_A_STEP
}

impl Watchdog {
    /// Looks until it is dropped.
    pub async fn run(self) {
        let expected = service_manager::watchdog_interval();
        // Two may get lost before the third is late.
        let mut ticks = interval(expected.map_or(PERIOD, |within| (within / 3).min(PERIOD)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connected_since = Instant::now();
        let mut told = String::new();
        loop {
            ticks.tick().await;
            let is_connected = self.client.connection_state() == State::Connected;
            if !is_connected {
                connected_since = Instant::now();
            }
            let hung = self.pulses.hung(connected_since, self.step_max);
            if hung.is_empty() {
                service_manager::alive().await;
            }
            self.health
                .hangs((!hung.is_empty()).then(|| hung.join(", ")));
            let status = self.status(&hung, is_connected);
            if status != told {
                service_manager::status(&status).await;
                if !hung.is_empty() {
                    error!(
                        stages = hung.join(", "),
                        "The pipeline hangs; the watchdog is told no more that it lives"
                    );
                }
                told = status;
            }
        }
    }

    fn status(&self, hung: &[&str], is_connected: bool) -> String {
        if !hung.is_empty() {
            return format!("The pipeline hangs: {}", hung.join(", "));
        }
        if !is_connected {
            return "NATS is away; connecting again".to_owned();
        }
        match self.halt.borrow().as_ref() {
            Some(reason) => format!("Pulling stopped until this is mended: {reason}"),
            None => "Moving signals".to_owned(),
        }
    }
}
