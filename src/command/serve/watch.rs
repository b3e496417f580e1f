//! Readiness of `risksignal serve`: the connection to NATS, the stream, and its free space.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Info;
use jetstream::{self, topology};
use net::tls::TlsError;
use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

use crate::capacity::{Meter, NatsHealth, Newest, StorageFill, for_storage, measure_health};
use crate::command::log_lines::PUBLISHING;
use crate::ops::Ops;
use crate::ops::health::Dependency;
use crate::settings::Settings;

/// Interval of checking NATS.
const LOOK: Duration = Duration::from_secs(1);
/// Number of these checks between two checks of nats-server's own health.
const HEALTH_LOOKS: u64 = 10;

/// Checks NATS for readiness, log and metrics.
pub(super) struct Watch {
    client: Client,
    context: Context,
    settings: Arc<Settings>,
    ops: Ops,
    meter: Meter,
    /// Monitoring of nats-server, if it is set, and its last answer.
    health: Option<NatsHealth>,
    server: Option<StorageFill>,
}

impl Watch {
    /// Prepares to check NATS over this connection.
    ///
    /// # Errors
    /// Fails when a certificate for `nats.monitoring_url` cannot be used.
    pub fn new(client: Client, ops: Ops, settings: Arc<Settings>) -> Result<Self, TlsError> {
        Ok(Self {
            context: jetstream::context(&client, &settings.nats),
            health: NatsHealth::new(&settings.nats)?,
            client,
            settings,
            ops,
            meter: Meter::default(),
            server: None,
        })
    }

    /// Checks until it is dropped.
    pub async fn run(mut self) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for look in 0_u64.. {
            ticks.tick().await;
            let is_health_due = look % HEALTH_LOOKS == 0;
            self.look(is_health_due).await;
        }
    }

    /// Checks once, and creates the stream if it is absent.
    async fn look(&mut self, is_health_due: bool) {
        let Ops {
            health, metrics, ..
        } = &self.ops;
        let connects = self.client.statistics().connects.load(Ordering::Relaxed);
        metrics.connection.connected(connects);
        if self.client.connection_state() != State::Connected {
            // The known fill level stays: an outage is no sign of new room.
            let reason = "there is no connection; connecting";
            health.down(Dependency::Nats, reason);
            return;
        }
        health.up(Dependency::Nats);
        let was_up = health.is_up(Dependency::Jetstream);
        match topology::ensure_stream(&self.context, &self.settings.stream).await {
            Ok(found) => {
                health.up(Dependency::Jetstream);
                if !was_up {
                    info!(stream = self.settings.stream.name, "{PUBLISHING}");
                }
                if let Some(server) = self.health.as_ref().filter(|_| is_health_due) {
                    self.server = Some(measure_health(server).await);
                }
                self.report(&found);
            }
            Err(error) => health.down(Dependency::Jetstream, error.to_string()),
        }
    }

    /// Reports the fill level of the stream and the health of the server. Logs each warning that
    /// starts or ends.
    fn report(&mut self, found: &Info) {
        let signals = self
            .meter
            .signals(found, &self.settings, &self.ops.refusals);
        let storages: Vec<StorageFill> = self.server.iter().cloned().chain([signals]).collect();
        for storage in &storages {
            self.ops.metrics.storage.storage(storage);
        }
        self.ops.board.set(Newest {
            warnings: storages.iter().filter_map(for_storage).collect(),
            storages,
            history: None,
        });
    }
}
