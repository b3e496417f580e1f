//! One process: the rules with the log below them, shared by all tasks that work on claims.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use claims::{Instance, LogError, Nonce, Publisher, Record};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::error::ClaimsLogError;
use crate::follow;
use crate::holdings::Holdings;
use crate::refusals::Refusals;
use crate::stream::{LogStream, nonce};
use crate::timing::Timing;

/// Between two tries to append a record.
const RETRY: Duration = Duration::from_millis(200);
/// Records after which a snapshot is due.
const SNAPSHOT_RECORDS: u64 = 5_000;
/// Bytes of records after which a snapshot is due: what a process reads at its start.
const SNAPSHOT_BYTES: usize = 16 * 1024 * 1024;
/// From a snapshot that was not taken to the next one.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(5);

/// One process that appends to the log and follows it.
#[derive(Debug, Clone)]
pub struct Process {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub log: LogStream,
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
    /// Something is done and is in no record.
    done: Notify,
    /// The checks of a connect are to be made again.
    recheck: AtomicBool,
    pub timing: Timing,
}

#[derive(Debug)]
struct State {
    instance: Instance,
    /// Records that were appended and are waited for, each with whether it was read.
    waited_for: BTreeMap<Nonce, bool>,
    /// The newest snapshot that was read.
    snapshot_seq: u64,
    /// Bytes of the records behind it that were read.
    bytes_since: usize,
    /// What an answer of the log has shown; it ends the session.
    failed: Option<LogError>,
    /// Messages that were read and that no daemon published.
    foreign: u64,
    refusals: Refusals,
}

/// How far the log was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// The last record that was read.
    pub seq: u64,
    /// The connection over which the log was checked; 0 while there is none.
    pub joined: u64,
    /// Counts records that were read, checks that were passed, and connections that were lost.
    pub changes: u64,
}

