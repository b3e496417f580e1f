//! The health of nats-server by its monitoring over HTTP. A server whose disk is full keeps
//! answering its JetStream API as if all were well, and answers no publish.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::time::timeout;

use crate::http::client::{self, with_causes};
use crate::settings::Nats;
use crate::tls::{Side, TlsError};

const ANSWER_BYTES_MAX: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the server's `/healthz`.
pub struct NatsHealth {
    url: String,
    client: HttpClient,
}

enum HttpClient {
    Plain(legacy::Client<HttpConnector, Body>),
    Tls(legacy::Client<HttpsConnector<HttpConnector>, Body>),
}

/// The reason why the health is not known, or not good.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// The server reports a fault of its own.
    #[error("{0}")]
    Reported(String),
    /// No answer came.
    #[error("{url} cannot be asked: {words}; is nats.monitoring_url right?")]
    NotAsked {
        /// The address.
        url: String,
        /// The failure.
        words: String,
    },
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    error: String,
}

impl NatsHealth {
    /// A client of `nats.monitoring_url`; `None` where that is not set.
    ///
    /// # Errors
    /// When a certificate or a key cannot be used.
    pub fn new(nats: &Nats) -> Result<Option<Self>, TlsError> {
        let Some(url) = &nats.monitoring_url else {
            return Ok(None);
        };
        let builder = legacy::Client::builder(TokioExecutor::new());
        let client = if url.to_ascii_lowercase().starts_with("https://") {
            let tls = Side::of("nats", &nats.tls_files);
            HttpClient::Tls(builder.build(client::https(&tls, &nats.tls_files)?))
        } else {
            HttpClient::Plain(builder.build(client::plain()))
        };
        Ok(Some(Self {
            url: format!("{url}/healthz"),
            client,
        }))
    }

    /// Asks once.
    ///
    /// # Errors
    /// With the server's words when it is not healthy, or when it gives no answer in time.
    pub async fn ask(&self) -> Result<(), Unhealthy> {
        let not_asked = |words: String| Unhealthy::NotAsked {
            url: self.url.clone(),
            words,
        };
        let asked = async {
            let answer = self.get().await.map_err(not_asked)?;
            let status = answer.status();
            if status.is_success() {
                return Ok(());
            }
            let body = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await;
            let body = body.map_err(|error| not_asked(error.to_string()))?;
            match serde_json::from_slice::<Answer>(&body) {
                Ok(answer) if status == StatusCode::SERVICE_UNAVAILABLE => {
                    Err(Unhealthy::Reported(answer.error))
                }
                _ => Err(not_asked(format!("it answers {status}"))),
            }
        };
        timeout(TIMEOUT, asked)
            .await
            .unwrap_or_else(|_| Err(not_asked("no answer in time".to_owned())))
    }

    async fn get(&self) -> Result<Response<Incoming>, String> {
        let request = Request::get(&self.url).body(Body::empty());
        let request = request.map_err(|error| error.to_string())?;
        let answer = match &self.client {
            HttpClient::Plain(client) => client.request(request).await,
            HttpClient::Tls(client) => client.request(request).await,
        };
        answer.map_err(|error| with_causes(&error))
    }
}
