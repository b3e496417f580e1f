//! The request of a pull.

use std::time::Duration;

use bytes::Bytes;
use jetstream::ConsumerOptions;
use serde_json::json;

/// The request of one pull, as of
/// <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-13.md>.
pub fn body(consumer: &ConsumerOptions) -> Bytes {
    let request = json!({
        "batch": consumer.fetch_messages,
        "max_bytes": consumer.fetch_bytes,
        "expires": nanos(consumer.fetch_expires),
        "idle_heartbeat": nanos(heartbeat(consumer)),
    });
    request.to_string().into()
}

/// Time between two signs of life of an idle pull; at most half of its time.
fn heartbeat(consumer: &ConsumerOptions) -> Duration {
    (consumer.fetch_expires / 4).clamp(Duration::from_millis(100), Duration::from_secs(5))
}

/// Time without a sign of life after which an open pull is lost.
pub fn silence(consumer: &ConsumerOptions) -> Duration {
    heartbeat(consumer) * 2
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
