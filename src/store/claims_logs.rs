//! The ledger of the claims logs that write to the table: they share its window of tokens.

use std::collections::BTreeSet;
use std::time::Duration;

use super::engine::quoted;
use super::{Store, StoreError};

impl Store {
    fn claims_logs(&self) -> String {
        format!("{}.{}_claims_logs", self.database, self.table)
    }

    /// Names a claims log in the ledger, for as long as from now on, by ClickHouse's clock.
    ///
    /// # Errors
    /// When ClickHouse fails, the ledger is missing (`risksignal migrate` creates it), or the user may
    /// not insert into it.
    pub async fn name_log(&self, log: &str, alive: Duration) -> Result<(), StoreError> {
        let sql = format!(
            "INSERT INTO {} SELECT {}, now() + toIntervalSecond({})",
            self.claims_logs(),
            quoted(log),
            alive.as_secs()
        );
        self.execute("name the claims log in the ledger of", &sql)
            .await
    }

    /// The claims logs whose tokens may still be in use.
    ///
    /// # Errors
    /// As [`Self::name_log`].
    pub async fn logs(&self) -> Result<BTreeSet<String>, StoreError> {
        let from = format!("FROM {} WHERE until > now()", self.claims_logs());
        let doing = "read the claims logs in the ledger of";
        let logs = self.ask::<Vec<String>>(doing, "groupUniqArray(log)", &from);
        Ok(logs.await?.into_iter().collect())
    }
}
