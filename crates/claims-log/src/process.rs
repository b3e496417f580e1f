//! One process: the rules and the log, shared by all tasks that work on claims.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use claims::{Instance, Nonce, Record};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::error::ClaimsLogError;
use crate::follow;
use crate::holdings::Holdings;
use crate::shared::Shared;
use crate::stream::{LogStream, nonce};
use crate::timing::Timing;

/// Time between two attempts to append a record.
const RETRY: Duration = Duration::from_millis(200);
/// Time from a rejected snapshot to the next one.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(5);

/// A process that appends to the log and follows it.
#[derive(Debug, Clone)]
pub struct Process {
    shared: Arc<Shared>,
}

impl Process {
    /// Creates a process that has read nothing. `window` is the number of tokens that the table
    /// keeps.
    pub fn new(log: LogStream, window: usize, timing: Timing) -> Self {
        Self {
            shared: Arc::new(Shared::new(log, window, timing)),
        }
    }

    /// Reads the log from this record on, a snapshot that begins a generation. A server that lost
    /// its last writes may have earlier records again; none of them counts.
    pub fn begin_at(&self, seq: u64) {
        self.shared.begin_at(seq);
    }

    /// Follows the log until `shutdown`, and appends done claims and due snapshots.
    ///
    /// # Errors
    /// Fails when the log lost records or was rebuilt; it then appends nothing more.
    /// [`crate::rebuild()`] uses this process's log, and another process must follow the rebuilt
    /// one.
    pub async fn run(
        &self,
        holdings: &impl Holdings,
        shutdown: &CancellationToken,
    ) -> Result<(), ClaimsLogError> {
        let followed = async {
            tokio::select! {
                error = follow::run(&self.shared, holdings) => Err(error),
                () = self.flush_all() => Ok(()),
                () = self.keep_short() => Ok(()),
            }
        };
        shutdown
            .run_until_cancelled(followed)
            .await
            .unwrap_or(Ok(()))
    }

    /// Lets the rules decide, on all records read so far.
    pub fn with<T>(&self, decide: impl FnOnce(&mut Instance) -> T) -> T {
        self.shared.with(decide)
    }

    /// Returns the rules, with all that was read, for a decision at once: the process reads no
    /// record meanwhile.
    pub fn rules(&self) -> MutexGuard<'_, Instance> {
        self.shared.rules()
    }

    /// Returns a nonce for a record or a claim.
    pub fn nonce(&self) -> Nonce {
        nonce()
    }

    /// Appends a record, and retries until it is read back: then all records before it were read,
    /// too. Waits while no connection's log was checked.
    pub async fn append(&self, record: Record) {
        let id = record.id;
        self.shared.state().waited_for.insert(id, false);
        while !self.is_read(id) {
            self.checked().await;
            match self.shared.append(&record).await {
                Ok(Some(seq)) => {
                    // An error ends the session: nothing is published before the log is checked.
                    if self.shared.confirm_published(&record, seq).is_ok() {
                        self.shared.read_to(seq).await;
                        break;
                    }
                    self.shared.forbid_appends();
                }
                // Only snapshots have a condition.
                Ok(None) => break,
                Err(_) => sleep(RETRY).await,
            }
        }
        let mut state = self.shared.state();
        if state.waited_for.remove(&id) == Some(true) {
            // The record may be stored although its answer was lost.
            state.refusals.note(None);
        }
    }

    /// Returns the reason for which the log rejected the last record, such as a full disk; `None`
    /// once it has accepted one.
    pub fn refusal(&self) -> Option<String> {
        self.shared.state().refusals.last()
    }

    /// Reports whether the log was read and checked over the current connection.
    pub fn is_ready(&self) -> bool {
        let joined = self.shared.progress.borrow().joined;
        joined > 0 && joined == follow::connects(&self.shared.log.client())
    }

    /// Notifies the process of a done claim, after [`Instance::finish`]. The process appends it
    /// soon, alone unless another record carries it.
    pub fn flush_soon(&self) {
        self.shared.done.notify_one();
    }

    /// Repeats the checks of a connect over the same connection: the stream or the consumer was
    /// recreated, and may have gone back. Nothing is claimed or acked until then.
    pub fn recheck(&self) {
        self.shared.recheck.store(true, Ordering::Relaxed);
        self.shared.forbid_appends();
    }

    /// Waits until a claim is closed.
    pub async fn closed(&self, claim: Nonce) {
        let mut progress = self.shared.progress.subscribe();
        loop {
            progress.borrow_and_update();
            if self.with(|instance| instance.log().claim(claim).is_none()) {
                return;
            }
            // The sender lives as long as this process.
            let _ = progress.changed().await;
        }
    }

    /// Returns the number of skipped messages in the log, which no daemon published.
    pub fn foreign(&self) -> u64 {
        self.shared.state().foreign
    }

    /// Returns the number of changes that affect decisions: records read, checks passed, and
    /// connections lost.
    pub fn changes(&self) -> u64 {
        self.shared.progress.borrow().changes
    }

    /// Waits for a change after `since`, which [`Self::changes`] returned before the rules decided.
    pub async fn changed(&self, since: u64) {
        let mut progress = self.shared.progress.subscribe();
        let _ = progress.wait_for(|progress| progress.changes > since).await;
    }

    /// Waits until the log was read to its end and checked.
    pub async fn ready(&self) {
        self.checked().await;
    }

    /// Waits for a connection whose log is known to be the one that was read.
    async fn checked(&self) {
        let mut progress = self.shared.progress.subscribe();
        loop {
            progress.borrow_and_update();
            if self.is_ready() {
                return;
            }
            let _ = tokio::time::timeout(RETRY, progress.changed()).await;
        }
    }

    fn is_read(&self, id: Nonce) -> bool {
        self.shared.state().waited_for.get(&id) == Some(&true)
    }

    /// Appends done claims that no other record has carried.
    async fn flush_all(&self) {
        loop {
            self.shared.done.notified().await;
            sleep(self.shared.timing.linger).await;
            let record = self.with(|instance| instance.flush(nonce()));
            if let Some(record) = record {
                self.append(record).await;
            }
        }
    }

    /// Publishes a snapshot once enough records follow the last one. All instances try; the log
    /// accepts the one that covers all records.
    async fn keep_short(&self) {
        let mut progress = self.shared.progress.subscribe();
        loop {
            let read = progress.borrow_and_update().seq;
            if self.shared.state().is_long(read) {
                self.checked().await;
                // `None` while the log is checked.
                if let Some(record) = self.with(|instance| instance.snapshot(nonce())) {
                    self.shorten(&record).await;
                }
            }
            let _ = progress.changed().await;
        }
    }

    /// Appends a snapshot, unless a record followed since it was created.
    async fn shorten(&self, snapshot: &Record) {
        match self.shared.log.append(snapshot).await {
            Ok(Some(seq)) => debug!(seq, "Snapshot appended to the claims log"),
            Ok(None) => {}
            Err(error) => {
                warn!(%error, "Snapshot not appended to the claims log; trying again");
                sleep(SNAPSHOT_RETRY).await;
            }
        }
    }
}
