//! Messages whose claim somebody else works on, or that are done already. They are acked once
//! the log says so.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use claims::{Position, Standing};
use claims_log::Process;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ack::Settled;
use super::delivery::Delivery;
use super::in_flight::Lease;

/// Between two looks at what waits, however many records come.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Messages that the log says are done. Made only where the log was asked.
#[derive(Debug)]
pub(super) struct Logged {
    leases: Vec<Lease>,
}

impl Logged {
    /// Messages.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// The leases, to be settled.
    pub fn into_leases(self) -> Vec<Lease> {
        self.leases
    }
}

/// Messages that wait for the log.
#[derive(Debug, Clone)]
pub(super) struct Parked {
    process: Process,
    settled: Sender<Settled>,
    waiting: Arc<Mutex<Vec<(Position, Lease)>>>,
}

impl Parked {
    /// A place where nothing waits.
    pub fn new(process: Process, settled: Sender<Settled>) -> Self {
        Self {
            process,
            settled,
            waiting: Arc::default(),
        }
    }

    /// Settles messages that are done, and keeps those in open claims until they are.
    pub async fn hold(&self, messages: impl Iterator<Item = Delivery>) {
        let held = messages.map(|one| (one.position, one.lease));
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
        let (mut leases, mut open) = (Vec::new(), Vec::new());
        self.process.with(|instance| {
            for (position, lease) in messages {
                match instance.standing(position) {
                    Standing::Done => leases.push(lease),
                    // Other: the log is checked, or the stream went back and is rewound first.
                    Standing::Claimed(_) | Standing::Other => open.push((position, lease)),
                    // Delivered again, it is claimed by itself.
                    Standing::Free | Standing::Doubtful => {}
                }
            }
        });
        self.lock().extend(open);
        if !leases.is_empty() {
            // The ack stage ends last; without it the messages are delivered again.
            let _ = self.settled.send(Settled::Logged(Logged { leases })).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Position, Lease)>> {
        // No code panics while it holds the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
