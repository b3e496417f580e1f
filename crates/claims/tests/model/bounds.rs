//! Size of the world, and number of each fault.

/// Size of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Number of processes.
    pub nodes: usize,
    /// Number of messages in the stream, with sequences from 1.
    pub messages: u64,
    /// Messages that ClickHouse rejects, as bits; bit 0 is message 1.
    pub refused: u64,
    /// Messages that are no valid signal, as bits.
    pub invalid: u64,
    /// Messages that the first process rejects, as bits: its rules are stricter than the others'.
    pub unfit: u64,
    /// Most rows of a block that fit ClickHouse's memory.
    pub rows_max: usize,
    /// True if ClickHouse drops a block with too many rows without an answer in time.
    pub is_silent: bool,
    /// True if the table is at fault, so that ClickHouse rejects every row.
    pub refuses_all: bool,
    /// True if views write rows too, so that an answer does not count the table's alone.
    pub has_views: bool,
    /// True if each process begins with the checks of a connect.
    pub connects: bool,
    /// Tokens that the table keeps, as the daemon knows.
    pub window: usize,
    /// Claims of batches; parts are not counted.
    pub claims: u8,
    /// Steps of ClickHouse's clock, each of which ends all fences so far.
    pub ticks: u8,
    /// Faults, and their number.
    pub faults: Faults,
}

/// Number of each fault that may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Faults {
    /// Number of all faults together.
    pub any: u8,
    /// A process is killed and restarts.
    pub crashes: u8,
    /// An answer of ClickHouse is lost.
    pub answers: u8,
    /// The log stores a record, and its answer is lost.
    pub repeats: u8,
    /// ClickHouse is killed between writing a token and its rows.
    pub tokens: u8,
    /// A process announces a takeover though the publisher lives.
    pub takeovers: u8,
    /// A process publishes a snapshot.
    pub snapshots: u8,
    /// An operator deletes a message from the stream.
    pub deletions: u8,
    /// An operator removes the cause for which ClickHouse rejects rows.
    pub mends: u8,
    /// A materialized view rejects a block that the table has stored.
    pub views: u8,
    /// The log loses its last records.
    pub log_backs: u8,
    /// The stream loses its last messages, and continues with others.
    pub stream_backs: u8,
    /// JetStream gives up on a message, which is then claimed as a dead letter.
    pub exhausted: u8,
    /// The table is restored, and lacks the rows of a claim.
    pub restores: u8,
    /// An operator puts everything in doubt again.
    pub reopenings: u8,
    /// Another program publishes to the log.
    pub intrusions: u8,
}

/// One process, one message, no fault.
pub const ONE: Bounds = Bounds {
    nodes: 1,
    messages: 1,
    refused: 0,
    invalid: 0,
    unfit: 0,
    rows_max: usize::MAX,
    is_silent: false,
    refuses_all: false,
    has_views: false,
    connects: false,
    window: 8,
    claims: 2,
    ticks: 1,
    faults: NONE,
};

/// No faults.
pub const NONE: Faults = Faults {
    any: 0,
    crashes: 0,
    answers: 0,
    repeats: 0,
    tokens: 0,
    takeovers: 0,
    snapshots: 0,
    deletions: 0,
    mends: 0,
    views: 0,
    log_backs: 0,
    stream_backs: 0,
    exhausted: 0,
    restores: 0,
    reopenings: 0,
    intrusions: 0,
};

/// Every fault, each once.
pub const EACH: Faults = Faults {
    any: 2,
    crashes: 1,
    answers: 1,
    repeats: 1,
    tokens: 1,
    takeovers: 1,
    snapshots: 1,
    deletions: 1,
    mends: 1,
    views: 1,
    log_backs: 0,
    stream_backs: 0,
    exhausted: 1,
    intrusions: 1,
    restores: 0,
    reopenings: 0,
};

/// Every fault except those that make dead letters of valid messages.
pub const AT_FAULT: Faults = Faults {
    exhausted: 0,
    ..EACH
};

/// Every fault while two versions disagree on a message.
pub const UNFIT: Faults = Faults {
    mends: 0,
    ..AT_FAULT
};

/// A log that loses records, and one more fault.
pub const BACK: Faults = Faults {
    any: 2,
    log_backs: 1,
    deletions: 0,
    exhausted: 0,
    views: 0,
    ..EACH
};

/// A stream that goes back, and one more fault.
pub const STREAM_BACK: Faults = Faults {
    log_backs: 0,
    stream_backs: 1,
    ..BACK
};

/// A table that goes back, or an operator who only repeats the look-ups, and one more fault.
pub const TABLE_BACK: Faults = Faults {
    restores: 1,
    reopenings: 1,
    intrusions: 0,
    exhausted: 0,
    deletions: 0,
    views: 0,
    ..EACH
};

/// Two processes.
pub const TWO: Bounds = Bounds { nodes: 2, ..ONE };
