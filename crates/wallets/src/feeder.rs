//! Writes committed rows to Redis, and makes the cache stale when that fails.

use std::time::{Duration, Instant};

use clock::{Backoff, now_ms};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, pipe};
use store::{Rows, Store, StoredRow};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use crate::log_lines::{FRESH, KEEPING, STALE, STALE_BY_ANOTHER};

use super::connection::Redis;
use super::entry::{self, Update};
use super::error::CacheError;
use super::fill::{self, SENT_AT_ONCE};
use super::lease::{self, Beat, FeederName};
use super::metrics::CacheMetrics;
use super::options::CacheOptions;
use super::queue::{Feed, Queue, queue};
use super::rebuild::bring_back;
use super::scripts::keys;
use super::wanted::Wanted;

/// Between two renewals.
const BEAT: Duration = Duration::from_secs(1);
/// Pauses before the cache is tried again.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Wallets that are looked for before the answers are awaited.
const LOOKED_FOR_AT_ONCE: usize = 1000;
/// Time of work after which the next pause is the shortest.
const STEADY: Duration = Duration::from_secs(60);

/// The task that keeps the cache, apart from the pipeline.
pub struct Feeder {
    redis: Redis,
    store: Store,
    metrics: CacheMetrics,
    max_wallets: usize,
    queue: Queue,
    /// Unique among all processes.
    name: FeederName,
}

/// Committed rows of a wallet.
type OfWallet<'a> = (&'a str, Vec<StoredRow<'a>>);

/// One connection with all that it works with.
struct Link<'a> {
    redis: &'a Redis,
    name: &'a FeederName,
    connection: MultiplexedConnection,
    metrics: &'a CacheMetrics,
    wanted: &'a Wanted,
}

impl Feeder {
    /// A feeder, and the consumer of committed rows that it is fed by. Connects to nothing yet.
    pub fn new(
        redis: Redis,
        store: Store,
        cache: &CacheOptions,
        metrics: &CacheMetrics,
    ) -> (Feed, Self) {
        let (feed, queue) = queue(cache.max_queue_bytes, metrics.clone());
        let feeder = Self {
            redis,
            store,
            metrics: metrics.clone(),
            max_wallets: cache.max_wallets,
            queue,
            name: FeederName::own(),
        };
        (feed, feeder)
    }

