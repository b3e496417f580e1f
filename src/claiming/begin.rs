//! The first snapshot of a claims log.

use std::time::Duration;

use async_nats::jetstream::consumer;
use async_nats::jetstream::stream::Info;
use claims::{Body, Nonce, Place, Publisher, Record, Snapshot};
use claims_log::LogStream;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{ClaimingError, Servers};
use crate::jetstream::consumer::find;
use crate::jetstream::topology;
use crate::pipeline::unix_nanos;
use crate::service_manager;

/// Between two looks at ClickHouse's clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// Time that systemd gives the start besides a wait.
const MARGIN: Duration = Duration::from_secs(120);

/// The ack wait of a release without claims, unless its settings said otherwise.
const OLD_ACK_WAIT: Duration = Duration::from_secs(30);

/// Inserts that may be under way although the log has no record of them.
enum UnderWay {
    /// None: nothing was ever delivered, or those of a release without claims are over.
    Nothing,
    /// Those of a release without claims. The migration has refused new ones since; those that had
    /// begun end with their leases, of which so much is left.
    OldLeases(Duration),
    /// Those of claims in a log that was removed.
    Claims,
}

/// Makes the first snapshot of the log, where it has none. What may be stored already is looked up
/// before it is claimed.
///
/// It comes before the consumer is created or updated, since that shows what was delivered and how
/// long an old lease lasts.
///
/// # Errors
/// When a server fails; it is called again.
pub(super) async fn begin(servers: &Servers) -> Result<(), ClaimingError> {
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
        wait(servers, &stream, consumer.as_ref(), covers.seq > 0).await?;
        // A record that came meanwhile may be a claim whose insert is under way.
        if first_snapshot(servers, &log, &stream, consumer.as_ref(), covers).await? {
            return Ok(());
        }
    }
}

/// The end of a log without a snapshot, whose records are void: it was removed or purged. A daemon
/// that goes on with it, since it had read all before, is stopped.
async fn end(log: &LogStream, info: &Info) -> Result<Place, ClaimingError> {
    let seq = info.state.last_sequence;
    let last = match seq {
        0 => return Ok(Place::START),
        seq => log.record(seq).await?,
    };
    let place = |id| Place { seq, id };
    let Some(last) = last else {
        return Ok(place(Place::START.id));
    };
    if last.body == Body::Lost {
        return Ok(place(last.id));
    }
    let lost = Record {
        id: Nonce(rand::random()),
        publisher: Publisher(rand::random()),
        generation: last.generation,
        tip: place(last.id),
        done: Vec::new(),
        body: Body::Lost,
    };
    let seq = log.append(&lost).await?.unwrap_or(seq);
    Ok(Place { seq, id: lost.id })
}

/// Publishes the first snapshot; reports whether no record came meanwhile.
async fn first_snapshot(
    servers: &Servers,
    log: &LogStream,
    stream: &Info,
    consumer: Option<&consumer::Info>,
    covers: Place,
) -> Result<bool, ClaimingError> {
    let floor = consumer.map_or(0, |info| info.ack_floor.stream_sequence);
    let floor = floor.max(stream.state.first_sequence.saturating_sub(1));
    let created = unix_nanos(stream.created);
    let mut snapshot = Snapshot::first(created, floor).covering(covers);
    if let Some(last) = servers.newest(created).await? {
        snapshot = snapshot.doubting(last);
    }
    let id = Nonce(rand::random());
    let record = Record {
        id,
        publisher: Publisher(rand::random()),
        generation: id,
        tip: covers,
        done: Vec::new(),
        body: Body::Snapshot(Box::new(snapshot)),
    };
    let is_taken = log.append(&record).await?.is_some();
    if is_taken {
        info!(log = log.name(), floor, "The claims log begins");
    }
    Ok(is_taken)
}

/// Waits until no insert can land that the log does not know.
async fn wait(
    servers: &Servers,
    stream: &Info,
    consumer: Option<&consumer::Info>,
    is_headless: bool,
) -> Result<(), ClaimingError> {
    match under_way(servers, stream, consumer, is_headless).await? {
        UnderWay::Nothing => {}
        UnderWay::OldLeases(left) => {
            info!(
                wait_ms = left.as_millis() as u64,
                "The claims log begins; waiting until inserts of an older release are over"
            );
            service_manager::starting("Waiting for inserts of an older release", left + MARGIN)
                .await;
            sleep(left).await;
        }
        UnderWay::Claims => {
            let fences = servers.fences().await?;
            let seconds = fences.longest + fences.late;
            let wait = Duration::from_secs(seconds.unsigned_abs());
            warn!(
                wait_ms = wait.as_millis() as u64,
                "The claims log is gone, although signals were claimed: it was removed, or never restored; waiting until every insert of its claims is over"
            );
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
    // A consumer that was never delivered of a stream with messages has forgotten its deliveries:
    // each daemon pulls as soon as there is a consumer.
    let is_idle = consumer
        .is_none_or(|info| info.delivered.stream_sequence == 0 && stream.state.last_sequence == 0);
    let created = unix_nanos(stream.created);
    if is_idle && servers.newest(created).await?.is_none() {
        return Ok(UnderWay::Nothing);
    }
    // Releases without claims had a stream of this name besides.
    let old = format!("{}_EPOCH", settings.stream.name);
    // Where it cannot be seen the longer wait is safe.
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
