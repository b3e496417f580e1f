//! The newest results of the poller, for the status and for readiness.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::{info, warn};

use super::warning::NOT_PURGED;
use super::{Storage, Warning};
use crate::retention::History;

/// The newest results of the poller.
#[derive(Debug, Default)]
pub struct Board(Mutex<Newest>);

/// The newest results of the poller.
#[derive(Debug, Clone, Default)]
pub struct Newest {
    /// Every storage.
    pub storages: Vec<Storage>,
    /// Committed history, once it was looked at.
    pub history: Option<History>,
    /// States to act on.
    pub warnings: Vec<Warning>,
}

impl Board {
    /// Replaces all results. The log gets a line for each warning that comes, and for each that
    /// goes.
    pub fn set(&self, newest: Newest) {
        let mut board = self.lock();
        for warning in &newest.warnings {
            if !board.warnings.iter().any(|known| known.is_same(warning)) {
                let Warning {
                    code,
                    name,
                    text,
                    remedy,
                } = warning;
                let words = newest.words_for(warning);
                warn!(code, name, text, remedy, words, "A warning is in force");
            }
        }
        for known in &board.warnings {
            if !newest.warnings.iter().any(|warning| warning.is_same(known)) {
                info!(code = known.code, name = known.name, "A warning is over");
            }
        }
        *board = newest;
    }

    /// The newest results.
    pub fn newest(&self) -> Newest {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Newest> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Newest {
    /// The words of a server that explain a warning, where there are any.
    fn words_for(&self, warning: &Warning) -> Option<&str> {
        if warning.code == NOT_PURGED {
            return self.history.as_ref()?.fault.as_deref();
        }
        let mut storages = self.storages.iter();
        let storage = storages.find(|storage| storage.name == warning.name);
        storage?.refusal.as_deref()
    }
}
