//! From ClickHouse into entries.

use redis::aio::MultiplexedConnection;
use redis::pipe;
use store::{QueryPurpose, Store};

use super::connection::Redis;
use super::entry::{self, COUNTED_MAX, Update};
use super::error::CacheError;
use super::scripts::keys;

/// Wallets that ClickHouse is asked for at once.
pub(super) const AT_ONCE: usize = 200;
/// Bytes of their addresses, which go into a URL of at most 1 MiB
/// (<https://clickhouse.com/docs/operations/server-configuration-parameters/settings>,
/// `http_max_uri_size`), each byte as three.
pub(super) const ADDRESS_BYTES: usize = 64 * 1024;
/// Signals of each that are counted. A wallet with more is asked for by itself, so that the answer
/// has some 10 MiB at most.
const COUNTED_AT_ONCE: usize = 500;
/// Time that an entry waits to be filled, and that one of an unknown wallet stays: milliseconds.
pub(super) const WAIT_MS: u64 = 60_000;
/// Bytes that Redis is sent before its answers are awaited.
pub(super) const SENT_AT_ONCE: usize = 256 * 1024;

/// Answer of the script that begins an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Begun {
    /// It is to be filled with this nonce.
    Open(String),
    /// It is filled, or has more signals than are kept in Redis.
    Done,
    /// There is no generation.
    Lost,
}

impl Begun {
    pub fn of(answer: String) -> Self {
        match answer.as_str() {
            "complete" | "busy" => Self::Done,
            "lost" => Self::Lost,
            _ => Self::Open(answer),
        }
    }
}

/// Loads the scripts that are called many at a time.
pub(super) async fn load(
    redis: &Redis,
    connection: &mut MultiplexedConnection,
) -> Result<(), CacheError> {
    for script in [&redis.scripts.begin, &redis.scripts.feed] {
        let loaded = script.load_async(connection).await;
        loaded.map_err(|error| redis.failed("load a script into", error))?;
    }
    Ok(())
}

/// Begins entries, and returns the nonces of those that are to be filled.
async fn begin<'a>(
    redis: &Redis,
    connection: &mut MultiplexedConnection,
    wallets: &[&'a str],
) -> Result<Vec<(&'a str, String)>, CacheError> {
    let mut calls = pipe();
    for address in wallets {
        calls.invoke_script(&entry::begin(redis, address, WAIT_MS));
    }
    let answers: Vec<String> = calls
        .query_async(connection)
        .await
        .map_err(|error| redis.failed("begin entries in", error))?;
    let mut open = Vec::new();
    for (address, answer) in wallets.iter().zip(answers) {
        match Begun::of(answer) {
            Begun::Open(nonce) => open.push((*address, nonce)),
            Begun::Done => {}
            Begun::Lost => return Err(lost(redis)),
        }
    }
    Ok(open)
}

/// Begins and fills the entries of wallets, and returns the number of filled ones. The scripts
/// must be loaded.
///
/// # Errors
/// When Redis or ClickHouse fails.
pub(super) async fn fill(
    redis: &Redis,
    connection: &mut MultiplexedConnection,
    store: &Store,
    wallets: &[&str],
    now_ms: i64,
    asks: QueryPurpose,
) -> Result<usize, CacheError> {
    let open = begin(redis, connection, wallets).await?;
    if open.is_empty() {
        return Ok(0);
    }
    let long = fill_open(
        redis,
        connection,
        store,
        &open,
        COUNTED_AT_ONCE,
        now_ms,
        asks,
    )
    .await?;
    for one in long {
        let one = [one];
        fill_open(redis, connection, store, &one, COUNTED_MAX, now_ms, asks).await?;
    }
    Ok(open.len())
}

/// Fills entries that are begun, and returns those of wallets with more than `counted_max` signals,
/// for which that would not be all; beyond what Redis keeps it knows what to do.
async fn fill_open<'a>(
    redis: &Redis,
    connection: &mut MultiplexedConnection,
    store: &Store,
    open: &[(&'a str, String)],
    counted_max: usize,
    now_ms: i64,
    asks: QueryPurpose,
) -> Result<Vec<(&'a str, String)>, CacheError> {
    let addresses: Vec<&str> = open.iter().map(|(address, _)| *address).collect();
    let found = store
        .wallets(&addresses, now_ms, counted_max + 1, asks)
        .await?;
    let none = store::wallet::WalletRows::default();
    let (mut calls, mut bytes, mut long) = (pipe(), 0, Vec::new());
    for (address, nonce) in open {
        let rows = found.get(*address).unwrap_or(&none);
        if rows.counted.len() > counted_max && counted_max < COUNTED_MAX {
            long.push((*address, nonce.clone()));
            continue;
        }
        let update = Update::of_table(rows);
        calls.invoke_script(&update.call(redis, address, nonce, now_ms));
        bytes += update.bytes();
        if bytes > SENT_AT_ONCE {
            send(redis, connection, &mut calls).await?;
            bytes = 0;
        }
    }
    send(redis, connection, &mut calls).await?;
    Ok(long)
}

/// Sends the calls of a pipeline and empties it; returns the answer of each call.
pub(super) async fn send(
    redis: &Redis,
    connection: &mut MultiplexedConnection,
    calls: &mut redis::Pipeline,
) -> Result<Vec<String>, CacheError> {
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let answers: Vec<String> = calls
        .query_async(connection)
        .await
        .map_err(|error| redis.failed("send signals to", error))?;
    calls.clear();
    if answers.iter().any(|answer| answer == "lost") {
        return Err(lost(redis));
    }
    Ok(answers)
}

pub(super) fn lost(redis: &Redis) -> CacheError {
    CacheError::Lost {
        key: keys::state(&redis.prefix),
    }
}

/// The first wallets of a list that may be asked for at once.
pub(super) fn at_once(wallets: &[String]) -> &[String] {
    let mut bytes = 0;
    let fit = wallets.iter().take(AT_ONCE).take_while(|address| {
        bytes += address.len();
        bytes <= ADDRESS_BYTES || bytes == address.len()
    });
    &wallets[..fit.count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_bounded_by_wallets_and_by_bytes() {
        let short = vec!["0xab".to_owned(); 500];
        assert_eq!(at_once(&short).len(), AT_ONCE);
        let long = vec!["x".repeat(ADDRESS_BYTES); 3];
        assert_eq!(at_once(&long).len(), 1);
        let longer = vec!["x".repeat(ADDRESS_BYTES + 1); 3];
        assert_eq!(at_once(&longer).len(), 1);
        assert!(at_once(&[]).is_empty());
    }
}
