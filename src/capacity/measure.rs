//! Measures every storage. A meter computes the growth between its measurements.

use std::collections::BTreeMap;

use async_nats::jetstream::Context;
use async_nats::jetstream::account::Account;
use async_nats::jetstream::stream::{DiscardPolicy, Info, StorageType};
use jetstream::topology;
use store::{Store, StoreError};
use tokio::time::Instant;
use tracing::debug;

use crate::capacity::log_lines::USAGE_UNKNOWN;
use crate::retention::plan;
use crate::settings::Settings;

use super::fullness::{Fullness, Level, Trend, average};
use super::nats_health::{NatsHealth, Unhealthy};
use super::{MessageCount, PublishRefusals, StorageFill, StorageKind};

const FILE: &str = "account (file)";
const MEMORY: &str = "account (memory)";
/// Name for all streams of the account besides the stream of signals.
const OTHERS: &str = "account (other streams)";

/// Every storage at one time.
#[derive(Debug, Default)]
pub struct Measured {
    /// Measured storages.
    pub storages: Vec<StorageFill>,
    /// Present streams.
    pub streams: Vec<Info>,
    /// The account.
    pub account: Option<Account>,
    /// The stream of signals.
    pub signals: Option<Info>,
    /// Bytes at which the stream of signals or its account rejects more.
    pub limit: Option<u64>,
    /// Storages that could not be measured.
    pub unmeasured: Vec<StorageKind>,
}

impl Measured {
    /// Adopts the last known state of each unmeasured storage: an outage is no sign of new room.
    pub fn keep(&mut self, before: &[StorageFill]) {
        let is_unmeasured = |kind| self.unmeasured.contains(&kind);
        // The account also affects the stream of signals.
        let is_kept = |storage: &&StorageFill| {
            is_unmeasured(storage.kind)
                || storage.kind == StorageKind::Signals && is_unmeasured(StorageKind::Account)
        };
        for known in before.iter().filter(is_kept) {
            self.storages.retain(|storage| storage.name != known.name);
            self.storages.push(known.clone());
        }
    }
}

/// Measures, and remembers earlier measurements.
pub struct Meter {
    started: Instant,
    trends: BTreeMap<String, Trend>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            trends: BTreeMap::new(),
        }
    }
}

impl Meter {
    /// Measures the streams, their account, and the health of NATS if it is monitored.
    pub async fn nats(
        &mut self,
        context: &Context,
        settings: &Settings,
        refusals: &PublishRefusals,
        health: Option<&NatsHealth>,
    ) -> Measured {
        let mut measured = Measured::default();
        for (kind, name) in [
            (StorageKind::Signals, settings.stream.name.clone()),
            (StorageKind::DeadLetters, settings.dead_letters.name.clone()),
            (StorageKind::Claims, settings.claims_log()),
        ] {
            let info = match topology::find_stream(context, &name).await {
                Ok(Some(info)) => info,
                Ok(None) => continue,
                Err(error) => {
                    debug!(%error, "The stream was not measured");
                    measured.unmeasured.push(kind);
                    continue;
                }
            };
            let (used, limit) = (info.state.bytes, refuses_at(&info));
            let messages = messages(&info);
            let fullness = Fullness::judge(used, limit, self.growth_of(&info));
            measured.storages.push(StorageFill {
                kind,
                fullness: with_count(fullness, messages),
                messages,
                refusal: match kind {
                    StorageKind::Signals => refusals.get_recent(&name),
                    _ => refusals.get(&name),
                },
                name,
            });
            if kind == StorageKind::Signals {
                measured.limit = limit;
                measured.signals = Some(info.clone());
            }
            measured.streams.push(info);
        }
        self.account(context, settings, &mut measured).await;
        if let Some(health) = health {
            measured.storages.push(measure_health(health).await);
        }
        measured
    }

