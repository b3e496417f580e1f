//! Newest results of the pollers, for the status and for readiness.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::{debug, info, warn};

use super::warning::NOT_PURGED;
use super::{StorageFill, Warning};
use crate::capacity::log_lines::{WARNING_IN_FORCE, WARNING_OVER};
use crate::retention::RetentionState;

/// Newest results of the pollers.
#[derive(Debug, Default)]
pub struct Board(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    polled: Newest,
    conditions: BTreeMap<Monitored, Warning>,
}

/// A server or consumer with its own condition ([`crate::conditions`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Monitored {
    /// nats-server.
    Nats,
    /// The daemon's consumer.
    Consumer,
    /// The stream of signals: messages that left it.
    Stream,
    /// ClickHouse.
    Clickhouse,
}

/// Newest results of the pollers.
#[derive(Debug, Clone, Default)]
pub struct Newest {
    /// Every storage.
    pub storages: Vec<StorageFill>,
    /// Committed history, once it was checked.
    pub history: Option<RetentionState>,
    /// Warnings in force.
    pub warnings: Vec<Warning>,
}

impl Board {
    /// Replaces the results on storages and history. Logs each warning that starts or ends.
    pub fn set(&self, newest: Newest) {
        let mut board = self.lock();
        let words = |warning: &Warning| newest.words_for(warning).map(str::to_owned);
        log_changes(&board.polled.warnings, &newest.warnings, words);
        board.polled = newest;
    }

    /// Replaces the condition of one source; `None` if it has no fault. Logs a condition that
    /// starts or ends.
    pub fn set_condition(&self, source: Monitored, condition: Option<Warning>) {
        let mut board = self.lock();
        let before = board.conditions.remove(&source);
        log_changes(before.as_slice(), condition.as_slice(), |_| None);
        board
            .conditions
            .extend(condition.map(|condition| (source, condition)));
    }

    /// Returns the newest results, the conditions of the sources first.
    pub fn newest(&self) -> Newest {
        let board = self.lock();
        let mut newest = board.polled.clone();
        newest
            .warnings
            .splice(..0, board.conditions.values().cloned());
        newest
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs new and ended warnings, with a server's words from `words`, if any.
fn log_changes(before: &[Warning], now: &[Warning], words: impl Fn(&Warning) -> Option<String>) {
    for warning in now {
        if !before.iter().any(|known| known.has_same_subject(warning)) {
            let words = words(warning);
            let words = words.as_deref();
            let Warning {
                code,
                name,
                text,
                remedy,
            } = warning;
            warn!(code, name, text, remedy, "{WARNING_IN_FORCE}");
            debug!(code, name, words, "The reason for the warning");
        }
    }
    for known in before {
        if !now.iter().any(|warning| warning.has_same_subject(known)) {
            info!(code = known.code, name = known.name, "{WARNING_OVER}");
        }
    }
}

impl Newest {
    /// Returns a server's words that explain a warning, if any.
    fn words_for(&self, warning: &Warning) -> Option<&str> {
        if warning.code == NOT_PURGED {
            return self.history.as_ref()?.fault.as_deref();
        }
        let mut storages = self.storages.iter();
        let storage = storages.find(|storage| storage.name == warning.name);
        storage?.refusal.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::super::warning::{CLICKHOUSE_TOO_OLD, NATS_TOO_OLD};
    use super::*;
    use crate::conditions;

    #[test]
    fn a_condition_stays_until_its_source_has_none() {
        let board = Board::default();
        let codes = || -> Vec<String> {
            let warnings = board.newest().warnings.into_iter();
            warnings.map(|warning| warning.code).collect()
        };
        board.set_condition(Monitored::Nats, conditions::judge_nats_version("2.9.0"));
        board.set_condition(
            Monitored::Clickhouse,
            conditions::judge_clickhouse_version("24.8.1"),
        );
        board.set(Newest::default());
        let both = [NATS_TOO_OLD, CLICKHOUSE_TOO_OLD];
        assert_eq!(codes(), both);
        board.set_condition(Monitored::Nats, conditions::judge_nats_version("2.10.0"));
        assert_eq!(codes(), both[1..]);
    }
}
