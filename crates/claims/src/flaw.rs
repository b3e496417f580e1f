//! Rules of the log and of a process that the model breaks on purpose, one at a time, to show that
//! each is needed. The model itself breaks the rules of the process's surroundings.

/// A broken rule. Without the feature `flaws`, with which the daemon is never built, no rule can be
/// broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// A snapshot omits the done sequences above the floor.
    SnapshotWithoutDone,
    /// A claim takes the messages of an earlier one.
    LastClaimWins,
    /// A claim is split while an attempt has no answer.
    SplitsUnanswered,
    /// A claim is split without counting its rows in the table.
    SplitsUncounted,
    /// A split counts although a takeover was announced before it.
    SplitsAnnounced,
    /// The publisher keeps sending after it has published a split.
    SendsAfterSplit,
    /// The answer to the publisher's only attempt counts although a takeover was announced.
    OnlyTryAnnounced,
    /// The answer to a retry counts without counting the rows in the table.
    RetryUncounted,
    /// A rejected late block leads to a split.
    SplitsLate,
    /// A claim counts although it may contain messages from before the check of the stream.
    ClaimsUnchecked,
    /// A settlement turns a row that its process cannot build into a dead letter, without counting
    /// the rows in the table.
    UnfitUncounted,
    /// A settlement turns a rejected row into a dead letter while ClickHouse rejects every row.
    BlamesAnyRow,
    /// A claim stays open although the table may have lost its rows since they were answered.
    ReopensDoneAlone,
    /// A settlement sends a block whole again although its attempts took too long.
    KeepsSlowWhole,
}

/// Broken rule, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Flaws {
    #[cfg(feature = "flaws")]
    broken: Option<Flaw>,
}

impl Flaws {
    /// Breaks a rule.
    #[cfg(feature = "flaws")]
    pub fn break_rule(broken: Option<Flaw>) -> Self {
        Self { broken }
    }

    /// Reports whether a rule is broken.
    #[cfg(feature = "flaws")]
    pub fn has(self, flaw: Flaw) -> bool {
        self.broken == Some(flaw)
    }

    /// Reports that no rule is broken.
    #[cfg(not(feature = "flaws"))]
    pub fn has(self, _flaw: Flaw) -> bool {
        false
    }
}
