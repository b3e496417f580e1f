//! Many wallets behave unusually at one counterparty: the sum of how unusual its signals were for
//! their wallets. One such signal says little; ten say that the counterparty is the problem.
//! Warm-up: 3 signals of the counterparty.

use crate::facts::Facts;
use crate::finding::{Finding, Unit};

const COUNT_MIN: u16 = 3;

pub(super) fn look(facts: &Facts) -> Option<Finding> {
    let party = facts
        .counterparty
        .filter(|party| party.count >= COUNT_MIN)?;
    // Each term is -ln of a uniform number less 1: mean 0, variance 1.
    let score = party.unusual / (party.unusual_weight + 1.0).sqrt();
    let mean = 1.0 + party.unusual / (party.unusual_weight + 1.0);
    let finding = Finding::new(score, Unit::Unusualness, 1.0, mean);
    Some(finding.since(party.position))
}
