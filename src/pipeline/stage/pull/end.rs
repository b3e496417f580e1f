//! The end of a pull.

use jetstream::Status;

use crate::pipeline::port::pulls::PullError;

const IDLE_HEARTBEAT: u16 = 100;
const NOT_FOUND: u16 = 404;
const TIMEOUT: u16 = 408;

/// The end of a pull without a failure.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// It has all it asked for, or its time is over: ask again.
    Done,
    /// The daemon stops.
    Stopped,
}

/// The end that a status means for the pull; `None` for one that does not end it.
pub fn ending(status: &Status) -> Option<Result<End, PullError>> {
    let Status { code, description } = status;
    match *code {
        IDLE_HEARTBEAT => None,
        // Comes behind the last message of a pull with a bound on bytes; that message has
        // ended the pull.
        _ if description.contains("Batch Completed") => None,
        TIMEOUT | NOT_FOUND => Some(Ok(End::Done)),
        // The next message does not fit into what is left of this pull's bytes. A pull has
        // room for the largest message there can be, which is checked at the start.
        _ if description.contains("Exceeds MaxBytes") => Some(Ok(End::Done)),
        code => Some(Err(PullError::Ended(format!("{code} {description}")))),
    }
}
