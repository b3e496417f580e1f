//! Times that affect no guarantee.

use std::time::Duration;

/// Times that decide when a record is published, never whether it may be.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Longest time that done claims wait for a record to carry them.
    pub linger: Duration,
    /// Time that a process waits after a connect for others to announce lost records.
    pub grace: Duration,
}
