//! Messages to one subject, between the task of the connection and the one that takes them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::message::Message;

/// Messages that came and were not taken yet.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    /// Messages came, or none will come any more.
    came: Notify,
    /// Messages were taken, or nobody will take any.
    taken: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    messages: VecDeque<Message>,
    bytes: usize,
    is_ended: bool,
    /// Nobody takes messages any more.
    is_abandoned: bool,
}

impl Queue {
    /// Adds messages; returns the bytes of all that wait.
    pub fn add(&self, messages: impl Iterator<Item = Message>) -> usize {
        let mut inner = self.lock();
        if inner.is_abandoned {
            return 0;
        }
        for message in messages {
            inner.bytes += message.length();
            inner.messages.push_back(message);
        }
        let bytes = inner.bytes;
        drop(inner);
        self.came.notify_one();
        bytes
    }

    /// Ends it: those that are there are the last.
    pub fn end(&self) {
        self.lock().is_ended = true;
        self.came.notify_one();
    }

    /// Drops all that is there and all that will come.
    pub fn abandon(&self) {
        let mut inner = self.lock();
        inner.is_abandoned = true;
        inner.bytes = 0;
        let messages = std::mem::take(&mut inner.messages);
        drop(inner);
        drop(messages);
        self.taken.notify_one();
    }

    /// Waits until at most `max` bytes wait.
    pub async fn room(&self, max: usize) {
        while self.lock().bytes > max {
            self.taken.notified().await;
        }
    }

    /// Waits for messages, and adds those that are there to `chunk`, until it has `max`. Returns
    /// `None` when none will come any more. Cancelled, it loses none.
    pub async fn receive(&self, chunk: &mut Vec<Message>, max: usize) -> Option<()> {
        loop {
            {
                let mut inner = self.lock();
                let count = inner.messages.len().min(max.saturating_sub(chunk.len()));
                if count > 0 {
                    self.take(&mut inner, count, chunk);
                    return Some(());
                }
                if inner.is_ended {
                    return None;
                }
            }
            self.came.notified().await;
        }
    }

    /// Takes all messages that are there.
    pub fn take_all(&self) -> Vec<Message> {
        let mut all = Vec::new();
        let mut inner = self.lock();
        let count = inner.messages.len();
        self.take(&mut inner, count, &mut all);
        all
    }

    fn take(&self, inner: &mut Inner, count: usize, to: &mut Vec<Message>) {
        let from = to.len();
        to.extend(inner.messages.drain(..count));
        inner.bytes -= to[from..].iter().map(Message::length).sum::<usize>();
        self.taken.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code panics while it holds the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Inboxes of one connection, by the numbers of their subscriptions.
#[derive(Debug, Default)]
pub struct Inboxes {
    last_sid: u64,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    sid: u64,
    queue: Arc<Queue>,
    /// Ping behind the end of the subscription: its answer comes behind the last message.
    ends_at: Option<u64>,
}

impl Inboxes {
    /// Opens an inbox; returns its number and its queue.
    pub fn open(&mut self) -> (u64, Arc<Queue>) {
        self.last_sid += 1;
        let queue = Arc::<Queue>::default();
        self.open.push(Open {
            sid: self.last_sid,
            queue: Arc::clone(&queue),
            ends_at: None,
        });
        (self.last_sid, queue)
    }

    /// Finds the queue of an inbox.
    pub fn find(&self, sid: u64) -> Option<Arc<Queue>> {
        let mut open = self.open.iter();
        let found = open.find(|open| open.sid == sid)?;
        Some(Arc::clone(&found.queue))
    }

    /// Ends an inbox with the answer to a ping.
    pub fn end_at(&mut self, sid: u64, ping: u64) {
        let found = self.open.iter_mut().find(|open| open.sid == sid);
        if let Some(open) = found {
            open.ends_at = Some(ping);
        }
    }

    /// Ends the inboxes that end with one of the first `pongs` answers.
    pub fn answered(&mut self, pongs: u64) {
        self.open.retain(|open| {
            let is_over = open.ends_at.is_some_and(|ping| ping <= pongs);
            if is_over {
                open.queue.end();
            }
            !is_over
        });
    }

    /// Closes an inbox; returns true if it was open.
    pub fn close(&mut self, sid: u64) -> bool {
        let before = self.open.len();
        self.open.retain(|open| open.sid != sid);
        self.open.len() < before
    }

    /// Forgets all inboxes: their connection is lost. They get nothing any more.
    pub fn clear(&mut self) {
        self.open.clear();
    }
}
