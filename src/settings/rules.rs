//! What settings must keep towards each other. Pure.

use super::Settings;

/// Two settings that contradict each other.
pub(super) struct Contradiction {
    /// The settings' keys; the first one is the one to look at first.
    pub keys: [&'static str; 2],
    /// What must hold between them.
    pub rule: &'static str,
}

/// Every contradiction.
pub(super) fn contradictions(settings: &Settings) -> Vec<Contradiction> {
    let Settings {
        nats,
        stream,
        dead_letters,
        consumer,
        clickhouse,
        batch,
        shutdown: _,
        validation: _,
        log: _,
    } = settings;
    let fetches = |one: usize| one.saturating_mul(consumer.pulls);
    let prefixes_meet = {
        let [one, two] = [&stream.subject_prefix, &dead_letters.subject_prefix];
        begins_with_token(one, two) || begins_with_token(two, one)
    };
    [
        (
            batch.max_wait <= consumer.ack_wait / 2,
            ["batch.max_wait", "consumer.ack_wait"],
            "a batch must not wait longer than half of the ack wait",
        ),
        (
            batch.max_rows <= consumer.max_in_flight_messages,
            ["batch.max_rows", "consumer.max_in_flight_messages"],
            "a full batch must fit into the messages held at once",
        ),
        (
            batch.max_bytes <= consumer.max_in_flight_bytes,
            ["batch.max_bytes", "consumer.max_in_flight_bytes"],
            "a full batch must fit into the bytes held at once",
        ),
        (
            consumer.max_in_flight_messages <= consumer.max_ack_pending,
            ["consumer.max_in_flight_messages", "consumer.max_ack_pending"],
            "JetStream must allow as many unacked messages as one instance holds",
        ),
        (
            fetches(consumer.fetch_messages) <= consumer.max_in_flight_messages,
            ["consumer.fetch_messages", "consumer.max_in_flight_messages"],
            "all pulls (consumer.pulls) together must fit into the messages held at once",
        ),
        (
            fetches(consumer.fetch_bytes) <= consumer.max_in_flight_bytes,
            ["consumer.fetch_bytes", "consumer.max_in_flight_bytes"],
            "all pulls (consumer.pulls) together must fit into the bytes held at once",
        ),
        (
            clickhouse.send_timeout + clickhouse.end_timeout < consumer.ack_wait,
            ["clickhouse.end_timeout", "consumer.ack_wait"],
            "an insert (clickhouse.send_timeout and clickhouse.end_timeout) must end before the ack wait does",
        ),
        (
            clickhouse.retry_min <= clickhouse.retry_max,
            ["clickhouse.retry_min", "clickhouse.retry_max"],
            "the shortest pause must not be longer than the longest",
        ),
        (
            nats.user.is_empty() || nats.token.is_empty(),
            ["nats.user", "nats.token"],
            "only one of them may be set",
        ),
        (
            nats.password.is_empty() || !nats.user.is_empty(),
            ["nats.password", "nats.user"],
            "a password needs a user",
        ),
        (
            stream.max_age.is_zero() || stream.duplicate_window <= stream.max_age,
            ["stream.duplicate_window", "stream.max_age"],
            "JetStream does not remember ids for longer than it keeps messages",
        ),
        (
            dead_letters.max_age.is_zero()
                || dead_letters.duplicate_window <= dead_letters.max_age,
            ["dead_letters.duplicate_window", "dead_letters.max_age"],
            "JetStream does not remember ids for longer than it keeps messages",
        ),
        (
            stream.name != dead_letters.name,
            ["dead_letters.name", "stream.name"],
            "dead letters need a stream of their own",
        ),
        (
            !prefixes_meet,
            ["dead_letters.subject_prefix", "stream.subject_prefix"],
            "no subject may belong to both streams",
        ),
    ]
    .into_iter()
    .filter(|(holds, ..)| !holds)
    .map(|(_, keys, rule)| Contradiction { keys, rule })
    .collect()
}

/// Whether `subject` is `prefix`, or goes on behind it with a further token.
fn begins_with_token(subject: &str, prefix: &str) -> bool {
    subject
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
