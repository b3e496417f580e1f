//! Amount unusual for the wallet: standard deviations of ln(amount) above the wallet's mean, in the
//! same asset and direction. Warm-up: 5 signals.
//!
//! The deviation above the mean alone counts, since small amounts are spread wider than large ones,
//! and only large ones matter. A wallet with few amounts borrows the spread of its asset.

use crate::facts::Facts;
use crate::finding::{Finding, Unit};

pub(super) fn look(facts: &Facts) -> Option<Finding> {
    let score = facts.above_wallet()?;
    let (expected, observed) = (facts.wallet.mean, facts.ln?);
    let finding = Finding::new(score, Unit::Amount, expected, observed);
    Some(finding.since(facts.wallet.position))
}
