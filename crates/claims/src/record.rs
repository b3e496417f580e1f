//! Records of the claims log.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::id::{Nonce, Place, Position, Publisher};
use crate::log::{Claim, Stream};
use crate::packed;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// Identifies the record. Of a claim it is the token of its block.
    pub id: Nonce,
    /// The process that published it.
    pub publisher: Publisher,
    /// The generation of the log that it belongs to. In another one it is void: the log was
    /// rebuilt while the record was on its way.
    pub generation: Nonce,
    /// The last record that the publisher had read.
    pub tip: Place,
    /// Claims that are done; applied before the body.
    pub done: Vec<Done>,
    /// The rest.
    pub body: Body,
}

/// A claim whose rows are committed and whose dead letters are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Done {
    /// The claim.
    pub claim: Nonce,
    /// What proves it.
    pub proof: Proof,
}

/// What proves that the rows of a claim are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Proof {
    /// ClickHouse's whole answer to the only try that was ever sent. Void after an announced
    /// takeover.
    OnlyTry,
    /// All rows were found in the table after an answer.
    Counted,
}

/// What a record says besides the claims that are done.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Body {
    /// Nothing.
    Nothing,
    /// Names the messages of a block.
    Claim(Block),
    /// Announces that the publisher sends the block of another instance's claim, too.
    Takeover(Nonce),
    /// Replaces a claim that ClickHouse refuses by parts. Void after an announced takeover.
    Split {
        /// The claim.
        claim: Nonce,
        /// Its entries, each in one part.
        parts: Vec<Part>,
    },
    /// Replaces a claim, whose fence is over, by what is left to do. Entries that are in no
    /// part and not lost are done.
    Settled {
        /// The claim.
        claim: Nonce,
        /// What is left.
        parts: Vec<Part>,
        /// Sequences of messages that are gone from the stream and were found nowhere.
        lost: Vec<u64>,
    },
    /// Reports sequences that need no claim: the stream's leader has shown that they do not
    /// exist, the consumer leaves them out, or their messages were in doubt and are stored.
    Absent {
        /// Creation of the stream: nanoseconds since the epoch.
        stream_created_ns: i64,
        /// The first sequence.
        first: u64,
        /// The last sequence.
        last: u64,
    },
    /// Says that the stream went back, and has other messages above this one, which is the last
    /// that is stored as it is. It is a barrier as [`Body::Connected`] is.
    Rewound(Position),
    /// Says that its publisher made a connection, and checks now whether the stream went back.
    /// A barrier: claims, absences and rewindings whose publisher had not read it are void, as
    /// they may be on their way since before that.
    Connected,
    /// Counts done sequences as in doubt, and those of open claims from before: the table was
    /// restored, and may lack their rows. No try of a claim from before can land any more, and what
    /// was answered or counted of it says nothing of the restored table.
    Reopened {
        /// Creation of the stream: nanoseconds since the epoch.
        stream_created_ns: i64,
        /// The first sequence.
        first: u64,
        /// The last sequence.
        last: u64,
        /// The last fence of a claim from before, in ClickHouse's seconds.
        over: i64,
    },
    /// Announces that the log lost records. Nothing behind it counts until a snapshot rebuilds
    /// the log.
    Lost,
    /// Stands for all records before it.
    Snapshot(Box<Snapshot>),
    /// Nothing that a daemon published: see [`Record::foreign`].
    #[serde(skip)]
    Foreign,
}

/// The block of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Block {
    /// Creation of the stream that all its messages are in: nanoseconds since the epoch.
    pub stream_created_ns: i64,
    /// ClickHouse's second from which it refuses the block.
    pub fence: i64,
    /// The table that the first try goes to; 0 where nothing identifies it. In another table the
    /// token is not known, so that the block is not sent there again.
    pub table: u128,
    /// The messages, by rising sequence.
    #[serde(with = "packed")]
    pub entries: Vec<Entry>,
}

/// A message of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Sequence in the stream.
    pub stream_seq: u64,
    /// When JetStream stored it: nanoseconds since the epoch.
    pub published_ns: i64,
    /// What it becomes.
    pub fate: Fate,
}

/// What a message becomes. A dead letter never becomes a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fate {
    /// A row.
    Row,
    /// A dead letter.
    DeadLetter(Cause),
}

/// Why a message becomes a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// It is no valid signal.
    Invalid,
    /// ClickHouse refuses its row.
    Refused,
    /// It was delivered as often as it may be.
    MaxDeliveries,
}

