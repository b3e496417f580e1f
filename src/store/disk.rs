//! Room on ClickHouse's disk.

use super::{Store, StoreError};

impl Store {
    /// Bytes in use and all bytes of the disk that ClickHouse keeps its data on by default. Needs
    /// no grant.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn disk(&self) -> Result<(u64, u64), StoreError> {
        let select = "[filesystemCapacity(), filesystemAvailable()]";
        let sizes: Vec<u64> = self.ask("ask for the disk of", select, "").await?;
        match sizes.as_slice() {
            [capacity, available] => Ok((capacity.saturating_sub(*available), *capacity)),
            _ => Err(StoreError::unexpected("two sizes were asked for")),
        }
    }
}
