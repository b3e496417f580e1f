//! The connection to ClickHouse over its HTTP interface.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clickhouse::Client;
use url::{Host, Url};

use super::failure::Failure;
use super::pins::Pins;
use super::post::Post;
use super::{StoreError, http};
use crate::fault_point::FaultPoints;
use crate::settings::{ClickHouse, Compression};
use crate::tls::{Side, TlsError};

/// The table of signals in one ClickHouse database.
///
/// Connections are opened as they are needed, so making a store touches no server.
#[derive(Clone)]
pub struct Store {
    pub(super) client: Client,
    pub(super) post: Post,
    pub(super) pins: Pins,
    pub(super) database: String,
    pub(super) table: String,
    pub(super) send_timeout: Duration,
    pub(super) end_timeout: Duration,
    pub(super) retention: Duration,
    /// With https.
    tls: Option<Side>,
    /// ClickHouse's clock less this machine's, in milliseconds.
    clock_offset_ms: Arc<AtomicI64>,
    pub(super) faults: FaultPoints,
}

impl Store {
    /// A store with the connection that the settings describe.
    ///
    /// # Errors
    /// When a certificate or a key for https cannot be used.
    pub fn new(clickhouse: &ClickHouse) -> Result<Self, TlsError> {
        let compression = match clickhouse.compression {
            Compression::Lz4 => clickhouse::Compression::Lz4,
            Compression::None => clickhouse::Compression::None,
            Compression::Auto if is_this_machine(&clickhouse.url) => clickhouse::Compression::None,
            Compression::Auto => clickhouse::Compression::Lz4,
        };
        let tls = Side::of("clickhouse", &clickhouse.tls_files);
        let (client, inserts) = http::clients(clickhouse, &tls)?;
        let client = client
            .with_url(&clickhouse.url)
            .with_user(&clickhouse.user)
            .with_password(clickhouse.password.expose())
            .with_compression(compression)
            .with_product_info("risksignal", env!("CARGO_PKG_VERSION"));
        let post = Post {
            client: inserts,
            url: clickhouse.url.clone(),
            user: clickhouse.user.clone(),
            password: clickhouse.password.clone(),
            is_compressed: matches!(compression, clickhouse::Compression::Lz4),
        };
        Ok(Self {
            client,
            post,
            pins: Pins::default(),
            database: clickhouse.database.clone(),
            table: clickhouse.table.clone(),
            send_timeout: clickhouse.send_timeout,
            end_timeout: clickhouse.end_timeout,
            retention: clickhouse.retention,
            tls: clickhouse.is_https().then_some(tls),
            clock_offset_ms: Arc::default(),
            faults: FaultPoints::default(),
        })
    }

    /// The same store, with places where a test stops the process.
    pub fn with_fault_points(mut self, faults: FaultPoints) -> Self {
        self.faults = faults;
        self
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

    /// Learns by how much ClickHouse's clock differs from this machine's, and returns it in
    /// milliseconds. Deadlines are told in ClickHouse's time.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn compare_clocks(&self) -> Result<i64, StoreError> {
        let asked = unix_ms(SystemTime::now());
        let sql = "SELECT toUnixTimestamp64Milli(now64(3))";
        let theirs = self.fetch_all::<i64>("ask for the time of", sql).await?;
        let theirs = theirs.first().copied().unwrap_or(asked);
        // The answer was given some time between asking and now.
        let ours = asked.midpoint(unix_ms(SystemTime::now()));
        self.clock_offset_ms.store(theirs - ours, Ordering::Relaxed);
        Ok(theirs - ours)
    }

    /// A time of day in ClickHouse's whole seconds since the epoch, rounded down.
    pub(super) fn clickhouse_seconds(&self, time: SystemTime) -> i64 {
        let offset_ms = self.clock_offset_ms.load(Ordering::Relaxed);
        (unix_ms(time) + offset_ms).div_euclid(1000)
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
            .map_err(|failure| self.failed(doing, failure))
    }

    pub(super) fn failed(&self, doing: &'static str, failure: impl Into<Failure>) -> StoreError {
        StoreError::new(doing, failure, self.tls.as_ref())
    }
}

/// Whether the URL's host is a loopback address, over which bytes are cheaper than their
/// compression.
fn is_this_machine(url: &str) -> bool {
    match Url::parse(url).as_ref().map(Url::host) {
        Ok(Some(Host::Domain(name))) => name == "localhost",
        Ok(Some(Host::Ipv4(address))) => address.is_loopback(),
        Ok(Some(Host::Ipv6(address))) => address.is_loopback(),
        _ => false,
    }
}

fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_this_machine() {
        for (url, is) in [
            ("http://127.0.0.1:8123", true),
            ("http://localhost:8123", true),
            ("http://[::1]:8123", true),
            ("http://10.0.0.1:8123", false),
            ("https://clickhouse.internal:8443", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_this_machine(url), is, "{url}");
        }
    }
}
