//! `risksignal check`: checks everything that the daemon needs. Changes nothing.
//!
//! Each finding comes from its own trial, with the daemon's code and settings wherever a trial
//! leaves no trace.

mod clickhouse;
mod nats;
mod needs;
mod report;
mod room;
mod window;

use net::http::lookup;
use option_kit::{Faults, ListenAddress};
use wallets::Redis;

use crate::command::exit;
use crate::settings::Settings;

use report::{Area, CheckReport};

const RETIRED_REMEDY: &str = "remove it from the source that the text names";

/// Prints the findings, and returns the exit status: 0, or 1 if there is a fault.
pub async fn check(is_json: bool, settings: &Settings) -> u8 {
    let mut report = with_sound_settings(is_json, settings);
    listeners(settings, &mut report).await;
    nats::check(settings, &mut report).await;
    clickhouse::check(settings, &mut report).await;
    cache(settings, &mut report).await;
    report.end()
}

/// Reports settings without a fault, and returns the exit status.
pub fn sound_settings(is_json: bool, settings: &Settings) -> u8 {
    with_sound_settings(is_json, settings).end()
}

fn with_sound_settings(is_json: bool, settings: &Settings) -> CheckReport {
    let mut report = CheckReport::new(is_json);
    report.ok(Area::Settings, "settings_sound", "no faults");
    for setting in settings.retired() {
        report.warn(Area::Settings, "settings_retired", setting, RETIRED_REMEDY);
    }
    report
}

/// Prints the faults of the settings, for programs, and returns the exit status.
pub fn faulty_settings(faults: &Faults) -> u8 {
    let mut report = CheckReport::new(true);
    for fault in &faults.0 {
        report.error(
            Area::Settings,
            "settings_faulty",
            &fault.message,
            "correct the setting at the source that the text names",
        );
    }
    report.end_with(exit::CONFIG)
}

/// Looks up the hosts that the daemon listens on.
async fn listeners(settings: &Settings, report: &mut CheckReport) {
    const REMEDY: &str = "check the host's name in DNS and /etc/hosts, or set an IP address";
    let all = [
        ("ops.listen", &settings.ops.listen),
        ("serve.listen", &settings.serve.listen),
    ];
    for (key, listen) in all {
        if let Some(host @ ListenAddress::Host(..)) = listen {
            match lookup(key, host).await {
                Ok(address) => {
                    let text = format!("{key} is {host}, {address}");
                    report.ok(Area::Settings, "listen_host_found", text);
                }
                Err(error) => report.error(Area::Settings, "listen_host_unknown", error, REMEDY),
            }
        }
    }
}

/// Checks the cache, if one is set.
async fn cache(settings: &Settings, report: &mut CheckReport) {
    const REMEDY: &str = "check cache.url, cache.user and cache.password, and Redis itself";
    match Redis::new(&settings.cache) {
        Ok(None) => {}
        Ok(Some(redis)) => match redis.version().await {
            Ok(version) => {
                let text = format!("{}, Redis {version}", redis.url());
                report.ok(Area::Cache, "cache_connected", text);
            }
            Err(error) => report.error(Area::Cache, "cache_unusable", error, REMEDY),
        },
        Err(error) => report.error(Area::Cache, "cache_unusable", error, REMEDY),
    }
}
