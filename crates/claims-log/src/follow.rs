//! Reads the log as it grows, and holds it after each connect against what the other servers have.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::push;
use claims::LogError;
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use crate::error::ClaimsLogError;
use crate::holdings::Holdings;
use crate::process::Shared;
use crate::stream::nonce;

/// Between two looks whether the connection is another one.
const LOOK: Duration = Duration::from_millis(100);
/// Between two tries to read the log.
const RETRY: Duration = Duration::from_millis(500);

/// The number of connects of a client so far.
pub(crate) fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}

/// Follows the log for ever; returns the error when it lost records or was rebuilt.
pub(crate) async fn run(shared: &Shared, holdings: &impl Holdings) -> ClaimsLogError {
    let mut tries: u64 = 0;
    loop {
        let ended = session(shared, holdings).await;
        shared.left();
        match ended {
            Ok(()) => tries = 0,
            Err(error) if error.is_lost() => return error,
            Err(error) => {
                tries += 1;
                if tries.is_power_of_two() {
                    warn!(%error, tries, "The claims log cannot be read; trying again");
                }
                sleep(RETRY).await;
            }
        }
    }
}

/// Follows the log over one connection, while the checks are made and after them.
async fn session(shared: &Shared, holdings: &impl Holdings) -> Result<(), ClaimsLogError> {
    let before = connects(&shared.log.client());
    shared.with(|instance| instance.disconnected());
    resume(shared).await?;
    let messages = shared.log.messages(shared.tip().seq + 1).await?;
    shared.take_recheck();
    tokio::select! {
        ended = read(shared, messages, before) => ended,
        joined = join(shared, holdings, before) => match joined {
            Ok(never) => match never {},
            Err(error) => Err(error),
        },
    }
}

/// Reads records until the connection is another one.
async fn read(
    shared: &Shared,
    mut messages: push::Ordered,
    before: u64,
) -> Result<(), ClaimsLogError> {
    let client = shared.log.client();
    loop {
        if let Some(source) = shared.take_failed() {
            return Err(shared.lost(source));
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
            // A snapshot has purged what was about to be read; it comes first now.
            Err(LogError::Gap { .. }) => return Ok(()),
            Err(source) => return Err(shared.lost(source)),
        }
    }
}

/// Checks that the log is configured as one, and goes on behind what was read.
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
    // What comes next was purged, if not by a snapshot.
    let first = info.as_ref().map_or(0, |info| info.state.first_sequence);
    if tip.seq == 0 || first > tip.seq + 1 {
        let is_begun = match info {
            Some(info) => shared.log.is_begun(&info).await?,
            None => false,
        };
        if !is_begun {
            return Err(ClaimsLogError::Headless { stream: stream() });
        }
        if tip.seq == 0 {
            return Ok(());
        }
    }
    let at_tip = shared.log.record(tip.seq).await?.map(|record| record.id);
    let resumed = shared.with(|instance| instance.resume(last, at_tip));
    resumed.map_err(|source| shared.lost(source))
}

/// Makes the checks that every process makes after a connect, and then waits for ever.
async fn join(
    shared: &Shared,
    holdings: &impl Holdings,
    before: u64,
) -> Result<std::convert::Infallible, ClaimsLogError> {
    let failed = |source| ClaimsLogError::Holdings {
        stream: shared.log.name().to_owned(),
        source,
    };
    // What is claimed by what was read before this record is void.
    let connected = shared.with(|instance| instance.connect(nonce()));
    if let Some(seq) = shared.append(&connected).await? {
        shared.published(&connected, seq)?;
        shared.read_to(seq).await;
    }
    // Others notice a log that lost records by what they had read, and need the time to say so.
    sleep(shared.timing.grace).await;
    let stream = holdings.stream().await.map_err(failed)?;
    let witnesses = shared.with(|instance| instance.log().witnesses(stream));
    if !holdings.are_as_claimed(&witnesses).await.map_err(failed)? {
        error!(
            log = shared.log.name(),
            "The stream of signals went back: messages that were claimed are not in it as they were"
        );
        shared.with(|instance| instance.stream_went_back(stream));
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
        if checked.map_err(|source| shared.lost(source))? {
            break;
        }
        match page.next {
            Some(next) => ranges = from(ranges, next),
            None => sleep(LOOK).await,
        }
    }
    shared.joined(before);
    std::future::pending().await
}

/// The parts of ranges at a sequence or above.
fn from(ranges: Vec<RangeInclusive<u64>>, first: u64) -> Vec<RangeInclusive<u64>> {
    let is_left = |range: &RangeInclusive<u64>| *range.end() >= first;
    let left = ranges.into_iter().filter(is_left);
    left.map(|range| first.max(*range.start())..=*range.end())
        .collect()
}
