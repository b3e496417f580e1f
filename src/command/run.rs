//! `risksignal run`: the daemon.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::Client;
use async_nats::jetstream::Context;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::backoff::Backoff;
use crate::cache::{Feed, Feeder, Redis};
use crate::capacity::Refusals;
use crate::claiming::{self, Claiming, ClaimingError};
use crate::cli::RunArgs;
use crate::jetstream::topology::TopologyError;
use crate::jetstream::{self, advisories, topology};
use crate::ops::Ops;
use crate::ops::health::{Dependency, Health};
use crate::pipeline::{self, Ends, Source};
use crate::reload::{InForce, Reload};
use crate::serve::Server;
use crate::service_manager;
use crate::settings::Settings;
use crate::store::schema::SchemaError;
use crate::store::{Remedy, Store, migrations};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// What one try of the start takes at most.
const TRY_MAX: Duration = Duration::from_secs(120);
/// Between two looks at the size that a message may have.
const SIZE_INTERVAL: Duration = Duration::from_secs(1);
/// What the cache may take at a stop: all is acked by then.
const CACHE_GRACE: Duration = Duration::from_secs(2);

/// Moves signals until `shutdown`. It never gives up on a server: whatever is away or not as
/// it should be is tried again until it is.
///
/// # Errors
/// When a certificate or a key for https cannot be used, an address cannot be had, or what is held at the end cannot be
/// committed within `shutdown.grace`.
pub async fn run(
    args: &RunArgs,
    settings: Settings,
    reload: Reload,
    shutdown: CancellationToken,
) -> Result<()> {
    let ops = Ops {
        metrics: Metrics::new().context("the metrics are malformed; please report it")?,
        recent: Arc::default(),
        health: Health::new(),
        board: Arc::default(),
        refusals: Refusals::default(),
    };
    let in_force = reload
        .on_sighup(settings, &ops.health)
        .context("cannot listen for SIGHUP")?;
    let settings = Arc::clone(&in_force.borrow());
    ops.listen(&in_force).await?;
    if !settings.serve.with_run {
        return move_signals(args, &ops, in_force, shutdown).await;
    }
    let server = Server::bind(&in_force, &ops.metrics).await?;
    let serving = async { Ok(server.run(shutdown.clone()).await?) };
    let moving = move_signals(args, &ops, in_force, shutdown.clone());
    tokio::try_join!(serving, moving)?;
    Ok(())
}

/// From JetStream to ClickHouse.
async fn move_signals(
    args: &RunArgs,
    ops: &Ops,
    in_force: InForce,
    shutdown: CancellationToken,
) -> Result<()> {
    let settings = Arc::clone(&in_force.borrow());
    let traces = Traces::start(&settings, &ops.metrics)?;
    let (cache, feeder) = cache(&settings, ops)?.unzip();
    let prepared = tokio::select! {
        prepared = prepare(args, &settings, ops, cache, &traces) => Some(prepared?),
        () = shutdown.cancelled() => None,
    };
    let Some((ends, mut claiming)) = prepared else {
        service_manager::stopping("Stopped before the start was complete").await;
        info!("Stopped before the start was complete");
        return Ok(());
    };
    announce(&settings);
    ops.health.up(Dependency::Pipeline);
    let stopping = {
        let (health, shutdown) = (Arc::clone(&ops.health), shutdown.clone());
        async move {
            shutdown.cancelled().await;
            health.down(Dependency::Pipeline, "the daemon stops");
        }
    };
    tokio::spawn(stopping);
    let feeding = feeder.map(|feeder| tokio::spawn(feeder.run()));
    let stop = shutdown.child_token();
    let client = ends.client.clone();
    let totals = tokio::select! {
        totals = pipeline::run(ends, in_force, stop.clone()) => totals,
        error = message_size_changed(client) => {
            stop.cancel();
            ops.health.down(Dependency::Nats, error.to_string());
            return Err(error.into());
        }
        error = claiming.ended() => {
            // What is held counts no more, and nothing of it can be claimed or acked.
            stop.cancel();
            ops.health.down(Dependency::Jetstream, error.to_string());
            return Err(claiming.rebuilt(error).await.into());
        }
    };
    if let Some(feeding) = feeding {
        // It ends when it has told what it was left.
        let aborts = feeding.abort_handle();
        if timeout(CACHE_GRACE, feeding).await.is_err() {
            aborts.abort();
        }
    }
    traces.flush().await;
    let totals = totals?;
    info!(
        inserted = totals.inserted,
        already_stored = totals.already_stored,
        dead_lettered = totals.dead_lettered,
        "Stopped; everything that was held is committed and acked"
    );
    Ok(())
}

