//! ClickHouse as the stages see it: commits the rows of a claim, and finds them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;
use claims::Nonce;
use store::schema::SchemaError;
use store::{Block, Receipt, Store, StoreError, TableId};
use uuid::Uuid;

/// The table that rows are committed to.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Inserts a block and waits for the whole answer. The table refuses it at `fence` or later.
    ///
    /// # Errors
    /// When there is no OK. The rows may be committed all the same.
    async fn insert(&self, block: &Block, fence: i64) -> Result<Receipt, StoreError>;

    /// Finds the rows of a claim: their sequences, all within `sequences`. The claim has `rows`.
    ///
    /// # Errors
    /// When the table cannot be asked, or hides rows.
    async fn rows_of(
        &self,
        claim: Nonce,
        stream_created_ns: i64,
        sequences: &RangeInclusive<u64>,
        rows: usize,
    ) -> Result<BTreeSet<u64>, StoreError>;

    /// Finds the messages, given by sequence and publish time, that have a row of any claim.
    ///
    /// # Errors
    /// As [`Self::rows_of`].
    async fn having(
        &self,
        stream_created_ns: i64,
        messages: &[(u64, i64)],
    ) -> Result<BTreeSet<u64>, StoreError>;

    /// Checks that the table fits.
    ///
    /// # Errors
    /// When it does not, or cannot be asked.
    async fn verify(&self) -> Result<(), SchemaError>;

    /// The table at the last look.
    fn table(&self) -> TableId;

    /// Looks which table has the name now.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    async fn read_table(&self) -> Result<TableId, StoreError>;

    /// Asks for the time: seconds since the epoch.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    async fn clock(&self) -> Result<i64, StoreError>;

    /// Learns the time, by which [`Self::seconds`] counts on.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    async fn learn_clock(&self) -> Result<(), StoreError>;

    /// The table's time, `ahead` from now, in seconds since the epoch.
    fn seconds(&self, ahead: Duration) -> i64;
}

#[async_trait]
impl Sink for Store {
    async fn insert(&self, block: &Block, fence: i64) -> Result<Receipt, StoreError> {
        Self::insert(self, block, fence).await
    }

    async fn rows_of(
        &self,
        claim: Nonce,
        stream_created_ns: i64,
        sequences: &RangeInclusive<u64>,
        rows: usize,
    ) -> Result<BTreeSet<u64>, StoreError> {
        let token = Uuid::from_u128(claim.0);
        self.claim_rows(token, stream_created_ns, sequences, rows)
            .await
    }

    async fn having(
        &self,
        stream_created_ns: i64,
        messages: &[(u64, i64)],
    ) -> Result<BTreeSet<u64>, StoreError> {
        self.stored_messages(stream_created_ns, messages).await
    }

    async fn verify(&self) -> Result<(), SchemaError> {
        Self::verify(self).await
    }

    fn table(&self) -> TableId {
        self.identity()
    }

    async fn read_table(&self) -> Result<TableId, StoreError> {
        self.read_identity().await
    }

    async fn clock(&self) -> Result<i64, StoreError> {
        Self::clock(self).await
    }

    async fn learn_clock(&self) -> Result<(), StoreError> {
        Self::learn_clock(self).await
    }

    fn seconds(&self, ahead: Duration) -> i64 {
        self.clickhouse_seconds(ahead)
    }
}
