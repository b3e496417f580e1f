//! Detectors: each a file with its warm-up, its score and its explanation.

mod amount;
mod asset_amount;
mod burst;
mod fan;
mod hour;
mod new_counterparty;
mod peeling;
mod rate;
mod senders;
mod targeted;

use serde::{Deserialize, Serialize};

use crate::facts::Facts;
use crate::finding::Finding;

/// Number of detectors.
pub const DETECTORS: usize = Detector::ALL.len();

/// Kind of detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// Amount unusual for the wallet.
    Amount,
    /// Amount unusual for the asset.
    AssetAmount,
    /// More signals than the wallet's rate.
    Rate,
    /// Silence, then a burst.
    Burst,
    /// New counterparty with a large amount.
    NewCounterparty,
    /// Many new counterparties of one wallet, paid or paying.
    Fan,
    /// Unusual hour of the day.
    Hour,
    /// Chain of transfers that each pass most of the last one on.
    Peeling,
    /// Balance drop between snapshots.
    Balance,
    /// Many new wallets at one counterparty.
    Senders,
    /// Many wallets behave unusually at one counterparty.
    Targeted,
    /// Feedback about the counterparty.
    Feedback,
    /// Value of a series far from its level.
    Level,
    /// Rate of a type of signals far from its level.
    TypeRate,
}

/// Independent reason for a signal to be unusual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Somebody else acts for the wallet, or its owner does what is new.
    Wallet,
    /// The other party is the problem.
    Counterparty,
    /// A whole type of signals changed.
    Series,
}

impl Detector {
    /// All detectors, in the order of every array that has one entry for each.
    pub const ALL: [Self; 14] = [
        Self::Amount,
        Self::AssetAmount,
        Self::Rate,
        Self::Burst,
        Self::NewCounterparty,
        Self::Fan,
        Self::Hour,
        Self::Peeling,
        Self::Balance,
        Self::Senders,
        Self::Targeted,
        Self::Feedback,
        Self::Level,
        Self::TypeRate,
    ];

    /// Name in anomalies, settings and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amount => "amount",
            Self::AssetAmount => "asset_amount",
            Self::Rate => "rate",
            Self::Burst => "burst",
            Self::NewCounterparty => "new_counterparty",
            Self::Fan => "fan",
            Self::Hour => "hour",
            Self::Peeling => "peeling",
            Self::Balance => "balance",
            Self::Senders => "senders",
            Self::Targeted => "targeted",
            Self::Feedback => "feedback",
            Self::Level => "level",
            Self::TypeRate => "type_rate",
        }
    }

    /// Reason that the detector looks for.
    pub fn cause(self) -> Cause {
        match self {
            Self::Senders | Self::Targeted | Self::Feedback => Cause::Counterparty,
            Self::Level | Self::TypeRate => Cause::Series,
            _ => Cause::Wallet,
        }
    }

    /// Power of the detector's Bayes factor, above 0 and up to 1. A weight of 1/4 takes a tail of
    /// 1/10,000 for what one of 1/10 is to a detector of full weight: owners change their habits
    /// more often than they empty their wallets.
    pub fn weight(self) -> f64 {
        match self {
            Self::AssetAmount | Self::Burst => 0.5,
            Self::NewCounterparty | Self::Rate | Self::Fan => 0.25,
            Self::Hour => 0.1,
            Self::Senders | Self::Targeted => 0.5,
            _ => 1.0,
        }
    }

    /// Reports whether a usual score speaks against the cause.
    pub fn speaks_against(self) -> bool {
        matches!(self, Self::Amount | Self::AssetAmount)
    }

    /// Links of the peeling chain that a signal makes; 0 if it passes nothing on.
    pub fn links(facts: &Facts) -> u16 {
        peeling::links(facts)
    }

    /// Finding about a signal. `None` in the warm-up, for a signal without the fields, and for the
    /// detectors that look at states of their own: balances, feedback and series.
    pub fn look(self, facts: &Facts) -> Option<Finding> {
        match self {
            Self::Amount => amount::look(facts),
            Self::AssetAmount => asset_amount::look(facts),
            Self::Rate => rate::look(facts),
            Self::Burst => burst::look(facts),
            Self::NewCounterparty => new_counterparty::look(facts),
            Self::Fan => fan::look(facts),
            Self::Hour => hour::look(facts),
            Self::Peeling => peeling::look(facts),
            Self::Senders => senders::look(facts),
            Self::Targeted => targeted::look(facts),
            Self::Balance | Self::Feedback | Self::Level | Self::TypeRate => None,
        }
    }
}
