//! The address of an ack.

use bytes::Bytes;

use crate::pipeline::crossing::source::SignalSource;

/// Address of a message's ack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The subject.
    pub subject: Bytes,
    /// The source of a signal; an advisory has none, and is not given back: each of its deliveries
    /// is a try.
    pub source: Option<SignalSource>,
}

impl Reply {
    /// A reply that is acked no matter which source is there.
    pub fn unchecked(subject: Bytes) -> Self {
        Self {
            subject,
            source: None,
        }
    }
}
