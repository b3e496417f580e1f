//! The connection to ClickHouse over its HTTP interface.

use std::time::Duration;

use clickhouse::Client;

use super::StoreError;
use crate::settings::{ClickHouse, Compression};

/// The table of signals in one ClickHouse database.
///
/// Connections are opened as they are needed, so making a store touches no server.
#[derive(Clone)]
pub struct Store {
    pub(super) client: Client,
    pub(super) database: String,
    pub(super) table: String,
    pub(super) send_timeout: Duration,
    pub(super) end_timeout: Duration,
    pub(super) retention: Duration,
}

impl Store {
    /// A store with the connection that the settings describe.
    pub fn new(clickhouse: &ClickHouse) -> Self {
        let compression = match clickhouse.compression {
            Compression::Lz4 => clickhouse::Compression::Lz4,
            Compression::None => clickhouse::Compression::None,
        };
        let client = Client::default()
            .with_url(&clickhouse.url)
            .with_user(&clickhouse.user)
            .with_password(clickhouse.password.expose())
            .with_compression(compression)
            .with_product_info("risksignal", env!("CARGO_PKG_VERSION"));
        Self {
            client,
            database: clickhouse.database.clone(),
            table: clickhouse.table.clone(),
            send_timeout: clickhouse.send_timeout,
            end_timeout: clickhouse.end_timeout,
            retention: clickhouse.retention,
        }
    }

    /// The table's full name, `database.table`. Both are identifiers by the settings' check.
    pub fn table(&self) -> String {
        format!("{}.{}", self.database, self.table)
    }

    /// The server's version.
    ///
    /// # Errors
    /// When ClickHouse cannot be reached or refuses the user.
    pub async fn version(&self) -> Result<String, StoreError> {
        self.fetch_all::<String>("ask for the version of", "SELECT version()")
            .await?
            .pop()
            .ok_or_else(|| StoreError::unexpected("the server gave no version"))
    }

    /// Runs a statement that returns nothing.
    pub(super) async fn execute(&self, doing: &'static str, sql: &str) -> Result<(), StoreError> {
        self.bounded(doing, self.client.query_raw(sql).execute())
            .await
    }

    /// Runs a query and returns all of its rows.
    pub(super) async fn fetch_all<T>(
        &self,
        doing: &'static str,
        sql: &str,
    ) -> Result<Vec<T>, StoreError>
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        self.bounded(doing, self.client.query_raw(sql).fetch_all())
            .await
    }

    async fn bounded<T>(
        &self,
        doing: &'static str,
        query: impl Future<Output = clickhouse::error::Result<T>>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.end_timeout, query)
            .await
            .unwrap_or(Err(clickhouse::error::Error::TimedOut))
            .map_err(|source| StoreError::new(doing, source))
    }
}
