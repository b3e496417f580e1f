//! Verdicts from outside about signals, wallets and counterparties.

use serde::{Deserialize, Serialize};

use crate::observation::Observation;

/// Verdict about a subject, taken from the stream in its order.
#[derive(Debug, Clone, Copy)]
pub struct Feedback<'a> {
    /// Position in the stream.
    pub position: u64,
    /// Time at which JetStream stored it, in microseconds since the epoch.
    pub stored_us: i64,
    /// Authenticated origin, such as a NATS user or the name of a token; never a payload's field.
    pub origin: &'a str,
    /// The verdict.
    pub verdict: Verdict,
    /// Subject of the verdict.
    pub about: About<'a>,
}

/// Result of an investigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It was fraud, or the subject is compromised.
    Confirmed,
    /// It was in order.
    Cleared,
}

/// Subject of feedback.
#[derive(Debug, Clone, Copy)]
pub enum About<'a> {
    /// A signal, whose fields the feedback repeats: the engine keeps no signals.
    Signal(&'a Observation<'a>),
    /// A wallet.
    Wallet(&'a str),
    /// A counterparty.
    Counterparty(&'a str),
}

/// Effect of feedback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It counts.
    Counted,
    /// Its origin is not among the allowed ones, so it counts for nothing.
    UnknownOrigin,
    /// It names no wallet and no counterparty.
    NoSubject,
}
