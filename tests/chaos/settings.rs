//! Settings of every daemon of a run.

use testkit::setting;

/// Settings of claims, which a release without claims does not know.
pub const CLAIMS: [(&str, &str); 2] = [
    // Long enough for a claim of a daemon that died to be taken over, short enough for one that
    // is not to be settled.
    setting!(clickhouse.fence = "12s"),
    setting!(clickhouse.late_commit = "2s"),
];

/// Short time-outs and small batches, so that a run sees many of each.
pub const SETTINGS: [(&str, &str); 18] = [
    setting!(nats.connect_timeout = "2s"),
    setting!(nats.request_timeout = "1s"),
    setting!(consumer.ack_wait = "5s"),
    // What daemons that died still hold must not keep the others from pulling.
    setting!(consumer.max_ack_pending = "200000"),
    setting!(consumer.max_in_flight_messages = "4000"),
    setting!(consumer.fetch_messages = "1000"),
    setting!(consumer.fetch_expires = "2s"),
    setting!(clickhouse.send_timeout = "1s"),
    setting!(clickhouse.end_timeout = "2s"),
    setting!(clickhouse.retry_min = "50ms"),
    setting!(clickhouse.retry_max = "1s"),
    setting!(batch.max_rows = "2000"),
    setting!(batch.max_wait = "100ms"),
    setting!(shutdown.grace = "4s"),
    setting!(ops.listen = "off"),
    setting!(log.format = "json"),
    setting!(log.lines_per_second = "1000"),
    setting!(log.filter = "info,risksignal=debug,async_nats=warn"),
];
