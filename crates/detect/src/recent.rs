//! Recent signals, to name an anomaly's evidence.

use serde::{Deserialize, Serialize};

use crate::key::Key;

/// Signals that are remembered.
const SIGNALS_MAX: usize = 4_096;

/// Last signals, each with its wallet and its counterparty.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Recent {
    signals: Vec<(u64, Option<Key>, Option<Key>)>,
    next: usize,
}

impl Recent {
    /// Adds a signal.
    pub fn add(&mut self, position: u64, wallet: Option<Key>, counterparty: Option<Key>) {
        let signal = (position, wallet, counterparty);
        if self.signals.len() < SIGNALS_MAX {
            self.signals.push(signal);
        } else {
            self.signals[self.next] = signal;
        }
        self.next = (self.next + 1) % SIGNALS_MAX;
    }

    /// Positions of the last `count` signals of a wallet, newest first.
    pub fn of_wallet(&self, wallet: Key, count: usize) -> Vec<u64> {
        let own = self
            .newest_first()
            .filter(|signal| signal.1 == Some(wallet));
        own.map(|signal| signal.0).take(count).collect()
    }

    /// Positions of the last `count` signals to a counterparty, newest first.
    pub fn of_counterparty(&self, counterparty: Key, count: usize) -> Vec<u64> {
        let own = self
            .newest_first()
            .filter(|signal| signal.2 == Some(counterparty));
        own.map(|signal| signal.0).take(count).collect()
    }

    /// Reports whether a snapshot's parts belong together.
    pub fn is_sound(&self) -> bool {
        self.signals.len() <= SIGNALS_MAX && self.next < SIGNALS_MAX
    }

    fn newest_first(&self) -> impl Iterator<Item = &(u64, Option<Key>, Option<Key>)> {
        let (newer, older) = self.signals.split_at(self.next.min(self.signals.len()));
        newer.iter().rev().chain(older.iter().rev())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_come_first() {
        let mut recent = Recent::default();
        let wallet = Some(Key::address("a"));
        for position in 1..=10_000 {
            recent.add(position, wallet, None);
        }
        assert_eq!(
            recent.of_wallet(Key::address("a"), 3),
            [10_000, 9_999, 9_998]
        );
        assert!(recent.of_counterparty(Key::address("a"), 3).is_empty());
        assert_eq!(
            recent.of_wallet(Key::address("a"), 9_999).len(),
            SIGNALS_MAX
        );
    }
}
