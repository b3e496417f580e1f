//! State that the handles of a reader share with the task of its connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::error::NotConnected;
use crate::inbox::Inboxes;
use crate::info::Info;
use crate::outgoing::Outgoing;

/// State of a reader.
#[derive(Debug, Default)]
pub struct Shared {
    state: Mutex<State>,
    max_payload: AtomicUsize,
    /// There is something to write.
    pub to_write: Notify,
    /// Something was written, an answer to a ping came, or the connection has changed.
    pub changed: Notify,
}

/// State of the connection.
#[derive(Debug, Default)]
pub struct State {
    /// Bytes that wait to be written.
    pub outgoing: Outgoing,
    /// Open inboxes.
    pub inboxes: Inboxes,
    /// Answers to pings over this connection.
    pub pongs: u64,
}

impl Shared {
    /// Locks the state. The lock is held for a few copies at most.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a connection.
    pub fn up(&self, info: &Info) {
        self.set_max_payload(info.max_payload);
        let mut state = self.lock();
        state.outgoing.up();
        state.pongs = 0;
        drop(state);
        self.to_write.notify_one();
        self.changed.notify_waiters();
    }

    /// Ends the connection.
    pub fn down(&self) {
        let mut state = self.lock();
        state.outgoing.down();
        state.inboxes.clear();
        drop(state);
        self.changed.notify_waiters();
    }

    /// Returns the largest message that the server accepts, in bytes.
    pub fn max_payload(&self) -> usize {
        self.max_payload.load(Ordering::Relaxed)
    }

    /// Sets the largest message that the server accepts.
    pub fn set_max_payload(&self, bytes: usize) {
        self.max_payload.store(bytes, Ordering::Relaxed);
    }

    /// Counts an answer to a ping.
    pub fn pong(&self) {
        let mut state = self.lock();
        state.pongs += 1;
        let pongs = state.pongs;
        state.inboxes.answered(pongs);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits until `done` returns a result; looks again after each change.
    ///
    /// # Errors
    /// Fails with its error.
    pub async fn until<T>(
        &self,
        mut done: impl FnMut(&mut State) -> Option<Result<T, NotConnected>>,
    ) -> Result<T, NotConnected> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before the look, so that no change after it is missed.
            changed.as_mut().enable();
            if let Some(result) = done(&mut self.lock()) {
                return result;
            }
            changed.await;
        }
    }
}
