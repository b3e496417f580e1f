//! The connections to NATS as the stages see them: their state, and what is sent to reply subjects.

use std::fmt::Debug;

use jetstream::Subjects;

/// State of the connections.
pub trait Connection: Debug + Send + Sync {
    /// Reports whether all are up.
    fn is_connected(&self) -> bool;

    /// Returns the number of connects so far. It differs after a connect of any of them.
    fn connects(&self) -> u64;
}

/// Reason for which the server did not confirm replies.
#[derive(Debug, thiserror::Error)]
pub enum NotConfirmed {
    #[error(transparent)]
    NotConnected(#[from] jetstream::NotConnected),
    #[error("the server did not answer in time")]
    TimedOut,
}

/// Sender to the reply subjects of messages. Generic and not an object, so that it does not
/// allocate.
pub trait Replies: Send + Sync {
    /// Sends the same payload to many subjects, in one piece. With `connects` they go over those
    /// connects or not at all. A failure is logged: what a lost reply was about is delivered again.
    fn send(
        &self,
        replies: Subjects,
        payload: &'static [u8],
        connects: Option<u64>,
    ) -> impl Future<Output = ()> + Send;

    /// Waits until the server has processed all that was sent.
    fn confirmed(&self) -> impl Future<Output = Result<(), NotConfirmed>> + Send;
}
