//! Reasons for which the log cannot be read any further.

/// A log that cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogReadError {
    /// Records were purged before they were read.
    #[error(
        "the claims log continues with record {found} after {read}; read it again from its newest snapshot"
    )]
    Gap {
        /// Sequence of the last record that was read.
        read: u64,
        /// Sequence of the record that arrived.
        found: u64,
    },
    /// The log lost its tail: it has other records at sequences that were read before.
    #[error(
        "the claims log went back: it has another record {seq} than the one that was read before"
    )]
    Lost {
        /// Sequence of the other record.
        seq: u64,
    },
    /// A process found that the log lost records. No record counts until it is rebuilt.
    #[error("the claims log lost records, as record {seq} announces; it is being rebuilt")]
    Announced {
        /// Sequence of the record that announces it.
        seq: u64,
    },
    /// The log was rebuilt or recreated: earlier records no longer count.
    #[error("the claims log begins again with record {seq}; read it again from there")]
    Renewed {
        /// Sequence of its first snapshot.
        seq: u64,
    },
    /// The table or the dead letters contain a message that no record names.
    #[error(
        "message {stream_seq} is stored, and no record of the claims log names it: the log lost records"
    )]
    Unexplained {
        /// Sequence of the message in the stream.
        stream_seq: u64,
    },
    /// A snapshot does not cover the records before it.
    #[error(
        "snapshot {seq} of the claims log covers records up to {covers} only; stop every daemon and restore the log"
    )]
    Misplaced {
        /// Sequence of the snapshot.
        seq: u64,
        /// Last record that it covers.
        covers: u64,
    },
}
