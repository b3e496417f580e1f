//! Rebuilds a log that lost records, once no attempt of any claim can land any more.

use std::time::Duration;

use async_nats::jetstream::consumer::push;
use claims::{Log, LogReadError, Nonce, PublisherId, Rebuild, Record, RecordBody};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::error::ClaimsLogError;
use crate::holdings::{Fences, Holdings};
use crate::stream::LogStream;

/// Time between two reads of ClickHouse's clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// Announces that the log lost records, waits until the fences of all claims, known and lost, are
/// over, and publishes the snapshot with which the log begins again. `known` is the log as the
/// process had read it. Returns when this process or another one has rebuilt the log. Dropping the
/// future leaves the log to the next process that finds the loss.
///
/// # Errors
/// Fails when the announcement fails; the caller tries again. After it, this function retries by
/// itself.
pub async fn rebuild(
    log: &LogStream,
    known: Log,
    holdings: &impl Holdings,
) -> Result<(), ClaimsLogError> {
    let publisher = PublisherId(rand::random());
    announce(log, &known, publisher).await?;
    let (fences, since) = loop {
        match announce_loss(log, holdings).await {
            Ok(announced) => break announced,
            Err(error) => warn!(%error, "The claims log is not rebuilt yet; trying again"),
        }
        sleep(CLOCK_INTERVAL).await;
    };
    warn!(
        log = log.name(),
        wait_s = fences.longest + fences.late,
        "The claims log lost records; rebuilding it once every fence is over"
    );
    let mut remaining = Remaining::new(log, known);
    loop {
        let tried = remaining.try_rebuild(holdings, since, fences, publisher);
        match tried.await {
            Ok(Some(message)) => {
                info!(log = log.name(), "{message}");
                return Ok(());
            }
            Ok(None) => {}
            Err(error) => {
                warn!(%error, "The claims log is not rebuilt yet; trying again");
                remaining.messages = None;
            }
        }
        sleep(CLOCK_INTERVAL).await;
    }
}

fn failed(log: &LogStream, source: crate::HoldingsError) -> ClaimsLogError {
    ClaimsLogError::Holdings {
        stream: log.name().to_owned(),
        source,
    }
}

/// Reads the bounds of the fences before the announcement, and a time after it.
async fn announce_loss(
    log: &LogStream,
    holdings: &impl Holdings,
) -> Result<(Fences, i64), ClaimsLogError> {
    let fences = holdings
        .fences()
        .await
        .map_err(|error| failed(log, error))?;
    let since = holdings.clock().await.map_err(|error| failed(log, error))?;
    Ok((fences, since))
}

/// Stops every process that reads on, by a record.
async fn announce(
    log: &LogStream,
    known: &Log,
    publisher: PublisherId,
) -> Result<(), ClaimsLogError> {
    let record = Record {
        id: Nonce(rand::random()),
        publisher,
        generation: known.generation(),
        tip: known.tip(),
        done: Vec::new(),
        body: RecordBody::Lost,
    };
    log.append(&record).await?;
    Ok(())
}

/// Remaining records of the log, as far as they were read.
struct Remaining<'a> {
    log: &'a LogStream,
    known: Log,
    rebuild: Rebuild,
    messages: Option<push::Ordered>,
    read: u64,
}

impl<'a> Remaining<'a> {
    fn new(log: &'a LogStream, known: Log) -> Self {
        Self {
            log,
            rebuild: Rebuild::new(known.clone()),
            known,
            messages: None,
            read: 0,
        }
    }

    /// Reads on, and publishes the snapshot once every fence is over. Returns the reason for which
    /// the rebuild has ended; `None` if it is too early, or a record arrived meanwhile.
    async fn try_rebuild(
        &mut self,
        holdings: &impl Holdings,
        since: i64,
        fences: Fences,
        publisher: PublisherId,
    ) -> Result<Option<&'static str>, ClaimsLogError> {
        let log = self.log;
        if self.read_on().await? {
            return Ok(Some("Another process has rebuilt the claims log"));
        }
        let now = holdings.clock().await.map_err(|error| failed(log, error))?;
        let over = self
            .rebuild
            .fences_over(since, fences.longest, now, fences.late);
        let Some(over) = over else { return Ok(None) };
        let stream = holdings
            .stream()
            .await
            .map_err(|error| failed(log, error))?;
        let last = holdings.last_stored(stream).await;
        let last = last.map_err(|error| failed(log, error))?;
        let nonce = Nonce(rand::random());
        let record = self.rebuild.record(nonce, publisher, over, last);
        let is_taken = log.append(&record).await?.is_some();
        Ok(is_taken.then_some("The claims log is rebuilt"))
    }

    /// Reads the log to its end; reports whether another process has rebuilt it.
    async fn read_on(&mut self) -> Result<bool, ClaimsLogError> {
        let log = self.log;
        let end = match log.find().await? {
            Some(info) => info.state.last_sequence,
            None => 0,
        };
        if end < self.read {
            // Someone removed the log meanwhile.
            *self = Self::new(log, self.known.clone());
        }
        if self.read == end {
            return Ok(false);
        }
        if self.messages.is_none() {
            self.messages = Some(log.messages(self.read + 1).await?);
        }
        while self.read < end {
            let Some(messages) = &mut self.messages else {
                return Ok(false);
            };
            let (seq, record) = log.next(messages).await?;
            match self.rebuild.read(seq, &record) {
                Ok(()) => self.read = seq,
                Err(LogReadError::Renewed { .. }) => return Ok(true),
                Err(source) => {
                    return Err(ClaimsLogError::Lost {
                        stream: log.name().to_owned(),
                        source,
                    });
                }
            }
        }
        Ok(false)
    }
}
