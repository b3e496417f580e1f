//! Connection to ClickHouse over its HTTP interface.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clickhouse::error::Error;
use clickhouse::{Client, RowOwned, RowRead};
use fault_point::FaultPoints;
use net::tls::{ClientTls, TlsError};
use url::{Host, Url};

use crate::{ClickHouseOptions, Compression, TOKENS_MIN};

use super::failure::FailureReason;
use super::pinned::{MEANING, MarkError, NO_LIMITS, QueryMark, Setting};
use super::pins::Pins;
use super::post::Post;
use super::table_id::TableId;
use super::{StoreError, http};

/// The table of signals in one ClickHouse database.
///
/// Connections open on demand, so creating a store contacts no server.
#[derive(Clone)]
pub struct Store {
    /// Client with the settings of [`MEANING`].
    pub(super) client: Client,
    /// Client without settings.
    pub(super) bare: Client,
    pub(super) post: Post,
    pub(super) pins: Pins,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) table: String,
    pub(super) send_timeout: Duration,
    pub(super) end_timeout: Duration,
    pub(super) retention: Duration,
    /// Number of tokens that the table must keep.
    pub(super) window_min: Arc<AtomicU64>,
    /// Time from a claim until none of its inserts can land any more.
    pub(super) tokens_for: Duration,
    /// Identity of the table at the last look-up.
    pub(super) identity: Arc<Mutex<TableId>>,
    /// Names of the ledger of claims logs; `None` until they are read.
    pub(super) ledger: Arc<Mutex<Option<BTreeSet<String>>>>,
    /// TLS, if the URL is https.
    tls: Option<ClientTls>,
    started: Instant,
    /// ClickHouse's time at `started`, in milliseconds since the epoch.
    clock_base_ms: Arc<AtomicI64>,
    /// True if the newest check of the table found a fault.
    pub(super) unfit: Arc<AtomicBool>,
    pub(super) faults: FaultPoints,
}

impl Store {
    /// Creates a store from the settings.
    ///
    /// # Errors
    /// Fails when a certificate or a key for https cannot be used.
    pub fn new(clickhouse: &ClickHouseOptions) -> Result<Self, TlsError> {
        let compression = match clickhouse.compression {
            Compression::Lz4 => clickhouse::Compression::Lz4,
            Compression::None => clickhouse::Compression::None,
            Compression::Auto if is_this_machine(&clickhouse.url) => clickhouse::Compression::None,
            Compression::Auto => clickhouse::Compression::Lz4,
        };
        let tls = ClientTls::new("clickhouse", &clickhouse.tls_files());
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
            tokens_for: clickhouse.fence + clickhouse.late_commit,
            identity: Arc::default(),
            ledger: Arc::default(),
            tls: clickhouse.is_https().then_some(tls),
            started: Instant::now(),
            clock_base_ms: Arc::new(AtomicI64::new(unix_ms(SystemTime::now()))),
            unfit: Arc::default(),
            faults: FaultPoints::default(),
        })
    }

    /// Adds points at which a test stops the process.
    pub fn with_fault_points(mut self, faults: FaultPoints) -> Self {
        self.faults = faults;
        self
    }

    /// Sets the number of tokens that the table must keep.
    pub fn with_tokens(self, needed: u64) -> Self {
        self.window_min.fetch_max(needed, Ordering::Relaxed);
        self
    }

    /// Returns the table's full name, `database.table`. The settings' check ensures that both are
    /// identifiers.
    pub fn table(&self) -> String {
        format!("{}.{}", self.database, self.table)
    }

    /// Returns the server's version.
    ///
    /// # Errors
    /// Fails when ClickHouse is unreachable or rejects the user.
    pub async fn version(&self) -> Result<String, StoreError> {
        self.query("ask for the version of", "version()", "").await
    }

    /// Learns ClickHouse's time, the base of fences. A monotonic clock advances it from there,
    /// since this machine's time of day may step.
    ///
    /// # Errors
    /// Fails when ClickHouse does not answer.
    pub async fn learn_clock(&self) -> Result<(), StoreError> {
        let asked = self.started.elapsed();
        let select = "toUnixTimestamp64Milli(now64(3))";
        let theirs: i64 = self.query("ask for the time of", select, "").await?;
        // ClickHouse answered some time between the request and now.
        let ours = (asked + self.started.elapsed()) / 2;
        self.clock_base_ms
            .store(theirs - millis(ours), Ordering::Relaxed);
        Ok(())
    }

    /// Returns ClickHouse's time, `ahead` from now, in whole seconds since the epoch, rounded down.
    /// Before [`Self::learn_clock`] it uses this machine's clock.
    pub fn clickhouse_seconds(&self, ahead: Duration) -> i64 {
        let base_ms = self.clock_base_ms.load(Ordering::Relaxed);
        (base_ms + millis(self.started.elapsed() + ahead)).div_euclid(1000)
    }

    /// Runs a statement without a result.
    pub(super) async fn execute(&self, doing: &'static str, sql: &str) -> Result<(), StoreError> {
        self.bounded(doing, self.client.query_raw(sql).execute())
            .await
    }

    /// Queries one value: `select` is an expression without a name. The answer is one row that
    /// names the query and its settings, which proves that it is complete and ClickHouse's own.
    pub(super) async fn query<T>(
        &self,
        doing: &'static str,
        select: &str,
        from: &str,
    ) -> Result<T, StoreError>
    where
        (T, String): RowOwned + RowRead,
    {
        self.query_with(doing, select, from, &[]).await
    }

    /// Like [`Self::query`], with further settings.
    pub(super) async fn query_with<T>(
        &self,
        doing: &'static str,
        select: &str,
        from: &str,
        settings: &[Setting],
    ) -> Result<T, StoreError>
    where
        (T, String): RowOwned + RowRead,
    {
        let mark = QueryMark::new();
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
                let text = format!("the answer has {count} rows instead of one");
                return Err(StoreError::unexpected(&text));
            }
        };
        match mark.check(&found) {
            Ok(()) => Ok(answer),
            Err(MarkError::Foreign) => Err(StoreError::unexpected(
                "the answer belongs to another query; does a proxy before clickhouse.url cache answers?",
            )),
            Err(MarkError::Setting(which)) => {
                let text = format!(
                    "{which}; does a proxy before clickhouse.url drop the settings of a request? Make it pass on all parameters"
                );
                Err(StoreError::new(doing, Error::Unsupported(text), None))
            }
        }
    }

    /// Runs a query and returns its rows. Unlike [`Self::query`], nothing proves that they are
    /// complete.
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

    pub(super) fn failed(
        &self,
        doing: &'static str,
        failure: impl Into<FailureReason>,
    ) -> StoreError {
        StoreError::new(doing, failure, self.tls.as_ref())
    }
}

/// Reports whether the URL's host is a loopback address, to which sending bytes is cheaper than
/// compressing them.
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
