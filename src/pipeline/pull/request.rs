//! What a pull asks for.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::Pinned;
use crate::jetstream::consumer::PRIORITY_GROUP;
use crate::settings::Consumer;

/// The request of one pull, as of
/// <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-13.md>.
pub(super) fn body(consumer: &Consumer, pinned: Option<&Pinned>) -> Bytes {
    let mut request = json!({
        "batch": consumer.fetch_messages,
        "max_bytes": consumer.fetch_bytes,
        "expires": nanos(expires(consumer)),
        "idle_heartbeat": nanos(heartbeat(consumer)),
    });
    if let Some(pinned) = pinned {
        request["group"] = PRIORITY_GROUP.into();
        // One without it waits until nobody has the messages.
        if let Some(id) = pinned.id() {
            request["id"] = id.into();
        }
    }
    request.to_string().into()
}

/// How long a pull waits. A lease counts from its pull, so a pull must not take much of it.
fn expires(consumer: &Consumer) -> Duration {
    consumer.fetch_expires.min(consumer.ack_wait / 4)
}

/// How often the server shows that an idle pull is alive; at most half of its time.
fn heartbeat(consumer: &Consumer) -> Duration {
    (expires(consumer) / 4).clamp(Duration::from_millis(100), Duration::from_secs(5))
}

/// How long no sign of an open pull means that it is lost.
pub(super) fn silence(consumer: &Consumer) -> Duration {
    heartbeat(consumer) * 2
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
