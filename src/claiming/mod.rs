//! The claims log at the start: created where it is absent, rebuilt where it lost records; and what
//! it is held against.

mod begin;
mod reopen;
mod rewind;
mod servers;
mod share;

pub use reopen::reopen;
pub use servers::Servers;

use share::Share;

use std::time::Duration;

use async_nats::jetstream::Context;
use claims::Log;
use claims_log::{ClaimsLogError, Process, Timing, rebuild};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::dead_letter::LettersError;
use crate::jetstream::stored::StoredError;
use crate::jetstream::topology::TopologyError;
use crate::pipeline::unix_nanos;
use crate::settings::Settings;
use crate::store::{Store, StoreError};

const TIMING: Timing = Timing {
    linger: Duration::from_millis(2),
    grace: Duration::from_millis(500),
};
/// Between two tries to rebuild a log.
const RETRY: Duration = Duration::from_secs(1);

/// Between two looks whether the log refuses records.
const REFUSED: Duration = Duration::from_secs(2);

/// Reasons for which nothing can be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimingError {
    /// The claims log fails.
    #[error(transparent)]
    Log(#[from] ClaimsLogError),
    /// The stream or the consumer fails.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A message cannot be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// ClickHouse fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The dead letters cannot be read.
    #[error(transparent)]
    DeadLetters(#[from] LettersError),
    /// The claims log takes no record.
    #[error("the claims log takes no record: {0}; make room in the NATS account and on its disk")]
    Refused(String),
    /// The stream of signals is gone.
    #[error("stream {0} does not exist")]
    NoStream(String),
    /// There is no claims log.
    #[error(
        "the claims log {0} does not exist, so nothing was claimed; `risksignal run` creates it"
    )]
    NoLog(String),
}

/// The log is not the one that the daemon read. It is rebuilt, and what the daemon holds counts no
/// more: the next process goes on.
#[derive(Debug, thiserror::Error)]
#[error(
    "the claims log is not the one that was read, and was rebuilt ({0}); the daemon ends with status 75, and goes on when it is started again"
)]
pub struct Lost(ClaimsLogError);

/// A process that follows the claims log.
pub struct Claiming {
    /// Appends and decides.
    pub process: Process,
    /// Ends the reading.
    pub reading: CancellationToken,
    servers: Servers,
    following: JoinHandle<Result<(), ClaimsLogError>>,
}

/// Makes sure of the log, before the consumer is created or updated.
///
/// # Errors
/// When a server fails, or the log would lose records.
pub async fn begin(
    context: &Context,
    store: &Store,
    settings: &Settings,
) -> Result<(), ClaimingError> {
    begin::begin(&Servers::new(context, store, settings)).await
}

/// Reads and checks the log, which is rebuilt where it lost records.
///
/// # Errors
/// When a server fails, or the log would lose records.
pub async fn start(
    context: &Context,
    store: &Store,
    settings: &Settings,
) -> Result<Claiming, ClaimingError> {
    let servers = Servers::new(context, store, settings);
    loop {
        begin::begin(&servers).await?;
        let window = usize::try_from(store.window().await?).unwrap_or(usize::MAX);
        let share = Share::of(&servers).await?;
        let logs = share.join().await?;
        let mut claiming = Claiming::follow(&servers, window);
        let process = claiming.process.clone();
        process.with(|instance| instance.share_window(logs));
        tokio::select! {
            () = claiming.process.ready() => {}
            words = refused(&claiming.process) => {
                claiming.reading.cancel();
                return Err(ClaimingError::Refused(words));
            }
            error = ended(&mut claiming.following) => {
                claiming.mend(&error).await;
                // A log that cannot be mended gets no record at each turn of this.
                sleep(RETRY).await;
                continue;
            }
        }
        tokio::spawn(share.keep(process, logs, claiming.reading.clone()));
        return Ok(claiming);
    }
}

/// Reports whether the stream of signals went back, as far as the claims log shows: it lacks a
/// message that was claimed, and no daemon has rewound the log since. Appends nothing.
///
/// # Errors
/// When a server fails, or the log cannot be read.
pub async fn stream_went_back(
    context: &Context,
    store: &Store,
    settings: &Settings,
) -> Result<bool, ClaimingError> {
    let servers = Servers::new(context, store, settings);
    let read: Option<Log> = servers.log().read().await?;
    let created = unix_nanos(servers.stream_info().await?.created);
    match read {
        Some(log) => Ok(!servers.are_as_claimed(&log.witnesses(created)).await?),
        None => Ok(false),
    }
}

impl Claiming {
    /// A process that follows the log. `window` is the number of tokens that the table keeps.
    fn follow(servers: &Servers, window: usize) -> Self {
        let process = Process::new(servers.log(), window, TIMING);
        let reading = CancellationToken::new();
        let (running, token, holdings) = (process.clone(), reading.clone(), servers.clone());
        let following = tokio::spawn(async move { running.run(&holdings, &token).await });
        Self {
            process,
            reading,
            servers: servers.clone(),
            following,
        }
    }

    /// Waits until the log is not the one that was read any more. From then on nothing of this
    /// process is sent, claimed or acked. Never ends while the log is sound.
    pub async fn ended(&mut self) -> ClaimsLogError {
        ended(&mut self.following).await
    }

    /// Rebuilds the log after [`Self::ended`].
    pub async fn rebuilt(&self, error: ClaimsLogError) -> Lost {
        self.mend(&error).await;
        Lost(error)
    }

    /// Rebuilds a log that lost records, unless another process has done that.
    async fn mend(&self, error: &ClaimsLogError) {
        let settings = &self.servers.settings;
        error!(%error, "The claims log is not the one that was read; nothing is claimed until it is rebuilt");
        let log = self.servers.log();
        while !error.is_renewed() {
            let known = self.process.with(|instance| instance.log().clone());
            if known.tip().seq == 0 {
                // Nothing was read of it: the start begins it.
                return;
            }
            let rebuilt = async {
                let storage = crate::jetstream::topology::storage(settings.stream.storage);
                log.ensure(storage, settings.stream.replicas).await?;
                rebuild(&log, known, &self.servers).await
            };
            match rebuilt.await {
                Ok(()) => return,
                Err(error) => {
                    warn!(%error, "The claims log is not rebuilt; trying again");
                    sleep(RETRY).await;
                }
            }
        }
    }
}

/// Waits until the log refuses records for longer than a moment, and returns the reason.
async fn refused(process: &Process) -> String {
    loop {
        sleep(REFUSED).await;
        if let Some(words) = process.refusal() {
            return words;
        }
    }
}

/// The error with which following the log ended. Never ends after a shutdown.
async fn ended(following: &mut JoinHandle<Result<(), ClaimsLogError>>) -> ClaimsLogError {
    match following.await {
        Ok(Err(error)) => error,
        // A panic ends the process.
        Ok(Ok(())) | Err(_) => std::future::pending().await,
    }
}