    /// Writes committed rows to Redis until the pipeline has ended. Never gives up.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
        loop {
            let began = Instant::now();
            let result = self.keep().await;
            self.metrics.cache_fresh.set(0);
            let Err(error) = result else { return };
            self.queue.close();
            if began.elapsed() > STEADY {
                backoff.reset();
            }
            let pause = backoff.pause();
            warn!(
                %error,
                retry_in_ms = pause.as_millis() as u64,
                "{STALE}"
            );
            tokio::select! {
                () = self.queue.ended() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// Keeps the cache over one connection; ends without an error when the pipeline has ended.
    async fn keep(&mut self) -> Result<(), CacheError> {
        let wanted = Wanted::default();
        let connect = async {
            let mut connection = self.redis.connect().await?;
            fill::load(&self.redis, &mut connection).await?;
            Ok::<_, CacheError>(connection)
        };
        let connection = tokio::select! {
            connected = connect => connected?,
            // Its borrow ends with the other branch.
            () = self.queue.ended() => return Ok(()),
        };
        let link = Link {
            redis: &self.redis,
            name: &self.name,
            connection,
            metrics: &self.metrics,
            wanted: &wanted,
        };
        // Rows that were committed before the generation begins are in ClickHouse when one of its
        // entries is filled; later ones are taken.
        self.queue.open();
        let first = link.beat(true).await?;
        wanted.set_all(true);
        self.metrics.cache_fresh.set(1);
        info!(url = self.redis.url(), "{KEEPING}");
        let kept = tokio::select! {
            fed = link.feed(&mut self.queue) => fed,
            error = link.beats(first.generation) => Err(error),
            error = link.fetch(&self.store, self.max_wallets) => Err(error),
        };
        // Clients had better know at once; where Redis is away, the lease runs out.
        let farewell = async {
            match &kept {
                Ok(()) => lease::leave(link.redis, &link.connection, link.name).await,
                Err(_) => lease::end(link.redis, &link.connection, link.name).await,
            }
        };
        let _ = timeout(self.redis.timeout(), farewell).await;
        kept
    }
}

impl Link<'_> {
    /// Feeds rows until none will come.
    async fn feed(&self, queue: &mut Queue) -> Result<(), CacheError> {
        while let Some(rows) = queue.next().await {
            if queue.is_overrun() {
                return Err(CacheError::Overrun);
            }
            self.feed_rows(&rows).await?;
        }
        Ok(())
    }

    async fn feed_rows(&self, rows: &Rows) -> Result<(), CacheError> {
        let now_ms = now_ms();
        for some in entry::by_wallet(rows).chunks_mut(LOOKED_FOR_AT_ONCE) {
            self.feed_some(some, now_ms).await?;
        }
        Ok(())
    }

    /// Feeds the wallets that have an entry. An entry that is begun after it was looked for is
    /// filled with the rows that ClickHouse has by then.
    async fn feed_some(
        &self,
        of_wallets: &mut [OfWallet<'_>],
        now_ms: i64,
    ) -> Result<(), CacheError> {
        let mut connection = self.connection.clone();
        let mut question = self.redis.scripts.held.prepare_invoke();
        question.key(keys::state(&self.redis.prefix));
        for (address, _) in &*of_wallets {
            question.key(keys::wallet(&self.redis.prefix, address));
        }
        let held: String = question
            .invoke_async(&mut connection)
            .await
            .map_err(|error| self.redis.failed("look for entries in", error))?;
        if held == "lost" {
            return Err(fill::lost(self.redis));
        }
        let (mut calls, mut bytes, mut sent) = (pipe(), 0, Vec::new());
        for ((address, rows), held) in of_wallets.iter_mut().zip(held.bytes()) {
            if held != b'f' {
                let answer = if held == b'b' { "busy" } else { "absent" };
                self.count(address, answer, rows.len());
                continue;
            }
            let update = Update::of_rows(rows);
            calls.invoke_script(&update.call(self.redis, address, "", now_ms));
            bytes += update.bytes();
            sent.push((*address, rows.len()));
            if bytes > SENT_AT_ONCE {
                self.send(&mut connection, &mut calls, &mut sent).await?;
                bytes = 0;
            }
        }
        self.send(&mut connection, &mut calls, &mut sent).await
    }

    async fn send(
        &self,
        connection: &mut MultiplexedConnection,
        calls: &mut Pipeline,
        sent: &mut Vec<(&str, usize)>,
    ) -> Result<(), CacheError> {
        let answers = fill::send(self.redis, connection, calls).await?;
        for (answer, (address, signals)) in answers.iter().zip(sent.drain(..)) {
            self.count(address, answer, signals);
        }
        Ok(())
    }

    /// Counts the signals of a wallet by the answer of Redis.
    fn count(&self, address: &str, answer: &str, signals: usize) {
        if answer == "absent" {
            self.wanted.add(address);
        }
        self.metrics.signals(answer, signals);
    }

    /// Renews the lease for ever.
    async fn beats(&self, mut generation: String) -> CacheError {
        let mut was_fresh = true;
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let beat = match self.beat(false).await {
                Ok(beat) => beat,
                Err(error) => return error,
            };
            let is_fresh = beat.silent.is_empty();
            self.metrics.cache_fresh.set(i64::from(is_fresh));
            if is_fresh != was_fresh {
                was_fresh = is_fresh;
                if is_fresh {
                    info!("{FRESH}");
                } else {
                    warn!(silent = beat.silent.join(" "), "{STALE_BY_ANOTHER}");
                }
            }
            if beat.generation == generation {
                continue;
            }
            if beat.is_new {
                info!(
                    "The cache begins again: another daemon has gone without a word, or Redis was flushed"
                );
            }
            // The daemon that began it brings the wallets back.
            self.wanted.set_all(beat.is_new);
            generation = beat.generation;
        }
    }

    async fn beat(&self, begins: bool) -> Result<Beat, CacheError> {
        lease::renew(self.redis, &self.connection, self.name, begins).await
    }

    /// Fills what is missing, for ever, slowly enough for inserts to go first.
    async fn fetch(&self, store: &Store, max_wallets: usize) -> CacheError {
        let Err(error) = bring_back(
            self.redis,
            &self.connection,
            store,
            max_wallets,
            self.metrics,
            self.wanted,
        )
        .await;
        error
    }
}
