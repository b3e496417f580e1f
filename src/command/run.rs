//! `risksignal run`: the daemon.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clock::Backoff;
use jetstream::topology::TopologyError;
use jetstream::{self, ConnectError, advisories, topology};
use store::schema::SchemaError;
use store::{Adjustment, AfterCommit, AfterCommits, Remedy, Store, migrations};
use telemetry::traces::Traces;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use wallets::{Feed, Feeder, Redis};

use crate::capacity::{Monitored as Condition, PublishRefusals};
use crate::claiming::{self, Claiming, ClaimingError};
use crate::cli::RunArgs;
use crate::command::log_lines::{
    CLAIMS_LOG_NOT_READY, CLICKHOUSE_NOT_READY, CLICKHOUSE_WRONG, JETSTREAM_WRONG, NATS_NOT_READY,
    NEWER_TABLE, STARTING, STOPPED, VIEW_REPEATS,
};
use crate::command::message_size;
use crate::conditions;
use crate::metrics::Metrics;
use crate::ops::Ops;
use crate::ops::health::{Dependency, Health};
use crate::pipeline::{self, JetStreamPulls, PipelineContext, Pulls as _, SignalSource};
use crate::reload::{Reload, SettingsHandle};
use crate::serve::Server;
use crate::service_manager;
use crate::settings::Settings;

/// Longest time of one attempt of the startup.
const TRY_MAX: Duration = Duration::from_secs(120);
/// Time that the cache has at shutdown, after all messages are acked.
const CACHE_GRACE: Duration = Duration::from_secs(2);

/// Moves signals until `shutdown`. It never gives up on a server: it retries until the server is up
/// and fits.
///
/// # Errors
/// Fails when a certificate or a key for https cannot be used, an address cannot be bound, or held
/// messages are not committed within `shutdown.grace`.
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
        refusals: PublishRefusals::default(),
    };
    let in_force = reload
        .on_sighup(settings, &ops.health)
        .context("cannot listen for SIGHUP")?;
    let settings = Arc::clone(&in_force.borrow());
    ops.listen(&in_force).await?;
    if !settings.serve.with_run {
        return move_signals(args, &ops, in_force, shutdown).await;
    }
    let server = Server::bind(&in_force, ops.metrics.serve(), &ops.refusals).await?;
    let serving = async { Ok(server.run(shutdown.clone()).await?) };
    let moving = move_signals(args, &ops, in_force, shutdown.clone());
    tokio::try_join!(serving, moving)?;
    Ok(())
}

/// Moves signals from JetStream to ClickHouse.
async fn move_signals(
    args: &RunArgs,
    ops: &Ops,
    in_force: SettingsHandle,
    shutdown: CancellationToken,
) -> Result<()> {
    let settings = Arc::clone(&in_force.borrow());
    let traces = Traces::start(
        &settings.otel,
        settings.plan(),
        &settings.clickhouse,
        &ops.metrics.traces,
    )?;
    let (feed, feeder) = cache(&settings, ops)?.unzip();
    let consumers = feed.map(|feed| Arc::new(feed) as Arc<dyn AfterCommit>);
    let after_commit: AfterCommits = consumers.into_iter().collect();
    let prepared = tokio::select! {
        prepared = prepare(args, &settings, ops, after_commit, &traces) => Some(prepared?),
        () = shutdown.cancelled() => None,
    };
    let Some((context, mut claiming)) = prepared else {
        service_manager::stopping("Stopped before startup was complete").await;
        info!("Stopped before startup was complete");
        return Ok(());
    };
    announce(&settings);
    ops.health.up(Dependency::Pipeline);
    let stopping = {
        let (health, shutdown) = (Arc::clone(&ops.health), shutdown.clone());
        async move {
            shutdown.cancelled().await;
            health.down(Dependency::Pipeline, "the daemon is stopping");
        }
    };
    tokio::spawn(stopping);
    let feeding = feeder.map(|feeder| tokio::spawn(feeder.run()));
    let stop = shutdown.child_token();
    let client = context.client.clone();
    let totals = tokio::select! {
        totals = pipeline::run(context, in_force, stop.clone()) => totals,
        error = message_size::changed(client) => {
            stop.cancel();
            ops.health.down(Dependency::Nats, error.to_string());
            return Err(error.into());
        }
        error = claiming.ended() => {
            // Held messages no longer count; nothing can be claimed or acked.
            stop.cancel();
            ops.health.down(Dependency::Jetstream, error.to_string());
            return Err(claiming.rebuild(error).await.into());
        }
    };
    if let Some(feeding) = feeding {
        // Ends once it has processed the remaining updates.
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
        "{STOPPED}"
    );
    Ok(())
}

/// Creates the cache's feeder, if there is a cache.
fn cache(settings: &Settings, ops: &Ops) -> Result<Option<(Feed, Feeder)>> {
    let Some(redis) = Redis::new(&settings.cache)? else {
        return Ok(None);
    };
    let store = Store::new(&settings.clickhouse)?;
    Ok(Some(Feeder::new(
        redis,
        store,
        &settings.cache,
        &ops.metrics.cache,
    )))
}

