//! The connection to NATS, which reconnects by itself for as long as the process lives.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, ReconnectToServer, Server, ServerAddr,
    ServerInfo, jetstream,
};
use tracing::{debug, error, info, warn};

use crate::settings::{self, Tls, redacted_url};
use crate::tls::{self, Side, TlsError};

/// Slots of a subscription's channel. A pull never asks for more than it has room for, so
/// this is only the ceiling that `consumer.fetch_messages` is checked against.
pub const SUBSCRIPTION_CAPACITY: usize = 128 * 1024;

/// Denied subjects that are kept.
const DENIALS_MAX: usize = 64;

/// Why NATS cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL is no server address.
    #[error("nats.url: {url} is no NATS server address: {source}")]
    Address {
        /// The address, without its password.
        url: String,
        /// What the parser says.
        source: std::io::Error,
    },
    /// A certificate or a key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The credentials are no text of a `.creds` file.
    #[error("nats.creds cannot be used")]
    Credentials(#[source] std::io::Error),
    /// The server did not accept the connection.
    #[error("cannot connect to NATS at {url}: {source}{advice}")]
    Refused {
        /// The addresses, without their passwords.
        url: String,
        /// What async-nats says.
        source: async_nats::ConnectError,
        /// What to look at.
        advice: String,
    },
}

/// Subjects that the server has denied the user of a connection, in the server's words.
#[derive(Debug, Clone, Default)]
pub struct Denials(Arc<Mutex<BTreeSet<String>>>);

impl Denials {
    /// All so far.
    pub fn all(&self) -> Vec<String> {
        let denials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        denials.iter().cloned().collect()
    }

    /// Takes note of a subject; reports whether it is the first time.
    fn note(&self, denied: &str) -> bool {
        let mut denials = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        denials.len() < DENIALS_MAX && denials.insert(denied.to_owned())
    }
}

/// The subject that an error of the server denies, as `Publish to "x"`. JetStream does not answer a
/// request that was denied, so nothing else says what is missing.
fn denied(error: &str) -> Option<&str> {
    const WORDS: &str = "permissions violation for ";
    let at = error.to_ascii_lowercase().find(WORDS)?;
    error.get(at + WORDS.len()..)
}

/// Connects once, and takes note of what the server denies.
///
/// # Errors
/// As [`connect`].
pub async fn connect_noting_denials(
    nats: &settings::Nats,
    client_name: &str,
) -> Result<(Client, Denials), ConnectError> {
    let denials = Denials::default();
    let options = options(nats, client_name).event_callback(log_events(denials.clone()));
    Ok((connect_with(nats, options).await?, denials))
}

/// Connects once. After that the client reconnects by itself, without limit; it reports
/// every change of its state in the log.
///
/// `client_name` is what the server shows in its list of connections.
///
/// # Errors
/// When an address is malformed, or no server accepts the connection within
/// `nats.connect_timeout`.
pub async fn connect(nats: &settings::Nats, client_name: &str) -> Result<Client, ConnectError> {
    connect_with(nats, options(nats, client_name)).await
}

/// As [`connect`], for a program that publishes only on subjects that came from the server or
/// from checked settings: looking for spaces in each costs a thirtieth of the daemon's time.
///
/// # Errors
/// As [`connect`].
pub async fn connect_trusting_subjects(
    nats: &settings::Nats,
    client_name: &str,
) -> Result<Client, ConnectError> {
    let options = options(nats, client_name).skip_subject_validation(true);
    connect_with(nats, options).await
}

/// As [`connect`], without waiting for the server: it is connected to in the background, for as
/// long as that takes, and the log tells why it is not yet.
///
/// # Errors
/// When an address is malformed, or a file cannot be used.
pub async fn connect_in_background(
    nats: &settings::Nats,
    client_name: &str,
) -> Result<Client, ConnectError> {
    let options = options(nats, client_name).retry_on_initial_connect();
    connect_with(nats, options).await
}

