//! Waiting for a state that has no event.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Ends a test that waits for something that does not come. No test is about this time.
pub const DEADLINE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(50);

/// Waits until `look` finds something; fails the test when that takes for ever.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "it did not come to this: {what}");
        sleep(POLL).await;
    }
}
