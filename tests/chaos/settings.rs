//! Settings of every daemon of a run.

/// Settings of claims, which a release without claims does not know.
pub const CLAIMS: [(&str, &str); 2] = [
    // Long enough for a claim of a daemon that died to be taken over, short enough for one that
    // is not to be settled.
    ("RISKSIGNAL__CLICKHOUSE__FENCE", "12s"),
    ("RISKSIGNAL__CLICKHOUSE__LATE_COMMIT", "2s"),
];

/// Short time-outs and small batches, so that a run sees many of each.
pub const SETTINGS: [(&str, &str); 18] = [
    ("RISKSIGNAL__NATS__CONNECT_TIMEOUT", "2s"),
    ("RISKSIGNAL__NATS__REQUEST_TIMEOUT", "1s"),
    ("RISKSIGNAL__CONSUMER__ACK_WAIT", "5s"),
    // What daemons that died still hold must not keep the others from pulling.
    ("RISKSIGNAL__CONSUMER__MAX_ACK_PENDING", "200000"),
    ("RISKSIGNAL__CONSUMER__MAX_IN_FLIGHT_MESSAGES", "4000"),
    ("RISKSIGNAL__CONSUMER__FETCH_MESSAGES", "1000"),
    ("RISKSIGNAL__CONSUMER__FETCH_EXPIRES", "2s"),
    ("RISKSIGNAL__CLICKHOUSE__SEND_TIMEOUT", "1s"),
    ("RISKSIGNAL__CLICKHOUSE__END_TIMEOUT", "2s"),
    ("RISKSIGNAL__CLICKHOUSE__RETRY_MIN", "50ms"),
    ("RISKSIGNAL__CLICKHOUSE__RETRY_MAX", "1s"),
    ("RISKSIGNAL__BATCH__MAX_ROWS", "2000"),
    ("RISKSIGNAL__BATCH__MAX_WAIT", "100ms"),
    ("RISKSIGNAL__SHUTDOWN__GRACE", "4s"),
    ("RISKSIGNAL__OPS__LISTEN", "off"),
    ("RISKSIGNAL__LOG__FORMAT", "json"),
    ("RISKSIGNAL__LOG__LINES_PER_SECOND", "1000"),
    (
        "RISKSIGNAL__LOG__FILTER",
        "info,risksignal=debug,async_nats=warn",
    ),
];
