//! Rows that a look-up has found in the table.

use std::collections::HashSet;
use std::time::SystemTime;

use crate::store::{Store, StoreError};
use crate::telemetry::traces::InsertTrace;

use super::batch::ClosedBatch;
use super::delivery::Delivery;

/// The sequences of one batch whose rows are in the table. Made only by a look-up.
#[derive(Debug)]
pub(super) struct Found(HashSet<u64>);

impl Found {
    /// Looks up the rows of a batch that may be there: those of messages that were delivered before,
    /// and all rows once a try may have left some.
    ///
    /// # Errors
    /// ClickHouse cannot be asked.
    pub async fn look_up(
        store: &Store,
        batch: &ClosedBatch,
        trace: &InsertTrace,
    ) -> Result<Self, StoreError> {
        let began = SystemTime::now();
        let mut found = HashSet::new();
        let all = batch.tries().unsure();
        let mut asked = batch
            .deliveries()
            .iter()
            .filter(|delivery| all || delivery.may_be_stored);
        let Some(first) = asked.next() else {
            return Ok(Self(found));
        };
        // All are of one stream, but for the moment in which a stream is recreated.
        let created = first.position.stream_created_ns;
        let (same, other): (Vec<_>, Vec<_>) = std::iter::once(first)
            .chain(asked)
            .map(|delivery| delivery.position)
            .partition(|position| position.stream_created_ns == created);
        let asked = same.len() + other.len();
        for positions in [same, other] {
            let Some(position) = positions.first() else {
                continue;
            };
            let sequences: Vec<u64> = positions
                .iter()
                .map(|position| position.stream_seq)
                .collect();
            let stored = store.stored(position.stream_created_ns, &sequences);
            found.extend(stored.await?);
        }
        trace.looked_up(began, asked, found.len());
        Ok(Self(found))
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when the row of a message is there.
    pub fn has(&self, delivery: &Delivery) -> bool {
        self.0.contains(&delivery.position.stream_seq)
    }

    /// True when every row of a batch is there.
    pub fn has_all(&self, batch: &ClosedBatch) -> bool {
        batch.deliveries().iter().all(|delivery| self.has(delivery))
    }
}
