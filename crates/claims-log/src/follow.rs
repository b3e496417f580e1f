//! Reads the log as it grows, and checks after each connect that it is the one read before.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use claims::{Body, LogError};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::error::ClaimsLogError;
use crate::process::Shared;

/// Between two looks whether the connection is another one.
const LOOK: Duration = Duration::from_millis(100);
/// Between two tries to read the log.
const RETRY: Duration = Duration::from_millis(500);

/// The number of connects of a client so far.
pub(crate) fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}

/// Follows the log for ever; returns the error when it is not the log that was read before.
pub(crate) async fn run(shared: &Shared) -> ClaimsLogError {
    loop {
        match session(shared).await {
            Ok(()) => {}
            Err(error) if error.is_lost() => {
                shared.is_checked(0);
                return error;
            }
            Err(error) => {
                warn!(%error, "The claims log cannot be read; trying again");
                sleep(RETRY).await;
            }
        }
        shared.is_current(false);
    }
}

/// Follows the log over one connection.
async fn session(shared: &Shared) -> Result<(), ClaimsLogError> {
    let client = shared.log.client();
    let connects_before = connects(&client);
    let end = check(shared).await?;
    let mut messages = shared.log.messages(shared.tip().seq + 1).await?;
    shared.is_checked(connects_before);
    loop {
        if shared.tip().seq >= end {
            shared.is_current(true);
        }
        let Ok(message) = timeout(LOOK, messages.next()).await else {
            if connects(&client) != connects_before {
                return Ok(());
            }
            continue;
        };
        let Some(message) = message else {
            return Ok(());
        };
        let message = message.map_err(|error| shared.log.api("read the records", error))?;
        if connects(&client) != connects_before {
            return Ok(());
        }
        let info = message.info();
        let seq = info
            .map_err(|error| shared.log.api("read a record", error))?
            .stream_sequence;
        let record = shared.log.decode(seq, &message.payload)?;
        match shared.read(seq, &record) {
            Ok(()) => {}
            // A snapshot has purged what was about to be read; it comes first now.
            Err(LogError::Gap { .. }) => return Ok(()),
            Err(source) => {
                return Err(ClaimsLogError::Lost {
                    stream: shared.log.name().to_owned(),
                    source,
                });
            }
        }
    }
}

/// Checks that the log is the one that was read before, and returns its last place.
async fn check(shared: &Shared) -> Result<u64, ClaimsLogError> {
    let stream = || shared.log.name().to_owned();
    let tip = shared.tip();
    let missing = || ClaimsLogError::Missing {
        stream: stream(),
        seq: tip.seq,
    };
    let Some(info) = shared.log.find().await? else {
        return Err(if tip.seq > 0 {
            missing()
        } else {
            ClaimsLogError::Empty { stream: stream() }
        });
    };
    let end = info.state.last_sequence;
    if tip.seq == 0 {
        return if end == 0 {
            Err(ClaimsLogError::Empty { stream: stream() })
        } else {
            Ok(end)
        };
    }
    if end < tip.seq {
        return Err(missing());
    }
    match shared.log.record(tip.seq).await? {
        Some(record) if record.id == tip.id => Ok(end),
        Some(_) => Err(ClaimsLogError::Lost {
            stream: stream(),
            source: LogError::Lost { seq: tip.seq },
        }),
        None => {
            // Purged by a snapshot, which then is the oldest record.
            let first = info.state.first_sequence;
            let oldest = shared.log.record(first).await?;
            let covers = oldest.and_then(|record| match record.body {
                Body::Snapshot(snapshot) => Some(snapshot.covers.seq),
                _ => None,
            });
            if covers.is_some_and(|covers| covers >= tip.seq) {
                Ok(end)
            } else {
                Err(missing())
            }
        }
    }
}
