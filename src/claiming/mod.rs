//! The claims log at startup: created if absent, rebuilt if it lost records, and compared with the
//! other servers.

mod begin;
mod error;
pub mod log_lines;
mod reopen;
mod rewind;
mod servers;
mod share;

pub use error::ClaimingError;
pub use reopen::reopen;
pub use servers::Servers;

use std::time::Duration;

use async_nats::jetstream::Context;
use claims::Log;
use claims_log::{ClaimsLogError, Process, Timing, rebuild};
use clock::unix_nanos;
use store::Store;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::claiming::log_lines::OTHER_LOG;
use crate::settings::Settings;

use share::Share;

const TIMING: Timing = Timing {
    linger: Duration::from_millis(2),
    grace: Duration::from_millis(500),
};
/// Time between two attempts to rebuild a log.
const RETRY: Duration = Duration::from_secs(1);

/// Time between two checks for rejected records.
const REFUSED: Duration = Duration::from_secs(2);

/// The log is not the one that the daemon read. It was rebuilt, and the messages that the daemon
/// holds no longer count: the next process continues.
#[derive(Debug, thiserror::Error)]
#[error(
    "the claims log is not the one that was read, and was rebuilt ({0}); the daemon ends with status 75, and continues when it is restarted"
)]
pub struct LogReplaced(ClaimsLogError);

/// A process that follows the claims log.
pub struct Claiming {
    /// Process that appends and decides.
    pub process: Process,
    /// Token that ends the reading.
    pub reading: CancellationToken,
    servers: Servers,
    following: JoinHandle<Result<(), ClaimsLogError>>,
}

/// Prepares the log, before the consumer is created or updated. `waits` takes the reason for a
/// wait, of minutes at most.
///
/// # Errors
/// Fails when a server fails, or the log would lose records.
pub async fn begin(
    context: &Context,
    store: &Store,
    settings: &Settings,
    waits: &impl Fn(String),
) -> Result<(), ClaimingError> {
    begin::begin(&Servers::new(context, store, settings), waits).await
}

/// Reads and checks the log, and rebuilds it if it lost records. `waits` is that of [`begin()`].
///
/// # Errors
/// Fails when a server fails, or the log would lose records.
pub async fn start(
    context: &Context,
    store: &Store,
    settings: &Settings,
    waits: &impl Fn(String),
) -> Result<Claiming, ClaimingError> {
    let servers = Servers::new(context, store, settings);
    let mut first = None;
    loop {
        begin::begin(&servers, waits).await?;
        let window = usize::try_from(store.window().await?).unwrap_or(usize::MAX);
        let share = Share::new(&servers).await?;
        let logs = share.join().await?;
        let mut claiming = Claiming::follow(&servers, window);
        let process = claiming.process.clone();
        if let Some(first) = first {
            process.begin_at(first);
        }
        process.with(|instance| instance.share_window(logs));
        tokio::select! {
            () = claiming.process.ready() => {}
            words = refused(&claiming.process) => {
                claiming.reading.cancel();
                return Err(ClaimingError::Refused(words));
            }
            error = ended(&mut claiming.following) => {
                claiming.mend(&error).await;
                first = error.renewed_at();
                // The pause bounds the number of records that an irreparable log gets.
                sleep(RETRY).await;
                continue;
            }
        }
        tokio::spawn(share.keep(process, logs, claiming.reading.clone()));
        return Ok(claiming);
    }
}

/// Reports whether the stream of signals went back, as far as the claims log shows: it lacks a
/// claimed message, and no daemon has rewound the log since. Appends nothing.
///
/// # Errors
/// Fails when a server fails, or the log cannot be read.
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
    /// Starts a process that follows the log. `window` is the number of tokens that the table
    /// keeps.
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

    /// Waits until the log is no longer the one that was read. From then on this process sends,
    /// claims and acks nothing. Waits forever while the log is sound.
    pub async fn ended(&mut self) -> ClaimsLogError {
        ended(&mut self.following).await
    }

    /// Rebuilds the log after [`Self::ended`].
    pub async fn rebuild(&self, error: ClaimsLogError) -> LogReplaced {
        self.mend(&error).await;
        LogReplaced(error)
    }

    /// Rebuilds a log that lost records, unless another process has done so.
    async fn mend(&self, error: &ClaimsLogError) {
        let settings = &self.servers.settings;
        error!(%error, "{OTHER_LOG}");
        let log = self.servers.log();
        while error.renewed_at().is_none() {
            let known = self.process.with(|instance| instance.log().clone());
            if known.tip().seq == 0 {
                // Nothing was read yet: the start begins the log.
                return;
            }
            let rebuilt = async {
                // No other task recreates it: the pulls have ended.
                jetstream::topology::ensure_stream(&self.servers.context, &settings.stream).await?;
                let storage = jetstream::topology::storage(settings.stream.storage);
                log.ensure(storage, settings.stream.replicas).await?;
                Ok::<_, ClaimingError>(rebuild(&log, known, &self.servers).await?)
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

/// Waits until the log has rejected records for a while, and returns the reason.
async fn refused(process: &Process) -> String {
    loop {
        sleep(REFUSED).await;
        if let Some(words) = process.refusal() {
            return words;
        }
    }
}

/// Returns the error that ended the following of the log. Waits forever after a shutdown.
async fn ended(following: &mut JoinHandle<Result<(), ClaimsLogError>>) -> ClaimsLogError {
    match following.await {
        Ok(Err(error)) => error,
        // A panic ends the process.
        Ok(Ok(())) | Err(_) => std::future::pending().await,
    }
}
