//! Identity of the table: deduplication tokens belong to a table, not to its name.
//!
//! After EXCHANGE TABLES or a restore, the name belongs to another table, which may have rows
//! without tokens for them. A plain table is identified by its UUID. Replicas of one table share
//! the tokens of their path in Keeper, but not always a UUID.

use std::sync::PoisonError;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::codes::ACCESS_DENIED;
use super::sql::quoted;
use super::table_id::TableId;
use super::{Store, StoreError};

impl Store {
    /// Returns the identity of the table at the last look-up.
    pub fn identity(&self) -> TableId {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up the identity of the table.
    ///
    /// # Errors
    /// Fails when ClickHouse does not answer.
    pub async fn read_identity(&self) -> Result<TableId, StoreError> {
        let place = format!(
            "database = {} AND name = {}",
            quoted(&self.database),
            quoted(&self.table)
        );
        let from = format!("FROM system.tables WHERE {place}");
        let asked = self.query::<Vec<(String, String)>>(
            "identify",
            "groupArray((engine, toString(uuid)))",
            &from,
        );
        let found = asked.await?.pop();
        let id = match found {
            Some((engine, _)) if engine.starts_with("Replicated") => self.path().await?,
            Some((_, uuid)) => Uuid::parse_str(&uuid).map_or(0, |uuid| uuid.as_u128()),
            None => 0,
        };
        let id = TableId(id);
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = id;
        Ok(id)
    }

    /// Returns the path of a replicated table as a number; 0 if the user may not see it.
    async fn path(&self) -> Result<u128, StoreError> {
        let from = format!(
            "FROM system.replicas WHERE database = {} AND table = {}",
            quoted(&self.database),
            quoted(&self.table)
        );
        let asked = self.query::<Vec<String>>("identify", "groupArray(zookeeper_path)", &from);
        match asked.await {
            Ok(mut paths) => Ok(paths.pop().map_or(0, |path| number(&path))),
            Err(error) if error.code() == Some(ACCESS_DENIED) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

fn number(path: &str) -> u128 {
    let hash = Sha256::digest(path);
    hash.iter()
        .take(16)
        .fold(0, |number, byte| number << 8 | u128::from(*byte))
}
