//! A claims log in memory: the real rules over a list of records that all members read at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use claims::{
    ClaimBlock, Done, Entry, Instance, LogPosition, Nonce, Proof, PublisherId, Record, RecordBody,
};
use tokio::sync::watch;

use super::{CREATED, position};
use crate::pipeline::port::claims_log::ClaimsLog;

/// The records, and the processes that read them.
#[derive(Debug, Default)]
pub struct Records {
    records: Mutex<Vec<Record>>,
    members: Mutex<Vec<Arc<FakeLog>>>,
    nonces: AtomicU64,
}

/// One process of the log.
#[derive(Debug)]
pub struct FakeLog {
    records: Arc<Records>,
    rules: Mutex<Instance>,
    changes: watch::Sender<u64>,
    is_rechecked: AtomicBool,
}

impl Records {
    /// A log whose first snapshot says that nothing is done.
    pub fn new() -> Arc<Self> {
        Self::begin(claims::Snapshot::first(CREATED, 0))
    }

    /// A log of which everything up to a sequence is in doubt.
    pub fn in_doubt(last: u64) -> Arc<Self> {
        Self::begin(claims::Snapshot::first(CREATED, 0).with_doubt(position(last)))
    }

    fn begin(snapshot: claims::Snapshot) -> Arc<Self> {
        let records = Arc::new(Self::default());
        records.publish(Record {
            id: records.nonce(),
            publisher: PublisherId(0),
            generation: Nonce(0),
            tip: LogPosition::START,
            done: Vec::new(),
            body: RecordBody::Snapshot(Box::new(snapshot)),
        });
        records
    }

    /// One more process, which has read and checked the log.
    pub fn join(self: &Arc<Self>, publisher: u64, window: usize) -> Arc<FakeLog> {
        let mut rules = Instance::new(PublisherId(publisher.into()), window);
        let records = self.records.lock().unwrap().clone();
        for (seq, record) in (1..).zip(&records) {
            rules.read(seq, record).unwrap();
        }
        let connected = rules.connect(self.nonce());
        let log = Arc::new(FakeLog {
            records: Arc::clone(self),
            rules: Mutex::new(rules),
            changes: watch::Sender::new(1),
            is_rechecked: AtomicBool::new(false),
        });
        self.members.lock().unwrap().push(Arc::clone(&log));
        self.publish(connected);
        let last = self.records.lock().unwrap().len() as u64;
        assert_eq!(log.rules().join([], last), Ok(true));
        log
    }

    /// Appends a record, which all members read.
    pub fn publish(&self, record: Record) {
        let mut records = self.records.lock().unwrap();
        records.push(record);
        let seq = records.len() as u64;
        for member in self.members.lock().unwrap().iter() {
            member
                .rules()
                .read(seq, &records[records.len() - 1])
                .unwrap();
            member.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// The bodies of all records.
    pub fn bodies(&self) -> Vec<RecordBody> {
        let records = self.records.lock().unwrap();
        records.iter().map(|record| record.body.clone()).collect()
    }

    fn nonce(&self) -> Nonce {
        Nonce(u128::from(self.nonces.fetch_add(1, Ordering::Relaxed)) + 1_000)
    }
}

impl FakeLog {
    /// Claims messages, and does nothing more with them.
    pub fn open_claim(&self, entries: Vec<Entry>) -> Nonce {
        let id = self.records.nonce();
        let block = ClaimBlock {
            stream_created_ns: CREATED,
            fence: 60,
            table: 7,
            entries,
        };
        let record = self.rules().claim(id, block).unwrap();
        self.records.publish(record);
        id
    }

    /// Ends all open claims, as another process that has completed them.
    pub fn end_claims(&self) {
        let (open, generation, tip) = {
            let rules = self.rules();
            let log = rules.log();
            let open: Vec<Nonce> = log.claims().map(|(id, _)| id).collect();
            (open, log.generation(), log.tip())
        };
        let done = |claim| Done {
            claim,
            proof: Proof::Counted,
        };
        self.records.publish(Record {
            id: self.records.nonce(),
            publisher: PublisherId(99),
            generation,
            tip,
            done: open.into_iter().map(done).collect(),
            body: RecordBody::Nothing,
        });
    }

    /// Reports whether the log was to be checked again.
    pub fn is_rechecked(&self) -> bool {
        self.is_rechecked.load(Ordering::Relaxed)
    }

    /// The floor of the stream of all messages.
    pub fn floor(&self) -> u64 {
        self.rules().log().floor(CREATED).unwrap_or_default()
    }

    /// The records, and the other processes.
    pub fn records(&self) -> &Arc<Records> {
        &self.records
    }
}

#[async_trait]
impl ClaimsLog for FakeLog {
    fn rules(&self) -> MutexGuard<'_, Instance> {
        self.rules.lock().unwrap()
    }

    fn nonce(&self) -> Nonce {
        self.records.nonce()
    }

    fn changes(&self) -> u64 {
        *self.changes.borrow()
    }

    fn flush_soon(&self) {
        let record = self.rules().flush(self.records.nonce());
        if let Some(record) = record {
            self.records.publish(record);
        }
    }

    fn recheck(&self) {
        self.is_rechecked.store(true, Ordering::Relaxed);
    }

    async fn append(&self, record: Record) {
        self.records.publish(record);
    }

    async fn changed(&self, since: u64) {
        let mut changes = self.changes.subscribe();
        let _ = changes.wait_for(|changes| *changes > since).await;
    }

    async fn ready(&self) {}
}
