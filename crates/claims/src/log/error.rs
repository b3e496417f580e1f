//! Reasons for which the log cannot be read on.

/// A log that cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Records were purged before they were read.
    #[error(
        "the claims log goes on at {found} behind {read}; read it again from its newest snapshot"
    )]
    Gap {
        /// The last record that was read.
        read: u64,
        /// The record that came.
        found: u64,
    },
    /// The log lost its tail: other records stand at places that were read before.
    #[error(
        "the claims log went back: it has another record at {seq} than the one that was read there"
    )]
    Lost {
        /// The place.
        seq: u64,
    },
    /// A process found that the log lost records. Nothing counts until it is rebuilt.
    #[error("the claims log lost records, says the one at {seq}; it is rebuilt")]
    Announced {
        /// The place of the record that says so.
        seq: u64,
    },
    /// The log was rebuilt, or made anew: what was read before counts no more.
    #[error("the claims log begins anew at {seq}; read it again from there")]
    Renewed {
        /// The place of its first snapshot.
        seq: u64,
    },
    /// The table or the dead letters have a message that no record names.
    #[error(
        "message {stream_seq} is stored, and no record of the claims log names it: the log lost records"
    )]
    Unexplained {
        /// The message's sequence in the stream.
        stream_seq: u64,
    },
    /// A snapshot does not stand for the records before it.
    #[error(
        "the snapshot at {seq} of the claims log covers {covers} only; stop every daemon and restore the log"
    )]
    Misplaced {
        /// The snapshot's place.
        seq: u64,
        /// The last record that it covers.
        covers: u64,
    },
}