    /// Measures only the stream of signals, for a process that may read nothing else. The bound of
    /// its account shows only in rejected publishes.
    pub fn signals(
        &mut self,
        info: &Info,
        settings: &Settings,
        refusals: &PublishRefusals,
    ) -> StorageFill {
        let limit = refuses_at(info);
        let growth = self.growth_of(info);
        let growth = growth.filter(|_| !is_calm(info, settings, limit));
        let messages = messages(info);
        StorageFill {
            kind: StorageKind::Signals,
            name: info.config.name.clone(),
            fullness: with_count(Fullness::judge(info.state.bytes, limit, growth), messages),
            messages,
            refusal: refusals.get_recent(&info.config.name),
        }
    }

    /// Measures the account, and the stream of signals within the account.
    async fn account(&mut self, context: &Context, settings: &Settings, measured: &mut Measured) {
        let account = match context.query_account().await {
            Ok(account) => account,
            Err(error) => {
                debug!(%error, "{USAGE_UNKNOWN}");
                measured.unmeasured.push(StorageKind::Account);
                return;
            }
        };
        let signals = measured.signals.clone();
        let limits = &account.limits;
        for (storage, name, used, limit) in [
            (StorageType::File, FILE, account.storage, limits.max_storage),
            (
                StorageType::Memory,
                MEMORY,
                account.memory,
                limits.max_memory,
            ),
        ] {
            let limit = limit.and_then(|limit| u64::try_from(limit).ok());
            let limit = limit.filter(|limit| *limit > 0);
            let all = self.growth(name, used);
            let mut growth = all;
            if let Some(info) = signals
                .as_ref()
                .filter(|info| info.config.storage == storage)
            {
                measured.limit = [measured.limit, limit].into_iter().flatten().min();
                growth = all.or_else(|| self.growth_of(info));
                let others = used.saturating_sub(info.state.bytes);
                let others = self.growth(OTHERS, others);
                if is_calm(info, settings, measured.limit) {
                    growth = others;
                }
                let stream_limit = refuses_at(info).or(limit);
                set_signals(measured, info, settings, used, stream_limit, growth);
            }
            measured.storages.push(StorageFill {
                kind: StorageKind::Account,
                name: name.to_owned(),
                fullness: Fullness::judge(used, limit, growth),
                messages: None,
                refusal: None,
            });
        }
        measured.account = Some(account);
    }

    /// Measures ClickHouse's disk.
    ///
    /// # Errors
    /// Fails when ClickHouse does not answer.
    pub async fn clickhouse(&mut self, store: &Store) -> Result<StorageFill, StoreError> {
        const NAME: &str = "ClickHouse's disk";
        let (used, capacity) = store.disk().await?;
        Ok(StorageFill {
            kind: StorageKind::Clickhouse,
            name: NAME.to_owned(),
            fullness: Fullness::judge(used, Some(capacity), self.growth(NAME, used)),
            messages: None,
            refusal: None,
        })
    }

    /// Returns the growth between measurements, or that of the stream's messages while there are
    /// too few.
    fn growth_of(&mut self, info: &Info) -> Option<f64> {
        let state = &info.state;
        let lifetime = (state.last_timestamp - state.first_timestamp).unsigned_abs();
        self.growth(&info.config.name, state.bytes)
            .or_else(|| average(state.bytes, lifetime))
    }

    fn growth(&mut self, name: &str, used_bytes: u64) -> Option<f64> {
        let trend = self.trends.entry(name.to_owned()).or_default();
        trend.push(self.started.elapsed(), used_bytes);
        trend.growth()
    }
}

/// Reports whether the stream of signals grows only up to the bound at which its history is purged.
fn is_calm(info: &Info, settings: &Settings, limit: Option<u64>) -> bool {
    let (_, bounds) = plan::policy(&info.config, settings.stream.keep, limit);
    bounds.is_some_and(|bounds| plan::excess(info.state.bytes, bounds.bytes) == 0)
}