async fn prepare(
    args: &RunArgs,
    settings: &Arc<Settings>,
    ops: &Ops,
    after_commit: AfterCommits,
    traces: &Traces,
) -> Result<(PipelineContext, Claiming)> {
    let retry = Backoff::new(settings.clickhouse.retry_min, settings.clickhouse.retry_max);
    let store = Store::new(&settings.clickhouse)?
        .with_tokens(settings.tokens_needed())
        .with_fault_points(args.fault_points());
    make_ready(&store, args, settings, ops, retry.clone()).await;
    let pulls = connected(settings, ops, retry.clone()).await;
    let context = pulls.context.clone();
    // Before the consumer, whose state shows past deliveries.
    let waits = |reason: String| ops.health.down(Dependency::Jetstream, reason);
    let begin = || claiming::begin(&context, &store, settings, &waits);
    until_ready(begin, &ops.health, retry.clone()).await;
    let source = source(&pulls, &ops.health, retry.clone()).await;
    let start = || claiming::start(&context, &store, settings, &waits);
    let claiming = until_ready(start, &ops.health, retry).await;
    // A wait for a log that went meanwhile is over.
    ops.health.up(Dependency::Jetstream);
    let context = PipelineContext {
        client: pulls.client.clone(),
        pulls,
        jetstream: context,
        source,
        store,
        process: claiming.process.clone(),
        reading: claiming.reading.clone(),
        after_commit,
        ops: ops.clone(),
        traces: traces.clone(),
        faults: args.fault_points(),
    };
    Ok((context, claiming))
}

/// Waits until the store's schema is up to date and fits.
async fn make_ready(
    store: &Store,
    args: &RunArgs,
    settings: &Settings,
    Ops { health, board, .. }: &Ops,
    mut backoff: Backoff,
) {
    let migrate = settings.clickhouse.migrate && !args.no_migrate;
    loop {
        // Before an old version makes anything fail.
        conditions::check_clickhouse_version(store, board).await;
        let Err(error) = schema(store, migrate).await else {
            warn_of_newer_schema(store).await;
            warn_of_views(store).await;
            return health.checked(Ok(()));
        };
        health.checked(Err(&error));
        let pause = match error.remedy() {
            Remedy::Wait | Remedy::Late | Remedy::Halve => {
                let pause = backoff.pause();
                warn!(%error, retry_in_ms = ms(pause), "{CLICKHOUSE_NOT_READY}");
                pause
            }
            Remedy::Halt | Remedy::Bisect => {
                let pause = backoff.longest();
                error!(%error, retry_in_ms = ms(pause), "{CLICKHOUSE_WRONG}");
                pause
            }
        };
        wait("ClickHouse", &error, pause).await;
    }
}

async fn schema(store: &Store, migrate: bool) -> Result<(), SchemaError> {
    store.check_profile().await?;
    if migrate {
        let migrated = store.migrate().await?;
        for migration in migrated.migrations {
            info!(
                version = migration.version,
                name = migration.name,
                "Applied migration to ClickHouse"
            );
        }
        for Adjustment { name, sql, .. } in migrated.adjustments {
            info!(name, sql, "Changed a setting of the table in ClickHouse");
        }
    }
    store.learn_clock().await?;
    store.verify().await?;
    // A proxy may treat inserts differently from queries.
    Ok(store.probe_insert().await?)
}

async fn warn_of_newer_schema(store: &Store) {
    match store.newer_version().await {
        Ok(None) => {}
        Ok(Some(version)) => warn!(version, known = migrations::NEWEST, "{NEWER_TABLE}"),
        Err(error) => warn!(%error, "The version of the schema cannot be read"),
    }
}

async fn warn_of_views(store: &Store) {
    match store.repeating_views().await {
        Ok(views) => {
            for view in views {
                warn!(view = view.view, advice = %view, "{VIEW_REPEATS}");
            }
        }
        Err(error) => warn!(%error, "The materialized views on the table cannot be read"),
    }
}

/// Waits until the client and the reader are connected.
async fn connected(
    settings: &Arc<Settings>,
    Ops { health, board, .. }: &Ops,
    mut backoff: Backoff,
) -> JetStreamPulls {
    loop {
        match connect(settings).await {
            Ok(pulls) => {
                let version = pulls.client.server_info().version;
                board.set_condition(Condition::Nats, conditions::judge_nats_version(&version));
                health.up(Dependency::Nats);
                return pulls;
            }
            Err(error) => {
                health.down(Dependency::Nats, error.to_string());
                let pause = backoff.pause();
                warn!(%error, retry_in_ms = ms(pause), "{NATS_NOT_READY}");
                wait("NATS", &error, pause).await;
            }
        }
    }
}

async fn connect(settings: &Arc<Settings>) -> Result<JetStreamPulls, ConnectError> {
    let (nats, consumer) = (&settings.nats, &settings.consumer);
    let client = jetstream::connect_trusting_subjects(nats, "risksignal run").await?;
    let pulled_max = consumer.fetch_bytes;
    let reader = jetstream::connect_reader(nats, "risksignal run: pulls", pulled_max).await?;
    Ok(JetStreamPulls {
        reader,
        context: jetstream::context(&client, nats),
        client,
        settings: Arc::clone(settings),
    })
}

/// Prepares both streams and the consumer.
async fn source(pulls: &JetStreamPulls, health: &Health, mut backoff: Backoff) -> SignalSource {
    let (context, settings) = (&pulls.context, pulls.settings.as_ref());
    loop {
        let found = async {
            topology::ensure_dead_letter_stream(context, settings.plan()).await?;
            // Before the consumer, which may give up on a message from then on.
            advisories::ensure(context, settings.plan()).await?;
            topology::check_fetch(&pulls.client, &settings.consumer)?;
            pulls.find_source().await
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

/// Logs a fault of JetStream.
fn refused(error: &TopologyError, pause: Duration) {
    error!(%error, retry_in_ms = ms(pause), "{JETSTREAM_WRONG}");
}

/// Retries until the claims log is ready.
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
                        error!(%error, retry_in_ms = ms(pause), "{CLAIMS_LOG_NOT_READY}");
                    }
                }
                wait("the claims log", &error, pause).await;
            }
        }
    }
}

/// Pauses before another attempt of the startup, and extends systemd's time limit.
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
        "{STARTING}"
    );
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
