//! The inserting stages over fakes of everything around them.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::pipeline::fakes::channel;
use crate::pipeline::fakes::watched;
use fault_point::FaultPoints;
use jetstream::AckPolicy;
use tokio::sync::Mutex;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::log::{FakeLog, Records};
use super::sink::FakeSink;
use super::streams::{FakeConnection, FakeDeadLetters};
use super::{batch, heartbeat, leased, ops, source};
use crate::pipeline::crossing::batch::ClosedBatch;
use crate::pipeline::crossing::delivery::Delivery;
use crate::pipeline::crossing::halt::Halt;
use crate::pipeline::crossing::in_flight::InFlight;
use crate::pipeline::crossing::rejected::{ClaimDeadLetters, Rejected};
use crate::pipeline::crossing::settled::Settled;
use crate::pipeline::crossing::source::CurrentSource;
use crate::pipeline::stage::circuit::Circuit;
use crate::pipeline::stage::dead_letter::DeadLetterStage;
use crate::pipeline::stage::insert::Insert;
use crate::pipeline::stage::parked::Parked;
use crate::settings::Settings;
use clock::Backoff;
use telemetry::traces::Traces;

/// Bytes of the largest message that the server takes.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Pauses after failures.
pub const PAUSE_MIN: Duration = Duration::from_millis(100);
pub const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Tokens that the table keeps.
const WINDOW: usize = 1_000;

/// One process: its stages between claim and ack, and fakes around them.
pub struct Scene {
    pub insert: Insert,
    pub log: Arc<FakeLog>,
    pub sink: Arc<FakeSink>,
    pub dead_letters: Arc<FakeDeadLetters>,
    pub connection: Arc<FakeConnection>,
    pub in_flight: &'static InFlight,
    pub halt: watch::Receiver<Halt>,
    pub settings: Arc<Settings>,
    settled: Receiver<Settled>,
    rejects: Option<Receiver<(Rejected, ClaimDeadLetters)>>,
}

impl Scene {
    /// The only process, with an empty table.
    pub fn new() -> Self {
        Self::of(1, &Records::new(), &Arc::new(FakeSink::new()), WINDOW)
    }

    /// The only process, whose table keeps so many tokens.
    pub fn with_window(window: usize) -> Self {
        Self::of(1, &Records::new(), &Arc::new(FakeSink::new()), window)
    }

    /// The only process, which has everything up to a sequence in doubt.
    pub fn in_doubt(last: u64) -> Self {
        Self::of(
            1,
            &Records::in_doubt(last),
            &Arc::new(FakeSink::new()),
            WINDOW,
        )
    }

    /// Another process with the same log, table and streams.
    pub fn beside(&self, publisher: u64) -> Self {
        let mut scene = Self::of(publisher, self.log.records(), &self.sink, WINDOW);
        scene.dead_letters = Arc::clone(&self.dead_letters);
        scene.insert.dead_letters = self.dead_letters.clone();
        scene
    }

    fn of(publisher: u64, records: &Arc<Records>, sink: &Arc<FakeSink>, window: usize) -> Self {
        let log = records.join(publisher, window);
        let dead_letters = Arc::new(FakeDeadLetters::default());
        let connection = FakeConnection::new();
        let settings = Arc::new(Settings::default());
        let (settled, settled_receiver) = channel(1_000);
        let (rejects, rejects_receiver) = channel(1_000);
        let (halt, halt_receiver) = watched(None);
        let insert = Insert {
            process: log.clone(),
            parked: Parked::new(log.clone(), settled.clone()),
            dead_letters: dead_letters.clone(),
            settings: Arc::clone(&settings),
            source: CurrentSource::new(connection.clone(), source(AckPolicy::Explicit)),
            entries_max: 1_000,
            max_payload: MAX_PAYLOAD,
            fence: Duration::from_secs(60),
            late_commit: Duration::from_secs(10),
            sink: sink.clone(),
            after_commit: Default::default(),
            circuit: Arc::new(Circuit::new(Backoff::new(PAUSE_MIN, PAUSE_MAX))),
            quarantine: Arc::default(),
            insert_time: Arc::default(),
            batches: Arc::new(Mutex::new(channel(1).1)),
            settled,
            rejects,
            halt,
            ops: ops(),
            faults: FaultPoints::default(),
            shutdown: CancellationToken::new(),
            over: CancellationToken::new(),
            heartbeat: heartbeat(),
        };
        Self {
            insert,
            log,
            sink: Arc::clone(sink),
            dead_letters,
            connection,
            in_flight: InFlight::new(10_000, 10_000_000),
            halt: halt_receiver,
            settings,
            settled: settled_receiver,
            rejects: Some(rejects_receiver),
        }
    }

    /// Messages with valid signals, and leases.
    pub async fn deliver(&self, sequences: RangeInclusive<u64>) -> Vec<Delivery> {
        self.lease(sequences.map(super::delivery).collect()).await
    }

    /// Messages with leases.
    pub async fn lease(&self, messages: Vec<Delivery>) -> Vec<Delivery> {
        leased(self.in_flight, source(AckPolicy::Explicit), messages).await
    }

    /// The batch of messages with valid signals, and leases.
    pub async fn batch(&self, sequences: RangeInclusive<u64>) -> ClosedBatch {
        batch(self.deliver(sequences).await)
    }

    /// Starts the stage of the dead letters.
    pub fn start_dead_letters(&mut self) {
        let stage = DeadLetterStage {
            dead_letters: self.dead_letters.clone(),
            settings: Arc::clone(&self.settings),
            refusals: self.insert.ops.refusals.clone(),
            max_payload: MAX_PAYLOAD,
            rejects: self.rejects.take().unwrap(),
            backoff: Backoff::new(PAUSE_MIN, PAUSE_MAX),
            traces: Traces::default(),
            faults: FaultPoints::default(),
            heartbeat: heartbeat(),
        };
        tokio::spawn(stage.run());
    }

    /// The input of the ack stage.
    pub fn take_settled(&mut self) -> Receiver<Settled> {
        std::mem::replace(&mut self.settled, channel(1).1)
    }

    /// Takes what may be acked by now: sequences whose rows are committed, whose letters are
    /// stored, and that the log says are done, each in order.
    pub fn settled(&mut self) -> Acked {
        let mut acked = Acked::default();
        while let Ok(settled) = self.settled.try_recv() {
            let (leases, to) = match settled {
                Settled::Committed(batch) => (batch.into_leases(), &mut acked.committed),
                Settled::DeadLettered(letter) => (vec![letter.into_lease()], &mut acked.letters),
                Settled::Logged(logged) => (logged.into_leases(), &mut acked.logged),
                Settled::NoLetterNeeded(one) => (vec![one.into_lease()], &mut acked.advisories),
            };
            for replies in self.in_flight.settle(leases) {
                to.extend(replies.subjects.iter().map(super::sequence_of));
            }
        }
        acked.committed.sort_unstable();
        acked.letters.sort_unstable();
        acked.logged.sort_unstable();
        acked
    }
}

/// Sequences of messages that may be acked, by their proof.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Acked {
    pub committed: Vec<u64>,
    pub letters: Vec<u64>,
    pub logged: Vec<u64>,
    pub advisories: Vec<u64>,
}
