//! What the operator may set of `risksignal serve`.

use std::net::SocketAddr;
use std::time::Duration;

use super::{TlsFiles, Token};

/// The way in, and back, over HTTP.
#[derive(Debug, Clone, PartialEq)]
pub struct Serve {
    /// Where it listens. `None` only where the setting has a fault.
    pub listen: Option<SocketAddr>,
    /// Whether `run` serves too.
    pub with_run: bool,
    /// Who may ask, and for what.
    pub tokens: Vec<Token>,
    /// The certificate that clients are shown, and its key; no `ca`.
    pub tls_files: TlsFiles,
    /// Origins whose pages may ask.
    pub cors_origins: Vec<String>,
    /// Connections at once.
    pub max_connections: usize,
    /// Those of one address.
    pub max_connections_per_client: usize,
    /// Bytes of a request's body, as it is sent and after decompression.
    pub max_body_bytes: usize,
    /// Bytes of all bodies that are not answered yet.
    pub max_held_bytes: usize,
    /// Signals of a request.
    pub max_signals: usize,
    /// Signals published without JetStream's answer yet.
    pub max_unanswered: usize,
    /// Questions that ClickHouse is asked at once.
    pub max_queries: usize,
    /// How long ClickHouse may take for one.
    pub query_timeout: Duration,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
    /// Longest time in which a client leaves an answer unread.
    pub answer_timeout: Duration,
}
