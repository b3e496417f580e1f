//! Peeling chain: a wallet passes most of what it just received on to an address that it never
//! paid, and that one does the same. No warm-up; a chain begins at its second link.

use crate::amount::Direction;
use crate::facts::Facts;
use crate::finding::{Finding, Unit};

/// Least share of a receipt that is passed on: a peel keeps up to 30 %.
const SHARE_MIN: f64 = 0.7;
/// Longest time from a receipt to the next link, in seconds: a day.
const AGE_S_MAX: i64 = 86_400;

/// Links of the chain that a signal makes; 0 if it passes nothing on.
pub(crate) fn links(facts: &Facts) -> u16 {
    let (Some(ln), Some(receipt)) = (facts.ln, facts.receipt) else {
        return 0;
    };
    let kept = ln - receipt.ln;
    // A float of 32 bits keeps ln(amount) to about 1e-5.
    let is_passed_on = (libm::log(SHARE_MIN)..=1e-4).contains(&kept);
    let is_soon = (0..=AGE_S_MAX).contains(&receipt.age_s);
    let is_link = facts.is_new && facts.direction == Direction::Out && is_passed_on && is_soon;
    if is_link {
        receipt.depth.saturating_add(1)
    } else {
        0
    }
}

pub(super) fn look(facts: &Facts) -> Option<Finding> {
    facts.counterparty?;
    facts.ln?;
    let links = f64::from(links(facts));
    let finding = Finding::new((links - 1.0).max(0.0), Unit::Links, 0.0, links);
    Some(finding.since(facts.receipt.map_or(0, |receipt| receipt.position)))
}
