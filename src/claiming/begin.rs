//! The first snapshot of a claims log.

use std::time::Duration;

use async_nats::jetstream::consumer;
use async_nats::jetstream::stream::Info;
use claims::{LogPosition, Nonce, PublisherId, Record, RecordBody, Snapshot};
use claims_log::LogStream;
use clock::unix_nanos;
use jetstream::consumer::find;
use jetstream::{advisories, topology};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::claiming::log_lines::LOG_GONE;
use crate::service_manager;

use super::error::ClaimingError;
use super::servers::Servers;

/// Time between two reads of ClickHouse's clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// Time that systemd allows for the start in addition to a wait.
const MARGIN: Duration = Duration::from_secs(120);

/// Default ack wait of a release without claims.
const OLD_ACK_WAIT: Duration = Duration::from_secs(30);

/// Inserts that may be under way although the log has no record of them.
enum UnderWay {
    /// None: nothing was ever delivered, or inserts of a release without claims have ended.
    Nothing,
    /// Inserts of a release without claims. The migration rejects new ones; running ones end with
    /// their leases, which last this much longer.
    OldLeases(Duration),
    /// Inserts of claims in a removed log.
    Claims,
}

/// Creates the first snapshot of the log, if it has none. Messages that may be stored already are
/// looked up before they are claimed.
///
/// This happens before the consumer is created or updated, since its old state shows the deliveries
/// and the length of an old lease.
///
/// # Errors
/// Fails when a server fails; the caller tries again.
pub(super) async fn begin(servers: &Servers, waits: &impl Fn(String)) -> Result<(), ClaimingError> {
    servers.store.name_ledger().await?;
    let (settings, log) = (&servers.settings, servers.log());
    let stream = topology::ensure_stream(&servers.context, &settings.stream).await?;
    let storage = topology::storage(settings.stream.storage);
    let replicas = settings.stream.replicas;
    let info = log.ensure(storage, replicas).await?;
    if log.is_begun(&info).await? {
        return Ok(());
    }
    let (name, durable) = (&settings.stream.name, &settings.consumer.name);
    let consumer = find(&servers.context, name, durable).await?;
    loop {
        let info = log.ensure(storage, replicas).await?;
        if log.is_begun(&info).await? {
            info!(
                log = log.name(),
                "Another instance has begun the claims log"
            );
            return Ok(());
        }
        let covers = end(&log, &info).await?;
        let under_way = under_way(servers, &stream, consumer.as_ref(), covers.seq > 0).await?;
        wait(servers, under_way, waits).await?;
        // A record that arrived meanwhile may be a claim whose insert is under way.
        if first_snapshot(servers, &log, &stream, consumer.as_ref(), covers).await? {
            return Ok(());
        }
    }
}

/// Returns the end of a log without a snapshot, which was removed or purged and whose records are
/// void. Stops a daemon that still uses it, having read all earlier records.
async fn end(log: &LogStream, info: &Info) -> Result<LogPosition, ClaimingError> {
    let seq = info.state.last_sequence;
    let last = match seq {
        0 => return Ok(LogPosition::START),
        seq => log.record(seq).await?,
    };
    let place = |id| LogPosition { seq, id };
    let Some(last) = last else {
        return Ok(place(LogPosition::START.id));
    };
    if last.body == RecordBody::Lost {
        return Ok(place(last.id));
    }
    let lost = Record {
        id: Nonce(rand::random()),
        publisher: PublisherId(rand::random()),
        generation: last.generation,
        tip: place(last.id),
        done: Vec::new(),
        body: RecordBody::Lost,
    };
    let seq = log.append(&lost).await?.unwrap_or(seq);
    Ok(LogPosition { seq, id: lost.id })
}

