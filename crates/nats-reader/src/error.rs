//! Errors of a server and of a connection.

/// Error that a server reported (`-ERR`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct ServerError {
    /// Kind of the error.
    pub kind: ServerErrorKind,
    /// Words of the server.
    pub words: String,
}

/// Kind of a server's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerErrorKind {
    /// A request is denied or malformed; the connection goes on.
    Request,
    /// The login is rejected, has expired or was revoked; the server closes the connection.
    Login,
    /// Anything else; the server closes the connection.
    Fatal,
}

impl ServerError {
    /// Classifies an error by the words that nats-server uses. It has no codes.
    pub fn new(words: String) -> Self {
        let lower = words.to_ascii_lowercase();
        let has = |parts: &[&str]| parts.iter().any(|part| lower.contains(part));
        let requests = [
            "permissions violation",
            "invalid subject",
            "invalid publish subject",
            "maximum subscriptions exceeded",
        ];
        let kind = if has(&requests) {
            ServerErrorKind::Request
        } else if has(&["authorization", "authentication", "account expired"]) {
            ServerErrorKind::Login
        } else {
            ServerErrorKind::Fatal
        };
        Self { kind, words }
    }
}

/// Reason for which a server cannot be connected to.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name of the host is unknown.
    #[error("cannot resolve the host: {0}")]
    Resolve(#[source] std::io::Error),
    /// The connection or the TLS handshake failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The files of TLS cannot be used, or the host is no name for TLS.
    #[error("{0}")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The attempt took too long.
    #[error("timed out")]
    TimedOut,
    /// The server reported an error instead of accepting the connection.
    #[error("{0}")]
    Refused(#[source] ServerError),
    /// The peer does not speak the protocol.
    #[error("the peer is no NATS server: {0}")]
    Protocol(&'static str),
    /// The bytes are no protocol.
    #[error(transparent)]
    Parse(#[from] crate::parse::ParseError),
    /// The login cannot be made out for this server.
    #[error("cannot sign the server's nonce")]
    Signature(#[source] nkeys::error::Error),
}

/// Reason for which a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The server closed it.
    #[error("the server closed the connection")]
    Closed,
    /// It failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The server sent bytes that are no protocol.
    #[error(transparent)]
    Parse(#[from] crate::parse::ParseError),
    /// The server sent an `INFO` that cannot be read.
    #[error("the server sent a malformed INFO")]
    Info,
    /// The server reported an error, after which it closes the connection.
    #[error("the server reports: {0}")]
    Server(ServerError),
    /// The server sent nothing for too long.
    #[error("the server has sent nothing, in spite of pings")]
    Stale,
}

/// The connection is lost, or another one than that which was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection to NATS is lost")]
pub struct NotConnected;

#[cfg(test)]
mod tests {
    use super::*;

    /// All errors of nats-server 2.10 to 2.15 that a client may get.
    #[test]
    fn every_error_of_a_server_has_its_kind() {
        for (kind, words) in [
            (
                ServerErrorKind::Request,
                "Permissions Violation for Publish to \"x\"",
            ),
            (
                ServerErrorKind::Request,
                "Permissions Violation for Subscription to \"x\" (sid \"1\")",
            ),
            (ServerErrorKind::Request, "Invalid Subject"),
            (ServerErrorKind::Request, "Invalid Publish Subject"),
            (ServerErrorKind::Login, "Authorization Violation"),
            (ServerErrorKind::Login, "User Authentication Expired"),
            (ServerErrorKind::Login, "User Authentication Revoked"),
            (ServerErrorKind::Login, "Account Authentication Expired"),
            (ServerErrorKind::Login, "Authentication Timeout"),
            (ServerErrorKind::Fatal, "Stale Connection"),
            (ServerErrorKind::Fatal, "Slow Consumer"),
            (ServerErrorKind::Fatal, "Maximum Payload Violation"),
            (ServerErrorKind::Fatal, "Maximum Connections Exceeded"),
            (
                ServerErrorKind::Fatal,
                "maximum account active connections exceeded",
            ),
            (ServerErrorKind::Request, "maximum subscriptions exceeded"),
            (ServerErrorKind::Fatal, "maximum control line exceeded"),
            (ServerErrorKind::Fatal, "Parser Error"),
            (ServerErrorKind::Fatal, "Unknown Protocol Operation"),
            (ServerErrorKind::Fatal, "Secure Connection - TLS Required"),
            (ServerErrorKind::Fatal, "Attempted To Connect To Route Port"),
            (
                ServerErrorKind::Fatal,
                "Connection throttling is active. Please try again later.",
            ),
            (ServerErrorKind::Fatal, "Failed Account Registration"),
        ] {
            assert_eq!(ServerError::new(words.to_owned()).kind, kind, "{words}");
        }
    }
}
