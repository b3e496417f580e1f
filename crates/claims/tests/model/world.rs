//! Surroundings of the processes: the log, the table, the dead letters and the stream.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use risksignal_claims::{
    ClaimBlock, Fate, InsertAnswer, InsertAttempt, Instance, Log, Nonce, Position, PublisherId,
    Record, RecordBody, Snapshot,
};

use crate::bounds::Bounds;

/// Creation time of the stream, which the model does not vary.
pub const CREATED: i64 = 1;

/// A message: its sequence and publish time.
pub type Message = (u64, i64);

/// Returns the position of a message.
pub fn position((stream_seq, published_ns): Message) -> Position {
    Position {
        stream_created_ns: CREATED,
        stream_seq,
        published_ns,
    }
}

/// Returns the messages of a block that become rows.
pub fn rows(block: &ClaimBlock) -> Vec<Message> {
    let rows = block.entries.iter().filter(|entry| entry.fate == Fate::Row);
    rows.map(|entry| (entry.stream_seq, entry.published_ns))
        .collect()
}

/// A process with its unpublished records.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// State of the process.
    pub instance: Instance,
    /// Records that the log has not answered.
    pub outbox: Vec<Arc<Record>>,
    /// Claims whose attempts took too long.
    pub slow: BTreeSet<Nonce>,
    /// Connection to the log.
    pub link: Link,
    /// Number of nonces and publishers issued to it and to its predecessors.
    pub issued: u32,
}

/// Connection of a process to the log, since the log may have lost records.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Link {
    /// The process reads and publishes.
    Joined,
    /// The connection broke.
    Broken,
    /// The process reconnected, and the log continues after its tip.
    Resumed,
    /// The log lost records; holds the process's log, and the time of the announcement.
    Lost(Box<(Log, i64)>),
}

/// An insert of a block on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flight {
    /// Claim of the block.
    pub claim: Nonce,
    /// ClickHouse's time from which it rejects the block.
    pub fence: i64,
    /// Rows of the block.
    pub rows: Vec<Message>,
    /// Process that waits for the answer; `None` if it has ended.
    pub sender: Option<(usize, InsertAttempt)>,
    /// Answer of ClickHouse, once it has decided.
    pub answer: Option<InsertAnswer>,
}

/// State of the whole world.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// Faults that may still happen.
    pub left: Bounds,
    /// Processes.
    pub nodes: Vec<Arc<Node>>,
    /// Records of ended processes, still on their way to the log.
    pub limbo: Vec<Arc<Record>>,
    /// Sequence of the first record that the log keeps.
    pub log_first: u64,
    /// Records of the log.
    pub log: Vec<Arc<Record>>,
    /// Inserts on their way.
    pub flights: Vec<Flight>,
    /// Tokens that the table keeps, the oldest first.
    pub tokens: VecDeque<Nonce>,
    /// Rows of the table: message and claim.
    pub rows: Vec<(Message, Nonce)>,
    /// Stored dead letters.
    pub dead_letters: BTreeSet<Message>,
    /// Messages in the stream, with their publish times.
    pub stream: BTreeMap<u64, i64>,
    /// Messages deleted from it.
    pub deleted: BTreeSet<Message>,
    /// Messages that the stream had when it went back.
    pub vanished: BTreeSet<Message>,
    /// Sequence of its last message.
    pub stream_last: u64,
    /// Number of times that it went back, which is the publish time of its new messages.
    pub stream_backs: i64,
    /// Messages acked although the log does not have them as done: a broken rule.
    pub acked: BTreeSet<Message>,
    /// Messages that a settlement recorded as lost.
    pub lost: BTreeSet<Message>,
    /// Sequences recorded as absent.
    pub absent: BTreeSet<u64>,
    /// Messages whose rows the table lost.
    pub missing: BTreeSet<Message>,
    /// Time since which an operator waits to put everything in doubt.
    pub reopening: Option<i64>,
    /// Position of the record that does so.
    pub reopened: Option<u64>,
    /// True if the log has lost records.
    pub log_went_back: bool,
    /// True if a process considered a complete log lost.
    pub has_false_alarm: bool,
    /// Positions of claims, for a broken rule that uses them.
    pub places: BTreeMap<Nonce, Nonce>,
    /// Clock of ClickHouse.
    pub now: i64,
}