/// A claim that takes the place of a part of another one. Its publisher is that of the record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Part {
    /// Identifies it, and is the token of its block.
    pub id: Nonce,
    /// ClickHouse's second from which it refuses the block.
    pub fence: i64,
    /// Its messages, by rising sequence.
    #[serde(with = "packed")]
    pub entries: Vec<Entry>,
}

/// What all records up to a place amount to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last record that it stands for.
    pub covers: Place,
    /// The generation of the log; `None` when the snapshot begins one, which its record names.
    pub(crate) generation: Option<Nonce>,
    /// The place of the last record behind which claims must have been made.
    pub(crate) barrier: u64,
    /// Floor and done sequences of each stream, by its creation. Those in open claims are in `claims`.
    pub(crate) streams: BTreeMap<i64, Stream>,
    /// Claims that are open.
    pub(crate) claims: BTreeMap<Nonce, Claim>,
    /// The number of tokens that must not leave the window yet, by their fences.
    pub(crate) tokens: BTreeMap<i64, u32>,
    /// Tokens with a fence up to here are left out.
    pub(crate) forgotten: i64,
    /// Marks of the newest records up to `covers`, so that a reader that was away finds out
    /// whether the last record that it read is one of them.
    pub(crate) recent: VecDeque<u32>,
}

impl Record {
    /// A message of the log that no daemon published. It owns nothing and is of no generation, so
    /// that it is void; it takes its place in the log all the same. Its identity depends on its
    /// bytes alone (FNV-1a), so that every reader has the same record at that place.
    pub fn foreign(bytes: &[u8]) -> Self {
        const BASIS: u128 = 0x6c62272e07bb014262b821756295c58d;
        const PRIME: u128 = 0x0000000001000000000000000000013b;
        let step = |hash: u128, byte: &u8| (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
        Self {
            id: Nonce(bytes.iter().fold(BASIS, step)),
            publisher: Publisher(0),
            generation: Nonce(0),
            tip: Place::START,
            done: Vec::new(),
            body: Body::Foreign,
        }
    }
}

impl Block {
    /// The sequences that become rows.
    pub fn rows(&self) -> impl Iterator<Item = u64> {
        let rows = self.entries.iter().filter(|entry| entry.fate == Fate::Row);
        rows.map(|entry| entry.stream_seq)
    }

    /// The sequences that become dead letters.
    pub fn dead_letters(&self) -> impl Iterator<Item = u64> {
        let letters = self.entries.iter().filter(|entry| entry.fate != Fate::Row);
        letters.map(|entry| entry.stream_seq)
    }

    /// The entry of a sequence.
    pub fn entry(&self, stream_seq: u64) -> Option<&Entry> {
        let at = |entry: &Entry| entry.stream_seq;
        let index = self.entries.binary_search_by_key(&stream_seq, at).ok()?;
        self.entries.get(index)
    }

    /// Reports whether the sequences rise, so that each stands once.
    pub fn is_sorted(&self) -> bool {
        let rise = |pair: &[Entry]| pair[0].stream_seq < pair[1].stream_seq;
        self.entries.windows(2).all(rise)
    }
}

impl Part {
    /// Its sequences.
    pub fn sequences(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|entry| entry.stream_seq)
    }
}

impl Snapshot {
    /// The same, where everything up to a message may be stored without a claim, and is looked up
    /// before it is claimed.
    pub fn doubting(mut self, last: Position) -> Self {
        let stream = self.streams.entry(last.stream_created_ns);
        let stream = stream.or_insert_with(|| Stream::new(0));
        stream.doubt = stream.doubt.max(last.stream_seq);
        stream
            .witnesses
            .insert((last.stream_seq, last.published_ns));
        self
    }

    /// The same behind other records, which are void: they are of a log that was removed.
    pub fn covering(self, covers: Place) -> Self {
        Self { covers, ..self }
    }

    /// The first snapshot of a stream's log: everything up to `floor` is done.
    pub fn first(stream_created_ns: i64, floor: u64) -> Self {
        Self {
            covers: Place::START,
            generation: None,
            barrier: 0,
            streams: BTreeMap::from([(stream_created_ns, Stream::new(floor))]),
            claims: BTreeMap::new(),
            tokens: BTreeMap::new(),
            forgotten: i64::MIN,
            recent: VecDeque::new(),
        }
    }
}
