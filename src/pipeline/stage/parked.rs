//! Messages that another process has claimed, or that are done already. They are acked once the log
//! says that they are done.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use claims::Position;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::pipeline::crossing::delivery::Delivery;
use crate::pipeline::crossing::in_flight::Lease;
use crate::pipeline::crossing::logged::Logged;
use crate::pipeline::crossing::settled::Settled;
use crate::pipeline::port::claims_log::ClaimsLog;

/// Between two looks at what waits, however many records come.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Messages that wait for the log.
#[derive(Debug, Clone)]
pub struct Parked {
    process: Arc<dyn ClaimsLog>,
    settled: Sender<Settled>,
    waiting: Arc<Mutex<Vec<(Position, Lease)>>>,
}

impl Parked {
    /// A place where nothing waits.
    pub fn new(process: Arc<dyn ClaimsLog>, settled: Sender<Settled>) -> Self {
        Self {
            process,
            settled,
            waiting: Arc::default(),
        }
    }

    /// Settles messages that are done, and keeps those in open claims until they are.
    pub async fn hold(&self, messages: impl Iterator<Item = Delivery>) {
        let held = messages.map(|mut one| {
            one.lease.detach();
            (one.position, one.lease)
        });
        self.review(held.collect()).await;
    }

    /// Settles what is done, until `shutdown`; what waits then is delivered again.
    pub async fn run(self, shutdown: CancellationToken) {
        let reviews = async {
            let mut seen = 0;
            loop {
                self.process.changed(seen).await;
                seen = self.process.changes();
                let waiting = std::mem::take(&mut *self.lock());
                if !waiting.is_empty() {
                    self.review(waiting).await;
                }
                sleep(LOOK_INTERVAL).await;
            }
        };
        shutdown.run_until_cancelled(reviews).await;
        self.lock().clear();
    }

    async fn review(&self, messages: Vec<(Position, Lease)>) {
        let (done, open) = Logged::of(&*self.process, messages);
        self.lock().extend(open);
        if done.len() > 0 {
            // The ack stage ends last; without it the messages are delivered again.
            let _ = self.settled.send(Settled::Logged(done)).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Position, Lease)>> {
        // No code panics while it holds the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