impl World {
    /// Creates a world before its first event.
    pub fn new(bounds: Bounds, instance: impl Fn(PublisherId) -> Instance) -> Self {
        let first = Record {
            id: Nonce(1),
            publisher: PublisherId(0),
            generation: Nonce(1),
            tip: risksignal_claims::LogPosition::START,
            done: Vec::new(),
            body: RecordBody::Snapshot(Box::new(Snapshot::first(CREATED, 0))),
        };
        let mut world = Self {
            left: bounds,
            nodes: Vec::new(),
            limbo: Vec::new(),
            log_first: 1,
            log: vec![Arc::new(first)],
            flights: Vec::new(),
            tokens: VecDeque::new(),
            rows: Vec::new(),
            dead_letters: BTreeSet::new(),
            stream: (1..=bounds.messages).map(|seq| (seq, 0)).collect(),
            deleted: BTreeSet::new(),
            vanished: BTreeSet::new(),
            stream_last: bounds.messages,
            stream_backs: 0,
            acked: BTreeSet::new(),
            lost: BTreeSet::new(),
            absent: BTreeSet::new(),
            missing: BTreeSet::new(),
            reopening: None,
            reopened: None,
            log_went_back: false,
            has_false_alarm: false,
            places: BTreeMap::new(),
            now: 0,
        };
        for node in 0..bounds.nodes {
            world.nodes.push(Arc::new(Node {
                instance: instance(PublisherId(number(node, 0))),
                outbox: Vec::new(),
                slow: BTreeSet::new(),
                link: Link::Joined,
                issued: 1,
            }));
            if bounds.connects {
                world.node(node).link = Link::Resumed;
                world.node(node).instance.note_disconnect();
            }
        }
        world
    }

    /// Returns a process to change.
    pub fn node(&mut self, node: usize) -> &mut Node {
        Arc::make_mut(&mut self.nodes[node])
    }

    /// Returns an unused number. It does not depend on other processes, so that independent events
    /// lead to one state in any order.
    pub fn fresh(&mut self, node: usize) -> u128 {
        let process = self.node(node);
        process.issued += 1;
        number(node, process.issued)
    }

    /// Returns the sequence of the log's last record.
    pub fn log_last(&self) -> u64 {
        self.log_first + self.log.len() as u64 - 1
    }

    /// Appends a record, and returns its sequence.
    pub fn append(&mut self, record: Arc<Record>) -> u64 {
        let place = self.log_last() + 1;
        match &record.body {
            RecordBody::Settled { lost, .. } => {
                let gone = self.deleted.union(&self.vanished);
                let lost = gone.filter(|(seq, _)| lost.contains(seq));
                self.lost.extend(lost);
            }
            RecordBody::Absent { first, last, .. } => {
                let gone = (*first..=*last).filter(|seq| !self.stream.contains_key(seq));
                self.absent.extend(gone);
            }
            RecordBody::Reopened { .. } => (self.reopening, self.reopened) = (None, Some(place)),
            _ => {}
        }
        self.log.push(record);
        place
    }

    /// Returns the record that a process reads next: the one after its tip, or the oldest one kept.
    pub fn next_record(&self, node: usize) -> Option<(u64, &Arc<Record>)> {
        let seq = (self.log_of(node).tip().seq + 1).max(self.log_first);
        let index = usize::try_from(seq - self.log_first).ok()?;
        Some((seq, self.log.get(index)?))
    }

    /// Reports whether ClickHouse rejects a row of a block.
    pub fn refuses(&self, rows: &[Message]) -> bool {
        self.left.refuses_all
            || rows
                .iter()
                .any(|(seq, _)| self.left.refused >> (seq - 1) & 1 == 1)
    }

    /// Reports whether a message is no valid signal.
    pub fn is_invalid(&self, seq: u64) -> bool {
        self.left.invalid >> (seq - 1) & 1 == 1
    }

    /// Reports whether a process rejects a message: the first one has stricter rules.
    pub fn is_unfit(&self, node: usize, seq: u64) -> bool {
        self.is_invalid(seq) || node == 0 && self.left.unfit >> (seq - 1) & 1 == 1
    }

    /// Reports whether the stream has a message.
    pub fn has(&self, (seq, published): Message) -> bool {
        self.stream.get(&seq) == Some(&published)
    }

