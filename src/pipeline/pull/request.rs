//! What a pull asks for.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::settings::Consumer;

/// The request of one pull, as of
/// <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-13.md>.
pub(super) fn body(consumer: &Consumer) -> Bytes {
    let request = json!({
        "batch": consumer.fetch_messages,
        "max_bytes": consumer.fetch_bytes,
        "expires": nanos(consumer.fetch_expires),
        "idle_heartbeat": nanos(heartbeat(consumer)),
    });
    request.to_string().into()
}

/// How often the server shows that an idle pull is alive; at most half of its time.
fn heartbeat(consumer: &Consumer) -> Duration {
    (consumer.fetch_expires / 4).clamp(Duration::from_millis(100), Duration::from_secs(5))
}

/// How long no sign of an open pull means that it is lost.
pub(super) fn silence(consumer: &Consumer) -> Duration {
    heartbeat(consumer) * 2
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
