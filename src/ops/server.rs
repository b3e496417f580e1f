//! Where the operator asks, and what a client may take of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::capacity::{Board, Refusals};
use crate::http::{Acceptor, Bounds, ListenError, Listener};
use crate::reload::InForce;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::recent::Recent;

use super::health::Health;
use super::history::History;
use super::routes;
use super::status::Sources;

/// A live page connects again by itself when its connection has lasted for long enough.
const BOUNDS: Bounds = Bounds {
    connections: 64,
    lifetime: Duration::from_secs(600),
    linger: Duration::ZERO,
};

/// What the daemon tells of itself.
#[derive(Debug, Clone)]
pub struct Ops {
    /// The figures.
    pub metrics: Arc<Metrics>,
    /// The newest batches and dead letters.
    pub recent: Arc<Recent>,
    /// What works.
    pub health: Arc<Health>,
    /// Fullness of storages, and what to act on.
    pub board: Arc<Board>,
    /// Writes that were refused.
    pub refusals: Refusals,
}

impl Ops {
    /// Answers on `ops.listen` from now on, for as long as the process lives.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn listen(&self, in_force: &InForce) -> Result<(), ListenError> {
        let settings = Arc::clone(&in_force.borrow());
        let Some(address) = settings.ops.listen else {
            return Ok(());
        };
        let listener = Listener::bind("ops.listen", address, BOUNDS).await?;
        let address = listener.address();
        info!(%address, "Serving metrics, health and the live page");
        if !address.ip().is_loopback() && settings.ops.token.is_empty() {
            warn!(
                %address,
                "Metrics and the live page are open to everyone who reaches this address: set ops.token, or listen on 127.0.0.1"
            );
        }
        let sources = Sources {
            settings: in_force.clone(),
            metrics: Arc::clone(&self.metrics),
            recent: Arc::clone(&self.recent),
            health: Arc::clone(&self.health),
            board: Arc::clone(&self.board),
            started: Instant::now(),
        };
        let history = History::default();
        tokio::spawn(history.clone().record(sources.clone()));
        // Until the process ends: an orchestrator asks during a stop too.
        let never = CancellationToken::new();
        let router = routes::router(sources, history);
        tokio::spawn(listener.serve(router, Acceptor::default(), never));
        Ok(())
    }
}
