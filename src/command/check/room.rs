//! Room in everything that the daemon and its publishers write to.

use async_nats::jetstream::Context;

use super::{Report, print};
use crate::capacity::{Kind, Meter, NatsHealth, Refusals, Storage, of_history, of_storage};
use crate::retention::{self, History, plan};
use crate::settings::Settings;
use crate::store::Store;

/// The streams, their account, the health of nats-server, and committed history.
pub(super) async fn nats(context: &Context, settings: &Settings, report: &mut Report) {
    let health = match NatsHealth::new(&settings.nats) {
        Ok(health) => health,
        Err(error) => return report.warn("storage", error),
    };
    let mut meter = Meter::default();
    let refusals = Refusals::default();
    let measured = meter
        .nats(context, settings, &refusals, health.as_ref())
        .await;
    measured
        .storages
        .iter()
        .for_each(|storage| tell(storage, report));
    let Some(info) = &measured.signals else {
        return;
    };
    let (policy, bounds) = plan::policy(&info.config, settings.stream.keep, measured.limit);
    let mut history = History {
        policy,
        ..History::default()
    };
    if let Some(bounds) = bounds {
        match retention::consumers(context, settings, info).await {
            Ok(holders) => history.holders = holders,
            Err(error) => report.warn("history", error),
        }
        let holders = history.holders.iter_mut();
        holders.for_each(|holder| holder.judge(bounds));
    }
    let mut storages = measured.storages.iter();
    let signals = storages.find(|storage| storage.kind == Kind::Signals);
    for warning in of_history(&settings.stream.name, &history, signals) {
        report.warn("history", format!("{}: {}", warning.text, warning.remedy));
    }
}

/// ClickHouse's disk.
pub(super) async fn clickhouse(store: &Store, report: &mut Report) {
    match Meter::default().clickhouse(store).await {
        Ok(storage) => tell(&storage, report),
        Err(error) => report.warn("storage", error),
    }
}

fn tell(storage: &Storage, report: &mut Report) {
    match of_storage(storage) {
        Some(warning) => {
            let words = storage.refusal.iter().map(|words| format!(" ({words})"));
            let words: String = words.collect();
            report.warn("storage", format!("{storage}{words}: {}", warning.remedy));
        }
        None => print("storage", "ok", storage),
    }
}
