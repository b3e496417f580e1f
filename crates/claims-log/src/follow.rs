//! Reads the log as it grows, and compares it with the other servers after each connect.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::push;
use claims::LogReadError;
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use crate::error::ClaimsLogError;
use crate::holdings::Holdings;
use crate::log_lines::LOG_UNREADABLE;
use crate::shared::Shared;
use crate::stream::nonce;

/// Time between two checks for a new connection.
const LOOK: Duration = Duration::from_millis(100);
/// Time between two attempts to read the log.
const RETRY: Duration = Duration::from_millis(500);

/// Returns the number of connects of a client so far.
pub(crate) fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}

/// Follows the log until it lost records or was rebuilt; returns that error.
pub(crate) async fn run(shared: &Shared, holdings: &impl Holdings) -> ClaimsLogError {
    let mut tries: u64 = 0;
    loop {
        let ended = session(shared, holdings).await;
        shared.forbid_appends();
        match ended {
            Ok(()) => tries = 0,
            Err(error) if error.is_lost() => return error,
            Err(error) => {
                tries += 1;
                if tries.is_power_of_two() {
                    warn!(%error, tries, "{LOG_UNREADABLE}");
                }
                sleep(RETRY).await;
            }
        }
    }
}

/// Follows the log over one connection, during the checks and after them.
async fn session(shared: &Shared, holdings: &impl Holdings) -> Result<(), ClaimsLogError> {
    let before = connects(&shared.log.client());
    shared.with(|instance| instance.note_disconnect());
    resume(shared).await?;
    let messages = shared.log.messages(shared.next_seq()).await?;
    shared.take_recheck();
    tokio::select! {
        ended = read(shared, messages, before) => ended,
        joined = join(shared, holdings, before) => match joined {
            Ok(never) => match never {},
            Err(error) => Err(error),
        },
    }
}

/// Reads records until the connection changes.
async fn read(
    shared: &Shared,
    mut messages: push::Ordered,
    before: u64,
) -> Result<(), ClaimsLogError> {
    let client = shared.log.client();
    loop {
        if let Some(source) = shared.take_failed() {
            return Err(shared.lost_error(source));
        }
        let Ok(message) = timeout(LOOK, messages.next()).await else {
            if connects(&client) != before || shared.take_recheck() {
                return Ok(());
            }
            continue;
        };
        let Some(message) = message else {
            return Ok(());
        };
        let message = message.map_err(|error| shared.log.api("read the records", error))?;
        if connects(&client) != before {
            return Ok(());
        }
        let info = message.info();
        let seq = info
            .map_err(|error| shared.log.api("read a record", error))?
            .stream_sequence;
        let record = shared.log.decode(seq, &message.payload)?;
        match shared.read(seq, &record, message.payload.len()) {
            Ok(()) => {}
            Err(LogReadError::Gap { read, .. }) => return judge_gap(shared, read).await,
            Err(source) => return Err(shared.lost_error(source)),
        }
    }
}

/// Judges a gap after a record that was read: the missing records may have been purged.
///
/// # Errors
/// Fails when the log lost a record between others, so that it can never be read any further.
async fn judge_gap(shared: &Shared, read: u64) -> Result<(), ClaimsLogError> {
    let info = shared.log.find().await?;
    let first = info.map_or(0, |info| info.state.first_sequence);
    if first > read + 1 {
        return Ok(());
    }
    Err(ClaimsLogError::Missing {
        stream: shared.log.name().to_owned(),
        seq: read,
    })
}

/// Checks that the log has the configuration of a claims log, and continues after the tip.
async fn resume(shared: &Shared) -> Result<(), ClaimsLogError> {
    let stream = || shared.log.name().to_owned();
    let tip = shared.tip();
    let info = shared.log.check().await?;
    let last = info.as_ref().map_or(0, |info| info.state.last_sequence);
    if last == 0 {
        return Err(match tip.seq {
            0 => ClaimsLogError::Empty { stream: stream() },
            seq => ClaimsLogError::Missing {
                stream: stream(),
                seq,
            },
        });
    }
    // The next records were purged, perhaps without a snapshot.
    let first = info.as_ref().map_or(0, |info| info.state.first_sequence);
    if tip.seq == 0 || first > tip.seq + 1 {
        if !shared.log.is_snapshot(first.max(shared.next_seq())).await? {
            return Err(ClaimsLogError::Headless { stream: stream() });
        }
        if tip.seq == 0 {
            return Ok(());
        }
    }
    let at_tip = shared.log.record(tip.seq).await?.map(|record| record.id);
    let resumed = shared.with(|instance| instance.resume(last, at_tip));
    resumed.map_err(|source| shared.lost_error(source))
}

/// Makes the checks that every process makes after a connect, and then waits forever.
async fn join(
    shared: &Shared,
    holdings: &impl Holdings,
    before: u64,
) -> Result<std::convert::Infallible, ClaimsLogError> {
    let failed = |source| ClaimsLogError::Holdings {
        stream: shared.log.name().to_owned(),
        source,
    };
    // Claims made without reading this record are void.
    let connected = shared.with(|instance| instance.connect(nonce()));
    if let Some(seq) = shared.append(&connected).await? {
        shared.confirm_published(&connected, seq)?;
        shared.read_to(seq).await;
    }
    // Other processes detect lost records from the records they had read, and need the time to
    // announce it.
    sleep(shared.timing.grace).await;
    let stream = holdings.stream().await.map_err(failed)?;
    let witnesses = shared.with(|instance| instance.log().witnesses(stream));
    if !holdings.are_as_claimed(&witnesses).await.map_err(failed)? {
        error!(
            log = shared.log.name(),
            "The stream of signals went back: it lacks claimed messages, or has others at their sequences"
        );
        shared.with(|instance| instance.note_stream_went_back(stream));
    }
    let mut ranges = shared.with(|instance| instance.log().to_explain(stream));
    loop {
        let page = holdings.stored(stream, &ranges).await.map_err(failed)?;
        let info = shared.log.find().await?;
        let last = info.map_or(0, |info| info.state.last_sequence);
        shared.read_to(last).await;
        let checked = shared.with(|instance| match page.next {
            Some(_) => instance.explain(page.stored).map(|()| false),
            None => instance.join(page.stored, last),
        });
        if checked.map_err(|source| shared.lost_error(source))? {
            break;
        }
        match page.next {
            Some(next) => ranges = from(ranges, next),
            None => sleep(LOOK).await,
        }
    }
    shared.allow_appends(before);
    std::future::pending().await
}

/// Returns the parts of ranges from a sequence on.
fn from(ranges: Vec<RangeInclusive<u64>>, first: u64) -> Vec<RangeInclusive<u64>> {
    let is_left = |range: &RangeInclusive<u64>| *range.end() >= first;
    let left = ranges.into_iter().filter(is_left);
    left.map(|range| first.max(*range.start())..=*range.end())
        .collect()
}
