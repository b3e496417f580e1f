//! Free space of everything that the daemon and its publishers write to.

use async_nats::jetstream::Context;
use store::Store;

use crate::capacity::{
    Meter, NatsHealth, PublishRefusals, StorageFill, StorageKind, for_drops, for_history,
    for_storage,
};
use crate::retention::{self, RetentionState, plan};
use crate::settings::Settings;

use super::report::{Area, CheckReport};

/// Checks the streams, their account, the health of nats-server, and committed history. Returns
/// true if the daemon purges history.
pub(super) async fn nats(context: &Context, settings: &Settings, report: &mut CheckReport) -> bool {
    let health = match NatsHealth::new(&settings.nats) {
        Ok(health) => health,
        Err(error) => {
            let remedy = "correct nats.ca_file, nats.cert_file and nats.key_file";
            report.error(Area::Storage, "nats_monitoring_tls", error, remedy);
            None
        }
    };
    if health.is_none() {
        let text = "the disk of nats-server is not monitored, since nats.monitoring_url is not set: nats-server reports a full disk to no client";
        let remedy = "set nats.monitoring_url, such as http://127.0.0.1:8222 (http_port in nats-server's configuration)";
        report.warn(Area::Storage, "nats_disk_unwatched", text, remedy);
    }
    let mut meter = Meter::default();
    let refusals = PublishRefusals::default();
    let measured = meter
        .nats(context, settings, &refusals, health.as_ref())
        .await;
    for storage in &measured.storages {
        report_storage(storage, report);
    }
    let streams = measured.streams.iter();
    for warning in streams.filter_map(|info| for_drops(&info.config)) {
        report.warning(Area::Storage, &warning, None);
    }
    for kind in &measured.unmeasured {
        let text = format!("JetStream did not report the fullness of {}", kind.name());
        let remedy =
            "check the permissions of nats.user (infra/nats/least-privilege.conf), and nats-server";
        report.warn(Area::Storage, "storage_not_measured", text, remedy);
    }
    let Some(info) = &measured.signals else {
        return false;
    };
    let (policy, bounds) = plan::policy(&info.config, settings.stream.keep, measured.limit);
    let mut history = RetentionState {
        policy,
        ..RetentionState::default()
    };
    if let Some(bounds) = bounds {
        match retention::consumers(context, settings, info).await {
            Ok(holders) => history.holders = holders,
            Err(error) => {
                let remedy = "check the permissions of nats.user";
                report.warn(Area::History, "history_unknown", error, remedy);
            }
        }
        let holders = history.holders.iter_mut();
        holders.for_each(|holder| holder.judge(bounds));
    }
    let mut storages = measured.storages.iter();
    let signals = storages.find(|storage| storage.kind == StorageKind::Signals);
    for warning in for_history(&settings.stream.name, &history, signals) {
        report.warning(Area::History, &warning, None);
    }
    bounds.is_some()
}

/// Checks ClickHouse's disk.
pub(super) async fn clickhouse(store: &Store, report: &mut CheckReport) {
    match Meter::default().clickhouse(store).await {
        Ok(storage) => report_storage(&storage, report),
        Err(error) => {
            let remedy = "check the state of ClickHouse";
            report.warn(Area::Storage, "storage_not_measured", error, remedy);
        }
    }
}

fn report_storage(storage: &StorageFill, report: &mut CheckReport) {
    match for_storage(storage) {
        Some(warning) => report.warning(Area::Storage, &warning, storage.refusal.as_deref()),
        None => report.ok(Area::Storage, "storage_has_room", storage),
    }
}
