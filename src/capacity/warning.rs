//! Warnings of what will stop ingest, or publishers, if nobody acts.

use serde::{Deserialize, Serialize};

use super::fullness::Level;
use super::{Kind, Storage, time};
use crate::retention::History;
use crate::retention::plan::Policy;

/// Code of the warning that a purge failed.
pub(super) const NOT_PURGED: &str = "history_not_purged";

/// Something to act on, in our own words: it may be shown to anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Its kind, for programs.
    pub code: String,
    /// The storage, the consumer or the stream.
    pub name: String,
    /// The finding.
    pub text: String,
    /// The action to take.
    pub remedy: String,
}

impl Warning {
    /// Reports whether both are about the same thing, with whatever figures.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.code, &self.name) == (&other.code, &other.name)
    }
}

/// The warning of a storage, where its state calls for one.
pub fn of_storage(storage: &Storage) -> Option<Warning> {
    let code = match (storage.kind, storage.level()) {
        (_, Level::Ok) => return None,
        (Kind::Nats, Level::Filling) => "nats_not_monitored",
        (Kind::Nats, Level::Full) => "nats_unhealthy",
        (_, Level::Filling) => "storage_filling",
        (_, Level::Full) => "storage_full",
    };
    let name = &storage.name;
    let remedy = match storage.kind {
        Kind::Signals => {
            "set or lower stream.keep, or raise the stream's max_bytes (nats stream edit); see risksignal status for consumers that hold history back".to_owned()
        }
        Kind::DeadLetters => format!(
            "replay or purge dead letters (risksignal dead-letters), or raise max_bytes of {name} (nats stream edit); signals that cannot land wait until then"
        ),
        Kind::Claims => {
            "make room in the NATS account and on its disk; nothing is inserted until the claims log takes records".to_owned()
        }
        Kind::Account => {
            "raise the account's max_file or max_memory in nats-server's configuration, or bound what fills it (stream.keep, max_age)".to_owned()
        }
        Kind::Nats if storage.level() == Level::Filling => {
            "look at nats.monitoring_url, and at http_port in nats-server's configuration".to_owned()
        }
        Kind::Nats => {
            "make room on the disk of nats-server, then restart nats-server: a stream that met a full disk takes nothing until then".to_owned()
        }
        Kind::Clickhouse => {
            "make room on ClickHouse's disk: shorten clickhouse.retention, drop old partitions, or enlarge the disk".to_owned()
        }
    };
    Some(Warning {
        code: code.to_owned(),
        name: name.clone(),
        text: storage.to_string(),
        remedy,
    })
}

/// The warnings of committed history of a stream.
pub fn of_history(stream: &str, history: &History, signals: Option<&Storage>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if history.policy == Policy::NotSet {
        let until = signals.and_then(|signals| signals.fullness.seconds_until_full);
        let until = until.map_or_else(
            || "it grows without a bound".to_owned(),
            |seconds| format!("at the present rate it is full in {}", time(seconds)),
        );
        warnings.push(Warning {
            code: "history_never_purged".to_owned(),
            name: stream.to_owned(),
            text: format!(
                "committed history of stream {stream} is never purged, since this release did not create the stream and stream.keep is not set; {until}"
            ),
            remedy: "set stream.keep, such as \"7days, 8GiB\", or all to keep everything".to_owned(),
        });
    }
    for holder in history.holding_back() {
        warnings.push(Warning {
            code: "history_held".to_owned(),
            name: holder.name.clone(),
            text: format!(
                "{} holds back committed history of stream {stream} from sequence {} on: {}, the oldest {} old",
                holder.name,
                holder.floor.saturating_add(1),
                bytesize::ByteSize(holder.bytes),
                time(holder.age_seconds)
            ),
            remedy: format!(
                "start what reads it, or remove it if nothing needs it any more: {}",
                holder.command(stream)
            ),
        });
    }
    if history.fault.is_some() {
        warnings.push(Warning {
            code: NOT_PURGED.to_owned(),
            name: stream.to_owned(),
            text: format!("committed history of stream {stream} could not be purged"),
            remedy: "risksignal status and the log have the reason; look at the permissions of nats.user".to_owned(),
        });
    }
    warnings
}
