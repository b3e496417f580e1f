//! Anomaly that the engine found.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::detector::Detector;
use crate::finding::Figure;
use crate::parameters::ENGINE_VERSION;

/// Signal that is unusual, with the reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// Identifier: the same for the same stream and parameters, in every run.
    pub id: AnomalyId,
    /// Time that the signal counted at, in microseconds since the epoch.
    pub at_us: i64,
    /// Probability that the signal is unusual for a reason, from 0 to 1.
    pub score: f64,
    /// Share of all signals with a score at least as high, above 0 and up to 1.
    pub tail: f64,
    /// Severity from 1 to 5.
    pub severity: u8,
    /// Detector with the largest share.
    pub detector: Detector,
    /// Event type, if the anomaly is about its rate and not about the signal itself.
    pub event_type: Option<String>,
    /// Expected and observed size of what that detector compared.
    pub figure: Figure,
    /// Detectors that speak for it, largest share first; the shares sum to 1.
    pub shares: Vec<Share>,
    /// Positions of the signals that made it, newest first; its own is the first.
    pub evidence: Vec<u64>,
}

/// Identifier of an anomaly: the versions of engine and parameters, and the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AnomalyId {
    /// Version of the engine's rules.
    pub engine: u16,
    /// Version of the parameters.
    pub parameters: u32,
    /// Position of the signal.
    pub position: u64,
}

/// Part of a detector in an anomaly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The detector.
    pub detector: Detector,
    /// Its share, above 0 and up to 1.
    pub share: f64,
}

impl AnomalyId {
    /// Creates the identifier of a position's anomaly.
    pub(crate) fn new(parameters: u32, position: u64) -> Self {
        Self {
            engine: ENGINE_VERSION,
            parameters,
            position,
        }
    }
}

impl fmt::Display for AnomalyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}-{:08x}-{}",
            self.engine, self.parameters, self.position
        )
    }
}

/// Severity of a probability, from 1 to 5.
pub(crate) fn severity(probability: f64) -> u8 {
    let steps = [0.1, 0.25, 0.5, 0.8];
    1 + steps
        .iter()
        .map(|step| u8::from(probability >= *step))
        .sum::<u8>()
}
