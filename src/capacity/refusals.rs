//! Writes that a stream has rejected.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Longest time that one rejected publish of an application counts: applications retry within
/// seconds, and no other process publishes.
const PUBLISHERS: Duration = Duration::from_secs(60);

/// Last rejection of each stream that has accepted nothing since. Only streams of the settings are
/// added, so the map stays small.
#[derive(Debug, Clone, Default)]
pub struct PublishRefusals(Arc<Mutex<BTreeMap<String, (Instant, String)>>>);

impl PublishRefusals {
    /// Notes that a stream rejected a write or gave no answer, with the reason.
    pub fn note_refusal(&self, stream: &str, reason: String) {
        let refusal = (Instant::now(), reason);
        self.lock().insert(stream.to_owned(), refusal);
    }

    /// Notes that a stream accepted a write.
    pub fn note_success(&self, stream: &str) {
        self.lock().remove(stream);
    }

    /// Returns the reason of the last rejection, if nothing was accepted since.
    pub fn get(&self, stream: &str) -> Option<String> {
        let refusals = self.lock();
        refusals.get(stream).map(|(_, reason)| reason.clone())
    }

    /// Like [`Self::get`], for a stream that only applications write to. Returns `None` after a
    /// minute without another rejection.
    pub fn get_recent(&self, stream: &str) -> Option<String> {
        let refusals = self.lock();
        let (at, reason) = refusals.get(stream)?;
        (at.elapsed() < PUBLISHERS).then(|| reason.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, String)>> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_lasts_until_a_write_is_taken_and_that_of_publishers_a_minute() {
        let refusals = PublishRefusals::default();
        refusals.note_refusal("S", "full".to_owned());
        tokio::time::advance(PUBLISHERS / 2).await;
        assert_eq!(refusals.get_recent("S").as_deref(), Some("full"));
        tokio::time::advance(PUBLISHERS / 2).await;
        assert_eq!(refusals.get_recent("S"), None);
        assert_eq!(refusals.get("S").as_deref(), Some("full"));
        refusals.note_success("S");
        assert_eq!(refusals.get("S"), None);
    }
}
