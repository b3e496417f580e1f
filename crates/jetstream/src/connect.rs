//! Connection to NATS, which reconnects by itself as long as the process lives.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, ReconnectToServer, Server, ServerAddr,
    ServerInfo, jetstream,
};
use net::tls::{self, ClientTls, TlsError};
use option_kit::redacted_url;
use tracing::{debug, error, info, warn};

use crate::Tls;
use crate::log_lines::{CONNECT_FAILED, DENIED, DISCONNECTED, RECONNECTED};

/// Most denied subjects that are kept.
const DENIALS_MAX: usize = 64;

/// Reason for a failed connection to NATS.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is no server address.
    #[error("nats.url: {url} is not a NATS server address: {source}")]
    Address {
        /// Address without its password.
        url: String,
        /// Error of the parser.
        source: std::io::Error,
    },
    /// A certificate or a key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The credentials are no text of a `.creds` file.
    #[error("nats.creds cannot be used")]
    Credentials(#[source] std::io::Error),
    /// No server accepted the connection.
    #[error("cannot connect to NATS at {url}: {source}{advice}")]
    Refused {
        /// Addresses without their passwords.
        url: String,
        /// Error of async-nats.
        source: async_nats::ConnectError,
        /// Advice on settings.
        advice: String,
    },
    /// No server accepted the connection that reads messages.
    #[error("cannot connect to NATS at {url}: {source}{advice}")]
    Reader {
        /// Addresses without their passwords.
        url: String,
        /// Error of the reader.
        source: nats_reader::ConnectError,
        /// Advice on settings.
        advice: String,
    },
}

/// Subjects that the server has denied to the user of a connection, in the server's words.
#[derive(Debug, Clone, Default)]
pub struct Denials(Arc<Mutex<BTreeSet<String>>>);

impl Denials {
    /// Returns all denials so far.
    pub fn all(&self) -> Vec<String> {
        let denials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        denials.iter().cloned().collect()
    }

    /// Adds a subject; reports whether it is new.
    pub(crate) fn note(&self, denied: &str) -> bool {
        let mut denials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        denials.len() < DENIALS_MAX && denials.insert(denied.to_owned())
    }
}

/// Returns the subject that an error of the server denies, as `Publish to "x"`. JetStream does not
/// answer a denied request, so nothing else names the missing permission.
pub(crate) fn denied(error: &str) -> Option<&str> {
    const WORDS: &str = "permissions violation for ";
    let at = error.to_ascii_lowercase().find(WORDS)?;
    error.get(at + WORDS.len()..)
}

/// Connects once, and records the server's denials.
///
/// # Errors
/// Fails as [`connect`] does.
pub async fn connect_noting_denials(
    nats: &crate::NatsOptions,
    client_name: &str,
) -> Result<(Client, Denials), ConnectError> {
    let denials = Denials::default();
    let options = options(nats, client_name).event_callback(log_events(denials.clone()));
    Ok((connect_with(nats, options).await?, denials))
}

/// Connects once. From then on the client reconnects by itself, without limit, and logs every
/// change of its state.
///
/// The server shows `client_name` in its list of connections.
///
/// # Errors
/// Fails when an address is malformed, or no server accepts the connection within
/// `nats.connect_timeout`.
pub async fn connect(nats: &crate::NatsOptions, client_name: &str) -> Result<Client, ConnectError> {
    connect_with(nats, options(nats, client_name)).await
}

/// Like [`connect`], for a program that publishes only on subjects from the server or from checked
/// settings. Checking each for spaces costs a thirtieth of the daemon's time.
///
/// # Errors
/// Fails as [`connect`] does.
pub async fn connect_trusting_subjects(
    nats: &crate::NatsOptions,
    client_name: &str,
) -> Result<Client, ConnectError> {
    let options = options(nats, client_name).skip_subject_validation(true);
    connect_with(nats, options).await
}

/// Like [`connect`], but connects in the background, without a time limit, and logs failures.
///
/// # Errors
/// Fails when an address is malformed, or a file cannot be used.
pub async fn connect_in_background(
    nats: &crate::NatsOptions,
    client_name: &str,
) -> Result<Client, ConnectError> {
    let options = options(nats, client_name).retry_on_initial_connect();
    connect_with(nats, options).await
}