impl Process {
    /// A process that has read nothing. `window` is the number of tokens that the table keeps.
    pub fn new(log: LogStream, window: usize, timing: Timing) -> Self {
        let instance = Instance::new(Publisher(rand::random()), window);
        let state = State {
            instance,
            waited_for: BTreeMap::new(),
            snapshot_seq: 0,
            bytes_since: 0,
            failed: None,
            foreign: 0,
            refusals: Refusals::default(),
        };
        let shared = Shared {
            log,
            state: Mutex::new(state),
            progress: watch::Sender::new(Progress::default()),
            done: Notify::new(),
            recheck: AtomicBool::new(false),
            timing,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Follows the log until `shutdown`, and appends what is done and snapshots that are due.
    ///
    /// # Errors
    /// When the log lost records, or was rebuilt: nothing more is appended then. The log is
    /// rebuilt with what this process had read, and followed by another one.
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

    /// Has the rules decide, with all that was read.
    pub fn with<T>(&self, decide: impl FnOnce(&mut Instance) -> T) -> T {
        self.shared.with(decide)
    }

    /// A nonce for a record or a claim.
    pub fn nonce(&self) -> Nonce {
        nonce()
    }

    /// Appends a record, again and again until it was read back: then all that came before it
    /// was read, too. Waits while there is no connection whose log was checked.
    pub async fn append(&self, record: Record) {
        let id = record.id;
        self.shared.state().waited_for.insert(id, false);
        while !self.is_read(id) {
            self.checked().await;
            match self.shared.append(&record).await {
                Ok(Some(seq)) => {
                    // An error ends the session: nothing is published before the log is checked.
                    if self.shared.published(&record, seq).is_ok() {
                        self.shared.read_to(seq).await;
                        break;
                    }
                    self.shared.left();
                }
                // Only snapshots have a condition.
                Ok(None) => break,
                Err(_) => sleep(RETRY).await,
            }
        }
        let mut state = self.shared.state();
        if state.waited_for.remove(&id) == Some(true) {
            // Its answer may have been lost.
            state.refusals.note(None);
        }
    }

    /// The reason why the log has not taken the last record, such as a full disk; `None` once it
    /// has taken one.
    pub fn refusal(&self) -> Option<String> {
        self.shared.state().refusals.last()
    }

    /// Reports whether the log was read and checked over the present connection.
    pub fn is_ready(&self) -> bool {
        let joined = self.shared.progress.borrow().joined;
        joined > 0 && joined == follow::connects(&self.shared.log.client())
    }

    /// Reports that something is done: [`Instance::finish`] has concluded it. It is appended
    /// soon, by itself where no other record takes it along.
    pub fn flush_soon(&self) {
        self.shared.done.notify_one();
    }

    /// Has the checks of a connect made again over the same connection: the stream or the consumer
    /// was recreated, and may have gone back. Nothing is claimed or acked until then.
    pub fn recheck(&self) {
        self.shared.recheck.store(true, Ordering::Relaxed);
        self.shared.left();
    }

    /// Waits until a claim is open no more.
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

    /// Messages of the log that were read and that no daemon published. They are skipped.
    pub fn foreign(&self) -> u64 {
        self.shared.state().foreign
    }

    /// The number of changes so far of what the rules decide by: records that were read, checks
    /// that were passed, and connections that were lost.
    pub fn changes(&self) -> u64 {
        self.shared.progress.borrow().changes
    }

    /// Waits for a change after `since`, which [`Self::changes`] gave before the rules decided.
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

    /// Appends what is done, where no other record has taken it along.
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

    /// Publishes a snapshot when enough records came since the last one. All instances try;
    /// the log takes the one that covers all records.
    async fn keep_short(&self) {
        let mut progress = self.shared.progress.subscribe();
        loop {
            let read = progress.borrow_and_update().seq;
            if self.shared.state().is_long(read) {
                self.checked().await;
                // None while the log is checked.
                if let Some(record) = self.with(|instance| instance.snapshot(nonce())) {
                    self.shorten(&record).await;
                }
            }
            let _ = progress.changed().await;
        }
    }

    /// Appends a snapshot, unless a record came since it was made.
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

impl State {
    /// Reports whether the records up to `read` call for a snapshot.
    fn is_long(&self, read: u64) -> bool {
        let records = read.saturating_sub(self.snapshot_seq);
        records >= SNAPSHOT_RECORDS || self.bytes_since >= SNAPSHOT_BYTES
    }
}

impl Shared {
    /// Appends a record as [`LogStream::append`] does, and keeps the reason why the log refuses it.
    pub async fn append(&self, record: &Record) -> Result<Option<u64>, ClaimsLogError> {
        let answer = self.log.append(record).await;
        self.state().refusals.note(answer.as_ref().err());
        answer
    }

    /// Reads the record at `seq`, of so many bytes.
    pub fn read(&self, seq: u64, record: &Record, bytes: usize) -> Result<(), claims::LogError> {
        let mut state = self.state();
        state.instance.read(seq, record)?;
        if let Some(is_read) = state.waited_for.get_mut(&record.id) {
            *is_read = true;
        }
        state.bytes_since += bytes;
        match record.body {
            claims::Body::Snapshot(_) => (state.snapshot_seq, state.bytes_since) = (seq, 0),
            claims::Body::Foreign => {
                state.foreign += 1;
                let (log, count) = (self.log.name(), state.foreign);
                // However many come, few lines.
                if count.is_power_of_two() {
                    warn!(
                        log,
                        seq,
                        bytes,
                        count,
                        "A message in the claims log is no record, and is skipped: something else publishes to the log; allow the daemon's user alone to"
                    );
                }
            }
            _ => {}
        }
        drop(state);
        self.change(|progress| progress.seq = progress.seq.max(seq));
        Ok(())
    }

    /// The last record that was read.
    pub fn tip(&self) -> claims::Place {
        self.state().instance.log().tip()
    }

    /// Has the rules decide, with all that was read.
    pub fn with<T>(&self, decide: impl FnOnce(&mut Instance) -> T) -> T {
        decide(&mut self.state().instance)
    }

    /// Takes the log's answer to a record.
    pub fn published(&self, record: &Record, seq: u64) -> Result<(), ClaimsLogError> {
        let published = self.with(|instance| instance.published(record, seq));
        published.map_err(|source| {
            self.state().failed = Some(source);
            self.lost(source)
        })
    }

    /// What an answer of the log has shown since the last call.
    pub fn take_failed(&self) -> Option<LogError> {
        self.state().failed.take()
    }

    /// Reports whether the checks are to be made again, once.
    pub fn take_recheck(&self) -> bool {
        self.recheck.swap(false, Ordering::Relaxed)
    }

    /// Waits until the record at a place was read.
    pub async fn read_to(&self, seq: u64) {
        let mut progress = self.progress.subscribe();
        // The sender lives as long as this.
        let _ = progress.wait_for(|progress| progress.seq >= seq).await;
    }

    /// Lets records be appended: the log was checked over a connection.
    pub fn joined(&self, connects: u64) {
        if self.recheck.load(Ordering::Relaxed) {
            return self.left();
        }
        self.change(|progress| progress.joined = connects);
        // What was done before the connection was lost.
        self.done.notify_one();
    }

    /// Lets nothing be appended before the log is checked again.
    pub fn left(&self) {
        self.with(|instance| instance.disconnected());
        self.change(|progress| progress.joined = 0);
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(|progress| {
            change(progress);
            progress.changes += 1;
        });
    }

    /// The error for a log that cannot be read on.
    pub fn lost(&self, source: LogError) -> ClaimsLogError {
        ClaimsLogError::Lost {
            stream: self.log.name().to_owned(),
            source,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
