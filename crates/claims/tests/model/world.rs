//! The surroundings of the processes: the log, the table, the dead letters and the stream.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use claims::{
    Answer, Attempt, Block, Body, Fate, Instance, Log, Nonce, Position, Publisher, Record, Snapshot,
};

use crate::bounds::Bounds;

/// The stream's creation, which the model does not vary.
pub const CREATED: i64 = 1;

/// A message: its sequence and when it was published.
pub type Message = (u64, i64);

/// The position of a message.
pub fn position((stream_seq, published_ns): Message) -> Position {
    Position {
        stream_created_ns: CREATED,
        stream_seq,
        published_ns,
    }
}

/// The messages of a block that become rows.
pub fn rows(block: &Block) -> Vec<Message> {
    let rows = block.entries.iter().filter(|entry| entry.fate == Fate::Row);
    rows.map(|entry| (entry.stream_seq, entry.published_ns))
        .collect()
}

/// A process with what it is about to publish.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The process.
    pub instance: Instance,
    /// Records that the log has not answered.
    pub outbox: Vec<Arc<Record>>,
    /// Claims whose tries took too long.
    pub slow: BTreeSet<Nonce>,
    /// Its connection to the log.
    pub link: Link,
    /// Nonces and publishers that were issued to it and to those before it.
    pub issued: u32,
}

/// The connection of a process to the log, since the log may have lost records.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Link {
    /// It reads and publishes.
    Joined,
    /// It broke.
    Broken,
    /// It was made again, and the log goes on behind what was read.
    Resumed,
    /// The log lost records: what the process had read, and since when that is announced.
    Lost(Box<(Log, i64)>),
}

/// A try of a block on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flight {
    /// The claim.
    pub claim: Nonce,
    /// ClickHouse's time from which it refuses the block.
    pub fence: i64,
    /// The rows.
    pub rows: Vec<Message>,
    /// The process that waits for the answer; `None` when it has ended.
    pub sender: Option<(usize, Attempt)>,
    /// ClickHouse's answer, once it has judged the block.
    pub answer: Option<Answer>,
}

/// Everything, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// What may still happen.
    pub left: Bounds,
    /// The processes.
    pub nodes: Vec<Arc<Node>>,
    /// Records of processes that have ended, still on their way to the log.
    pub limbo: Vec<Arc<Record>>,
    /// The sequence of the log's first record that is kept.
    pub log_first: u64,
    /// The log's records.
    pub log: Vec<Arc<Record>>,
    /// Tries on their way.
    pub flights: Vec<Flight>,
    /// Tokens that the table keeps, the oldest first.
    pub tokens: VecDeque<Nonce>,
    /// Rows of the table: the message and the claim.
    pub rows: Vec<(Message, Nonce)>,
    /// Stored dead letters.
    pub dead_letters: BTreeSet<Message>,
    /// Messages in the stream, and when they were published.
    pub stream: BTreeMap<u64, i64>,
    /// Messages that were deleted from it.
    pub deleted: BTreeSet<Message>,
    /// Messages that the stream had when it went back.
    pub vanished: BTreeSet<Message>,
    /// The sequence of its last message.
    pub stream_last: u64,
    /// How often it went back, which is the publish time of its new messages.
    pub stream_backs: i64,
    /// Messages that were acked although the log does not have them as done: a broken rule.
    pub acked: BTreeSet<Message>,
    /// Messages that a settlement recorded as lost.
    pub lost: BTreeSet<Message>,
    /// Sequences that were recorded as absent.
    pub absent: BTreeSet<u64>,
    /// Messages whose rows the table lost.
    pub missing: BTreeSet<Message>,
    /// Since when an operator waits to count everything as in doubt.
    pub reopening: Option<i64>,
    /// The place of the record that says so.
    pub reopened: Option<u64>,
    /// Whether the log has lost records.
    pub log_went_back: bool,
    /// Whether a process took a log for lost that has lost nothing.
    pub has_false_alarm: bool,
    /// Places of claims, for a rule that is broken by them.
    pub places: BTreeMap<Nonce, Nonce>,
    /// ClickHouse's clock.
    pub now: i64,
}

