//! Health of nats-server from its HTTP monitoring. A server with a full disk keeps answering its
//! JetStream API normally, and answers no publish.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jetstream::NatsOptions;
use net::http::client::{self, with_causes};
use net::tls::{ClientTls, TlsError};
use serde::Deserialize;
use tokio::time::timeout;

const ANSWER_BYTES_MAX: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Client of the server's `/healthz`.
pub struct NatsHealth {
    url: String,
    client: HttpClient,
}

enum HttpClient {
    Plain(legacy::Client<HttpConnector, Body>),
    Tls(legacy::Client<HttpsConnector<HttpConnector>, Body>),
}

/// Reason for which the server is unhealthy, or its health unknown.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// The server reports a fault.
    #[error("{0}")]
    Reported(String),
    /// No answer arrived.
    #[error("{url} does not answer: {words}; is nats.monitoring_url right?")]
    NotAsked {
        /// Address of the server.
        url: String,
        /// Cause of the failure.
        words: String,
    },
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    error: String,
}

impl NatsHealth {
    /// Creates a client of `nats.monitoring_url`; `None` if that is unset.
    ///
    /// # Errors
    /// Fails when a certificate or a key cannot be used.
    pub fn new(nats: &NatsOptions) -> Result<Option<Self>, TlsError> {
        let Some(url) = &nats.monitoring_url else {
            return Ok(None);
        };
        let builder = legacy::Client::builder(TokioExecutor::new());
        let client = if url.to_ascii_lowercase().starts_with("https://") {
            let tls = ClientTls::new("nats", &nats.tls_files());
            HttpClient::Tls(builder.build(client::https(&tls, &nats.tls_files())?))
        } else {
            HttpClient::Plain(builder.build(client::plain()))
        };
        Ok(Some(Self {
            url: format!("{url}/healthz"),
            client,
        }))
    }

    /// Requests the health once.
    ///
    /// # Errors
    /// Returns the server's words if it is unhealthy, or the failure if it does not answer in time.
    pub async fn check(&self) -> Result<(), Unhealthy> {
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
