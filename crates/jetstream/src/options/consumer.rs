//! Settings of the durable pull consumer.

use std::time::Duration;

use option_kit::{
    GIB, HOUR, KIB, Kind, MINUTE, Rule, SECOND, duration, memory, number, one_of, options,
};

use super::kinds::jetstream_name;

options! {
    /// Settings of the durable pull consumer, and of its share in one instance.
    #[derive(Debug, Clone, PartialEq)]
    pub struct ConsumerOptions in "consumer", rules RULES {
        /// Durable pull consumer; instances that share it share the work.
        name: String = "signals-to-clickhouse", jetstream_name();
        /// explicit (one ack for each message) or all (an ack covers all earlier messages;
        /// max_deliver has no effect). Instances share the work with both. An existing consumer
        /// keeps its policy.
        ack_policy: AckPolicy = "explicit", ack_policy();
        /// Time after which JetStream delivers an unacked message again, such as one that a killed
        /// instance held. The daemon renews it for messages that it holds.
        ack_wait: Duration = "5s", duration(SECOND..=HOUR);
        /// Deliveries after which a message that was never acked, such as one that ends the
        /// process, is tried alone and then becomes a dead letter; 0 means no bound.
        max_deliver: u32 = "20", number(0..=1_000_000);
        /// Delivered messages without an ack, over all instances.
        max_ack_pending: usize = "200000", number(1..=100_000_000);
        /// Messages that one instance holds at once.
        max_in_flight_messages: usize = "50000", number(1..=10_000_000);
        /// Bytes of messages that one instance holds at once.
        max_in_flight_bytes: usize = "64MiB", memory(64 * KIB..=64 * GIB);
        /// Messages that one pull requests.
        fetch_messages: usize = "5000", fetch_messages();
        /// Bytes that one pull requests; more than the server's max_payload.
        fetch_bytes: usize = "8MiB", memory(64 * KIB..=GIB);
        /// Time that a pull waits for messages.
        fetch_expires: Duration = "5s", duration(SECOND..=5 * MINUTE);
        /// Pulls open at once.
        pulls: usize = "2", number(1..=16);
    }
}

const RULES: &[Rule<ConsumerOptions>] = &[
    Rule {
        keys: &[
            "consumer.max_in_flight_messages",
            "consumer.max_ack_pending",
        ],
        holds: |s| s.max_in_flight_messages <= s.max_ack_pending,
        words: "JetStream must allow as many unacked messages as one instance holds",
    },
    Rule {
        keys: &[
            "consumer.fetch_messages",
            "consumer.max_in_flight_messages",
            "consumer.pulls",
        ],
        holds: |s| s.fetch_messages.saturating_mul(s.pulls) <= s.max_in_flight_messages,
        words: "all pulls (consumer.pulls) together must fit into the messages held at once",
    },
    Rule {
        keys: &[
            "consumer.fetch_bytes",
            "consumer.max_in_flight_bytes",
            "consumer.pulls",
        ],
        holds: |s| s.fetch_bytes.saturating_mul(s.pulls) <= s.max_in_flight_bytes,
        words: "all pulls (consumer.pulls) together must fit into the bytes held at once",
    },
];

fn ack_policy() -> Kind<AckPolicy> {
    one_of(&[("explicit", AckPolicy::Explicit), ("all", AckPolicy::All)])
}

/// Accepts the messages of one pull.
fn fetch_messages() -> Kind<usize> {
    number(1..=65_536)
}

/// Messages that an ack covers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AckPolicy {
    /// Only its own message.
    #[default]
    Explicit,
    /// All messages up to its own, as far as the claims log says that they are done.
    All,
}

impl AckPolicy {
    /// Returns the name of the policy in the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::All => "all",
        }
    }
}
