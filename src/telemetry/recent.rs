//! The last batches and dead letters, for whoever looks at `/statusz` or the live page.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::events::{DeadLettered, Inserted};

/// How many of each are kept.
const KEPT: usize = 10;
/// Characters of a text that somebody else wrote, of which only the beginning is kept.
const TEXT_CHARS_MAX: usize = 300;

/// The newest few, newest first.
#[derive(Debug, Default)]
pub struct Recent {
    inner: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    batches: VecDeque<Value>,
    dead_letters: VecDeque<Value>,
}

impl Recent {
    /// Keeps a batch.
    pub fn inserted(&self, batch: &Inserted) {
        let batch = json!({
            "at": now(),
            "rows": batch.count,
            "bytes": batch.bytes,
            "insert_seconds": batch.duration.as_secs_f64(),
            "closed_by": batch.close_reason,
        });
        keep(&mut self.lock().batches, batch);
    }

    /// Keeps a dead letter.
    pub fn dead_lettered(&self, letter: &DeadLettered) {
        let letter = json!({
            "at": now(),
            "reason": letter.reason,
            "error": cut(&letter.error),
            "subject": cut(&letter.subject),
            "stream_seq": letter.stream_seq,
            "dead_letter_seq": letter.dead_letter_seq,
        });
        keep(&mut self.lock().dead_letters, letter);
    }

    /// Both lists.
    pub fn snapshot(&self) -> (Value, Value) {
        let lists = self.lock();
        (
            lists.batches.iter().cloned().collect(),
            lists.dead_letters.iter().cloned().collect(),
        )
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        // No code panics while it holds the lock; the state is whole in any case.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(list: &mut VecDeque<Value>, item: Value) {
    list.truncate(KEPT - 1);
    list.push_front(item);
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn now() -> String {
    OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .unwrap_or_default()
}
