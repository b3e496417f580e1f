//! Reports to the service manager that the pipeline lives, for as long as it does, and to `/livez`
//! when it does not.
//!
//! Two things end that. When a stage is at one step for longer than its time-outs allow, this
//! task keeps silent; when the runtime's threads are blocked, it does not run. A server that is
//! away is neither: a stage that tries again begins a new step, and without a connection to
//! NATS, where even a publish may wait, no step counts.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::error;

use crate::ops::health::Health;
use crate::pipeline::log_lines::HANGS;
use crate::service_manager;
use crate::settings::Settings;

use crate::pipeline::crossing::halt::Halt;
use crate::pipeline::liveness::heartbeat::Heartbeats;
use crate::pipeline::port::connection::Connection;

/// The longest time between two looks.
const PERIOD: Duration = Duration::from_secs(5);
/// The most answers of JetStream that one step waits for, one after the other.
const REQUESTS_A_STEP: u32 = 8;

/// Looks after the stages.
pub struct Watchdog {
    pub connection: Arc<dyn Connection>,
    pub heartbeats: Heartbeats,
    pub halt: watch::Receiver<Halt>,
    pub health: Arc<Health>,
    /// No step takes longer.
    pub step_max: Duration,
}

/// Longest step of a stage with these time-outs; a pause between two tries is part of a
/// step.
pub fn step_max(settings: &Settings) -> Duration {
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
        let mut reported = String::new();
        loop {
            ticks.tick().await;
            let is_connected = self.connection.is_connected();
            if !is_connected {
                connected_since = Instant::now();
            }
            let hung = self.heartbeats.hung(connected_since, self.step_max);
            if hung.is_empty() {
                service_manager::alive().await;
            }
            self.health
                .hangs((!hung.is_empty()).then(|| hung.join(", ")));
            let status = self.status(&hung, is_connected);
            if status != reported {
                service_manager::status(&status).await;
                if !hung.is_empty() {
                    error!(stages = hung.join(", "), "{HANGS}");
                }
                reported = status;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use crate::pipeline::fakes::watched;
    use tokio::time::sleep;

    use super::*;
    use crate::pipeline::fakes::streams::FakeConnection;
    use crate::pipeline::liveness::heartbeat::Heartbeat;

    const STEP_MAX: Duration = Duration::from_secs(30);

    /// A watchdog over a stage that is at one step.
    fn start() -> (Arc<FakeConnection>, Arc<Health>, Heartbeat) {
        let (connection, health) = (FakeConnection::new(), Health::new());
        let mut heartbeats = Heartbeats::new();
        let stage = heartbeats.add("insert");
        let watchdog = Watchdog {
            connection: connection.clone(),
            heartbeats,
            halt: watched(None).1,
            health: Arc::clone(&health),
            step_max: STEP_MAX,
        };
        tokio::spawn(watchdog.run());
        (connection, health, stage)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stage_that_hangs_is_reported_until_it_goes_on() {
        let (_connection, health, stage) = start();
        sleep(STEP_MAX - PERIOD).await;
        assert_eq!(health.hang(), None);
        sleep(PERIOD * 3).await;
        let hang = health.hang().unwrap();
        assert!(hang.contains("insert"), "{hang}");
        stage.step();
        sleep(PERIOD).await;
        assert_eq!(health.hang(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn no_step_counts_without_a_connection() {
        let (connection, health, _stage) = start();
        connection.is_connected.store(false, Ordering::Relaxed);
        sleep(STEP_MAX * 4).await;
        assert_eq!(health.hang(), None);
        connection.is_connected.store(true, Ordering::Relaxed);
        sleep(STEP_MAX * 2).await;
        assert!(health.hang().is_some());
    }
}