    /// Iterates over the messages of the stream, and those deleted from it.
    pub fn messages(&self) -> impl Iterator<Item = Message> {
        let stream = self
            .stream
            .iter()
            .map(|(seq, published)| (*seq, *published));
        stream.chain(self.deleted.iter().copied())
    }

    /// Reports whether a message is a row or a dead letter.
    pub fn has_stored(&self, message: Message) -> bool {
        self.rows.iter().any(|(row, _)| *row == message) || self.dead_letters.contains(&message)
    }

    /// Reports whether a message is a row or a dead letter, or recorded as lost or absent.
    pub fn is_stored(&self, message: Message) -> bool {
        self.has_stored(message) || self.lost.contains(&message) || self.absent.contains(&message.0)
    }

    /// Reports whether the table lost the row of a message, and a process cannot know that yet.
    pub fn is_missing(&self, node: usize, message: Message) -> bool {
        let tip = self.log_of(node).tip().seq;
        self.missing.contains(&message) && self.reopened.is_none_or(|place| tip < place)
    }

    /// Reports whether no message is stored twice, or as a row and a dead letter, and no complete
    /// log was considered lost.
    pub fn is_exact(&self) -> bool {
        let mut pairs = self.rows.windows(2);
        let mut rows = self.rows.iter();
        pairs.all(|pair| pair[0].0 != pair[1].0)
            && !self.has_false_alarm
            && rows.all(|(row, _)| !self.dead_letters.contains(row))
    }

    /// Returns the log of a process.
    pub fn log_of(&self, node: usize) -> &Log {
        self.nodes[node].instance.log()
    }

    /// Returns the sequences of a claim's rows in the table.
    pub fn found(&self, claim: Nonce) -> BTreeSet<u64> {
        let of_claim = self.rows.iter().filter(|(_, nonce)| *nonce == claim);
        of_claim.map(|((seq, _), _)| *seq).collect()
    }

    /// Returns the deduplication token of a claim's block.
    pub fn token(&self, claim: Nonce) -> Nonce {
        self.places.get(&claim).copied().unwrap_or(claim)
    }

    /// Inserts a block, like a table with a window of tokens.
    pub fn commit(&mut self, claim: Nonce, rows: &[Message]) {
        let token = self.token(claim);
        if self.tokens.contains(&token) {
            return;
        }
        self.keep(token);
        self.rows.extend(rows.iter().map(|row| (*row, claim)));
        self.rows.sort_unstable();
    }

    /// Keeps a token, and forgets the oldest one if there are too many.
    pub fn keep(&mut self, token: Nonce) {
        self.tokens.push_back(token);
        if self.tokens.len() > self.left.window {
            self.tokens.pop_front();
        }
    }

    /// Sorts the lists whose order has no meaning.
    pub fn order(&mut self) {
        let key = |flight: &Flight| {
            let sender = flight.sender.as_ref().map(|(node, _)| *node);
            (flight.claim, sender, flight.answer.is_some())
        };
        self.flights.sort_by_key(key);
        self.limbo.sort_by_key(|record| record.id);
    }
}

/// Hashes the state. A process's log is a function of its tip and the clock as long as the log
/// keeps the record at its tip; then the tip alone is hashed.
impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.left.hash(state);
        for node in &self.nodes {
            let log = node.instance.log();
            log.tip().hash(state);
            if self.log_went_back || log.tip().seq < self.log_first {
                log.hash(state);
            }
            node.instance.hash_without_log(state);
            node.outbox.hash(state);
            node.slow.hash(state);
            node.link.hash(state);
            node.issued.hash(state);
        }
        self.limbo.hash(state);
        self.log_first.hash(state);
        self.log.hash(state);
        self.flights.hash(state);
        self.tokens.hash(state);
        self.rows.hash(state);
        self.dead_letters.hash(state);
        self.stream.hash(state);
        self.deleted.hash(state);
        self.vanished.hash(state);
        self.stream_last.hash(state);
        self.stream_backs.hash(state);
        self.acked.hash(state);
        self.lost.hash(state);
        self.absent.hash(state);
        self.missing.hash(state);
        self.reopening.hash(state);
        self.reopened.hash(state);
        self.log_went_back.hash(state);
        self.has_false_alarm.hash(state);
        self.places.hash(state);
        self.now.hash(state);
    }
}

fn number(node: usize, issued: u32) -> u128 {
    (node as u128 + 1) << 32 | u128::from(issued)
}
