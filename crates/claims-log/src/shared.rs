//! State of one process: the rules with all records read, and the progress of reading.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use claims::{Instance, LogReadError, Nonce, PublisherId, Record};
use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::error::ClaimsLogError;
use crate::log_lines::NO_RECORD;
use crate::refusals::AppendRefusals;
use crate::stream::LogStream;
use crate::timing::Timing;

/// Records after which a snapshot is due.
const SNAPSHOT_RECORDS: u64 = 5_000;
/// Bytes of records after which a snapshot is due: the amount that a process reads at its start.
const SNAPSHOT_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Shared {
    pub log: LogStream,
    /// Rules, with all that was read.
    rules: Mutex<Instance>,
    state: Mutex<SharedState>,
    pub progress: watch::Sender<ReadProgress>,
    /// Notifies of done claims that are in no record.
    pub done: Notify,
    /// True if the checks of a connect must be repeated.
    pub recheck: AtomicBool,
    /// First record to read; 0 for the first one of the log.
    first: AtomicU64,
    pub timing: Timing,
}

#[derive(Debug)]
pub(crate) struct SharedState {
    /// Appended records that a task waits for, each with true once it was read.
    pub waited_for: BTreeMap<Nonce, bool>,
    /// Sequence of the newest snapshot that was read.
    pub snapshot_seq: u64,
    /// Bytes of the records read after it.
    pub bytes_since: usize,
    /// Fault that an answer of the log revealed; it ends the session.
    pub failed: Option<LogReadError>,
    /// Number of messages read that no daemon published.
    pub foreign: u64,
    pub refusals: AppendRefusals,
}

/// Progress of reading the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadProgress {
    /// Sequence of the last record that was read.
    pub seq: u64,
    /// Connection over which the log was checked; 0 if there is none.
    pub joined: u64,
    /// Number of records read, checks passed, and connections lost.
    pub changes: u64,
}

impl SharedState {
    /// Reports whether the records up to `read` require a snapshot.
    pub fn is_long(&self, read: u64) -> bool {
        let records = read.saturating_sub(self.snapshot_seq);
        records >= SNAPSHOT_RECORDS || self.bytes_since >= SNAPSHOT_BYTES
    }
}

impl Shared {
    /// Creates the state of a process that has read nothing.
    pub fn new(log: LogStream, window: usize, timing: Timing) -> Self {
        let state = SharedState {
            waited_for: BTreeMap::new(),
            snapshot_seq: 0,
            bytes_since: 0,
            failed: None,
            foreign: 0,
            refusals: AppendRefusals::default(),
        };
        Self {
            log,
            rules: Mutex::new(Instance::new(PublisherId(rand::random()), window)),
            state: Mutex::new(state),
            progress: watch::Sender::new(ReadProgress::default()),
            done: Notify::new(),
            recheck: AtomicBool::new(false),
            first: AtomicU64::new(0),
            timing,
        }
    }

    /// Sets the first record to read.
    pub fn begin_at(&self, seq: u64) {
        self.first.store(seq, Ordering::Relaxed);
    }

    /// Returns the next record to read.
    pub fn next_seq(&self) -> u64 {
        self.first.load(Ordering::Relaxed).max(self.tip().seq + 1)
    }

    /// Appends a record as [`LogStream::append`] does, and keeps the reason of a rejection.
    pub async fn append(&self, record: &Record) -> Result<Option<u64>, ClaimsLogError> {
        let answer = self.log.append(record).await;
        self.state().refusals.note(answer.as_ref().err());
        answer
    }

    /// Reads the record at `seq`, of `bytes` bytes.
    pub fn read(
        &self,
        seq: u64,
        record: &Record,
        bytes: usize,
    ) -> Result<(), claims::LogReadError> {
        // The rules first: a task that finds the record read here decides with it.
        self.rules().read(seq, record)?;
        let mut state = self.state();
        if let Some(is_read) = state.waited_for.get_mut(&record.id) {
            *is_read = true;
        }
        state.bytes_since += bytes;
        match record.body {
            claims::RecordBody::Snapshot(_) => (state.snapshot_seq, state.bytes_since) = (seq, 0),
            claims::RecordBody::Foreign => {
                state.foreign += 1;
                let (log, count) = (self.log.name(), state.foreign);
                // Few lines, however many messages arrive.
                if count.is_power_of_two() {
                    warn!(log, seq, bytes, count, "{NO_RECORD}");
                }
            }
            _ => {}
        }
        drop(state);
        self.change(|progress| progress.seq = progress.seq.max(seq));
        Ok(())
    }

    /// Returns the position of the last record that was read.
    pub fn tip(&self) -> claims::LogPosition {
        self.rules().log().tip()
    }

    /// Lets the rules decide, on all records read so far.
    pub fn with<T>(&self, decide: impl FnOnce(&mut Instance) -> T) -> T {
        decide(&mut self.rules())
    }

    /// Notes the log's answer to a record.
    pub fn confirm_published(&self, record: &Record, seq: u64) -> Result<(), ClaimsLogError> {
        let published = self.with(|instance| instance.confirm_published(record, seq));
        published.map_err(|source| {
            self.state().failed = Some(source);
            self.lost_error(source)
        })
    }

    /// Returns the fault that an answer has revealed since the last call.
    pub fn take_failed(&self) -> Option<LogReadError> {
        self.state().failed.take()
    }

    /// Reports whether the checks must be repeated, once.
    pub fn take_recheck(&self) -> bool {
        self.recheck.swap(false, Ordering::Relaxed)
    }

    /// Waits until the record at a sequence was read.
    pub async fn read_to(&self, seq: u64) {
        let mut progress = self.progress.subscribe();
        // The sender lives as long as `self`.
        let _ = progress.wait_for(|progress| progress.seq >= seq).await;
    }

    /// Allows appends: the log was checked over a connection.
    pub fn allow_appends(&self, connects: u64) {
        if self.recheck.load(Ordering::Relaxed) {
            return self.forbid_appends();
        }
        self.change(|progress| progress.joined = connects);
        // Publishes claims that were done before the connection was lost.
        self.done.notify_one();
    }

    /// Forbids appends until the log is checked again.
    pub fn forbid_appends(&self) {
        self.with(|instance| instance.note_disconnect());
        self.change(|progress| progress.joined = 0);
    }

    fn change(&self, change: impl FnOnce(&mut ReadProgress)) {
        self.progress.send_modify(|progress| {
            change(progress);
            progress.changes += 1;
        });
    }

    /// Returns the error of a log that cannot be read any further.
    pub fn lost_error(&self, source: LogReadError) -> ClaimsLogError {
        ClaimsLogError::Lost {
            stream: self.log.name().to_owned(),
            source,
        }
    }

    /// Returns the rules, with all that was read.
    pub fn rules(&self) -> MutexGuard<'_, Instance> {
        // No code panics while it holds the lock.
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn state(&self) -> MutexGuard<'_, SharedState> {
        // No code panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
