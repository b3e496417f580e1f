//! The connection to ClickHouse over its HTTP interface.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clickhouse::error::Error;
use clickhouse::{Client, RowOwned, RowRead};
use url::{Host, Url};

use super::failure::Failure;
use super::identity::TableId;
use super::pinned::{MEANING, Mark, NO_LIMITS, Setting, Unproven};
use super::pins::Pins;
use super::post::Post;
use super::{StoreError, http};
use crate::fault_point::FaultPoints;
use crate::settings::{ClickHouse, Compression, TOKENS_MIN};
use crate::tls::{Side, TlsError};

/// The table of signals in one ClickHouse database.
///
/// Connections are opened as they are needed, so making a store touches no server.
#[derive(Clone)]
pub struct Store {
    /// With the settings of [`MEANING`].
    pub(super) client: Client,
    /// Without settings.
    pub(super) bare: Client,
    pub(super) post: Post,
    pub(super) pins: Pins,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) table: String,
    pub(super) send_timeout: Duration,
    pub(super) end_timeout: Duration,
    pub(super) retention: Duration,
    /// Tokens that the table must keep.
    pub(super) window_min: Arc<AtomicU64>,
    /// The table that was there at the last look.
    pub(super) identity: Arc<Mutex<TableId>>,
    /// With https.
    tls: Option<Side>,
    started: Instant,
    /// ClickHouse's time at `started`: milliseconds since the epoch.
    clock_base_ms: Arc<AtomicI64>,
    /// Whether the newest check of the table found a fault.
    pub(super) unfit: Arc<AtomicBool>,
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
        let (bare, inserts) = http::clients(clickhouse, &tls)?;
        let bare = bare
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
            client: MEANING
                .into_iter()
                .fold(bare.clone(), |client, (name, value)| {
                    client.with_setting(name, value)
                }),
            bare,
            post,
            pins: Pins::default(),
            user: clickhouse.user.clone(),
            database: clickhouse.database.clone(),
            table: clickhouse.table.clone(),
            send_timeout: clickhouse.send_timeout,
            end_timeout: clickhouse.end_timeout,
            retention: clickhouse.retention,
            window_min: Arc::new(AtomicU64::new(TOKENS_MIN)),
            identity: Arc::default(),
            tls: clickhouse.is_https().then_some(tls),
            started: Instant::now(),
            clock_base_ms: Arc::new(AtomicI64::new(unix_ms(SystemTime::now()))),
            unfit: Arc::default(),
            faults: FaultPoints::default(),
        })
    }

    /// The same store, with places where a test stops the process.
    pub fn with_fault_points(mut self, faults: FaultPoints) -> Self {
        self.faults = faults;
        self
    }

    /// The same store, whose table must keep so many tokens.
    pub fn with_tokens(self, needed: u64) -> Self {
        self.window_min.fetch_max(needed, Ordering::Relaxed);
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
        self.ask("ask for the version of", "version()", "").await
    }

    /// Learns ClickHouse's time, in which fences are set. It is counted on from there without this
    /// machine's time of day, which may step.
    ///
    /// # Errors
    /// When ClickHouse cannot be asked.
    pub async fn learn_clock(&self) -> Result<(), StoreError> {
        let asked = self.started.elapsed();
        let select = "toUnixTimestamp64Milli(now64(3))";
        let theirs: i64 = self.ask("ask for the time of", select, "").await?;
        // The answer was given some time between asking and now.
        let ours = (asked + self.started.elapsed()) / 2;
        self.clock_base_ms
            .store(theirs - millis(ours), Ordering::Relaxed);
        Ok(())
    }

    /// ClickHouse's time, `ahead` from now, in whole seconds since the epoch, rounded down; by this
    /// machine's clock before [`Self::learn_clock`].
    pub fn clickhouse_seconds(&self, ahead: Duration) -> i64 {
        let base_ms = self.clock_base_ms.load(Ordering::Relaxed);
        (base_ms + millis(self.started.elapsed() + ahead)).div_euclid(1000)
    }

    /// Runs a statement that returns nothing.
    pub(super) async fn execute(&self, doing: &'static str, sql: &str) -> Result<(), StoreError> {
        self.bounded(doing, self.client.query_raw(sql).execute())
            .await
    }

    /// Asks for one value: `select` is an expression without a name. The answer is one row, which
    /// names the query and the settings that it ran with, so that it is whole and ClickHouse's own.
    pub(super) async fn ask<T>(
        &self,
        doing: &'static str,
        select: &str,
        from: &str,
    ) -> Result<T, StoreError>
    where
        (T, String): RowOwned + RowRead,
    {
        self.ask_with(doing, select, from, &[]).await
    }

    /// As [`Self::ask`], with further settings.
    pub(super) async fn ask_with<T>(
        &self,
        doing: &'static str,
        select: &str,
        from: &str,
        settings: &[Setting],
    ) -> Result<T, StoreError>
    where
        (T, String): RowOwned + RowRead,
    {
        let mark = Mark::new();
        let sql = format!("SELECT {select} AS answer, {} AS mark {from}", mark.sql());
        let (witness, value) = mark.setting();
        let query = self.client.query_raw(&sql).with_setting(witness, value);
        let settings = NO_LIMITS.iter().chain(settings);
        let query = settings.fold(query, |query, (name, value)| {
            query.with_setting(*name, *value)
        });
        let mut rows: Vec<(T, String)> = self.bounded(doing, query.fetch_all()).await?;
        let (answer, found) = match (rows.pop(), rows.len()) {
            (Some(row), 0) => row,
            (row, others) => {
                let count = others + usize::from(row.is_some());
                let told = format!("the answer has {count} rows and not one");
                return Err(StoreError::unexpected(&told));
            }
        };
        match mark.check(&found) {
            Ok(()) => Ok(answer),
            Err(Unproven::Foreign) => Err(StoreError::unexpected(
                "the answer belongs to another query; does a proxy on the way to clickhouse.url keep answers?",
            )),
            Err(Unproven::Setting(which)) => {
                let told = format!(
                    "{which}; does a proxy on the way to clickhouse.url drop the settings of a request? Have it pass all parameters on"
                );
                Err(StoreError::new(doing, Error::Unsupported(told), None))
            }
        }
    }

    /// Runs a query and returns all of its rows. Nothing shows that they are all: [`Self::ask`] does.
    pub(super) async fn fetch_all<T>(
        &self,
        doing: &'static str,
        sql: &str,
    ) -> Result<Vec<T>, StoreError>
    where
        T: RowOwned + RowRead,
    {
        self.bounded(doing, self.client.query_raw(sql).fetch_all())
            .await
    }

    pub(super) async fn bounded<T>(
        &self,
        doing: &'static str,
        query: impl Future<Output = clickhouse::error::Result<T>>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.end_timeout, query)
            .await
            .unwrap_or(Err(Error::TimedOut))
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
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
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
