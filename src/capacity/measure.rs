//! Measures every storage once. A meter that is kept finds the growth between its measurements.

use std::collections::BTreeMap;

use async_nats::jetstream::Context;
use async_nats::jetstream::account::Account;
use async_nats::jetstream::stream::{DiscardPolicy, Info, StorageType};
use tokio::time::Instant;
use tracing::debug;

use super::fullness::{Fullness, Level, Trend, average};
use super::nats_health::{NatsHealth, Unhealthy};
use super::{Kind, Refusals, Storage};
use crate::jetstream::topology;
use crate::retention::plan;
use crate::settings::Settings;
use crate::store::{Store, StoreError};

const FILE: &str = "account (file)";
const MEMORY: &str = "account (memory)";
/// Name of everything in the account besides the stream of signals.
const OTHERS: &str = "account (other streams)";

/// Every storage at one moment.
#[derive(Debug, Default)]
pub struct Measured {
    /// Those that could be measured.
    pub storages: Vec<Storage>,
    /// The streams that there are.
    pub streams: Vec<Info>,
    /// The account.
    pub account: Option<Account>,
    /// The stream of signals.
    pub signals: Option<Info>,
    /// The number of bytes at which the stream of signals or its account refuses more.
    pub limit: Option<u64>,
    /// Those that could not be measured.
    pub unmeasured: Vec<Kind>,
}

impl Measured {
    /// Takes the last known state of each storage that could not be measured: an outage is no sign
    /// that there is room again.
    pub fn keep(&mut self, before: &[Storage]) {
        let is_unmeasured = |kind| self.unmeasured.contains(&kind);
        // The stream of signals is judged by its account, too.
        let is_kept = |storage: &&Storage| {
            is_unmeasured(storage.kind)
                || storage.kind == Kind::Signals && is_unmeasured(Kind::Account)
        };
        for known in before.iter().filter(is_kept) {
            self.storages.retain(|storage| storage.name != known.name);
            self.storages.push(known.clone());
        }
    }
}

/// Measures, and remembers.
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
    /// Measures the streams, their account, and NATS's own health where it can be asked.
    pub async fn nats(
        &mut self,
        context: &Context,
        settings: &Settings,
        refusals: &Refusals,
        health: Option<&NatsHealth>,
    ) -> Measured {
        let mut measured = Measured::default();
        for (kind, name) in [
            (Kind::Signals, settings.stream.name.clone()),
            (Kind::DeadLetters, settings.dead_letters.name.clone()),
            (Kind::Claims, settings.claims_log()),
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
            measured.storages.push(Storage {
                kind,
                fullness: Fullness::judge(used, limit, self.growth_of(&info)),
                refusal: refusals.of(&name),
                name,
            });
            if kind == Kind::Signals {
                measured.limit = limit;
                measured.signals = Some(info.clone());
            }
            measured.streams.push(info);
        }
        self.account(context, settings, &mut measured).await;
        if let Some(health) = health {
            measured.storages.push(health_of(health).await);
        }
        measured
    }

    /// Measures the account, and the stream of signals as a part of it.
    async fn account(&mut self, context: &Context, settings: &Settings, measured: &mut Measured) {
        let account = match context.query_account().await {
            Ok(account) => account,
            Err(error) => {
                debug!(%error, "JetStream did not report what the account uses");
                measured.unmeasured.push(Kind::Account);
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
            measured.storages.push(Storage {
                kind: Kind::Account,
                name: name.to_owned(),
                fullness: Fullness::judge(used, limit, growth),
                refusal: None,
            });
        }
        measured.account = Some(account);
    }

    /// Measures ClickHouse's disk.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn clickhouse(&mut self, store: &Store) -> Result<Storage, StoreError> {
        const NAME: &str = "ClickHouse's disk";
        let (used, capacity) = store.disk().await?;
        Ok(Storage {
            kind: Kind::Clickhouse,
            name: NAME.to_owned(),
            fullness: Fullness::judge(used, Some(capacity), self.growth(NAME, used)),
            refusal: None,
        })
    }

    /// The growth between measurements; before there are enough, that of the stream's messages.
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

/// Sets the time until the stream of signals is full: by its own bound, or its account's. While it
/// grows only up to the bound of its history there is none.
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
    let Some(signals) = signals.into_iter().find(|it| it.kind == Kind::Signals) else {
        return;
    };
    let used = match signals.fullness.limit_bytes {
        Some(_) => info.state.bytes,
        None => account_used,
    };
    let growth = growth.filter(|_| !is_calm);
    let judged = Fullness::judge(used, limit, growth);
    signals.fullness = Fullness {
        seconds_until_full: judged.seconds_until_full,
        level: judged.level,
        ..signals.fullness
    };
}

/// The size at which a stream refuses more; JetStream writes none as -1 or 0.
fn refuses_at(info: &Info) -> Option<u64> {
    let config = &info.config;
    let limit = u64::try_from(config.max_bytes).ok()?;
    (limit > 0 && config.discard == DiscardPolicy::New).then_some(limit)
}

/// The health of nats-server. One that gives no answer may be full, or not be monitored at all.
async fn health_of(health: &NatsHealth) -> Storage {
    let (refusal, level) = match health.ask().await {
        Ok(()) => (None, Level::Ok),
        Err(Unhealthy::Reported(words)) => (Some(words), Level::Full),
        Err(error @ Unhealthy::NotAsked { .. }) => {
            debug!(%error, "The health of nats-server is not known");
            (None, Level::Filling)
        }
    };
    let fullness = Fullness {
        level,
        ..Fullness::default()
    };
    Storage {
        kind: Kind::Nats,
        name: "nats-server".to_owned(),
        fullness,
        refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(kind: Kind, level: Level) -> Storage {
        Storage {
            kind,
            name: format!("{kind:?}"),
            fullness: Fullness {
                level,
                ..Fullness::default()
            },
            refusal: None,
        }
    }

    #[test]
    fn an_outage_is_no_sign_of_room() {
        let kinds = [Kind::Signals, Kind::Claims, Kind::Account, Kind::Clickhouse];
        let before = kinds.map(|kind| storage(kind, Level::Full));
        let levels = |unmeasured: &[Kind]| {
            let is_measured = |kind: &Kind| !unmeasured.contains(kind);
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
        assert_eq!(levels(&[Kind::Claims]), [ok, full, ok, ok]);
        assert_eq!(levels(&[Kind::Account]), [full, ok, full, ok]);
    }
}
