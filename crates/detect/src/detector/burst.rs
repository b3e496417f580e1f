//! Silence, then a burst: the largest silence of the short window, times the growth of the count
//! since. Warm-up: 10 signals. The first signal after a silence is no burst.

use crate::facts::Facts;
use crate::finding::{Finding, Unit};
use crate::state::wallet::RATES_MIN;

pub(super) fn look(facts: &Facts) -> Option<Finding> {
    let wallet = &facts.wallet;
    if wallet.count < RATES_MIN {
        return None;
    }
    let growth = ((wallet.fast + 1.0).sqrt() - 1.0).max(0.0);
    // A silence within two standard deviations is none.
    let score = (wallet.silence - 2.0).max(0.0) * growth;
    let (expected, observed) = (wallet.gap_usual, wallet.gap);
    let finding = Finding::new(score, Unit::Seconds, expected, observed);
    Some(finding.since(wallet.position))
}
