//! The surroundings of the processes: the log, the table, the dead letters and the stream.

use std::collections::{BTreeSet, VecDeque};

use claims::{Answer, Attempt, Body, Instance, Log, Nonce, Publisher, Record, Snapshot};

/// The stream's creation, which the model does not vary.
pub const CREATED: i64 = 1;

/// How large the world is, and how often each fault may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Processes.
    pub nodes: usize,
    /// Messages in the stream, with sequences from 1.
    pub messages: u64,
    /// Messages that ClickHouse refuses, as bits; bit 0 is message 1.
    pub refused: u64,
    /// Messages that are no valid signal, as bits.
    pub invalid: u64,
    /// Tokens that the table keeps, and the daemon is told.
    pub window: usize,
    /// Claims by batches; parts come on top.
    pub claims: u8,
    /// Steps of ClickHouse's clock, each of which ends all fences so far.
    pub ticks: u8,
    /// What may happen, and how often.
    pub faults: Faults,
}

/// Faults that may still happen, each so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Faults {
    /// All faults together.
    pub any: u8,
    /// A process is killed and started again.
    pub crashes: u8,
    /// An answer of ClickHouse is lost.
    pub answers: u8,
    /// The log stores a record, and its answer is lost.
    pub repeats: u8,
    /// ClickHouse is killed between writing a token and its rows.
    pub tokens: u8,
    /// A process announces a takeover though the publisher lives.
    pub takeovers: u8,
    /// A snapshot is made.
    pub snapshots: u8,
    /// An operator deletes a message from the stream.
    pub deletions: u8,
    /// An operator lifts what ClickHouse refuses.
    pub mends: u8,
    /// A materialized view refuses a block that the table has taken.
    pub views: u8,
    /// JetStream gives up on a message: it is claimed as a dead letter.
    pub exhausted: u8,
}

/// A process with what it is about to publish.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// The process.
    pub instance: Instance,
    /// Records that the log has not answered.
    pub outbox: Vec<Record>,
    /// Nonces and publishers that were issued to it and to those before it.
    pub issued: u32,
}

/// A try of a block on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flight {
    /// Deduplication token.
    pub token: Nonce,
    /// ClickHouse's time from which it refuses the block.
    pub fence: i64,
    /// Sequences of the rows.
    pub rows: BTreeSet<u64>,
    /// The process that waits for the answer; `None` when it has ended.
    pub sender: Option<(usize, Attempt)>,
    /// ClickHouse's answer, once it has judged the block.
    pub answer: Option<Answer>,
}

/// Everything, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// What may still happen.
    pub left: Bounds,
    /// The processes.
    pub nodes: Vec<Node>,
    /// Records of processes that have ended, still on their way to the log.
    pub limbo: Vec<Record>,
    /// The sequence of the log's first record that is kept.
    pub log_first: u64,
    /// The log's records.
    pub log: Vec<Record>,
    /// Tries on their way.
    pub flights: Vec<Flight>,
    /// Tokens that the table keeps, the oldest first.
    pub tokens: VecDeque<Nonce>,
    /// Rows of the table: the message and the claim.
    pub rows: Vec<(u64, Nonce)>,
    /// Stored dead letters.
    pub dead_letters: BTreeSet<u64>,
    /// Messages in the stream.
    pub stream: BTreeSet<u64>,
    /// Messages that were acked.
    pub acked: BTreeSet<u64>,
    /// Messages that a settlement recorded as lost.
    pub lost: BTreeSet<u64>,
    /// ClickHouse's clock.
    pub now: i64,
}

impl World {
    /// A world in which nothing has happened yet.
    pub fn new(bounds: Bounds, instance: impl Fn(Publisher) -> Instance) -> Self {
        let first = Record {
            id: Nonce(1),
            publisher: Publisher(0),
            tip: claims::Place::START,
            done: Vec::new(),
            body: Body::Snapshot(Box::new(Snapshot::first(CREATED, 0))),
        };
        let mut world = Self {
            left: bounds,
            nodes: Vec::new(),
            limbo: Vec::new(),
            log_first: 1,
            log: vec![first],
            flights: Vec::new(),
            tokens: VecDeque::new(),
            rows: Vec::new(),
            dead_letters: BTreeSet::new(),
            stream: (1..=bounds.messages).collect(),
            acked: BTreeSet::new(),
            lost: BTreeSet::new(),
            now: 0,
        };
        for node in 0..bounds.nodes {
            world.nodes.push(Node {
                instance: instance(Publisher(number(node, 0))),
                outbox: Vec::new(),
                issued: 1,
            });
        }
        world
    }

    /// A number that was never used. It does not depend on what other processes did, so that
    /// independent events lead to one state in whatever order they happen.
    pub fn fresh(&mut self, node: usize) -> u128 {
        let process = &mut self.nodes[node];
        process.issued += 1;
        number(node, process.issued)
    }

    /// The sequence of the log's last record.
    pub fn log_last(&self) -> u64 {
        self.log_first + self.log.len() as u64 - 1
    }

    /// Appends a record, and returns its place.
    pub fn append(&mut self, record: Record) -> u64 {
        if let Body::Settled { lost, .. } = &record.body {
            self.lost.extend(lost);
        }
        self.log.push(record);
        self.log_last()
    }

    /// The record that a process reads next: the one behind its tip, or the oldest that is
    /// kept.
    pub fn next_record(&self, node: usize) -> Option<(u64, &Record)> {
        let tip = self.nodes[node].instance.log().tip().seq;
        let seq = (tip + 1).max(self.log_first);
        let index = usize::try_from(seq - self.log_first).ok()?;
        Some((seq, self.log.get(index)?))
    }

    /// Reports whether ClickHouse refuses a row of a block.
    pub fn refuses(&self, rows: &BTreeSet<u64>) -> bool {
        rows.iter()
            .any(|seq| self.left.refused >> (seq - 1) & 1 == 1)
    }

    /// Reports whether a message is no valid signal.
    pub fn is_invalid(&self, seq: u64) -> bool {
        self.left.invalid >> (seq - 1) & 1 == 1
    }

    /// Reports whether a message is stored, or recorded as lost.
    pub fn is_stored(&self, seq: u64) -> bool {
        self.rows.iter().any(|(row, _)| *row == seq)
            || self.dead_letters.contains(&seq)
            || self.lost.contains(&seq)
    }

    /// What a process has read.
    pub fn log_of(&self, node: usize) -> &Log {
        self.nodes[node].instance.log()
    }

    /// The sequences that the table has of a claim.
    pub fn found(&self, claim: Nonce) -> BTreeSet<u64> {
        let of_claim = self.rows.iter().filter(|(_, nonce)| *nonce == claim);
        of_claim.map(|(seq, _)| *seq).collect()
    }

    /// Inserts a block, as a table with a window of tokens does.
    pub fn commit(&mut self, token: Nonce, rows: &BTreeSet<u64>) {
        if self.tokens.contains(&token) {
            return;
        }
        self.keep(token);
        self.rows.extend(rows.iter().map(|seq| (*seq, token)));
        self.rows.sort_unstable();
    }

    /// Keeps a token, and forgets the oldest one where there are too many.
    pub fn keep(&mut self, token: Nonce) {
        self.tokens.push_back(token);
        if self.tokens.len() > self.left.window {
            self.tokens.pop_front();
        }
    }
}

fn number(node: usize, issued: u32) -> u128 {
    (node as u128 + 1) << 32 | u128::from(issued)
}
