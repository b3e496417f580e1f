//! New counterparty with a large amount: standard deviations above the wallet's mean, lowered for a
//! wallet that often meets new ones. Warm-up: 5 signals.

use crate::facts::Facts;
use crate::finding::{Finding, Unit};

pub(super) fn look(facts: &Facts) -> Option<Finding> {
    let above = facts.above_wallet()?;
    facts.counterparty?;
    let is_new = facts.new_counterparty().is_some();
    let rarity = 1.0 - facts.wallet.new_share;
    let score = if is_new { above.max(0.0) * rarity } else { 0.0 };
    let (expected, observed) = (facts.wallet.mean, facts.ln?);
    Some(Finding::new(score, Unit::Amount, expected, observed))
}