/// Publishes the first snapshot; reports whether no record arrived meanwhile.
async fn first_snapshot(
    servers: &Servers,
    log: &LogStream,
    stream: &Info,
    consumer: Option<&consumer::Info>,
    covers: LogPosition,
) -> Result<bool, ClaimingError> {
    let floor = consumer.map_or(0, |info| info.ack_floor.stream_sequence);
    let floor = floor.max(stream.state.first_sequence.saturating_sub(1));
    let created = unix_nanos(stream.created);
    // The ack floor passes a message that reached its maximum of deliveries, although it is not
    // stored.
    let given_up =
        advisories::pending_sequences(&servers.context, servers.settings.plan(), stream.created)
            .await?;
    let mut snapshot = Snapshot::first(created, floor)
        .with_covers(covers)
        .with_reopened(created, given_up);
    if let Some(last) = servers.newest_stored(created).await? {
        snapshot = snapshot.with_doubt(last);
    }
    let id = Nonce(rand::random());
    let record = Record {
        id,
        publisher: PublisherId(rand::random()),
        generation: id,
        tip: covers,
        done: Vec::new(),
        body: RecordBody::Snapshot(Box::new(snapshot)),
    };
    let is_taken = log.append(&record).await?.is_some();
    if is_taken {
        info!(log = log.name(), floor, "Created the claims log");
    }
    Ok(is_taken)
}

/// Waits until no insert that is missing in the log can land any more.
async fn wait(
    servers: &Servers,
    under_way: UnderWay,
    waits: &impl Fn(String),
) -> Result<(), ClaimingError> {
    match under_way {
        UnderWay::Nothing => {}
        UnderWay::OldLeases(left) => {
            info!(
                wait_ms = left.as_millis() as u64,
                "Creating the claims log; waiting until inserts of an older release have ended"
            );
            waits(format!(
                "waiting for at most {} s until inserts of an older release have ended",
                left.as_secs() + 1
            ));
            service_manager::starting("Waiting for inserts of an older release", left + MARGIN)
                .await;
            sleep(left).await;
        }
        UnderWay::Claims => {
            let fences = servers.fences().await?;
            let seconds = fences.longest + fences.late;
            let wait = Duration::from_secs(seconds.unsigned_abs());
            let log = servers.log();
            let log = log.name();
            warn!(log, wait_ms = wait.as_millis() as u64, "{LOG_GONE}");
            waits(format!(
                "the claims log {log} is gone, although signals were claimed: it was removed, or not restored; waiting {} s until every insert of its claims has ended",
                wait.as_secs()
            ));
            service_manager::starting("Waiting for inserts of lost claims", wait + MARGIN).await;
            let until = servers.store.clock().await? + seconds;
            while servers.store.clock().await? <= until {
                sleep(CLOCK_INTERVAL).await;
            }
        }
    }
    Ok(())
}

async fn under_way(
    servers: &Servers,
    stream: &Info,
    consumer: Option<&consumer::Info>,
    is_headless: bool,
) -> Result<UnderWay, ClaimingError> {
    let settings = &servers.settings;
    if is_headless || servers.store.has_log(servers.log().name()).await? {
        return Ok(UnderWay::Claims);
    }
    // A consumer without deliveries on a stream with messages has forgotten them: every daemon
    // pulls as soon as the consumer exists.
    let is_idle = consumer
        .is_none_or(|info| info.delivered.stream_sequence == 0 && stream.state.last_sequence == 0);
    let created = unix_nanos(stream.created);
    if is_idle && servers.newest_stored(created).await?.is_none() {
        return Ok(UnderWay::Nothing);
    }
    // Releases without claims also had a stream of this name.
    let old = format!("{}_EPOCH", settings.stream.name);
    // If it cannot be looked up, the longer wait is safe.
    let had_old = topology::find_stream(&servers.context, &old).await;
    if !matches!(had_old, Ok(Some(_))) {
        return Ok(UnderWay::Claims);
    }
    let ack_wait = consumer.map_or(OLD_ACK_WAIT, |info| info.config.ack_wait);
    let lease = ack_wait.max(settings.consumer.ack_wait);
    let refused_since = u64::try_from(servers.store.claims_age().await?).unwrap_or(0);
    let left = lease.saturating_sub(Duration::from_secs(refused_since));
    Ok(if left.is_zero() {
        UnderWay::Nothing
    } else {
        UnderWay::OldLeases(left)
    })
}
