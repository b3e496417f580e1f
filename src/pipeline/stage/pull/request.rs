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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn a_pull_expects_two_heartbeats_before_it_is_lost() {
        let mut consumer = Settings::default().consumer;
        for (expires_s, silence_ms) in [(1, 500), (30, 10_000)] {
            consumer.fetch_expires = Duration::from_secs(expires_s);
            let body: serde_json::Value = serde_json::from_slice(&body(&consumer)).unwrap();
            assert_eq!(body["batch"], consumer.fetch_messages);
            assert_eq!(body["expires"], expires_s * 1_000_000_000);
            let heartbeat_ns = body["idle_heartbeat"].as_u64().unwrap();
            let silence = silence(&consumer);
            assert_eq!(silence, Duration::from_millis(silence_ms));
            assert_eq!(u128::from(heartbeat_ns) * 2, silence.as_nanos());
        }
    }
}
