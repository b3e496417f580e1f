//! Many new wallets at one counterparty: those of the short window, against those that the long
//! window predicts. Warm-up: 10 signals of the counterparty.

use crate::facts::Facts;
use crate::finding::{Finding, Unit};
use crate::state::rate::surprise;

const COUNT_MIN: u16 = 10;

pub(super) fn look(facts: &Facts) -> Option<Finding> {
    let party = facts
        .counterparty
        .filter(|party| party.count >= COUNT_MIN)?;
    let new = f64::from(u8::from(facts.is_new));
    let (observed, expected) = (party.new_fast + new, party.new_expected + 1.0);
    let score = if facts.is_new {
        surprise(observed, expected)
    } else {
        0.0
    };
    let finding = Finding::new(score, Unit::Parties, expected, observed);
    Some(finding.since(party.position))
}
