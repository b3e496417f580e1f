//! Brings wallets back from ClickHouse.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use clock::now_ms;
use redis::aio::MultiplexedConnection;
use store::{QueryPurpose, Store};
use tokio::time::sleep;
use tracing::{info, warn};

use super::connection::Redis;
use super::error::CacheError;
use super::fill::{self, AT_ONCE};
use super::lease;
use super::metrics::CacheMetrics;
use super::wanted::Wanted;

/// Time that ClickHouse may take for the wallets that are asked for at once, or for their list.
const QUERY_TIMEOUT: Duration = Duration::from_secs(60);
/// Beside inserts, so many times as long as a question took nothing is asked: a tenth of one core.
const SPARE: u32 = 9;
/// The pause is no longer than that,
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// and no shorter, so that wallets come together.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Pause when ClickHouse fails.
const PAUSE_FAILED: Duration = Duration::from_secs(5);

/// Result of `risksignal cache rebuild`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Wallets with a signal within the TTL, at most as many as were asked for.
    pub wallets: usize,
    /// Wallets that ClickHouse was asked for; with the others a client or a daemon was first.
    pub filled: usize,
    /// Daemons that keep the cache.
    pub feeders: usize,
}

/// Recreates every entry: of the wallets of the newest signals, at most `max_wallets`. Calls
/// `progress` with how many are done, and of how many.
///
/// # Errors
/// When Redis or ClickHouse fails.
pub async fn rebuild(
    redis: &Redis,
    store: &Store,
    max_wallets: usize,
    mut progress: impl FnMut(usize, usize),
) -> Result<Rebuilt, CacheError> {
    let mut connection = redis.connect().await?;
    fill::load(redis, &mut connection).await?;
    lease::begin(redis, &connection).await?;
    let wallets = list(redis, store, max_wallets).await?;
    let (mut rest, mut filled) = (wallets.as_slice(), 0);
    while !rest.is_empty() {
        progress(wallets.len() - rest.len(), wallets.len());
        let (some, others) = rest.split_at(fill::at_once(rest).len());
        // The operator waits.
        let asks = QueryPurpose::Client(QUERY_TIMEOUT);
        filled += fill_some(redis, &mut connection, store, some, asks).await?;
        rest = others;
    }
    progress(wallets.len(), wallets.len());
    Ok(Rebuilt {
        wallets: wallets.len(),
        filled,
        feeders: lease::feeders(redis, &connection).await?,
    })
}

/// Brings back what is wanted, for ever: wallets with signals and no entry first.
///
/// # Errors
/// When Redis fails.
pub(super) async fn bring_back(
    redis: &Redis,
    connection: &MultiplexedConnection,
    store: &Store,
    max_wallets: usize,
    metrics: &CacheMetrics,
    wanted: &Wanted,
) -> Result<Infallible, CacheError> {
    let mut connection = connection.clone();
    let mut all: Option<Back> = None;
    loop {
        match wanted.take_all() {
            Some(true) => all = listed(redis, store, max_wallets, wanted).await?,
            Some(false) => all = None,
            None => {}
        }
        let mut some = wanted.take(AT_ONCE);
        if some.is_empty() {
            let Some(back) = &mut all else {
                wanted.changed.notified().await;
                continue;
            };
            some = back.next();
            if some.is_empty() {
                back.log();
                all = None;
                continue;
            }
        }
        let began = Instant::now();
        while !some.is_empty() {
            let others = some.split_off(fill::at_once(&some).len());
            let asks = QueryPurpose::Cache(QUERY_TIMEOUT);
            match fill_some(redis, &mut connection, store, &some, asks).await {
                Ok(filled) => metrics.cache_wallets_filled_total.inc_by(filled as u64),
                Err(CacheError::Store(error)) => {
                    // Clients bring them back, too.
                    warn!(%error, wallets = some.len(), "Wallets were not brought back to the cache");
                    sleep(PAUSE_FAILED).await;
                }
                Err(error) => return Err(error),
            }
            some = others;
        }
        sleep((began.elapsed() * SPARE).clamp(PAUSE_MIN, PAUSE_MAX)).await;
    }
}

/// All wallets on their way back.
struct Back {
    wallets: Vec<String>,
    done: usize,
    began: Instant,
}

impl Back {
    fn next(&mut self) -> Vec<String> {
        let some = fill::at_once(&self.wallets[self.done..]).to_vec();
        self.done += some.len();
        some
    }

    fn log(&self) {
        info!(
            wallets = self.wallets.len(),
            took_ms = self.began.elapsed().as_millis() as u64,
            "The cache has every wallet again"
        );
    }
}

/// Lists all wallets; `None` and wanted again when ClickHouse does not answer.
async fn listed(
    redis: &Redis,
    store: &Store,
    max_wallets: usize,
    wanted: &Wanted,
) -> Result<Option<Back>, CacheError> {
    let began = Instant::now();
    match list(redis, store, max_wallets).await {
        Ok(wallets) => Ok(Some(Back {
            wallets,
            done: 0,
            began,
        })),
        Err(CacheError::Store(error)) => {
            warn!(%error, "The wallets of the cache are not known yet");
            sleep(PAUSE_FAILED).await;
            wanted.set_all(true);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn list(redis: &Redis, store: &Store, max_wallets: usize) -> Result<Vec<String>, CacheError> {
    let ttl_ms = i64::try_from(redis.ttl.as_millis()).unwrap_or(i64::MAX);
    let since_ms = now_ms().saturating_sub(ttl_ms);
    let wallets = store.wallets_since(since_ms, max_wallets, QUERY_TIMEOUT);
    Ok(wallets.await?)
}

async fn fill_some(
    redis: &Redis,
    connection: &mut MultiplexedConnection,
    store: &Store,
    wallets: &[String],
    asks: QueryPurpose,
) -> Result<usize, CacheError> {
    let wallets: Vec<&str> = wallets.iter().map(String::as_str).collect();
    fill::fill(redis, connection, store, &wallets, now_ms(), asks).await
}
