//! Options of a reader, and what it reports.

use std::error::Error;
use std::time::Duration;

use tokio_rustls::rustls::ClientConfig;

use crate::error::{DialError, Ended, ServerError};
use crate::login::Login;
use crate::server::Address;

/// Options of a reader.
pub struct Options {
    /// Servers to connect to.
    pub servers: Vec<Address>,
    /// Name that the server shows in its list of connections.
    pub name: String,
    /// The login.
    pub login: Login,
    /// Use of TLS.
    pub tls: Tls,
    /// Time limit of one attempt to connect.
    pub connect_timeout: Duration,
    /// Between two pings. A server that sends nothing for three of them is lost.
    pub ping_interval: Duration,
    /// Prefix of the inboxes' subjects.
    pub inbox_prefix: String,
    /// Largest message that is asked for: bytes of headers and body. A larger one ends the
    /// connection.
    pub message_max: usize,
    /// Bytes of messages that may wait in one inbox before the connection is not read any more.
    pub inbox_max: usize,
    /// Gets reports on the connection.
    pub reports: Box<dyn Reports>,
}

/// Use of TLS.
pub struct Tls {
    /// Never in plain text. Otherwise the server decides, or a `tls://` address.
    pub is_required: bool,
    /// The handshake comes before the server's `INFO`.
    pub is_first: bool,
    /// Creates the configuration for each attempt, since certificates may be renewed.
    pub config: Box<dyn Fn() -> Result<ClientConfig, TlsConfigError> + Send + Sync>,
}

/// Reason for which there is no configuration.
pub type TlsConfigError = Box<dyn Error + Send + Sync>;

/// Gets reports on the connection. A call must not block.
pub trait Reports: Send + Sync + 'static {
    /// Reports a connection; `again` if it is not the first one.
    fn connected(&self, server: &Address, again: bool);
    /// Reports the end of a connection.
    fn ended(&self, why: &Ended);
    /// Reports that no server accepted a connection, in one round of attempts.
    fn failed(&self, attempts: &[FailedAttempt]);
    /// Reports an error of the server with which the connection goes on.
    fn refused(&self, error: &ServerError);
    /// Reports that the server shuts down and will close the connection.
    fn leaving(&self, server: &Address);
}

/// A failed attempt to connect.
#[derive(Debug)]
pub struct FailedAttempt {
    /// The server.
    pub server: Address,
    /// Reason.
    pub error: DialError,
}
