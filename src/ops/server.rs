//! The listener for the operator, and the bounds of its clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use net::http::{Acceptor, ListenError, Listener, ListenerBounds};
use net::tls::TlsError;
use telemetry::recent::Recent;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::capacity::{Board, PublishRefusals};
use crate::metrics::Metrics;
use crate::ops::log_lines::{PLAIN_TEXT, SERVING};
use crate::reload::SettingsHandle;

use super::health::Health;
use super::history::History;
use super::routes;
use super::status::Sources;

/// A live page connects again by itself when its connection has lasted for long enough. The live
/// pages of one client, which are the only requests that take long, leave room for others.
const BOUNDS: ListenerBounds = ListenerBounds {
    connections: 64,
    per_client: 48,
    answer_timeout: Duration::from_secs(30),
    lifetime: Duration::from_secs(600),
    linger: Duration::ZERO,
};

/// State that the daemon shows to the operator.
#[derive(Debug, Clone)]
pub struct Ops {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The newest batches and dead letters.
    pub recent: Arc<Recent>,
    /// State of the dependencies.
    pub health: Arc<Health>,
    /// Fullness of storages, and what to act on.
    pub board: Arc<Board>,
    /// Writes that were refused.
    pub refusals: PublishRefusals,
}

/// Reasons for which nothing is answered on `ops.listen`.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// The address cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Ops {
    /// Answers on `ops.listen` from now on, for as long as the process lives.
    ///
    /// # Errors
    /// When the address cannot be had, or the certificate cannot be used.
    pub async fn listen(&self, in_force: &SettingsHandle) -> Result<(), OpsError> {
        let settings = Arc::clone(&in_force.borrow());
        let Some(address) = &settings.ops.listen else {
            return Ok(());
        };
        let tls = Acceptor::new("ops", &settings.ops.tls_files())?;
        let listener =
            Listener::bind("ops.listen", address, BOUNDS, &self.metrics.listener).await?;
        let address = listener.address();
        let https = tls.is_tls();
        info!(%address, https, "{SERVING}");
        if !address.ip().is_loopback() {
            warn_beyond_loopback(address, https, !settings.ops.token.is_empty());
        }
        let sources = Sources {
            settings: in_force.clone(),
            registry: self.metrics.registry.clone(),
            metrics: self.metrics.program.clone(),
            recent: Arc::clone(&self.recent),
            health: Arc::clone(&self.health),
            board: Arc::clone(&self.board),
            started: Instant::now(),
        };
        let history = History::default();
        tokio::spawn(history.clone().record(sources.clone()));
        // Until the process ends: an orchestrator asks during a stop too.
        let never = CancellationToken::new();
        tokio::spawn(renew(in_force.clone(), tls.clone()));
        let router = routes::router(sources, history);
        tokio::spawn(listener.serve(router, tls, never));
        Ok(())
    }
}

fn warn_beyond_loopback(address: SocketAddr, is_https: bool, has_token: bool) {
    if !has_token {
        warn!(
            %address,
            "Metrics and the live page are open to everyone who reaches this address: set ops.token, or listen on 127.0.0.1"
        );
    }
    if !is_https {
        warn!(
            %address,
            "{PLAIN_TEXT}"
        );
    }
}

/// Renews the certificate at each SIGHUP, for ever.
async fn renew(mut in_force: SettingsHandle, tls: Acceptor) {
    while in_force.changed().await.is_ok() {
        let settings = Arc::clone(&in_force.borrow_and_update());
        tls.renew(&settings.ops.tls_files()).await;
    }
}
