//! A letter on its way to its stream.

use crate::pipeline::crossing::rejected::{ClaimDeadLetters, Rejected};
use clock::Backoff;
use telemetry::traces::LetterTrace;

/// A message whose letter is to be stored.
#[derive(Debug)]
pub struct DeadLetterAttempt {
    pub rejected: Rejected,
    /// The letters of its claim, to which it is added once it is stored.
    pub letters: ClaimDeadLetters,
    pub trace: LetterTrace,
    pub backoff: Backoff,
}
