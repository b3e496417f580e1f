//! Events of the world, and rules that may be broken.

use risksignal_claims::Nonce;

/// A rule of the surroundings to break on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Breach {
    /// A process sends its claim before it has read it back.
    SendsUnread,
    /// A process sends the claim of another one without announcing it.
    SendsUnannounced,
    /// The rest of a claim is sent under its token when one of its messages is gone.
    SendsRest,
    /// A restarted daemon acts as the publisher of its old claims.
    RestartIsPublisher,
    /// Claims are published although tokens of others may leave the window.
    OverrunsWindow,
    /// A message is acked once ClickHouse has answered, before the log says done.
    AcksUnlogged,
    /// ClickHouse accepts blocks whose fence is over.
    NoFence,
    /// A claim is settled before its fence is over.
    SettlesEarly,
    /// The remaining entries of a settled claim are sent under its old token.
    SettlesSameToken,
    /// The table is queried before the fences of all claims, known and lost, are over.
    RebuildsEarly,
    /// A process continues after the log lost records, without a check.
    GoesOnUnchecked,
    /// A process continues before another one has checked whether the log lost records.
    GoesOnFirst,
    /// Done messages stay done although the stream went back.
    StaysUnrewound,
    /// Messages in doubt are claimed without a look-up.
    IgnoresDoubt,
    /// The token of a claim is its position among the claims in the log.
    TokenByPlace,
    /// Done messages count as in doubt before the fences of all claims are over.
    ReopensEarly,
    /// Each reader gives a foreign message another identifier.
    ForeignByReader,
}

/// An event. Numbers are indices of the world's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A process claims messages, as bits.
    Claim { node: usize, messages: u64 },
    /// A process claims one message as a dead letter, since JetStream gave up on it.
    GiveUp { node: usize, seq: u64 },
    /// A process publishes its done claims.
    Flush { node: usize },
    /// The log stores a record of an outbox; its answer may be lost.
    Store {
        node: usize,
        index: usize,
        is_answered: bool,
    },
    /// The log stores a record of a process that has ended.
    StoreLate { index: usize },
    /// A process reads the next record.
    Read { node: usize },
    /// A process takes its next step with a claim.
    Step { node: usize, claim: Nonce },
    /// A process announces a takeover.
    TakeOver { node: usize, claim: Nonce },
    /// A process settles a claim.
    Settle { node: usize, claim: Nonce },
    /// ClickHouse decides on a block.
    Judge { flight: usize },
    /// ClickHouse commits a block, and a view rejects it.
    JudgeByView { flight: usize },
    /// ClickHouse is killed between writing the token of a block and its rows.
    KeepToken { flight: usize },
    /// The answer of a block reaches its sender.
    Answer { flight: usize },
    /// No answer reaches the sender of a block, which may still be on its way.
    LoseAnswer { flight: usize },
    /// Like [`Self::LoseAnswer`], several times in a row: the block may be too large.
    BeTooSlow { flight: usize },
    /// A block is lost before ClickHouse receives it.
    LoseBlock { flight: usize },
    /// ClickHouse does not accept a block, for a reason unrelated to the block.
    TakeNothing { flight: usize },
    /// A process sends a claim again that ClickHouse rejects, since the table may be at fault.
    TryAgain { node: usize, claim: Nonce },
    /// A process reports a sequence that the stream lacks.
    Absent { node: usize, seq: u64 },
    /// ClickHouse's clock advances.
    Tick,
    /// A process is killed and restarts.
    Restart { node: usize },
    /// A process publishes a snapshot.
    Snapshot { node: usize },
    /// An operator deletes a message.
    Delete { seq: u64 },
    /// An operator removes the cause for which ClickHouse rejects rows.
    Mend,
    /// The log loses its last records, and every connection breaks.
    LogBack { kept: usize },
    /// A process reconnects and checks that the log continues after its tip.
    Resume { node: usize },
    /// A process reads to the end, and checks the stored entries.
    Join { node: usize },
    /// The stream loses its last messages, and every connection breaks.
    StreamBack { kept: u64 },
    /// Another message is published at the sequence of one that the stream lost.
    Publish,
    /// A process publishes the position to which the stream went back.
    Rewind { node: usize },
    /// A process rebuilds the log.
    Rebuild { node: usize },
    /// The table is restored in place without the rows of a claim, with its token or without.
    Restore { claim: Nonce, has_token: bool },
    /// An operator starts to put everything in doubt, and waits for the fences.
    BeginReopening,
    /// A process publishes for the operator that everything is in doubt.
    Reopen { node: usize },
    /// Another program publishes to the log.
    Intrude,
}
