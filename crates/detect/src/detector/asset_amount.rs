//! Amount unusual for the asset: standard deviations of ln(amount) above the mean of all wallets.
//! Warm-up: 100 amounts of the asset. It needs no history of the wallet, so it covers new ones.

use crate::facts::Facts;
use crate::finding::{Finding, Unit};

pub(super) fn look(facts: &Facts) -> Option<Finding> {
    let (expected, observed) = (facts.asset_mean, facts.ln?);
    Some(Finding::new(
        facts.above_asset?,
        Unit::Amount,
        expected,
        observed,
    ))
}
