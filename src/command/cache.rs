//! `risksignal cache`: the cache of wallets in Redis.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cache::{self, Redis};
use crate::settings::Settings;
use crate::store::Store;

/// Between two lines about how far it is.
const PROGRESS: Duration = Duration::from_secs(5);

/// What to do with the cache.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Bring the wallets of the newest signals, at most cache.max_wallets, from ClickHouse to Redis
    #[command(
        after_help = "Every entry is made anew, whatever Redis holds; daemons go on meanwhile. One that has not been heard\nfor some seconds is given up, so make sure that it does not run, or has a way to Redis."
    )]
    Rebuild,
}

/// Does it.
///
/// # Errors
/// When no cache is set, or Redis or ClickHouse fails.
pub async fn cache(
    command: &CacheCommand,
    settings: &Settings,
    shutdown: CancellationToken,
) -> Result<()> {
    let CacheCommand::Rebuild = command;
    let Some(redis) = Redis::new(&settings.cache)? else {
        bail!("cache.url is not set: there is no cache");
    };
    let store = Store::new(&settings.clickhouse)?;
    let began = Instant::now();
    let mut told = began;
    let progress = |done: usize, of: usize| {
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            info!(done, of, "Bringing wallets to the cache");
        }
    };
    let max_wallets = settings.cache.max_wallets;
    let rebuilt = tokio::select! {
        rebuilt = cache::rebuild(&redis, &store, max_wallets, progress) => {
            rebuilt.context("the cache is not rebuilt")?
        }
        () = shutdown.cancelled() => bail!("stopped before the cache was rebuilt; what is missing is brought when it is asked for"),
    };
    info!(
        wallets = rebuilt.wallets,
        filled = rebuilt.filled,
        took_ms = began.elapsed().as_millis() as u64,
        "The cache is rebuilt"
    );
    if rebuilt.feeders == 0 {
        warn!(
            "No daemon keeps the cache, so clients are answered out of ClickHouse until one runs with cache.url set"
        );
    }
    Ok(())
}
