//! Reads for clients, while the cache is fresh.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use serde_json::value::RawValue;
use store::wallet::{self, LAST_SIGNALS, SignalCount, WINDOWS, Wallet};
use tracing::{info, warn};

use super::connection::Redis;
use super::entry::{self, COUNTED_MAX, Update};
use super::error::CacheError;
use super::fill::{Begun, WAIT_MS};
use super::scripts::keys;

/// Time that Redis is left alone after a failure.
const REST: Duration = Duration::from_secs(1);

/// Reads wallets out of Redis, over one connection for all clients.
pub struct Reader {
    redis: Redis,
    link: Mutex<Link>,
}

enum Link {
    Up(MultiplexedConnection),
    /// Not to be tried before that.
    Down(Instant),
}

/// State of a wallet in Redis.
#[derive(Debug)]
pub enum Found {
    /// Everything; `None` when there is no signal of such a wallet.
    Hit(Option<Wallet>),
    /// Nothing yet. Where a nonce is given, ClickHouse's answer fills the entry under it.
    Miss(Option<String>),
    /// It has more signals than Redis keeps.
    Busy,
    /// Redis may lack committed signals.
    Stale,
    /// Redis gave no answer in time.
    Away,
}

impl Found {
    /// Its name in the metrics, and for clients behind `fwd=` in `Cache-Status`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hit(_) => "hit",
            Self::Miss(_) => "miss",
            Self::Busy => "busy",
            Self::Stale => "stale",
            Self::Away => "away",
        }
    }
}

/// Answer of the script behind `hit`: the times of the first and the last signal, the snapshot, the
/// counts, the newest signals.
type Hit = (
    String,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Vec<String>,
    Vec<String>,
);

impl Reader {
    /// A reader that connects when it is first asked.
    pub fn new(redis: Redis) -> Self {
        Self {
            redis,
            link: Mutex::new(Link::Down(Instant::now())),
        }
    }

    /// Signals of the longest window to ask ClickHouse for, so that an entry can be filled.
    pub const COUNTED: usize = COUNTED_MAX + 1;

    /// Reads a wallet from Redis.
    pub async fn read(&self, address: &str, now_ms: i64) -> Found {
        let Some(mut connection) = self.connection().await else {
            return Found::Away;
        };
        match self.ask(&mut connection, address, now_ms).await {
            Ok(found) => found,
            Err(error) => {
                self.failed(&error);
                Found::Away
            }
        }
    }

    async fn ask(
        &self,
        connection: &mut MultiplexedConnection,
        address: &str,
        now_ms: i64,
    ) -> Result<Found, CacheError> {
        let [shorter, longer] = WINDOWS;
        let mut call = self.redis.scripts.read.prepare_invoke();
        entry::add_keys(&mut call, &self.redis, address);
        call.key(keys::feeders(&self.redis.prefix))
            .arg(shorter.since_ms(now_ms))
            .arg(longer.since_ms(now_ms))
            .arg(LAST_SIGNALS);
        let answer: redis::Value = call
            .invoke_async(connection)
            .await
            .map_err(|error| self.redis.failed("read from", error))?;
        let failed = |error| self.redis.failed("understand an entry in", error);
        if let redis::Value::Array(parts) = &answer
            && let [word] = parts.as_slice()
        {
            let word: String = redis::from_redis_value_ref(word).map_err(|e| failed(e.into()))?;
            return match word.as_str() {
                "miss" => self.begin(connection, address).await,
                "busy" => Ok(Found::Busy),
                _ => Ok(Found::Stale),
            };
        }
        let hit: Hit = redis::from_redis_value(answer).map_err(|e| failed(e.into()))?;
        // An entry that cannot be read is none; it is recreated when its time is over.
        Ok(wallet_of(address, hit).map_or(Found::Miss(None), Found::Hit))
    }

    async fn begin(
        &self,
        connection: &mut MultiplexedConnection,
        address: &str,
    ) -> Result<Found, CacheError> {
        let answer: String = entry::begin(&self.redis, address, WAIT_MS)
            .invoke_async(connection)
            .await
            .map_err(|error| self.redis.failed("begin an entry in", error))?;
        Ok(match Begun::of(answer) {
            Begun::Open(nonce) => Found::Miss(Some(nonce)),
            Begun::Done => Found::Miss(None),
            Begun::Lost => Found::Stale,
        })
    }

    /// Fills the entry of a wallet with the rows of ClickHouse. Clients do not need it to succeed.
    pub async fn fill(&self, address: &str, nonce: &str, rows: &wallet::WalletRows, now_ms: i64) {
        let Some(mut connection) = self.connection().await else {
            return;
        };
        let update = Update::of_table(rows);
        let call = update.call(&self.redis, address, nonce, now_ms);
        let filled: Result<String, _> = call.invoke_async(&mut connection).await;
        if let Err(error) = filled {
            self.failed(&self.redis.failed("fill an entry in", error));
        }
    }

    /// A connection, which is made when there is none; `None` while Redis is left alone. A
    /// client that comes while one is being made does not wait for it.
    async fn connection(&self) -> Option<MultiplexedConnection> {
        {
            let mut link = self.lock();
            match &*link {
                Link::Up(connection) => return Some(connection.clone()),
                Link::Down(until) if Instant::now() < *until => return None,
                Link::Down(_) => *link = Link::Down(Instant::now() + REST),
            }
        }
        match self.redis.connect().await {
            Ok(connection) => {
                info!(url = self.redis.url(), "Reading from the cache in Redis");
                *self.lock() = Link::Up(connection.clone());
                Some(connection)
            }
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    fn failed(&self, error: &CacheError) {
        let was_up = {
            let mut link = self.lock();
            let was_up = matches!(*link, Link::Up(_));
            *link = Link::Down(Instant::now() + REST);
            was_up
        };
        if was_up {
            warn!(%error, "The cache is not read; clients are answered out of ClickHouse");
        } else {
            tracing::debug!(%error, "The cache is still not read");
        }
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads an entry; `None` when it is malformed.
fn wallet_of(address: &str, hit: Hit) -> Option<Option<Wallet>> {
    let (_, first_seen_ms, last_seen_ms, snapshot, counts, last) = hit;
    let Some((first_seen_ms, last_seen_ms)) = first_seen_ms.zip(last_seen_ms) else {
        return Some(None);
    };
    let raw = |json: String| RawValue::from_string(json).ok();
    let snapshot = match snapshot {
        Some(json) => Some(raw(json)?),
        None => None,
    };
    let mut parts = counts.into_iter();
    let mut counts = Vec::new();
    while let Some(event_type) = parts.next() {
        counts.push(SignalCount {
            event_type,
            severity: parts.next()?.parse().ok()?,
            signals: [parts.next()?.parse().ok()?, parts.next()?.parse().ok()?],
        });
    }
    Some(Some(Wallet {
        address: address.to_owned(),
        first_seen_ms,
        last_seen_ms,
        counts,
        snapshot,
        last: last.into_iter().map(raw).collect::<Option<_>>()?,
    }))
}
