//! Fan-out and fan-in: new counterparties in the short window, against those that the long window
//! predicts. Payments out and in are counted apart. Warm-up: 10 signals.

use crate::facts::Facts;
use crate::finding::{Finding, Unit};
use crate::state::rate::surprise;
use crate::state::wallet::RATES_MIN;

pub(super) fn look(facts: &Facts) -> Option<Finding> {
    let wallet = &facts.wallet;
    facts.counterparty?;
    if wallet.count < RATES_MIN {
        return None;
    }
    let new = f64::from(u8::from(facts.is_new));
    let (observed, expected) = (wallet.new_fast + new, wallet.new_expected + 1.0);
    let score = if facts.is_new {
        surprise(observed, expected)
    } else {
        0.0
    };
    let finding = Finding::new(score, Unit::Parties, expected, observed);
    Some(finding.since(wallet.position))
}
