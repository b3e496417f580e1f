//! Wallets that are to be brought from ClickHouse.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Wallets that wait, at most; others are brought when a client asks for them.
const WAITING_MAX: usize = 10_000;

/// Wallets that the feeder found missing.
#[derive(Default)]
pub(super) struct Wanted {
    wanted: Mutex<Wallets>,
    /// Something is wanted.
    pub changed: Notify,
}

#[derive(Default)]
struct Wallets {
    waiting: VecDeque<String>,
    known: HashSet<String>,
    /// All wallets are to be brought back, or no more are; `None` without a change.
    all: Option<bool>,
}

impl Wanted {
    /// A wallet has signals and no entry.
    pub fn add(&self, address: &str) {
        let mut wanted = self.lock();
        if wanted.waiting.len() < WAITING_MAX && wanted.known.insert(address.to_owned()) {
            wanted.waiting.push_back(address.to_owned());
            self.changed.notify_one();
        }
    }

    /// A new generation has begun, and this instance is to bring everything back; or it is not,
    /// since another one does.
    pub fn set_all(&self, all: bool) {
        self.lock().all = Some(all);
        self.changed.notify_one();
    }

    /// Returns true when all wallets are to be brought back, and false when no more are; `None`
    /// without a change since the last call.
    pub fn take_all(&self) -> Option<bool> {
        std::mem::take(&mut self.lock().all)
    }

    /// Some that wait, those first that have waited longest.
    pub fn take(&self, count: usize) -> Vec<String> {
        let mut wanted = self.lock();
        let count = count.min(wanted.waiting.len());
        let taken: Vec<String> = wanted.waiting.drain(..count).collect();
        for address in &taken {
            wanted.known.remove(address);
        }
        taken
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Wallets> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
