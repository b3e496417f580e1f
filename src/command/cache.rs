//! `risksignal cache`: the cache of wallets in Redis.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use indicatif::HumanCount;
use serde_json::json;
use store::Store;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wallets::Redis;

use crate::command::output;
use crate::settings::Settings;

/// Interval of progress lines.
const PROGRESS: Duration = Duration::from_secs(5);

/// Subcommands of `risksignal cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Load the wallets of the newest signals, at most cache.max_wallets, from ClickHouse into
    /// Redis
    #[command(
        after_help = "Rewrites every entry, whatever Redis holds; daemons continue meanwhile. A daemon without a sign of\nlife for some seconds is ignored, so make sure that it is stopped, or can reach Redis."
    )]
    Rebuild {
        /// Print one JSON object: wallets, filled and took_ms
        #[arg(long)]
        json: bool,
    },
}

/// Runs a subcommand.
///
/// # Errors
/// Fails when no cache is set, or Redis or ClickHouse fails.
pub async fn cache(
    command: &CacheCommand,
    settings: &Settings,
    shutdown: CancellationToken,
) -> Result<()> {
    let CacheCommand::Rebuild { json } = command;
    let Some(redis) = Redis::new(&settings.cache)? else {
        bail!("cache.url is not set: there is no cache");
    };
    let store = Store::new(&settings.clickhouse)?;
    let began = Instant::now();
    let mut reported = began;
    let progress = |done: usize, of: usize| {
        if reported.elapsed() >= PROGRESS {
            reported = Instant::now();
            info!(done, of, "Loading wallets into the cache");
        }
    };
    let max_wallets = settings.cache.max_wallets;
    let rebuilt = tokio::select! {
        rebuilt = wallets::rebuild(&redis, &store, max_wallets, progress) => {
            rebuilt.context("the cache is not rebuilt")?
        }
        () = shutdown.cancelled() => bail!("stopped before the cache was rebuilt; missing wallets are loaded on demand"),
    };
    let (wallets, filled, took) = (rebuilt.wallets, rebuilt.filled, began.elapsed());
    if *json {
        let took_ms = took.as_millis() as u64;
        let document = json!({ "wallets": wallets, "filled": filled, "took_ms": took_ms });
        output::print_json(&document)?;
    } else {
        let (wallets, filled) = (HumanCount(wallets as u64), HumanCount(filled as u64));
        let seconds = took.as_secs_f64();
        output::print(format_args!(
            "rebuilt the cache of {wallets} wallets in {seconds:.1} s, {filled} of them from ClickHouse"
        ))?;
    }
    if rebuilt.feeders == 0 {
        warn!(
            "No daemon maintains the cache, so clients are answered from ClickHouse until one runs with cache.url set"
        );
    }
    Ok(())
}
