//! Batches into ClickHouse, several at once: each is claimed first, then completed.

use std::sync::Arc;
use std::time::Duration;

use claims::{ClaimBlock, Nonce, RecordDelayed};
use fault_point::{FaultPoints, Point};
use store::schema::SchemaError;
use store::{AfterCommits, Remedy, StoreError};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::ops::Ops;
use crate::ops::health::Dependency;
use crate::pipeline::batching::pace::InsertTime;
use crate::pipeline::crossing::batch::ClosedBatch;
use crate::pipeline::crossing::halt::Halt;
use crate::pipeline::crossing::permit::InsertPermit;
use crate::pipeline::crossing::rejected::{ClaimDeadLetters, Rejected};
use crate::pipeline::crossing::settled::Settled;
use crate::pipeline::crossing::source::CurrentSource;
use crate::pipeline::liveness::heartbeat::Heartbeat;
use crate::pipeline::log_lines::{CLAIMS_WAIT, INSERT_FAILED, INSERT_REFUSED, INSERTS_PROBE};
use crate::pipeline::port::claims_log::ClaimsLog;
use crate::pipeline::port::dead_letters::DeadLetterStore;
use crate::pipeline::port::sink::Sink;
use crate::pipeline::stage::circuit::{Circuit, CircuitChange};
use crate::pipeline::stage::claimed::{Claimed, entries};
use crate::pipeline::stage::parked::Parked;
use crate::pipeline::stage::quarantine::Quarantine;
use crate::settings::Settings;

/// Between two tries to claim when the table's window is full.
pub const WINDOW_RETRY: Duration = Duration::from_secs(1);

/// Bytes of an entry in a record, at most: two numbers, and for a dead letter its place and cause.
const ENTRY_BYTES_MAX: usize = 26;
/// Bytes of a record besides its entries: claims that are done, 18 each, and what it says of
/// itself.
const RECORD_BYTES: usize = 64 * 1024;

/// Messages that a claim may name where a message may have `max_payload` bytes.
pub fn entries_max(max_payload: usize) -> usize {
    let besides = RECORD_BYTES.min(max_payload / 2);
    ((max_payload - besides) / ENTRY_BYTES_MAX).clamp(1, claims::MAX_ENTRIES)
}

/// One of the workers that insert side by side, so that a slow batch stops no other.
#[derive(Clone)]
pub struct Insert {
    pub process: Arc<dyn ClaimsLog>,
    pub parked: Parked,
    pub dead_letters: Arc<dyn DeadLetterStore>,
    pub settings: Arc<Settings>,
    pub source: CurrentSource,
    /// Messages that a claim may name, so that its record is no larger than a message may be.
    pub entries_max: usize,
    /// The largest message that the server takes.
    pub max_payload: usize,
    /// From a claim to its fence.
    pub fence: Duration,
    /// Longest time from the fence to a commit.
    pub late_commit: Duration,
    pub sink: Arc<dyn Sink>,
    pub after_commit: AfterCommits,
    pub circuit: Arc<Circuit>,
    pub quarantine: Arc<Quarantine>,
    pub insert_time: Arc<InsertTime>,
    pub batches: Arc<Mutex<Receiver<(ClosedBatch, InsertPermit)>>>,
    pub settled: Sender<Settled>,
    pub rejects: Sender<(Rejected, ClaimDeadLetters)>,
    pub halt: watch::Sender<Halt>,
    pub ops: Ops,
    pub faults: FaultPoints,
    /// A stop begins.
    pub shutdown: CancellationToken,
    /// The pipeline is over: everything is acked, or `shutdown.grace` is over.
    pub over: CancellationToken,
    pub heartbeat: Heartbeat,
}

impl Insert {
    /// Inserts until no batch will come. Ends early only by being dropped: then nothing more
    /// is acked.
    pub async fn run(self) {
        loop {
            let next = async { self.batches.lock().await.recv().await };
            let batch = self.heartbeat.waiting(next).await;
            let Some((batch, permit)) = batch else { return };
            self.land(batch).await;
            drop(permit);
        }
    }

    /// Runs a task besides the stages until it ends, or the pipeline is over. A stop waits for it
    /// within `shutdown.grace`, since it holds the channels to the dead letters and the acks.
    pub fn spawn<F>(&self, task: impl FnOnce(Self) -> F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = task(Self {
            heartbeat: self.heartbeat.unwatched(),
            ..self.clone()
        });
        let over = self.over.clone();
        tokio::spawn(async move {
            over.run_until_cancelled(task).await;
        })
    }