/// Claims and dead letters are cut to the size that a message may have, and must be cut alike at
/// each try.
#[derive(Debug, thiserror::Error)]
#[error(
    "nats-server takes messages of {now} bytes now (max_payload), and took {before} at the start; the daemon ends with status 75, and goes on when it is started again"
)]
pub struct MessageSizeChanged {
    before: usize,
    now: usize,
}

/// Ends when the server takes messages of another size than at the start.
async fn message_size_changed(client: Client) -> MessageSizeChanged {
    let before = client.max_payload();
    loop {
        sleep(SIZE_INTERVAL).await;
        let now = client.max_payload();
        if now != before {
            return MessageSizeChanged { before, now };
        }
    }
}

/// What keeps the cache, where there is one.
fn cache(settings: &Settings, ops: &Ops) -> Result<Option<(Feed, Feeder)>> {
    let Some(redis) = Redis::new(&settings.cache)? else {
        return Ok(None);
    };
    let store = Store::new(&settings.clickhouse)?;
    Ok(Some(Feeder::new(
        redis,
        store,
        &settings.cache,
        &ops.metrics,
    )))
}

async fn prepare(
    args: &RunArgs,
    settings: &Settings,
    ops: &Ops,
    cache: Option<Feed>,
    traces: &Traces,
) -> Result<(Ends, Claiming)> {
    let retry = Backoff::new(settings.clickhouse.retry_min, settings.clickhouse.retry_max);
    let store = Store::new(&settings.clickhouse)?
        .with_tokens(settings.tokens_needed())
        .with_fault_points(args.fault_points());
    make_ready(&store, args, settings, &ops.health, retry.clone()).await;
    let client = client(settings, &ops.health, retry.clone()).await;
    let context = jetstream::context(&client, &settings.nats);
    // Before the consumer, which shows what was delivered.
    let begin = || claiming::begin(&context, &store, settings);
    until_ready(begin, &ops.health, retry.clone()).await;
    let source = source(&client, &context, settings, &ops.health, retry.clone()).await;
    let start = || claiming::start(&context, &store, settings);
    let claiming = until_ready(start, &ops.health, retry).await;
    let ends = Ends {
        client,
        context,
        source,
        store,
        process: claiming.process.clone(),
        reading: claiming.reading.clone(),
        cache,
        ops: ops.clone(),
        traces: traces.clone(),
        faults: args.fault_points(),
    };
    Ok((ends, claiming))
}

/// Ends once the store's schema is up to date and fits.
async fn make_ready(
    store: &Store,
    args: &RunArgs,
    settings: &Settings,
    health: &Health,
    mut backoff: Backoff,
) {
    let migrate = settings.clickhouse.migrate && !args.no_migrate;
    loop {
        let Err(error) = schema(store, migrate).await else {
            warn_of_newer_schema(store).await;
            warn_of_views(store).await;
            return health.checked(Ok(()));
        };
        health.checked(Err(&error));
        let pause = match error.remedy() {
            Remedy::Wait | Remedy::Late | Remedy::Halve => {
                let pause = backoff.pause();
                warn!(%error, retry_in_ms = ms(pause), "ClickHouse is not ready");
                pause
            }
            Remedy::Halt | Remedy::Bisect => {
                let pause = backoff.longest();
                error!(%error, retry_in_ms = ms(pause), "ClickHouse is not as it should be; no signal is pulled until it is");
                pause
            }
        };
        wait("ClickHouse", &error, pause).await;
    }
}

