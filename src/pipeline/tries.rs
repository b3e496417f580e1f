//! The tries to insert the rows of a batch, and what each left open. Pure.

use crate::store::Deadline;

/// Tries so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tries {
    /// Under the batch's token.
    under_token: u32,
    /// A try may have left rows in the table.
    unsure: bool,
    /// Until when ClickHouse may still take the rows from a try that it did not answer.
    open: Option<Deadline>,
    /// That try was under another token, which keeps no row from landing again.
    is_foreign: bool,
}

impl Tries {
    /// True when none was made under the batch's token.
    pub fn none(&self) -> bool {
        self.under_token == 0
    }

    /// True when a try may have left rows in the table.
    pub fn unsure(&self) -> bool {
        self.unsure
    }

    /// Records a failed try; `is_answered` when ClickHouse itself said so, which ends it.
    pub fn failed(&mut self, deadline: Deadline, is_answered: bool) {
        self.answered();
        if !is_answered {
            self.open = self.open.max(Some(deadline));
        }
    }

    /// Records a try that ClickHouse answered, where the answer alone proves nothing.
    pub fn answered(&mut self) {
        self.under_token = self.under_token.saturating_add(1);
        self.unsure = true;
    }

    /// The record for the same rows under a new token.
    pub fn under_new_token(self) -> Self {
        Self {
            under_token: 0,
            is_foreign: self.open.is_some(),
            ..self
        }
    }

    /// The deadline to wait out before the next step: when rows go under another token
    /// (`changes_token`), or did, no try under the one before may still commit.
    pub fn to_wait_out(self, changes_token: bool) -> Option<Deadline> {
        self.open.filter(|_| self.is_foreign || changes_token)
    }

    /// Records that a look-up has found none of the rows. Where a try is still open, one may yet bring them.
    pub fn found_none(&mut self) {
        self.unsure = self.open.is_some();
    }

    /// Records that no open try can commit any more.
    pub fn over(&mut self) {
        self.open = None;
        self.is_foreign = false;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::settings::Settings;
    use crate::store::Store;

    fn deadline(seconds: u64) -> Deadline {
        let store = Store::new(&Settings::default().clickhouse).unwrap();
        store.deadline(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[tokio::test]
    async fn rows_change_their_token_only_when_no_try_is_open() {
        let mut tries = Tries::default();
        assert!(tries.none() && !tries.unsure());
        tries.failed(deadline(20), false);
        tries.failed(deadline(10), false);
        assert!(!tries.none() && tries.unsure());
        // The same token again needs no wait.
        assert_eq!(tries.to_wait_out(false), None);
        assert_eq!(tries.to_wait_out(true), Some(deadline(20)));
        let mut part = tries.under_new_token();
        assert!(part.none() && part.unsure());
        assert_eq!(part.to_wait_out(false), Some(deadline(20)));
        part.found_none();
        assert!(part.unsure(), "it may still land");
        part.over();
        assert_eq!(part.to_wait_out(true), None);
        part.found_none();
        assert!(!part.unsure());
    }

    #[tokio::test]
    async fn an_answered_try_is_not_open() {
        let mut tries = Tries::default();
        tries.failed(deadline(20), true);
        assert!(!tries.none() && tries.unsure());
        assert_eq!(tries.to_wait_out(true), None);
    }
}