async fn connect_with(
    nats: &settings::Nats,
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

fn options(nats: &settings::Nats, client_name: &str) -> ConnectOptions {
    ConnectOptions::new()
        .name(client_name)
        .custom_inbox_prefix(&nats.inbox_prefix)
        .connection_timeout(nats.connect_timeout)
        .request_timeout(Some(nats.request_timeout))
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(log_events(Denials::default()))
        .reconnect_to_server_callback(log_failures(side(nats)))
}

/// With the one way to log in that is set; the rules of the settings allow no two.
fn login(
    mut options: ConnectOptions,
    nats: &settings::Nats,
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

/// With TLS where anything tells of it. The client reads the files again whenever it connects
/// again, so that certificates may be renewed under it.
fn secured(
    mut options: ConnectOptions,
    nats: &settings::Nats,
) -> Result<ConnectOptions, ConnectError> {
    if !nats.requires_tls() {
        return Ok(options);
    }
    // It names the setting where the client would not.
    side(nats).client_config(&nats.tls_files)?;
    options = options.require_tls(true);
    if nats.tls == Tls::First {
        options = options.tls_first();
    }
    if let Some(ca) = &nats.tls_files.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let (Some(certificate), Some(key)) = (&nats.tls_files.certificate, &nats.tls_files.key) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options)
}

fn side(nats: &settings::Nats) -> Side {
    Side::of("nats", &nats.tls_files)
}

/// What to look at when the server does not accept the connection.
fn advice(error: &async_nats::ConnectError, nats: &settings::Nats) -> String {
    let tls = side(nats).advice(error);
    if !tls.is_empty() {
        return tls;
    }
    let login = match nats {
        _ if !nats.token.is_empty() => "nats.token",
        _ if !nats.nkey.is_empty() => "nats.nkey",
        _ if !nats.creds.is_empty() => "nats.creds",
        _ if !nats.user.is_empty() => "nats.user and nats.password",
        _ => "nats.user, nats.token, nats.nkey and nats.creds, of which none is set",
    };
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            format!("; the server refuses the login: look at {login}")
        }
        // It may have closed the connection before its reason was read.
        _ if nats.requires_tls() || tls::is_closed(error) => {
            format!("; {RUNNING}, and {}", side(nats).question())
        }
        _ => format!("; {RUNNING}?"),
    }
}

const RUNNING: &str = "is the server running, are nats.url and nats.tls right (first, where it waits for a TLS handshake)";

/// The JetStream context that shares the connection's request time-out.
pub fn context(client: &Client, nats: &settings::Nats) -> jetstream::Context {
    jetstream::ContextBuilder::new()
        .timeout(nats.request_timeout)
        .build(client.clone())
}

/// At once the first time, since a restarted server is often back within the second; then
/// doubling up to 3.2 seconds.
fn reconnect_delay(attempts: usize) -> Duration {
    match attempts {
        0 | 1 => Duration::ZERO,
        n => Duration::from_millis(100 << (n - 2).min(5)),
    }
}

/// Tells of every change of the connection; of the first connect only at debug, since the
/// command that connects says what it connected for.
fn log_events(
    denials: Denials,
) -> impl Fn(Event) -> std::future::Ready<()> + Send + Sync + 'static {
    let was_connected = AtomicBool::new(false);
    move |event| {
        match event {
            Event::Connected if was_connected.swap(true, Ordering::Relaxed) => {
                info!("Connected to NATS again");
            }
            Event::Disconnected => warn!("Connection to NATS lost; reconnecting"),
            Event::SlowConsumer(sid) => warn!(
                subscription = sid,
                "NATS subscription is full; what was dropped is delivered again"
            ),
            Event::ServerError(error) => match denied(&error.to_string()) {
                Some(denied) if denials.note(denied) => error!(
                    denied,
                    "NATS denies this user a subject that the daemon needs; add it to the user's permissions (infra/nats/least-privilege.conf)"
                ),
                _ => warn!(%error, "NATS server reports an error"),
            },
            other => debug!(event = %other, "NATS client"),
        }
        std::future::ready(())
    }
}

/// Tells why no connection is made again, once until that changes: a certificate that has
/// expired meanwhile looks like a server that is away. Leaves the choice of server to the client.
fn log_failures(
    side: Side,
) -> impl Fn(Vec<Server>, ServerInfo) -> std::future::Ready<Option<ReconnectToServer>>
+ Send
+ Sync
+ 'static {
    let told = Mutex::new(String::new());
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
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != error {
            if !error.is_empty() {
                warn!(error, "NATS cannot be connected to again yet");
            }
            *told = error;
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
