//! Finds the last message that exceeds the bounds.

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Info;
use jetstream::KeepBounds;
use jetstream::stored::{self, StoredError};
use time::OffsetDateTime;

use super::plan;

/// Most messages that are sampled for the mean size of a range.
const LOOKS: u64 = 16;
/// Bytes that JetStream counts for a message besides subject, headers and body: length, sequence,
/// time and checksum.
const OVERHEAD: u64 = 30;

/// Returns the last sequence up to `floor` that exceeds a bound; `None` if none does.
///
/// # Errors
/// Fails when a message cannot be read.
pub async fn last_beyond(
    context: &Context,
    info: &Info,
    bounds: KeepBounds,
    floor: u64,
) -> Result<Option<u64>, StoredError> {
    let by_age = last_too_old(context, info, bounds, floor).await?;
    let by_size = last_too_many(context, info, bounds, floor).await?;
    Ok(by_age.max(by_size))
}

/// Finds it by age, with a bisection that assumes rising publish times. If the server's clock
/// stepped, the result is imprecise, but never above `floor`.
async fn last_too_old(
    context: &Context,
    info: &Info,
    bounds: KeepBounds,
    floor: u64,
) -> Result<Option<u64>, StoredError> {
    let state = &info.state;
    let (now, newest) = (OffsetDateTime::now_utc(), state.last_timestamp);
    if !plan::is_too_old(now, newest, state.first_timestamp, bounds.age) {
        return Ok(None);
    }
    let cutoff = plan::cutoff(now, newest, bounds.age);
    let mut found = None;
    let (mut first, mut last) = (state.first_sequence, floor.min(state.last_sequence));
    while first <= last {
        let middle = first.midpoint(last);
        let next = next(context, info, middle).await?;
        match next {
            Some(message) if message.sequence <= last && message.time < cutoff => {
                found = Some(message.sequence);
                first = message.sequence + 1;
            }
            _ => last = middle - 1,
        }
    }
    Ok(found)
}

/// Finds it by size: as many messages as are estimated at no more than the excess. JetStream does
/// not count the bytes of a range, so sizes are sampled; the range shrinks until its sample fits.
async fn last_too_many(
    context: &Context,
    info: &Info,
    bounds: KeepBounds,
    floor: u64,
) -> Result<Option<u64>, StoredError> {
    let state = &info.state;
    let excess = plan::excess(state.bytes, bounds.bytes);
    let last = floor.min(state.last_sequence);
    if excess == 0 || last < state.first_sequence {
        return Ok(None);
    }
    let mut count = last - state.first_sequence + 1;
    while count > 0 {
        let (mut sizes, mut looks) = (0, 0);
        for seq in plan::spread(state.first_sequence, count, LOOKS) {
            if let Some(message) = next(context, info, seq).await? {
                sizes += size(&message);
                looks += 1;
            }
        }
        let mean = u128::from(sizes) / u128::from(u64::max(looks, 1));
        let estimate = u64::try_from(mean * u128::from(count)).unwrap_or(u64::MAX);
        if estimate <= excess {
            return Ok(Some(state.first_sequence + count - 1));
        }
        count = plan::next_estimate(count, estimate, excess);
    }
    Ok(None)
}

async fn next(
    context: &Context,
    info: &Info,
    from: u64,
) -> Result<Option<stored::StoredMessage>, StoredError> {
    stored::next_on_subject(context, &info.config.name, from, ">").await
}

fn size(message: &stored::StoredMessage) -> u64 {
    let headers = message
        .headers
        .as_ref()
        .map_or(0, |headers| headers.bytes().len());
    (message.subject.len() + headers + message.body.len()) as u64 + OVERHEAD
}
