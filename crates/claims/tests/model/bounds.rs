//! How large the world is, and how often each fault may happen.

/// The size of a world.
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
    /// Rows of a block that are not too many for ClickHouse's memory.
    pub rows_max: usize,
    /// Whether views write rows too, so that an answer does not count the table's alone.
    pub has_views: bool,
    /// Whether each process begins with the checks of a connection.
    pub connects: bool,
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
    /// The log loses its last records.
    pub log_backs: u8,
    /// The stream loses its last messages, and goes on with others.
    pub stream_backs: u8,
    /// JetStream gives up on a message: it is claimed as a dead letter.
    pub exhausted: u8,
}
