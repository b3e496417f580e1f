//! Amounts of an asset, over all wallets.

use serde::{Deserialize, Serialize};

/// Weight of a new amount, once the state has seen many.
const WEIGHT_MIN: f64 = 1e-4;
/// Variance of ln(amount) within a wallet before any was seen: amounts vary by a factor of 1.7.
pub const VARIANCE_PRIOR: f64 = 0.3;
/// Amounts before an asset's level has a meaning.
const COUNT_MIN: u32 = 100;

/// Statistics of an asset.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Asset {
    count: u32,
    /// Mean of ln(amount).
    mean: f32,
    /// Mean square of the deviations above the mean.
    above: f32,
    /// The same within wallets, against each wallet's own mean.
    within: f32,
}

const _: () = assert!(size_of::<Asset>() <= 64);

impl Asset {
    /// Standard deviations of an amount above the asset's mean; `None` before 100 amounts.
    pub fn score(&self, ln: f64) -> Option<f64> {
        let spread = f64::from(self.above).max(0.01).sqrt();
        (self.count >= COUNT_MIN).then(|| (ln - f64::from(self.mean)) / spread)
    }

    /// Mean of ln(amount).
    pub fn mean(&self) -> f64 {
        f64::from(self.mean)
    }

    /// Variance of ln(amount) above a wallet's mean that a new wallet is assumed to have.
    pub fn variance_within(&self) -> f64 {
        let weight = f64::from(self.count.min(1_000)) / 1_000.0;
        VARIANCE_PRIOR + weight * (f64::from(self.within) - VARIANCE_PRIOR)
    }

    /// Adds an amount, and its deviation from its wallet's mean if that is known.
    pub fn add(&mut self, ln: f64, from_wallet: Option<f64>) {
        self.count = self.count.saturating_add(1);
        let weight = (1.0 / f64::from(self.count)).max(WEIGHT_MIN);
        let step = |old: f32, new: f64, weight: f64| {
            (f64::from(old) + weight * (new - f64::from(old))) as f32
        };
        let deviation = ln - f64::from(self.mean);
        self.mean = step(self.mean, ln, weight);
        if deviation > 0.0 && self.count > 1 {
            self.above = step(self.above, deviation * deviation, (2.0 * weight).min(1.0));
        }
        if let Some(own) = from_wallet.filter(|own| *own > 0.0) {
            self.within = step(self.within, own * own, (2.0 * weight).min(1.0));
        }
    }
}
