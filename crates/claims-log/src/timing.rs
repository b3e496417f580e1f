//! Times that no promise depends on.

use std::time::Duration;

/// Times that decide when something is published, and never whether it may be.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Longest wait of done claims for a record that takes them along.
    pub linger: Duration,
    /// After a connect a process waits so long for others to say that the log lost records.
    pub grace: Duration,
}