impl World {
    /// A world in which nothing has happened yet.
    pub fn new(bounds: Bounds, instance: impl Fn(Publisher) -> Instance) -> Self {
        let first = Record {
            id: Nonce(1),
            publisher: Publisher(0),
            generation: Nonce(1),
            tip: claims::Place::START,
            done: Vec::new(),
            body: Body::Snapshot(Box::new(Snapshot::first(CREATED, 0))),
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
                instance: instance(Publisher(number(node, 0))),
                outbox: Vec::new(),
                slow: BTreeSet::new(),
                link: Link::Joined,
                issued: 1,
            }));
            if bounds.connects {
                world.node(node).link = Link::Resumed;
                world.node(node).instance.disconnected();
            }
        }
        world
    }

    /// A process, to change it.
    pub fn node(&mut self, node: usize) -> &mut Node {
        Arc::make_mut(&mut self.nodes[node])
    }

    /// A number that was never used. It does not depend on what other processes did, so that
    /// independent events lead to one state in whatever order they happen.
    pub fn fresh(&mut self, node: usize) -> u128 {
        let process = self.node(node);
        process.issued += 1;
        number(node, process.issued)
    }

    /// The sequence of the log's last record.
    pub fn log_last(&self) -> u64 {
        self.log_first + self.log.len() as u64 - 1
    }

    /// Appends a record, and returns its place.
    pub fn append(&mut self, record: Arc<Record>) -> u64 {
        let place = self.log_last() + 1;
        match &record.body {
            Body::Settled { lost, .. } => {
                let gone = self.deleted.union(&self.vanished);
                let lost = gone.filter(|(seq, _)| lost.contains(seq));
                self.lost.extend(lost);
            }
            Body::Absent { first, last, .. } => {
                let gone = (*first..=*last).filter(|seq| !self.stream.contains_key(seq));
                self.absent.extend(gone);
            }
            Body::Reopened { .. } => (self.reopening, self.reopened) = (None, Some(place)),
            _ => {}
        }
        self.log.push(record);
        place
    }

    /// The record that a process reads next: the one behind its tip, or the oldest that is
    /// kept.
    pub fn next_record(&self, node: usize) -> Option<(u64, &Arc<Record>)> {
        let seq = (self.log_of(node).tip().seq + 1).max(self.log_first);
        let index = usize::try_from(seq - self.log_first).ok()?;
        Some((seq, self.log.get(index)?))
    }

    /// Reports whether ClickHouse refuses a row of a block.
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

    /// Reports whether a process makes no row of a message: the first one has stricter rules.
    pub fn is_unfit(&self, node: usize, seq: u64) -> bool {
        self.is_invalid(seq) || node == 0 && self.left.unfit >> (seq - 1) & 1 == 1
    }

    /// Reports whether the stream has a message.
    pub fn has(&self, (seq, published): Message) -> bool {
        self.stream.get(&seq) == Some(&published)
    }

    /// The messages of the stream, and those that were deleted from it.
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

    /// Reports whether no message is stored twice, or as a row and a dead letter, and no log was
    /// taken for lost without a reason.
    pub fn is_exact(&self) -> bool {
        let mut pairs = self.rows.windows(2);
        let mut rows = self.rows.iter();
        pairs.all(|pair| pair[0].0 != pair[1].0)
            && !self.has_false_alarm
            && rows.all(|(row, _)| !self.dead_letters.contains(row))
    }

    /// What a process has read.
    pub fn log_of(&self, node: usize) -> &Log {
        self.nodes[node].instance.log()
    }

    /// The sequences that the table has of a claim.
    pub fn found(&self, claim: Nonce) -> BTreeSet<u64> {
        let of_claim = self.rows.iter().filter(|(_, nonce)| *nonce == claim);
        of_claim.map(|((seq, _), _)| *seq).collect()
    }

    /// The deduplication token of a claim's block.
    pub fn token(&self, claim: Nonce) -> Nonce {
        self.places.get(&claim).copied().unwrap_or(claim)
    }

    /// Inserts a block, as a table with a window of tokens does.
    pub fn commit(&mut self, claim: Nonce, rows: &[Message]) {
        let token = self.token(claim);
        if self.tokens.contains(&token) {
            return;
        }
        self.keep(token);
        self.rows.extend(rows.iter().map(|row| (*row, claim)));
        self.rows.sort_unstable();
    }

    /// Keeps a token, and forgets the oldest one where there are too many.
    pub fn keep(&mut self, token: Nonce) {
        self.tokens.push_back(token);
        if self.tokens.len() > self.left.window {
            self.tokens.pop_front();
        }
    }

    /// Puts what has no order into one.
    pub fn order(&mut self) {
        let key = |flight: &Flight| {
            let sender = flight.sender.as_ref().map(|(node, _)| *node);
            (flight.claim, sender, flight.answer.is_some())
        };
        self.flights.sort_by_key(key);
        self.limbo.sort_by_key(|record| record.id);
    }
}

/// What a process has read is a function of its tip and the clock, as long as the log keeps
/// the record at its tip: only then the tip alone is hashed.
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