    /// Claims and completes a batch, by the stream that its messages are in: all are of one, but
    /// for the moment in which a stream is recreated.
    pub async fn land(&self, mut rest: ClosedBatch) {
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
            let block = ClaimBlock {
                stream_created_ns,
                fence,
                table: self.sink.table().0,
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
                let named = claim.map_or(0, |claim| claim.block.entries.len());
                // It names nothing else, so that it has all when it has as many.
                let has_all = named == free.len();
                free.split(|one| {
                    let entry = || claim?.block.entry(one.position.stream_seq);
                    has_all
                        || entry()
                            .is_some_and(|entry| entry.published_ns == one.position.published_ns)
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

    /// Publishes a claim, and reads the log up to it; reports false where it had to wait before.
    async fn publish(&self, id: Nonce, block: ClaimBlock) -> bool {
        let record = match self.process.with(|instance| instance.claim(id, block)) {
            Ok(record) => record,
            Err(RecordDelayed::Unchecked | RecordDelayed::WentBack) => return false,
            Err(full) => {
                warn!(error = %full, "{CLAIMS_WAIT}");
                self.heartbeat.waiting(sleep(WINDOW_RETRY)).await;
                self.forget_tokens();
                return false;
            }
        };
        self.heartbeat.waiting(self.process.append(record)).await;
        self.faults.reached(Point::ClaimAppended).await;
        true
    }

    /// Lets tokens go whose fences are over.
    pub fn forget_tokens(&self) {
        let now = self.sink.seconds(Duration::ZERO);
        self.process
            .with(|instance| instance.forget_tokens(now, self.late_commit.as_secs() as i64));
    }

    /// The fence of a claim that is made now.
    pub fn fence(&self) -> i64 {
        self.sink.seconds(self.fence)
    }

    /// Reports whether the table fits. Where it does not, the log says so, and no row is to blame.
    pub async fn table_fits(&self) -> bool {
        match self.sink.verify().await {
            Ok(()) => true,
            Err(SchemaError::Store(_)) => false,
            Err(error) => {
                error!(%error, "The table does not fit");
                false
            }
        }
    }

    /// Takes note that ClickHouse takes inserts.
    pub fn succeeded(&self) {
        if self.circuit.succeeded() == CircuitChange::Closed {
            info!("ClickHouse takes inserts again");
        }
        self.resume();
        self.ops.metrics.pipeline.circuit_open.set(0);
        self.ops.health.up(Dependency::Clickhouse);
        self.ops.health.up(Dependency::Schema);
    }

    /// Lets pulling go on.
    pub fn resume(&self) {
        self.halt.send_if_modified(|halt| halt.take().is_some());
        self.ops.metrics.pipeline.pulling_halted.set(0);
    }

    /// Takes note of a failure: halts the pulls, or pauses.
    pub async fn failed(&self, error: &StoreError, count: usize) {
        self.ops.metrics.pipeline.insert_failed(error.remedy());
        match error.remedy() {
            // A refused value whose table does not fit is the operator's too. The table's check
            // names what ClickHouse's words would.
            Remedy::Halt | Remedy::Bisect if error.concerns_schema() => {
                let fault = self.sink.verify().await.err();
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
                warn!(count, %error, "{INSERT_FAILED}");
                self.pause(&error.to_string(), false);
            }
        }
    }

    /// Halts the pulls, until an insert succeeds.
    pub fn halted(&self, error: &str, at_fault: Dependency, count: usize) {
        error!(count, %error, "{INSERT_REFUSED}");
        self.halt.send_replace(Some(error.into()));
        self.ops.metrics.pipeline.pulling_halted.set(1);
        self.ops.health.down(at_fault, error);
        self.pause(error, true);
    }

    /// Has the next try wait, for as long as ever where `longest` says so.
    pub fn pause(&self, error: &str, longest: bool) {
        if self.circuit.failed(longest) == CircuitChange::Opened {
            self.ops.metrics.pipeline.circuit_open.set(1);
            self.ops.health.down(Dependency::Clickhouse, error);
            warn!("{INSERTS_PROBE}");
        }
    }
}

#[cfg(test)]
mod tests;