/// Sets the time until the stream of signals is full, by its own bound or its account's. There is
/// none while the stream grows only up to the bound of its history.
fn set_signals(
    measured: &mut Measured,
    info: &Info,
    settings: &Settings,
    account_used: u64,
    limit: Option<u64>,
    growth: Option<f64>,
) {
    let is_calm = is_calm(info, settings, measured.limit);
    let signals = measured.storages.iter_mut();
    let Some(signals) = signals
        .into_iter()
        .find(|it| it.kind == StorageKind::Signals)
    else {
        return;
    };
    let used = match signals.fullness.limit_bytes {
        Some(_) => info.state.bytes,
        None => account_used,
    };
    let growth = growth.filter(|_| !is_calm);
    let judged = Fullness::judge(used, limit, growth);
    let fullness = Fullness {
        seconds_until_full: judged.seconds_until_full,
        level: judged.level,
        ..signals.fullness
    };
    signals.fullness = with_count(fullness, signals.messages);
}

/// Returns the size at which a stream rejects more; JetStream writes -1 or 0 for none.
fn refuses_at(info: &Info) -> Option<u64> {
    let config = &info.config;
    let limit = u64::try_from(config.max_bytes).ok()?;
    (limit > 0 && config.discard == DiscardPolicy::New).then_some(limit)
}

/// Includes the number of messages in the urgency.
fn with_count(fullness: Fullness, messages: Option<MessageCount>) -> Fullness {
    let level = messages.map_or(Level::Ok, MessageCount::level);
    Fullness {
        level: fullness.level.max(level),
        ..fullness
    }
}

/// Returns the messages of a stream with a bound on their number; JetStream writes -1 or 0 for
/// none.
fn messages(info: &Info) -> Option<MessageCount> {
    let config = &info.config;
    let limit = u64::try_from(config.max_messages).ok()?;
    let count = info.state.messages;
    (limit > 0 && config.discard == DiscardPolicy::New).then_some(MessageCount { count, limit })
}

/// Measures the health of nats-server. A server without an answer may be full, or not monitored.
pub async fn measure_health(health: &NatsHealth) -> StorageFill {
    let (refusal, level) = match health.check().await {
        Ok(()) => (None, Level::Ok),
        Err(Unhealthy::Reported(words)) => (Some(words), Level::Full),
        Err(error @ Unhealthy::NotAsked { .. }) => {
            debug!(%error, "The health of nats-server is unknown");
            (None, Level::Filling)
        }
    };
    let fullness = Fullness {
        level,
        ..Fullness::default()
    };
    StorageFill {
        kind: StorageKind::Nats,
        name: "nats-server".to_owned(),
        fullness,
        messages: None,
        refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(kind: StorageKind, level: Level) -> StorageFill {
        StorageFill {
            kind,
            name: format!("{kind:?}"),
            fullness: Fullness {
                level,
                ..Fullness::default()
            },
            messages: None,
            refusal: None,
        }
    }

    #[test]
    fn an_outage_is_no_sign_of_room() {
        let kinds = [
            StorageKind::Signals,
            StorageKind::Claims,
            StorageKind::Account,
            StorageKind::Clickhouse,
        ];
        let before = kinds.map(|kind| storage(kind, Level::Full));
        let levels = |unmeasured: &[StorageKind]| {
            let is_measured = |kind: &StorageKind| !unmeasured.contains(kind);
            let measured = kinds.into_iter().filter(is_measured);
            let mut measured = Measured {
                storages: measured.map(|kind| storage(kind, Level::Ok)).collect(),
                unmeasured: unmeasured.to_vec(),
                ..Measured::default()
            };
            measured.keep(&before);
            kinds.map(|kind| {
                let mut found = measured.storages.iter().filter(|one| one.kind == kind);
                let level = found.next().unwrap().level();
                assert!(found.next().is_none());
                level
            })
        };
        let (ok, full) = (Level::Ok, Level::Full);
        assert_eq!(levels(&[]), [ok; 4]);
        assert_eq!(levels(&kinds), [full; 4]);
        assert_eq!(levels(&[StorageKind::Claims]), [ok, full, ok, ok]);
        assert_eq!(levels(&[StorageKind::Account]), [full, ok, full, ok]);
    }
}
