//! Balances of a wallet, from one snapshot to the next.

use serde::{Deserialize, Serialize};

/// Balances before a drop has a meaning.
const COUNT_MIN: u16 = 3;
/// Weight of a new change, once the state has seen many.
const WEIGHT_MIN: f64 = 0.05;
/// Least variance of the change of ln(balance): a change of a tenth is nothing.
const VARIANCE_MIN: f64 = 0.01;
/// Change of ln(balance) that an empty wallet counts as: a loss of 99.9 %.
const EMPTY: f64 = 6.9;

/// Last balance of an asset in a wallet, and the usual size of its changes.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Balance {
    /// Position of the last snapshot.
    pub position: u64,
    last_us: i64,
    /// ln(balance) of the last snapshot that was not empty.
    ln: f32,
    /// Mean square change of ln(balance).
    variance: f32,
    count: u16,
    is_empty: bool,
}

const _: () = assert!(size_of::<Balance>() <= 64);

/// Drop between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drop {
    /// Size of the drop in the usual size of changes.
    pub score: f64,
    /// ln(balance) before.
    pub before: f64,
    /// ln(balance) after.
    pub after: f64,
    /// Position of the snapshot before.
    pub since: u64,
}

impl Balance {
    /// Takes a balance, `None` for an empty one. Returns the drop; `None` in the warm-up, and for a
    /// snapshot older than the last.
    pub fn take(&mut self, ln: Option<f64>, at_us: i64, position: u64) -> Option<Drop> {
        if at_us < self.last_us {
            return None;
        }
        let before = f64::from(self.ln);
        let was_empty = self.is_empty || self.count == 0;
        let change = if was_empty {
            0.0
        } else {
            ln.map_or(-EMPTY, |ln| (ln - before).clamp(-EMPTY, EMPTY))
        };
        let drop = (self.count >= COUNT_MIN).then(|| Drop {
            score: -change / (f64::from(self.variance) + VARIANCE_MIN).sqrt(),
            before,
            after: before + change,
            since: self.position,
        });
        if !was_empty {
            let weight = (1.0 / f64::from(self.count.max(1))).max(WEIGHT_MIN);
            let old = f64::from(self.variance);
            self.variance = (old + weight * (change * change - old)) as f32;
        }
        self.count = self.count.saturating_add(1);
        self.is_empty = ln.is_none();
        self.ln = ln.map_or(self.ln, |ln| ln as f32);
        self.last_us = at_us;
        self.position = position;
        drop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_wallet_is_a_large_drop() {
        let mut balance = Balance::default();
        for day in 0..10 {
            let ln = 10.0 + 0.05 * f64::from(day % 2);
            let drop = balance.take(Some(ln), i64::from(day), 1);
            assert!(drop.is_none_or(|drop| drop.score < 1.0), "{drop:?}");
        }
        let drop = balance.take(None, 10, 2).unwrap();
        assert!(drop.score > 20.0 && drop.since == 1, "{drop:?}");
        // It was reported once: an empty wallet does not drop further.
        assert!(balance.take(None, 11, 3).unwrap().score <= 0.0);
    }

    #[test]
    fn a_wallet_that_swings_may_swing() {
        let mut balance = Balance::default();
        let mut last = 0.0;
        for day in 0..40 {
            let ln = if day % 2 == 0 { 10.0 } else { 7.0 };
            last = balance
                .take(Some(ln), day, 0)
                .map_or(0.0, |drop| drop.score);
        }
        assert!(last < 1.5, "{last}");
    }
}
