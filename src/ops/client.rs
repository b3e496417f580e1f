//! Asks a running daemon for its status.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::AUTHORIZATION;
use axum::http::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use crate::settings::{self, Secret};
use crate::tls::{TlsError, pinned};

use super::status::Status;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// No daemon's status is larger.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The settings say that no daemon listens.
    #[error(
        "ops.listen is off, so no daemon can be asked; give both it and this command an address"
    )]
    Off,
    /// The daemon's certificate cannot be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Any free port, which only the daemon's log tells.
    #[error("ops.listen has port 0: set it to the address that the daemon's log tells")]
    AnyPort,
    /// Nobody is there.
    #[error(
        "no daemon answers on {address} (ops.listen): {reason}; is `risksignal run` running here, with the same ops.listen and ops.cert_file?"
    )]
    NobodyThere {
        /// Who was asked.
        address: SocketAddr,
        /// What the connection said.
        reason: String,
    },
    /// The token is missing or another one.
    #[error("the daemon on {address} {}", match .shown {
        true => "has another ops.token than these settings",
        false => "asks for a token: set ops.token, or ops.token_file, as the daemon has it",
    })]
    Refused {
        /// Who was asked.
        address: SocketAddr,
        /// Whether a token was shown.
        shown: bool,
    },
    /// It is something else.
    #[error("what answers on {address} (ops.listen) is no risksignal of this version: {reason}")]
    Strange {
        /// Who was asked.
        address: SocketAddr,
        /// What is strange.
        reason: String,
    },
}

/// A running daemon, as the settings say where it listens.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    token: Secret,
    is_https: bool,
    http: legacy::Client<HttpsConnector<HttpConnector>, Body>,
}

impl Client {
    /// Of the daemon with these settings.
    ///
    /// # Errors
    /// When they do not say where it listens, or its certificate cannot be read.
    pub fn new(ops: &settings::Ops) -> Result<Self, ClientError> {
        let mut address = ops.listen.ok_or(ClientError::Off)?;
        if address.port() == 0 {
            return Err(ClientError::AnyPort);
        }
        // Who listens everywhere listens here.
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        let certificate = ops.tls_files.certificate.as_deref();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(pinned::client_config("ops", certificate)?)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            address,
            token: ops.token.clone(),
            is_https: certificate.is_some(),
            http: legacy::Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Who is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How the daemon is now.
    ///
    /// # Errors
    /// When it does not tell.
    pub async fn status(&self) -> Result<Status, ClientError> {
        let text = timeout(TIMEOUT, self.ask()).await.map_err(|_| {
            let seconds = TIMEOUT.as_secs();
            self.nobody(format!("no answer within {seconds} s"))
        })??;
        serde_json::from_slice(&text).map_err(|error| self.strange(error.to_string()))
    }

    async fn ask(&self) -> Result<Vec<u8>, ClientError> {
        let scheme = if self.is_https { "https" } else { "http" };
        let mut request = Request::get(format!("{scheme}://{}/statusz", self.address));
        if !self.token.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {}", self.token.expose()));
        }
        // Fails only for a token that no header can hold.
        let request = request
            .body(Body::empty())
            .map_err(|error| self.strange(format!("ops.token cannot be sent: {error}")))?;
        let answer = self.http.request(request).await;
        let answer = answer.map_err(|error| self.nobody(innermost(&error)))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                return Err(ClientError::Refused {
                    address: self.address,
                    shown: !self.token.is_empty(),
                });
            }
            other => return Err(self.strange(format!("/statusz answers {other}"))),
        }
        let body = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await;
        let body = body.map_err(|error| self.strange(error.to_string()))?;
        Ok(body.to_vec())
    }

    fn nobody(&self, reason: String) -> ClientError {
        ClientError::NobodyThere {
            address: self.address,
            reason,
        }
    }

    fn strange(&self, reason: String) -> ClientError {
        ClientError::Strange {
            address: self.address,
            reason,
        }
    }
}

/// The words of the operating system, which those around only wrap.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
