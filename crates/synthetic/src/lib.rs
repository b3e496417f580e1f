//! Synthetic signals for tests and load. Equal options and equal calls give equal bytes.
//!
//! Pure: no clock and no I/O. Time is an argument.

mod chain;
mod clock;
mod defect;
mod generator;
mod payload;
mod text;
mod wallets;

pub use defect::Defect;
pub use generator::{Generator, GeneratorOptions, Produced};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Reason for which no signal can be generated.
#[derive(Debug, thiserror::Error)]
pub enum SyntheticError {
    /// There are no wallets, or the skew of their activity is not positive.
    #[error("wallets and skew must be above 0: {0}")]
    Population(#[from] rand_distr::ZipfError),
    /// A signal cannot be written as JSON.
    #[error("cannot write a signal as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Kind of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignalKind {
    /// A transfer or a call on a chain.
    Transaction,
    /// A rule that fired.
    RiskEvent,
    /// Balances of a wallet.
    WalletSnapshot,
}

impl SignalKind {
    /// Returns the `event_type`, which is also the last token of the subject.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::RiskEvent => "risk_event",
            Self::WalletSnapshot => "wallet_snapshot",
        }
    }
}

/// Kinds to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// One kind only.
    Only(SignalKind),
    /// 70 % transactions, 20 % risk events and 10 % wallet snapshots.
    Mixed,
}

impl Mix {
    fn draw(self, rng: &mut ChaCha8Rng) -> SignalKind {
        match self {
            Self::Only(kind) => kind,
            Self::Mixed => match rng.random_range(0..10_u8) {
                0..=6 => SignalKind::Transaction,
                7 | 8 => SignalKind::RiskEvent,
                _ => SignalKind::WalletSnapshot,
            },
        }
    }
}
