//! The way in over HTTP, for applications that cannot hold a connection to NATS: what it takes is
//! published to JetStream, and answered once JetStream has it.

mod access;
mod body;
mod ingest;
mod judge;
pub mod log_lines;
mod metrics;
mod openapi;
pub mod options;
mod problem;
mod read;
mod results;
mod routes;
mod split;
pub mod tokens;
mod unread;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use axum::Router;
use jetstream::{self, ConnectError, Publisher};
use net::http::{Acceptor, ListenError, Listener, ListenerBounds, ListenerMetrics};
use net::tls::TlsError;
use store::Store;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wallets::{CacheError, CacheMetrics, Redis};

use crate::capacity::PublishRefusals;
use crate::reload::SettingsHandle;
use crate::serve::log_lines::{SERVING, STOPPED};
use crate::settings::Settings;

pub use metrics::HttpMetrics;

use access::Keys;
use body::Bodies;
use ingest::Ingest;
use read::Read;

/// After this a connection is closed when its request is answered, so that none is held for ever
/// and a load balancer spreads them again.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(600);
/// Longest time that the request under way may take then: its body, the work on it and its answer.
const CONNECTION_LINGER: Duration = Duration::from_secs(60);

/// Reasons for which nothing is served, or not every request was answered.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Nobody is allowed anything.
    #[error(
        "serve.tokens_file is not set, and nobody is served without a token: `risksignal serve token NAME` makes an entry of that file"
    )]
    NoTokens,
    /// No address is set.
    #[error("serve.listen is not set")]
    NoAddress,
    /// The address cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The settings of the cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The settings of NATS cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// JetStream's answers cannot be heard.
    #[error("cannot subscribe to JetStream's answers: {0}")]
    Subscribe(#[from] async_nats::SubscribeError),
    /// The stop took longer than it may.
    #[error(
        "{connections} connections were closed before their requests were answered: shutdown.grace is over"
    )]
    Unfinished {
        /// Connections with a request that has no answer.
        connections: usize,
    },
}

/// Metrics of everything that a [`Server`] works with.
#[derive(Debug, Clone)]
pub struct ServeMetrics {
    /// Requests and their signals.
    pub http: HttpMetrics,
    /// Connections.
    pub listener: ListenerMetrics,
    /// Reads of the cache.
    pub cache: CacheMetrics,
}

/// Answers over HTTP.
pub struct Server {
    listener: Listener,
    router: Router,
    tls: Acceptor,
    keys: Keys,
    in_force: SettingsHandle,
    client: Client,
}

impl Server {
    /// Takes the address of `serve.listen`. NATS may be away; until it comes, clients get
    /// an answer to come later.
    ///
    /// # Errors
    /// When a setting cannot be used, or the address cannot be had.
    pub async fn bind(
        in_force: &SettingsHandle,
        ServeMetrics {
            http,
            listener,
            cache,
        }: ServeMetrics,
        refusals: &PublishRefusals,
    ) -> Result<Self, ServeError> {
        let settings = Arc::clone(&in_force.borrow());
        let serve = &settings.serve;
        if serve.tokens.is_empty() {
            return Err(ServeError::NoTokens);
        }
        let tls = Acceptor::new("serve", &serve.tls_files())?;
        let is_https = tls.is_tls();
        let keys = Keys::default();
        keys.set(&serve.tokens);
        let client = jetstream::connect_in_background(&settings.nats, "risksignal serve").await?;
        let ingest = Ingest {
            in_force: in_force.clone(),
            publisher: Publisher::new(
                client.clone(),
                serve.max_unanswered,
                settings.nats.request_timeout,
            )
            .await?,
            bodies: Bodies::new(
                serve.max_held_bytes,
                serve.max_body_bytes,
                serve.body_timeout,
            ),
            metrics: http,
            refusals: refusals.clone(),
        };
        let store = Store::new(&settings.clickhouse)?;
        let read = Read::new(store, Redis::new(&settings.cache)?, serve, cache);
        let bounds = ListenerBounds {
            connections: serve.max_connections,
            per_client: serve.max_connections_per_client,
            answer_timeout: serve.answer_timeout,
            lifetime: CONNECTION_LIFETIME,
            linger: CONNECTION_LINGER,
        };
        let address = serve.listen.as_ref().ok_or(ServeError::NoAddress)?;
        let listener = Listener::bind("serve.listen", address, bounds, &listener).await?;
        let address = listener.address();
        info!(%address, https = is_https, tokens = serve.tokens.len(), "{SERVING}");
        if !is_https && !address.ip().is_loopback() {
            warn!(
                %address,
                "Tokens and signals come in plain text: set serve.cert_file and serve.key_file, or listen on 127.0.0.1 behind a proxy that has TLS"
            );
        }
        Ok(Self {
            router: routes::router(ingest, read, &keys, &serve.cors_origins),
            listener,
            tls,
            keys,
            in_force: in_force.clone(),
            client,
        })
    }

    /// The connection to NATS that signals are published on.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Answers until `shutdown`, then what is under way, for no longer than `shutdown.grace`.
    ///
    /// # Errors
    /// When that is over with something unanswered.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let in_force = self.in_force.clone();
        let connections = self.listener.connections();
        let follow = follow(self.in_force, self.keys, self.tls.clone());
        let serve = self.listener.serve(self.router, self.tls, shutdown.clone());
        let grace = async {
            shutdown.cancelled().await;
            let grace = in_force.borrow().shutdown.grace;
            sleep(grace).await;
        };
        tokio::select! {
            biased;
            () = serve => {
                info!("{STOPPED}");
                Ok(())
            }
            () = grace => Err(ServeError::Unfinished { connections: connections.len() }),
            () = follow => Ok(()),
        }
    }
}

/// Takes up what SIGHUP has changed, for ever.
async fn follow(mut in_force: SettingsHandle, keys: Keys, tls: Acceptor) {
    while in_force.changed().await.is_ok() {
        let settings: Arc<Settings> = Arc::clone(&in_force.borrow_and_update());
        let serve = &settings.serve;
        // An empty file is a fault, but its setting may have been taken out.
        if serve.tokens.is_empty() {
            warn!("serve.tokens_file is not set any more: nobody is served");
        }
        keys.set(&serve.tokens);
        tls.renew(&serve.tls_files()).await;
    }
    // Nothing will change any more.
    std::future::pending().await
}
