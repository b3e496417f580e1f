//! Steps with an open claim.

/// Next step of a process with an open claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Wait for an answer or a record.
    Wait,
    /// Announce a takeover, or leave it to the publisher.
    TakeOver,
    /// Store the claim's dead letters.
    StoreDeadLetters,
    /// Send the block.
    Send,
    /// Look up the claim's rows in the table.
    Count,
    /// Conclude that the claim is done.
    Finish,
    /// Split the claim: ClickHouse rejects the block, and no row of the block is stored.
    Split,
    /// Wait until the fence is over, look for the rows, and settle the claim.
    Settle,
}
