//! Rebuilds a log that lost records, once no try of any claim can land any more.

use std::time::Duration;

use claims::{Body, Log, Nonce, Publisher, Rebuild, Record};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::error::ClaimsLogError;
use crate::holdings::Holdings;
use crate::stream::LogStream;

/// Between two looks at ClickHouse's clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest time that the next record of the log may take.
const SILENCE: Duration = Duration::from_secs(5);

/// What bounds the fences of claims that nobody remembers. In ClickHouse's seconds.
#[derive(Debug, Clone, Copy)]
pub struct Fences {
    /// The longest fence that any process gives a claim.
    pub longest: i64,
    /// The longest time between ClickHouse's look at a fence and a commit, with the largest step
    /// back of its clock that is tolerated.
    pub late: i64,
}

/// Announces that the log lost records, waits until the fences of all claims, known and lost, are
/// over, and publishes the snapshot with which the log begins anew. `known` is what the process had
/// read. Returns at once when another process has rebuilt it.
///
/// # Errors
/// When a server fails; it is called again.
pub async fn rebuild(
    log: &LogStream,
    known: Log,
    holdings: &impl Holdings,
    fences: Fences,
) -> Result<(), ClaimsLogError> {
    let failed = |source| ClaimsLogError::Holdings {
        stream: log.name().to_owned(),
        source,
    };
    let publisher = Publisher(rand::random());
    announce(log, &known, publisher).await?;
    let since = holdings.clock().await.map_err(failed)?;
    warn!(
        log = log.name(),
        wait_s = fences.longest + fences.late,
        "The claims log lost records; it is rebuilt when every fence is over"
    );
    loop {
        let Some(rebuild) = read(log, known.clone()).await? else {
            info!(
                log = log.name(),
                "Another process has rebuilt the claims log"
            );
            return Ok(());
        };
        let now = holdings.clock().await.map_err(failed)?;
        let Some(over) = rebuild.fences_over(since, fences.longest, now, fences.late) else {
            sleep(CLOCK_INTERVAL).await;
            continue;
        };
        let stream = holdings.stream().await.map_err(failed)?;
        let last = holdings.last_stored(stream).await.map_err(failed)?;
        let record = rebuild.record(Nonce(rand::random()), publisher, over, last);
        if log.append(&record).await?.is_some() {
            info!(log = log.name(), "The claims log is rebuilt");
            return Ok(());
        }
        // A record came meanwhile.
    }
}

/// Has every process that reads on stop.
async fn announce(
    log: &LogStream,
    known: &Log,
    publisher: Publisher,
) -> Result<(), ClaimsLogError> {
    let record = Record {
        id: Nonce(rand::random()),
        publisher,
        generation: known.generation(),
        tip: known.tip(),
        done: Vec::new(),
        body: Body::Lost,
    };
    log.append(&record).await?;
    Ok(())
}

/// Reads what the log still has; `None` when another process has rebuilt it.
async fn read(log: &LogStream, known: Log) -> Result<Option<Rebuild>, ClaimsLogError> {
    let mut rebuild = Rebuild::new(known);
    let Some(info) = log.find().await? else {
        return Ok(Some(rebuild));
    };
    let end = info.state.last_sequence;
    let mut messages = log.messages(info.state.first_sequence).await?;
    let mut seq = 0;
    while seq < end {
        let next = timeout(SILENCE, messages.next()).await;
        let message = match next {
            Ok(Some(message)) => message.map_err(|error| log.api("read the records", error))?,
            _ => return Err(log.api("read the records", "no record came")),
        };
        let info = message.info();
        seq = info
            .map_err(|error| log.api("read a record", error))?
            .stream_sequence;
        let record = log.decode(seq, &message.payload)?;
        match rebuild.read(seq, &record) {
            Ok(()) => {}
            Err(claims::LogError::Renewed { .. }) => return Ok(None),
            Err(source) => {
                return Err(ClaimsLogError::Lost {
                    stream: log.name().to_owned(),
                    source,
                });
            }
        }
    }
    Ok(Some(rebuild))
}
