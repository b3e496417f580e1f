//! Rules of the log and of a process that the model breaks on purpose, one at a time, to show
//! that each is needed. The rules that bind the process's surroundings are broken there.

/// A broken rule. Without the feature `flaws`, which the daemon is built without, no rule can
/// be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// A snapshot leaves out what is done above the floor.
    SnapshotWithoutDone,
    /// A claim takes the messages of an earlier one.
    LastClaimWins,
    /// A claim is split while a try has no answer.
    SplitsUnanswered,
    /// A claim is split without a look at the table.
    SplitsUncounted,
    /// A split counts although a takeover was announced before it.
    SplitsAnnounced,
    /// The publisher goes on sending after it has published a split.
    SendsAfterSplit,
    /// The answer to the publisher's only try counts although a takeover was announced.
    OnlyTryAnnounced,
    /// The answer to a retry counts without a look at the table.
    RetryUncounted,
    /// A refusal of a late block leads to a split.
    SplitsLate,
    /// A claim counts although it may name messages from before the stream was checked.
    ClaimsUnchecked,
    /// A settlement makes a dead letter of a row that its process does not make, without a look at
    /// the table.
    UnfitUncounted,
    /// A settlement makes a dead letter of a refused row while ClickHouse refuses every row.
    BlamesAnyRow,
    /// A claim stays open although the table may have lost its rows since they were answered.
    ReopensDoneAlone,
    /// A settlement sends a block whole again whose tries took too long.
    KeepsSlowWhole,
}

/// The rule that is broken, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Flaws {
    #[cfg(feature = "flaws")]
    broken: Option<Flaw>,
}

impl Flaws {
    /// Breaks a rule.
    #[cfg(feature = "flaws")]
    pub fn breaking(broken: Option<Flaw>) -> Self {
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
