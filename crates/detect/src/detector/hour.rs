//! Unusual hour of the day: distance from the mean hour, for a wallet that keeps its hours.
//! Warm-up: 30 signals.

use crate::facts::Facts;
use crate::finding::{Finding, Unit};

const COUNT_MIN: u16 = 30;
/// Focus below which a wallet has no hours: half of the signals are spread over the whole day.
const FOCUS_MIN: f64 = 0.5;

pub(super) fn look(facts: &Facts) -> Option<Finding> {
    let wallet = &facts.wallet;
    if wallet.count < COUNT_MIN || wallet.hour_focus < FOCUS_MIN {
        return None;
    }
    // The spread of a circular distribution with this focus (Mardia and Jupp 2000, 2.3).
    let spread = (-2.0 * libm::log(wallet.hour_focus.min(0.999))).sqrt();
    let angle = libm::acos(1.0 - wallet.hour_distance.clamp(0.0, 2.0));
    let hours = angle / core::f64::consts::TAU * 24.0;
    Some(Finding::new(angle / spread, Unit::Hours, 0.0, hours))
}
