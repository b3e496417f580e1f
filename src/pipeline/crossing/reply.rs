//! Addresses of acks.

use jetstream::Subjects;

use crate::pipeline::crossing::source::SignalSource;

/// Addresses of the acks of messages from one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledReplies {
    /// The source of signals. Without one they are acked no matter which source is there.
    pub source: Option<SignalSource>,
    /// The ack subjects.
    pub subjects: Subjects,
}
