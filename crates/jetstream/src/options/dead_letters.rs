//! Settings of the stream of dead letters.

use std::time::Duration;

use option_kit::{DAY, MINUTE, Rule, SECOND, YEAR, duration, duration_or_zero, number, options};

use super::kinds::{jetstream_name, subject_prefix};

options! {
    /// Settings of the stream of dead letters.
    #[derive(Debug, Clone, PartialEq)]
    pub struct DeadLettersOptions in "dead_letters", rules RULES {
        /// Stream of dead letters; created if absent.
        name: String = "SIGNALS_DLQ", jetstream_name();
        /// Prefix of a dead letter's subject, <prefix>.<original subject>.<position>.
        subject_prefix: String = "dlq", subject_prefix();
        /// Age at which a newly created stream removes dead letters; 0s keeps them forever.
        max_age: Duration = "0s", duration_or_zero(SECOND..=100 * YEAR);
        /// Time that a newly created stream of dead letters remembers an id. It protects from
        /// repeated dead letters of older versions; later versions use subjects.
        duplicate_window: Duration = "24h", duration(MINUTE..=7 * DAY);
        /// Published dead letters without an ack, at most.
        max_pending: usize = "256", number(1..=10_000);
    }
}

const RULES: &[Rule<DeadLettersOptions>] = &[Rule {
    keys: &["dead_letters.duplicate_window", "dead_letters.max_age"],
    holds: |s| s.max_age.is_zero() || s.duplicate_window <= s.max_age,
    words: "JetStream does not remember ids for longer than it keeps messages",
}];
