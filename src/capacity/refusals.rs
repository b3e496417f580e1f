//! Writes that a stream has refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The last refusal of each stream that has taken nothing since. The streams are those of the
/// settings, so that it stays small.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<String, String>>>);

impl Refusals {
    /// A stream refused a write, or gave no answer.
    pub fn refused(&self, stream: &str, words: String) {
        self.lock().insert(stream.to_owned(), words);
    }

    /// A stream took a write.
    pub fn taken(&self, stream: &str) {
        self.lock().remove(stream);
    }

    /// The reason for the last refusal, where nothing was taken since.
    pub fn of(&self, stream: &str) -> Option<String> {
        self.lock().get(stream).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
