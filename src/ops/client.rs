//! Asks a running daemon for its status.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::AUTHORIZATION;
use axum::http::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use net::http::{ListenError, lookup};
use net::tls::{ClientTls, TlsError, TlsFiles, pinned};
use option_kit::Secret;
use tokio::time::timeout;

use super::options::OpsOptions;
use super::status::Status;

/// Longest time of an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// No daemon's status is larger.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Reasons for which there is no status.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The settings say that no daemon listens.
    #[error(
        "ops.listen is off, so no daemon can be asked; give both it and this command an address, or this command --url"
    )]
    Off,
    /// The daemon's certificate cannot be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The host of `ops.listen` has no address.
    #[error(transparent)]
    Lookup(#[from] ListenError),
    /// Any free port, which only the daemon's log names.
    #[error(
        "ops.listen has port 0: set it to the address that the daemon's log names, or give --url"
    )]
    AnyPort,
    /// Nobody is there.
    #[error("no daemon answers on {base} ({origin}): {reason}; {}", .origin.question())]
    NobodyThere {
        /// URL that was asked.
        base: String,
        /// Origin of the URL.
        origin: UrlOrigin,
        /// Error of the connection.
        reason: String,
    },
    /// The token is missing or another one.
    #[error("the daemon on {base} {}", match .shown {
        true => "has another ops.token than these settings",
        false => "asks for a token: set ops.token, or ops.token_file, as the daemon has it",
    })]
    Refused {
        /// URL that was asked.
        base: String,
        /// A token was shown.
        shown: bool,
    },
    /// It is something else.
    #[error("what answers on {base} ({origin}) is no risksignal of this version: {reason}")]
    Strange {
        /// URL that was asked.
        base: String,
        /// Origin of the URL.
        origin: UrlOrigin,
        /// Reason to think so.
        reason: String,
    },
}

/// Origin of a daemon's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlOrigin {
    /// The settings.
    Settings,
    /// The command line.
    CommandLine,
}

impl UrlOrigin {
    /// Returns the question to examine when nobody answers.
    fn question(self) -> &'static str {
        match self {
            Self::Settings => {
                "is `risksignal run` running here, with the same ops.listen and ops.cert_file?"
            }
            Self::CommandLine => {
                "is it the ops.listen of a running daemon, with https if that has ops.cert_file?"
            }
        }
    }
}

impl fmt::Display for UrlOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Settings => "ops.listen",
            Self::CommandLine => "--url",
        })
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Client {
    base: String,
    origin: UrlOrigin,
    token: Secret,
    http: legacy::Client<HttpsConnector<HttpConnector>, Body>,
}

impl Client {
    /// Prepares to ask the daemon at `url`, or else the one with these settings.
    ///
    /// # Errors
    /// Fails when the settings do not say where it listens, its host has no address, or its
    /// certificate cannot be read.
    pub async fn new(ops: &OpsOptions, url: Option<&str>) -> Result<Self, ClientError> {
        let (base, origin) = match url {
            Some(url) => (url.to_owned(), UrlOrigin::CommandLine),
            None => (base_of(ops).await?, UrlOrigin::Settings),
        };
        let is_https = base.to_ascii_lowercase().starts_with("https:");
        let tls = match &ops.cert_file {
            // By its address the daemon shows its certificate, which it may have for other names.
            certificate @ Some(_) => pinned::client_config("ops", certificate.as_deref())?,
            None if is_https => {
                let files = TlsFiles::default();
                ClientTls::new("ops", &files).client_config(&files)?
            }
            None => pinned::client_config("ops", None)?,
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            base,
            origin,
            token: ops.token.clone(),
            http: legacy::Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// URL that is asked.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Asks for the present state of the daemon.
    ///
    /// # Errors
    /// When it does not answer, or not as this version does.
    pub async fn status(&self) -> Result<Status, ClientError> {
        let text = timeout(TIMEOUT, self.ask()).await.map_err(|_| {
            let seconds = TIMEOUT.as_secs();
            self.nobody(format!("no answer within {seconds} s"))
        })??;
        serde_json::from_slice(&text).map_err(|error| self.strange(error.to_string()))
    }

    async fn ask(&self) -> Result<Vec<u8>, ClientError> {
        let mut request = Request::get(format!("{}/statusz", self.base));
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
                    base: self.base.clone(),
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
            base: self.base.clone(),
            origin: self.origin,
            reason,
        }
    }

    fn strange(&self, reason: String) -> ClientError {
        ClientError::Strange {
            base: self.base.clone(),
            origin: self.origin,
            reason,
        }
    }
}

/// Returns the URL of the daemon with these settings.
async fn base_of(ops: &OpsOptions) -> Result<String, ClientError> {
    let listen = ops.listen.as_ref().ok_or(ClientError::Off)?;
    let mut address = lookup("ops.listen", listen).await?;
    if address.port() == 0 {
        return Err(ClientError::AnyPort);
    }
    // A daemon that listens everywhere listens here.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let scheme = if ops.cert_file.is_some() {
        "https"
    } else {
        "http"
    };
    Ok(format!("{scheme}://{address}"))
}

/// The words of the operating system, which those around only wrap.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
