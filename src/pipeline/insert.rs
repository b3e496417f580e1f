//! Batches into ClickHouse, several at once: each is claimed first, then completed.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use claims::{Block, Nonce, NotNow, Standing};
use claims_log::Process;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::cache::Feed;
use crate::claiming::{ClaimingError, Servers};
use crate::fault_point::{FaultPoints, Point};
use crate::ops::Ops;
use crate::ops::health::Dependency;
use crate::store::schema::SchemaError;
use crate::store::{Remedy, Store, StoreError};

use super::ack::Settled;
use super::batch::ClosedBatch;
use super::circuit::{Change, Circuit};
use super::claimed::{Claimed, entries};
use super::dead_letter::{Letters, Rejected, letter_subject};
use super::decode::Slot;
use super::pace::InsertTime;
use super::parked::Parked;
use super::pulse::Pulse;
use super::source::CurrentSource;
use super::suspects::Suspects;

/// Why pulling is stopped; `None` while it goes on.
pub(super) type Halt = Option<Arc<str>>;

/// Between two tries to claim when the table's window is full.
pub(super) const WINDOW_RETRY: Duration = Duration::from_secs(1);

/// Dead letters that are looked up at once.
const LOOKS: usize = 32;

/// Bytes of an entry in a record, at most: two numbers, and for a dead letter its place and cause.
const ENTRY_BYTES_MAX: usize = 26;
/// Bytes of a record besides its entries: claims that are done, 18 each, and what it says of itself.
const RECORD_BYTES: usize = 64 * 1024;

/// Messages that a claim may name where a message may have `max_payload` bytes.
pub(super) fn entries_max(max_payload: usize) -> usize {
    let besides = RECORD_BYTES.min(max_payload / 2);
    ((max_payload - besides) / ENTRY_BYTES_MAX).clamp(1, claims::MAX_ENTRIES)
}

/// One of the workers that insert side by side, so that a slow batch stops no other.
#[derive(Clone)]
pub(super) struct Insert {
    pub process: Process,
    pub parked: Parked,
    pub servers: Servers,
    pub source: CurrentSource,
    /// Messages that a claim may name, so that its record is no larger than a message may be.
    pub entries_max: usize,
    /// The largest message that the server takes.
    pub max_payload: usize,
    /// From a claim to its fence.
    pub fence: Duration,
    /// How much later a block may still be committed.
    pub late_commit: Duration,
    pub store: Store,
    pub cache: Option<Feed>,
    pub circuit: Arc<Circuit>,
    pub suspects: Arc<Suspects>,
    pub insert_time: Arc<InsertTime>,
    pub batches: Arc<Mutex<Receiver<(ClosedBatch, Slot)>>>,
    pub settled: Sender<Settled>,
    pub rejects: Sender<(Rejected, Letters)>,
    pub halt: watch::Sender<Halt>,
    pub ops: Ops,
    pub faults: FaultPoints,
    /// A stop begins.
    pub shutdown: CancellationToken,
    /// The pipeline is over: everything is acked, or `shutdown.grace` is over.
    pub over: CancellationToken,
    pub pulse: Pulse,
}

impl Insert {
    /// Inserts until no batch will come. Ends early only by being dropped: then nothing more
    /// is acked.
    pub async fn run(self) {
        loop {
            let next = async { self.batches.lock().await.recv().await };
            let batch = self.pulse.waiting(next).await;
            let Some((batch, slot)) = batch else { return };
            self.land(batch).await;
            drop(slot);
        }
    }

    /// Runs a task besides the stages until it ends, or the pipeline is over. A stop waits for it
    /// within `shutdown.grace`, since it holds the channels to the dead letters and the acks.
    pub(super) fn spawn<F>(&self, task: impl FnOnce(Self) -> F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = task(Self {
            pulse: self.pulse.unwatched(),
            ..self.clone()
        });
        let over = self.over.clone();
        tokio::spawn(async move {
            over.run_until_cancelled(task).await;
        })
    }

    /// Claims and completes a batch, by the stream that its messages are in: all are of one, but
    /// for the moment in which a stream is recreated.
    pub(super) async fn land(&self, mut rest: ClosedBatch) {
        loop {
            let first = rest.messages().next().map(|one| one.position);
            let Some(first) = first else { return };
            let (same, others) =
                rest.split(|one| one.position.stream_created_ns == first.stream_created_ns);
            let (with_rows, without) = same.split_rejects();
            // A dead letter that cannot be stored keeps no row from landing.
            for part in without.chunks(self.entries_max) {
                if let Some(claimed) = self.claim(part, first.stream_created_ns).await {
                    self.spawn(|insert| async move { insert.complete(claimed).await });
                }
            }
            for part in with_rows.chunks(self.entries_max) {
                if let Some(claimed) = self.claim(part, first.stream_created_ns).await {
                    self.complete(claimed).await;
                }
            }
            rest = others;
        }
    }

