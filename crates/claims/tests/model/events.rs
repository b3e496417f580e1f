//! What may happen in the world, and which of its rules may be broken.

use claims::Nonce;

/// A rule of the surroundings that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Breach {
    /// A process sends its claim before it has read it back.
    SendsUnread,
    /// A process sends the claim of another one without announcing it.
    SendsUnannounced,
    /// The rest of a claim is sent under its token when one of its messages is gone.
    SendsRest,
    /// A daemon that was started again takes itself for the publisher of its old claims.
    RestartIsPublisher,
    /// Claims are published although tokens of others may leave the window.
    OverrunsWindow,
    /// A message is acked once ClickHouse has answered, not when the log has it.
    AcksUnlogged,
    /// ClickHouse takes blocks whose fence is over.
    NoFence,
    /// A claim is settled before its fence is over.
    SettlesEarly,
    /// What is left of a settled claim is sent under its old token.
    SettlesSameToken,
    /// The table is asked before the fences of all claims, known and lost, are over.
    RebuildsEarly,
    /// A process goes on after the log lost records, without a check.
    GoesOnUnchecked,
    /// A process goes on while another one did not look yet whether the log lost records.
    GoesOnFirst,
    /// What is done stays done although the stream went back.
    StaysUnrewound,
    /// What is in doubt is claimed without a look-up.
    IgnoresDoubt,
    /// The token of a claim is its place among the claims in the log.
    TokenByPlace,
    /// Done messages count as in doubt before the fences of all claims are over.
    ReopensEarly,
    /// A message that no daemon published is another one to each reader.
    ForeignByReader,
}

/// One thing that may happen. Numbers are places in the world's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A process claims messages, as bits.
    Claim { node: usize, messages: u64 },
    /// A process claims one message as a dead letter, since JetStream gave up on it.
    GiveUp { node: usize, seq: u64 },
    /// A process publishes what is done.
    Flush { node: usize },
    /// The log stores a record of an outbox; its answer may be lost.
    Store {
        node: usize,
        index: usize,
        is_answered: bool,
    },
    /// The log stores a record of a process that has ended.
    StoreLate { index: usize },
    /// A process reads on.
    Read { node: usize },
    /// A process takes its next step with a claim.
    Step { node: usize, claim: Nonce },
    /// A process announces a takeover.
    TakeOver { node: usize, claim: Nonce },
    /// A process settles a claim.
    Settle { node: usize, claim: Nonce },
    /// ClickHouse judges a block.
    Judge { flight: usize },
    /// ClickHouse commits a block, and a view refuses it.
    JudgeByView { flight: usize },
    /// ClickHouse is killed between writing the token of a block and its rows.
    KeepToken { flight: usize },
    /// The answer of a block reaches its sender.
    Answer { flight: usize },
    /// No answer reaches the sender of a block, which may still be on its way.
    LoseAnswer { flight: usize },
    /// As [`Self::LoseAnswer`], again and again: the block may be too large.
    BeTooSlow { flight: usize },
    /// A block is lost before ClickHouse has it.
    LoseBlock { flight: usize },
    /// ClickHouse does not take a block, for a reason that is not the block's.
    TakeNothing { flight: usize },
    /// A process has a claim sent again that ClickHouse refuses, since the table may be at fault.
    TryAgain { node: usize, claim: Nonce },
    /// A process reports a sequence that the stream does not have.
    Absent { node: usize, seq: u64 },
    /// ClickHouse's clock goes on.
    Tick,
    /// A process is killed and started again.
    Restart { node: usize },
    /// A process publishes a snapshot.
    Snapshot { node: usize },
    /// An operator deletes a message.
    Delete { seq: u64 },
    /// An operator lifts what ClickHouse refuses.
    Mend,
    /// The log loses its last records, and every connection breaks.
    LogBack { kept: usize },
    /// A process connects again and looks whether the log goes on behind what it has read.
    Resume { node: usize },
    /// A process reads to the end, and checks what is stored.
    Join { node: usize },
    /// The stream loses its last messages, and every connection breaks.
    StreamBack { kept: u64 },
    /// Another message is published in the place of one that the stream lost.
    Publish,
    /// A process publishes how far the stream went back.
    Rewind { node: usize },
    /// A process rebuilds the log.
    Rebuild { node: usize },
    /// The table is restored in place without the rows of a claim, and with its token or without.
    Restore { claim: Nonce, has_token: bool },
    /// An operator begins to count everything as in doubt, and waits for the fences.
    BeginReopening,
    /// A process publishes for the operator that everything is in doubt.
    Reopen { node: usize },
    /// Something else publishes to the log.
    Intrude,
}
