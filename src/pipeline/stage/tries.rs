//! Tries of a block, which separate a refused row from a table that refuses all.

/// Tries of a block and of the blocks that it was a part of, by the refusals before them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tries {
    /// The number of its first refusal.
    pub refused: Option<u64>,
    /// Number of refusals when the last try began.
    pub began_after: u64,
    /// The taken block's mark when the last try began.
    pub taken_after: u64,
}

impl Tries {
    /// Reports whether a block that was taken between its first refusal and its last try says that
    /// another refusal is the row's fault.
    pub fn is_to_blame(self) -> bool {
        self.is_before(self.taken_after)
    }

    /// Reports whether the first refusal is one of so many.
    pub fn is_before(self, refusals: u64) -> bool {
        self.refused.is_some_and(|refused| refused <= refusals)
    }
}
