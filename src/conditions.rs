//! Conditions of the servers and of the consumer that `risksignal run`, `check`, `status` and the
//! live page report alike. Each rule is defined only here; those of storages are in
//! [`crate::capacity`].

use async_nats::jetstream::consumer::Info;
use store::Store;
use time::format_description::well_known::Rfc3339;

use crate::capacity::warning::{CLICKHOUSE_TOO_OLD, CONSUMER_PAUSED, NATS_TOO_OLD};
use crate::capacity::{Board, Monitored, Warning};

/// Major and minor number of a release.
type Release = (u32, u32);

/// Oldest supported nats-server. 2.10 introduced the metadata of a stream, by which the daemon
/// recognizes the streams that it may purge:
/// <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-33.md>.
pub const NATS_MIN: Release = (2, 10);
/// Oldest supported ClickHouse, a release with long-term support. The README names it, and
/// `infra/local/fetch.py` accepts no older one.
pub const CLICKHOUSE_MIN: Release = (25, 3);

/// Judges the version of nats-server, such as `2.15.1`.
pub fn judge_nats_version(version: &str) -> Option<Warning> {
    too_old(NATS_TOO_OLD, "nats-server", version, NATS_MIN)
}

/// Judges the version of ClickHouse, such as `26.7.3.1`.
pub fn judge_clickhouse_version(version: &str) -> Option<Warning> {
    too_old(CLICKHOUSE_TOO_OLD, "ClickHouse", version, CLICKHOUSE_MIN)
}

/// Queries ClickHouse's version and judges it. Keeps the known condition if ClickHouse does not
/// answer.
pub async fn check_clickhouse_version(store: &Store, board: &Board) {
    if let Ok(version) = store.version().await {
        board.set_condition(Monitored::Clickhouse, judge_clickhouse_version(&version));
    }
}

/// Judges the daemon's consumer of a stream.
pub fn judge_consumer(stream: &str, info: &Info) -> Option<Warning> {
    if !info.paused {
        return None;
    }
    let name = &info.name;
    let until = info.config.pause_until;
    // Whole seconds are enough for people.
    let until = until.and_then(|until| until.replace_nanosecond(0).ok());
    let until = until.and_then(|until| until.format(&Rfc3339).ok());
    let until = until.map_or_else(String::new, |until| format!(" until {until}"));
    Some(Warning {
        code: CONSUMER_PAUSED.to_owned(),
        name: name.clone(),
        text: format!(
            "consumer {name} of stream {stream} is paused{until} and delivers nothing, so signals wait in JetStream"
        ),
        remedy: format!("resume it (nats consumer resume {stream} {name})"),
    })
}

fn too_old(code: &str, name: &str, version: &str, min: Release) -> Option<Warning> {
    let (major, minor) = min;
    is_older(version, min).then(|| Warning {
        code: code.to_owned(),
        name: name.to_owned(),
        text: format!(
            "{name} {version} is older than {major}.{minor}, the oldest release that risksignal works with"
        ),
        remedy: format!("upgrade {name} to {major}.{minor} or later"),
    })
}

/// Compares a version as numbers. An unreadable version does not count as older.
fn is_older(version: &str, min: Release) -> bool {
    let mut numbers = version.split('.').map_while(|number| number.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) < min,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        for (version, is_too_old) in [
            ("2.9.25", true),
            ("2.10.0", false),
            ("2.10.0-beta.1", false),
            ("2.15.1", false),
            ("1.4.1", true),
            ("3.0.0", false),
            ("", false),
            ("head", false),
        ] {
            assert_eq!(
                judge_nats_version(version).is_some(),
                is_too_old,
                "{version}"
            );
        }
        for (version, is_too_old) in [
            ("25.3.1.1", false),
            ("25.2.9.9", true),
            ("26.1.1.1", false),
            ("9.9", true),
            ("head", false),
        ] {
            assert_eq!(
                judge_clickhouse_version(version).is_some(),
                is_too_old,
                "{version}"
            );
        }
    }

    #[test]
    fn a_condition_names_the_server_the_bound_and_the_remedy() {
        let warning = judge_nats_version("2.9.25").unwrap();
        assert_eq!(
            (warning.code.as_str(), warning.name.as_str()),
            (NATS_TOO_OLD, "nats-server")
        );
        assert!(
            warning
                .text
                .starts_with("nats-server 2.9.25 is older than 2.10"),
            "{warning:?}"
        );
        assert_eq!(warning.remedy, "upgrade nats-server to 2.10 or later");
        assert!(warning.is_fault());
    }

    /// Compares the minimum releases of the local stack with those of the daemon.
    #[test]
    fn the_local_stack_asks_for_the_same_releases() {
        let fetch = concat!(env!("CARGO_MANIFEST_DIR"), "/infra/local/fetch.py");
        let fetch = std::fs::read_to_string(fetch).unwrap();
        for (name, (major, minor)) in [
            ("NATS_MINIMUM", NATS_MIN),
            ("CLICKHOUSE_MINIMUM", CLICKHOUSE_MIN),
        ] {
            let line = format!("{name} = ({major}, {minor})\n");
            assert!(fetch.contains(&line), "{line}");
        }
    }
}
