//! Free space on ClickHouse's disk.

use super::{Store, StoreError};

impl Store {
    /// Returns used and total bytes of the disk that ClickHouse stores data on by default. Requires
    /// no grant.
    ///
    /// # Errors
    /// Fails when ClickHouse does not answer.
    pub async fn disk(&self) -> Result<(u64, u64), StoreError> {
        let select = "[filesystemCapacity(), filesystemAvailable()]";
        let sizes: Vec<u64> = self.query("ask for the disk of", select, "").await?;
        match sizes.as_slice() {
            [capacity, available] => Ok((capacity.saturating_sub(*available), *capacity)),
            _ => Err(StoreError::unexpected("two sizes were requested")),
        }
    }
}
