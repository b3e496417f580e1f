//! The connection that reads pulled messages and writes their acks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nats_reader::{
    Address, Ended, FailedAttempt, Login, Options, Reader, Reports, ServerError, ServerErrorKind,
    Tls as ReaderTls,
};
use net::tls::ClientTls;
use option_kit::redacted_url;
use tracing::{debug, error, info, warn};

use crate::connect::{ConnectError, Denials, denied, login_advice, side};
use crate::log_lines::{CONNECT_FAILED, DENIED, DISCONNECTED, LEAVING, RECONNECTED};
use crate::{NatsOptions, Tls};

/// Between two pings: a lost server is noticed within half a minute, and a pull's heartbeats show
/// more.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Names the connection in log lines, beside that of the client.
const CONNECTION: &str = "pulls";

/// Connects once. From then on the reader reconnects by itself, without limit, and logs every
/// change of its state.
///
/// `pulled_max` is the number of bytes that one pull asks for at most.
///
/// # Errors
/// Fails when an address is malformed, a file cannot be used, or no server accepts the connection
/// within `nats.connect_timeout`.
pub async fn connect_reader(
    nats: &NatsOptions,
    client_name: &str,
    pulled_max: usize,
) -> Result<Reader, ConnectError> {
    let (side, files) = (side(nats), nats.tls_files());
    if nats.requires_tls() {
        // Unlike the reader's error, this one names the setting.
        side.client_config(&files)?;
    }
    let tls = side.clone();
    let options = Options {
        servers: addresses(nats)?,
        name: client_name.to_owned(),
        login: login(nats)?,
        tls: ReaderTls {
            is_required: nats.requires_tls(),
            is_first: nats.tls == Tls::First,
            config: Box::new(move || Ok(tls.client_config(&files)?)),
        },
        connect_timeout: nats.connect_timeout,
        ping_interval: PING_INTERVAL,
        inbox_prefix: nats.inbox_prefix.clone(),
        message_max: pulled_max,
        inbox_max: pulled_max,
        reports: Box::new(Log::new(side)),
    };
    Reader::connect(options)
        .await
        .map_err(|source| ConnectError::Reader {
            url: redacted_url(&nats.url),
            advice: advice(&source, nats),
            source,
        })
}

fn addresses(nats: &NatsOptions) -> Result<Vec<Address>, ConnectError> {
    let address = |url: &str| {
        Address::parse(url).map_err(|source| ConnectError::Address {
            url: redacted_url(url.trim()),
            source: std::io::Error::other(source),
        })
    };
    nats.url.split(',').map(address).collect()
}

/// Returns the one configured login; the rules of the settings allow no second one.
fn login(nats: &NatsOptions) -> Result<Login, ConnectError> {
    let fault = |error| ConnectError::Credentials(std::io::Error::other(error));
    if !nats.token.is_empty() {
        return Ok(Login::Token(nats.token.expose().to_owned()));
    }
    if !nats.user.is_empty() {
        return Ok(Login::User {
            user: nats.user.clone(),
            password: nats.password.expose().to_owned(),
        });
    }
    if !nats.nkey.is_empty() {
        return Login::of_seed(nats.nkey.expose()).map_err(fault);
    }
    if !nats.creds.is_empty() {
        return Login::of_credentials(nats.creds.expose()).map_err(fault);
    }
    Ok(Login::None)
}

/// Returns advice on a connection that no server accepts.
fn advice(error: &nats_reader::ConnectError, nats: &NatsOptions) -> String {
    let is_login = match error {
        nats_reader::ConnectError::Dial(nats_reader::DialError::Refused(error)) => {
            error.kind == ServerErrorKind::Login
        }
        _ => false,
    };
    login_advice(error, is_login, nats)
}

/// Logs every change of the connection. The first connect is logged at debug level only, since the
/// connecting command logs its purpose.
struct Log {
    side: ClientTls,
    denials: Denials,
    /// Reason that was logged last: each is logged once, until there is a connection.
    failed: Mutex<String>,
}

impl Log {
    fn new(side: ClientTls) -> Self {
        Self {
            side,
            denials: Denials::default(),
            failed: Mutex::default(),
        }
    }

    /// Replaces the reason that was logged last; returns true if it is another one.
    fn note(&self, error: String) -> bool {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_other = *failed != error;
        *failed = error;
        is_other
    }
}

impl Reports for Log {
    fn connected(&self, server: &Address, again: bool) {
        self.note(String::new());
        if again {
            info!(connection = CONNECTION, %server, "{RECONNECTED}");
        } else {
            debug!(connection = CONNECTION, %server, "Connected to NATS");
        }
    }

    fn ended(&self, why: &Ended) {
        warn!(connection = CONNECTION, error = %why, "{DISCONNECTED}");
    }

    fn failed(&self, attempts: &[FailedAttempt]) {
        let attempts = attempts.iter().map(|attempt| {
            let advice = self.side.advice(&attempt.error);
            format!("{}: {}{advice}", attempt.server, attempt.error)
        });
        let error = attempts.collect::<Vec<_>>().join("; ");
        if self.note(error.clone()) {
            warn!(connection = CONNECTION, error, "{CONNECT_FAILED}");
        }
    }

    fn refused(&self, error: &ServerError) {
        match denied(&error.words) {
            Some(denied) if self.denials.note(denied) => error!(denied, "{DENIED}"),
            _ => warn!(connection = CONNECTION, %error, "NATS server reports an error"),
        }
    }

    fn leaving(&self, server: &Address) {
        info!(connection = CONNECTION, %server, "{LEAVING}");
    }
}