    /// Claims the messages that are free. The others wait for the log.
    async fn claim(&self, mut batch: ClosedBatch, stream_created_ns: i64) -> Option<Claimed> {
        self.faults.reached(Point::BeforeClaim).await;
        while !batch.is_empty() {
            let free = self.free(batch, stream_created_ns).await;
            if free.is_empty() {
                return None;
            }
            let (id, fence) = (self.process.nonce(), self.fence());
            let block = Block {
                stream_created_ns,
                fence,
                table: self.store.identity().0,
                entries: entries(&free),
            };
            if !self.publish(id, block).await {
                // The connection may be another one meanwhile, and the stream another one with it.
                batch = free;
                continue;
            }
            // Of what the claim names, it has what no earlier one does.
            let (mine, theirs) = self.process.with(|instance| {
                let claim = instance.log().claim(id);
                free.split(|one| {
                    let entry = claim.and_then(|claim| claim.block.entry(one.position.stream_seq));
                    entry.is_some_and(|entry| entry.published_ns == one.position.published_ns)
                })
            });
            if mine.is_empty() {
                // Others were first, or a connection was made meanwhile and the claim is void.
                batch = theirs;
                continue;
            }
            self.parked.hold(theirs.left_to_others()).await;
            return Some(Claimed::new(id, fence, stream_created_ns, mine));
        }
        None
    }

    /// The messages that may be claimed, each once. The others wait for the log.
    async fn free(&self, batch: ClosedBatch, stream_created_ns: i64) -> ClosedBatch {
        self.pulse.waiting(self.process.ready()).await;
        // What was delivered over another connection is delivered again: the stream may have gone
        // back, and have another message at its sequence.
        let current = self.source.get();
        let (batch, _stale) = batch.split(|one| !one.lease.is_stale(current));
        let (batch, doubtful) = self.process.with(|instance| {
            batch.split(|one| instance.standing(one.position) != Standing::Doubtful)
        });
        let (clear, stored) = self.look_up(doubtful, stream_created_ns).await;
        self.absent(stream_created_ns, &stored).await;
        let looked_up: HashSet<u64> = clear
            .messages()
            .map(|one| one.position.stream_seq)
            .collect();
        let batch = batch.joined(clear).joined(stored);
        let mut seen = HashSet::new();
        let (free, others) = self.process.with(|instance| {
            batch.split(|one| {
                let seq = one.position.stream_seq;
                let is_free = match instance.standing(one.position) {
                    Standing::Free => true,
                    // One that is stored stays in doubt where the report of it was void.
                    Standing::Doubtful => looked_up.contains(&seq),
                    _ => false,
                };
                is_free && seen.insert(seq)
            })
        });
        self.parked.hold(others.left_to_others()).await;
        free
    }

    /// Looks messages up that may be stored without a claim: those that are not, and those that
    /// are.
    async fn look_up(
        &self,
        doubtful: ClosedBatch,
        stream_created_ns: i64,
    ) -> (ClosedBatch, ClosedBatch) {
        if doubtful.is_empty() {
            return doubtful.split(|_| true);
        }
        let messages: Vec<(u64, i64)> = doubtful
            .messages()
            .map(|one| (one.position.stream_seq, one.position.published_ns))
            .collect();
        loop {
            let rows = self.store.having(stream_created_ns, &messages).await;
            let letters = self.letters_of(&doubtful, stream_created_ns).await;
            match (rows, letters) {
                (Ok(rows), Ok(letters)) => {
                    return doubtful.split(|one| {
                        let seq = one.position.stream_seq;
                        !rows.contains(&seq) && !letters.contains(&seq)
                    });
                }
                (Err(error), _) => self.failed(&error, messages.len()).await,
                (_, Err(error)) => warn!(%error, "Dead letters cannot be looked up; trying again"),
            }
            self.pulse.waiting(sleep(WINDOW_RETRY)).await;
        }
    }

