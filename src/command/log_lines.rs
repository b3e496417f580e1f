//! Log lines that tests and people wait for.

#![allow(missing_docs)] // A line says itself what it is for.

pub const PUBLISHED: &str = "Published signal";
pub const CLAIMS_LOG_NOT_READY: &str = "The claims log is not ready; pulling starts once it is";
pub const CLICKHOUSE_WRONG: &str =
    "ClickHouse schema or access is wrong; pulling starts once it is corrected";
pub const JETSTREAM_WRONG: &str =
    "JetStream streams or consumer are wrong; pulling starts once they are corrected";
pub const STARTING: &str = "Starting signals consumer";
pub const STOPPED: &str = "Stopped; all held messages are committed and acked";
pub const NEWER_TABLE: &str =
    "A newer release has migrated the table; this release continues while the table fits";
pub const CLICKHOUSE_NOT_READY: &str = "ClickHouse is not ready";
pub const RETIRED_SETTING: &str = "A retired setting is set";
pub const NATS_NOT_READY: &str = "NATS is not ready";
pub const VIEW_REPEATS: &str = "A materialized view repeats rows of a repeated insert";
pub const PUBLISHING: &str = "Publishing to JetStream";
