//! Reasons for which signals are not shown.

use std::io;

use jetstream::ConnectError;
use jetstream::topology::TopologyError;

/// Reason for which signals are not shown.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// NATS is unreachable.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The lookup of the stream failed.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The stream does not exist.
    #[error("stream {0} does not exist; `risksignal run` creates it")]
    NoStream(String),
    /// The stream cannot be read.
    #[error(
        "cannot read stream {stream}; check the state of nats-server, and the permissions of nats.user (MAY_TAP in infra/nats/least-privilege.conf)"
    )]
    Read {
        /// Name of the stream.
        stream: String,
        /// Answer of the client or the server; not a source, since it may quote subjects.
        answer: async_nats::Error,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}
