//! How messages are taken out of the stream.

use std::time::Duration;

/// The durable pull consumer, and how much of it one instance holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumer {
    /// The consumer's durable name.
    pub name: String,
    /// Messages that an ack stands for; a consumer that exists keeps its own policy.
    pub ack_policy: AckPolicy,
    /// JetStream delivers a message again when it is not acked for this long.
    pub ack_wait: Duration,
    /// Deliveries after which JetStream gives up on a message; 0 is no bound, and there is none
    /// where an ack stands for all messages before its own.
    pub max_deliver: u32,
    /// Messages delivered and not acked, over all instances; JetStream stops there.
    pub max_ack_pending: usize,
    /// Messages that this instance holds at once, from the pull to the ack.
    pub max_in_flight_messages: usize,
    /// Bytes of messages that this instance holds at once, from the pull to the ack.
    pub max_in_flight_bytes: usize,
    /// Messages a pull asks for.
    pub fetch_messages: usize,
    /// Bytes a pull asks for.
    pub fetch_bytes: usize,
    /// How long a pull waits for messages.
    pub fetch_expires: Duration,
    /// Pulls that are open at once.
    pub pulls: usize,
}

/// Messages that an ack stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AckPolicy {
    /// Its message alone.
    #[default]
    Explicit,
    /// All messages up to its own, as far as the claims log says that they are done.
    All,
}

impl AckPolicy {
    /// The name of the policy, as the setting has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::All => "all",
        }
    }
}