    /// Those of some messages that have a dead letter. Each letter has a subject of its own. Older
    /// releases gave several one subject; of theirs only the newest are looked through.
    async fn letters_of(
        &self,
        messages: &ClosedBatch,
        stream_created_ns: i64,
    ) -> Result<BTreeSet<u64>, ClaimingError> {
        let newest = self.servers.newest_letters(stream_created_ns).await?;
        let looks = messages.messages().map(|one| {
            let seq = one.position.stream_seq;
            let letter = newest.get(&(seq, one.published_at_ms())).copied();
            let subject = letter_subject(one, self.servers.settings(), self.max_payload);
            let body = one.body.clone();
            async move {
                let is_stored = match letter {
                    Some(letter) => self.servers.is_letter(letter, &body).await?,
                    None => false,
                };
                let is_stored = is_stored || self.servers.has_letter(&subject, &body).await?;
                Ok::<_, ClaimingError>(is_stored.then_some(seq))
            }
        });
        let looks: Vec<_> = looks.collect();
        let found: Vec<_> = stream::iter(looks)
            .buffer_unordered(LOOKS)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Reports messages that are stored without a claim.
    async fn absent(&self, stream_created_ns: i64, stored: &ClosedBatch) {
        let sequences = stored.messages().map(|one| one.position.stream_seq);
        self.report_absent(stream_created_ns, sequences.collect())
            .await;
    }

    /// Reports sequences that need no claim.
    pub(super) async fn report_absent(&self, stream_created_ns: i64, mut sequences: Vec<u64>) {
        sequences.sort_unstable();
        for run in sequences.chunk_by(|one, next| one + 1 >= *next) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            let id = self.process.nonce();
            let record = self
                .process
                .with(|instance| instance.absent(id, stream_created_ns, *first, *last));
            if let Some(record) = record {
                self.pulse.waiting(self.process.append(record)).await;
            }
        }
    }

    /// Publishes a claim, and reads the log up to it; reports false where it had to wait before.
    async fn publish(&self, id: Nonce, block: Block) -> bool {
        let record = match self.process.with(|instance| instance.claim(id, block)) {
            Ok(record) => record,
            Err(NotNow::Unchecked | NotNow::WentBack) => return false,
            Err(full) => {
                warn!(error = %full, "Claims wait");
                self.pulse.waiting(sleep(WINDOW_RETRY)).await;
                self.forget_tokens();
                return false;
            }
        };
        self.pulse.waiting(self.process.append(record)).await;
        self.faults.reached(Point::ClaimAppended).await;
        true
    }

    /// Lets tokens go whose fences are over.
    pub(super) fn forget_tokens(&self) {
        let now = self.store.clickhouse_seconds(Duration::ZERO);
        self.process
            .with(|instance| instance.forget_tokens(now, self.late_commit.as_secs() as i64));
    }

    /// The fence of a claim that is made now.
    pub(super) fn fence(&self) -> i64 {
        self.store.clickhouse_seconds(self.fence)
    }

    /// Whether the table is as it should be. When it is not, that is told, and no row is to
    /// blame.
    pub(super) async fn table_fits(&self) -> bool {
        match self.store.verify().await {
            Ok(()) => true,
            Err(SchemaError::Store(_)) => false,
            Err(error) => {
                error!(%error, "The table does not fit");
                false
            }
        }
    }

    pub(super) fn succeeded(&self) {
        if self.circuit.succeeded() == Change::Closed {
            info!("ClickHouse takes inserts again");
        }
        self.resume();
        self.ops.metrics.circuit_open.set(0);
        self.ops.health.up(Dependency::Clickhouse);
        self.ops.health.up(Dependency::Schema);
    }

    /// Lets pulling go on.
    pub(super) fn resume(&self) {
        self.halt.send_if_modified(|halt| halt.take().is_some());
        self.ops.metrics.pulling_halted.set(0);
    }

    pub(super) async fn failed(&self, error: &StoreError, count: usize) {
        self.ops.metrics.insert_failed(error.remedy());
        match error.remedy() {
            // A refused value whose table does not fit is the operator's too. The table's check
            // names what ClickHouse's words would.
            Remedy::Halt | Remedy::Bisect if error.concerns_schema() => {
                let fault = self.store.verify().await.err();
                let fault = fault.filter(SchemaError::concerns_schema);
                let words = fault.map_or_else(|| error.to_string(), |fault| fault.to_string());
                self.halted(&words, Dependency::Schema, count);
            }
            Remedy::Halt | Remedy::Bisect => {
                self.halted(&error.to_string(), Dependency::Clickhouse, count);
            }
            // Halves wait too: a server that lacks memory for everybody gets no more inserts than
            // one that is away.
            Remedy::Wait | Remedy::Halve | Remedy::Late => {
                warn!(count, %error, "Insert failed; the same batch is sent again");
                self.pause(&error.to_string(), false);
            }
        }
    }

    pub(super) fn halted(&self, error: &str, at_fault: Dependency, count: usize) {
        error!(count, %error, "Insert refused; pulling stops until this is mended, nothing is acked");
        self.halt.send_replace(Some(error.into()));
        self.ops.metrics.pulling_halted.set(1);
        self.ops.health.down(at_fault, error);
        self.pause(error, true);
    }

    pub(super) fn pause(&self, error: &str, longest: bool) {
        if self.circuit.failed(longest) == Change::Opened {
            self.ops.metrics.circuit_open.set(1);
            self.ops.health.down(Dependency::Clickhouse, error);
            warn!("ClickHouse fails again and again; one insert at a time asks whether it is back");
        }
    }
}
