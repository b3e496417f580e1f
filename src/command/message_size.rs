//! The server's size limit of messages, which a running daemon relies on.

use std::time::Duration;

use async_nats::Client;
use tokio::time::sleep;

/// Interval of checking the limit.
const SIZE_INTERVAL: Duration = Duration::from_secs(1);

/// The size limit of messages changed. Claims and dead letters are cut to that size, and each
/// attempt must cut them alike.
#[derive(Debug, thiserror::Error)]
#[error(
    "nats-server now accepts messages of {now} bytes (max_payload) instead of {before}; the daemon ends with status 75, and continues when it is restarted"
)]
pub struct MessageSizeChanged {
    before: usize,
    now: usize,
}

/// Waits until the server's size limit of messages differs from that at startup.
pub async fn changed(client: Client) -> MessageSizeChanged {
    let before = client.max_payload();
    loop {
        sleep(SIZE_INTERVAL).await;
        let now = client.max_payload();
        if now != before {
            return MessageSizeChanged { before, now };
        }
    }
}