async fn connect_with(
    nats: &crate::NatsOptions,
    options: ConnectOptions,
) -> Result<Client, ConnectError> {
    let servers = nats
        .url
        .split(',')
        .map(|url| {
            let url = url.trim();
            url.parse::<ServerAddr>()
                .map_err(|source| ConnectError::Address {
                    url: redacted_url(url),
                    source,
                })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let options = secured(login(options, nats)?, nats)?;
    options
        .connect(servers)
        .await
        .map_err(|source| ConnectError::Refused {
            url: redacted_url(&nats.url),
            advice: advice(&source, nats),
            source,
        })
}

fn options(nats: &crate::NatsOptions, client_name: &str) -> ConnectOptions {
    ConnectOptions::new()
        .name(client_name)
        .custom_inbox_prefix(&nats.inbox_prefix)
        .connection_timeout(nats.connect_timeout)
        .request_timeout(Some(nats.request_timeout))
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(log_events(Denials::default()))
        .reconnect_to_server_callback(log_failures(side(nats)))
}

/// Adds the one configured login; the rules of the settings allow no second one.
fn login(
    mut options: ConnectOptions,
    nats: &crate::NatsOptions,
) -> Result<ConnectOptions, ConnectError> {
    if !nats.token.is_empty() {
        options = options.token(nats.token.expose().to_owned());
    }
    if !nats.user.is_empty() {
        options = options.user_and_password(nats.user.clone(), nats.password.expose().to_owned());
    }
    if !nats.nkey.is_empty() {
        options = options.nkey(nats.nkey.expose().to_owned());
    }
    if !nats.creds.is_empty() {
        options = options
            .credentials(nats.creds.expose())
            .map_err(ConnectError::Credentials)?;
    }
    Ok(options)
}

/// Adds TLS if any setting requires it. The client reads the files again at each reconnect, so that
/// certificates may be renewed meanwhile.
fn secured(
    mut options: ConnectOptions,
    nats: &crate::NatsOptions,
) -> Result<ConnectOptions, ConnectError> {
    if !nats.requires_tls() {
        return Ok(options);
    }
    // Unlike the client's error, this one names the setting.
    side(nats).client_config(&nats.tls_files())?;
    options = options.require_tls(true);
    if nats.tls == Tls::First {
        options = options.tls_first();
    }
    if let Some(ca) = &nats.ca_file {
        options = options.add_root_certificates(ca.clone());
    }
    if let (Some(certificate), Some(key)) = (&nats.cert_file, &nats.key_file) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options)
}

pub(crate) fn side(nats: &crate::NatsOptions) -> ClientTls {
    ClientTls::new("nats", &nats.tls_files())
}

/// Returns advice on a connection that the server does not accept.
fn advice(error: &async_nats::ConnectError, nats: &crate::NatsOptions) -> String {
    let is_login = matches!(
        error.kind(),
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication
    );
    login_advice(error, is_login, nats)
}

/// Returns advice on a connection that failed, by the server's rejection of the login or otherwise.
pub(crate) fn login_advice(
    error: &(dyn std::error::Error + 'static),
    is_login: bool,
    nats: &crate::NatsOptions,
) -> String {
    let tls = side(nats).advice(error);
    if !tls.is_empty() {
        return tls;
    }
    let login = match nats {
        _ if !nats.token.is_empty() => "nats.token",
        _ if !nats.nkey.is_empty() => "nats.nkey",
        _ if !nats.creds.is_empty() => "nats.creds",
        _ if !nats.user.is_empty() => "nats.user and nats.password",
        _ => "nats.user, nats.token, nats.nkey and nats.creds, none of which is set",
    };
    match is_login {
        true => format!("; the server rejects the login: check {login}"),
        // The server may have closed the connection before the client read its reason.
        false if nats.requires_tls() || tls::is_closed(error) => {
            format!("; {RUNNING}, and {}", side(nats).advice_on_close())
        }
        false => format!("; {RUNNING}?"),
    }
}

const RUNNING: &str = "is the server running, are nats.url and nats.tls right (first, if it waits for a TLS handshake)";

/// Returns a JetStream context with the connection's request timeout.
pub fn context(client: &Client, nats: &crate::NatsOptions) -> jetstream::Context {
    jetstream::ContextBuilder::new()
        .timeout(nats.request_timeout)
        .build(client.clone())
}

/// Returns 0 the first time, since a restarted server is often back within the second, then a delay
/// that doubles up to 3.2 seconds.
fn reconnect_delay(attempts: usize) -> Duration {
    match attempts {
        0 | 1 => Duration::ZERO,
        n => Duration::from_millis(100 << (n - 2).min(5)),
    }
}

/// Logs every change of the connection. The first connect is logged at debug level only, since the
/// connecting command logs its purpose.
fn log_events(
    denials: Denials,
) -> impl Fn(Event) -> std::future::Ready<()> + Send + Sync + 'static {
    let was_connected = AtomicBool::new(false);
    move |event| {
        match event {
            Event::Connected if was_connected.swap(true, Ordering::Relaxed) => {
                info!("{RECONNECTED}");
            }
            Event::Disconnected => warn!("{DISCONNECTED}"),
            Event::SlowConsumer(sid) => warn!(
                subscription = sid,
                "NATS subscription is full; JetStream delivers dropped messages again"
            ),
            Event::ServerError(error) => match denied(&error.to_string()) {
                Some(denied) if denials.note(denied) => error!(denied, "{DENIED}"),
                _ => warn!(%error, "NATS server reports an error"),
            },
            other => debug!(event = %other, "NATS client"),
        }
        std::future::ready(())
    }
}

/// Logs the reason of failed reconnects, once for each reason: an expired certificate looks like a
/// server that is down. The client still chooses the server.
fn log_failures(
    side: ClientTls,
) -> impl Fn(Vec<Server>, ServerInfo) -> std::future::Ready<Option<ReconnectToServer>>
+ Send
+ Sync
+ 'static {
    let logged = Mutex::new(String::new());
    move |servers, _| {
        let error = servers
            .iter()
            .filter(|server| server.failed_attempts > 0)
            .filter_map(|server| {
                let url = redacted_url(&server.to_string());
                let error = server.last_error.as_ref()?;
                Some(format!("{url}: {error}{}", side.advice_on_words(error)))
            })
            .collect::<Vec<_>>()
            .join("; ");
        let mut logged = logged.lock().unwrap_or_else(PoisonError::into_inner);
        if *logged != error {
            if !error.is_empty() {
                warn!(error, "{CONNECT_FAILED}");
            }
            *logged = error;
        }
        std::future::ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnect_delay_grows_to_its_cap() {
        assert_eq!(reconnect_delay(1), Duration::ZERO);
        assert_eq!(reconnect_delay(2), Duration::from_millis(100));
        assert_eq!(reconnect_delay(4), Duration::from_millis(400));
        assert_eq!(reconnect_delay(usize::MAX), Duration::from_millis(3200));
    }
}