async fn schema(store: &Store, migrate: bool) -> Result<(), SchemaError> {
    store.check_profile().await?;
    if migrate {
        for migration in store.migrate().await? {
            info!(
                version = migration.version,
                name = migration.name,
                "Applied migration to ClickHouse"
            );
        }
    }
    store.learn_clock().await?;
    store.verify().await?;
    // A proxy may treat inserts otherwise than queries.
    Ok(store.probe_insert().await?)
}

async fn warn_of_newer_schema(store: &Store) {
    match store.newer_version().await {
        Ok(None) => {}
        Ok(Some(version)) => warn!(
            version,
            known = migrations::NEWEST,
            "A newer release has migrated the table; this one goes on while the table fits"
        ),
        Err(error) => warn!(%error, "The version of the schema was not read"),
    }
}

async fn warn_of_views(store: &Store) {
    match store.repeating_views().await {
        Ok(views) => {
            for view in views {
                warn!(view = view.view, advice = %view, "A materialized view repeats rows when an insert is sent again");
            }
        }
        Err(error) => warn!(%error, "The materialized views on the table were not read"),
    }
}

async fn client(settings: &Settings, health: &Health, mut backoff: Backoff) -> Client {
    loop {
        match jetstream::connect_trusting_subjects(&settings.nats, "risksignal run").await {
            Ok(client) => {
                health.up(Dependency::Nats);
                return client;
            }
            Err(error) => {
                health.down(Dependency::Nats, error.to_string());
                let pause = backoff.pause();
                warn!(%error, retry_in_ms = ms(pause), "NATS is not ready");
                wait("NATS", &error, pause).await;
            }
        }
    }
}

/// Makes sure of both streams and the consumer.
async fn source(
    client: &Client,
    context: &Context,
    settings: &Settings,
    health: &Health,
    mut backoff: Backoff,
) -> Source {
    loop {
        let found = async {
            topology::ensure_dead_letter_stream(context, settings).await?;
            // Before the consumer, which may give up on a message from then on.
            advisories::ensure(context, settings).await?;
            topology::check_fetch(client, &settings.consumer)?;
            Source::ensure(context, settings).await
        };
        match found.await {
            Ok(source) => {
                source.warn_of_policy(settings);
                health.up(Dependency::Jetstream);
                return source;
            }
            Err(error) => {
                health.down(Dependency::Jetstream, error.to_string());
                let pause = backoff.pause();
                refused(&error, pause);
                wait("JetStream", &error, pause).await;
            }
        }
    }
}

/// Logs what is wrong with JetStream.
fn refused(error: &TopologyError, pause: Duration) {
    error!(%error, retry_in_ms = ms(pause), "JetStream is not as it should be; no signal is pulled until it is");
}

/// Tries until the claims log is ready.
async fn until_ready<T>(
    ready: impl AsyncFn() -> Result<T, ClaimingError>,
    health: &Health,
    mut backoff: Backoff,
) -> T {
    loop {
        match ready().await {
            Ok(ready) => return ready,
            Err(error) => {
                health.down(Dependency::Jetstream, error.to_string());
                let pause = backoff.pause();
                match &error {
                    ClaimingError::Topology(error) => refused(error, pause),
                    error => {
                        error!(%error, retry_in_ms = ms(pause), "The claims log is not ready; no signal is pulled until it is");
                    }
                }
                wait("the claims log", &error, pause).await;
            }
        }
    }
}

/// Pauses before another try of the start, and has systemd wait for that.
async fn wait(server: &str, error: &impl Display, pause: Duration) {
    let reason = format!("Waiting for {server}: {error}");
    service_manager::starting(&reason, pause + TRY_MAX).await;
    sleep(pause).await;
}

fn announce(settings: &Settings) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        stream = settings.stream.name,
        consumer = settings.consumer.name,
        table = format!(
            "{}.{}",
            settings.clickhouse.database, settings.clickhouse.table
        ),
        batch_max_rows = settings.batch.max_rows,
        batch_max_bytes = settings.batch.max_bytes,
        batch_max_wait_ms = ms(settings.batch.max_wait),
        "Starting signals consumer"
    );
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
