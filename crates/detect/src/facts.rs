//! Facts about one signal, from the states before it counts.

use crate::amount::Direction;
use crate::state::{counterparty, wallet};

/// All that detectors of wallets and counterparties may look at.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The wallet, for this asset and direction.
    pub wallet: wallet::Before,
    /// The other party; `None` if the signal names none.
    pub counterparty: Option<counterparty::Before>,
    /// ln(amount); `None` for zero, and for a signal without an amount.
    pub ln: Option<f64>,
    /// Standard deviations above the asset's mean; `None` in its warm-up.
    pub above_asset: Option<f64>,
    /// Mean of ln(amount) of the asset.
    pub asset_mean: f64,
    /// The wallet meets this counterparty for the first time, as far as pairs are remembered.
    pub is_new: bool,
    /// Way of the amount.
    pub direction: Direction,
    /// Last receipt of the wallet in this asset, for a signal to a new counterparty.
    pub receipt: Option<counterparty::Receipt>,
}

impl Facts {
    /// Standard deviations of the amount above the wallet's mean; `None` in the warm-up.
    pub fn above_wallet(&self) -> Option<f64> {
        let ln = self
            .ln
            .filter(|_| self.wallet.count >= wallet::AMOUNTS_MIN)?;
        Some((ln - self.wallet.mean) / self.wallet.spread)
    }

    /// Counterparty, if the wallet meets it for the first time and is not new itself.
    pub fn new_counterparty(&self) -> Option<counterparty::Before> {
        let knows = self.wallet.count >= wallet::AMOUNTS_MIN;
        self.counterparty.filter(|_| knows && self.is_new)
    }
}
