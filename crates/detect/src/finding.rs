//! Finding of one detector about one signal.

use serde::{Deserialize, Serialize};

/// Result of a detector that is past its warm-up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// Raw score, in the detector's own unit: larger is more unusual, and 0 or less is usual.
    pub score: f64,
    /// Figure that the detector compared.
    pub figure: Figure,
    /// Position of an earlier signal that is part of the evidence; 0 if there is none.
    pub evidence: u64,
}

impl Figure {
    /// Figure in its unit: a finding has logarithms, which cost nothing while nobody reads them.
    pub(crate) fn readable(self) -> Self {
        let read = |number: f64| match self.unit {
            Unit::Amount | Unit::Balance => libm::exp(number),
            Unit::Seconds => libm::expm1(number),
            _ => number,
        };
        Self {
            unit: self.unit,
            expected: read(self.expected),
            observed: read(self.observed),
        }
    }
}

impl Finding {
    /// Creates a finding without an earlier signal.
    pub fn new(score: f64, unit: Unit, expected: f64, observed: f64) -> Self {
        let figure = Figure {
            unit,
            expected,
            observed,
        };
        Self {
            score,
            figure,
            evidence: 0,
        }
    }

    /// Adds an earlier signal as evidence.
    pub fn since(self, evidence: u64) -> Self {
        Self { evidence, ..self }
    }
}

/// Expected and observed size of one quantity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Unit of both.
    pub unit: Unit,
    /// Expected size.
    pub expected: f64,
    /// Observed size.
    pub observed: f64,
}

/// Unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Amount, in the asset's base units; a finding has its natural logarithm.
    Amount,
    /// Signals within the short window.
    Signals,
    /// New counterparties or wallets within the short window.
    Parties,
    /// Seconds since the signal before; a finding has ln(1 + seconds).
    Seconds,
    /// Links of a chain.
    Links,
    /// Balance, in the asset's base units; a finding has its natural logarithm.
    Balance,
    /// Hours around the wallet's usual hour, from 0 to 12.
    Hours,
    /// Mean unusualness of a counterparty's signals, where 1 is usual.
    Unusualness,
    /// Number of a series.
    Number,
    /// Probability from 0 to 1.
    Probability,
}
