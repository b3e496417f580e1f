//! Rate unusual for the wallet: its signals in the short window, against those that the long window
//! predicts. Warm-up: 10 signals.

use crate::facts::Facts;
use crate::finding::{Finding, Unit};
use crate::state::rate::surprise;
use crate::state::wallet::RATES_MIN;

pub(super) fn look(facts: &Facts) -> Option<Finding> {
    let wallet = &facts.wallet;
    if wallet.count < RATES_MIN {
        return None;
    }
    let (observed, expected) = (wallet.fast + 1.0, wallet.expected + 1.0);
    let finding = Finding::new(
        surprise(observed, expected),
        Unit::Signals,
        expected,
        observed,
    );
    Some(finding.since(wallet.position))
}
