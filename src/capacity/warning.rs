//! Warnings of states that will stop ingest or publishers unless an operator acts.

use std::ops::RangeInclusive;

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use serde::{Deserialize, Serialize};

use super::fullness::Level;
use super::{StorageFill, StorageKind, time};
use crate::retention::RetentionState;
use crate::retention::plan::Policy;

/// Code of the warning of a failed purge.
pub(super) const NOT_PURGED: &str = "history_not_purged";
/// Code of the condition of a too old nats-server.
pub const NATS_TOO_OLD: &str = "nats_too_old";
/// Code of the condition of a too old ClickHouse.
pub const CLICKHOUSE_TOO_OLD: &str = "clickhouse_too_old";
/// Code of the condition of a paused consumer.
pub const CONSUMER_PAUSED: &str = "consumer_paused";
const STORAGE_FULL: &str = "storage_full";
const NATS_UNHEALTHY: &str = "nats_unhealthy";
/// Codes of states that stop ingest or publishers now. Other states may do so later.
const FAULTS: [&str; 5] = [
    STORAGE_FULL,
    NATS_UNHEALTHY,
    NATS_TOO_OLD,
    CLICKHOUSE_TOO_OLD,
    CONSUMER_PAUSED,
];

/// A state to act on, in words that anyone may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Kind, for programs.
    pub code: String,
    /// The storage, the consumer or the stream.
    pub name: String,
    /// The finding.
    pub text: String,
    /// The action to take.
    pub remedy: String,
}

impl Warning {
    /// Reports whether both have the same subject, with any figures.
    pub fn has_same_subject(&self, other: &Self) -> bool {
        (&self.code, &self.name) == (&other.code, &other.name)
    }

    /// Reports whether ingest or publishers have stopped for this reason, or the server is too old.
    /// `risksignal check` counts that as a fault.
    pub fn is_fault(&self) -> bool {
        FAULTS.contains(&self.code.as_str())
    }
}

/// Returns the warning of a storage, if its state requires one.
pub fn for_storage(storage: &StorageFill) -> Option<Warning> {
    let code = match (storage.kind, storage.level()) {
        (_, Level::Ok) => return None,
        (StorageKind::Nats, Level::Filling) => "nats_not_monitored",
        (StorageKind::Nats, Level::Full) => NATS_UNHEALTHY,
        (_, Level::Filling) => "storage_filling",
        (_, Level::Full) => STORAGE_FULL,
    };
    let name = &storage.name;
    let remedy = match storage.kind {
        StorageKind::Signals => {
            "set or lower stream.keep, or raise the stream's max_bytes or max_msgs (nats stream edit); see risksignal status for consumers that hold history back".to_owned()
        }
        StorageKind::DeadLetters => format!(
            "replay or purge dead letters (risksignal dead-letters), or raise max_bytes or max_msgs of {name} (nats stream edit); messages that need a dead letter wait until then"
        ),
        StorageKind::Claims => {
            "make room in the NATS account and on its disk; nothing is inserted until the claims log accepts records".to_owned()
        }
        StorageKind::Account => {
            "raise the account's max_file or max_memory in nats-server's configuration, or bound what fills it (stream.keep, max_age)".to_owned()
        }
        StorageKind::Nats if storage.level() == Level::Filling => {
            "check nats.monitoring_url, and http_port in nats-server's configuration".to_owned()
        }
        StorageKind::Nats => {
            "make room on the disk of nats-server, then restart nats-server: a stream that met a full disk accepts nothing until then".to_owned()
        }
        StorageKind::Clickhouse => {
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

/// Returns the warning of a stream that drops its oldest messages at a bound (`discard: old`), also
/// those that are not committed. The daemon creates its streams with `discard: new`. The age is an
/// operator's own bound (`stream.max_age`).
pub fn for_drops(config: &Config) -> Option<Warning> {
    let bounds = [
        ("max_bytes", config.max_bytes),
        ("max_msgs", config.max_messages),
        ("max_msgs_per_subject", config.max_messages_per_subject),
    ];
    let bounds = bounds.into_iter().filter(|(_, bound)| *bound > 0);
    let bounds: Vec<&str> = bounds.map(|(name, _)| name).collect();
    if config.discard != DiscardPolicy::Old || bounds.is_empty() {
        return None;
    }
    let name = &config.name;
    Some(Warning {
        code: "stream_drops".to_owned(),
        name: name.clone(),
        text: format!(
            "stream {name} drops its oldest messages at its {}, committed or not; publishers get no error",
            bounds.join(", ")
        ),
        remedy: format!(
            "let it reject new messages instead (nats stream edit {name} --discard=new)"
        ),
    })
}

/// Returns the warning of messages that left a stream before they were committed.
pub fn for_expired(stream: &str, count: u64, newest: &RangeInclusive<u64>) -> Warning {
    Warning {
        code: "messages_lost".to_owned(),
        name: stream.to_owned(),
        text: format!(
            "{count} messages left stream {stream} before they were committed, the newest at sequences {} to {}: by its max_age, at one of its bounds, or by hand",
            newest.start(),
            newest.end()
        ),
        remedy: format!(
            "ask the application to send them again, and keep the max_age of {stream} well above the longest outage (nats stream edit {stream} --max-age)"
        ),
    }
}

/// Returns the warnings of a stream's committed history.
pub fn for_history(
    stream: &str,
    history: &RetentionState,
    signals: Option<&StorageFill>,
) -> Vec<Warning> {
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
                "start its reader, or remove it if nothing needs it any more: {}",
                holder.command(stream)
            ),
        });
    }
    if history.fault.is_some() {
        warnings.push(Warning {
            code: NOT_PURGED.to_owned(),
            name: stream.to_owned(),
            text: format!("committed history of stream {stream} could not be purged"),
            remedy:
                "risksignal status and the log have the reason; check the permissions of nats.user"
                    .to_owned(),
        });
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bounded_stream_that_discards_old_messages_drops_them() {
        let config = Config {
            name: "SIGNALS".to_owned(),
            discard: DiscardPolicy::Old,
            max_bytes: -1,
            max_messages: 1_000,
            ..Config::default()
        };
        let warning = for_drops(&config).unwrap();
        assert!(
            warning.text.contains("at its max_msgs, committed"),
            "{warning:?}"
        );
        assert!(!warning.is_fault());
        for harmless in [
            Config {
                discard: DiscardPolicy::New,
                ..config.clone()
            },
            Config {
                max_messages: -1,
                ..config
            },
        ] {
            assert_eq!(for_drops(&harmless), None);
        }
    }
}
