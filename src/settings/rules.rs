//! What settings must keep towards each other. Pure.

use std::time::Duration;

use super::Settings;

/// What must hold between some settings.
pub(super) struct Rule {
    /// The settings' keys. The first two are shown with their values, and the first one is the
    /// one to look at first; `words` names the others.
    pub keys: &'static [&'static str],
    holds: fn(&Settings) -> bool,
    /// The same in words.
    pub words: &'static str,
}

/// Every rule that is broken.
pub(super) fn broken(settings: &Settings) -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(|rule| !(rule.holds)(settings))
}

const HTTPS_ONLY: &str = "it takes part in https only; with http everything is sent in plain text";
const REDISS_ONLY: &str =
    "it takes part in rediss only; with redis everything is sent in plain text";
const ONE_LOGIN: &str = "only one of them may be set";

/// Migration 5 has it, too.
const FENCE_MAX: Duration = Duration::from_secs(3600);
/// ClickHouse holds a table's tokens in memory.
const TOKENS_MAX: u64 = 1_000_000;

const RULES: &[Rule] = &[
    Rule {
        keys: &["batch.max_rows", "consumer.max_in_flight_messages"],
        holds: |s| s.batch.max_rows <= s.consumer.max_in_flight_messages,
        words: "a full batch must fit into the messages held at once",
    },
    Rule {
        keys: &["batch.max_bytes", "consumer.max_in_flight_bytes"],
        holds: |s| s.batch.max_bytes <= s.consumer.max_in_flight_bytes,
        words: "a full batch must fit into the bytes held at once",
    },
    Rule {
        keys: &[
            "consumer.max_in_flight_messages",
            "consumer.max_ack_pending",
        ],
        holds: |s| s.consumer.max_in_flight_messages <= s.consumer.max_ack_pending,
        words: "JetStream must allow as many unacked messages as one instance holds",
    },
    Rule {
        keys: &[
            "consumer.fetch_messages",
            "consumer.max_in_flight_messages",
            "consumer.pulls",
        ],
        holds: |s| {
            s.consumer.fetch_messages.saturating_mul(s.consumer.pulls)
                <= s.consumer.max_in_flight_messages
        },
        words: "all pulls (consumer.pulls) together must fit into the messages held at once",
    },
    Rule {
        keys: &[
            "consumer.fetch_bytes",
            "consumer.max_in_flight_bytes",
            "consumer.pulls",
        ],
        holds: |s| {
            s.consumer.fetch_bytes.saturating_mul(s.consumer.pulls)
                <= s.consumer.max_in_flight_bytes
        },
        words: "all pulls (consumer.pulls) together must fit into the bytes held at once",
    },
    Rule {
        keys: &["clickhouse.fence", "clickhouse.late_commit"],
        holds: |s| s.clickhouse.fence + s.clickhouse.late_commit <= FENCE_MAX,
        words: "together they are an hour at most, since the table refuses a fence that is further ahead",
    },
    Rule {
        keys: &[
            "batch.max_inserts_per_second",
            "clickhouse.fence",
            "clickhouse.late_commit",
        ],
        holds: |s| s.tokens_needed() <= TOKENS_MAX,
        words: "twice their product (with clickhouse.late_commit added to the fence) is the number of deduplication tokens that the table must keep: 1,000,000 at most",
    },
    Rule {
        keys: &["clickhouse.retry_min", "clickhouse.retry_max"],
        holds: |s| s.clickhouse.retry_min <= s.clickhouse.retry_max,
        words: "the shortest pause must not be longer than the longest",
    },
    Rule {
        keys: &["nats.user", "nats.token"],
        holds: |s| s.nats.user.is_empty() || s.nats.token.is_empty(),
        words: ONE_LOGIN,
    },
    Rule {
        keys: &["nats.user", "nats.nkey"],
        holds: |s| s.nats.user.is_empty() || s.nats.nkey.is_empty(),
        words: ONE_LOGIN,
    },
    Rule {
        keys: &["nats.user", "nats.creds"],
        holds: |s| s.nats.user.is_empty() || s.nats.creds.is_empty(),
        words: ONE_LOGIN,
    },
    Rule {
        keys: &["nats.token", "nats.nkey"],
        holds: |s| s.nats.token.is_empty() || s.nats.nkey.is_empty(),
        words: ONE_LOGIN,
    },
    Rule {
        keys: &["nats.token", "nats.creds"],
        holds: |s| s.nats.token.is_empty() || s.nats.creds.is_empty(),
        words: ONE_LOGIN,
    },
    Rule {
        keys: &["nats.nkey", "nats.creds"],
        holds: |s| s.nats.nkey.is_empty() || s.nats.creds.is_empty(),
        words: ONE_LOGIN,
    },
    Rule {
        keys: &["nats.cert_file", "nats.key_file"],
        holds: |s| s.nats.tls_files.certificate.is_some() == s.nats.tls_files.key.is_some(),
        words: "a certificate and its key are set together",
    },
    Rule {
        keys: &["clickhouse.cert_file", "clickhouse.key_file"],
        holds: |s| {
            s.clickhouse.tls_files.certificate.is_some() == s.clickhouse.tls_files.key.is_some()
        },
        words: "a certificate and its key are set together",
    },
    Rule {
        keys: &["clickhouse.ca_file", "clickhouse.url"],
        holds: |s| s.clickhouse.tls_files.ca.is_none() || s.clickhouse.is_https(),
        words: HTTPS_ONLY,
    },
    Rule {
        keys: &["clickhouse.cert_file", "clickhouse.url"],
        holds: |s| s.clickhouse.tls_files.certificate.is_none() || s.clickhouse.is_https(),
        words: HTTPS_ONLY,
    },
    Rule {
        keys: &["otel.cert_file", "otel.key_file"],
        holds: |s| s.otel.tls_files.certificate.is_some() == s.otel.tls_files.key.is_some(),
        words: "a certificate and its key are set together",
    },
    Rule {
        keys: &["otel.ca_file", "otel.endpoint"],
        holds: |s| s.otel.tls_files.ca.is_none() || s.otel.endpoint.is_none() || s.otel.is_https(),
        words: HTTPS_ONLY,
    },
    Rule {
        keys: &["otel.cert_file", "otel.endpoint"],
        holds: |s| {
            s.otel.tls_files.certificate.is_none() || s.otel.endpoint.is_none() || s.otel.is_https()
        },
        words: HTTPS_ONLY,
    },
    Rule {
        keys: &["cache.cert_file", "cache.key_file"],
        holds: |s| s.cache.tls_files.certificate.is_some() == s.cache.tls_files.key.is_some(),
        words: "a certificate and its key are set together",
    },
    Rule {
        keys: &["cache.ca_file", "cache.url"],
        holds: |s| s.cache.tls_files.ca.is_none() || s.cache.url.is_none() || s.cache.is_tls(),
        words: REDISS_ONLY,
    },
    Rule {
        keys: &["cache.cert_file", "cache.url"],
        holds: |s| {
            s.cache.tls_files.certificate.is_none() || s.cache.url.is_none() || s.cache.is_tls()
        },
        words: REDISS_ONLY,
    },
    Rule {
        keys: &["cache.password", "cache.user"],
        holds: |s| s.cache.user.is_empty() || !s.cache.password.is_empty(),
        words: "a user needs a password",
    },
    Rule {
        keys: &["nats.password", "nats.user"],
        holds: |s| s.nats.password.is_empty() || !s.nats.user.is_empty(),
        words: "a password needs a user",
    },
    Rule {
        keys: &["stream.duplicate_window", "stream.max_age"],
        holds: |s| s.stream.max_age.is_zero() || s.stream.duplicate_window <= s.stream.max_age,
        words: "JetStream does not remember ids for longer than it keeps messages",
    },
    Rule {
        keys: &["dead_letters.duplicate_window", "dead_letters.max_age"],
        holds: |s| {
            s.dead_letters.max_age.is_zero()
                || s.dead_letters.duplicate_window <= s.dead_letters.max_age
        },
        words: "JetStream does not remember ids for longer than it keeps messages",
    },
    Rule {
        keys: &["validation.payload", "validation.schemas"],
        holds: |s| s.validation.contracts.knows_all_named(),
        words: "an event type that is named needs a contract, <event_type>.json in that folder; transaction, risk_event and wallet_snapshot have theirs",
    },
    Rule {
        keys: &["dead_letters.name", "stream.name"],
        holds: |s| s.stream.name != s.dead_letters.name,
        words: "dead letters need a stream of their own",
    },
    Rule {
        keys: &["dead_letters.subject_prefix", "stream.subject_prefix"],
        holds: |s| !prefixes_meet(&s.stream.subject_prefix, &s.dead_letters.subject_prefix),
        words: "no subject may belong to both streams",
    },
    Rule {
        keys: &["ops.cert_file", "ops.key_file"],
        holds: |s| s.ops.tls_files.certificate.is_some() == s.ops.tls_files.key.is_some(),
        words: "a certificate and its key are set together",
    },
    Rule {
        keys: &["serve.cert_file", "serve.key_file"],
        holds: |s| s.serve.tls_files.certificate.is_some() == s.serve.tls_files.key.is_some(),
        words: "a certificate and its key are set together",
    },
    Rule {
        keys: &["serve.with_run", "serve.tokens_file"],
        holds: |s| !s.serve.with_run || !s.serve.tokens.is_empty(),
        words: "nobody is served without a token",
    },
    Rule {
        keys: &["serve.max_body_bytes", "serve.max_held_bytes"],
        holds: |s| s.serve.max_body_bytes <= s.serve.max_held_bytes,
        words: "a full body must fit into the bytes held at once",
    },
    Rule {
        keys: &["serve.max_signals", "serve.max_unanswered"],
        holds: |s| s.serve.max_signals <= s.serve.max_unanswered,
        words: "a full request must fit into the signals published at once",
    },
];

/// Whether one prefix is the other, or goes on behind it with a further token.
fn prefixes_meet(one: &str, two: &str) -> bool {
    one.split('.').zip(two.split('.')).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::super::fields::FIELDS;
    use super::*;

    #[test]
    fn prefixes_meet_by_tokens() {
        for (one, two, expected) in [
            ("a", "a", true),
            ("a", "a.b", true),
            ("a.b", "a", true),
            ("a", "ab", false),
            ("a.b", "a.c", false),
        ] {
            assert_eq!(prefixes_meet(one, two), expected, "{one} {two}");
        }
    }

    #[test]
    fn rules_are_about_settings_that_exist() {
        for key in RULES.iter().flat_map(|rule| rule.keys) {
            assert!(FIELDS.iter().any(|field| field.key == *key), "{key}");
        }
    }
}
