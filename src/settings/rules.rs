//! Rules between settings of several sections. Pure.

use option_kit::Rule;

use super::Settings;

/// Bound of tokens, which ClickHouse holds in memory.
const TOKENS_MAX: u64 = 1_000_000;

/// Rules between settings of different sections.
pub(super) const RULES: &[Rule<Settings>] = &[
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
            "batch.max_inserts_per_second",
            "clickhouse.fence",
            "clickhouse.late_commit",
        ],
        holds: |s| s.tokens_needed() <= TOKENS_MAX,
        words: "twice their product (with clickhouse.late_commit added to the fence) is the number of deduplication tokens that the table must keep: 1,000,000 at most",
    },
    Rule {
        keys: &["dead_letters.name", "stream.name"],
        holds: |s| s.stream.name != s.dead_letters.name,
        words: "dead letters need their own stream",
    },
    Rule {
        keys: &["dead_letters.subject_prefix", "stream.subject_prefix"],
        holds: |s| !prefixes_meet(&s.stream.subject_prefix, &s.dead_letters.subject_prefix),
        words: "no subject may belong to both streams",
    },
];

/// Returns true when one prefix is the other, or continues it with a further token.
fn prefixes_meet(one: &str, two: &str) -> bool {
    one.split('.').zip(two.split('.')).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
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
}
