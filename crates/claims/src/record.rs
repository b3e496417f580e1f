//! Records of the claims log.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::block::{ClaimBlock, Part};
use crate::id::{LogPosition, Nonce, Position, PublisherId};
use crate::log::claim::Claim;
use crate::log::stream::StreamSequences;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    /// Nonce of the record, and token of a claim's block.
    pub id: Nonce,
    /// Process that published it.
    pub publisher: PublisherId,
    /// Generation of the log that it belongs to. In another one it is void: the log was rebuilt
    /// while the record was on its way.
    pub generation: Nonce,
    /// Position of the last record that the publisher had read.
    pub tip: LogPosition,
    /// Done claims, which apply before the body.
    pub done: Vec<Done>,
    /// Further content.
    pub body: RecordBody,
}

/// A claim whose rows are committed and whose dead letters are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Done {
    /// The claim.
    pub claim: Nonce,
    /// Proof that the rows are committed.
    pub proof: Proof,
}

/// Proof that the rows of a claim are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Proof {
    /// ClickHouse's complete answer to the only attempt ever sent. Void after an announced
    /// takeover.
    OnlyTry,
    /// A look-up after an answer found all rows in the table.
    Counted,
}

/// Content of a record besides the done claims.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RecordBody {
    /// No further content.
    Nothing,
    /// Claims the messages of a block.
    Claim(ClaimBlock),
    /// Announces that the publisher also sends the block of another instance's claim.
    Takeover(Nonce),
    /// Replaces a claim that ClickHouse rejects by parts. Void after an announced takeover.
    Split {
        /// The claim.
        claim: Nonce,
        /// Parts, which contain each entry once.
        parts: Vec<Part>,
    },
    /// Replaces a claim whose fence is over by the remaining work. Entries in no part that are not
    /// lost are done.
    Settled {
        /// The claim.
        claim: Nonce,
        /// Remaining parts.
        parts: Vec<Part>,
        /// Sequences of messages that are gone from the stream and stored nowhere.
        lost: Vec<u64>,
    },
    /// Reports sequences that need no claim: the stream's leader has shown that they do not exist,
    /// the consumer omits them, or their messages were in doubt and are stored.
    Absent {
        /// Creation time of the stream: nanoseconds since the epoch.
        stream_created_ns: i64,
        /// First sequence.
        first: u64,
        /// Last sequence.
        last: u64,
    },
    /// Reports that the stream went back: it has other messages above this one, the last that is
    /// stored unchanged. It is a barrier like [`RecordBody::Connected`].
    Rewound(Position),
    /// Reports that its publisher connected, and now checks whether the stream went back. It is a
    /// barrier: claims, absences and rewinds whose publisher had not read it are void, since they
    /// may have been on their way since before.
    Connected,
    /// Counts done sequences as in doubt, and those of open claims from before: the table was
    /// restored, and may lack their rows. No attempt of a claim from before can land any more, and
    /// earlier answers and counts prove nothing about the restored table.
    Reopened {
        /// Creation time of the stream: nanoseconds since the epoch.
        stream_created_ns: i64,
        /// First sequence.
        first: u64,
        /// Last sequence.
        last: u64,
        /// Last fence of a claim from before, in ClickHouse's seconds.
        over: i64,
    },
    /// Announces that the log lost records. No later record counts until a snapshot rebuilds the
    /// log.
    Lost,
    /// Replaces all records before it.
    Snapshot(Box<Snapshot>),
    /// A message from another program: see [`Record::foreign`].
    #[serde(skip)]
    Foreign,
}

/// State after all records up to a position.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Snapshot {
    /// Position of the last record that it covers.
    pub covers: LogPosition,
    /// Generation of the log; `None` if the snapshot begins one, which its record identifies.
    pub(crate) generation: Option<Nonce>,
    /// Position of the newest barrier.
    pub(crate) barrier: u64,
    /// Floor and done sequences of each stream, by its creation time. Those of open claims are in
    /// `claims`.
    pub(crate) streams: BTreeMap<i64, StreamSequences>,
    /// Open claims.
    pub(crate) claims: BTreeMap<Nonce, Claim>,
    /// Tokens that must not leave the window yet: their number by fence.
    pub(crate) tokens: BTreeMap<i64, u32>,
    /// Fence up to which tokens are omitted.
    pub(crate) forgotten: i64,
    /// Marks of the newest records up to `covers`, so that a returning reader can check that its
    /// last record is one of them.
    pub(crate) recent: VecDeque<u32>,
}

impl Record {
    /// Represents a message of the log that no daemon published. It owns nothing and has no
    /// generation, so it is void, but it keeps its sequence in the log. Its identifier depends on
    /// its bytes alone (FNV-1a), so that every reader has the same record at that sequence.
    pub fn foreign(bytes: &[u8]) -> Self {
        const BASIS: u128 = 0x6c62272e07bb014262b821756295c58d;
        const PRIME: u128 = 0x0000000001000000000000000000013b;
        let step = |hash: u128, byte: &u8| (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
        Self {
            id: Nonce(bytes.iter().fold(BASIS, step)),
            publisher: PublisherId(0),
            generation: Nonce(0),
            tip: LogPosition::START,
            done: Vec::new(),
            body: RecordBody::Foreign,
        }
    }
}

impl Part {
    /// Iterates over its sequences.
    pub fn sequences(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().map(|entry| entry.stream_seq)
    }
}

impl Snapshot {
    /// Puts everything up to a message in doubt: it may be stored without a claim, and is looked up
    /// before it is claimed.
    pub fn with_doubt(mut self, last: Position) -> Self {
        let stream = self.streams.entry(last.stream_created_ns);
        let stream = stream.or_insert_with(|| StreamSequences::new(0));
        stream.doubt = stream.doubt.max(last.stream_seq);
        stream
            .witnesses
            .insert((last.stream_seq, last.published_ns));
        self
    }

    /// Puts these messages of a stream in doubt, even below the floor.
    pub fn with_reopened(
        mut self,
        stream_created_ns: i64,
        sequences: impl IntoIterator<Item = u64>,
    ) -> Self {
        if let Some(stream) = self.streams.get_mut(&stream_created_ns) {
            for stream_seq in sequences {
                stream.reopen(&(stream_seq..=stream_seq));
            }
        }
        self
    }

    /// Covers other records, which are void: they belong to a log that was removed.
    pub fn with_covers(self, covers: LogPosition) -> Self {
        Self { covers, ..self }
    }

    /// Creates the first snapshot of a stream's log: everything up to `floor` is done.
    pub fn first(stream_created_ns: i64, floor: u64) -> Self {
        Self {
            covers: LogPosition::START,
            generation: None,
            barrier: 0,
            streams: BTreeMap::from([(stream_created_ns, StreamSequences::new(floor))]),
            claims: BTreeMap::new(),
            tokens: BTreeMap::new(),
            forgotten: i64::MIN,
            recent: VecDeque::new(),
        }
    }
}
