//! Synthetic signals for tests and load: the same options and the same calls give the same
//! bytes.
//!
//! Pure: no clock and no I/O. Time comes in as an argument.

mod chain;
mod clock;
mod defect;
mod generator;
mod payload;
mod text;
mod wallets;

pub use defect::Defect;
pub use generator::{Generator, Options, Produced};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Why no signal can be generated.
#[derive(Debug, thiserror::Error)]
pub enum SyntheticError {
    /// There are no wallets, or the skew of their activity is no positive number.
    #[error("wallets and skew must be above 0: {0}")]
    Population(#[from] rand_distr::ZipfError),
    /// A signal cannot be written as JSON.
    #[error("cannot write a signal as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What a signal tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A transfer or a call on a chain.
    Transaction,
    /// A rule that fired.
    RiskEvent,
    /// What a wallet holds.
    WalletSnapshot,
}

impl Kind {
    /// The `event_type`, and the last token of the subject.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::RiskEvent => "risk_event",
            Self::WalletSnapshot => "wallet_snapshot",
        }
    }
}

/// Which kinds are generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// One kind only.
    Only(Kind),
    /// 70 % transactions, 20 % risk events and 10 % wallet snapshots.
    Mixed,
}

impl Mix {
    fn draw(self, rng: &mut ChaCha8Rng) -> Kind {
        match self {
            Self::Only(kind) => kind,
            Self::Mixed => match rng.random_range(0..10_u8) {
                0..=6 => Kind::Transaction,
                7 | 8 => Kind::RiskEvent,
                _ => Kind::WalletSnapshot,
            },
        }
    }
}
